//! The folder of an index as tantivy uses it: it can be read without permission to write, has at most one writer, and
//! is checked to be the folder that was opened before any search and any write.

mod contents;
mod home;
mod identity;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, FileSlice, INDEX_WRITER_LOCK, Lock, META_LOCK, WatchCallback, WatchHandle,
    WritePtr,
};
use tantivy::{Index, TantivyError};
use tantivy_dense::{Dense, DurableDirectory};

pub(crate) use contents::{
    Contents, FILE_LIST, MAX_META, META, SOURCE_FILE, is_leftover, is_lock, is_segment_file, segment_of,
};
pub(crate) use home::Home;
use identity::{FileId, Identity, WriterLockState};

use crate::error::PluginError;
use crate::manifest::{MANIFEST_FILE, Manifest};

/// The files of an index.
#[derive(Clone, Debug)]
pub(crate) struct IndexFolder {
    files: DurableDirectory,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    identity: Mutex<Identity>,
    /// Whether the folder is being removed. Files are made while this is read, so none appears once it is set.
    removed: RwLock<bool>,
}

impl Shared {
    fn identity(&self) -> MutexGuard<'_, Identity> {
        // Whole after every statement, so a panic of another thread does no harm to it.
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexFolder {
    pub(crate) fn open(path: &Path) -> Result<Self, PluginError> {
        let files = DurableDirectory::open(path).map_err(TantivyError::from)?;
        let identity = Mutex::new(Identity::of(files.path())?);
        Ok(Self { files, shared: Arc::new(Shared { identity, removed: RwLock::default() }) })
    }

    /// Opens the index in a folder that holds one of `adam`.
    pub(crate) fn open_index(path: &Path, dense: &Dense) -> Result<(Index, Self), PluginError> {
        Contents::of(path)?.check_index(path)?;
        let folder = Self::open(path)?;
        Ok((dense.open_index(folder.clone())?, folder))
    }

    /// The folder without links: where a link leads later is another index.
    pub(crate) fn path(&self) -> &Path {
        self.files.path()
    }

    /// The manifest, as it was when the folder was opened or last checked.
    pub(crate) fn manifest(&self) -> Option<Manifest> {
        self.shared.identity().manifest().cloned()
    }

    /// Writes the manifest of a new index.
    pub(crate) fn write_manifest(&self, manifest: &Manifest) -> Result<(), PluginError> {
        manifest.write(self.path())?;
        self.shared.identity().note_manifest(self.path())
    }

    /// Refuses a folder that is no longer the one that was opened.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        self.shared.identity().check(self.path())
    }

    /// Whether the folder was written to through this handle, now or before.
    pub(crate) fn is_own(&self) -> bool {
        self.shared.identity().is_own
    }

    /// Goes over to the folder that was put in the place of this one.
    pub(crate) fn adopt(&self, other: &Self) -> Result<(), PluginError> {
        self.shared.identity().adopt(Identity::of(other.path())?);
        Ok(())
    }

    /// Takes the lock of the writer, which is released when the guard is dropped.
    pub(crate) fn lock(&self) -> Result<DirectoryLock, PluginError> {
        self.acquire_lock(&INDEX_WRITER_LOCK).map_err(|fault| match fault {
            LockError::LockBusy => self.locked(),
            LockError::IoError(fault) => PluginError::NoLock(fault),
        })
    }

    /// Says who holds the lock of the writer, as far as that one has said.
    pub(crate) fn locked(&self) -> PluginError {
        let holder = durable::read(self.path().join(&INDEX_WRITER_LOCK.filepath), 64).ok();
        let process = holder.and_then(|text| String::from_utf8(text).ok()).and_then(|text| {
            let process: u32 = text.strip_prefix(HOLDER)?.trim_end().parse().ok()?;
            // A killed writer leaves its number behind.
            let gone = cfg!(target_os = "linux") && !Path::new("/proc").join(process.to_string()).exists();
            (!gone).then_some(process)
        });
        PluginError::Locked {
            holder: match process {
                Some(process) if process == std::process::id() => "another writer of this process".to_owned(),
                Some(process) => format!("another program (process {process})"),
                None => "another program or writer".to_owned(),
            },
        }
    }

