//! Metrics and p-values against those of trec_eval and scipy. `golden/make_golden.py` says how they were made.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use beir_eval::significance::{CompareOptions, compare};
use beir_eval::{EvalOptions, Metric, Missing, Qrels, Run, SelfHits, evaluate};
use serde::Deserialize;

type ByQuery<T> = BTreeMap<String, BTreeMap<String, T>>;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    significance: Vec<Pair>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    qrels: ByQuery<i32>,
    run: ByQuery<f64>,
    values: ByQuery<f64>,
}

#[derive(Deserialize)]
struct Pair {
    a: Vec<f64>,
    b: Vec<f64>,
    p: f64,
    difference: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/golden.json")).unwrap()
}

fn run_of(case: &Case) -> Run {
    let mut run = Run::new();
    for (query, hits) in &case.run {
        run.insert(query, hits.iter().map(|(id, score)| (id.clone(), *score)).collect());
    }
    run
}

fn qrels_of(case: &Case) -> Qrels {
    Qrels::from_judgements(case.qrels.iter().flat_map(|(query, grades)| {
        grades.iter().map(move |(document, grade)| (query.as_str(), document.as_str(), *grade))
    }))
}

#[test]
fn metrics_equal_trec_eval() {
    let mut compared = 0;
    for case in golden().cases {
        let qrels = qrels_of(&case);
        let skip = EvalOptions { missing: Missing::Skip, itself: None };
        let metrics: Vec<Metric> =
            case.values.values().next().unwrap().keys().map(|name| name.parse().unwrap()).collect();
        let evaluation = evaluate(&qrels, &run_of(&case), &metrics, &skip);
        for metric in metrics {
            let ours = evaluation.per_query(metric);
            assert_eq!(ours.len(), case.values.len(), "{}: queries evaluated", case.name);
            for (query, value) in ours {
                let theirs = case.values[&query][&metric.to_string()];
                assert!((value - theirs).abs() < 1e-12, "{} {query} {metric}: {value}, trec_eval {theirs}", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn a_query_without_results_counts_zero_unless_skipped() {
    for case in golden().cases {
        let qrels = qrels_of(&case);
        let metric = Metric::Ndcg(10);
        let sum: f64 = case.values.values().map(|of_query| of_query["ndcg@10"]).sum();
        let run = run_of(&case);
        let zero = evaluate(&qrels, &run, &[metric], &EvalOptions::default());
        assert_eq!(zero.num_queries(), qrels.len());
        assert!((zero.mean(metric) - sum / qrels.len() as f64).abs() < 1e-12);
        assert_eq!(zero.without_results(), qrels.len() - case.values.len());
        assert!(zero.without_results() > 0, "the case has such a query");
        let skip = EvalOptions { missing: Missing::Skip, ..EvalOptions::default() };
        let skipped = evaluate(&qrels, &run, &[metric], &skip);
        assert!((skipped.mean(metric) - sum / case.values.len() as f64).abs() < 1e-12);
    }
}

#[test]
fn a_run_file_written_and_read_gives_the_same_figures() {
    let folder = tempfile::tempdir().unwrap();
    for case in golden().cases {
        let path = folder.path().join("a.run");
        let run = run_of(&case);
        run.write(&path, "golden").unwrap();
        let back = Run::read(&path).unwrap();
        assert_eq!(back.len(), run.len());
        let qrels = qrels_of(&case);
        let metrics = [Metric::Ndcg(10), Metric::Map(100), Metric::Mrr(3)];
        for metric in metrics {
            let figures = |run| evaluate(&qrels, run, &metrics, &EvalOptions::default()).values(metric);
            assert_eq!(figures(&run), figures(&back));
        }
    }
}

#[test]
fn a_hit_that_bears_the_querys_id_counts_unless_it_is_the_query_and_not_judged() {
    let metrics = [Metric::Mrr(1), Metric::Recall(1)];
    let mut run = Run::new();
    run.insert("x", vec![("x".to_owned(), 9.0), ("right".to_owned(), 1.0)]);
    let itself = SelfHits::all(["x"]);
    let known = EvalOptions { itself: Some(&itself), ..EvalOptions::default() };

    let both = Qrels::from_judgements([("x", "right", 1), ("x", "x", 1)]);
    for options in [EvalOptions::default(), known] {
        let judged = evaluate(&both, &run, &metrics, &options);
        assert_eq!((judged.mean(metrics[0]), judged.mean(metrics[1]), judged.dropped()), (1.0, 0.5, 0));
    }
    let other = Qrels::from_judgements([("x", "right", 1)]);
    let counted = evaluate(&other, &run, &metrics, &EvalOptions::default());
    assert_eq!((counted.mean(Metric::Mrr(1)), counted.dropped()), (0.0, 0));
    let dropped = evaluate(&other, &run, &metrics, &known);
    assert_eq!((dropped.mean(Metric::Mrr(1)), dropped.dropped()), (1.0, 1));
}

#[test]
fn p_values_equal_full_enumeration() {
    for pair in golden().significance {
        let exact = compare(&pair.a, &pair.b, &CompareOptions::default()).unwrap();
        assert!((exact.p_value - pair.p).abs() < 1e-12, "{exact:?}, scipy {}", pair.p);
        assert!((exact.difference - pair.difference).abs() < 1e-12);
        // Drawn at random instead of counted out, it comes close.
        let drawn = CompareOptions { permutations: (1 << pair.a.len()) - 1, ..CompareOptions::default() };
        if pair.a.len() > 9 {
            let drawn = compare(&pair.a, &pair.b, &drawn).unwrap();
            assert!((drawn.p_value - pair.p).abs() < 0.05, "{drawn:?}, exact {}", pair.p);
        }
    }
}
