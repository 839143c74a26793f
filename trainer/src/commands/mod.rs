//! The commands of `adam-train`, one file each.

pub mod check;
pub mod export;
pub mod grid;
pub mod run;
