//! A vector field for tantivy: stored, merged, deleted and searched with the segment.

pub mod ann;
mod error;
mod field;
pub mod hybrid;
pub mod kernels;

pub use error::DenseError;
pub use field::{Element, MAX_DIMENSION, Metric, TYPE_NAME, VectorField, VectorOptions};
