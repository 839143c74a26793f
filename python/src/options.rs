//! Options of models, and the library that runs them.

use std::path::PathBuf;

use adam_encoder::{EncoderOptions, Precision, Provider, TextKind, runtime};
use pyo3::prelude::*;

use crate::errors::{Failure, input};

/// A name in one of the libraries' lists, such as a mode.
pub(crate) fn named<T: std::str::FromStr>(name: &str) -> PyResult<T>
where
    T::Err: std::fmt::Display,
{
    name.parse().map_err(|problem: T::Err| input(problem.to_string()))
}

/// `query`, or `document` and `passage`, which are the same.
pub(crate) fn kind(name: &str) -> PyResult<TextKind> {
    match name {
        "query" => Ok(TextKind::Query),
        "document" | "passage" => Ok(TextKind::Document),
        other => Err(input(format!("`{other}` is not a kind of text; use document, passage or query"))),
    }
}

/// One name or several.
#[derive(FromPyObject)]
pub(crate) enum Names {
    One(String),
    Several(Vec<String>),
}

impl Names {
    pub(crate) fn list(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Several(names) => names,
        }
    }
}

/// Where and on how many threads a model runs.
pub(crate) fn running(threads: usize, provider: Option<Names>) -> PyResult<EncoderOptions> {
    let providers = provider.map(Names::list).unwrap_or_default();
    let providers = providers.iter().map(|name| named::<Provider>(name)).collect::<PyResult<Vec<_>>>()?;
    Ok(EncoderOptions::default().threads(threads).providers(providers))
}

/// The precision by its name.
pub(crate) fn precision(name: Option<&str>) -> PyResult<Precision> {
    name.map_or(Ok(Precision::default()), named)
}

/// Loads ONNX Runtime from the package `onnxruntime` of this interpreter, if it is installed; else from where the library looks.
/// Nothing of the process's environment is changed.
pub(crate) fn load_runtime(py: Python<'_>) -> PyResult<()> {
    let spec = py.import("importlib.util")?.call_method1("find_spec", ("onnxruntime",))?;
    let folders: Vec<PathBuf> = match spec.is_none() {
        true => Vec::new(),
        false => spec.getattr("submodule_search_locations")?.extract::<Option<Vec<PathBuf>>>()?.unwrap_or_default(),
    };
    let library = folders.first().map(|folder| folder.join("capi"));
    py.detach(|| match library {
        Some(library) => runtime::init_with(&library),
        None => runtime::init(),
    })
    .map_err(|error| Failure::from(error).into())
}
