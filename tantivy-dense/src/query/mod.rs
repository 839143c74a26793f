//! Searching by vector.

mod approximate;
mod bounds;
mod exact;
mod knn;
mod on_device;
mod report;
mod rowset;
mod search;
mod top;
mod weight;

pub use knn::KnnQuery;
pub use report::{DeviceUse, Found, Hit, IndexUse, SearchPath, SegmentReport};
pub(crate) use rowset::RowSet;
pub(crate) use weight::HitsScorer;
