//! Files inside a zip archive, read as a stream without unpacking anything to disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::error::BeirError;
use crate::source::{self, Damage};

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

fn damaged(path: &Path, fault: &ZipError) -> BeirError {
    refuse(path, format!("the zip archive is damaged: {fault}; fetch it again"))
}

fn open(path: &Path) -> Result<ZipArchive<BufReader<File>>, BeirError> {
    let head = source::head(path)?;
    if source::is_lfs_pointer(&head) {
        return Err(refuse(path, source::LFS_ADVICE));
    }
    let file = File::open(path).map_err(|source| BeirError::io("open", path.display(), source))?;
    match ZipArchive::new(BufReader::new(file)) {
        Ok(archive) => Ok(archive),
        Err(_) if source::Kind::of(&head) == source::Kind::Zip => Err(refuse(
            path,
            "the zip archive breaks off or is damaged (its table of contents cannot be read); fetch it again",
        )),
        Err(ZipError::Io(source)) if source.kind() != io::ErrorKind::UnexpectedEof => {
            Err(BeirError::io("read", path.display(), source))
        }
        Err(_) => Err(refuse(path, "this is not a zip archive")),
    }
}

/// A name with `/` between its parts, as Windows programs do not always write it; none where it leads out of the archive.
fn plain(name: &str) -> Option<String> {
    let name = name.replace('\\', "/");
    if name.starts_with('/') || name.contains('\0') || name.get(1..2) == Some(":") {
        return None;
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// The names of the regular files in an archive and their numbers, after checks on the archive as a whole. What macOS puts
/// beside every file is left out.
pub(crate) fn names(path: &Path) -> Result<BTreeMap<String, usize>, BeirError> {
    let mut archive = open(path)?;
    if archive.len() > MAX_ENTRIES {
        return Err(refuse(path, format!("more than {MAX_ENTRIES} files in it; this is no collection")));
    }
    if archive.has_overlapping_files().map_err(|fault| damaged(path, &fault))? {
        return Err(refuse(path, "files inside it share the same bytes, as only a zip bomb's do"));
    }
    let mut names = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|fault| damaged(path, &fault))?;
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(fault) => return Err(refuse(path, format!("a file name in it is not text: {fault}"))),
        };
        let Some(plain) = plain(&name) else {
            return Err(refuse(
                path,
                format!("the file name `{}` in it leads out of the archive", name.escape_debug()),
            ));
        };
        // A folder of a Windows program may end in `\`, by which the zip crate does not know it.
        let is_folder = name.ends_with(['/', '\\']);
        if entry.is_file() && !entry.is_symlink() && !is_folder && !plain.starts_with("__MACOSX/") {
            names.entry(plain).or_insert(index);
        }
    }
    Ok(names)
}

/// The name of a compression method that is not read.
fn unread_method(method: CompressionMethod) -> Option<&'static str> {
    match method {
        CompressionMethod::Stored
        | CompressionMethod::Deflated
        | CompressionMethod::Deflate64
        | CompressionMethod::Bzip2 => None,
        CompressionMethod::LZMA => Some("LZMA"),
        CompressionMethod::ZSTD => Some("Zstandard"),
        CompressionMethod::XZ => Some("XZ"),
        CompressionMethod::PPMD => Some("PPMd"),
        _ => Some("a method of old or rare programs"),
    }
}

/// Opens one file of an archive, by its number, as a stream. `name` is for messages.
///
/// The zip crate's reader borrows the archive, so the archive lives in a thread of its own that hands over blocks;
/// it ends when the reader is dropped. Unpacking then runs beside whatever the caller does with the text.
pub(crate) fn stream(path: &Path, index: usize, name: &str) -> Result<Box<dyn Read + Send>, BeirError> {
    let mut archive = open(path)?;
    {
        let entry = archive.by_index_raw(index).map_err(|fault| refuse(path, format!("`{name}`: {fault}")))?;
        if !entry.name().is_ok_and(|found| plain(&found).as_deref() == Some(name)) {
            return Err(refuse(path, format!("`{name}` is no longer in it")));
        }
        if entry.encrypted() {
            return Err(refuse(
                path,
                format!("`{name}` is encrypted; unpack it with its password and name the folder"),
            ));
        }
        if let Some(method) = unread_method(entry.compression()) {
            return Err(refuse(
                path,
                format!("`{name}` is compressed with {method}, which is not read; unpack it and name the folder"),
            ));
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
    }
    // Opened here once, so that damage of its head is this call's error.
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
                    let _ = sender.send(Err(Damage::error(fault.to_string())));
                    return;
                }
            };
            let declared = entry.size();
            let mut unpacked = 0u64;
            loop {
                let mut block = vec![0; BLOCK];
                let told = match entry.read(&mut block) {
                    Ok(0) if unpacked < declared => Err(Damage::error("the zip archive breaks off; fetch it again")),
                    Ok(0) => return,
                    Ok(read) => {
                        unpacked += read as u64;
                        if unpacked > declared {
                            Err(Damage::error("it unpacks to more bytes than the zip archive declares"))
                        } else {
                            block.truncate(read);
                            Ok(block)
                        }
                    }
                    Err(fault) => Err(Damage::error(format!("the zip archive is damaged ({fault}); fetch it again"))),
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
