//! ADAM: distils a cross-encoder teacher into a small dual-encoder student.
//!
//! The program `adam-train` is a thin layer over this: [`config`] says what a run is, [`stages`] runs it and resumes it, [`export`] writes the
//! student for its consumers.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//!
//! use adam_train::report::Reporter;
//! use adam_train::stages::{Pipeline, Stage};
//!
//! # fn main() -> Result<(), adam_train::TrainError> {
//! let config = adam_train::config::Config::read("run.toml".as_ref(), &[])?;
//! let (reporter, stop) = (Reporter::silent(), AtomicBool::new(false));
//! // Stages that an earlier call finished are not run again; setting `stop` ends a stage with a checkpoint.
//! if let Some(verdict) = Pipeline::open(&config, &reporter, &stop)?.run(Stage::Eval)? {
//!     println!("{}", verdict.line());
//! }
//! # Ok(())
//! # }
//! ```

pub mod adam;
pub mod checkpoint;
pub mod commands;
pub mod config;
pub mod data;
mod error;
pub mod export;
pub mod files;
pub mod model;
mod pooling;
pub mod report;
pub mod stages;
pub mod torch;

pub use error::TrainError;
