"""Speed of this crate against sentence-transformers, fastembed and plain onnxruntime, in one run.

    venv/bin/pip install fastembed onnxruntime==1.32.0     # besides what parity.py needs
    venv/bin/python encoder/tests/parity/speed.py --onnx .native/minilm-onnx \
        --reference .native/all-MiniLM-L6-v2 --collection scifact.zip [--count 1000] [--rounds 2]

Encodes the same abstracts with each, texts as they are, and one short query alone. Every contender gets the best
settings it offers: sentence-transformers sorts by length itself; plain onnxruntime and fastembed are given batches of
32 in the order of the texts, which is what they do. Rounds alternate, the best one counts. Prints one table.
"""

import argparse
import time

import numpy as np
from parity import collection, ours

QUERY = "can crows bend wire into hooks"


def timed(work, texts, single, rounds=320):
    started = time.perf_counter()
    work(texts)
    rate = len(texts) / (time.perf_counter() - started)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        single(QUERY)
        times.append(time.perf_counter() - started)
    return rate, float(np.median(times[20:]) * 1e3)


def plain(folder, file):
    """onnxruntime and tokenizers, used as their documentation shows."""
    import onnxruntime
    from tokenizers import Tokenizer

    session = onnxruntime.InferenceSession(f"{folder}/{file}", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    wanted = {item.name for item in session.get_inputs()}

    def encode(texts):
        out = []
        for start in range(0, len(texts), 32):
            batch = tokenizer.encode_batch(texts[start : start + 32])
            feed = {
                "input_ids": np.array([item.ids for item in batch], dtype=np.int64),
                "attention_mask": np.array([item.attention_mask for item in batch], dtype=np.int64),
                "token_type_ids": np.array([item.type_ids for item in batch], dtype=np.int64),
            }
            feed = {name: value for name, value in feed.items() if name in wanted}
            states = session.run(["last_hidden_state"], feed)[0]
            mask = feed["attention_mask"][..., None].astype(np.float32)
            mean = (states * mask).sum(1) / mask.sum(1)
            out.append(mean / np.linalg.norm(mean, axis=1, keepdims=True))
        return np.concatenate(out)

    return lambda texts: encode(texts), lambda text: encode([text])


def torch_model(folder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts, batch_size=32), lambda text: model.encode([text])


def fast(folder, file):
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = f"local/{file}"
    TextEmbedding.add_custom_model(
        model=name, pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf=name), dim=384, model_file=file
    )
    model = TextEmbedding(model_name=name, specific_model_path=str(folder))
    return lambda texts: list(model.embed(texts, batch_size=32)), lambda text: list(model.embed([text]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    documents, _, _ = collection(arguments.collection)
    texts = [text for _, text in documents[: arguments.count]]
    best = {}

    def note(name, rate, p50):
        before = best.get(name, (0.0, float("inf")))
        best[name] = (max(before[0], rate), min(before[1], p50))

    rivals = {}
    for name, make in [
        ("plain onnxruntime f32", lambda: plain(arguments.onnx, "onnx/model.onnx")),
        ("plain onnxruntime int8", lambda: plain(arguments.onnx, "onnx/model_quantized.onnx")),
        ("sentence-transformers f32", lambda: torch_model(arguments.reference)),
        ("fastembed f32", lambda: fast(arguments.onnx, "onnx/model.onnx")),
    ]:
        try:
            rivals[name] = make()
        except Exception as error:  # noqa: BLE001 - a rival that is not installed is reported, not fatal
            print(f"{name}: left out, {error}")
    for _ in range(arguments.rounds):
        for precision in ["f32", "int8"]:
            _, report = ours(
                arguments.onnx, texts, "--precision", precision, "--no-vectors", "--latency", QUERY
            )
            note(f"adam-encoder {precision}", report["texts_per_second"], report["p50_ms"])
        for name, (many, one) in rivals.items():
            note(name, *timed(many, texts, one))
    print(f"{'':28}{'texts/s':>10}{'p50 ms':>10}")
    for name, (rate, p50) in sorted(best.items()):
        print(f"{name:28}{rate:10.1f}{p50:10.2f}")


if __name__ == "__main__":
    main()
