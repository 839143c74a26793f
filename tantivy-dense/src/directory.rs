//! A folder as tantivy's directory, for an index that must outlive power cuts and other people's files.

use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, DirectoryLock, FileHandle, FileSlice, Lock, MmapDirectory, TerminatingWrite, WatchCallback,
    WatchHandle, WritePtr,
};

use crate::lock::lock;

/// The list of an index's files, by which tantivy deletes those that it no longer needs.
const FILE_LIST: &str = ".managed.json";
/// Which segments there are.
const META: &str = "meta.json";
/// Most bytes read of either: some hundred thousand segments.
const MAX_LIST: u64 = 64 << 20;
/// The last bytes of every file of a segment: length and mark of tantivy's footer.
const LEAST_FILE: u64 = 8;
/// Letters of a segment's id in file names.
const ID_LENGTH: usize = 32;

/// tantivy's [`MmapDirectory`] with four things changed:
///
/// - A commit is on disk when it returns. tantivy 0.27 syncs the folder before it renames `meta.json` and not after, so that a
///   power cut in the next seconds takes the commit away again.
/// - Only plain names inside the folder are opened, written or deleted, and only regular files read. The list of an index's files
///   is part of the index: one that was made by somebody else could name any file of the machine for deletion.
/// - A file that is too short for tantivy's footer is an error; tantivy 0.27 panics.
/// - Files that are replaced have the permissions of any new file at all times.
///
/// [`Dense::open`](crate::Dense::open) and its siblings use it.
#[derive(Clone, Debug)]
pub struct DurableDirectory {
    files: MmapDirectory,
    path: PathBuf,
    fault: Arc<Mutex<Option<String>>>,
}

impl DurableDirectory {
    /// Opens a folder.
    ///
    /// # Errors
    /// When there is no such folder, or it cannot be looked at.
    pub fn open(folder: impl AsRef<Path>) -> Result<DurableDirectory, OpenDirectoryError> {
        let folder = folder.as_ref();
        let files = MmapDirectory::open(folder)?;
        let path = folder.canonicalize().map_err(|io_error| OpenDirectoryError::IoError {
            io_error: Arc::new(io_error),
            directory_path: folder.to_path_buf(),
        })?;
        Ok(DurableDirectory { files, path, fault: Arc::default() })
    }

    /// The folder, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last call that failed for another reason than a missing or existing file, with the file's path. tantivy's error about
    /// a writer whose thread failed says neither.
    pub fn last_fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Forgets the [`last_fault`](Self::last_fault), before a new attempt.
    pub fn forget_fault(&self) {
        *lock(&self.fault) = None;
    }

    /// Names the file in an error, and remembers it.
    fn fault(&self, action: &str, path: &Path, error: io::Error) -> io::Error {
        note(&self.fault, action, &self.path.join(path), error)
    }

    /// Refuses what is no regular file: the open of a pipe waits for somebody, and devices have no end.
    fn check_regular(&self, path: &Path) -> Result<(), OpenReadError> {
        let wrap = |error| OpenReadError::wrap_io_error(error, path.to_path_buf());
        match self.path.join(path).metadata() {
            Ok(found) if found.is_file() => Ok(()),
            Ok(_) => Err(wrap(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"))),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(OpenReadError::FileDoesNotExist(path.into())),
            Err(error) => Err(wrap(error)),
        }
    }

    /// The list of files without what cannot be a file of an index.
    fn checked_list(&self, bytes: Vec<u8>) -> Vec<u8> {
        // tantivy says what is wrong with bytes that are no list.
        let Ok(listed) = serde_json::from_slice::<Vec<String>>(&bytes) else { return bytes };
        let (own, foreign): (Vec<String>, Vec<String>) =
            listed.into_iter().partition(|name| name == META || is_segment_file(name));
        if foreign.is_empty() {
            return bytes;
        }
        tracing::warn!(
            folder = %self.path.display(),
            "{FILE_LIST} names files that do not belong to an index; they are left alone: {}",
            foreign.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        );
        serde_json::to_vec(&own).unwrap_or(bytes)
    }
}

fn note(last: &Mutex<Option<String>>, action: &str, path: &Path, error: io::Error) -> io::Error {
    let problem = format!("cannot {action} {}: {error}", path.display());
    *lock(last) = Some(problem.clone());
    io::Error::new(error.kind(), problem)
}

/// Refuses what is not a name in the folder.
fn check_plain(path: &Path) -> io::Result<()> {
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if name == path.as_os_str() => Ok(()),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, format!("{path:?} is not the name of a file of an index"))),
    }
}

