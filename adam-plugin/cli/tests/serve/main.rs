//! `adam serve` as a process: signals, texts that a model does not survive, moments without free files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod poison;
#[path = "../program/mod.rs"]
mod program;
mod signals;
