//! Flat indexes: every row is looked at, for many queries at once.

use std::sync::atomic::AtomicBool;

use super::faults::{check_vector, failed};
use super::native::Native;
use super::{AnnIndex, Similarity};
use crate::DenseError;

impl AnnIndex {
    /// An empty flat index, with room for `rows`.
    pub(crate) fn flat(similarity: Similarity, dimension: usize, rows: usize) -> Result<AnnIndex, DenseError> {
        let inner_product = similarity == Similarity::InnerProduct;
        let native = Native::create("Flat", dimension, inner_product, rows as u64, 0)
            .map_err(|failure| failed("making a flat index", failure))?;
        let info = native.info().map_err(|failure| failed("making a flat index", failure))?;
        Ok(AnnIndex { native, info, mapped_bytes: 0 })
    }

    /// Adds whole rows to an index that was not opened from bytes and needs no training.
    pub(crate) fn append(&mut self, values: &[f32]) -> Result<(), DenseError> {
        let doing = "adding to an index";
        for row in values.chunks(self.dimension().max(1)) {
            check_vector(row, || "a row".to_owned())?;
        }
        let rows = (values.len() / self.dimension().max(1)) as u64;
        self.native.add(rows, values, 1, &AtomicBool::new(false)).map_err(|failure| failed(doing, failure))?;
        self.info = self.native.info().map_err(|failure| failed(doing, failure))?;
        Ok(())
    }

    /// The `k` nearest rows to each of many queries that lie one after another, by a flat index: `k` similarities and row
    /// numbers a query, in faiss's order, -1 for a row where there are fewer. Uses BLAS's threads, and one otherwise.
    pub(crate) fn search_flat(&self, queries: &[f32], k: usize) -> Result<(Vec<f32>, Vec<i64>), DenseError> {
        for query in queries.chunks(self.dimension().max(1)) {
            self.check_query(query)?;
        }
        let (mut distances, labels) = self
            .native
            .search_flat(queries, self.dimension(), k)
            .map_err(|failure| failed("searching a flat index", failure))?;
        if !self.info.inner_product {
            distances.iter_mut().for_each(|distance| *distance = -*distance);
        }
        Ok((distances, labels))
    }
}
