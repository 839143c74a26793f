"""The package answers as the program does, to the bit."""

import itertools
import json
from pathlib import Path
from typing import Any

import adam_search as adam
import numpy as np
import pytest
from conftest import DOCUMENTS, QUERIES, run


def bits(value: Any) -> Any:
    """Numbers as the f32 that they are; what differs from run to run is left out."""
    if isinstance(value, float):
        return np.float32(value).tobytes()
    if isinstance(value, list | tuple):
        return [bits(item) for item in value]
    if isinstance(value, dict):
        return {name: bits(item) for name, item in value.items()}
    return value


MODES = [{"mode": "bm25"}, {"mode": "dense"}]
MODES += [{"mode": "hybrid", "fusion": fusion} for fusion in ["convex", "rrf", "min-max", "z-score", "dbsf"]]
OTHERS: list[dict[str, Any]] = [
    {},
    {"explain": True},
    {"filter": "year:1930.. AND lang:en"},
    {"filter": ["year:1930..", "lang:en"], "total": True},
    {"top": 2, "offset": 1},
    {"weight": 0.25, "window": 2},
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_small_collection(program: Path, by_program: Path, mode: dict[str, Any]) -> None:
    index = adam.Index.open(by_program)
    for query, other in zip(itertools.cycle(QUERIES), OTHERS, strict=False):
        options = mode | other
        words: list[str] = []
        for name, value in options.items():
            for item in value if isinstance(value, list) else [value]:
                words += [f"--{name}"] if item is True else [f"--{name}", str(item)]
        said = json.loads(run(program, "search", "--index", by_program, "--json", *words, query))
        hits = index.search(query, **options)
        assert bits(hits.to_dicts()) == bits(said["hits"]), (options, query)
        assert hits.total == said.get("total")
        assert hits.warnings == said.get("warnings", [])


def test_index_made_here_is_the_programs(program: Path, by_program: Path, index: adam.Index) -> None:
    other = adam.Index.open(by_program)
    for query, mode in itertools.product(QUERIES, MODES):
        assert bits(index.search(query, **mode).to_dicts()) == bits(other.search(query, **mode).to_dicts())
    index.close()
    said = json.loads(run(program, "search", "--index", index.path, "--json", QUERIES[0]))
    assert bits(index.search(QUERIES[0]).to_dicts()) == bits(said["hits"])
    # What the program writes is seen here.
    run(program, "delete", "--index", index.path, "crow")
    index.reload()
    assert len(index) == len(DOCUMENTS) - 1 and "crow" not in index


def test_list_of_queries_is_each_alone(index: adam.Index) -> None:
    for mode in MODES:
        together = index.search(QUERIES * 3, **mode)
        alone = [index.search(query, **mode) for query in QUERIES * 3]
        assert [bits(hits.to_dicts()) for hits in together] == [bits(hits.to_dicts()) for hits in alone]


def test_scifact(program: Path, model: Path, scifact: Path, tmp_path: Path) -> None:
    path, runs, figures = tmp_path / "index", tmp_path / "run", tmp_path / "figures.json"
    # Short passages are enough to compare by.
    run(program, "index", "--model", model, "--max-length", "24", "--data", scifact, "--index", path)
    run(program, "eval", "--index", path, "--data", scifact, "--split", "test", "--run", runs, "--json", figures)
    collection = adam.Collection(scifact)
    qrels = collection.qrels("test")
    queries = {id: text for id, text in collection.queries().items() if id in qrels}
    index = adam.Index.open(path)
    evaluations = {}
    for mode in ["bm25", "dense", "hybrid"]:
        written: dict[str, dict[str, float]] = {}
        for line in Path(f"{runs}.{mode}").read_text(encoding="utf-8").splitlines():
            query, _, document, _, score, _ = line.split()
            written.setdefault(query, {})[document] = float(score)
        ranked = index.rank(queries, mode=mode, top=101)  # As many as the program takes, in case one is the query itself.
        for query, hits in written.items():
            # The file has the digits that tell one f32 from another, and equal scores in trec_eval's order.
            assert bits(hits) == bits(dict(list(ranked[query].items())[:100])), (mode, query)
        evaluations[mode] = adam.evaluate(qrels, {query: dict(list(hits.items())[:100]) for query, hits in ranked.items()})
        said = json.loads(figures.read_text(encoding="utf-8"))[mode]
        assert evaluations[mode].to_dict() == {name: said[name] for name in evaluations[mode].metrics}
    comparison = adam.compare(evaluations["hybrid"], evaluations["bm25"])
    assert comparison.num_queries == 300 and comparison.low < comparison.difference < comparison.high
