//! One run at a time in a folder: a lock on `run.lock`, which the system lifts when its process ends, however it ends.

use crate::error::TrainError;
use std::fs::{File, TryLockError};
use std::path::Path;

/// The right to work in a run's folder, until it is dropped. The file stays behind and means nothing by itself.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes it, and makes the folder where it is not there.
    ///
    /// # Errors
    /// [`TrainError::Busy`] where somebody else has it; when the folder cannot be written.
    pub(crate) fn take(output: &Path) -> Result<Self, TrainError> {
        std::fs::create_dir_all(output).map_err(|e| TrainError::io(output, e))?;
        let path = output.join("run.lock");
        let file = File::options().create(true).append(true).open(&path).map_err(|e| TrainError::io(&path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TrainError::Busy(output.to_owned())),
            // A file system without locks is no reason not to train.
            Err(TryLockError::Error(e)) => {
                tracing::warn!("{}: {e}; see to it that no other adam-train works in this folder", path.display());
            }
        }
        Ok(Self { _file: file })
    }

    /// Takes it where the folder is there: nobody works in one that is not, and a run that cannot begin shall not leave one.
    ///
    /// # Errors
    /// As [`RunLock::take`].
    pub(crate) fn take_if_there(output: &Path) -> Result<Option<Self>, TrainError> {
        if output.is_dir() { Self::take(output).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_worked_in_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("run");
        assert!(RunLock::take_if_there(&output).unwrap().is_none() && !output.exists());
        let held = RunLock::take(&output).unwrap();
        let error = RunLock::take_if_there(&output).unwrap_err();
        assert!(
            matches!(error, TrainError::Busy(_)) && error.to_string().contains(&*output.to_string_lossy()),
            "{error}"
        );
        drop(held);
        // The file that is left behind is no obstacle.
        assert!(output.join("run.lock").is_file());
        RunLock::take(&output).unwrap();
    }
}
