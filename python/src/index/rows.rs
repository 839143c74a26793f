//! Rows from Python, one after another or part by part.

use adam_plugin::engine::Document;
use arrow_array::{Array, StructArray};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator};

use crate::arrow::{self, Chunks};
use crate::errors::input;
use crate::records::{Columns, Table};

/// The rows of a call as documents.
pub(super) enum Rows<'a, 'py> {
    Dicts { columns: &'a Columns, iterator: Bound<'py, PyIterator>, next: usize },
    Table { columns: &'a Columns, chunks: Box<Chunks>, part: Option<(StructArray, Table, usize)>, next: usize },
}

impl<'a, 'py> Rows<'a, 'py> {
    pub(super) fn new(given: &Bound<'py, PyAny>, columns: &'a Columns) -> PyResult<Self> {
        if let Some(chunks) = arrow::chunks(given)? {
            return Ok(Self::Table { columns, chunks: Box::new(chunks), part: None, next: 0 });
        }
        let name = given.get_type().name()?;
        if given.is_instance_of::<PyDict>() {
            return Err(input("rows: is a single dict; pass a list of them, one for each document"));
        }
        let iterator = given.try_iter().map_err(|_| {
            input(format!("rows: is a {name}; a table (Arrow, polars, pandas) or an iterable of dicts is needed"))
        })?;
        Ok(Self::Dicts { columns, iterator, next: 0 })
    }

    /// Whether a second call gets the same rows, so that all can be checked before any is added.
    pub(super) fn can_be_read_again(given: &Bound<'_, PyAny>) -> bool {
        given.len().is_ok()
    }

    /// The next document and its row.
    pub(super) fn next(&mut self) -> PyResult<Option<(usize, Document)>> {
        match self {
            Self::Dicts { columns, iterator, next } => {
                let Some(row) = iterator.next() else { return Ok(None) };
                let number = *next;
                *next += 1;
                Ok(Some((number, columns.of_dict(&row?, number)?)))
            }
            Self::Table { columns, chunks, part, next } => loop {
                if let Some((rows, table, row)) = part
                    && *row < rows.len()
                {
                    let number = *next;
                    let document = table.document(rows, *row, number)?;
                    (*row, *next) = (*row + 1, *next + 1);
                    return Ok(Some((number, document)));
                }
                let Some(chunk) = chunks.next() else { return Ok(None) };
                let rows = arrow::table_part(chunk?)?;
                let table = columns.of_table(&rows)?;
                *part = Some((rows, table, 0));
            },
        }
    }
}
