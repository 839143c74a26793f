//! The `.ann` file of a segment: built indexes, each with what is needed to tell whether it may be used.
//!
//! # Bytes, version 1
//! All numbers are little-endian. The file is written front to back.
//!
//! | part | bytes |
//! |---|---|
//! | head | magic `TDENSANN` |
//! | blobs | each begins at a multiple of 64; zero bytes between them |
//! | contents table | u32 number of entries, then the entries |
//! | trailer, 36 bytes | u64 start of the table, u64 its length, u32 its CRC-32, u32 version, u32 CRC-32 of the 24 bytes before, magic `TDENSANN` |
//!
//! An entry: u32 field; u8 similarity (0 inner product, 1 squared L2); u8 flags (1: the blob needs the rows beside it);
//! u16 zero; u32 dimension; u64 rows; u32 CRC-32 of the rows the index was built from; u32 CRC-32 of the blob; u64 start
//! and u64 length of the blob; u32 efConstruction; u32 default ef; u32 default nprobe (0: the library's); then three texts, each u16 length and
//! UTF-8: library, library version, factory string.
//!
//! A file with a higher version, a wrong checksum or an entry that points outside is refused as a whole; a blob that cannot be
//! used here is reported as [`Unusable`], and its rows are scanned.

use std::fmt;
use std::io::Write;

use tantivy::HasLen;
use tantivy::directory::{FileSlice, OwnedBytes};

use super::{AnnBuild, AnnIndex, AnnSearch, AnnSpec, Similarity};
use crate::DenseError;

/// Extension of the file, claimed from tantivy together with that of the rows.
pub const EXTENSION: &str = "ann";
const MAGIC: [u8; 8] = *b"TDENSANN";
const VERSION: u32 = 1;
const TRAILER: usize = 36;
const ALIGNMENT: u64 = 64;
const FLAG_NEEDS_ROWS: u8 = 1;
/// Limits of a reader: a schema has far fewer vector fields, and no factory string is longer.
const MAX_ENTRIES: usize = 4096;
const MAX_TEXT: usize = 1024;
const MAX_TABLE: usize = 64 << 20;

/// What the contents table says about one blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnEntry {
    /// Number of the vector field in the schema.
    pub field: u32,
    /// How vectors are compared.
    pub similarity: Similarity,
    /// Values per row.
    pub dimension: u32,
    /// Number of rows.
    pub rows: u64,
    /// CRC-32 of the rows that the index was built from.
    pub rows_checksum: u32,
    /// Whether the index was written without its rows.
    pub needs_rows: bool,
    /// efConstruction it was built with, 0 for the library's default.
    pub ef_construction: u32,
    /// Default ef of searches, 0 for the library's.
    pub ef: u32,
    /// Default nprobe of searches, 0 for the library's.
    pub nprobe: u32,
    /// Name of the library that wrote the blob.
    pub library: String,
    /// Version of that library.
    pub library_version: String,
    /// Factory string it was built from.
    pub factory: String,
    /// CRC-32 of the blob.
    pub blob_checksum: u32,
    /// Where the blob starts in the file.
    pub start: u64,
    /// Length of the blob in bytes.
    pub length: u64,
}

impl AnnEntry {
    /// What the index must be when it is opened.
    pub fn spec(&self) -> AnnSpec {
        AnnSpec { similarity: self.similarity, dimension: self.dimension as usize, rows: self.rows as usize }
    }

    /// The breadth to search with where a query asks for none.
    pub fn default_search(&self) -> AnnSearch {
        AnnSearch {
            ef: (self.ef > 0).then_some(self.ef as usize),
            nprobe: (self.nprobe > 0).then_some(self.nprobe as usize),
            k_factor: None,
        }
    }
}

/// Why a blob is not used. The rows are scanned instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The crate was built without the feature `faiss`.
    FeatureOff {
        /// Library that wrote the blob.
        library: String,
    },
    /// Another library, or another version of it, wrote the blob.
    OtherLibrary {
        /// Library and version that wrote it.
        found: String,
        /// Library and version at hand.
        here: String,
    },
    /// It was built for another field definition.
    OtherField {
        /// What it was built for.
        found: String,
        /// What the field is.
        expected: String,
    },
    /// It was built from other rows than the segment has.
    OtherRows,
    /// The blob's checksum is wrong.
    Damaged,
    /// The blob is whole, but the library refuses it.
    Refused {
        /// In the library's words.
        why: String,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::FeatureOff { library } => {
                write!(out, "it was written by {library} and this program was built without the feature `{library}`")
            }
            Unusable::OtherLibrary { found, here } => {
                write!(out, "it was written by {found}, here is {here}; merge the segment to build it anew")
            }
            Unusable::OtherField { found, expected } => {
                write!(out, "it was built for {found}, the field has {expected}")
            }
            Unusable::OtherRows => write!(out, "it was built from other rows than the segment's"),
            Unusable::Damaged => write!(out, "its checksum is wrong: the file was damaged after it was written"),
            Unusable::Refused { why } => write!(out, "{why}"),
        }
    }
}

