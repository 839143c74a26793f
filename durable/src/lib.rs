//! Files that are there whole or not at all, also after a power cut.
//!
//! A file is written beside its destination, synced and renamed. The new name is an entry of the folder and is safe only once
//! the folder is synced too: without that, a journalling file system may lose the renamed file for some seconds more. Every
//! promise that rests on a rename ("committed", "done") is made through this crate.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("scores.json");
//! durable::replace(&path, b"{}")?;
//! assert_eq!(durable::read(&path, 1024)?, b"{}");
//! # Ok(())
//! # }
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

/// How the names of unfinished files begin; six letters and digits follow. tantivy names its own the same way.
const UNFINISHED: &str = ".tmp";
const RANDOM: usize = 6;

/// Puts a file with these bytes in the place of whatever has this name. When it returns, the file is on disk.
///
/// The file gets the permissions that any new file gets (0666 less the umask), from its first moment on.
///
/// # Errors
/// When the folder or the file cannot be written; what was there before is untouched then, unless only the last step, the
/// sync of the folder, failed.
pub fn replace(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// Like [`replace`], for content that is written in parts.
///
/// # Errors
/// Those of [`replace`], and whatever `write` returns.
pub fn replace_with(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let path = path.as_ref();
    put(path, write)?;
    sync_folder(parent(path))
}

/// Like [`replace`], but the new name is safe only after the next [`sync_folder`]: for one of several files that are made
/// safe together.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_unsynced(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    put(path.as_ref(), |file| file.write_all(bytes))
}

fn put(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED).rand_bytes(RANDOM);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A mode at creation, which the umask applies to. A later chmod would leave a moment in which readers are shut
        // out, and some file systems refuse it.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let unfinished = builder.tempfile_in(parent(path))?;
    let mut out = BufWriter::new(unfinished.as_file());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    unfinished.as_file().sync_all()?;
    unfinished.into_temp_path().persist(path).map_err(|fault| fault.error)
}

/// Like [`replace_with`], for a path that a user named. A link is followed. What is no regular file, such as a pipe or
/// `/dev/stdout`, is written to and not replaced.
///
/// # Errors
/// Those of [`replace_with`].
pub fn write_output(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> io::Result<()> {
    let path = path.as_ref();
    let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    match fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => {
            // By the name that was given: `/dev/stdout` of a pipe leads to no path.
            let mut out = BufWriter::new(OpenOptions::new().write(true).open(path)?);
            write(&mut out)?;
            out.flush()
        }
        _ => replace_with(&target, |out| write(out)),
    }
}

/// Renames a file or folder. When it returns, the new name is on disk; the content is the caller's to sync before.
///
/// # Errors
/// When it cannot be renamed.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    fs::rename(from, to)?;
    let (old, new) = (parent(from), parent(to));
    sync_folder(new)?;
    if old == new { Ok(()) } else { sync_folder(old) }
}

/// Makes a folder and those above it that are missing. When it returns, they are on disk.
///
/// # Errors
/// When a folder cannot be made.
pub fn create_folders(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let missing: Vec<&Path> =
        path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    fs::create_dir_all(path)?;
    missing.into_iter().rev().try_for_each(|folder| sync_folder(parent(folder)))
}

/// Makes the names in a folder safe: files made, renamed or removed in it. Does nothing where this cannot be done: on
/// systems and file systems without such a call, and in a folder that may be written to and not read.
///
/// # Errors
/// When the folder is not there, or the disk fails.
pub fn sync_folder(folder: impl AsRef<Path>) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    match File::open(folder) {
        Ok(open) => match open.sync_all() {
            Err(fault) if has_no_sync(&fault) => Ok(()),
            synced => synced,
        },
        Err(fault) if fault.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// What file systems without a sync of folders answer: `EINVAL`, `ENOTSUP`, `ENOSYS`, or `EBADF` for a handle that is not open
/// for writing.
fn has_no_sync(fault: &io::Error) -> bool {
    const EBADF: i32 = 9;
    matches!(fault.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) || fault.raw_os_error() == Some(EBADF)
}

/// Reads a regular file of at most `most` bytes. Pipes and devices, which may have no end, are refused.
///
/// # Errors
/// When it cannot be read, is not a regular file or is longer.
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let too_long =
        || io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than the {most} bytes it may have"));
    // Before it is opened, since the open of a pipe waits for a writer.
    let path = path.as_ref();
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if found.len() > most {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default());
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_long()) } else { Ok(bytes) }
}

/// Removes the unfinished files that a killed [`replace`] left in a folder, and says how many. The caller holds the lock
/// of the folder, or a file that is being written elsewhere goes as well.
///
/// # Errors
/// When the folder cannot be listed or a file not be removed.
pub fn remove_leftovers(folder: impl AsRef<Path>) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_leftover(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_file() {
            match fs::remove_file(entry.path()) {
                Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(fault),
                _ => removed += 1,
            }
        }
    }
    Ok(removed)
}

/// Whether a file's name is that of an unfinished file of [`replace`].
pub fn is_leftover(name: &str) -> bool {
    let random = name.strip_prefix(UNFINISHED);
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The folder that holds a path.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests;
