"""Vectors of this crate against sentence-transformers on real texts.

    python -m venv venv && venv/bin/pip install torch==2.11.0 transformers==5.23.0 sentence-transformers==6.2.0
    cargo build --release -p adam-encoder --example vectors
    venv/bin/python encoder/tests/parity/parity.py --onnx .native/minilm-onnx \
        --reference .native/all-MiniLM-L6-v2 --collection scifact.zip [--int8]

Takes the first 1,000 abstracts as documents (title and text, so that some are longer than the model reads) and the
test queries with a prompt, and prints the largest difference of any value of the unit vectors. Exit code 1 above 1e-4.
With --int8, all abstracts are encoded in f32 and int8 and the nDCG@10 of both is printed; exit code 1 where they are
more than 0.01 apart.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROMPT = "Represent this claim for finding evidence: "


def collection(path):
    """Documents, queries and judgements of a BEIR zip."""
    with zipfile.ZipFile(path) as archive:
        names = {pathlib.PurePosixPath(name).name: name for name in archive.namelist()}

        def lines(name):
            return [json.loads(line) for line in archive.read(names[name]).decode().splitlines() if line.strip()]

        documents = [(row["_id"], f"{row.get('title', '')} {row['text']}".strip()) for row in lines("corpus.jsonl")]
        texts = {row["_id"]: row["text"] for row in lines("queries.jsonl")}
        judged = {}
        for line in archive.read(names["test.tsv"]).decode().splitlines()[1:]:
            query, document, grade = line.split("\t")
            judged.setdefault(query, {})[document] = int(grade)
    return documents, [(query, texts[query]) for query in judged], judged


def ours(onnx, texts, *arguments):
    """Runs the example program; gives the vectors and the report."""
    command = [str(ROOT / "target/release/examples/vectors"), "--model", str(onnx), *arguments]
    library = os.environ.get("ORT_DYLIB_PATH", str(ROOT / ".native/onnxruntime/libonnxruntime.so"))
    done = subprocess.run(
        command, input=json.dumps(texts).encode(), stdout=subprocess.PIPE, check=True,
        env={**os.environ, "ORT_DYLIB_PATH": library},
    )
    report = json.loads(done.stdout)
    vectors = report.pop("vectors")
    return np.asarray(vectors, dtype=np.float32) if vectors else None, report


def ndcg(documents, queries, judged, document_vectors, query_vectors):
    """Mean nDCG@10 with linear gain; ties by document id, descending, as trec_eval breaks them."""
    total = 0.0
    ids = np.array([name for name, _ in documents])
    by_id = np.argsort(ids)[::-1]
    for (query, _), vector in zip(queries, query_vectors):
        scores = document_vectors[by_id] @ vector
        best = by_id[np.argsort(-scores, kind="stable")[:10]]
        gains = judged[query]
        dcg = sum(gains.get(ids[d], 0) / math.log2(rank + 2) for rank, d in enumerate(best))
        ideal = sorted((g for g in gains.values() if g > 0), reverse=True)[:10]
        total += dcg / sum(g / math.log2(rank + 2) for rank, g in enumerate(ideal))
    return total / len(queries)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--reference")
    parser.add_argument("--collection", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--int8", action="store_true")
    arguments = parser.parse_args()
    documents, queries, judged = collection(arguments.collection)
    failed = False

    if arguments.reference:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(arguments.reference, device="cpu")
        texts = [text for _, text in documents[: arguments.count]]
        cut = sum(len(model.tokenizer(text)["input_ids"]) > model.max_seq_length for text in texts)
        for name, part, prompt, kind in [
            ("documents", texts, "", []),
            ("queries with a prompt", [text for _, text in queries], PROMPT, ["--query", "--query-prompt", PROMPT]),
        ]:
            expected = model.encode(part, prompt=prompt or None, normalize_embeddings=True)
            found, _ = ours(arguments.onnx, part, *kind)
            off = float(np.abs(expected - found).max())
            failed |= not off <= 1e-4
            print(f"{name}: {len(part)} texts, largest difference {off:.2e} (at most 1e-4)")
        print(f"{cut} of the documents were longer than {model.max_seq_length} tokens and were cut")

    if arguments.int8:
        texts = [text for _, text in documents]
        asked = [text for _, text in queries]
        means = {}
        for precision in ["f32", "int8"]:
            of_documents, report = ours(arguments.onnx, texts, "--precision", precision)
            of_queries, _ = ours(arguments.onnx, asked, "--precision", precision, "--query")
            means[precision] = ndcg(documents, queries, judged, of_documents, of_queries)
            print(f"{precision}: nDCG@10 {means[precision]:.4f}, {report['texts_per_second']:.1f} texts/s, {report['file']}")
        failed |= not abs(means["f32"] - means["int8"]) <= 0.01
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
