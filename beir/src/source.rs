//! The bytes of a file as text: unpacked, as UTF-8. What a file is follows from how it begins, not from its name.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use crate::error::{BeirError, Place};

/// What to say of a file that [`is_lfs_pointer`] knows, after its name.
pub const LFS_ADVICE: &str = "is a Git LFS pointer, not the file itself; fetch it by `git lfs pull`";

/// Whether a file that begins like this is a Git LFS pointer: the few lines that stand in a repository for a large file.
pub fn is_lfs_pointer(head: &[u8]) -> bool {
    head.starts_with(b"version https://git-lfs.github.com/") || head.starts_with(b"version https://hawser.github.com/")
}

/// Damage within a file, found while it is unpacked. It travels inside an [`io::Error`].
#[derive(Debug)]
pub(crate) struct Damage(pub(crate) String);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damage {}

impl Damage {
    pub(crate) fn error(problem: impl Into<String>) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self(problem.into()))
    }
}

/// How many bytes are looked at to tell what a file is: a tar archive says so in bytes 257 to 262.
const HEAD: usize = 512;

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Gzip,
    Bzip2,
    Zstandard,
    Utf16 {
        little: bool,
    },
    Zip,
    Parquet,
    Pointer,
    /// Something with a name that is not read.
    Other(&'static str),
    /// Text, as far as can be told.
    Text,
}

impl Kind {
    pub(crate) fn of(head: &[u8]) -> Self {
        const KNOWN: [(&[u8], Kind); 15] = [
            (b"\x1F\x8B", Kind::Gzip),
            (b"BZh", Kind::Bzip2),
            (b"\x28\xB5\x2F\xFD", Kind::Zstandard),
            (b"PK\x03\x04", Kind::Zip),
            (b"PK\x05\x06", Kind::Zip),
            (b"\xFD7zXZ\0", Kind::Other("an xz file")),
            (b"7z\xBC\xAF\x27\x1C", Kind::Other("a 7-Zip archive")),
            (b"Rar!\x1A\x07", Kind::Other("a RAR archive")),
            (b"\x04\x22\x4D\x18", Kind::Other("an LZ4 file")),
            (b"PAR1", Kind::Parquet),
            (b"ARROW1", Kind::Other("an Arrow file")),
            (b"\x93NUMPY", Kind::Other("a NumPy file")),
            (b"%PDF-", Kind::Other("a PDF file")),
            (b"\xFF\xFE", Kind::Utf16 { little: true }),
            (b"\xFE\xFF", Kind::Utf16 { little: false }),
        ];
        if is_lfs_pointer(head) {
            return Self::Pointer;
        }
        // The letters alone could be a part of a text.
        if matches!(head.get(257..265), Some(b"ustar\x0000" | b"ustar  \0")) {
            return Self::Other("a tar archive");
        }
        let known = KNOWN.iter().find(|(magic, _)| head.starts_with(magic));
        match known {
            // An id may begin with these letters, a text never holds what follows them in such a file.
            Some((b"BZh" | b"PAR1" | b"ARROW1", _)) if is_text(head) => Self::Text,
            Some((_, kind)) => *kind,
            None => Self::Text,
        }
    }
}

/// Whether the beginning of a file can be UTF-8 text: a character may be cut off at its end.
fn is_text(head: &[u8]) -> bool {
    let cut_off = |error: std::str::Utf8Error| error.error_len().is_none();
    std::str::from_utf8(head).map_or_else(cut_off, |_| true)
        && !head.iter().any(|byte| byte.is_ascii_control() && !b"\t\n\r\x0C".contains(byte))
}

/// The first bytes of a reader, and a reader that begins with them again. An error that follows them comes when they have been
/// read.
fn peek<R: Read + Send + 'static>(mut reader: R) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::with_capacity(HEAD);
    let read = reader.by_ref().take(HEAD as u64).read_to_end(&mut head);
    let first = Cursor::new(head.clone());
    match read {
        Ok(_) => Ok((head, Box::new(first.chain(reader)))),
        Err(fault) if head.is_empty() => Err(fault),
        Err(fault) => Ok((head, Box::new(first.chain(FailingReader(Some(fault)))))),
    }
}

/// A reader that has nothing but an error.
struct FailingReader(Option<io::Error>);

impl Read for FailingReader {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// The first bytes of a file.
pub(crate) fn head(path: &Path) -> Result<Vec<u8>, BeirError> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(path)
        .and_then(|file| file.take(HEAD as u64).read_to_end(&mut head))
        .map_err(|source| BeirError::io("read", path.display(), source))?;
    Ok(head)
}

