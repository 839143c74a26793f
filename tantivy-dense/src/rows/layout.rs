//! Bytes of the `.vec` file. `docs/file_format.md` describes them for readers; this module is what writes and reads them.

use tantivy::index::SegmentId;

use crate::metric::{Element, Metric};
use crate::{DenseError, VectorOptions};

/// Extension of the file.
pub(crate) const EXTENSION: &str = "vec";
pub(super) const MAGIC: [u8; 8] = *b"TDENSVEC";
pub(super) const VERSION: u32 = 2;
/// The first version whose table begins with the segment's id.
const WITH_SEGMENT: u32 = 2;
/// Start and length of the table, its checksum, version, checksum of these, magic.
pub(super) const TRAILER: usize = 36;
/// Every extent begins at a multiple of this, so that mapped rows can be compared where they lie.
pub(super) const ALIGNMENT: u64 = 64;
/// Limits of the reader. A schema has far fewer vector fields; 2^31 rows in blocks make fewer extents.
const MAX_FIELDS: u32 = 4096;
const MAX_EXTENTS: u32 = 1 << 26;
const FLAG_FIRST_PASS: u8 = 1;

/// A kind of per-row data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Section {
    /// Elements, a row after the other.
    Rows,
    /// Document of each row, u32.
    Docs,
    /// Rows in the order of their documents, u32.
    Order,
    /// f32. Under cosine, the length (norm) of each vector as it was given, since rows are normalised; else the length
    /// of each row as it is kept.
    Norms,
    /// Scale of each int8 row, and of each f16 row under cosine, f32.
    Scales,
    /// The rounded copy for the first pass, i8.
    Codes,
    /// Scale of each rounded row, f32.
    CodeScales,
    /// Length of the difference between each row and its rounded copy, f32.
    CodeErrors,
}

const SECTIONS: [Section; 8] = [
    Section::Rows,
    Section::Docs,
    Section::Order,
    Section::Norms,
    Section::Scales,
    Section::Codes,
    Section::CodeScales,
    Section::CodeErrors,
];

impl Section {
    fn tag(self) -> u8 {
        SECTIONS.iter().position(|&section| section == self).map_or(0, |at| at as u8 + 1)
    }

    fn from_tag(tag: u8) -> Option<Section> {
        SECTIONS.get(usize::from(tag).checked_sub(1)?).copied()
    }

    /// Bytes a row takes in this section.
    pub(super) fn row_bytes(self, options: &VectorOptions) -> u64 {
        match self {
            Section::Rows => options.row_bytes() as u64,
            Section::Codes => options.dimension() as u64,
            _ => 4,
        }
    }
}

/// Which documents have a row, and which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Every document; row = document.
    All,
    /// A list of documents in their order; row = position in the list.
    List,
    /// Rows lie in another order than their documents: a list of documents by row, and a list of rows by document.
    /// Written by the indexing threads of a sorted index, which learn the order only after the rows are on disk.
    Permuted,
}

impl Presence {
    fn tag(self) -> u8 {
        match self {
            Presence::All => 0,
            Presence::List => 1,
            Presence::Permuted => 2,
        }
    }

    fn from_tag(tag: u8) -> Option<Presence> {
        [Presence::All, Presence::List, Presence::Permuted].get(usize::from(tag)).copied()
    }
}

/// A stretch of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub start: u64,
    pub length: u64,
}

/// Where one section of one field lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SectionTable {
    pub section: Section,
    /// CRC-32 of all its extents, one after another.
    pub checksum: u32,
    pub extents: Vec<Extent>,
}

/// What the table says about one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldTable {
    pub field: u32,
    pub metric: Metric,
    pub element: Element,
    pub first_pass: bool,
    pub presence: Presence,
    pub dimension: u32,
    pub rows: u32,
    pub sections: Vec<SectionTable>,
}

/// A segment's id, as its file names spell it.
pub(crate) type SegmentBytes = [u8; 16];

