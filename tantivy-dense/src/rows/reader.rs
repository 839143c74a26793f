//! Reads the `.vec` file where it lies.

use tantivy::DocId;
use tantivy::directory::{FileSlice, OwnedBytes};
use tantivy::index::SegmentId;

use super::layout::{FieldTable, Presence, Section, SectionTable, TRAILER, Table, decode_trailer, segment_bytes};
use super::quantise::decode_int8;
use crate::{DenseError, Element, Metric, VectorField, VectorOptions};

/// Bytes between two looks at whether a check of a whole file is to go on.
const VERIFIED_AT_ONCE: usize = 64 << 20;

/// A section whose rows may lie in several pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSection {
    pieces: Vec<Piece>,
    row_bytes: usize,
}

#[derive(Clone, Debug)]
struct Piece {
    first: u32,
    rows: u32,
    bytes: OwnedBytes,
}

impl RowSection {
    /// The piece that holds `row`: its bytes from that row on, and how many rows they are.
    pub(crate) fn starting_at(&self, row: u32) -> (&[u8], u32) {
        let at = match self.pieces.len() {
            1 => 0,
            _ => self.pieces.partition_point(|piece| piece.first <= row).saturating_sub(1),
        };
        match self.pieces.get(at) {
            Some(piece) if row >= piece.first && row - piece.first < piece.rows => {
                let skip = row - piece.first;
                (&piece.bytes[skip as usize * self.row_bytes..], piece.rows - skip)
            }
            _ => (&[], 0),
        }
    }

    /// The bytes of one row; empty if there is no such row.
    pub(crate) fn row(&self, row: u32) -> &[u8] {
        let (bytes, rows) = self.starting_at(row);
        if rows == 0 { &[] } else { &bytes[..self.row_bytes] }
    }

    /// Runs `body(first row, number of rows, bytes)` for each piece of `rows`.
    pub(crate) fn for_each(&self, rows: std::ops::Range<u32>, mut body: impl FnMut(u32, u32, &[u8])) {
        let mut row = rows.start;
        while row < rows.end {
            let (bytes, count) = self.starting_at(row);
            let count = count.min(rows.end - row);
            if count == 0 {
                return;
            }
            body(row, count, &bytes[..count as usize * self.row_bytes]);
            row += count;
        }
    }

    /// All bytes, where they lie in one piece.
    pub(crate) fn whole(&self) -> Option<OwnedBytes> {
        match self.pieces.as_slice() {
            [piece] => Some(piece.bytes.clone()),
            _ => None,
        }
    }
}

/// A list of four-byte values, one a row.
#[derive(Clone, Debug)]
struct List(OwnedBytes);

impl List {
    fn floats(&self) -> &[f32] {
        // Checked when the file was opened.
        bytemuck::try_cast_slice(&self.0).unwrap_or_default()
    }

    fn numbers(&self) -> &[u32] {
        bytemuck::try_cast_slice(&self.0).unwrap_or_default()
    }
}

/// The vectors of one field in one segment.
#[derive(Clone, Debug)]
pub(crate) struct FieldRows {
    field: VectorField,
    rows: u32,
    max_doc: u32,
    presence: Presence,
    values: RowSection,
    codes: RowSection,
    docs: List,
    order: List,
    norms: List,
    scales: List,
    code_scales: List,
    code_errors: List,
    rows_checksum: u32,
    bytes: u64,
}

/// An opened file.
#[derive(Debug)]
pub(crate) struct RowsFile {
    name: String,
    file: OwnedBytes,
    table: Table,
    fields: Vec<FieldRows>,
}

