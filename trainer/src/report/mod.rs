//! What a run shows: a progress line, metrics as JSON lines and for TensorBoard, and one page at the end.

mod curves;
mod html;
mod metrics;
mod progress;
mod tensorboard;

pub use curves::Curve;
pub(crate) use html::{ChangedQuery, RunReport, Table};
pub use metrics::{Metrics, read_curves};
pub use progress::{Bar, Reporter, tell};
