//! Bringing an index over: one without vectors, or one of another model.
//!
//! tantivy fixes at creation which files an index may have, so an index that was made without vectors can never get them. It is
//! read from its stored fields into a new one beside it, and from its columns where a field is fast and not stored. What is only
//! in the inverted index cannot be read back; a [`Plan`] names such fields before the work. Both can be interrupted, and continue
//! from the last commit when started again.

mod key;
mod options;
mod plan;
mod reading;
mod reembed;
mod source;

pub use options::{ImportOptions, ReembedOptions};
pub use plan::{ORIGIN, Plan, import};
pub use reading::{ImportReport, num_docs};
pub use reembed::{losses, reembed};
