//! A GPU as a device: all that needs one to be tested.

use super::backend::{Backend, Nearest, Trouble, in_pieces};
use super::options::MOST;
use crate::ann::gpu::{Block, Device, Failure, count};
use crate::ann::{AnnIndex, RowSource, Similarity};

/// Memory for what faiss computes during a search: similarities of some queries and some rows at a time. The most
/// that faiss takes; its two tiles alone are 1 GiB, and what does not fit is allocated anew for every search.
const SCRATCH_BYTES: u64 = 1536 << 20;

/// An open GPU.
pub(super) struct Gpu(Device);

impl Gpu {
    /// Opens the GPU with this number; or says why it cannot be had.
    pub(super) fn open(number: usize) -> Result<Gpu, String> {
        let words = |failure| match failure {
            Failure::Refused(words) | Failure::NoMemory(words) | Failure::Lost(words) => words,
        };
        match count().map_err(|failure| format!("CUDA finds no GPU: {}", words(failure)))? {
            0 => Err("the machine has no GPU that CUDA sees".to_owned()),
            found if number >= found => Err(format!("the machine has {found} GPUs, counted from 0")),
            _ => Ok(Gpu(Device::open(number, SCRATCH_BYTES).map_err(words)?)),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        match failure {
            Failure::Refused(words) => Trouble::Refused(words),
            Failure::NoMemory(words) => Trouble::Full(words),
            Failure::Lost(words) => Trouble::Lost(words),
        }
    }
}

impl Backend for Gpu {
    type Block = Block;

    fn memory(&self) -> u64 {
        self.0.free_bytes() / 5 * 4
    }

    fn most(&self) -> usize {
        MOST
    }

    fn copy_rows(&mut self, rows: &dyn RowSource, similarity: Similarity, dimension: usize) -> Result<Block, Trouble> {
        let mut block = self.0.rows(rows.len(), dimension, similarity == Similarity::InnerProduct)?;
        in_pieces(rows, dimension, |first, values| Ok(block.put(first, values)?))?;
        Ok(block)
    }

    fn copy_lists(&mut self, index: &AnnIndex) -> Result<Block, Trouble> {
        Ok(self.0.lists(index)?)
    }

    fn nearest(&mut self, block: &Block, queries: &[f32], k: usize, nprobe: usize) -> Result<Nearest, Trouble> {
        let (similarities, rows) = block.search(queries, k, nprobe)?;
        Ok(Nearest { similarities, rows })
    }
}
