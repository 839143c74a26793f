//! Chapters that are about no single item.

#[doc = include_str!("choosing_an_index.md")]
pub mod choosing_an_index {}

#[doc = include_str!("file_format.md")]
pub mod file_format {}

#[doc = include_str!("searching_on_a_gpu.md")]
pub mod searching_on_a_gpu {}
