//! A vector field for tantivy: stored, merged, deleted and searched with the segment.

pub mod ann;
mod dense;
mod error;
mod field;
pub mod hybrid;
pub mod kernels;
mod mapping;
mod plugin;
pub mod query;
mod rows;
mod warm;

pub use dense::{Dense, DenseOptions};
pub use error::DenseError;
pub use field::{Element, MAX_DIMENSION, Metric, TYPE_NAME, VectorField, VectorOptions};
pub use hybrid::{Arm, ArmHit, FusedHit, Fusion, Hybrid, HybridQuery, Ranking};
pub use query::{Hit, KnnQuery};
