//! One score out of several.
//!
//! # Edge rules
//! - A document without a raw score in an arm gets the least that the arm gave to any candidate, and never more than 0: 0 for
//!   reciprocal ranks, convex, min-max and DBSF, whose values are never negative; the lowest z-score; under [`Fusion::Sum`], 0 or the
//!   lowest raw score where that is negative. So a document that an arm did not find never gets more from it than one it found.
//! - All fusions but [`Fusion::Custom`] are monotone: a document whose raw score is at least another's in every arm (no score
//!   counts as lower than any) has at least its fused score.
//! - Equal raw scores have equal ranks ([`Column::ranks`]).
//! - An arm in which all scores are equal says nothing about their order: min-max gives each of them 1 (each is the best),
//!   z-score 0, DBSF 0.5. The same holds for an arm with one hit.
//! - An arm without any score gives 0 to all; the others decide.
//! - Ties of the fused score are left to the caller, who has the addresses.

use std::fmt;
use std::sync::Arc;

use tantivy::DocAddress;

use super::matrix::{Column, Matrix};
use crate::DenseError;

/// What a user's own fusion makes of an arm's column: one value for each candidate.
pub type Normalise = dyn Fn(&Column) -> Vec<f32> + Send + Sync;

/// How an arm's scores are made comparable with another's. The weighted sum over arms is the fused score.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Fusion {
    /// `1 / (k + rank)`: reciprocal rank fusion, which forgets scores (Cormack, Clarke and Büttcher, SIGIR 2009; `k` is 60 there).
    /// Equal raw scores share a rank.
    Rrf {
        /// Larger values make the first ranks less special; 0 or more.
        k: f32,
    },
    /// From the least score that is possible in theory to the best one found, as 0 to 1 (Bruch, Gai and Ingber, TOIS 2023). Where an
    /// arm has no such bound (inner product, L2), as [`Fusion::MinMax`].
    #[default]
    Convex,
    /// From the least score found to the best one, as 0 to 1.
    MinMax,
    /// Distance from the mean of the found scores, in standard deviations.
    ZScore,
    /// As the z-score, with three deviations below the mean as 0 and three above it as 1, and no further.
    Dbsf,
    /// Raw scores as they are.
    Sum,
    /// The user's own: one finite value for each candidate. Whether it is monotone is up to it.
    Custom(Arc<Normalise>),
}

/// A fused matrix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fused {
    /// By candidate.
    pub(super) scores: Vec<f32>,
    /// By arm and candidate.
    pub(super) normalised: Vec<Vec<f32>>,
}

impl Fusion {
    /// Reciprocal rank fusion with the usual `k` of 60.
    pub fn rrf() -> Fusion {
        Fusion::Rrf { k: 60.0 }
    }

    /// An arm's column as comparable values, one for each candidate; see the edge rules above.
    pub fn normalise(&self, column: &Column) -> Vec<f32> {
        let found = || column.raw().iter().flatten().copied();
        let lowest = found().fold(f32::INFINITY, f32::min);
        let highest = found().fold(f32::NEG_INFINITY, f32::max);
        let each = |value: &dyn Fn(f32) -> f32| {
            let least = if lowest.is_finite() { value(lowest).min(0.0) } else { 0.0 };
            column.raw().iter().map(|raw| raw.map_or(least, value)).collect()
        };
        // In f64: the difference of two scores may be beyond f32.
        let between = |low: f32| {
            let (low, range) = (f64::from(low), f64::from(highest) - f64::from(low));
            each(&move |raw| if range > 0.0 { ((f64::from(raw) - low) / range) as f32 } else { 1.0 })
        };
        match self {
            Fusion::Rrf { k } => {
                column.ranks().into_iter().map(|rank| rank.map_or(0.0, |rank| 1.0 / (k + rank as f32))).collect()
            }
            Fusion::Convex => between(column.lower_bound().unwrap_or(lowest).min(lowest)),
            Fusion::MinMax => between(lowest),
            Fusion::ZScore | Fusion::Dbsf => {
                // Summed up from the lowest: the order of candidates must not change the last bits.
                let mut sorted: Vec<f32> = found().collect();
                sorted.sort_unstable_by(f32::total_cmp);
                let count = sorted.len().max(1) as f64;
                let mean = sorted.iter().copied().map(f64::from).sum::<f64>() / count;
                let deviation = (sorted.iter().map(|&raw| (f64::from(raw) - mean).powi(2)).sum::<f64>() / count).sqrt();
                // The sum of equal scores is rounded, and would leave a deviation that is none.
                let differ = highest > lowest && deviation > 0.0;
                let z = move |raw: f32| if differ { ((f64::from(raw) - mean) / deviation) as f32 } else { 0.0 };
                if matches!(self, Fusion::ZScore) {
                    each(&z)
                } else {
                    each(&|raw| ((z(raw) + 3.0) / 6.0).clamp(0.0, 1.0))
                }
            }
            Fusion::Sum => each(&|raw| raw),
            Fusion::Custom(normalise) => normalise(column),
        }
    }

