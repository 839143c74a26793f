//! Rows as small whole numbers: one signed byte a value and one scale a row.

/// A row's scale, and the length of what rounding took away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rounded {
    /// Value of one step.
    pub scale: f32,
    /// Euclidean length of row minus rounded row, rounded up.
    pub error: f32,
}

/// Rounds `row` to whole steps from -127 to 127 of a scale of its own and appends them to `codes`.
pub(crate) fn quantise(row: &[f32], codes: &mut Vec<i8>) -> Rounded {
    let largest = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    if scale < f32::MIN_POSITIVE {
        // All zero, or so near that a step could not be told from it.
        codes.resize(codes.len() + row.len(), 0);
        let error = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
        return Rounded { scale: 0.0, error: round_up(error) };
    }
    let mut squares = 0.0_f64;
    let start = codes.len();
    codes.extend(row.iter().map(|&value| (value / scale).round().clamp(-127.0, 127.0) as i8));
    for (&value, &code) in row.iter().zip(&codes[start..]) {
        // As `decode_int8` computes it, so that the error is that of the decoded value.
        let difference = f64::from(value) - f64::from(f32::from(code) * scale);
        squares += difference * difference;
    }
    Rounded { scale, error: round_up(squares.sqrt()) }
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
        let Rounded { scale, error } = quantise(query, &mut codes);
        let squares: f64 = query.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        RoundedQuery { codes, scale, error, norm: squares.sqrt() as f32 * 1.000_01 }
    }
}
