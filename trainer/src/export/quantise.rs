//! Weights as signed 8-bit numbers, one scale for each output column.
//!
//! ONNX Runtime multiplies unsigned 8-bit activations with these. On x86 processors without VNNI its kernel adds two
//! neighbouring products in 16 bits (`vpmaddubsw`), which overflows when both weights are large: 255 * (127 + 127)
//! is 64,770, and 32,767 is the most that fits. The usual remedy, 7-bit weights, gives up half of the resolution
//! everywhere. Here each column has instead the finest scale at which no pair that is added together can overflow (magnitudes
//! of two neighbours add up to at most 128), so that the result is the same on every processor.

/// Integers and the scale of each column: value = integer * scale.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantised {
    /// As laid out as the weights they came from.
    pub(crate) integers: Vec<i8>,
    /// One for each column (or row, for a table).
    pub(crate) scales: Vec<f32>,
}

/// Quantises a matrix `[inputs, outputs]`, one scale for each output.
pub(crate) fn columns(values: &[f32], inputs: usize, outputs: usize) -> Quantised {
    let mut scales = vec![0.0f32; outputs];
    for (row, line) in values.chunks_exact(outputs).enumerate().take(inputs) {
        // The kernel packs the input axis in fours and adds within each half: rows 2i and 2i + 1.
        let neighbour = values.get((row ^ 1) * outputs..((row ^ 1) + 1) * outputs);
        for (column, value) in line.iter().enumerate() {
            let own = value.abs();
            // Rounding can add a half to each of the two.
            let other = neighbour.map_or(0.0, |line| line[column].abs());
            let needed = (own / 127.0).max((own + other) / 127.0);
            scales[column] = scales[column].max(needed);
        }
    }
    scales.iter_mut().for_each(|scale| *scale = usable(*scale));
    let integers = values.iter().enumerate().map(|(at, value)| integer(*value, scales[at % outputs])).collect();
    Quantised { integers, scales }
}

/// Quantises a table of vectors, one scale for each row. Rows are looked up, not multiplied, so nothing can overflow.
pub(crate) fn rows(values: &[f32], width: usize) -> Quantised {
    let scales: Vec<f32> = values
        .chunks_exact(width)
        .map(|row| usable(row.iter().fold(0.0f32, |most, value| most.max(value.abs())) / 127.0))
        .collect();
    let integers = values.iter().enumerate().map(|(at, value)| integer(*value, scales[at / width])).collect();
    Quantised { integers, scales }
}

/// A scale one can divide by, also where all values are zero.
fn usable(scale: f32) -> f32 {
    if scale > f32::MIN_POSITIVE { scale } else { 1.0 }
}

fn integer(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_come_back_within_half_a_step(values in prop::collection::vec(-3.0f32..3.0, 24)) {
            let made = columns(&values, 8, 3);
            for (at, value) in values.iter().enumerate() {
                let scale = made.scales[at % 3];
                prop_assert!((f32::from(made.integers[at]) * scale - value).abs() <= scale * 0.5001);
            }
        }

        #[test]
        fn neighbours_never_overflow_sixteen_bits(values in prop::collection::vec(-3.0f32..3.0, 33)) {
            // 11 rows: the last has no neighbour.
            let made = columns(&values, 11, 3);
            for row in (0..10).step_by(2) {
                for column in 0..3 {
                    let magnitude = |row: usize| i32::from(made.integers[row * 3 + column]).abs();
                    prop_assert!(255 * (magnitude(row) + magnitude(row + 1)) <= 32_767);
                }
            }
        }

        #[test]
        fn a_table_is_scaled_by_row(values in prop::collection::vec(-3.0f32..3.0, 24)) {
            let made = rows(&values, 6);
            prop_assert_eq!(made.scales.len(), 4);
            for (at, value) in values.iter().enumerate() {
                let scale = made.scales[at / 6];
                prop_assert!((f32::from(made.integers[at]) * scale - value).abs() <= scale * 0.5001);
            }
        }
    }

    #[test]
    fn zeros_and_tiny_values_are_no_trouble() {
        for values in [[0.0f32; 4], [1e-45, 0.0, 0.0, -1e-45]] {
            let made = columns(&values, 2, 2);
            assert!(made.scales.iter().all(|scale| scale.is_finite() && *scale > 0.0));
        }
    }
}
