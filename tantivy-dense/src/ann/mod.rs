//! Approximate indexes over a segment's vectors, as an accelerator beside the rows.
//!
//! The rows of a segment (`SEGMENT.vec`) are the truth. Where it pays, a merge also builds an index over them by faiss
//! and writes it to `SEGMENT.ann`. A reader that cannot use it, for whatever reason, says why and scans the rows.
//!
//! - [`choose`]: whether an index pays for a segment, which one, and how widely to search it;
//! - [`AnnIndex`]: building, writing, opening and searching one (feature `faiss`);
//! - [`mod@file`]: the `.ann` file, which is read and checked whether or not the feature is on.
//!
//! # Example: from rows to a search
//! ```
//! use std::sync::atomic::AtomicBool;
//! use tantivy::directory::OwnedBytes;
//! use tantivy_dense::ann::{AnnBuild, AnnIndex, AnnSearch, RowSlice, Similarity};
//!
//! # fn main() -> Result<(), tantivy_dense::DenseError> {
//! if !AnnIndex::available() {
//!     return Ok(()); // built without the feature `faiss`
//! }
//! let rows: Vec<f32> = (0..400).map(|i| (i as f32).sin()).collect(); // 100 rows of 4
//! let build = AnnBuild::new("HNSW16", Similarity::SquaredL2, 4);
//! let index = AnnIndex::build(&build, &RowSlice::new(&rows, 4)?, &AtomicBool::new(false))?;
//!
//! let (bytes, checksum) = index.to_bytes(false)?;
//! let spec = build.spec(100);
//! let index = AnnIndex::open(OwnedBytes::new(bytes), checksum, &spec, None)?;
//! let near = index.search(&rows[40..44], 3, &AnnSearch::default(), None)?;
//! assert_eq!(near[0], (10, 0.0)); // row 10 itself, at squared distance 0
//! # Ok(())
//! # }
//! ```

#[cfg(not(feature = "faiss"))]
mod absent;
mod build;
pub mod choose;
mod faults;
pub mod file;
#[cfg(feature = "faiss")]
mod flat;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
mod index;
#[cfg(test)]
mod memory_tests;
#[cfg(feature = "faiss")]
mod native;
mod raw;
mod rows;
mod similarity;
#[cfg(test)]
mod tests;
mod written;

pub use build::AnnBuild;
pub use choose::{AnnPlan, AnnPolicy};
pub use file::{AnnBlob, AnnEntry, AnnFile, AnnFileWriter, Lookup, Unusable};
pub use index::{AnnFound, AnnIndex, AnnKind, AnnSearch};
pub use rows::{RowSlice, RowSource};
pub use similarity::Similarity;
pub use written::AnnSpec;

#[cfg(not(feature = "faiss"))]
use absent as native;
