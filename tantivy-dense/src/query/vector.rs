//! The vector that a query compares with.

use half::f16;
use half::slice::HalfBitsSliceExt;

use crate::kernels::{self, Scalar};
use crate::rows::{FieldRows, RoundedQuery};
use crate::{Element, Metric};

/// A query as rows are compared with it.
pub(crate) struct QueryVector {
    pub metric: Metric,
    pub vector: Vec<f32>,
    pub rounded: RoundedQuery,
}

impl QueryVector {
    /// `vector` is checked, and normalised under cosine.
    pub(crate) fn new(metric: Metric, vector: Vec<f32>) -> QueryVector {
        let rounded = RoundedQuery::new(&vector);
        QueryVector { metric, vector, rounded }
    }

    fn compare<T: Scalar>(&self, row: &[T]) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::Dot => kernels::dot(&self.vector, row),
            Metric::L2 => -kernels::l2_squared(&self.vector, row),
        }
    }

    /// Similarity to a row; the same bits whichever way a search comes to it.
    pub(crate) fn similarity(&self, rows: &FieldRows, row: u32, scratch: &mut Vec<f32>) -> f32 {
        match rows.options().element_type() {
            Element::F32 | Element::Int8 => self.compare(rows.row(row, scratch)),
            Element::F16 => {
                let similarity = self.compare(halves(rows.values().row(row)));
                similarity * rows.scales().get(row as usize).copied().unwrap_or(1.0)
            }
        }
    }
}

/// The values of half-precision rows.
pub(super) fn halves(bytes: &[u8]) -> &[f16] {
    let words: &[u16] = bytemuck::try_cast_slice(bytes).unwrap_or_default();
    words.reinterpret_cast()
}
