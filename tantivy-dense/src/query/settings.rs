//! What a search by vector asks for, beside vectors.

use std::sync::Arc;

use tantivy::query::Query;

use crate::{DenseError, VectorField};

/// What a search is asked for, beside vectors.
#[derive(Clone)]
pub(super) struct Settings {
    pub k: usize,
    pub filter: Option<Arc<dyn Query>>,
    pub exact: bool,
    pub on_device: bool,
    pub min_similarity: Option<f32>,
    pub ef: Option<usize>,
    pub nprobe: Option<usize>,
    pub oversample: Option<f32>,
}

impl Settings {
    pub(super) fn nearest(k: usize) -> Settings {
        Settings {
            k,
            filter: None,
            exact: false,
            on_device: true,
            min_similarity: None,
            ef: None,
            nprobe: None,
            oversample: None,
        }
    }

    pub(super) fn check(&self, field: &VectorField) -> Result<(), DenseError> {
        let wrong = |why: &str| Err(DenseError::Query { field: field.name().to_owned(), why: why.to_owned() });
        if self.min_similarity.is_some_and(f32::is_nan) {
            return wrong("the least similarity is not a number");
        }
        if self.oversample.is_some_and(|factor| !(factor.is_finite() && factor >= 1.0)) {
            return wrong("candidates per hit must be a number of 1 or more");
        }
        if self.ef == Some(0) || self.nprobe == Some(0) {
            return wrong("ef and nprobe must be 1 or more");
        }
        Ok(())
    }
}
