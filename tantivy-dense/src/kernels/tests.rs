//! Every kernel against double precision, and against the portable version bit for bit.

use proptest::prelude::*;

use super::{Instructions, Reading, f16, portable};

fn exact_dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn exact_l2(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// How far a sum in f32 may be from the exact one, by the sum of its terms' sizes.
fn tolerance(a: &[f32], b: &[f32]) -> f64 {
    let sizes: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a).abs() + f64::from(b).abs()).powi(2)).sum();
    sizes * f64::from(f32::EPSILON) * (2.0 + a.len() as f64 / 16.0) + 1e-30
}

/// Sets that fuse multiplication and addition.
fn fused() -> impl Iterator<Item = Instructions> {
    Instructions::available().into_iter().skip(1).flat_map(both_readings)
}

fn both_readings(set: Instructions) -> [Instructions; 2] {
    [Reading::Abreast, Reading::InOrder].map(|reading| Instructions(set.0, reading))
}

/// A query, and rows of its length.
fn query_and_rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1_usize..80, 0_usize..12).prop_flat_map(|(length, rows)| {
        let value = prop_oneof![8 => -3.0_f32..3.0, 1 => Just(0.0), 1 => -1e-20_f32..1e-20, 1 => -1e9_f32..1e9];
        (prop::collection::vec(value.clone(), length), prop::collection::vec(value, length * rows))
    })
}

fn small_rows() -> impl Strategy<Value = (Vec<i8>, Vec<i8>)> {
    (1_usize..300, 0_usize..12).prop_flat_map(|(length, rows)| {
        let value = prop_oneof![4 => any::<i8>(), 1 => Just(i8::MIN), 1 => Just(i8::MAX)];
        (prop::collection::vec(value.clone(), length), prop::collection::vec(value, length * rows))
    })
}

proptest! {
    #[test]
    fn floats_agree_with_double_precision((query, rows) in query_and_rows()) {
        for set in Instructions::available() {
            for row in rows.chunks_exact(query.len()) {
                let allowed = tolerance(&query, row);
                let dot = f64::from(set.dot(&query, row));
                prop_assert!((dot - exact_dot(&query, row)).abs() <= allowed, "{set}: {dot}");
                let l2 = f64::from(set.l2_squared(&query, row));
                prop_assert!((l2 - exact_l2(&query, row)).abs() <= allowed, "{set}: {l2}");
            }
        }
    }

    #[test]
    fn every_fused_set_and_shape_gives_the_same_bits((query, rows) in query_and_rows()) {
        let halves: Vec<f16> = rows.iter().map(|&value| f16::from_f32(value.clamp(-6e4, 6e4))).collect();
        let length = query.len();
        let other: Vec<f32> = query.iter().rev().copied().collect();
        let queries: Vec<&[f32]> = [&query, &other].into_iter().cycle().take(7).map(Vec::as_slice).collect();
        let count = rows.len() / length;
        let (mut some, mut many) = (Vec::new(), Vec::new());
        for set in fused() {
            macro_rules! same {
                ($rows:expr, $pair:ident, $shape:ident, $batch:ident, $l2:literal) => {
                    set.$shape(&query, $rows, &mut some);
                    set.$batch(&queries, $rows, &mut many);
                    prop_assert_eq!((some.len(), many.len()), (count, 7 * count));
                    for (at, row) in $rows.chunks_exact(length).enumerate() {
                        let expected = [&query, &other].map(|query| portable::fused::pair::<_, $l2>(query, row).to_bits());
                        prop_assert_eq!(set.$pair(&query, row).to_bits(), expected[0], "{} pair", set);
                        prop_assert_eq!(some[at].to_bits(), expected[0], "{} rows", set);
                        for q in 0..7 {
                            prop_assert_eq!(many[q * count + at].to_bits(), expected[q % 2], "{} batch", set);
                        }
                    }
                };
            }
            same!(&rows, dot, dot_rows, dot_batch, false);
            same!(&rows, l2_squared, l2_squared_rows, l2_squared_batch, true);
            same!(&halves, dot, dot_rows, dot_batch, false);
            same!(&halves, l2_squared, l2_squared_rows, l2_squared_batch, true);
        }
    }

    #[test]
    fn halves_are_compared_as_the_floats_they_stand_for((query, rows) in query_and_rows()) {
        let halves: Vec<f16> = rows.iter().map(|&value| f16::from_f32(value.clamp(-6e4, 6e4))).collect();
        let floats: Vec<f32> = halves.iter().map(|value| value.to_f32()).collect();
        let (mut of_halves, mut of_floats) = (Vec::new(), Vec::new());
        for set in Instructions::available() {
            set.dot_rows(&query, &halves, &mut of_halves);
            set.dot_rows(&query, &floats, &mut of_floats);
            prop_assert_eq!(&of_halves, &of_floats, "{}", set);
            set.l2_squared_rows(&query, &halves, &mut of_halves);
            set.l2_squared_rows(&query, &floats, &mut of_floats);
            prop_assert_eq!(&of_halves, &of_floats, "{}", set);
        }
    }

    #[test]
    fn whole_numbers_are_exact((query, rows) in small_rows()) {
        let mut out = Vec::new();
        for set in Instructions::available().into_iter().flat_map(both_readings) {
            set.dot_rows_i8(&query, &rows, &mut out);
            prop_assert_eq!(out.len(), rows.len() / query.len());
            for (row, &found) in rows.chunks_exact(query.len()).zip(&out) {
                let exact: i64 = query.iter().zip(row).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
                prop_assert_eq!(i64::from(found), exact, "{} rows", set);
                prop_assert_eq!(i64::from(set.dot_i8(&query, row)), exact, "{} pair", set);
            }
        }
    }

    /// Vectors may start anywhere, and nothing behind them may count.
    #[test]
    fn neighbours_do_not_count(length in 1_usize..70, before in 0_usize..9) {
        let mut memory = vec![f32::NAN; before + length + 40];
        memory[before..before + length].fill(0.5);
        let row = &memory[before..before + length];
        for set in Instructions::available() {
            prop_assert_eq!(set.dot(row, row), 0.25 * length as f32, "{}", set);
            prop_assert_eq!(set.l2_squared(row, row), 0.0, "{}", set);
        }
    }
}

#[test]
fn lengths_that_differ_and_nothing_at_all() {
    let mut out = vec![7.0];
    for set in Instructions::available() {
        assert_eq!(set.dot(&[1.0, 2.0, 3.0], &[1.0_f32, 1.0]), 3.0);
        assert_eq!(set.dot::<f32>(&[1.0], &[]), 0.0);
        assert_eq!(set.dot_i8(&[], &[1]), 0);
        set.dot_rows::<f32>(&[], &[1.0, 2.0], &mut out);
        assert!(out.is_empty());
        set.dot_rows(&[1.0, 1.0], &[1.0_f32, 2.0, 9.0], &mut out);
        assert_eq!(out, [3.0], "half a row is none");
        set.dot_batch::<f32>(&[], &[1.0], &mut out);
        assert!(out.is_empty());
        set.dot_batch::<f32>(&[&[1.0], &[2.0]], &[], &mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn largest_dimension_of_the_largest_numbers() {
    let lowest = vec![i8::MIN; 4096];
    for set in Instructions::available() {
        assert_eq!(set.dot_i8(&lowest, &lowest), 4096 * 128 * 128, "{set}");
    }
}