/// What a file has for a field.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Nothing.
    Absent,
    /// A blob that cannot be used.
    Unusable(Unusable),
    /// A blob whose checksum holds, made by the library at hand from these rows.
    Usable(AnnBlob),
}

/// A blob that may be opened.
#[derive(Clone, Debug)]
pub struct AnnBlob {
    /// Its entry in the contents table.
    pub entry: AnnEntry,
    /// Its bytes, whose checksum [`AnnFile::get`] has compared; private, so that no others come to be opened.
    bytes: OwnedBytes,
}

impl AnnBlob {
    /// Opens the index. `rows` are the field's rows as 32-bit floats, one after another; they are needed where
    /// [`AnnEntry::needs_rows`] says so, and kept in that case.
    ///
    /// An index that the library refuses is [`Unusable::Refused`].
    pub fn open(&self, rows: Option<OwnedBytes>) -> Result<AnnIndex, Unusable> {
        AnnIndex::open_verified(self.bytes.clone(), &self.entry.spec(), rows)
            .map_err(|error| Unusable::Refused { why: error.to_string() })
    }
}

fn corrupt(file: &str, what: impl Into<String>) -> DenseError {
    DenseError::corrupt(file, what)
}

/// Writes an `.ann` file front to back.
pub struct AnnFileWriter<W: Write> {
    out: W,
    at: u64,
    entries: Vec<AnnEntry>,
}

impl<W: Write> AnnFileWriter<W> {
    /// Begins a file on `out`, which is empty.
    pub fn new(mut out: W) -> Result<AnnFileWriter<W>, DenseError> {
        out.write_all(&MAGIC)?;
        Ok(AnnFileWriter { out, at: MAGIC.len() as u64, entries: Vec::new() })
    }

    /// Writes the index of `field`, built as `build` says from rows whose CRC-32 is `rows_checksum`. `defaults` is the
    /// breadth that searches use where a query asks for none.
    ///
    /// With `without_rows`, the rows of a graph over plain rows are left out ([`AnnIndex::can_leave_out_rows`]).
    pub fn add(
        &mut self,
        field: u32,
        index: &AnnIndex,
        build: &AnnBuild,
        defaults: &AnnSearch,
        rows_checksum: u32,
        without_rows: bool,
    ) -> Result<(), DenseError> {
        let (library, library_version) = AnnIndex::library().unwrap_or(("none", String::new()));
        let mut entry = AnnEntry {
            field,
            similarity: build.similarity,
            dimension: index.dimension() as u32,
            rows: index.rows() as u64,
            rows_checksum,
            needs_rows: without_rows,
            ef_construction: build.ef_construction as u32,
            ef: defaults.ef.unwrap_or(0) as u32,
            nprobe: defaults.nprobe.unwrap_or(0) as u32,
            library: library.to_owned(),
            library_version,
            factory: build.factory.clone(),
            blob_checksum: 0,
            start: 0,
            length: 0,
        };
        self.begin_blob(&mut entry)?;
        let (length, checksum) = index.write_to(&mut self.out, without_rows)?;
        self.end_blob(entry, length, checksum)
    }

    /// Writes a blob that some other code made. Its place, length and checksum are filled in here.
    pub fn add_bytes(&mut self, mut entry: AnnEntry, blob: &[u8]) -> Result<(), DenseError> {
        self.begin_blob(&mut entry)?;
        self.out.write_all(blob)?;
        self.end_blob(entry, blob.len() as u64, crc32fast::hash(blob))
    }

    fn begin_blob(&mut self, entry: &mut AnnEntry) -> Result<(), DenseError> {
        let file = "the .ann file being written";
        if self.entries.len() == MAX_ENTRIES || self.entries.iter().any(|other| other.field == entry.field) {
            return Err(corrupt(file, format!("field {} cannot get a further index", entry.field)));
        }
        if [&entry.library, &entry.library_version, &entry.factory].iter().any(|text| text.len() > MAX_TEXT) {
            return Err(corrupt(file, format!("a text of an entry is longer than {MAX_TEXT} bytes")));
        }
        let padding = (self.at.next_multiple_of(ALIGNMENT) - self.at) as usize; // below 64
        self.out.write_all(&[0; ALIGNMENT as usize][..padding])?;
        self.at += padding as u64;
        entry.start = self.at;
        Ok(())
    }

