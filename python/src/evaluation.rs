//! Evaluation and significance.

use std::collections::BTreeMap;
use std::path::PathBuf;

use beir_eval::significance::{CompareOptions, Comparison as Compared, compare_evaluations};
use beir_eval::{EvalOptions, Evaluation as Evaluated, Metric, Missing, Qrels, Run, SelfHits};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat};

use crate::errors::{Failure, input};
use crate::options::named;

/// The metrics of `adam eval`.
const METRICS: [Metric; 4] = [Metric::Ndcg(10), Metric::Mrr(10), Metric::Recall(100), Metric::Map(100)];

/// Judges a run, as trec_eval does.
///
/// Args:
///     qrels: A dict from the id of a query to a dict from document to grade, or a file of judgements.
///     run: A dict from the id of a query to a dict from document to score (see `Index.rank`), or a file in TREC format.
///     metrics: Such as ["ndcg@10", "mrr@10", "recall@100", "map@100", "precision@5"]. Default: the first four.
///     missing: How a judged query without results counts: "zero" (default) or "skip".
///     drop_self: Leave out the document that bears the query's id, unless it is judged.
#[pyfunction]
#[pyo3(signature = (qrels, run, metrics=None, *, missing="zero", drop_self=false))]
pub(crate) fn evaluate(
    py: Python<'_>,
    qrels: &Bound<'_, PyAny>,
    run: &Bound<'_, PyAny>,
    metrics: Option<Vec<String>>,
    missing: &str,
    drop_self: bool,
) -> PyResult<Evaluation> {
    let metrics = match metrics {
        None => METRICS.to_vec(),
        Some(names) => names.iter().map(|name| named(name)).collect::<PyResult<Vec<Metric>>>()?,
    };
    let missing: Missing = named(missing)?;
    let qrels = qrels_of(qrels)?;
    let run = run_of(run)?;
    py.detach(|| {
        let itself = SelfHits::all(run.iter().map(|(query, _)| query.to_owned()));
        let options = EvalOptions { missing, itself: drop_self.then_some(&itself) };
        Ok(Evaluation(beir_eval::evaluate(&qrels, &run, &metrics, &options)))
    })
}

fn qrels_of(given: &Bound<'_, PyAny>) -> PyResult<Qrels> {
    let Ok(dict) = given.cast::<PyDict>() else {
        let path: PathBuf = given.extract().map_err(|_| input("qrels: a dict of dicts or a file is needed"))?;
        return given.py().detach(|| Qrels::read(path)).map_err(|error| Failure::from(error).into());
    };
    let mut all = Vec::new();
    for (query, judged) in dict {
        let query: String = query.extract().map_err(|_| input("qrels: the id of a query is no str"))?;
        let judged: BTreeMap<String, i32> = judged.extract().map_err(|_| {
            input(format!("qrels, query `{query}`: a dict from document (str) to grade (int) is needed"))
        })?;
        all.extend(judged.into_iter().map(|(document, grade)| (query.clone(), document, grade)));
    }
    Ok(Qrels::from_judgements(all))
}

fn run_of(given: &Bound<'_, PyAny>) -> PyResult<Run> {
    let Ok(dict) = given.cast::<PyDict>() else {
        let path: PathBuf = given.extract().map_err(|_| input("run: a dict of dicts or a file is needed"))?;
        return given.py().detach(|| Run::read(path)).map_err(|error| Failure::from(error).into());
    };
    let mut run = Run::new();
    for (query, hits) in dict {
        let query: String = query.extract().map_err(|_| input("run: the id of a query is no str"))?;
        let wrong = |problem: &str| input(format!("run, query `{query}`: {problem}"));
        let hits = hits.cast::<PyDict>().map_err(|_| wrong("a dict from document to score is needed"))?;
        let mut scores = Vec::with_capacity(hits.len());
        for (document, score) in hits {
            let document: String = document.extract().map_err(|_| wrong("the id of a document is no str"))?;
            let score: f64 = score.extract().map_err(|_| wrong(&format!("the score of `{document}` is no number")))?;
            if !score.is_finite() {
                return Err(wrong(&format!("the score of `{document}` is {score}, which is not a finite number")));
            }
            scores.push((document, score));
        }
        run.insert(query, scores);
    }
    Ok(run)
}

/// The values of a run by each metric.
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Evaluation(Evaluated);

impl Evaluation {
    fn metric(&self, name: &str) -> PyResult<Metric> {
        let metric: Metric = named(name)?;
        let known = self.0.metrics();
        if known.contains(&metric) {
            return Ok(metric);
        }
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        Err(input(format!("the evaluation has no {metric}; it has {}", known.join(", "))))
    }
}

