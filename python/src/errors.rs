//! Errors of the libraries as Python exceptions, with the same sentences.

use adam_encoder::EncoderError;
use adam_plugin::{PluginError, UnknownName};
use beir_eval::BeirError;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The classes of `adam_search/_errors.py`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    Adam,
    Input,
    Storage,
    Locked,
    Model,
}

/// An exception of one of the classes.
pub(crate) fn exception(class: Class, message: impl Into<String>) -> PyErr {
    static CLASSES: PyOnceLock<[Py<PyType>; 5]> = PyOnceLock::new();
    let message: String = message.into();
    Python::attach(|py| {
        let classes = CLASSES.get_or_try_init(py, || {
            let module = py.import("adam_search._errors")?;
            let class =
                |name: &str| -> PyResult<Py<PyType>> { Ok(module.getattr(name)?.cast_into::<PyType>()?.unbind()) };
            Ok::<_, PyErr>([
                class("AdamError")?,
                class("InputError")?,
                class("StorageError")?,
                class("LockedError")?,
                class("ModelError")?,
            ])
        });
        match classes {
            Ok(classes) => PyErr::from_type(classes[class as usize].bind(py).clone(), message),
            Err(fault) => fault,
        }
    })
}

/// What was passed is wrong.
pub(crate) fn input(message: impl Into<String>) -> PyErr {
    exception(Class::Input, message)
}

/// An error of the libraries on its way to Python.
#[derive(Debug)]
pub(crate) struct Failure(PyErr);

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        Self::of_plugin(&error, "")
    }
}

impl Failure {
    /// An error behind the place that it is about.
    pub(crate) fn of_plugin(error: &PluginError, place: &str) -> Self {
        use PluginError as E;
        let class = match error {
            E::Encoder(error) => of_encoder(error),
            E::Field { .. } | E::Template { .. } | E::Query { .. } | E::Filter { .. } | E::Setting { .. } => {
                Class::Input
            }
            E::Document { .. } => Class::Input,
            E::Io { .. } | E::NotAnIndex { .. } | E::Manifest { .. } | E::FolderChanged { .. } => Class::Storage,
            E::NotWritten { .. } | E::NoLock(_) | E::Import { .. } => Class::Storage,
            E::Locked { .. } => Class::Locked,
            E::OtherModel { .. } | E::NoModel { .. } | E::ModelMoved { .. } => Class::Model,
            _ => Class::Adam,
        };
        Self(exception(class, format!("{place}{error}")))
    }
}

fn of_encoder(error: &EncoderError) -> Class {
    match error {
        EncoderError::Option { .. } | EncoderError::Rows { .. } => Class::Input,
        EncoderError::Text { cause, .. } => of_encoder(cause),
        _ => Class::Model,
    }
}

impl From<EncoderError> for Failure {
    fn from(error: EncoderError) -> Self {
        Self(exception(of_encoder(&error), error.to_string()))
    }
}

impl From<BeirError> for Failure {
    fn from(error: BeirError) -> Self {
        let class = match &error {
            BeirError::Io { .. } | BeirError::NotFound { .. } | BeirError::Archive { .. } => Class::Storage,
            _ => Class::Input,
        };
        Self(exception(class, error.to_string()))
    }
}

impl From<UnknownName> for Failure {
    fn from(error: UnknownName) -> Self {
        Self(input(error.to_string()))
    }
}

/// Runs pending signal handlers: after Ctrl-C this is the KeyboardInterrupt. Only Python's main thread has them.
pub(crate) fn interruption() -> Option<PyErr> {
    Python::attach(|py| py.check_signals()).err()
}

/// For work that was stopped although no handler raised anything.
pub(crate) fn stopped() -> PyErr {
    PyKeyboardInterrupt::new_err("stopped")
}
