"""Speed of this crate against sentence-transformers, fastembed and plain onnxruntime, in one run.

    venv/bin/pip install fastembed onnxruntime==1.32.0     # besides what parity.py needs
    cargo build --release --workspace --example vectors
    venv/bin/python encoder/tests/parity/speed.py --onnx .native/minilm-onnx \
        --reference .native/all-MiniLM-L6-v2 --collection scifact.zip [--count 512] [--slice 64] [--rounds 3] [--fused] [--json FILE]

Every contender encodes the same abstracts, as they are and in the order of the file, a slice at a time, and one short
query alone, in calls that follow each other at once and in calls 10 ms apart, as a service gets them. Slice by slice all take their turn, so that a machine that is busy with something else is so for all of them;
what counts is the median over the slices. CPU time stands beside wall time for the same reason. All run with the settings
they come with: this crate and sentence-transformers sort a slice by length, plain onnxruntime and fastembed take it in
batches of 32. Prints one table and who is ahead.
"""

import argparse
import json
import os
import subprocess
import time

import numpy as np
from parity import ROOT, collection

QUERY = "can crows bend wire into hooks"


class Ours:
    """The example program, kept open: texts in, the seconds that each of a number of calls in a row took out."""

    def __init__(self, onnx, *arguments):
        library = os.environ.get("ORT_DYLIB_PATH", str(ROOT / ".native/onnxruntime/libonnxruntime.so"))
        self.process = subprocess.Popen(
            [str(ROOT / "target/release/examples/vectors"), "--model", str(onnx), "--stream", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "ORT_DYLIB_PATH": library},
        )

    def __call__(self, texts, times=1, pause=0.0):
        self.process.stdin.write(json.dumps([times, pause, texts]).encode() + b"\n")
        self.process.stdin.flush()
        report = json.loads(self.process.stdout.readline())
        return report["seconds"], report["cpu_seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


class Python:
    """A contender in this process."""

    def __init__(self, encode):
        self.encode = encode

    def __call__(self, texts, times=1, pause=0.0):
        seconds, cpu = [], time.process_time()
        for _ in range(times):
            time.sleep(pause)
            started = time.perf_counter()
            self.encode(texts)
            seconds.append(time.perf_counter() - started)
        return seconds, time.process_time() - cpu

    def close(self):
        pass


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

    return encode


def torch_model(folder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts, batch_size=32)


def fast(folder, file):
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = f"local/{file}"
    TextEmbedding.add_custom_model(
        model=name, pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf=name), dim=384, model_file=file
    )
    model = TextEmbedding(model_name=name, specific_model_path=str(folder))
    return lambda texts: list(model.embed(texts, batch_size=32))


def contenders(onnx, reference, fused):
    whole, small = "onnx/model.onnx", "onnx/model_quantized.onnx"
    for precision, name, make in [
        ("f32", "adam-encoder", lambda: Ours(onnx)),
        ("f32", "onnxruntime", lambda: Python(plain(onnx, whole))),
        ("f32", "sentence-transformers", lambda: Python(torch_model(reference))),
        ("f32", "fastembed", lambda: Python(fast(onnx, whole))),
        ("int8", "adam-encoder", lambda: Ours(onnx, "--precision", "int8")),
        ("int8", "onnxruntime", lambda: Python(plain(onnx, small))),
        ("int8", "fastembed", lambda: Python(fast(onnx, small))),
        ("f32", "onnxruntime, fused file", fused and (lambda: Python(plain(onnx, "onnx/model_fused.onnx")))),
        ("int8", "onnxruntime, fused file", fused and (lambda: Python(plain(onnx, "onnx/model_fused_quantized.onnx")))),
    ]:
        if not make:
            continue
        try:
            yield (precision, name), make()
        except Exception as error:  # noqa: BLE001 - a rival that is not installed is reported, not fatal
            print(f"{name} {precision}: left out, {error}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--slice", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--fused", action="store_true", help="also plain onnxruntime on the files in its fused operators")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    documents, _, _ = collection(arguments.collection)
    texts = [text for _, text in documents[: arguments.count]]
    slices = [texts[at : at + arguments.slice] for at in range(0, len(texts), arguments.slice)]

    field = dict(contenders(arguments.onnx, arguments.reference, arguments.fused))
    rates = {key: [] for key in field}
    cpu = {key: [] for key in field}
    singles = {key: [] for key in field}
    spaced = {key: [] for key in field}
    order = list(field)
    for key in order:
        field[key](texts[:8])
    for turn in range(arguments.rounds * len(slices)):
        part = slices[turn % len(slices)]
        # Another one goes first each time.
        for key in order[turn % len(order) :] + order[: turn % len(order)]:
            seconds, used = field[key](part)
            rates[key].append(len(part) / seconds[0])
            cpu[key].append(used / len(part))
    for turn in range(-(-arguments.queries // 10)):
        for key in order[turn % len(order) :] + order[: turn % len(order)]:
            # Threads of the one before may still wait in a busy loop, and the first calls after the others have had the caches are
            # not what a service sees.
            time.sleep(0.05)
            singles[key].extend(field[key]([QUERY], 12)[0][2:])
            spaced[key].extend(field[key]([QUERY], 12, 0.01)[0][2:])
    for contender in field.values():
        contender.close()

    rows = {
        key: (np.median(rates[key]), np.median(cpu[key]) * 1e3, np.median(singles[key]) * 1e3, np.median(spaced[key]) * 1e3)
        for key in order
    }
    print(f"{len(texts)} texts in slices of {arguments.slice}, {arguments.rounds} rounds; medians")
    print(f"{'':30}{'texts/s':>10}{'CPU ms/text':>13}{'query p50 ms':>14}{'10 ms apart':>13}")
    for (precision, name), (rate, used, single, apart) in rows.items():
        print(f"{precision:6}{name:24}{rate:10.1f}{used:13.2f}{single:14.2f}{apart:13.2f}")
    for precision in ("f32", "int8"):
        rivals = [key for key in order if key[0] == precision and key[1] != "adam-encoder"]
        own = rows.get((precision, "adam-encoder"))
        if own and rivals:
            best = max(rows[key][0] for key in rivals)
            print(f"{precision}: {own[0] / best:.2f} times the best other rate; {own[1] / min(rows[key][1] for key in rivals):.2f} of its CPU time")
    if arguments.json:
        report = {f"{name} {precision}": dict(zip(("texts/s", "cpu_ms", "p50_ms", "p50_spaced_ms"), map(float, row)))
                  for (precision, name), row in rows.items()}
        with open(arguments.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
