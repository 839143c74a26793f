//! Searching by vector.

mod approximate;
mod bounds;
mod exact;
mod exists;
mod filters;
mod knn;
mod on_device;
mod report;
mod rowset;
mod search;
mod settings;
mod top;
mod vector;
mod weight;

pub(crate) use filters::{both, everything_but};
pub use knn::KnnQuery;
pub use report::{DeviceUse, Hit, IndexUse, KnnOutcome, SearchPath, SegmentReport};
pub(crate) use rowset::RowSet;
pub(crate) use weight::HitsScorer;
