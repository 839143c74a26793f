//! Texts from Python: a list of strings, or a column of Arrow, polars or pandas.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::input;
use crate::{arrow, values};

/// The texts, and whether it was one text outside of a list.
pub(crate) fn texts(given: &Bound<'_, PyAny>, what: &str) -> PyResult<(Vec<String>, bool)> {
    let text = |item: &Bound<'_, PyString>, place: &str| {
        values::string(item).map_err(|problem| input(format!("{what}{place} {problem}")))
    };
    if let Ok(one) = given.cast::<PyString>() {
        return Ok((vec![text(one, "")?], true));
    }
    if let Some(column) = arrow::column_of_texts(given, what)? {
        return Ok((column, false));
    }
    let mut all = Vec::with_capacity(given.len().unwrap_or(0));
    for (row, item) in given.try_iter().map_err(|_| wrong(given, what, ""))?.enumerate() {
        let item = item?;
        let place = format!(", row {row},");
        let item = item.cast::<PyString>().map_err(|_| wrong(&item, what, &place))?;
        all.push(text(item, &place)?);
    }
    Ok((all, false))
}

fn wrong(given: &Bound<'_, PyAny>, what: &str, place: &str) -> PyErr {
    let name = given.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    input(format!(
        "{what}{place} is a {name}; a str is taken, a list of them, or a column of text (Arrow, polars, pandas)"
    ))
}
