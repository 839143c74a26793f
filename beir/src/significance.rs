//! Do two systems differ, or is it luck? Paired tests over the queries.
//!
//! [`compare`] runs the sign-flip randomisation test (Fisher's) on the differences by query, and draws a bootstrap
//! interval for their mean. Both depend on the seed and the data alone.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::BeirError;
use crate::evaluate::Evaluation;
use crate::metric::Metric;

/// How two systems are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompareOptions {
    /// Random sign patterns tried; 10,000 at least for a figure to publish. Where all patterns together are no more
    /// than this, each is tried once and the p-value is exact.
    pub permutations: usize,
    /// Bootstrap samples drawn for the interval.
    pub resamples: usize,
    /// What share of the bootstrap means the interval holds, between 0 and 1.
    pub confidence: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { permutations: 10_000, resamples: 10_000, confidence: 0.95, seed: 42 }
    }
}

/// The outcome of [`compare`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Mean of the first system minus mean of the second.
    pub difference: f64,
    /// Two-sided: how often a difference at least this large comes about when the two systems are exchanged at random,
    /// query by query. Small means that they differ.
    pub p_value: f64,
    /// Lower end of the bootstrap interval of the difference.
    pub low: f64,
    /// Upper end of the bootstrap interval of the difference.
    pub high: f64,
    /// Number of queries.
    pub queries: usize,
}

/// Compares two systems by their values on the same queries, in the same order.
///
/// # Errors
/// When the two lists differ in length, are empty, or hold something that is not a finite number.
pub fn compare(a: &[f64], b: &[f64], options: &CompareOptions) -> Result<Comparison, BeirError> {
    let refuse = |problem: String| Err(BeirError::Compare { problem });
    if a.len() != b.len() {
        return refuse(format!("one has values for {} queries, the other for {}", a.len(), b.len()));
    }
    if a.is_empty() {
        return refuse("there are no queries".to_owned());
    }
    if !a.iter().chain(b).all(|value| value.is_finite()) {
        return refuse("a value is not a finite number".to_owned());
    }
    if !(options.confidence > 0.0 && options.confidence < 1.0) {
        return refuse(format!("confidence {} is not between 0 and 1", options.confidence));
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let count = differences.len() as f64;
    let (low, high) = interval(&differences, options);
    Ok(Comparison {
        difference: differences.iter().sum::<f64>() / count,
        p_value: sign_flip(&differences, options),
        low,
        high,
        queries: differences.len(),
    })
}

/// Compares two evaluations over the queries that both hold.
///
/// # Errors
/// When they share no query.
pub fn compare_evaluations(
    a: &Evaluation,
    b: &Evaluation,
    metric: Metric,
    options: &CompareOptions,
) -> Result<Comparison, BeirError> {
    let of_b: std::collections::HashMap<String, f64> = b.per_query(metric).into_iter().collect();
    let (left, right): (Vec<f64>, Vec<f64>) =
        a.per_query(metric).into_iter().filter_map(|(query, value)| Some((value, *of_b.get(&query)?))).unzip();
    compare(&left, &right, options)
}

fn sign_flip(differences: &[f64], options: &CompareOptions) -> f64 {
    // A difference of nothing is the same under either sign.
    let differences: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let observed = differences.iter().sum::<f64>().abs();
    // Sums of the same numbers in another pattern may differ in the last bits only; that counts as equal.
    let bar = observed - 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let reaches = |negative: &mut dyn FnMut() -> bool| {
        let sum: f64 = differences.iter().map(|d| if negative() { -d } else { *d }).sum();
        sum.abs() >= bar
    };
    let patterns = 1usize.checked_shl(differences.len().min(64) as u32);
    if let Some(patterns) = patterns.filter(|&patterns| patterns <= options.permutations) {
        let extreme = (0..patterns)
            .filter(|&pattern| {
                let mut bits = pattern;
                reaches(&mut || {
                    let bit = bits & 1 == 1;
                    bits >>= 1;
                    bit
                })
            })
            .count();
        return extreme as f64 / patterns as f64;
    }
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let extreme = (0..options.permutations)
        .filter(|_| {
            let mut bits = 0u64;
            let mut left = 0;
            reaches(&mut || {
                if left == 0 {
                    bits = random.random();
                    left = 64;
                }
                let bit = bits & 1 == 1;
                bits >>= 1;
                left -= 1;
                bit
            })
        })
        .count();
    // The observed pattern is one of the possible ones, so p is never 0.
    (extreme + 1) as f64 / (options.permutations + 1) as f64
}

fn interval(differences: &[f64], options: &CompareOptions) -> (f64, f64) {
    let count = differences.len();
    // Another stream than the permutations', so that the two draws are independent.
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    random.set_stream(1);
    let mut means: Vec<f64> = (0..options.resamples.max(1))
        .map(|_| (0..count).map(|_| differences[random.random_range(0..count)]).sum::<f64>() / count as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    let tail = (1.0 - options.confidence) / 2.0;
    let at = |share: f64| means[((share * (means.len() - 1) as f64).round() as usize).min(means.len() - 1)];
    (at(tail), at(1.0 - tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options() -> CompareOptions {
        CompareOptions { permutations: 2_000, resamples: 500, ..CompareOptions::default() }
    }

    #[test]
    fn the_same_system_does_not_differ_from_itself() {
        let values = vec![0.1; 50];
        let same = compare(&values, &values, &options()).unwrap();
        assert_eq!((same.difference, same.p_value, same.low, same.high), (0.0, 1.0, 0.0, 0.0));
    }

    #[test]
    fn a_system_that_always_wins_differs() {
        let a: Vec<f64> = (0..40).map(|n| 0.5 + f64::from(n) / 100.0).collect();
        let b: Vec<f64> = a.iter().map(|value| value - 0.1).collect();
        let won = compare(&a, &b, &CompareOptions::default()).unwrap();
        assert!((won.difference - 0.1).abs() < 1e-12);
        assert!(won.p_value < 0.001 && won.p_value > 0.0);
        assert!(won.low > 0.09 && won.high < 0.11);
    }

    #[test]
    fn few_queries_are_counted_out_exactly() {
        // Of the 8 patterns over (1, 2, 3) only the two with all signs alike reach 6.
        let exact = compare(&[1.0, 2.0, 3.0], &[0.0; 3], &options()).unwrap();
        assert_eq!(exact.p_value, 0.25);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert!(compare(&[1.0], &[1.0, 2.0], &options()).is_err());
        assert!(compare(&[], &[], &options()).is_err());
        assert!(compare(&[f64::NAN], &[1.0], &options()).is_err());
    }

    proptest! {
        #[test]
        fn it_is_symmetric_and_repeatable(pairs in prop::collection::vec((0.0..1.0f64, 0.0..1.0f64), 1..40), seed in 0..100u64) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let options = CompareOptions { permutations: 200, resamples: 50, seed, ..CompareOptions::default() };
            let forth = compare(&a, &b, &options).unwrap();
            let back = compare(&b, &a, &options).unwrap();
            prop_assert_eq!(forth, compare(&a, &b, &options).unwrap());
            prop_assert_eq!(forth.p_value, back.p_value);
            prop_assert!((forth.difference + back.difference).abs() < 1e-12);
            prop_assert!(forth.p_value > 0.0 && forth.p_value <= 1.0);
            prop_assert!(forth.low <= forth.high);
        }
    }
}
