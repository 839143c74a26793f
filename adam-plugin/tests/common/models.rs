//! Real models of one layer, for ONNX Runtime.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own share")]

use std::path::{Path, PathBuf};

/// False, with a line that says why, where ONNX Runtime is not set up on this machine.
pub fn has_runtime() -> bool {
    match adam_encoder::runtime::init() {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

/// The encoder's test models.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A cross-encoder of one layer with random weights.
pub fn tiny_pair() -> PathBuf {
    fixtures().join("tiny-pair")
}
