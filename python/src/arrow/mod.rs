//! Tables and columns by Arrow's PyCapsule protocol, which pyarrow, polars, pandas and others speak.

mod capsule;
mod cell;
mod export;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_schema::DataType;
use pyo3::prelude::*;

pub(crate) use capsule::{Chunks, chunks};
pub(crate) use cell::{cell, text_of, vector_of};
pub(crate) use export::capsule_of;

use crate::errors::input;

/// A part of a table.
pub(crate) fn table_part(chunk: ArrayRef) -> PyResult<StructArray> {
    match chunk.as_struct_opt() {
        Some(part) if part.null_count() == 0 => Ok(part.clone()),
        Some(_) => Err(input("rows: a row of the table is null as a whole")),
        None => Err(input(format!("rows: a table is needed, and this is a column of {}", chunk.data_type()))),
    }
}

/// The texts of a column; none where the object is no Arrow data.
pub(crate) fn column_of_texts(given: &Bound<'_, PyAny>, what: &str) -> PyResult<Option<Vec<String>>> {
    let Some(chunks) = chunks(given)? else { return Ok(None) };
    let mut texts = Vec::new();
    for chunk in chunks {
        let chunk = chunk?;
        if let DataType::Struct(_) = chunk.data_type() {
            return Err(input(format!("{what}: is a table; pass one of its columns")));
        }
        for row in 0..chunk.len() {
            let text = text_of(chunk.as_ref(), row)
                .and_then(|text| text.ok_or_else(|| "is null, and not a text".to_owned()))
                .map_err(|problem| input(format!("{what}, row {}, {problem}", texts.len())))?;
            texts.push(text);
        }
    }
    Ok(Some(texts))
}
