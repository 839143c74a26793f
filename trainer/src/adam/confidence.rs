//! How sure the teacher is of a training query.
//!
//! Only natural candidates count: dark examples are made to draw probability away from the positive, so including them would
//! measure the augmentation instead of the query. All sums run in f64 whatever the precision of training.

/// `ln(sum(exp(x)))`, stable for large values; minus infinity for an empty list.
pub fn log_sum_exp(values: &[f32]) -> f64 {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let max = f64::from(max);
    max + values.iter().map(|&v| (f64::from(v) - max).exp()).sum::<f64>().ln()
}

/// The margin of a query: the positive's logit minus the log-sum-exp of the natural negatives' logits.
///
/// Infinite when there is no negative. A logit that is not a number gives minus infinity, so that such a query is the last
/// to be selected.
pub fn margin(positive: f32, negatives: &[f32]) -> f32 {
    if positive.is_nan() || negatives.iter().any(|t| t.is_nan()) {
        return f32::NEG_INFINITY;
    }
    let margin = (f64::from(positive) - log_sum_exp(negatives)) as f32;
    if margin.is_nan() { f32::NEG_INFINITY } else { margin }
}

/// The confidence that belongs to a margin: the probability the teacher gives to the positive. It saturates, so queries are
/// ranked by margin.
pub fn confidence(margin: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(margin)).exp())) as f32
}

/// The softmax of logits divided by a temperature; empty for an empty list.
pub fn softmax(logits: &[f32], temperature: f32) -> Vec<f64> {
    let temperature = f64::from(temperature);
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&t| ((f64::from(t) - f64::from(max)) / temperature).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// Entropy in nats of the softmax of logits: 0 when one candidate has all of the probability, `ln(n)` when all `n` are equal.
pub fn entropy(logits: &[f32], temperature: f32) -> f64 {
    softmax(logits, temperature).into_iter().filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert!((margin(2.0, &[0.0]) - 2.0).abs() < 1e-6);
        // Two equal negatives cost ln 2.
        assert!((f64::from(margin(2.0, &[1.0, 1.0])) - (1.0 - 2f64.ln())).abs() < 1e-6);
        assert_eq!(margin(1.0, &[]), f32::INFINITY);
        assert_eq!(confidence(f32::INFINITY), 1.0);
        assert_eq!(margin(f32::NAN, &[0.0]), f32::NEG_INFINITY);
        assert_eq!(margin(1.0, &[f32::NAN]), f32::NEG_INFINITY);
        assert_eq!(confidence(0.0), 0.5);
        assert!((entropy(&[3.0; 8], 1.0) - 8f64.ln()).abs() < 1e-12);
        assert!(entropy(&[100.0, -100.0], 1.0) < 1e-12);
        assert_eq!(entropy(&[], 1.0), 0.0);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert!((margin(20_000.0, &[19_000.0, 19_000.0]) - 999.306_9).abs() < 0.01);
        assert!(log_sum_exp(&[f32::MAX, f32::MAX]).is_finite());
    }

    proptest! {
        #[test]
        fn confidence_is_the_softmax_probability_of_the_positive(
            positive in -30f32..30.0, negatives in prop::collection::vec(-30f32..30.0, 1..20)
        ) {
            let mut all = vec![positive];
            all.extend(&negatives);
            let p = softmax(&all, 1.0)[0];
            prop_assert!((f64::from(confidence(margin(positive, &negatives))) - p).abs() < 1e-5);
        }

        #[test]
        fn margin_ignores_order_and_common_shifts(
            positive in -20f32..20.0, negatives in prop::collection::vec(-20f32..20.0, 1..20), shift in -20f32..20.0
        ) {
            let m = margin(positive, &negatives);
            let mut reversed = negatives.clone();
            reversed.reverse();
            prop_assert!((m - margin(positive, &reversed)).abs() < 1e-4);
            let shifted: Vec<f32> = negatives.iter().map(|t| t + shift).collect();
            prop_assert!((m - margin(positive + shift, &shifted)).abs() < 1e-3);
        }

        #[test]
        fn a_harder_negative_lowers_the_margin(
            positive in -20f32..20.0, negatives in prop::collection::vec(-20f32..20.0, 1..20), extra in -5f32..20.0
        ) {
            let mut more = negatives.clone();
            more.push(extra);
            prop_assert!(margin(positive, &more) <= margin(positive, &negatives) + 1e-5);
        }

        #[test]
        fn entropy_lies_between_zero_and_ln_n_and_grows_with_temperature(
            logits in prop::collection::vec(-20f32..20.0, 1..20), temperature in 0.5f32..4.0
        ) {
            let cold = entropy(&logits, temperature);
            let warm = entropy(&logits, temperature * 2.0);
            prop_assert!(cold >= 0.0 && warm <= (logits.len() as f64).ln() + 1e-9);
            prop_assert!(warm >= cold - 1e-9);
        }
    }
}
