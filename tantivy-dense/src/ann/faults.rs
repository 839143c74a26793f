//! The errors of this module in one wording each, and the check that vectors pass before faiss sees them.

use super::raw::Failure;
use crate::DenseError;
use crate::norm::squares;

/// With squared lengths up to this, no inner product or squared distance of two vectors overflows.
const MAX_SQUARED_LENGTH: f64 = 1e37;

pub(super) fn refused(what: impl Into<String>) -> DenseError {
    DenseError::Ann { field: None, why: what.into() }
}

pub(super) fn failed(doing: &str, failure: Failure) -> DenseError {
    match failure {
        Failure::Refused(words) => refused(format!("{doing}: {words}")),
        Failure::Cancelled => DenseError::Cancelled,
        Failure::NoMemory => refused(format!("{doing}: out of memory")),
    }
}

pub(super) fn damaged(what: impl std::fmt::Display) -> DenseError {
    refused(format!("the written index is damaged: {what}"))
}

/// NaN and overflow break the heaps that a search keeps its candidates in.
pub(super) fn check_vector(values: &[f32], what: impl Fn() -> String) -> Result<(), DenseError> {
    if squares(values) <= MAX_SQUARED_LENGTH {
        Ok(())
    } else {
        Err(refused(format!("{} holds a value that is not finite, or is longer than 3e18", what())))
    }
}
