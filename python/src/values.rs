//! JSON values from Python's and back.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

/// How deep values may lie in each other.
const DEPTH: usize = 64;

/// A JSON value of a Python object: None, bool, int, float, str, list, tuple, dict with str keys, dates and times (as ISO 8601), and
/// NumPy's scalars and arrays. The error follows the value's name.
pub(crate) fn to_json(given: &Bound<'_, PyAny>) -> Result<Value, String> {
    json(given, 0)
}

fn json(given: &Bound<'_, PyAny>, depth: usize) -> Result<Value, String> {
    if depth > DEPTH {
        return Err(format!("holds values more than {DEPTH} deep in each other"));
    }
    if given.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(text) = given.cast::<PyString>() {
        return string(text).map(Value::String);
    }
    if let Ok(value) = given.cast::<PyBool>() {
        return Ok(Value::Bool(value.is_true()));
    }
    if given.is_instance_of::<PyInt>() {
        if let Ok(number) = given.extract::<i64>() {
            return Ok(number.into());
        }
        return given.extract::<u64>().map(Value::from).map_err(|_| "is an integer of more than 64 bits".to_owned());
    }
    if let Ok(number) = given.cast::<PyFloat>() {
        return float(number.value());
    }
    if let Ok(items) = given.cast::<PyList>() {
        return items.iter().map(|item| json(&item, depth + 1)).collect::<Result<_, _>>().map(Value::Array);
    }
    if let Ok(items) = given.cast::<PyTuple>() {
        return items.iter().map(|item| json(&item, depth + 1)).collect::<Result<_, _>>().map(Value::Array);
    }
    if let Ok(items) = given.cast::<PyDict>() {
        let mut map = Map::new();
        for (key, value) in items {
            let key = key.cast_into::<PyString>().map_err(|_| "holds a dict with a key that is no str".to_owned())?;
            map.insert(string(&key)?, json(&value, depth + 1)?);
        }
        return Ok(Value::Object(map));
    }
    // Dates, times and pandas' timestamps; numpy's scalars and arrays.
    for method in ["isoformat", "tolist"] {
        if let Ok(made) = given.call_method0(method) {
            return if made.is(given) { Err(unknown(given)) } else { json(&made, depth + 1) };
        }
    }
    Err(unknown(given))
}

fn unknown(given: &Bound<'_, PyAny>) -> String {
    let name = given.get_type().name().map_or_else(|_| "of an unknown type".to_owned(), |name| name.to_string());
    format!("is a {name}; None, bool, int, float, str, dates, lists and dicts are taken")
}

/// A number, if it is one.
pub(crate) fn float(number: f64) -> Result<Value, String> {
    Number::from_f64(number)
        .map(Value::Number)
        .ok_or_else(|| format!("is {number}, which is not a finite number; use None where there is no value"))
}

/// A Python string that is text.
pub(crate) fn string(text: &Bound<'_, PyString>) -> Result<String, String> {
    text.to_cow()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "holds half of a surrogate pair, which is not text".to_owned())
}

/// The Python object of a JSON value.
pub(crate) fn to_python(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    match value {
        Value::Null => Ok(py.None()),
        Value::Bool(value) => value.into_py_any(py),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_py_any(py),
            (None, Some(number)) => number.into_py_any(py),
            (None, None) => number.as_f64().into_py_any(py),
        },
        Value::String(text) => text.into_py_any(py),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_py_any(py)
        }
        Value::Object(map) => object(py, map)?.into_py_any(py),
    }
}

/// The dict of a JSON object.
pub(crate) fn object<'py>(py: Python<'py>, map: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in map {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}