impl RowsFile {
    /// Opens a file: reads its trailer and table and checks that they fit the schema's fields and the segment.
    /// Checksums of the data are left to [`RowsFile::verify`].
    pub(crate) fn open(
        file: &FileSlice,
        name: &str,
        segment: SegmentId,
        vector_fields: &[VectorField],
        max_doc: u32,
    ) -> Result<RowsFile, DenseError> {
        let corrupt = |what: String| DenseError::corrupt(name, what);
        let bytes = file.read_bytes()?;
        let data_end = bytes.len().checked_sub(TRAILER).ok_or_else(|| corrupt("it is too short".to_owned()))?;
        let trailer = decode_trailer(&bytes[data_end..], name)?;
        let end = trailer.start.checked_add(trailer.length);
        if end != Some(data_end as u64) {
            return Err(corrupt("its table is not where its trailer says".to_owned()));
        }
        let table = &bytes[trailer.start as usize..data_end];
        if crc32fast::hash(table) != trailer.checksum {
            return Err(corrupt("the checksum of its table is wrong".to_owned()));
        }
        let table = Table::decode(table, trailer.version, trailer.start, name)?;
        if table.segment.is_some_and(|written_for| written_for != segment_bytes(segment)) {
            let other = table.segment.unwrap_or_default().map(|byte| format!("{byte:02x}")).concat();
            return Err(corrupt(format!("it was written for segment {other}, so it is another file under this name")));
        }
        if table.max_doc != max_doc {
            return Err(corrupt(format!("it is for {} documents, the segment has {max_doc}", table.max_doc)));
        }
        if table.fields.len() != vector_fields.len() {
            let found = table.fields.len();
            return Err(corrupt(format!("it has {found} vector fields, the schema {}", vector_fields.len())));
        }
        let mut fields = Vec::with_capacity(vector_fields.len());
        for (field, entry) in vector_fields.iter().zip(&table.fields) {
            fields.push(open_field(&bytes, name, field, entry, max_doc)?);
        }
        Ok(RowsFile { name: name.to_owned(), file: bytes, table, fields })
    }

    /// Compares every checksum. Reads the whole file, and asks every so often whether to go on.
    pub(crate) fn verify(&self, go_on: &dyn Fn() -> Result<(), DenseError>) -> Result<(), DenseError> {
        for field in &self.table.fields {
            for section in &field.sections {
                let mut hasher = crc32fast::Hasher::new();
                for extent in &section.extents {
                    // Inside the file: checked when the table was read.
                    let bytes = &self.file[extent.start as usize..(extent.start + extent.length) as usize];
                    for part in bytes.chunks(VERIFIED_AT_ONCE) {
                        go_on()?;
                        hasher.update(part);
                    }
                }
                if hasher.finalize() != section.checksum {
                    let what = format!("the checksum of its {:?} is wrong", section.section);
                    return Err(DenseError::corrupt(&self.name, what));
                }
            }
        }
        self.verify_lists()
    }

    /// Whether the numbers of documents are in order and within the segment, which checksums of a crafted file say nothing
    /// about.
    pub(crate) fn verify_lists(&self) -> Result<(), DenseError> {
        self.fields.iter().try_for_each(|field| field.verify_lists(&self.name))
    }

    pub(crate) fn fields(&self) -> &[FieldRows] {
        &self.fields
    }

    pub(crate) fn into_fields(self) -> Vec<FieldRows> {
        self.fields
    }
}

