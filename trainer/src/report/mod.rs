//! What a run shows: a progress line, metrics as JSON lines and for TensorBoard, curves as SVG.

mod curves;
mod grid;
mod metrics;
mod progress;
mod tensorboard;

pub use curves::{Curve, write_svg};
pub use metrics::{Metrics, read_curves};
pub use progress::{Bar, Reporter, tell};
