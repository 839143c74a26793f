"""A small index: add, search with a filter, explain, evaluate. Run with a model's folder as the argument."""

import sys
import tempfile
from pathlib import Path

import adam_search as adam

BIRDS = [
    {"id": "crow", "title": "Crows", "text": "Crows bend wire into hooks.", "year": 2002},
    {"id": "finch", "title": "Finches", "text": "A finch takes a spine to reach grubs.", "year": 1919},
    {"id": "raven", "title": "Ravens", "text": "Ravens nest early in the year.", "year": 1989},
]


def main(model: str, folder: Path) -> None:
    with adam.Index.create(folder / "birds", model) as index:
        index.add(BIRDS)
    hits = index.search("birds that use tools", filter="year:1900..", explain=True)
    print(hits)
    for arm in hits[0].arms:
        print(arm.name, arm.rank, arm.raw)

    queries = {"q1": "birds that use tools", "q2": "nest"}
    qrels = {"q1": {"crow": 1, "finch": 1}, "q2": {"raven": 1}}
    evaluations = {}
    for mode in ("bm25", "hybrid"):
        evaluations[mode] = adam.evaluate(qrels, index.rank(queries, mode=mode))
        print(mode, evaluations[mode])
    print(adam.compare(evaluations["hybrid"], evaluations["bm25"]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1], Path(folder))
