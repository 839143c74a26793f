//! The stages of a run, one file each, and the pipeline that joins them.

mod changes;
mod context;
mod dev;
mod distil;
mod encode;
mod eval;
mod gradient;
mod grid;
mod lists;
mod lock;
pub mod mine;
mod next;
mod pipeline;
mod product;
mod score;
mod step_log;
mod teacher;
mod training;
mod vectors;
mod warm_up;

pub use context::Stamp;
pub use dev::HeldOut;
pub use eval::{Measured, Verdict};
pub use grid::{GridComparison, GridOptions, GridReport, GridRow, Letter, grid};
pub(crate) use lock::RunLock;
pub use pipeline::{Pipeline, Stage};
pub use score::ScoreOutcome;
pub use training::TrainingOutcome;

#[cfg(test)]
mod parity_tests;
