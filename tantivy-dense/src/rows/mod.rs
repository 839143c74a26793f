//! The rows of a segment: the `.vec` file, written front to back and read where it lies.

#[cfg(test)]
mod golden_tests;
mod layout;
mod quantise;
mod reader;
mod source;
mod writer;

pub(crate) use layout::{EXTENSION, Presence, Section};
pub(crate) use quantise::RoundedQuery;
pub(crate) use reader::{FieldRows, RowSection, RowsFile};
pub(crate) use writer::{FieldWriter, RowsFileWriter, SideValues};

#[cfg(target_endian = "big")]
compile_error!("rows are little-endian and used where they lie: this crate needs a little-endian machine");
