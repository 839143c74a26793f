//! Files inside a zip archive, read as a stream without unpacking anything to disk.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::error::BeirError;

/// Archives with more entries than this are refused: a collection has a handful.
const MAX_ENTRIES: usize = 10_000;

/// A file that unpacks to more than this ...
const SUSPICIOUS_SIZE: u64 = 64 << 20;

/// ... and shrank by more than this factor is a bomb: deflate brings prose to about a third, tables of ids to a tenth.
const SUSPICIOUS_RATIO: u64 = 200;

/// Bytes handed from the unpacking thread to the reader at a time.
const BLOCK: usize = 1 << 16;

fn refuse(path: &Path, problem: impl Into<String>) -> BeirError {
    BeirError::Archive { path: path.to_path_buf(), problem: problem.into() }
}

fn open(path: &Path) -> Result<ZipArchive<BufReader<File>>, BeirError> {
    let file = File::open(path).map_err(|source| BeirError::io("open", path.display(), source))?;
    let mut reader = BufReader::new(file);
    let mut magic = [0u8; 4];
    let begins_like_zip =
        matches!(reader.read_exact(&mut magic), Ok(())) && (magic == *b"PK\x03\x04" || magic == *b"PK\x05\x06");
    match ZipArchive::new(reader) {
        Ok(archive) => Ok(archive),
        Err(_) if begins_like_zip => Err(refuse(
            path,
            "the zip archive breaks off or is damaged (its table of contents cannot be read); fetch it again",
        )),
        Err(ZipError::Io(source)) if source.kind() != io::ErrorKind::UnexpectedEof => {
            Err(BeirError::io("read", path.display(), source))
        }
        Err(_) => Err(refuse(path, "this is not a zip archive")),
    }
}

/// The names of the regular files in an archive, after checks on the archive as a whole.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, BeirError> {
    let mut archive = open(path)?;
    if archive.len() > MAX_ENTRIES {
        return Err(refuse(path, format!("more than {MAX_ENTRIES} files in it; this is no collection")));
    }
    let overlapping = archive
        .has_overlapping_files()
        .map_err(|fault| refuse(path, format!("the zip archive is damaged: {fault}; fetch it again")))?;
    if overlapping {
        return Err(refuse(path, "files inside it share the same bytes, as only a zip bomb's do"));
    }
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let entry = archive
            .by_index_raw(index)
            .map_err(|fault| refuse(path, format!("the zip archive is damaged: {fault}; fetch it again")))?;
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(fault) => return Err(refuse(path, format!("a file name in it is not text: {fault}"))),
        };
        let escapes = name.starts_with('/')
            || name.contains(['\\', '\0'])
            || name.split('/').any(|part| part == "..")
            || name.get(1..2) == Some(":");
        if escapes {
            return Err(refuse(
                path,
                format!("the file name `{}` in it leads out of the archive", name.escape_debug()),
            ));
        }
        if entry.is_file() && !entry.is_symlink() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Opens one file of an archive as a stream.
///
/// The zip crate's reader borrows the archive, so the archive lives in a thread of its own that hands over blocks;
/// it ends when the reader is dropped. Unpacking then runs beside whatever the caller does with the text.
pub(crate) fn stream(path: &Path, name: &str) -> Result<Box<dyn Read + Send>, BeirError> {
    let mut archive = open(path)?;
    let index = archive.index_for_name(name).ok_or_else(|| refuse(path, format!("`{name}` is no longer in it")))?;
    {
        let entry = archive.by_index_raw(index).map_err(|fault| refuse(path, format!("`{name}`: {fault}")))?;
        if entry.encrypted() {
            return Err(refuse(path, format!("`{name}` is encrypted; unpack it first")));
        }
        if entry.size() > SUSPICIOUS_SIZE && entry.size() / SUSPICIOUS_RATIO > entry.compressed_size() {
            return Err(refuse(
                path,
                format!(
                    "`{name}` would unpack from {} to {} bytes, as only a zip bomb does",
                    entry.compressed_size(),
                    entry.size()
                ),
            ));
        }
        // Opened here once, so that an unknown compression method is this call's error.
    }
    archive.by_index(index).map_err(|fault| refuse(path, format!("`{name}` cannot be unpacked: {fault}")))?;

    let (sender, receiver) = sync_channel::<io::Result<Vec<u8>>>(4);
    let owned = PathBuf::from(path);
    let named = name.to_owned();
    std::thread::Builder::new()
        .name("unzip".to_owned())
        .spawn(move || {
            let mut entry = match archive.by_index(index) {
                Ok(entry) => entry,
                Err(fault) => {
                    // The reader may be gone already; then nobody is left to tell.
                    let _ = sender.send(Err(io::Error::other(fault.to_string())));
                    return;
                }
            };
            let declared = entry.size();
            let mut unpacked = 0u64;
            loop {
                let mut block = vec![0; BLOCK];
                let told = match entry.read(&mut block) {
                    Ok(0) if unpacked < declared => Err(io::Error::other("the zip archive breaks off; fetch it again")),
                    Ok(0) => return,
                    Ok(read) => {
                        unpacked += read as u64;
                        if unpacked > declared {
                            Err(io::Error::other("it unpacks to more bytes than the zip archive declares"))
                        } else {
                            block.truncate(read);
                            Ok(block)
                        }
                    }
                    Err(fault) => {
                        Err(io::Error::other(format!("the zip archive is damaged ({fault}); fetch it again")))
                    }
                };
                let last = told.is_err();
                if sender.send(told).is_err() || last {
                    return;
                }
            }
        })
        .map_err(|source| BeirError::io("read", format!("{}/{named}", owned.display()), source))?;
    Ok(Box::new(Blocks { receiver, block: Vec::new(), at: 0 }))
}

/// The receiving end of the unpacking thread.
struct Blocks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    at: usize,
}

impl Read for Blocks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            match self.receiver.recv() {
                Ok(block) => {
                    self.block = block?;
                    self.at = 0;
                }
                // The thread has sent everything and left.
                Err(_) => return Ok(0),
            }
        }
        let rest = &self.block[self.at..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