/// Opens a file as text. It is unpacked if it begins as gzip, bzip2 or Zstandard do, whatever its name, and UTF-16 with a byte
/// order mark becomes UTF-8.
///
/// # Errors
/// When the file cannot be opened, or is something else: an archive, a Git LFS pointer. Damage within comes as an error of
/// the reader.
pub fn read_text(path: impl AsRef<Path>) -> Result<Box<dyn Read + Send>, BeirError> {
    let name: Arc<str> = path.as_ref().display().to_string().into();
    let file = File::open(path.as_ref()).map_err(|source| BeirError::io("open", &name, source))?;
    text_of(&name, Box::new(file))
}

/// As [`read_text`], of bytes that come from anywhere.
pub(crate) fn text_of(name: &Arc<str>, raw: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, BeirError> {
    let mut reader = raw;
    let mut unpacked = None;
    loop {
        let (head, whole) = peek(reader).map_err(|source| cannot_read(name, source))?;
        let refuse = |problem: String| BeirError::Unreadable { place: first_line(name), problem };
        let kind = Kind::of(&head);
        let packing = match kind {
            Kind::Gzip => "gzip",
            Kind::Bzip2 => "bzip2",
            Kind::Zstandard => "Zstandard",
            Kind::Text => return Ok(whole),
            Kind::Utf16 { little } => return Ok(Box::new(Utf16::new(whole, little))),
            Kind::Pointer => return Err(refuse(LFS_ADVICE.to_owned())),
            Kind::Zip => return Err(refuse("is a zip archive within another file; unpack it first".to_owned())),
            Kind::Parquet => {
                return Err(refuse("is a Parquet file within a packed one; unpack it first".to_owned()));
            }
            Kind::Other(what) => {
                return Err(refuse(format!("is {what}, which is not read; unpack or convert it first")));
            }
        };
        if let Some(outer) = unpacked {
            return Err(refuse(format!("is packed twice, by {outer} and then by {packing}; unpack it first")));
        }
        unpacked = Some(packing);
        let packed = BufReader::new(whole);
        let inner: Box<dyn Read + Send> = match kind {
            // Of several members, as `cat a.gz b.gz` makes them, all are read.
            Kind::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Kind::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
            _ => Box::new(Zstandard::new(packed)),
        };
        reader = Box::new(Decompressor { inner, packing });
    }
}

fn first_line(name: &Arc<str>) -> Place {
    Place { file: Arc::clone(name), line: 1 }
}

fn cannot_read(name: &Arc<str>, fault: io::Error) -> BeirError {
    match fault.get_ref().and_then(|inner| inner.downcast_ref::<Damage>()) {
        Some(Damage(problem)) => BeirError::Unreadable { place: first_line(name), problem: problem.clone() },
        None => BeirError::io("read", name, fault),
    }
}

/// A decoder whose errors say what is the matter with the file.
struct Decompressor {
    inner: Box<dyn Read + Send>,
    packing: &'static str,
}

impl Read for Decompressor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(into).map_err(|fault| match fault.kind() {
            io::ErrorKind::Interrupted => fault,
            io::ErrorKind::UnexpectedEof => {
                Damage::error(format!("the {} data breaks off here; fetch the file again", self.packing))
            }
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                match fault.get_ref().is_some_and(|inner| inner.is::<Damage>()) {
                    true => fault,
                    false => {
                        Damage::error(format!("the {} data is damaged ({fault}); fetch the file again", self.packing))
                    }
                }
            }
            _ => fault,
        })
    }
}

/// A Zstandard file, which may consist of several frames.
struct Zstandard<R: io::BufRead> {
    state: Option<Frame<R>>,
}

enum Frame<R: io::BufRead> {
    Between(R),
    Within(Box<ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
}

impl<R: io::BufRead> Zstandard<R> {
    fn new(reader: R) -> Self {
        Self { state: Some(Frame::Between(reader)) }
    }
}

impl<R: io::BufRead> Read for Zstandard<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(Frame::Between(mut reader)) => {
                    if reader.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    let decoder = ruzstd::decoding::StreamingDecoder::new(reader).map_err(|fault| {
                        Damage::error(format!(
                            "the Zstandard data is damaged or breaks off ({fault}); fetch the file again"
                        ))
                    })?;
                    self.state = Some(Frame::Within(Box::new(decoder)));
                }
                Some(Frame::Within(mut decoder)) => {
                    let count = decoder.read(into)?;
                    if count > 0 {
                        self.state = Some(Frame::Within(decoder));
                        return Ok(count);
                    }
                    self.state = Some(Frame::Between(decoder.into_inner()));
                }
            }
        }
    }
}