fn open_field(
    file: &OwnedBytes,
    name: &str,
    field: &VectorField,
    entry: &FieldTable,
    max_doc: u32,
) -> Result<FieldRows, DenseError> {
    let options = field.options();
    let same = entry.field == field.field().field_id()
        && entry.metric == options.metric()
        && entry.element == options.element_type()
        && entry.first_pass == options.has_first_pass()
        && entry.dimension as usize == options.dimension();
    if !same {
        let what = format!("its field {} is not `{}` as the schema has it", entry.field, field.name());
        return Err(DenseError::corrupt(name, what));
    }
    let rows = entry.rows;
    let wanted = |section| match section {
        Section::Rows | Section::Norms => true,
        Section::Docs => entry.presence != Presence::All,
        Section::Order => entry.presence == Presence::Permuted,
        Section::Scales => options.keeps_scales(),
        Section::Codes | Section::CodeScales | Section::CodeErrors => entry.first_pass,
    };
    let pieces = |section: Section| -> Result<(RowSection, u32), DenseError> {
        let row_bytes = section.row_bytes(options);
        let table = entry.sections.iter().find(|table| table.section == section);
        let expected = if wanted(section) { u64::from(rows) * row_bytes } else { 0 };
        let found = table.map_or(0, |table| table.extents.iter().map(|extent| extent.length).sum());
        if expected != found {
            let what = format!("its {section:?} of `{}` take {found} bytes instead of {expected}", field.name());
            return Err(DenseError::corrupt(name, what));
        }
        let pieces = table.map_or(Ok(Vec::new()), |table| cut(file, name, table, row_bytes))?;
        Ok((RowSection { pieces, row_bytes: row_bytes as usize }, table.map_or(0, |table| table.checksum)))
    };
    let list = |section: Section| -> Result<List, DenseError> {
        let (section_rows, _) = pieces(section)?;
        match section_rows.pieces.as_slice() {
            [] => Ok(List(OwnedBytes::empty())),
            [piece] => Ok(List(piece.bytes.clone())),
            _ => Err(DenseError::corrupt(name, format!("its {section:?} of `{}` lie in pieces", field.name()))),
        }
    };
    let (values, rows_checksum) = pieces(Section::Rows)?;
    let (codes, _) = pieces(Section::Codes)?;
    Ok(FieldRows {
        field: field.clone(),
        rows,
        max_doc,
        presence: entry.presence,
        values,
        codes,
        docs: list(Section::Docs)?,
        order: list(Section::Order)?,
        norms: list(Section::Norms)?,
        scales: list(Section::Scales)?,
        code_scales: list(Section::CodeScales)?,
        code_errors: list(Section::CodeErrors)?,
        rows_checksum,
        bytes: entry.sections.iter().flat_map(|section| &section.extents).map(|extent| extent.length).sum(),
    })
}

/// The pieces of a section, as bytes.
fn cut(file: &OwnedBytes, name: &str, table: &SectionTable, row_bytes: u64) -> Result<Vec<Piece>, DenseError> {
    let mut first = 0_u32;
    let mut pieces = Vec::with_capacity(table.extents.len());
    for extent in &table.extents {
        let rows = extent.length / row_bytes;
        if extent.length % row_bytes != 0 || rows == 0 {
            return Err(DenseError::corrupt(name, "its table cuts through a row"));
        }
        let bytes = aligned(file.slice(extent.start as usize..(extent.start + extent.length) as usize));
        let rows = rows as u32; // no more than the field has, as the sum was checked
        pieces.push(Piece { first, rows, bytes });
        first += rows;
    }
    Ok(pieces)
}

/// The bytes where they lie, or a copy where they are not aligned to four: a directory in memory promises nothing.
fn aligned(bytes: OwnedBytes) -> OwnedBytes {
    const NEEDED: usize = align_of::<f32>();
    if bytes.as_ptr().align_offset(NEEDED) == 0 {
        return bytes;
    }
    let mut copy = vec![0_u8; bytes.len() + NEEDED];
    let start = copy.as_ptr().align_offset(NEEDED).min(NEEDED);
    copy[start..start + bytes.len()].copy_from_slice(&bytes);
    OwnedBytes::new(copy).slice(start..start + bytes.len())
}

impl FieldRows {
    /// The lists of documents must be what searches rely on: ascending, inside the segment, each other's inverse.
    fn verify_lists(&self, name: &str) -> Result<(), DenseError> {
        let bad =
            |what: &str| Err(DenseError::corrupt(name, format!("its documents of `{}` {what}", self.field.name())));
        let docs = self.docs.numbers();
        match self.presence {
            Presence::All => Ok(()),
            Presence::List if ascending(docs.iter().copied(), self.max_doc) => Ok(()),
            Presence::List => bad("are not in order"),
            Presence::Permuted => {
                let order = self.order.numbers().iter();
                let in_order = order.map(|&row| docs.get(row as usize).copied().unwrap_or(DocId::MAX));
                if ascending(in_order, self.max_doc) { Ok(()) } else { bad("are not in order") }
            }
        }
    }

    pub(crate) fn field(&self) -> &VectorField {
        &self.field
    }

    pub(crate) fn options(&self) -> &VectorOptions {
        self.field.options()
    }

    pub(crate) fn len(&self) -> u32 {
        self.rows
    }

    /// Document of a row.
    pub(crate) fn doc(&self, row: u32) -> DocId {
        match self.presence {
            Presence::All => row,
            Presence::List | Presence::Permuted => self.docs.numbers().get(row as usize).copied().unwrap_or(u32::MAX),
        }
    }

