//! Searching by vector.

mod approximate;
mod bounds;
mod exact;
mod knn;
mod report;
mod rowset;
mod search;
mod top;
mod weight;

pub use knn::KnnQuery;
pub use report::{Found, Hit, IndexUse, SearchPath, SegmentReport};
pub(crate) use rowset::RowSet;
pub(crate) use weight::HitsScorer;
