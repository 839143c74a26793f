//! Dense and lexical search as one ranking, as `adam` serves it: a convex combination of both scores over the first of each arm.

use super::vectors::Vectors;
use super::voices::bm25::{Bm25, Postings};
use crate::error::TrainError;
use beir_eval::{EvalOptions, Metric, Qrels, Run, evaluate};

/// The share of the dense score that `adam` uses where nothing else is said.
pub(crate) const DEFAULT_WEIGHT: f32 = 0.8;
/// Documents that each arm takes.
const WINDOW: usize = 200;

/// Both arms over a collection.
pub(crate) struct Arms<'a> {
    bm25: Bm25,
    postings: Postings,
    vectors: &'a Vectors,
}

/// A document with the scores of both arms, from 0 to 1.
pub(crate) struct Found {
    row: u32,
    lexical: f32,
    dense: f32,
}

impl<'a> Arms<'a> {
    /// Reads the collection's texts once.
    ///
    /// # Errors
    /// When the analyser is not there.
    pub(crate) fn of(
        count: usize,
        text: &(dyn Fn(usize) -> String + Sync),
        vectors: &'a Vectors,
    ) -> Result<Self, TrainError> {
        let bm25 = Bm25::of_texts(count, text)?;
        Ok(Self { postings: bm25.postings(), bm25, vectors })
    }

    /// What either arm finds, with the scores of both: from their least possible value to the best one found.
    pub(crate) fn search(&self, query: &str, vector: &[f32]) -> Vec<Found> {
        let terms = self.bm25.terms(query);
        let mut rows: Vec<u32> = self.bm25.top(&self.postings, &terms, WINDOW).into_iter().map(|hit| hit.0).collect();
        rows.extend(self.vectors.nearest(vector, WINDOW).into_iter().map(|(row, _)| row as u32));
        rows.sort_unstable();
        rows.dedup();
        let lexical: Vec<f32> = rows.iter().map(|&row| self.bm25.passage(&terms, row)).collect();
        let similarity = |row: u32| {
            let stored = self.vectors.row(row as usize).unwrap_or_default();
            stored.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>()
        };
        let dense: Vec<f32> = rows.iter().map(|&row| similarity(row)).collect();
        let (lexical, dense) = (scaled(&lexical, 0.0), scaled(&dense, -1.0));
        rows.into_iter().zip(lexical).zip(dense).map(|((row, lexical), dense)| Found { row, lexical, dense }).collect()
    }
}

/// From `low`, or the least score where that is lower, to the best score, as 0 to 1.
fn scaled(scores: &[f32], low: f32) -> Vec<f32> {
    let low = scores.iter().copied().fold(low, f32::min);
    let high = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter().map(|score| if high > low { (score - low) / (high - low) } else { 1.0 }).collect()
}

/// The ranking under a weight of the dense score: row and score, best first.
pub(crate) fn ranking(found: &[Found], weight: f32) -> Vec<(u32, f32)> {
    let fused = |f: &Found| (f.row, weight * f.dense + (1.0 - weight) * f.lexical);
    let mut ranked: Vec<(u32, f32)> = found.iter().map(fused).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked
}

/// The weight under which judged queries are ranked best, in steps of 0.05; of equals the one nearest to the default. `queries` are what
/// was found for each, and its relevant rows.
pub(crate) fn choose_weight(queries: &[(Vec<Found>, &[u32])]) -> f32 {
    let judgements = queries
        .iter()
        .enumerate()
        .flat_map(|(at, (_, relevant))| relevant.iter().map(move |row| (at.to_string(), row.to_string(), 1)));
    let qrels = Qrels::from_judgements(judgements.collect::<Vec<_>>());
    let value = |weight: f32| {
        let mut run = Run::new();
        for (at, (found, _)) in queries.iter().enumerate() {
            let hits = ranking(found, weight).into_iter().take(100);
            run.insert(at.to_string(), hits.map(|(row, score)| (row.to_string(), f64::from(score))).collect());
        }
        evaluate(&qrels, &run, &[Metric::Ndcg(10)], &EvalOptions::default()).mean(Metric::Ndcg(10))
    };
    let mut best = (f64::NEG_INFINITY, DEFAULT_WEIGHT);
    let mut weights: Vec<f32> = (0..=20).map(|step| step as f32 / 20.0).collect();
    weights.sort_by(|a, b| (a - DEFAULT_WEIGHT).abs().total_cmp(&(b - DEFAULT_WEIGHT).abs()));
    for weight in weights {
        let found = value(weight);
        if found > best.0 + 1e-9 {
            best = (found, weight);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_arms_are_ranked_together_and_the_weight_follows_the_judgements() {
        let texts = ["crow hook wire", "iron blood", "aurora light"];
        let vectors = Vectors { dimension: 2, values: vec![0.0, 1.0, 1.0, 0.0, 0.8, 0.6] };
        let arms = Arms::of(3, &|row| texts[row].to_owned(), &vectors).unwrap();
        // The words say the first, the vector says the second.
        let found = || arms.search("crow hook", &[1.0, 0.0]);
        let first = |weight: f32| ranking(&found(), weight)[0].0;
        assert_eq!((first(1.0), first(0.0)), (1, 0));
        assert_eq!(found().len(), 3, "what one arm finds has the score of the other");
        // The first scores (1 - w) + w / 2, the second w: the first is ahead below a weight of 2/3.
        assert!((choose_weight(&[(found(), &[0][..])]) - 0.65).abs() < 1e-6);
        // Nearest to the default where nothing tells them apart.
        assert_eq!(choose_weight(&[(found(), &[1][..])]), DEFAULT_WEIGHT);
        assert_eq!(choose_weight(&[]), DEFAULT_WEIGHT);
        assert!(arms.search("", &[1.0, 0.0]).len() == 3);
    }
}
