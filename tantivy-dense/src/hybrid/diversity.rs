//! Hits that differ from one another: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) over the vectors.

use tantivy::Searcher;
use tantivy::query::Explanation;

use super::hit::{FusedHit, Placement};
use crate::kernels::dot;
use crate::{Dense, DenseError, VectorField};

/// Hits that are put in a diverse order, unless said otherwise.
pub const DIVERSE: usize = 100;

/// Most hits that can be put in a diverse order: the time grows with the square of their number.
pub const MAX_DIVERSE: usize = 1000;

/// Puts hits forward that differ from those before them: [`Hybrid::diversity`](super::Hybrid::diversity).
///
/// One hit after the other is chosen, always that with the highest `lambda * relevance - (1 - lambda) * similarity`. The relevance is the
/// hit's score as a share of the best one's (where scores are below 0, from the lowest of them as 0 to the best as 1), the similarity
/// the highest cosine between its vector and that of a hit chosen before, and no less than 0. A hit without a vector is similar to
/// none. Scores stay as they are, so they rise and fall along the ranking. A page does not depend on how it is cut.
///
/// ```
/// # use tantivy_dense::{Dense, VectorField, VectorOptions};
/// # use tantivy_dense::hybrid::{Diversity, Hybrid};
/// # fn of(dense: &Dense, field: VectorField) -> Hybrid {
/// Hybrid::new().diversity(Diversity::new(dense, field, 0.7))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Diversity {
    dense: Dense,
    field: VectorField,
    lambda: f32,
    candidates: usize,
}

impl Diversity {
    /// By the vectors of a field. `lambda` is 0 to 1: with 1 the order is that of the scores, with 0 only the first is by score.
    pub fn new(dense: &Dense, field: VectorField, lambda: f32) -> Diversity {
        Diversity { dense: dense.clone(), field, lambda, candidates: DIVERSE }
    }

    /// How many of the best hits are put in order, 1 to [`MAX_DIVERSE`]; [`DIVERSE`] if not said. The others follow by score. Give the same for
    /// all pages.
    #[must_use]
    pub fn candidates(mut self, hits: usize) -> Diversity {
        self.candidates = hits;
        self
    }

    pub(super) fn check(&self) -> Result<(), DenseError> {
        if !(0.0..=1.0).contains(&self.lambda) {
            let why = format!("the lambda of diversity must lie in 0..=1, and is {}", self.lambda);
            return Err(DenseError::Fusion { why });
        }
        if !(1..=MAX_DIVERSE).contains(&self.candidates) {
            let why = format!("diversity orders 1 to {MAX_DIVERSE} hits, and not {}", self.candidates);
            return Err(DenseError::Fusion { why });
        }
        Ok(())
    }

    /// Hits that come by score, in diverse order as far as `wanted` of them.
    pub(super) fn order(
        &self,
        searcher: &Searcher,
        mut hits: Vec<FusedHit>,
        wanted: usize,
    ) -> Result<Vec<FusedHit>, DenseError> {
        let rest = hits.split_off(self.candidates.min(hits.len()));
        let vectors = hits
            .iter()
            .map(|hit| Ok(self.dense.vector(searcher, &self.field, hit.address)?.map(unit)))
            .collect::<Result<Vec<_>, DenseError>>()?;
        let relevance = relevance(&hits);
        let mut chosen = Vec::with_capacity(hits.len());
        let mut left: Vec<usize> = (0..hits.len()).collect();
        let mut nearest = vec![0.0f32; hits.len()];
        while chosen.len() < wanted && !left.is_empty() {
            let value = |at: usize| self.lambda * relevance[at] - (1.0 - self.lambda) * nearest[at];
            // Of equal ones, the better hit.
            let best = (1..left.len()).fold(0, |best, at| if value(left[at]) > value(left[best]) { at } else { best });
            let at = left.remove(best);
            hits[at].placed = Some(Placement { relevance: relevance[at], similarity: nearest[at] });
            chosen.push(at);
            let Some(vector) = &vectors[at] else { continue };
            for &other in &left {
                if let Some(own) = &vectors[other] {
                    nearest[other] = nearest[other].max(dot(vector, own));
                }
            }
        }
        let mut hits: Vec<Option<FusedHit>> = hits.into_iter().map(Some).collect();
        let order = chosen.into_iter().chain(left);
        Ok(order.filter_map(|at| hits[at].take()).chain(rest).collect())
    }

    pub(super) fn explain(&self, placed: &Placement) -> Explanation {
        let Placement { relevance, similarity } = placed;
        let lambda = self.lambda;
        let title = format!(
            "the place is by diversity: lambda {lambda} x relevance {relevance:.4} - {:.4} x similarity {similarity:.4} to a hit before it; not part of the score",
            1.0 - lambda
        );
        Explanation::new_with_string(title, lambda * relevance - (1.0 - lambda) * similarity)
    }
}

/// Scores as 0 to 1, the best 1.
fn relevance(hits: &[FusedHit]) -> Vec<f32> {
    let best = hits.iter().map(|hit| hit.score).fold(f32::NEG_INFINITY, f32::max);
    let floor = hits.iter().map(|hit| hit.score).fold(0.0, f32::min);
    let range = best - floor;
    hits.iter().map(|hit| if range > 0.0 { (hit.score - floor) / range } else { 1.0 }).collect()
}

/// A vector at length 1; zeros stay zeros.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    vector
}
