//! [`RowSource`]: what an index is built from.

use super::faults::refused;
use crate::DenseError;

/// Rows that an index is built from: `len()` vectors of the index's dimension.
pub trait RowSource: Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with whole rows, the first of which is row `first`. `out` holds a multiple of the dimension, and no
    /// row at or beyond [`RowSource::len`] is asked for.
    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), DenseError>;
}

/// Rows one after another in memory.
#[derive(Clone, Copy, Debug)]
pub struct RowSlice<'a> {
    values: &'a [f32],
    dimension: usize,
}

impl<'a> RowSlice<'a> {
    /// `values` is a whole number of rows of `dimension` values.
    pub fn new(values: &'a [f32], dimension: usize) -> Result<RowSlice<'a>, DenseError> {
        if dimension == 0 || !values.len().is_multiple_of(dimension) {
            return Err(refused(format!("{} values are no whole number of rows of {dimension}", values.len())));
        }
        Ok(RowSlice { values, dimension })
    }
}

impl RowSource for RowSlice<'_> {
    fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), DenseError> {
        let start = first.saturating_mul(self.dimension);
        match self.values.get(start..start.saturating_add(out.len())) {
            Some(values) => {
                out.copy_from_slice(values);
                Ok(())
            }
            None => Err(refused(format!("row {first} and following are beyond the {} rows there are", self.len()))),
        }
    }
}