/// Whether a name is that of a segment's file: the segment's id and an extension.
pub(crate) fn is_segment_file(name: &str) -> bool {
    let plain = check_plain(Path::new(name)).is_ok();
    plain
        && name.split_once('.').is_some_and(|(id, extension)| {
            id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && !extension.is_empty()
        })
}

impl Directory for DurableDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        check_plain(path).map_err(|error| OpenReadError::wrap_io_error(error, path.to_path_buf()))?;
        self.check_regular(path)?;
        self.files.get_file_handle(path)
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        let file = FileSlice::new(self.get_file_handle(path)?);
        let length = tantivy::HasLen::len(&file) as u64;
        if length < LEAST_FILE {
            let problem = format!("its {length} bytes are too few: it was cut off; restore it from a copy");
            let error = io::Error::new(ErrorKind::UnexpectedEof, problem);
            return Err(OpenReadError::wrap_io_error(error, path.to_path_buf()));
        }
        Ok(file)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        if !path.to_str().is_some_and(is_segment_file) {
            let error = io::Error::new(ErrorKind::InvalidInput, "it is not a file of a segment");
            return Err(DeleteError::IoError { io_error: Arc::new(error), filepath: path.to_path_buf() });
        }
        self.files.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        check_plain(path).map_err(|error| OpenReadError::wrap_io_error(error, path.to_path_buf()))?;
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let wrap = |error| OpenWriteError::wrap_io_error(error, path.to_path_buf());
        check_plain(path).map_err(wrap)?;
        let opened = self.files.open_write(path).map_err(|error| match error {
            OpenWriteError::IoError { io_error, filepath } => {
                let error = io::Error::new(io_error.kind(), io_error.to_string());
                OpenWriteError::wrap_io_error(self.fault("create", path, error), filepath)
            }
            other => other,
        })?;
        // The buffer is empty yet.
        let file = opened.into_inner().map_err(|error| wrap(error.into_error()))?;
        let noted = NotedWrite { file, path: self.path.join(path), fault: Arc::clone(&self.fault) };
        Ok(io::BufWriter::new(Box::new(noted)))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let wrap = |error| OpenReadError::wrap_io_error(error, path.to_path_buf());
        check_plain(path).map_err(wrap)?;
        match durable::read(self.path.join(path), MAX_LIST) {
            Ok(bytes) if path == Path::new(FILE_LIST) => Ok(self.checked_list(bytes)),
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(OpenReadError::FileDoesNotExist(path.into())),
            Err(error) => Err(wrap(error)),
        }
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        check_plain(path)?;
        let whole = self.path.join(path);
        let written = if path == Path::new(FILE_LIST) {
            // Written anew for every file. No promise rests on it, and the commit syncs the folder.
            durable::replace_unsynced(&whole, data)
        } else {
            durable::replace(&whole, data)
        };
        written.map_err(|error| self.fault("write", path, error))
    }

    fn sync_directory(&self) -> io::Result<()> {
        durable::sync_folder(&self.path).map_err(|error| note(&self.fault, "sync", &self.path, error))
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        check_plain(&lock.filepath).map_err(LockError::wrap_io_error)?;
        check_lock_file(&self.path.join(&lock.filepath)).map_err(LockError::wrap_io_error)?;
        self.files.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.files.watch(callback)
    }
}

/// Refuses a lock that is no regular file: a link would make or open a file elsewhere, a pipe be waited for.
fn check_lock_file(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => {
            Err(io::Error::new(ErrorKind::InvalidInput, format!("{} is not a regular file; remove it", path.display())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A file whose failed writes are remembered.
struct NotedWrite {
    file: Box<dyn TerminatingWrite + Send + Sync>,
    path: PathBuf,
    fault: Arc<Mutex<Option<String>>>,
}

impl NotedWrite {
    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            _ => note(&self.fault, "write", &self.path, error),
        })
    }
}

impl Write for NotedWrite {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.noted(flushed)
    }
}

