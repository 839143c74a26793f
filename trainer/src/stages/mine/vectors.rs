//! Where mining gets vectors from.

use crate::error::TrainError;
use crate::stages::vectors::Vectors;
use std::ops::Range;

/// Vectors of passages and queries by number, made or looked up a range at a time.
pub trait VectorSource {
    /// Values of a vector.
    fn dimension(&self) -> usize;
    /// A name for the model that made them; another name means that the index is made anew.
    fn fingerprint(&self) -> &str;
    /// Vectors of a range of passages.
    ///
    /// # Errors
    /// What the model says.
    fn passages(&mut self, range: Range<usize>) -> Result<Vec<Vec<f32>>, TrainError>;
    /// Vectors of a range of queries.
    ///
    /// # Errors
    /// What the model says.
    fn queries(&mut self, range: Range<usize>) -> Result<Vec<Vec<f32>>, TrainError>;
}

/// Vectors that are all there already, row after row.
#[derive(Clone, Debug)]
pub struct VectorTable {
    /// Values of a vector.
    pub dimension: usize,
    /// A name for the model that made them.
    pub fingerprint: String,
    /// Passages, `dimension` values each.
    pub passages: Vec<f32>,
    /// Queries, `dimension` values each.
    pub queries: Vec<f32>,
}

fn slice(table: &[f32], dimension: usize, range: Range<usize>) -> Result<Vec<Vec<f32>>, TrainError> {
    let rows = table.get(range.start * dimension..range.end * dimension);
    let rows =
        rows.ok_or_else(|| TrainError::internal(format!("the table of vectors ends before row {}", range.end)))?;
    Ok(rows.chunks_exact(dimension.max(1)).map(<[f32]>::to_vec).collect())
}

impl VectorTable {
    pub(crate) fn of(fingerprint: &str, passages: Vectors, queries: Vectors) -> Self {
        Self {
            dimension: passages.dimension,
            fingerprint: fingerprint.to_owned(),
            passages: passages.values,
            queries: queries.values,
        }
    }
}

impl VectorSource for VectorTable {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn passages(&mut self, range: Range<usize>) -> Result<Vec<Vec<f32>>, TrainError> {
        slice(&self.passages, self.dimension, range)
    }

    fn queries(&mut self, range: Range<usize>) -> Result<Vec<Vec<f32>>, TrainError> {
        slice(&self.queries, self.dimension, range)
    }
}

/// Refuses vectors of a wrong number or shape, by what they are of.
pub(super) fn checked(
    vectors: Vec<Vec<f32>>,
    count: usize,
    dimension: usize,
    what: &str,
) -> Result<Vec<Vec<f32>>, TrainError> {
    if vectors.len() != count {
        return Err(TrainError::internal(format!("{} {what} vectors came for {count} texts", vectors.len())));
    }
    let odd = vectors.iter().find(|v| v.len() != dimension || v.iter().any(|x| !x.is_finite()));
    match odd {
        Some(vector) if vector.len() != dimension => Err(TrainError::internal(format!(
            "a {what} vector has {} values where the model says {dimension}",
            vector.len()
        ))),
        Some(_) => Err(TrainError::internal(format!("a {what} vector holds a value that is not finite"))),
        None => Ok(vectors),
    }
}