    /// An error of a writer with its cause: tantivy's own does not say why one of its threads failed, and often not which file was
    /// concerned.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        let fault = match &error {
            PluginError::Tantivy(TantivyError::ErrorInThread(_) | TantivyError::SystemError(_)) => {
                if let Err(changed @ PluginError::FolderChanged { .. }) = self.check() {
                    return changed;
                }
                self.files.last_fault()
            }
            PluginError::Tantivy(
                TantivyError::IoError(fault)
                | TantivyError::OpenWriteError(OpenWriteError::IoError { io_error: fault, .. }),
            ) => Some(fault.to_string()),
            _ => None,
        };
        fault.map_or(error, |cause| PluginError::NotWritten { cause })
    }

    /// Forgets which calls failed, before a new attempt.
    pub(crate) fn forget_fault(&self) {
        self.files.forget_fault();
    }

    /// Removes an index that holds nothing, and the folder if `with_folder` and nothing else lies in it. The caller holds the
    /// lock. Threads of an ended writer may still be at work here: from now on they can make no file.
    pub(crate) fn remove(&self, with_folder: bool) -> Result<(), PluginError> {
        *self.shared.removed.write().unwrap_or_else(PoisonError::into_inner) = true;
        let folder = self.path();
        let io = |path: &Path, source| PluginError::io("remove", path, source);
        let entries = folder.read_dir().map_err(|source| io(folder, source))?;
        let own = |name: &str| {
            is_segment_file(name) || is_leftover(name) || [MANIFEST_FILE, META, FILE_LIST, SOURCE_FILE].contains(&name)
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let (mut files, locks): (Vec<_>, Vec<_>) = names.partition(|name| !is_lock(name));
        files.retain(|name| own(name));
        // The locks last: until then nobody begins anew in this folder.
        for name in files.into_iter().chain(locks) {
            let path = folder.join(name);
            match std::fs::remove_file(&path) {
                Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(io(&path, fault)),
                _ => {}
            }
        }
        if !with_folder {
            return Ok(());
        }
        match std::fs::remove_dir(folder) {
            // Something of somebody else's.
            Err(fault) if matches!(fault.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => Ok(()),
            removed => removed.map_err(|source| io(folder, source)),
        }
    }

    fn lock_for_writing(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        let path = self.path().join(&lock.filepath);
        loop {
            check_lock_file(&path).map_err(LockError::wrap_io_error)?;
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(LockError::wrap_io_error)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(LockError::LockBusy),
                Err(TryLockError::Error(fault)) => return Err(LockError::wrap_io_error(fault)),
            }
            let id = FileId::of(&file.metadata().map_err(LockError::wrap_io_error)?);
            // A lock that was deleted between the two calls keeps nobody out.
            if std::fs::symlink_metadata(&path).is_ok_and(|found| FileId::of(&found) == id) {
                return self.held(file, id, path);
            }
        }
    }

    fn held(&self, mut file: File, id: FileId, path: PathBuf) -> Result<DirectoryLock, LockError> {
        // Told to writers that are refused; nothing else depends on it.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{HOLDER}{}", std::process::id()));
        contents::remove_leftovers(self.path());
        let meta = match durable::read(self.path().join(META), MAX_META) {
            Ok(meta) => Some(meta),
            Err(fault) if fault.kind() == ErrorKind::NotFound => None,
            Err(fault) => return Err(LockError::wrap_io_error(fault)),
        };
        let writing = WriterLockState { lock: id, lock_file: path, meta };
        self.shared.identity().hold(self.path(), writing).map_err(LockError::wrap_io_error)?;
        Ok(DirectoryLock::from(Box::new(WriterLock { file, id, shared: Arc::clone(&self.shared) })))
    }

    /// The lock that keeps files from being deleted while they are opened, without leave to write. Writers elsewhere take the
    /// same lock on the same file. Where there is none, as in a copy without hidden files, there is nothing to wait for.
    fn lock_for_reading(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        match File::open(self.path().join(&lock.filepath)) {
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

    /// A writer that rolled back to the segments of another folder would write these into its own, once that is back.
    fn check_for_reading(&self, path: &Path) -> Result<(), OpenReadError> {
        self.check().map_err(|fault| OpenReadError::wrap_io_error(std::io::Error::other(fault), path.to_path_buf()))
    }

    /// Does something that makes a file, in the folder that was opened and that is not being removed.
    fn writing<T>(&self, make: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        let removed = self.shared.removed.read().unwrap_or_else(PoisonError::into_inner);
        if *removed {
            return Err(std::io::Error::other("the index is being removed"));
        }
        self.check().map_err(std::io::Error::other)?;
        make()
    }
}

/// What the holder of the writer's lock writes into it, before the number of its process.
const HOLDER: &str = "process ";

/// The lock of the writer. Dropping the file releases it.
struct WriterLock {
    file: File,
    id: FileId,
    shared: Arc<Shared>,
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        let mut identity = self.shared.identity();
        if identity.writing.as_ref().is_some_and(|writing| writing.lock == self.id) {
            identity.writing = None;
        }
    }
}

/// Refuses a lock that is no regular file: through a link, a file elsewhere would be written to.
fn check_lock_file(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(std::io::Error::new(
            ErrorKind::InvalidInput,
            format!("{} is not a regular file; remove it", path.display()),
        )),
        _ => Ok(()),
    }
}

impl Directory for IndexFolder {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.check_for_reading(path)?;
        self.files.get_file_handle(path)
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        self.check_for_reading(path)?;
        self.files.open_read(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.check().map_err(|fault| DeleteError::IoError {
            io_error: Arc::new(std::io::Error::other(fault)),
            filepath: path.to_path_buf(),
        })?;
        self.files.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let mut opened = None;
        let made = self.writing(|| {
            opened = Some(self.files.open_write(path));
            Ok(())
        });
        match (made, opened) {
            (Ok(()), Some(opened)) => opened,
            (made, _) => {
                let fault = made.err().unwrap_or_else(|| std::io::Error::other("the file was not made"));
                Err(OpenWriteError::wrap_io_error(fault, path.to_path_buf()))
            }
        }
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.check_for_reading(path)?;
        self.files.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> std::io::Result<()> {
        self.writing(|| {
            if path != Path::new(META) {
                return self.files.atomic_write(path, data);
            }
            let mut identity = self.shared.identity();
            identity.check_meta(self.path(), MAX_META).map_err(std::io::Error::other)?;
            let written = self.files.atomic_write(path, data);
            if let Some(writing) = &mut identity.writing {
                // Where only the last step failed, the file is there all the same.
                if written.is_ok() || durable::read(self.path().join(META), MAX_META).is_ok_and(|there| there == data) {
                    writing.meta = Some(data.to_vec());
                }
            }
            written
        })
    }

    fn sync_directory(&self) -> std::io::Result<()> {
        self.files.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        // Readers take the one lock whenever they look for a new commit, writers the other.
        self.check().map_err(|fault| LockError::wrap_io_error(std::io::Error::other(fault)))?;
        if lock.filepath == INDEX_WRITER_LOCK.filepath {
            return self.lock_for_writing(lock);
        }
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
mod tests;
