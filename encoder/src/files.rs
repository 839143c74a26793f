//! Files are read with a limit on their size.

use std::path::Path;

use crate::error::EncoderError;

/// Opens a file of at most `limit` bytes, and says how many. What is no file is refused before it is opened: a pipe would be waited
/// for without end, and a device read without one.
pub(crate) fn open_file(path: &Path, limit: u64) -> Result<(std::fs::File, u64), EncoderError> {
    let fault = |cause| EncoderError::Read { path: path.to_path_buf(), cause };
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
        .map_err(|cause| EncoderError::Read { path: path.to_path_buf(), cause })?;
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

/// What a checkout without Git LFS has in place of a large file: a few lines that name it.
fn is_lfs_pointer(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(200)];
    start.starts_with(b"version ") && start.windows(7).any(|part| part == b"git-lfs")
}
