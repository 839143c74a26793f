//! Small JSON files with a version and, in their last line, the SHA-256 of what stands before it:
//!
//! ```text
//! { "version": 1, ... }
//! sha256 <64 hexadecimal digits>
//! ```

use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::PluginError;

/// Reads a file of this kind; `None` where there is none. `what` names it in messages, such as `the manifest of the index`.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    what: &str,
    version: u32,
    most: u64,
) -> Result<Option<T>, PluginError> {
    let refuse = |problem: String| PluginError::Manifest { path: path.to_path_buf(), problem };
    let bytes = match durable::read(path, most) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            return Err(refuse(format!("larger than {what} can be; this is another file")));
        }
        Err(source) => return Err(PluginError::io("read", path, source)),
    };
    let damaged = || refuse(format!("{what} is damaged (its checksum is wrong); restore it, or make the index again"));
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    let (body, sum) = text.trim_end().rsplit_once("\nsha256 ").ok_or_else(damaged)?;
    if digest(body) != sum {
        return Err(damaged());
    }
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let there: Version = serde_json::from_str(body).map_err(|_| damaged())?;
    if there.version > version {
        return Err(refuse(format!(
            "written by a later version of adam (manifest version {}; this one reads up to {version})",
            there.version
        )));
    }
    serde_json::from_str(body).map(Some).map_err(|fault| refuse(format!("{what} cannot be read: {fault}")))
}

/// Writes it, whole or not at all. When it returns, it is on disk.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), PluginError> {
    let body = serde_json::to_string_pretty(value)
        .map_err(|fault| PluginError::io("write", path, std::io::Error::other(fault)))?;
    let whole = format!("{body}\nsha256 {}\n", digest(&body));
    durable::replace(path, whole.as_bytes()).map_err(|source| PluginError::io("write", path, source))
}

pub(crate) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
