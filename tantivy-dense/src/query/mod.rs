//! Searching by vector.

mod exact;
mod knn;
mod rowset;
mod top;
mod weight;

pub use knn::{Found, Hit, KnnQuery, SearchPath, SegmentReport};
pub(crate) use rowset::RowSet;
pub(crate) use weight::HitsScorer;
