"""Metrics and significance."""

from pathlib import Path

import adam_search as adam
import pytest

QRELS = {"q1": {"a": 1, "b": 2}, "q2": {"c": 1}}
RUN = {"q1": {"b": 3.0, "x": 2.0, "a": 1.0}, "q2": {"x": 2.0, "c": 1.0}, "unjudged": {"a": 1.0}}


def test_values() -> None:
    evaluation = adam.evaluate(QRELS, RUN, ["ndcg@10", "mrr@10", "recall@1", "precision@2"])
    assert evaluation.num_queries == 2 and evaluation.without_results == 0
    assert evaluation.per_query("mrr@10") == {"q1": 1.0, "q2": 0.5} and evaluation["mrr@10"] == 0.75
    assert evaluation.mean("recall@1") == 0.25 and evaluation["precision@2"] == 0.5
    assert set(evaluation.to_dict()) == set(evaluation.metrics)
    assert "0.7500" in repr(evaluation) and "<table>" in evaluation._repr_html_()
    assert adam.evaluate(QRELS, {"q1": RUN["q1"]})["mrr@10"] == 0.5
    assert adam.evaluate(QRELS, {"q1": RUN["q1"]}, missing="skip")["mrr@10"] == 1.0
    itself = adam.evaluate({"a": {"b": 1}}, {"a": {"a": 2.0, "b": 1.0}}, drop_self=True)
    assert itself["mrr@10"] == 1.0


def test_files(tmp_path: Path) -> None:
    qrels, run = tmp_path / "qrels.tsv", tmp_path / "run.trec"
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\nq1\tb\t2\nq2\tc\t1\n", encoding="utf-8")
    lines = [f"{query} Q0 {document} {rank} {score} x" for query, hits in RUN.items() for rank, (document, score) in enumerate(hits.items(), 1)]
    run.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert adam.evaluate(qrels, run).to_dict() == adam.evaluate(QRELS, RUN).to_dict()


def test_compare() -> None:
    many = {f"q{number}": {"a": 1} for number in range(40)}
    good = adam.evaluate(many, {query: {"a": 1.0} for query in many})
    bad = adam.evaluate(many, {query: {"x": 2.0, "a": 1.0} for query in many})
    comparison = adam.compare(good, bad, "mrr@10")
    assert comparison.difference == 0.5 and comparison.p_value < 0.001 and comparison.num_queries == 40
    assert "p < 0.001" in repr(comparison)
    assert adam.compare(good, good).p_value == 1.0
    assert adam.compare(good, bad, seed=7).low == adam.compare(good, bad, seed=7).low


def test_wrong_input(tmp_path: Path) -> None:
    for qrels, run, options, words in [
        (QRELS, {"q1": {"a": float("nan")}}, {}, "query `q1`: the score of `a` is NaN"),
        (QRELS, {"q1": {"a": "x"}}, {}, "is no number"),
        (QRELS, {"q1": ["a"]}, {}, "a dict from document to score"),
        (QRELS, {1: {}}, {}, "is no str"),
        ({"q1": {"a": 0.5}}, RUN, {}, "grade"),
        (QRELS, RUN, {"metrics": ["bleu"]}, "bleu"),
        (QRELS, RUN, {"missing": "guess"}, "guess"),
        (5, RUN, {}, "qrels"),
    ]:
        with pytest.raises(adam.InputError) as raised:
            adam.evaluate(qrels, run, **options)
        assert words in str(raised.value)
    with pytest.raises(adam.InputError, match="the evaluation has no recall@5"):
        adam.evaluate(QRELS, RUN).mean("recall@5")
    with pytest.raises(adam.StorageError):
        adam.evaluate(tmp_path / "nothing", RUN)