/// UTF-16 as UTF-8.
struct Utf16<R> {
    reader: BufReader<R>,
    little: bool,
    began: bool,
    /// The first half of a character that takes two units.
    high: Option<u16>,
    /// UTF-8 that waits to be read.
    waiting: Vec<u8>,
    at: usize,
}

impl<R: Read> Utf16<R> {
    fn new(reader: R, little: bool) -> Self {
        Self { reader: BufReader::new(reader), little, began: false, high: None, waiting: Vec::new(), at: 0 }
    }

    /// The next unit.
    fn unit(&mut self) -> io::Result<Option<u16>> {
        let mut bytes = [0u8; 2];
        let mut read = 0;
        while read < 2 {
            match self.reader.read(&mut bytes[read..]) {
                Ok(0) if read == 0 => return Ok(None),
                Ok(0) => return Err(Damage::error("the UTF-16 text breaks off within a character")),
                Ok(count) => read += count,
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(Some(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }))
    }

    fn refill(&mut self) -> io::Result<()> {
        self.waiting.clear();
        self.at = 0;
        while self.waiting.len() < 1 << 14 {
            let Some(unit) = self.unit()? else {
                if self.high.take().is_some() {
                    return Err(Damage::error("the UTF-16 text breaks off within a character"));
                }
                return Ok(());
            };
            if !std::mem::replace(&mut self.began, true) {
                // The byte order mark.
                continue;
            }
            let character: &[u16] = match self.high.take() {
                Some(high) => &[high, unit],
                None if (0xD800..0xDC00).contains(&unit) => {
                    self.high = Some(unit);
                    continue;
                }
                None => &[unit],
            };
            for decoded in char::decode_utf16(character.iter().copied()) {
                let decoded = decoded.map_err(|_| Damage::error("not valid UTF-16 text from here on"))?;
                self.waiting.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.waiting.len() {
            self.refill()?;
        }
        let rest = &self.waiting[self.at..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: Vec<u8>) -> Result<String, String> {
        let mut text = String::new();
        let mut reader = text_of(&"f".into(), Box::new(Cursor::new(bytes))).map_err(|fault| fault.to_string())?;
        reader.read_to_string(&mut text).map_err(|fault| fault.to_string())?;
        Ok(text)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstandard(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
        units.flat_map(|unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    }

    #[test]
    fn packed_text_is_read_whatever_its_name() {
        let text = "crows bend wire, 𝄞\n".repeat(30_000);
        for pack in [gzip, bzip2, zstandard] {
            let (half, rest) = text.split_at(text.len() / 2 / 10 * 10);
            for packed in [pack(text.as_bytes()), [pack(half.as_bytes()), pack(rest.as_bytes())].concat()] {
                assert!(read(packed) == Ok(text.clone()));
            }
            let whole = pack(text.as_bytes());
            for length in [whole.len() / 2, whole.len() - 1] {
                let said = read(whole[..length].to_vec()).unwrap_err();
                assert!(said.contains("breaks off") || said.contains("is damaged"), "{said}");
            }
            let twice = read(gzip(&pack(b"x"))).unwrap_err();
            assert!(twice.contains("packed twice"), "{twice}");
            assert_eq!(read(pack(&utf16("é", true))), Ok("é".to_owned()));
            assert_eq!(read(pack(b"")), Ok(String::new()));
        }
        for little in [true, false] {
            assert!(read(utf16(&text, little)) == Ok(text.clone()));
        }
        assert_eq!(read(Vec::new()), Ok(String::new()));
    }

    #[test]
    fn what_is_no_text_is_named() {
        let said = |bytes: &[u8]| read(bytes.to_vec()).unwrap_err();
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        assert!(said(pointer).contains("f line 1: is a Git LFS pointer"));
        assert!(said(&gzip(pointer)).contains("Git LFS pointer"));
        assert!(said(b"\xFD7zXZ\0 ...").contains("an xz file"));
        assert!(said(b"PK\x03\x04 ...").contains("a zip archive"));
        assert!(said(b"PAR1\x15\x04\x15").contains("a Parquet file"));
        for text in
            ["BZh is an id\n", "PAR1 Q0 d1 1 2.5 t\n", "ARROW1\td\t1\n", &format!("{}mustard\n", "a".repeat(256))]
        {
            assert_eq!(read(text.as_bytes().to_vec()), Ok(text.to_owned()));
        }
        let mut tar = vec![b'a'; 257];
        tar.extend(b"ustar\x0000");
        assert!(said(&gzip(&tar)).contains("a tar archive"));
        assert!(said(&utf16("ab", true)[..5]).contains("breaks off within a character"));
        assert!(said(b"\xFE\xFF\xD8\x00\x00a").contains("not valid UTF-16"));
        assert!(said(b"\xFE\xFF\xD8\x00").contains("breaks off within a character"));
    }
}
