//! JSON files of a model folder: read with a limit on size, keys taken out by type, faults named by file and key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::EncoderError;

/// Configuration files are a few kilobytes; one that is larger than this is not one.
pub(crate) const CONFIG_LIMIT: u64 = 4 << 20;

/// Opens a file of at most `limit` bytes, and says how many. What is no file is refused before it is opened: a pipe would be waited
/// for without end, and a device read without one.
pub(crate) fn open_file(path: &Path, limit: u64) -> Result<(std::fs::File, u64), EncoderError> {
    let fault = |source| EncoderError::Read { path: path.to_path_buf(), source };
    let check = |meta: &std::fs::Metadata| match kind_of_file(meta) {
        None if meta.len() > limit => Err(EncoderError::TooLarge { path: path.to_path_buf(), size: meta.len(), limit }),
        None => Ok(meta.len()),
        Some(kind) => Err(EncoderError::model(path, format!("is {kind} where a file is expected"))),
    };
    check(&std::fs::metadata(path).map_err(fault)?)?;
    let file = std::fs::File::open(path).map_err(fault)?;
    let size = check(&file.metadata().map_err(fault)?)?;
    Ok((file, size))
}

/// What something is that is no file.
fn kind_of_file(meta: &std::fs::Metadata) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = meta.file_type();
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    match (meta.is_file(), meta.is_dir()) {
        (true, _) => None,
        (_, true) => Some("a folder"),
        _ => Some("something else"),
    }
}

/// Reads a file whole, refusing one above `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, EncoderError> {
    use std::io::Read;
    let (file, size) = open_file(path, limit)?;
    // A file may grow while it is read, so the limit holds then too.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| EncoderError::Read { path: path.to_path_buf(), source })?;
    if bytes.len() as u64 > limit {
        return Err(EncoderError::TooLarge { path: path.to_path_buf(), size: bytes.len() as u64, limit });
    }
    if is_lfs_pointer(&bytes) {
        return Err(EncoderError::model(
            path,
            "is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`",
        ));
    }
    Ok(bytes)
}

/// Whether something is at a path, be it a file or a link that leads nowhere: then reading it says what is wrong.
pub(crate) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// What a checkout without Git LFS has in place of a large file: a few lines that name it.
fn is_lfs_pointer(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(200)];
    start.starts_with(b"version ") && start.windows(7).any(|part| part == b"git-lfs")
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
        Err(EncoderError::Read { source, .. })
            if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(other) => return Err(other),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| EncoderError::Json { path: path.to_path_buf(), source })
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
