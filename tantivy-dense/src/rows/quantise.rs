//! Rows as small whole numbers: one signed byte a value and one scale a row.

use crate::norm::{largest, squares};

/// A row's scale, and the length of what rounding took away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantisation {
    /// Value of one step.
    pub scale: f32,
    /// Euclidean length of row minus rounded row, rounded up.
    pub error: f32,
}

/// Rounds `row` to whole steps from -127 to 127 of a scale of its own and appends them to `codes`.
pub(crate) fn quantise(row: &[f32], codes: &mut Vec<i8>) -> Quantisation {
    let scale = largest(row) / 127.0;
    if scale < f32::MIN_POSITIVE {
        // All zero, or so near that a step could not be told from it.
        codes.resize(codes.len() + row.len(), 0);
        return Quantisation { scale: 0.0, error: round_up(squares(row).sqrt()) };
    }
    let start = codes.len();
    codes.extend(row.iter().map(|&value| step(value / scale)));
    // In parts that do not wait for each other; the sum of few, rounded up below, by far more than it can be off.
    let mut squares = [0.0_f64; 16];
    let mut add = |at: usize, value: f32, code: i8| {
        // As `decode_int8` computes it, so that the error is that of the decoded value.
        let difference = f64::from(value) - f64::from(f32::from(code) * scale);
        squares[at] += difference * difference;
    };
    let (values, last_values) = row.as_chunks::<16>();
    let (steps, last_steps) = codes[start..].as_chunks::<16>();
    for (values, steps) in values.iter().zip(steps) {
        for at in 0..16 {
            add(at, values[at], steps[at]);
        }
    }
    for (&value, &code) in last_values.iter().zip(last_steps) {
        add(0, value, code);
    }
    Quantisation { scale, error: round_up(squares.iter().sum::<f64>().sqrt()) }
}

/// The whole number nearest to one between -127.5 and 127.5, without a call or a branch: with 3 x 2^22 added, a float has
/// no room for a fraction and its low bits are the whole number.
#[inline]
fn step(value: f32) -> i8 {
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i8
}

/// The floats that a rounded row stands for.
pub(crate) fn decode_int8(codes: &[i8], scale: f32, out: &mut Vec<f32>) {
    out.clear();
    out.extend(codes.iter().map(|&code| f32::from(code) * scale));
}

/// The next f32 at or above a non-negative number.
fn round_up(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

/// A query rounded for the first pass.
pub(crate) struct RoundedQuery {
    pub codes: Vec<i8>,
    pub scale: f32,
    /// Length of query minus rounded query.
    pub error: f32,
    /// Length of the query, or a hundred-thousandth more.
    pub norm: f32,
}

impl RoundedQuery {
    pub(crate) fn new(query: &[f32]) -> RoundedQuery {
        let mut codes = Vec::with_capacity(query.len());
        let Quantisation { scale, error } = quantise(query, &mut codes);
        RoundedQuery { codes, scale, error, norm: squares(query).sqrt() as f32 * 1.000_01 }
    }
}
