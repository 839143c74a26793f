//! What a device must be able to do, and no more. Batching, memory, filters and fall-backs are written over this trait,
//! so that they are the same, and tested, on a machine without a GPU.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::DenseError;
use crate::ann::{AnnIndex, RowSource, Similarity};

/// Why a device did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "which of them come up depends on the features")]
pub(crate) enum Trouble {
    /// Not this; something else may work.
    Refused(String),
    /// There is no memory for it; with fewer blocks there may be.
    Full(String),
    /// The device cannot be used any more.
    Lost(String),
}

/// The nearest rows to some queries: the same number of places for every query, one query after another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Nearest {
    /// Higher is nearer: inner products, or negative squared distances. Not of places without a row.
    pub similarities: Vec<f32>,
    /// Row numbers, nearest first; -1 for a place without a row.
    pub rows: Vec<i64>,
}

/// Where blocks of rows are kept and searched. One thread owns it and calls it, so it needs no lock of its own.
pub(crate) trait Backend {
    /// What is kept on the device of one segment; dropping it frees its memory.
    type Block;

    /// Bytes that blocks may take altogether where nobody set a limit.
    fn memory(&self) -> u64;

    /// The most rows that one query can be given.
    fn most(&self) -> usize;

    /// Copies rows of `dimension` values, of which there is at least one.
    fn copy_rows(
        &mut self,
        rows: &dyn RowSource,
        similarity: Similarity,
        dimension: usize,
    ) -> Result<Self::Block, Trouble>;

    /// Copies an inverted file.
    fn copy_lists(&mut self, index: &AnnIndex) -> Result<Self::Block, Trouble>;

    /// The `k` nearest of all rows of a block to each query, deleted ones among them; of the rows in the `nprobe`
    /// nearest lists for a block of lists. Similarities are computed in single precision, in any order of summation.
    fn nearest(&mut self, block: &Self::Block, queries: &[f32], k: usize, nprobe: usize) -> Result<Nearest, Trouble>;
}

/// Rows that are measured while they are read, for the bound on what rounding can do to a similarity.
pub(super) struct LengthMeter<'a> {
    rows: &'a dyn RowSource,
    dimension: usize,
    /// The largest length so far, as bits: those of positive numbers are in the numbers' order.
    longest: AtomicU32,
}

impl<'a> LengthMeter<'a> {
    pub(super) fn new(rows: &'a dyn RowSource, dimension: usize) -> LengthMeter<'a> {
        LengthMeter { rows, dimension, longest: AtomicU32::new(0) }
    }

    /// No row read has been longer.
    pub(super) fn longest(&self) -> f32 {
        f32::from_bits(self.longest.load(Ordering::Relaxed))
    }
}

impl RowSource for LengthMeter<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), DenseError> {
        self.rows.read(first, out)?;
        for (at, row) in out.chunks(self.dimension.max(1)).enumerate() {
            let squares: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
            let length = squares.sqrt() as f32;
            if !length.is_finite() {
                let why = format!("row {} holds a value that is no number, or is too long", first + at);
                return Err(DenseError::Ann { field: None, why });
            }
            self.longest.fetch_max(length.next_up().to_bits(), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Reads all rows in pieces of some megabytes, for a device that takes them so.
#[cfg(feature = "faiss")]
pub(super) fn in_pieces(
    rows: &dyn RowSource,
    dimension: usize,
    mut piece: impl FnMut(usize, &[f32]) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    const PIECE_VALUES: usize = 4 << 20;
    let step = (PIECE_VALUES / dimension.max(1)).max(1).min(rows.len());
    let mut buffer = vec![0.0; step * dimension];
    let mut first = 0;
    while first < rows.len() {
        let values = &mut buffer[..step.min(rows.len() - first) * dimension];
        rows.read(first, values).map_err(|error| Trouble::Refused(error.to_string()))?;
        piece(first, values)?;
        first += step;
    }
    Ok(())
}
