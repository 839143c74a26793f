"""Exact nearest neighbours by PyTorch: one matrix product and topk, over the very vectors that the example gpu_bench makes.

    torch_search.py --rows N --dimension D --batches 1,32,1024 --k 10 --device cuda --json FILE
"""

import argparse
import json
import statistics
import time

import torch


def wrapped(value):
    """A 64-bit pattern as PyTorch's signed numbers have it."""
    return value - (1 << 64) if value >= 1 << 63 else value


def shifted(bits, by):
    """A shift that brings in zeros."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def vectors(first, count, dimension, device):
    """Values from -1 to 1 by SplitMix64 of their number, rows of length 1."""
    out = torch.empty(count, dimension, device=device)
    step = max(1, (1 << 26) // dimension)
    for start in range(0, count, step):
        rows = min(step, count - start)
        at = (first + start) * dimension + 1
        bits = torch.arange(at, at + rows * dimension, device=device, dtype=torch.int64)
        bits = bits * wrapped(0x9E3779B97F4A7C15)
        bits = (bits ^ shifted(bits, 30)) * wrapped(0xBF58476D1CE4E5B9)
        bits = (bits ^ shifted(bits, 27)) * wrapped(0x94D049BB133111EB)
        bits = shifted(bits ^ shifted(bits, 31), 40)
        values = bits.to(torch.float32) / (1 << 23) - 1
        out[start : start + rows] = torch.nn.functional.normalize(values.view(rows, dimension), dim=1)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--batches", default="1,32,1024")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    cuda = arguments.device.startswith("cuda")
    rows = vectors(0, arguments.rows, arguments.dimension, arguments.device)
    queries = vectors(arguments.rows, 1024, arguments.dimension, "cpu")
    lines = []
    for batch in map(int, arguments.batches.split(",")):
        given = queries.repeat(-(-batch // 1024), 1)[:batch]
        times = []
        began = time.perf_counter()
        while len(times) < 8 or time.perf_counter() - began < arguments.seconds:
            start = time.perf_counter()
            # Queries come from the host and hits go back, as in a search.
            found = (given.to(arguments.device) @ rows.T).topk(arguments.k, dim=1)
            hits = found.values.cpu(), found.indices.cpu()
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        del hits
        median = 1e3 * statistics.median(times[3:])
        line = {
            "who": "torch", "rows": arguments.rows, "dimension": arguments.dimension, "batch": batch, "k": arguments.k,
            "milliseconds": median, "queries_per_second": 1e3 * batch / median,
        }
        lines.append(line)
        print(json.dumps(line), flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