/// The bytes of a segment's id.
pub(crate) fn segment_bytes(id: SegmentId) -> SegmentBytes {
    // tantivy writes 32 hexadecimal digits.
    u128::from_str_radix(&id.uuid_string(), 16).unwrap_or_default().to_be_bytes()
}

/// The contents table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// The segment that the file was written for; version 1 does not say.
    pub segment: Option<SegmentBytes>,
    pub max_doc: u32,
    pub fields: Vec<FieldTable>,
}

fn metric_tag(metric: Metric) -> u8 {
    match metric {
        Metric::Cosine => 0,
        Metric::Dot => 1,
        Metric::L2 => 2,
    }
}

fn metric_from(tag: u8) -> Option<Metric> {
    [Metric::Cosine, Metric::Dot, Metric::L2].get(usize::from(tag)).copied()
}

fn element_tag(element: Element) -> u8 {
    match element {
        Element::F32 => 0,
        Element::F16 => 1,
        Element::Int8 => 2,
    }
}

fn element_from(tag: u8) -> Option<Element> {
    [Element::F32, Element::F16, Element::Int8].get(usize::from(tag)).copied()
}

impl Table {
    /// The table's bytes, in the newest version.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.segment.unwrap_or_default().to_vec();
        out.extend(self.max_doc.to_le_bytes());
        out.extend((self.fields.len() as u32).to_le_bytes());
        for field in &self.fields {
            out.extend(field.field.to_le_bytes());
            out.push(metric_tag(field.metric));
            out.push(element_tag(field.element));
            out.push(field.presence.tag());
            out.push(if field.first_pass { FLAG_FIRST_PASS } else { 0 });
            out.extend(field.dimension.to_le_bytes());
            out.extend(field.rows.to_le_bytes());
            out.extend((field.sections.len() as u32).to_le_bytes());
            for section in &field.sections {
                out.extend(u32::from(section.section.tag()).to_le_bytes());
                out.extend(section.checksum.to_le_bytes());
                out.extend((section.extents.len() as u32).to_le_bytes());
                for extent in &section.extents {
                    out.extend(extent.start.to_le_bytes());
                    out.extend(extent.length.to_le_bytes());
                }
            }
        }
        out
    }

    /// Reads a table whose checksum holds; everything in it is checked for sense, extents against `data_end`.
    pub(super) fn decode(bytes: &[u8], version: u32, data_end: u64, file: &str) -> Result<Table, DenseError> {
        let mut input = Input { bytes, file };
        let segment = if version >= WITH_SEGMENT { Some(input.array()?) } else { None };
        let max_doc = input.u32()?;
        let count = input.u32()?;
        if count > MAX_FIELDS {
            return Err(input.corrupt(format!("its table lists {count} fields")));
        }
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push(input.field(max_doc, data_end)?);
        }
        if !input.bytes.is_empty() {
            return Err(input.corrupt("its table is longer than what it lists"));
        }
        Ok(Table { segment, max_doc, fields })
    }
}

/// The trailer's bytes.
pub(super) fn encode_trailer(start: u64, length: u64, checksum: u32) -> [u8; TRAILER] {
    let mut out = [0; TRAILER];
    out[..8].copy_from_slice(&start.to_le_bytes());
    out[8..16].copy_from_slice(&length.to_le_bytes());
    out[16..20].copy_from_slice(&checksum.to_le_bytes());
    out[20..24].copy_from_slice(&VERSION.to_le_bytes());
    let own = crc32fast::hash(&out[..24]);
    out[24..28].copy_from_slice(&own.to_le_bytes());
    out[28..].copy_from_slice(&MAGIC);
    out
}

/// Where the table is, from the trailer.
pub(super) struct Trailer {
    pub version: u32,
    pub start: u64,
    pub length: u64,
    pub checksum: u32,
}