    /// Row of a document.
    pub(crate) fn row_of(&self, doc: DocId) -> Option<u32> {
        match self.presence {
            Presence::All => (doc < self.rows).then_some(doc),
            Presence::List => self.docs.numbers().binary_search(&doc).ok().map(|row| row as u32),
            Presence::Permuted => {
                let order = self.order.numbers();
                order.binary_search_by_key(&doc, |&row| self.doc(row)).ok().map(|at| order[at])
            }
        }
    }

    /// The rows' values, as they are kept.
    pub(crate) fn values(&self) -> &RowSection {
        &self.values
    }

    /// What the first pass scans: the rounded copy, or the rows themselves where they are int8.
    pub(crate) fn first_pass(&self) -> Option<&RowSection> {
        match self.options().element_type() {
            Element::Int8 => Some(&self.values),
            _ if self.options().has_first_pass() => Some(&self.codes),
            _ => None,
        }
    }

    pub(crate) fn codes(&self) -> &RowSection {
        &self.codes
    }

    /// Length of each vector as it was given.
    pub(crate) fn norms(&self) -> &[f32] {
        self.norms.floats()
    }

    /// Scale of each row; empty where rows have none.
    pub(crate) fn scales(&self) -> &[f32] {
        self.scales.floats()
    }

    /// Scale of each rounded copy.
    pub(crate) fn code_scales(&self) -> &[f32] {
        match self.options().element_type() {
            Element::Int8 => self.scales(),
            _ => self.code_scales.floats(),
        }
    }

    /// Length of the difference between each row and its rounded copy; empty where there is none to speak of.
    pub(crate) fn code_errors(&self) -> &[f32] {
        self.code_errors.floats()
    }

    /// CRC-32 of the rows' values.
    pub(crate) fn rows_checksum(&self) -> u32 {
        self.rows_checksum
    }

    /// Bytes in the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.bytes
    }

    /// A row's values as they are compared: where they lie if they are f32, else decoded into `scratch`.
    pub(crate) fn row<'a>(&'a self, row: u32, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let bytes = self.values.row(row);
        match self.options().element_type() {
            Element::F32 => bytemuck::try_cast_slice(bytes).unwrap_or_default(),
            Element::F16 => {
                self.decode_f16(row, bytes, scratch);
                scratch
            }
            Element::Int8 => {
                let scale = self.scales().get(row as usize).copied().unwrap_or(0.0);
                decode_int8(bytemuck::cast_slice(bytes), scale, scratch);
                scratch
            }
        }
    }

    /// Half-precision rows, the first of which is `first`, as f32 values as they are compared.
    pub(crate) fn decode_f16(&self, first: u32, bytes: &[u8], out: &mut Vec<f32>) {
        decode_f16(bytes, out);
        let scales = self.scales().get(first as usize..).unwrap_or_default();
        for (row, scale) in out.chunks_exact_mut(self.options().dimension()).zip(scales) {
            row.iter_mut().for_each(|value| *value *= scale);
        }
    }

    /// The vector that was added, up to the rounding of its element type and, under cosine, of its normalisation.
    pub(crate) fn vector(&self, row: u32) -> Vec<f32> {
        let mut scratch = Vec::new();
        let mut vector = self.row(row, &mut scratch).to_vec();
        if self.options().metric() == Metric::Cosine {
            let norm = self.norms().get(row as usize).copied().unwrap_or(1.0);
            vector.iter_mut().for_each(|value| *value *= norm);
        }
        vector
    }
}

/// Half-precision values as f32.
fn decode_f16(bytes: &[u8], out: &mut Vec<f32>) {
    use half::slice::HalfFloatSliceExt;
    let words: &[u16] = bytemuck::try_cast_slice(bytes).unwrap_or_default();
    out.resize(words.len(), 0.0);
    half::slice::HalfBitsSliceExt::reinterpret_cast::<half::f16>(words).convert_to_f32_slice(out);
}

fn ascending(mut docs: impl Iterator<Item = DocId>, max_doc: DocId) -> bool {
    let mut before = None;
    docs.all(|doc| {
        let fits = doc < max_doc && before.is_none_or(|before| before < doc);
        before = Some(doc);
        fits
    })
}
