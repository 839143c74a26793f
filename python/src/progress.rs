//! Progress, as Python programs take it: a function, a bar such as tqdm's, or `True`.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use crate::errors::input;

/// Who hears how far a call is.
pub(crate) struct Progress {
    listener: Listener,
    total: usize,
    done: usize,
}

enum Listener {
    Nobody,
    /// `f(done, total)`.
    Function(Py<PyAny>),
    /// An object with `update(n)`; closed at the end if it was made here.
    Bar {
        bar: Py<PyAny>,
        own: bool,
    },
}

impl Progress {
    /// Understands the argument `progress` of a call. `True` makes a bar of tqdm if that is installed.
    pub(crate) fn new(given: Option<&Bound<'_, PyAny>>, what: &str, total: usize) -> PyResult<Self> {
        let listener = match given {
            None => Listener::Nobody,
            Some(given) if given.is_instance_of::<PyBool>() => match given.extract()? {
                false => Listener::Nobody,
                true => bar(given.py(), what, total)?,
            },
            Some(given) if given.hasattr("update")? => Listener::Bar { bar: given.clone().unbind(), own: false },
            Some(given) if given.is_callable() => Listener::Function(given.clone().unbind()),
            Some(given) => {
                let message =
                    format!("progress: {} is no bar with `update`, no function and no bool", given.get_type().name()?);
                return Err(input(message));
            }
        };
        Ok(Self { listener, total, done: 0 })
    }

    /// Says that `done` of all are finished, and looks for Ctrl-C. What the listener raises ends the work.
    pub(crate) fn set(&mut self, done: usize) -> PyResult<()> {
        let before = std::mem::replace(&mut self.done, done);
        Python::attach(|py| {
            py.check_signals()?;
            match &self.listener {
                Listener::Nobody => Ok(()),
                Listener::Function(function) => function.call1(py, (done, self.total)).map(drop),
                Listener::Bar { bar, .. } => bar.call_method1(py, "update", (done.saturating_sub(before),)).map(drop),
            }
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Listener::Bar { bar, own: true } = &self.listener {
            // The work is over; a bar that does not close changes nothing about it.
            let _ = Python::attach(|py| bar.call_method0(py, "close"));
        }
    }
}

fn bar(py: Python<'_>, what: &str, total: usize) -> PyResult<Listener> {
    let tqdm = match py.import("tqdm.auto") {
        Ok(module) => module.getattr("tqdm")?,
        Err(fault) if fault.is_instance_of::<PyImportError>(py) => {
            return Err(input(
                "progress=True draws its bar by tqdm, which is not installed: pip install tqdm, or pass a function",
            ));
        }
        Err(fault) => return Err(fault),
    };
    let options = PyDict::new(py);
    options.set_item("total", (total > 0).then_some(total))?;
    options.set_item("desc", what)?;
    Ok(Listener::Bar { bar: tqdm.call((), Some(&options))?.unbind(), own: true })
}