impl TerminatingWrite for NotedWrite {
    fn terminate_ref(&mut self, token: AntiCallToken) -> io::Result<()> {
        let ended = self.file.terminate_ref(token);
        self.noted(ended)
    }
}

#[cfg(test)]
mod tests {
    use tantivy::directory::{INDEX_WRITER_LOCK, META_LOCK};

    use super::*;

    const SEGMENT_FILE: &str = "0123456789abcdef0123456789abcdef.store";

    fn directory() -> (tempfile::TempDir, DurableDirectory) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("index")).unwrap();
        let directory = DurableDirectory::open(home.path().join("index")).unwrap();
        (home, directory)
    }

    #[test]
    fn only_plain_names_are_opened_or_deleted() {
        let (home, directory) = directory();
        let outside = home.path().join("victim.txt");
        std::fs::write(&outside, "precious").unwrap();
        let absolute = outside.to_str().unwrap();
        for name in ["../victim.txt", absolute, "..", ".", "", "./meta.json", "a/../../victim.txt", "sub/file"] {
            let path = Path::new(name);
            assert!(directory.open_read(path).is_err(), "{name}");
            assert!(directory.atomic_read(path).is_err(), "{name}");
            assert!(directory.exists(path).is_err(), "{name}");
            assert!(directory.open_write(path).is_err(), "{name}");
            assert!(directory.atomic_write(path, b"overwritten").is_err(), "{name}");
            assert!(directory.delete(path).is_err(), "{name}");
            let lock = Lock { filepath: path.to_path_buf(), is_blocking: false };
            assert!(directory.acquire_lock(&lock).is_err(), "{name}");
        }
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "precious");
    }

    #[test]
    fn the_list_of_files_deletes_files_of_segments_only() {
        let (home, directory) = directory();
        let card = home.path().join("index/.adam.json");
        std::fs::write(&card, "card").unwrap();
        let list = format!(r#"["meta.json","{SEGMENT_FILE}","../victim.txt","/etc/passwd",".adam.json","notes.txt"]"#);
        std::fs::write(home.path().join("index/.managed.json"), &list).unwrap();
        let read = directory.atomic_read(Path::new(FILE_LIST)).unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), format!(r#"["meta.json","{SEGMENT_FILE}"]"#));
        for name in [".adam.json", "meta.json", "notes.txt", "0123456789abcdef.store"] {
            assert!(directory.delete(Path::new(name)).is_err(), "{name}");
        }
        assert!(card.exists());
        std::fs::write(home.path().join("index").join(SEGMENT_FILE), "").unwrap();
        directory.delete(Path::new(SEGMENT_FILE)).unwrap();
        assert!(matches!(directory.delete(Path::new(SEGMENT_FILE)), Err(DeleteError::FileDoesNotExist(_))));
    }

    #[test]
    fn short_files_and_special_files_are_errors_that_name_the_file() {
        let (home, directory) = directory();
        let path = home.path().join("index").join(SEGMENT_FILE);
        for length in 0..8 {
            std::fs::write(&path, &[0; 8][..length]).unwrap();
            let said = directory.open_read(Path::new(SEGMENT_FILE)).unwrap_err().to_string();
            assert!(said.contains("too few") && said.contains(SEGMENT_FILE), "{said}");
        }
        std::fs::remove_file(&path).unwrap();
        for name in [SEGMENT_FILE, META, FILE_LIST, ".tantivy-meta.lock", ".tantivy-writer.lock"] {
            let path = home.path().join("index").join(name);
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        }
        // None of these waits for somebody at the other end of the pipe.
        assert!(directory.open_read(Path::new(SEGMENT_FILE)).is_err());
        assert!(directory.atomic_read(Path::new(META)).is_err());
        assert!(directory.atomic_read(Path::new(FILE_LIST)).is_err());
        assert!(directory.acquire_lock(&META_LOCK).is_err());
        assert!(directory.acquire_lock(&INDEX_WRITER_LOCK).is_err());
    }

    #[test]
    fn a_failed_call_is_remembered_with_its_path() {
        let (home, directory) = directory();
        assert_eq!(directory.last_fault(), None);
        std::fs::remove_dir(home.path().join("index")).unwrap();
        let said = directory.atomic_write(Path::new(META), b"{}").unwrap_err().to_string();
        assert!(said.contains("index/meta.json"), "{said}");
        assert_eq!(directory.last_fault(), Some(said));
    }
}
