"""Loads an exported student in the packages that serve such folders, as PyPI has them, and compares what they give.

    adam-train export --model MODEL --output STUDENT
    python trainer/tests/consumers/check.py STUDENT [STUDENT ..]

Needs sentence-transformers, optimum-onnx, onnxruntime, fastembed and tokenizers. The reference is sentence-transformers with its
torch backend. Every f32 way must agree to 1e-4 (largest difference of two values); int8 is reported. Exit code 1 when one does not.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np

LIMIT = 1e-4
TEXTS = [
    "do crows use tools",
    "Crows bend wire into hooks to reach food that they could not reach otherwise.",
    "The aurora appears when charged particles from the sun meet the upper atmosphere, mostly near the poles.",
    "0-dimensional biomaterials show inductive properties.",
    "Der Zug nach München fährt heute von Gleis 7 ab.",
    "a",
    " ".join(["iron deficiency causes fatigue, pale skin and shortness of breath;"] * 60),
]


def pool(tokens, mask, folder):
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    if pooling["pooling_mode_cls_token"]:
        rows = tokens[:, 0]
    else:
        weights = mask[:, :, None].astype(np.float64)
        rows = (tokens * weights).sum(1) / np.maximum(weights.sum(1), 1e-9)
    return rows


def normalises(folder):
    modules = json.loads((folder / "modules.json").read_text())
    return any(module["type"].endswith("Normalize") for module in modules)


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def sentence_transformers(folder, **options):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, **options)
    length = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    assert model.max_seq_length == length, f"max_seq_length {model.max_seq_length}, the folder says {length}"
    assert set(model.prompts) >= {"query", "document"}, f"prompts {model.prompts}"
    return model.encode(TEXTS, batch_size=3)


def onnxruntime(folder, output):
    import onnxruntime as ort
    from tokenizers import Tokenizer

    session = ort.InferenceSession(str(folder / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    assert names in (["input_ids", "attention_mask"], ["input_ids", "attention_mask", "token_type_ids"]), names
    outputs = [o.name for o in session.get_outputs()]
    assert outputs == ["last_hidden_state", "sentence_embedding"], outputs
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(config["pad_token"]), pad_token=config["pad_token"])
    encoded = tokenizer.encode_batch(TEXTS)
    feed = {
        "input_ids": np.array([e.ids for e in encoded], dtype=np.int64),
        "attention_mask": np.array([e.attention_mask for e in encoded], dtype=np.int64),
        "token_type_ids": np.array([e.type_ids for e in encoded], dtype=np.int64),
    }
    tokens, sentence = session.run(None, {name: feed[name] for name in names})
    if output == "sentence_embedding":
        return sentence
    rows = pool(tokens, feed["attention_mask"], folder)
    return unit(rows) if normalises(folder) else rows


def optimum(folder):
    from optimum.onnxruntime import ORTModelForFeatureExtraction
    from transformers import AutoTokenizer

    model = ORTModelForFeatureExtraction.from_pretrained(folder, subfolder="onnx", file_name="model.onnx", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="np")
    rows = pool(np.asarray(model(**inputs).last_hidden_state), inputs["attention_mask"], folder)
    return unit(rows) if normalises(folder) else rows


def transformers(folder):
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        tokens = model(**inputs).last_hidden_state.numpy()
    rows = pool(tokens, inputs["attention_mask"].numpy(), folder)
    return unit(rows) if normalises(folder) else rows


def fastembed(folder):
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    name = f"local/{folder.resolve().name}"
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.CLS if pooling["pooling_mode_cls_token"] else PoolingType.MEAN,
        normalization=normalises(folder),
        sources=ModelSource(hf=name),
        dim=pooling["word_embedding_dimension"],
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding(name, specific_model_path=str(folder))
    return np.array(list(model.embed(TEXTS)))


def main():
    failed = False
    for folder in map(Path, sys.argv[1:]):
        print(folder)
        reference = sentence_transformers(folder)
        ways = {
            "sentence-transformers, onnx": lambda: sentence_transformers(
                folder, backend="onnx", model_kwargs={"file_name": "onnx/model.onnx", "provider": "CPUExecutionProvider"}
            ),
            "onnxruntime, sentence_embedding": lambda: onnxruntime(folder, "sentence_embedding"),
            "onnxruntime, last_hidden_state pooled": lambda: onnxruntime(folder, "last_hidden_state"),
            "optimum": lambda: optimum(folder),
            "transformers": lambda: transformers(folder),
            "fastembed": lambda: fastembed(folder),
        }
        for name, way in ways.items():
            try:
                found = np.asarray(way(), dtype=np.float64)
                difference = float(np.abs(found - reference).max())
                good = found.shape == reference.shape and difference <= LIMIT
                print(f"  {name:<40} {'agrees' if good else 'DIFFERS'}, largest difference {difference:.1e}")
            except Exception as error:  # whatever a package raises, the others are still checked
                good = False
                print(f"  {name:<40} FAILS: {type(error).__name__}: {error}")
            failed |= not good
        if (folder / "onnx/model_quantized.onnx").is_file():
            int8 = sentence_transformers(
                folder, backend="onnx", model_kwargs={"file_name": "onnx/model_quantized.onnx", "provider": "CPUExecutionProvider"}
            )
            cosines = (unit(int8) * unit(reference)).sum(1)
            print(f"  {'int8, sentence-transformers, onnx':<40} cosine mean {cosines.mean():.5f}, lowest {cosines.min():.5f}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