#[pymethods]
impl Evaluation {
    /// The metrics.
    #[getter]
    fn metrics(&self) -> Vec<String> {
        self.0.metrics().iter().map(ToString::to_string).collect()
    }

    /// Number of queries that the means are over.
    #[getter]
    fn num_queries(&self) -> usize {
        self.0.num_queries()
    }

    /// Judged queries without results.
    #[getter]
    fn without_results(&self) -> usize {
        self.0.without_results()
    }

    /// The mean of a metric over the queries.
    fn mean(&self, metric: &str) -> PyResult<f64> {
        Ok(self.0.mean(self.metric(metric)?))
    }

    /// The values of a metric: a dict from the id of a query.
    fn per_query<'py>(&self, py: Python<'py>, metric: &str) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (query, value) in self.0.per_query(self.metric(metric)?) {
            dict.set_item(query, PyFloat::new(py, value))?;
        }
        Ok(dict)
    }

    /// The means: a dict from metric to value.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for metric in self.0.metrics() {
            dict.set_item(metric.to_string(), self.0.mean(*metric))?;
        }
        Ok(dict)
    }

    fn __getitem__(&self, metric: &str) -> PyResult<f64> {
        self.mean(metric)
    }

    fn __repr__(&self) -> String {
        let means: Vec<String> =
            self.0.metrics().iter().map(|metric| format!("{metric} {:.4}", self.0.mean(*metric))).collect();
        format!("Evaluation({}, {} queries)", means.join(", "), self.0.num_queries())
    }

    fn _repr_html_(&self) -> String {
        let cells = |tag: &str, cells: Vec<String>| -> String {
            cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect()
        };
        let names = self.0.metrics().iter().map(ToString::to_string).collect();
        let means = self.0.metrics().iter().map(|metric| format!("{:.4}", self.0.mean(*metric))).collect();
        format!(
            "<table><thead><tr>{}</tr></thead><tbody><tr>{}</tr></tbody></table>",
            cells("th", names),
            cells("td", means)
        )
    }
}

/// Whether two systems differ: the sign-flip randomisation test over the queries that both evaluations have, and a bootstrap interval of
/// the difference.
///
/// Args:
///     a, b: Evaluations of two runs.
///     metric: By which they are compared.
///     permutations: Random sign patterns tried.
///     resamples: Bootstrap samples drawn.
///     confidence: What share of the bootstrap means the interval holds.
///     seed: Seed of the random numbers.
#[pyfunction]
#[pyo3(signature = (a, b, metric="ndcg@10", *, permutations=10_000, resamples=10_000, confidence=0.95, seed=42))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub(crate) fn compare(
    py: Python<'_>,
    a: &Bound<'_, Evaluation>,
    b: &Bound<'_, Evaluation>,
    metric: &str,
    permutations: usize,
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> PyResult<Comparison> {
    let (a, b) = (a.get(), b.get());
    let by = a.metric(metric)?;
    b.metric(metric)?;
    let options = CompareOptions { permutations, resamples, confidence, seed };
    py.detach(|| compare_evaluations(&a.0, &b.0, by, &options))
        .map(|compared| Comparison { compared, metric: by.to_string() })
        .map_err(|error| Failure::from(error).into())
}

/// How two systems compare.
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Comparison {
    compared: Compared,
    metric: String,
}

#[pymethods]
impl Comparison {
    /// Mean of the first minus mean of the second.
    #[getter]
    fn difference(&self) -> f64 {
        self.compared.difference
    }

    /// Two-sided: how often a difference at least this large comes about by chance.
    #[getter]
    fn p_value(&self) -> f64 {
        self.compared.p_value
    }

    /// Lower end of the interval of the difference.
    #[getter]
    fn low(&self) -> f64 {
        self.compared.low
    }

    /// Upper end of the interval of the difference.
    #[getter]
    fn high(&self) -> f64 {
        self.compared.high
    }

    /// Number of queries.
    #[getter]
    fn num_queries(&self) -> usize {
        self.compared.queries
    }

    /// The metric.
    #[getter]
    fn metric(&self) -> &str {
        &self.metric
    }

    fn __repr__(&self) -> String {
        let Compared { difference, p_value, low, high, queries } = self.compared;
        let p = if p_value < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p_value:.3}") };
        format!("Comparison({} {difference:+.4}, {p}, {low:+.4} to {high:+.4}, {queries} queries)", self.metric)
    }
}