    /// Fuses candidates that were found elsewhere, such as in several indexes: one [`Column`] of raw scores for each arm, in the order of
    /// the keys, with its weight. Best first; ties go to the lower key.
    ///
    /// Give it all candidates at once: most fusions depend on the best or the mean of a column.
    ///
    /// # Errors
    /// [`DenseError::Fusion`] for a weight that is negative or no number, and for a fused score that is no number.
    ///
    /// ```
    /// # fn main() -> Result<(), tantivy_dense::DenseError> {
    /// use tantivy_dense::Fusion;
    /// use tantivy_dense::hybrid::Column;
    /// let words = Column::new(vec![Some(7.0), None, Some(3.5)], Some(0.0));
    /// let vectors = Column::new(vec![Some(0.2), Some(0.9), Some(0.8)], Some(-1.0));
    /// let ranking = Fusion::Convex.rank(vec!["a", "b", "c"], vec![(words, 0.5), (vectors, 0.5)])?;
    /// assert_eq!(ranking[0].0, "a");
    /// # Ok(())
    /// # }
    /// ```
    pub fn rank<K: Ord>(&self, keys: Vec<K>, arms: Vec<(Column, f32)>) -> Result<Vec<(K, f32)>, DenseError> {
        if let Some((_, weight)) = arms.iter().find(|(_, weight)| !(weight.is_finite() && *weight >= 0.0)) {
            return Err(DenseError::Fusion { why: format!("the weight of an arm must be 0 or more, and is {weight}") });
        }
        let (columns, weights): (Vec<Column>, Vec<f32>) = arms.into_iter().unzip();
        // Addresses only name the candidates of an index; here the keys do.
        let candidates = (0..keys.len()).map(|at| DocAddress::new(0, u32::try_from(at).unwrap_or(u32::MAX))).collect();
        let fused = self.fuse(&Matrix::new(candidates, columns), &weights)?;
        let mut ranking: Vec<(K, f32)> = keys.into_iter().zip(fused.scores).collect();
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(ranking)
    }

    /// The weighted sum of the arms' normalised scores.
    ///
    /// Every step is monotone in f32 too: adding, multiplying by a weight that is not negative and rounding never turn an order round.
    pub(super) fn fuse(&self, matrix: &Matrix, weights: &[f32]) -> Result<Fused, DenseError> {
        if let Fusion::Rrf { k } = self
            && !(k.is_finite() && *k >= 0.0)
        {
            return Err(DenseError::Fusion { why: format!("`k` of reciprocal ranks must be 0 or more, and is {k}") });
        }
        let count = matrix.candidates().len();
        let normalised: Vec<Vec<f32>> = matrix.columns().iter().map(|column| self.normalise(column)).collect();
        if let Some(values) = normalised.iter().find(|values| values.len() != count) {
            let why = format!("the application's fusion gave {} values for {count} candidates", values.len());
            return Err(DenseError::Fusion { why });
        }
        let mut scores = vec![0.0; count];
        for (values, weight) in normalised.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
            for (score, value) in scores.iter_mut().zip(values) {
                *score += weight * value;
            }
        }
        // -0 would be ordered below 0.
        scores.iter_mut().for_each(|score| *score += 0.0);
        match scores.iter().find(|score| !score.is_finite()) {
            Some(score) => {
                Err(DenseError::Fusion { why: format!("a fused score is {score}, which has no place in an order") })
            }
            None => Ok(Fused { scores, normalised }),
        }
    }
}

impl fmt::Display for Fusion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fusion::Rrf { k } => write!(out, "reciprocal ranks (k = {k})"),
            Fusion::Convex => out.write_str("convex combination from the theoretical minimum"),
            Fusion::MinMax => out.write_str("min-max"),
            Fusion::ZScore => out.write_str("z-score"),
            Fusion::Dbsf => out.write_str("z-score within three deviations"),
            Fusion::Sum => out.write_str("the sum of raw scores"),
            Fusion::Custom(_) => out.write_str("the application's own fusion"),
        }
    }
}

