//! `Collection`: documents, queries and judgements of a BEIR folder and of other files.

use std::path::PathBuf;
use std::sync::Mutex;

use beir_eval::{Collection as Files, Keep, OnWrongLine, ReadOptions, Records};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::Failure;
use crate::options::{Names, named};
use crate::values;

/// A collection: a BEIR folder or .zip, or files of documents (.jsonl, .json, .parquet, .gz, .bz2, .zst), patterns of them included.
///
/// Args:
///     path: The folder or file, or a list of files.
///     id, title, text: Names of the fields. Default: _id, title, text.
///     keep: Fields that become metadata: "all", or a list. Default: those of the field metadata.
///     on_wrong_line: "stop" (default) or "skip".
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Collection(Files);

#[pymethods]
impl Collection {
    #[new]
    #[pyo3(signature = (path, *, id=None, title=None, text=None, keep=None, on_wrong_line="stop"))]
    fn new(
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        id: Option<&str>,
        title: Option<&str>,
        text: Option<&str>,
        keep: Option<Names>,
        on_wrong_line: &str,
    ) -> PyResult<Self> {
        let paths: Vec<PathBuf> = match path.extract::<PathBuf>() {
            Ok(path) => vec![path],
            Err(_) => path.extract()?,
        };
        let keep = match keep {
            None => Keep::Nothing,
            Some(Names::One(name)) => named(&name)?,
            Some(Names::Several(names)) => Keep::Fields(names),
        };
        let options =
            ReadOptions::new().fields(id, title, text).keep(keep).on_wrong_line(named::<OnWrongLine>(on_wrong_line)?);
        py.detach(|| Files::open_with(&paths, &options)).map(Self).map_err(|error| Failure::from(error).into())
    }

    /// Its documents, one after another, as `Index.add` takes them: dicts with _id, title, text and, if there are such, metadata and
    /// vector.
    fn documents(&self, py: Python<'_>) -> PyResult<Documents> {
        let records = py.detach(|| self.0.records()).map_err(Failure::from)?;
        Ok(Documents(Mutex::new(records)))
    }

    /// Its queries: a dict from id to text.
    fn queries<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let queries = py.detach(|| self.0.queries()).map_err(Failure::from)?;
        let dict = PyDict::new(py);
        for query in queries.iter() {
            dict.set_item(&query.id, &query.text)?;
        }
        Ok(dict)
    }

    /// The judgements of a split: a dict from the id of a query to a dict from document to grade.
    #[pyo3(signature = (split="test"))]
    fn qrels<'py>(&self, py: Python<'py>, split: &str) -> PyResult<Bound<'py, PyDict>> {
        let qrels = py.detach(|| self.0.qrels(split)).map_err(Failure::from)?;
        let dict = PyDict::new(py);
        for (query, judged) in qrels.iter() {
            dict.set_item(query, judged)?;
        }
        Ok(dict)
    }

    /// The names of its judgements, e.g. train and test.
    #[getter]
    fn splits(&self) -> Vec<String> {
        self.0.splits()
    }

    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    fn __repr__(&self) -> String {
        format!("Collection({:?})", self.0.name())
    }
}

/// The documents of a collection, read one after another.
#[pyclass(frozen, module = "adam_search")]
pub(crate) struct Documents(Mutex<Records>);

#[pymethods]
impl Documents {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let next = py.detach(|| self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next());
        let Some(record) = next.transpose().map_err(Failure::from)? else { return Ok(None) };
        let dict = PyDict::new(py);
        dict.set_item("_id", record.document.id)?;
        dict.set_item("title", record.document.title)?;
        dict.set_item("text", record.document.text)?;
        if !record.metadata.is_empty() {
            dict.set_item("metadata", values::object(py, &record.metadata)?)?;
        }
        if let Some(vector) = record.vector {
            dict.set_item("vector", vector)?;
        }
        Ok(Some(dict))
    }
}
