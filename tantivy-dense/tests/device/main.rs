//! Searching on a device, with the processor in its place: the same answers as an exact search, to the last bit, whatever
//! is deleted, filtered, merged and reloaded, and a reason where the device was not used.
//!
//! DENSE_TEST_DEVICE=gpu:0 runs the same tests on a GPU, in a build with the feature `gpu`.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]
#![cfg(feature = "faiss")]

mod any_search;
mod corpus;
mod lists;
mod rows;
mod sharing;
#[path = "../support/mod.rs"]
mod support;
