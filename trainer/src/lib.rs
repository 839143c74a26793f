//! ADAM: distils a cross-encoder teacher into a small dual-encoder student.

pub mod adam;
pub mod checkpoint;
pub mod commands;
pub mod config;
pub mod data;
mod error;
pub mod export;
pub mod model;
pub mod report;
pub mod stages;
pub mod torch;

pub use error::TrainError;