    fn end_blob(&mut self, mut entry: AnnEntry, length: u64, checksum: u32) -> Result<(), DenseError> {
        entry.length = length;
        entry.blob_checksum = checksum;
        self.at += length;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the contents table and the trailer, and gives `out` back, not yet flushed or closed.
    pub fn finish(mut self) -> Result<W, DenseError> {
        let mut table = Vec::new();
        table.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            put_entry(&mut table, entry);
        }
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(&self.at.to_le_bytes());
        trailer.extend_from_slice(&(table.len() as u64).to_le_bytes());
        trailer.extend_from_slice(&crc32fast::hash(&table).to_le_bytes());
        trailer.extend_from_slice(&VERSION.to_le_bytes());
        trailer.extend_from_slice(&crc32fast::hash(&trailer).to_le_bytes());
        trailer.extend_from_slice(&MAGIC);
        self.out.write_all(&table)?;
        self.out.write_all(&trailer)?;
        Ok(self.out)
    }
}

fn put_entry(table: &mut Vec<u8>, entry: &AnnEntry) {
    table.extend_from_slice(&entry.field.to_le_bytes());
    table.push(entry.similarity.tag());
    table.push(if entry.needs_rows { FLAG_NEEDS_ROWS } else { 0 });
    table.extend_from_slice(&[0; 2]);
    table.extend_from_slice(&entry.dimension.to_le_bytes());
    table.extend_from_slice(&entry.rows.to_le_bytes());
    table.extend_from_slice(&entry.rows_checksum.to_le_bytes());
    table.extend_from_slice(&entry.blob_checksum.to_le_bytes());
    table.extend_from_slice(&entry.start.to_le_bytes());
    table.extend_from_slice(&entry.length.to_le_bytes());
    table.extend_from_slice(&entry.ef_construction.to_le_bytes());
    table.extend_from_slice(&entry.ef.to_le_bytes());
    table.extend_from_slice(&entry.nprobe.to_le_bytes());
    for text in [&entry.library, &entry.library_version, &entry.factory] {
        table.extend_from_slice(&(text.len() as u16).to_le_bytes()); // at most MAX_TEXT, checked before
        table.extend_from_slice(text.as_bytes());
    }
}

/// An opened `.ann` file: its contents table is checked, its blobs are not read yet.
#[derive(Clone, Debug)]
pub struct AnnFile {
    name: String,
    slice: FileSlice,
    entries: Vec<AnnEntry>,
}

impl AnnFile {
    /// Reads and checks the contents table. `name` is for messages.
    pub fn open(slice: FileSlice, name: &str) -> Result<AnnFile, DenseError> {
        let length = slice.len();
        if length < MAGIC.len() + TRAILER {
            return Err(corrupt(name, format!("{length} bytes are too few for an .ann file")));
        }
        let head = slice.read_bytes_slice(0..MAGIC.len())?;
        let trailer = slice.read_bytes_slice(length - TRAILER..length)?;
        let mut reader = Reader { bytes: &trailer, file: name };
        let (start, table_length) = (reader.u64()?, reader.u64()?);
        let (table_checksum, version, trailer_checksum) = (reader.u32()?, reader.u32()?, reader.u32()?);
        if head.as_slice() != MAGIC || reader.bytes != MAGIC {
            return Err(corrupt(name, "it does not begin and end as an .ann file"));
        }
        if crc32fast::hash(&trailer[..TRAILER - 12]) != trailer_checksum {
            return Err(corrupt(name, "the trailer's checksum is wrong"));
        }
        if version == 0 {
            return Err(corrupt(name, "its trailer names version 0 of the format, which there never was"));
        }
        if version > VERSION {
            return Err(DenseError::NewerFormat { file: name.to_owned(), found: version, supported: VERSION });
        }
        let end = (length - TRAILER) as u64;
        if start < MAGIC.len() as u64 || start.checked_add(table_length) != Some(end) || table_length > MAX_TABLE as u64
        {
            return Err(corrupt(name, "the contents table is not where the trailer says"));
        }
        let table = slice.read_bytes_slice(start as usize..end as usize)?;
        if crc32fast::hash(&table) != table_checksum {
            return Err(corrupt(name, "the contents table's checksum is wrong"));
        }
        let mut reader = Reader { bytes: &table, file: name };
        let count = reader.u32()? as usize;
        if count > MAX_ENTRIES {
            return Err(corrupt(name, format!("{count} entries are more than {MAX_ENTRIES}")));
        }
        let mut entries: Vec<AnnEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = reader.entry()?;
            let inside = entry.start >= MAGIC.len() as u64
                && entry.start % ALIGNMENT == 0
                && entry.start.checked_add(entry.length).is_some_and(|blob_end| blob_end <= start);
            if !inside {
                return Err(corrupt(name, format!("the index of field {} lies outside the file", entry.field)));
            }
            if entries.iter().any(|other| other.field == entry.field) {
                return Err(corrupt(name, format!("two indexes for field {}", entry.field)));
            }
            entries.push(entry);
        }
        if !reader.bytes.is_empty() {
            return Err(corrupt(name, "bytes are left after the contents table's entries"));
        }
        Ok(AnnFile { name: name.to_owned(), slice, entries })
    }

    /// What the contents table lists.
    pub fn entries(&self) -> &[AnnEntry] {
        &self.entries
    }

    /// The index of `field`, if it can be used for rows that are as `spec` says and have the CRC-32 `rows_checksum`.
    ///
    /// Reads the whole blob once, to verify its checksum. An error means the file could not be read.
    pub fn get(&self, field: u32, spec: &AnnSpec, rows_checksum: u32) -> Result<Lookup, DenseError> {
        let Some(entry) = self.entries.iter().find(|entry| entry.field == field) else {
            return Ok(Lookup::Absent);
        };
        if let Some(reason) = unusable(entry, spec, rows_checksum) {
            return Ok(Lookup::Unusable(reason));
        }
        let bytes = self.read(entry)?;
        if crc32fast::hash(&bytes) != entry.blob_checksum {
            return Ok(Lookup::Unusable(Unusable::Damaged));
        }
        Ok(Lookup::Usable(AnnBlob { entry: entry.clone(), bytes }))
    }

    /// Verifies the checksum of every blob.
    pub fn verify(&self) -> Result<(), DenseError> {
        for entry in &self.entries {
            if crc32fast::hash(&self.read(entry)?) != entry.blob_checksum {
                return Err(corrupt(&self.name, format!("the checksum of field {}'s index is wrong", entry.field)));
            }
        }
        Ok(())
    }

    fn read(&self, entry: &AnnEntry) -> Result<OwnedBytes, DenseError> {
        // Start and end were checked against the file's length when the table was read.
        let (start, end) = (entry.start as usize, (entry.start + entry.length) as usize);
        Ok(self.slice.read_bytes_slice(start..end)?)
    }
}

