//! A run against judgements.

use crate::itself::SelfHits;
use crate::metric::Metric;
use crate::qrels::Qrels;
use crate::run::{Run, rank};

/// What a judged query without any result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// It counts 0, as with trec_eval's `-c`: a system that answers nothing gains nothing by it.
    #[default]
    Zero,
    /// It is left out of the mean, as trec_eval does without `-c`.
    Skip,
}

impl std::str::FromStr for Missing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "zero" => Ok(Self::Zero),
            "skip" => Ok(Self::Skip),
            _ => Err(format!("`{text}` is neither `zero` nor `skip`")),
        }
    }
}

/// How a run is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EvalOptions<'a> {
    /// What becomes of judged queries without results.
    pub missing: Missing,
    /// Queries that are documents of the corpus: their hit of the same id is dropped before ranking, unless it is judged. By
    /// default nothing is dropped. Of a run of k results that leaves one too few for a metric at k: ask the system for k + 1.
    pub itself: Option<&'a SelfHits>,
}

/// One query's grades.
#[derive(Debug, Clone)]
struct GradedRanking {
    query: String,
    /// Grades of the documents found, best first.
    ranked: Vec<i32>,
    /// All grades of the query.
    judged: Vec<i32>,
}

/// The outcome of [`evaluate`]: values by query, from which any metric up to the cut that was kept can be had.
#[derive(Debug, Clone)]
pub struct Evaluation {
    metrics: Vec<Metric>,
    queries: Vec<GradedRanking>,
    missing: usize,
    dropped: usize,
}

/// Evaluates a run.
///
/// Results are kept down to the deepest cut of `metrics`; asking the evaluation for a deeper one later sees a run cut
/// there. Queries that were not judged are ignored.
pub fn evaluate(qrels: &Qrels, run: &Run, metrics: &[Metric], options: &EvalOptions<'_>) -> Evaluation {
    let depth = metrics.iter().map(|metric| metric.cut()).max().unwrap_or(0);
    let mut queries = Vec::with_capacity(qrels.len());
    let (mut missing, mut dropped) = (0, 0);
    for (query, judged) in qrels.iter() {
        let hits = run.get(query).unwrap_or(&[]);
        if hits.is_empty() {
            missing += 1;
            if options.missing == Missing::Skip {
                continue;
            }
        }
        let mut ranked = rank(hits);
        if let Some(itself) = options.itself {
            ranked.retain(|(document, _)| !itself.contains(qrels, query, document));
            dropped += hits.len() - ranked.len();
        }
        let grades = ranked.iter().take(depth).map(|(document, _)| judged.get(*document).copied().unwrap_or(0));
        queries.push(GradedRanking {
            query: query.clone(),
            ranked: grades.collect(),
            judged: judged.values().copied().collect(),
        });
    }
    Evaluation { metrics: metrics.to_vec(), queries, missing, dropped }
}

impl Evaluation {
    /// The metrics that were asked for.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// How many queries the means are taken over.
    pub fn num_queries(&self) -> usize {
        self.queries.len()
    }

    /// How many judged queries had no result.
    pub fn without_results(&self) -> usize {
        self.missing
    }

    /// How many hits were dropped because they are the query itself.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// The mean over the queries; 0 where there are none.
    pub fn mean(&self, metric: Metric) -> f64 {
        if self.queries.is_empty() {
            return 0.0;
        }
        // The sum of nothing but zeros is a negative one.
        self.values(metric).iter().fold(0.0, |sum, value| sum + value) / self.queries.len() as f64
    }

    /// Values by query, in the order of the query ids.
    pub fn per_query(&self, metric: Metric) -> Vec<(String, f64)> {
        let ids = self.queries.iter().map(|judged| judged.query.clone());
        ids.zip(self.values(metric)).collect()
    }

    /// The values of [`per_query`](Self::per_query) without the ids.
    pub fn values(&self, metric: Metric) -> Vec<f64> {
        self.queries.iter().map(|judged| metric.value(&judged.ranked, &judged.judged)).collect()
    }
}
