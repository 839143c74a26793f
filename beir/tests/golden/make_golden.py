"""Golden values for beir's metrics and significance tests, made by trec_eval's own code.

    pip install pytrec-eval-terrier scipy
    python make_golden.py > golden.json

The data is made up here from a fixed seed: graded judgements (also negative ones), tied scores, queries without any
result, queries with no relevant document, results that were never judged, results for queries that were never
judged, fewer results than the cut, and ids that sort differently as text and as numbers.
"""

import itertools
import json
import random
import sys

import pytrec_eval
import scipy
import scipy.stats

CUTS = [1, 3, 5, 10, 100]


def collection(seed, queries, documents, tied):
    rng = random.Random(seed)
    ids = [str(n) if n % 3 else f"doc-{n}" for n in range(documents)]
    qrels, run = {}, {}
    for q in range(queries):
        name = f"q{q}"
        judged = rng.sample(ids, rng.randint(1, documents // 3))
        if q % 7 == 3:
            grades = [rng.choice([0, -1]) for _ in judged]
        else:
            grades = [rng.choice([-1, 0, 0, 1, 1, 2, 3]) for _ in judged]
        qrels[name] = dict(zip(judged, grades))
        if q % 5 == 4:
            continue
        found = rng.sample(ids, rng.randint(1, documents))
        if tied:
            scores = [rng.choice([0.25, 0.5, 1.0, 2.0]) for _ in found]
        else:
            # Multiples of 1/64, so that a 32-bit score is the same number.
            scores = [s / 64 for s in rng.sample(range(-640, 640), len(found))]
        run[name] = dict(zip(found, scores))
    run["never-judged"] = {ids[0]: 1.0}
    return qrels, run


def evaluate(qrels, run):
    measures = {f"{m}.{','.join(map(str, CUTS))}" for m in ("ndcg_cut", "recall", "map_cut", "P")} | {"recip_rank"}
    values = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    out = {}
    for query, measured in values.items():
        of_query = {}
        for cut in CUTS:
            of_query[f"ndcg@{cut}"] = measured[f"ndcg_cut_{cut}"]
            of_query[f"recall@{cut}"] = measured[f"recall_{cut}"]
            of_query[f"map@{cut}"] = measured[f"map_cut_{cut}"]
            of_query[f"precision@{cut}"] = measured[f"P_{cut}"]
        out[query] = of_query
    # recip_rank has no cut in trec_eval: it is asked for a run cut there, in trec_eval's own order.
    for cut in CUTS:
        short = {
            query: dict(sorted(hits.items(), key=lambda hit: (hit[1], hit[0].encode()), reverse=True)[:cut])
            for query, hits in run.items()
        }
        for query, measured in pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(short).items():
            out[query][f"mrr@{cut}"] = measured["recip_rank"]
    return out


def significance():
    rng = random.Random(11)
    cases = []
    for size in (2, 5, 9, 12):
        a = [rng.randint(0, 100) / 100 for _ in range(size)]
        b = [rng.randint(0, 100) / 100 for _ in range(size)]
        exact = scipy.stats.permutation_test(
            (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True,
            n_resamples=float("inf"), alternative="two-sided",
        )
        # The same by counting, without scipy's doubling of the smaller tail.
        d = [x - y for x, y in zip(a, b)]
        bar = abs(sum(d)) - 1e-9
        counted = sum(
            abs(sum(s * x for s, x in zip(signs, d))) >= bar for signs in itertools.product((1, -1), repeat=size)
        ) / 2**size
        assert abs(exact.pvalue - counted) < 1e-9, (exact.pvalue, counted)
        cases.append({"a": a, "b": b, "p": counted, "difference": float(exact.statistic)})
    return cases


def main():
    cases = []
    for name, seed, queries, documents, tied in (
        ("graded", 1, 20, 30, False), ("tied", 2, 20, 30, True), ("deep", 3, 6, 150, False),
    ):
        qrels, run = collection(seed, queries, documents, tied)
        cases.append({"name": name, "qrels": qrels, "run": run, "values": evaluate(qrels, run)})
    made_by = {
        "command": "python make_golden.py > golden.json",
        "python": sys.version.split()[0],
        "scipy": scipy.__version__,
        "pytrec-eval-terrier": __import__("importlib.metadata", fromlist=["version"]).version("pytrec-eval-terrier"),
    }
    json.dump({"made_by": made_by, "cases": cases, "significance": significance()}, sys.stdout, indent=None,
              separators=(",", ":"), sort_keys=True)
    print()


main()