pub(super) fn decode_trailer(bytes: &[u8], file: &str) -> Result<Trailer, DenseError> {
    let corrupt = |what: &str| DenseError::corrupt(file, what);
    let word = |at: usize| -> Result<u32, DenseError> {
        match bytes.get(at..at + 4).and_then(|four| four.try_into().ok()) {
            Some(four) => Ok(u32::from_le_bytes(four)),
            None => Err(corrupt("it ends too soon")),
        }
    };
    let long = |at: usize| -> Result<u64, DenseError> { Ok(u64::from(word(at)?) | u64::from(word(at + 4)?) << 32) };
    if bytes.len() != TRAILER || bytes[28..] != MAGIC {
        return Err(corrupt("it does not end as a file of vectors does"));
    }
    if word(24)? != crc32fast::hash(&bytes[..24]) {
        return Err(corrupt("the checksum of its trailer is wrong"));
    }
    let version = word(20)?;
    if version > VERSION {
        return Err(DenseError::NewerFormat { file: file.to_owned(), found: version, supported: VERSION });
    }
    Ok(Trailer { version, start: long(0)?, length: long(8)?, checksum: word(16)? })
}

struct Input<'a> {
    bytes: &'a [u8],
    file: &'a str,
}

impl Input<'_> {
    fn corrupt(&self, what: impl Into<String>) -> DenseError {
        DenseError::corrupt(self.file, what)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DenseError> {
        match self.bytes.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.bytes = rest;
                Ok(*head)
            }
            None => Err(self.corrupt("its table ends too soon")),
        }
    }

    fn u32(&mut self) -> Result<u32, DenseError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, DenseError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn field(&mut self, max_doc: u32, data_end: u64) -> Result<FieldTable, DenseError> {
        let field = self.u32()?;
        let [metric, element, presence, flags] = self.array()?;
        let dimension = self.u32()?;
        let rows = self.u32()?;
        let (Some(metric), Some(element), Some(presence)) =
            (metric_from(metric), element_from(element), Presence::from_tag(presence))
        else {
            return Err(self.corrupt("its table names an unknown metric, element or order"));
        };
        if flags > FLAG_FIRST_PASS || dimension == 0 || rows > max_doc {
            return Err(self.corrupt("its table contradicts itself"));
        }
        if presence == Presence::All && rows != max_doc {
            return Err(self.corrupt("its table has fewer rows than documents and no list of them"));
        }
        let count = self.u32()?;
        if count as usize > SECTIONS.len() {
            return Err(self.corrupt(format!("its table lists {count} sections for a field")));
        }
        let mut sections: Vec<SectionTable> = Vec::new();
        for _ in 0..count {
            let section = self.section(data_end)?;
            if sections.iter().any(|earlier| earlier.section == section.section) {
                return Err(self.corrupt("its table lists a section twice"));
            }
            sections.push(section);
        }
        let first_pass = flags & FLAG_FIRST_PASS != 0;
        Ok(FieldTable { field, metric, element, first_pass, presence, dimension, rows, sections })
    }

    fn section(&mut self, data_end: u64) -> Result<SectionTable, DenseError> {
        let tag = self.u32()?;
        let section = u8::try_from(tag).ok().and_then(Section::from_tag);
        let section = section.ok_or_else(|| self.corrupt(format!("its table lists an unknown section {tag}")))?;
        let checksum = self.u32()?;
        let count = self.u32()?;
        // Sixteen bytes each, so a false count cannot make room for more than the table could hold.
        if count > MAX_EXTENTS || count as usize > self.bytes.len() / 16 {
            return Err(self.corrupt("its table ends too soon"));
        }
        let mut extents = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let extent = Extent { start: self.u64()?, length: self.u64()? };
            let inside = extent.start.checked_add(extent.length).is_some_and(|end| end <= data_end);
            if !inside || !extent.start.is_multiple_of(ALIGNMENT) {
                return Err(self.corrupt("its table points outside the file"));
            }
            extents.push(extent);
        }
        Ok(SectionTable { section, checksum, extents })
    }
}
