//! The folder of an index as tantivy uses it, with two things mended: it can be read where nothing may be written, and who
//! may read its other files may read `meta.json` too.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::TantivyError;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, FileSlice, Lock, META_LOCK, MmapDirectory, WatchCallback, WatchHandle,
    WritePtr,
};

use crate::card::CARD_FILE;
use crate::error::PluginError;

/// The files of an index.
#[derive(Clone, Debug)]
pub(crate) struct IndexFolder {
    files: MmapDirectory,
    path: PathBuf,
}

impl IndexFolder {
    pub(crate) fn open(path: &Path) -> Result<Self, PluginError> {
        let files = MmapDirectory::open(path).map_err(TantivyError::from)?;
        Ok(Self { files, path: path.to_path_buf() })
    }

    /// The lock that keeps files from being deleted while they are opened, without leave to write. Writers elsewhere take the
    /// same lock on the same file. Where there is none, as in a copy without hidden files, there is nothing to wait for.
    fn lock_for_reading(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        match File::open(self.path.join(&lock.filepath)) {
            Ok(file) => {
                // Some network file systems have no locks.
                if let Err(fault) = file.lock_shared()
                    && fault.kind() != ErrorKind::Unsupported
                {
                    return Err(LockError::wrap_io_error(fault));
                }
                Ok(DirectoryLock::from(Box::new(file)))
            }
            Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(DirectoryLock::from(Box::new(()))),
            Err(fault) => Err(LockError::wrap_io_error(fault)),
        }
    }
}

impl Directory for IndexFolder {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.get_file_handle(path)
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        self.files.open_read(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.files.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.files.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.files.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> std::io::Result<()> {
        self.files.atomic_write(path, data)?;
        // tantivy makes these files by way of a temporary one, which nobody else may read; all others are made as usual.
        match std::fs::metadata(self.path.join(CARD_FILE)) {
            Ok(card) => std::fs::set_permissions(self.path.join(path), card.permissions()),
            Err(_) => Ok(()),
        }
    }

    fn sync_directory(&self) -> std::io::Result<()> {
        self.files.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        match self.files.acquire_lock(lock) {
            Err(LockError::IoError(fault)) if lock.filepath == META_LOCK.filepath && may_not_write(fault.kind()) => {
                self.lock_for_reading(lock)
            }
            taken => taken,
        }
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.files.watch(callback)
    }
}

fn may_not_write(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reading_waits_for_who_deletes_and_not_for_who_reads() {
        let home = tempfile::tempdir().unwrap();
        let folder = IndexFolder::open(home.path()).unwrap();
        // Nothing to wait for.
        drop(folder.lock_for_reading(&META_LOCK).unwrap());
        let writing = folder.acquire_lock(&META_LOCK).unwrap();
        let (taken, when) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let one = folder.lock_for_reading(&META_LOCK).unwrap();
                let other = folder.lock_for_reading(&META_LOCK).unwrap();
                taken.send(()).unwrap();
                drop((one, other));
            });
            assert!(when.recv_timeout(Duration::from_millis(100)).is_err());
            drop(writing);
            when.recv_timeout(Duration::from_secs(60)).unwrap();
        });
    }

    #[test]
    fn whole_files_are_as_open_as_the_card() {
        let home = tempfile::tempdir().unwrap();
        let folder = IndexFolder::open(home.path()).unwrap();
        folder.atomic_write(Path::new("before.json"), b"{}").unwrap();
        std::fs::write(home.path().join(CARD_FILE), "card").unwrap();
        folder.atomic_write(Path::new("meta.json"), b"{}").unwrap();
        let open = |name: &str| std::fs::metadata(home.path().join(name)).unwrap().permissions();
        assert_eq!(open("meta.json"), open(CARD_FILE));
    }
}
