//! The stages of a run, one file each, and the pipeline that joins them.

mod artifact;
mod changes;
mod context;
mod dev;
mod distil;
mod encode;
mod eval;
mod gradient;
mod grid;
mod grid_table;
mod hybrid;
mod inputs;
mod limits;
mod lists;
mod lock;
pub mod mine;
mod next;
mod pipeline;
mod queries;
mod round;
mod same_text;
mod score;
mod scorer;
mod step_log;
mod summary;
mod teacher;
mod teacher_scores;
mod training;
mod vectors;
mod voices;
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