impl fmt::Debug for Fusion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tantivy::DocAddress;

    use super::*;

    fn all() -> Vec<Fusion> {
        let halves: Arc<Normalise> =
            Arc::new(|column| column.raw().iter().map(|raw| raw.map_or(0.0, |raw| raw / 2.0)).collect());
        vec![
            Fusion::rrf(),
            Fusion::Convex,
            Fusion::MinMax,
            Fusion::ZScore,
            Fusion::Dbsf,
            Fusion::Sum,
            Fusion::Custom(halves),
        ]
    }

    fn column(raw: &[Option<f32>]) -> Column {
        Column::new(raw.to_vec(), Some(0.0))
    }

    #[test]
    fn worked_by_hand() {
        let scores = column(&[Some(8.0), None, Some(2.0), Some(4.0)]);
        let near = |fusion: Fusion, wanted: [f32; 4]| {
            for (got, wanted) in fusion.normalise(&scores).iter().zip(wanted) {
                assert!((got - wanted).abs() < 1e-6, "{fusion}: {got} {wanted}");
            }
        };
        near(Fusion::rrf(), [1.0 / 61.0, 0.0, 1.0 / 63.0, 1.0 / 62.0]);
        near(Fusion::Convex, [1.0, 0.0, 0.25, 0.5]);
        near(Fusion::MinMax, [1.0, 0.0, 0.0, 1.0 / 3.0]);
        // Mean 14/3, variance 56/9.
        let deviation = (56f32 / 9.0).sqrt();
        let z = [(8.0 - 14.0 / 3.0) / deviation, (2.0 - 14.0 / 3.0) / deviation, (4.0 - 14.0 / 3.0) / deviation];
        near(Fusion::ZScore, [z[0], z[1], z[1], z[2]]);
        near(Fusion::Dbsf, [(z[0] + 3.0) / 6.0, 0.0, (z[1] + 3.0) / 6.0, (z[2] + 3.0) / 6.0]);
        near(Fusion::Sum, [8.0, 0.0, 2.0, 4.0]);
        let negative = Column::new(vec![Some(-3.0), None, Some(-1.0)], None);
        assert_eq!(Fusion::Sum.normalise(&negative), [-3.0, -3.0, -1.0], "no similarity is no better than the least");
    }

    #[test]
    fn edges_are_as_written() {
        let constant = column(&[Some(3.0), Some(3.0), None]);
        assert_eq!(Fusion::MinMax.normalise(&constant), [1.0, 1.0, 0.0]);
        assert_eq!(Fusion::Convex.normalise(&constant), [1.0, 1.0, 0.0]);
        assert_eq!(Fusion::ZScore.normalise(&constant), [0.0, 0.0, 0.0]);
        assert_eq!(Fusion::Dbsf.normalise(&constant), [0.5, 0.5, 0.0]);
        let single = column(&[None, Some(0.0), None]);
        assert_eq!(Fusion::Convex.normalise(&single), [0.0, 1.0, 0.0], "the one hit is the best, even at the bound");
        for fusion in all() {
            assert_eq!(fusion.normalise(&column(&[None, None])), [0.0, 0.0], "{fusion}");
            assert!(fusion.normalise(&column(&[])).is_empty());
        }
        let unbounded = Column::new(vec![Some(-9.0), Some(-1.0)], None);
        assert_eq!(Fusion::Convex.normalise(&unbounded), Fusion::MinMax.normalise(&unbounded));
    }

    #[test]
    fn equal_scores_share_a_rank() {
        let column = column(&[Some(2.0), Some(5.0), None, Some(2.0), Some(1.0), Some(5.0)]);
        assert_eq!(column.ranks(), [Some(3), Some(1), None, Some(3), Some(5), Some(1)]);
        let rrf = Fusion::rrf().normalise(&column);
        assert_eq!((rrf[0], rrf[1]), (rrf[3], rrf[5]));
        assert_eq!(column.clone().after(vec![9.0, 2.0]).ranks(), [Some(4), Some(2), None, Some(4), Some(7), Some(2)]);
    }

    /// A document that words did not find, beside one that both arms prefer to it.
    #[test]
    fn a_missing_score_is_no_better_than_the_least() {
        let words = Column::new(vec![Some(9.0), Some(8.0), Some(2.0), None], Some(0.0));
        let vectors = Column::new(vec![Some(0.9), Some(0.8), Some(0.45), Some(0.4)], Some(-1.0));
        let matrix = Matrix::new((0..4).map(|doc| DocAddress::new(0, doc)).collect(), vec![words, vectors]);
        for fusion in all() {
            let scores = fusion.fuse(&matrix, &[0.8, 0.2]).unwrap().scores;
            assert!(scores[2] > scores[3], "{fusion}: {scores:?}");
        }
    }

    #[test]
    fn what_cannot_be_ordered_is_refused() {
        let matrix = Matrix::new(vec![DocAddress::new(0, 0)], vec![column(&[Some(1.0)])]);
        let own = |value: &'static [f32]| Fusion::Custom(Arc::new(move |_: &Column| value.to_vec()));
        for (fusion, weight, named) in [
            (own(&[f32::NAN]), 1.0, "NaN"),
            (own(&[f32::MAX]), 2.0, "inf"),
            (own(&[]), 1.0, "0 values for 1 candidates"),
            (Fusion::Rrf { k: -1.0 }, 1.0, "is -1"),
        ] {
            let error = fusion.fuse(&matrix, &[weight]).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    prop_compose! {
        fn scores()(raw in prop::collection::vec(prop::option::of(0.0f32..50.0), 0..40)) -> Vec<Option<f32>> { raw }
    }

    proptest! {
        #[test]
        fn values_are_finite_bounded_and_keep_the_arms_order(raw in scores()) {
            let column = column(&raw);
            for fusion in all() {
                let values = fusion.normalise(&column);
                prop_assert_eq!(values.len(), raw.len());
                prop_assert!(values.iter().all(|value| value.is_finite()));
                if matches!(fusion, Fusion::Convex | Fusion::MinMax | Fusion::Dbsf | Fusion::Rrf { .. }) {
                    prop_assert!(values.iter().all(|value| (0.0..=1.0).contains(value)), "{} {:?}", fusion, values);
                }
                for (a, one) in raw.iter().enumerate() {
                    for (b, other) in raw.iter().enumerate() {
                        if let (Some(one), Some(other)) = (one, other) && one > other {
                            prop_assert!(values[a] >= values[b], "{}", fusion);
                        }
                    }
                }
            }
        }

        #[test]
        fn the_order_of_candidates_does_not_matter(raw in scores(), turn in 0usize..40) {
            let raw: Vec<Option<f32>> = raw.iter().map(|raw| raw.map(f32::floor)).collect();
            let mut turned = raw.clone();
            if !turned.is_empty() { let by = turn % turned.len(); turned.rotate_left(by); }
            for fusion in all() {
                let mut values = fusion.normalise(&column(&raw));
                if !values.is_empty() { let by = turn % values.len(); values.rotate_left(by); }
                for (one, other) in values.iter().zip(fusion.normalise(&column(&turned))) {
                    prop_assert!((one - other).abs() <= 1e-5 * one.abs().max(1.0), "{}: {} {}", fusion, one, other);
                }
            }
        }

        /// Scores of any sign, many of them equal, bounded below or not, in up to four arms of any weight.
        #[test]
        fn at_least_as_good_in_every_arm_is_at_least_as_good(
            arms in prop::collection::vec(
                (prop::collection::vec(prop::option::of((-6i8..6, prop::bool::ANY)), 12), prop::bool::ANY, 0u8..4), 1..5),
        ) {
            let scale = |(value, fine): (i8, bool)| f32::from(value) * if fine { 0.37 } else { 11.0 };
            let rows: Vec<Vec<Option<f32>>> = arms.iter().map(|arm| arm.0.iter().map(|raw| raw.map(scale)).collect()).collect();
            let columns = rows.iter().zip(&arms).map(|(raw, arm)| Column::new(raw.clone(), arm.1.then_some(-66.0))).collect();
            let weights: Vec<f32> = arms.iter().map(|arm| f32::from(arm.2) * 0.3).collect();
            let matrix = Matrix::new((0..12).map(|doc| DocAddress::new(0, doc)).collect(), columns);
            // `None` is less than any score in Rust's order, as in ours.
            let squeezed: Arc<Normalise> =
                Arc::new(|column| column.raw().iter().map(|raw| raw.map_or(-1.0, |raw| raw / (1.0 + raw.abs()))).collect());
            for fusion in all().into_iter().filter(|fusion| !matches!(fusion, Fusion::Custom(_))).chain([Fusion::Custom(squeezed)]) {
                let scores = fusion.fuse(&matrix, &weights).unwrap().scores;
                for a in 0..12 {
                    for b in 0..12 {
                        if rows.iter().all(|raw| raw[a] >= raw[b]) {
                            prop_assert!(scores[a] >= scores[b], "{}: {} {}, weights {:?}, {:?}", fusion, scores[a], scores[b], weights, rows);
                        }
                    }
                }
            }
        }

        #[test]
        fn an_arm_of_weight_zero_or_without_scores_changes_nothing(a in scores(), b in scores()) {
            let candidates: Vec<DocAddress> = (0..a.len() as u32).map(|doc| DocAddress::new(0, doc)).collect();
            let alone = Matrix::new(candidates.clone(), vec![column(&a)]);
            let mut b = b; b.resize(a.len(), None);
            let both = Matrix::new(candidates.clone(), vec![column(&a), column(&b)]);
            let empty = Matrix::new(candidates, vec![column(&a), column(&[])]);
            for fusion in all() {
                let wanted = fusion.fuse(&alone, &[1.5]).unwrap().scores;
                prop_assert_eq!(&fusion.fuse(&both, &[1.5, 0.0]).unwrap().scores, &wanted);
                prop_assert_eq!(&fusion.fuse(&empty, &[1.5, 2.0]).unwrap().scores, &wanted);
            }
        }
    }
}