fn unusable(entry: &AnnEntry, spec: &AnnSpec, rows_checksum: u32) -> Option<Unusable> {
    let Some((library, version)) = AnnIndex::library() else {
        return Some(Unusable::FeatureOff { library: entry.library.clone() });
    };
    // faiss keeps its file format within a minor version, so the third number is free to differ.
    if entry.library != library || minor(&entry.library_version) != minor(&version) {
        return Some(Unusable::OtherLibrary {
            found: format!("{} {}", entry.library, entry.library_version),
            here: format!("{library} {version}"),
        });
    }
    if entry.similarity != spec.similarity || entry.dimension as usize != spec.dimension {
        return Some(Unusable::OtherField {
            found: format!("{:?} over {} values", entry.similarity, entry.dimension),
            expected: format!("{:?} over {} values", spec.similarity, spec.dimension),
        });
    }
    (entry.rows != spec.rows as u64 || entry.rows_checksum != rows_checksum).then_some(Unusable::OtherRows)
}

fn minor(version: &str) -> Vec<&str> {
    version.split('.').take(2).collect()
}

/// Takes numbers and texts off the front of bytes, never past their end.
struct Reader<'a> {
    bytes: &'a [u8],
    file: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DenseError> {
        match self.bytes.split_at_checked(length) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(corrupt(self.file, "the contents table ends in the middle of an entry")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DenseError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, DenseError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, DenseError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, DenseError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, DenseError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, DenseError> {
        let length = usize::from(self.u16()?);
        if length > MAX_TEXT {
            return Err(corrupt(self.file, format!("a text of {length} bytes in the contents table")));
        }
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| corrupt(self.file, "a text in the contents table is not UTF-8"))
    }

    fn entry(&mut self) -> Result<AnnEntry, DenseError> {
        let field = self.u32()?;
        let similarity = self.u8()?;
        let similarity = Similarity::from_tag(similarity)
            .ok_or_else(|| corrupt(self.file, format!("unknown similarity {similarity} for field {field}")))?;
        let flags = self.u8()?;
        let reserved = self.u16()?;
        if flags > FLAG_NEEDS_ROWS || reserved != 0 {
            return Err(corrupt(self.file, format!("unknown flags for field {field}")));
        }
        Ok(AnnEntry {
            field,
            similarity,
            needs_rows: flags & FLAG_NEEDS_ROWS != 0,
            dimension: self.u32()?,
            rows: self.u64()?,
            rows_checksum: self.u32()?,
            blob_checksum: self.u32()?,
            start: self.u64()?,
            length: self.u64()?,
            ef_construction: self.u32()?,
            ef: self.u32()?,
            nprobe: self.u32()?,
            library: self.text()?,
            library_version: self.text()?,
            factory: self.text()?,
        })
    }
}

#[cfg(test)]
mod tests;
