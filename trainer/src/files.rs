//! Files that are either whole or not there, and their names in hexadecimal.

use crate::error::TrainError;
use std::path::Path;

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file beside its name, hands it to the disk, then moves it there: the name never stands for half a file, a full
/// disk leaves what was there before, and what was written outlives a loss of power.
///
/// # Errors
/// When the disk does not take it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    if let Some(folder) = path.parent() {
        durable::create_folders(folder).map_err(|e| TrainError::io(folder, e))?;
    }
    durable::replace(path, bytes).map_err(|e| TrainError::io(path, e))
}
