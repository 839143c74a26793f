//! Lengths of vectors, in double precision, and in as few steps as the processor allows: indexing does little else per vector.

/// Sums and maxima are kept in so many parts, which do not wait for each other.
const LANES: usize = 16;

/// Sum of the squares of all values, in double precision; not finite exactly where a value is not.
pub(crate) fn squares(vector: &[f32]) -> f64 {
    let (blocks, rest) = vector.as_chunks::<LANES>();
    let mut sums = [0.0_f64; LANES];
    for block in blocks {
        for (sum, &value) in sums.iter_mut().zip(block) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    sums.iter().sum::<f64>() + rest
}

/// Euclidean length.
pub(crate) fn length(vector: &[f32]) -> f32 {
    squares(vector).sqrt() as f32
}

/// `vector` divided by its length, which was found in double precision.
pub(crate) fn normalised(vector: &[f32]) -> Vec<f32> {
    let factor = 1.0 / squares(vector).sqrt();
    vector.iter().map(|&value| (f64::from(value) * factor) as f32).collect()
}

/// The largest absolute value; 0 of nothing. NaN counts as nothing.
pub(crate) fn largest(vector: &[f32]) -> f32 {
    let (blocks, rest) = vector.as_chunks::<LANES>();
    // A plain comparison, where `f32::max` would take NaN into account a second time.
    let greater = |most: f32, value: f32| if value.abs() > most { value.abs() } else { most };
    let mut most = [0.0_f32; LANES];
    for block in blocks {
        for (most, &value) in most.iter_mut().zip(block) {
            *most = greater(*most, value);
        }
    }
    most.iter().chain(rest).fold(0.0, |most, &value| greater(most, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_and_maxima_are_those_of_a_plain_loop(vector in proptest::collection::vec(-1e30f32..1e30, 0..100)) {
            let plain: f64 = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
            prop_assert!((squares(&vector) - plain).abs() <= 1e-13 * plain);
            prop_assert_eq!(largest(&vector), vector.iter().fold(0.0_f32, |most, value| most.max(value.abs())));
        }

        #[test]
        fn one_value_that_is_not_finite_is_noticed_anywhere(
            mut vector in proptest::collection::vec(-1f32..1.0, 1..70),
            at in 0usize..70,
            bad in prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
        ) {
            prop_assert!(squares(&vector).is_finite());
            let at = at % vector.len();
            vector[at] = bad;
            prop_assert!(!squares(&vector).is_finite());
        }

        #[test]
        fn a_normalised_vector_has_length_one(vector in proptest::collection::vec(-1e3f32..1e3, 1..400)) {
            prop_assume!(squares(&vector) > 1e-6);
            prop_assert!((f64::from(length(&normalised(&vector))) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn the_largest_finite_values_do_not_overflow() {
        let vector = vec![f32::MAX; 4096];
        assert!(squares(&vector).is_finite());
        assert_eq!(largest(&vector), f32::MAX);
    }
}
