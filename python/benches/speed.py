"""What the binding costs, and what two threads give. Run with a model's folder as the argument, on a machine that is otherwise idle.

Two threads: each does the work that one did alone, so that 1.0 means that the second costs nothing, and 2.0 that they take turns. The
model runs on one thread (`threads=1`), as it otherwise has all cores for one call.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import adam_search as adam

WORDS = "crows bend wire into hooks and fish with them while otters crack shells on stones near cold water".split()
TEXTS = [" ".join(WORDS[(row * step) % len(WORDS)] for step in range(1, 25)) + f" {row}" for row in range(2000)]
QUERIES = [" ".join(WORDS[(row + step * 3) % len(WORDS)] for step in range(4)) for row in range(200)]


def seconds(threads: int, work: Callable[[], None]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(work) for _ in range(threads)]:
            job.result()
    return time.perf_counter() - began


def ratio(work: Callable[[], None], rounds: int = 5) -> tuple[float, float]:
    """Medians of one thread's time, and of two threads' time over it."""
    alone = statistics.median(seconds(1, work) for _ in range(rounds))
    return alone, statistics.median(seconds(2, work) for _ in range(rounds)) / alone


def main(model: str, folder: Path) -> None:
    code = "import time; began = time.perf_counter(); import adam_search; print(time.perf_counter() - began)"
    took = statistics.median(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5))
    print(f"import                         {took:8.3f} s")

    encoder = adam.Encoder(model, threads=1)

    def shared() -> None:
        encoder.encode(TEXTS[:200])

    alone, factor = ratio(shared)
    print(f"encode 200 texts               {alone:8.3f} s   two threads x {factor:.2f} (one encoder, one session)")
    pool = [adam.Encoder(model, threads=1), adam.Encoder(model, threads=1)]

    def with_own() -> None:
        own = pool.pop()
        try:
            own.encode(TEXTS[:200])
        finally:
            pool.append(own)

    alone, factor = ratio(with_own)
    print(f"encode 200 texts               {alone:8.3f} s   two threads x {factor:.2f} (an encoder each)")

    index = adam.Index.create(folder / "index", adam.Encoder(model))
    index.add({"id": str(row), "text": text} for row, text in enumerate(TEXTS))
    index.commit()
    for mode in ("bm25", "dense", "hybrid"):

        def search() -> None:
            for query in QUERIES:
                index.search(query, mode=mode)  # noqa: B023

        alone, factor = ratio(search)
        cost = []
        for query in QUERIES:
            began = time.perf_counter()
            hits = index.search(query, mode=mode)
            cost.append((time.perf_counter() - began) * 1e3 / hits.took_ms)
        print(
            f"search {len(QUERIES)} x {mode:6}            {alone:8.3f} s   two threads x {factor:.2f}, "
            f"call over the library's own time x {statistics.median(cost):.3f}"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(sys.argv[1], Path(made))
