//! JSON files of a model folder: read with a limit on size, keys taken out by type, faults named by file and key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::EncoderError;
use crate::files::read_limited;
use crate::limits::CONFIG_LIMIT;

/// Whether something is at a path, be it a file or a link that leads nowhere: then reading it says what is wrong.
pub(crate) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// One JSON object and the file it came from.
#[derive(Debug, Clone)]
pub(crate) struct JsonFile {
    path: PathBuf,
    keys: Map<String, Value>,
}

impl JsonFile {
    /// Reads a file that must be there.
    pub(crate) fn read(path: &Path, needed: &str) -> Result<Self, EncoderError> {
        Self::read_if_there(path)?
            .ok_or_else(|| EncoderError::Missing { path: path.to_path_buf(), needed: needed.to_owned() })
    }

    /// Reads a file, or gives `None` where there is none.
    pub(crate) fn read_if_there(path: &Path) -> Result<Option<Self>, EncoderError> {
        match read_value(path)? {
            None => Ok(None),
            Some(Value::Object(keys)) => Ok(Some(Self { path: path.to_path_buf(), keys })),
            Some(other) => Err(EncoderError::model(path, format!("must be a JSON object, and is {}", kind_of(&other)))),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// Keys with a value that is not null.
    pub(super) fn present(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.keys.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.as_str(), value))
    }

    fn wrong(&self, key: &str, expected: &str, value: &Value) -> EncoderError {
        EncoderError::key(&self.path, key, format!("must be {expected}, and is {}", kind_of(value)))
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, EncoderError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a string", other)),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, EncoderError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    /// A whole number from 1 to `most`.
    pub(crate) fn size(&self, key: &str, most: u64) -> Result<Option<usize>, EncoderError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if (1..=most).contains(&number) => Ok(Some(number as usize)),
                _ => Err(self.wrong(key, &format!("a whole number from 1 to {most}"), value)),
            },
        }
    }

    /// A number of tokens; one so large that it can only mean "no limit" gives `None`.
    pub(crate) fn length(&self, key: &str) -> Result<Option<usize>, EncoderError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(value) if value >= 1e6 => Ok(None),
                Some(value) if value >= 1.0 && value.fract() == 0.0 => Ok(Some(value as usize)),
                _ => Err(EncoderError::key(
                    &self.path,
                    key,
                    format!("must be a whole number of tokens above 0, and is {number}"),
                )),
            },
            Some(other) => Err(self.wrong(key, "a number of tokens", other)),
        }
    }

    pub(crate) fn object(&self, key: &str) -> Result<Option<&Map<String, Value>>, EncoderError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(self.wrong(key, "an object", other)),
        }
    }
}

/// Parses a JSON file of any shape; `None` where there is no such file.
pub(crate) fn read_value(path: &Path) -> Result<Option<Value>, EncoderError> {
    let bytes = match read_limited(path, CONFIG_LIMIT) {
        Ok(bytes) => bytes,
        Err(EncoderError::Read { cause, .. })
            if matches!(cause.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(other) => return Err(other),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|cause| EncoderError::Json { path: path.to_path_buf(), cause })
}

/// A value in a few words, for messages.
pub(crate) fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() <= 60 => format!("the string \"{text}\""),
        Value::String(_) => "a long string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
