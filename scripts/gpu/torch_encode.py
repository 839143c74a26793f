"""Texts to vectors by sentence-transformers, for a comparison with the encoder over the very same texts.

    torch_encode.py --model FOLDER --texts texts.json --batches 32,128,512 --device cuda --half --json FILE
"""

import argparse
import json
import statistics
import time

import torch
from sentence_transformers import SentenceTransformer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True, help="a JSON list of texts")
    parser.add_argument("--batches", default="32,128,512", help="texts in a batch; each is tried, the best counts")
    parser.add_argument("--query", required=True, help="a short text, timed alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--half", action="store_true", help="weights and arithmetic in 16 bits")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    with open(arguments.texts) as file:
        texts = json.load(file)
    model = SentenceTransformer(arguments.model, device=arguments.device, local_files_only=True)
    if arguments.half:
        model.half()
    lines = []
    for batch in map(int, arguments.batches.split(",")):
        # The first call warms up; vectors end on the host, so the clock needs no synchronisation of its own.
        model.encode(texts[:batch], batch_size=batch, show_progress_bar=False)
        times = []
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            vectors = model.encode(texts, batch_size=batch, convert_to_numpy=True, show_progress_bar=False)
            times.append(time.perf_counter() - began)
        assert len(vectors) == len(texts)
        lines.append({"who": "sentence-transformers", "batch": batch, "texts_per_second": len(texts) / statistics.median(times)})
        print(json.dumps(lines[-1]), flush=True)
    # One short text alone, as a query comes.
    times = []
    for _ in range(120):
        began = time.perf_counter()
        model.encode([arguments.query], show_progress_bar=False)
        times.append(1e3 * (time.perf_counter() - began))
    lines.append({"who": "sentence-transformers", "batch": "query", "milliseconds": statistics.median(times[20:]), "torch": torch.__version__})
    print(json.dumps(lines[-1]), flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
