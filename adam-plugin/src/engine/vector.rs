//! What a vector that somebody made elsewhere must be like.

/// A value lies between this and its negative, so that sums of squares stay finite.
pub const MAX_VALUE: f32 = 1e6;

/// Refuses a vector that an index cannot compare with others.
///
/// # Errors
/// The text follows the vector's name. When it does not have `dimension` values, has a value that is not finite or
/// beyond [`MAX_VALUE`], or nothing but zeros.
pub fn check_vector(values: impl ExactSizeIterator<Item = f32>, dimension: usize) -> Result<(), String> {
    let length = values.len();
    if length != dimension {
        return Err(format!("has {length} values; the index takes {dimension}"));
    }
    let mut any = false;
    for (position, value) in values.enumerate() {
        if !value.is_finite() {
            return Err(format!("has {value} as value {position}, which is no number to compare by"));
        }
        if value.abs() > MAX_VALUE {
            return Err(format!(
                "has a value that is not between -{MAX_VALUE} and {MAX_VALUE}: {value}, value {position}"
            ));
        }
        any |= value != 0.0;
    }
    if any { Ok(()) } else { Err("is all zeros, so that it points nowhere".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_that_cannot_be_compared_are_refused() {
        let said = |values: &[f32]| check_vector(values.iter().copied(), 3).unwrap_err();
        assert_eq!(check_vector([0.0, -1.0, 2.0].into_iter(), 3), Ok(()));
        assert_eq!(said(&[1.0, 2.0]), "has 2 values; the index takes 3");
        assert_eq!(said(&[1.0, f32::NAN, 2.0]), "has NaN as value 1, which is no number to compare by");
        assert!(said(&[1.0, f32::NEG_INFINITY, 2.0]).contains("-inf"));
        assert!(said(&[1.0, 2e6, 2.0]).contains("not between -1000000 and 1000000"));
        assert_eq!(said(&[0.0, -0.0, 0.0]), "is all zeros, so that it points nowhere");
    }
}
