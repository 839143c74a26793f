//! The rows of a field as indexes and devices read them.

use super::reader::FieldRows;
use crate::DenseError;
use crate::ann::RowSource;

impl RowSource for FieldRows {
    fn len(&self) -> usize {
        FieldRows::len(self) as usize
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), DenseError> {
        let dimension = self.options().dimension();
        let mut scratch = Vec::new();
        for (at, out) in out.chunks_exact_mut(dimension).enumerate() {
            let row = self.row((first + at) as u32, &mut scratch);
            if row.len() != dimension {
                let why = format!("there is no row {}", first + at);
                return Err(DenseError::Ann { field: Some(self.field().name().to_owned()), why });
            }
            out.copy_from_slice(row);
        }
        Ok(())
    }
}
