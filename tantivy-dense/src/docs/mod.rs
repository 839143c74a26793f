//! Chapters that are about no single item.

#[doc = include_str!("choosing_an_index.md")]
pub mod choosing_an_index {}

#[doc = include_str!("file_format.md")]
pub mod file_format {}
