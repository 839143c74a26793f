//! The method itself: dark examples, the teacher's confidence, pacing, candidates and their calibration.
//!
//! Everything here is pure and deterministic: numbers in, numbers out, no model and no file.

pub mod calibration;
pub mod candidates;
pub mod confidence;
pub mod dark;
pub mod fusion;
pub mod loss;
pub mod pacing;
pub mod random;
