//! Writes the `.vec` file front to back.
//!
//! Rows go to the file in blocks while documents arrive, so that an indexing thread's memory does not grow with its
//! vectors; what is small (a few bytes a row) waits for the end. Blocks of several sections alternate in the file, and
//! the table says where each lies. A merge writes every section in one piece.

use std::io::Write;

use half::f16;
use half::slice::HalfFloatSliceExt;
use tantivy::DocId;
use tantivy::index::SegmentId;

use super::layout::{
    ALIGNMENT, Extent, FieldTable, Presence, Section, SectionTable, SegmentBytes, Table, encode_trailer, segment_bytes,
};
use super::quantise::{decode_int8, quantise};
use crate::norm::{length, normalised};
use crate::{DenseError, Element, Metric, VectorField};

/// Rows and codes are handed to the file in pieces of about this size. Small, because every indexing thread has one
/// per field and section whatever its memory budget.
const BLOCK: usize = 256 << 10;

/// A file being written.
pub(crate) struct RowsFileWriter<W: Write> {
    out: W,
    segment: SegmentBytes,
    position: u64,
    last: Option<(usize, Section)>,
    fields: Vec<FieldTable>,
    checksums: Vec<Vec<(Section, crc32fast::Hasher)>>,
}

impl<W: Write> RowsFileWriter<W> {
    /// A file of this segment.
    pub(crate) fn new(out: W, segment: SegmentId) -> RowsFileWriter<W> {
        let segment = segment_bytes(segment);
        RowsFileWriter { out, segment, position: 0, last: None, fields: Vec::new(), checksums: Vec::new() }
    }

    /// Announces a field; its number is for [`RowsFileWriter::append`].
    pub(crate) fn add_field(&mut self, field: &VectorField) -> usize {
        let options = field.options();
        self.fields.push(FieldTable {
            field: field.field().field_id(),
            metric: options.metric(),
            element: options.element_type(),
            first_pass: options.has_first_pass(),
            presence: Presence::All,
            dimension: options.dimension() as u32,
            rows: 0,
            sections: Vec::new(),
        });
        self.checksums.push(Vec::new());
        self.fields.len() - 1
    }

    /// Says how many rows a field got and how they belong to documents.
    pub(crate) fn end_field(&mut self, field: usize, rows: u32, presence: Presence) {
        if let Some(table) = self.fields.get_mut(field) {
            table.rows = rows;
            table.presence = presence;
        }
    }

    /// Adds whole rows to a section. What follows the section's own last bytes directly becomes one piece with them.
    pub(crate) fn append(&mut self, field: usize, section: Section, bytes: &[u8]) -> Result<(), DenseError> {
        let (Some(table), Some(checksums)) = (self.fields.get_mut(field), self.checksums.get_mut(field)) else {
            return Ok(());
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let goes_on = self.last == Some((field, section));
        if !goes_on {
            let zeros = (self.position.next_multiple_of(ALIGNMENT) - self.position) as usize;
            self.out.write_all(&[0; ALIGNMENT as usize][..zeros])?;
            self.position += zeros as u64;
        }
        self.out.write_all(bytes)?;
        let at = match table.sections.iter().position(|known| known.section == section) {
            Some(at) => at,
            None => {
                table.sections.push(SectionTable { section, checksum: 0, extents: Vec::new() });
                checksums.push((section, crc32fast::Hasher::new()));
                table.sections.len() - 1
            }
        };
        if let Some((_, hasher)) = checksums.get_mut(at) {
            hasher.update(bytes);
        }
        let length = bytes.len() as u64;
        match table.sections[at].extents.last_mut() {
            Some(extent) if goes_on => extent.length += length,
            _ => table.sections[at].extents.push(Extent { start: self.position, length }),
        }
        self.position += length;
        self.last = Some((field, section));
        Ok(())
    }

    /// Writes the table and the trailer. The caller makes the file durable.
    pub(crate) fn finish(mut self, max_doc: u32) -> Result<W, DenseError> {
        for (table, checksums) in self.fields.iter_mut().zip(self.checksums) {
            for (section, (_, hasher)) in table.sections.iter_mut().zip(checksums) {
                section.checksum = hasher.finalize();
            }
        }
        let zeros = (self.position.next_multiple_of(ALIGNMENT) - self.position) as usize;
        self.out.write_all(&[0; ALIGNMENT as usize][..zeros])?;
        let start = self.position + zeros as u64;
        let table = Table { segment: Some(self.segment), max_doc, fields: self.fields }.encode();
        self.out.write_all(&table)?;
        self.out.write_all(&encode_trailer(start, table.len() as u64, crc32fast::hash(&table)))?;
        Ok(self.out)
    }
}

/// What is kept per row beside its values, in the order of rows.
#[derive(Debug, Default)]
pub(crate) struct SideValues {
    pub norms: Vec<f32>,
    pub scales: Vec<f32>,
    pub code_scales: Vec<f32>,
    pub code_errors: Vec<f32>,
}

impl SideValues {
    fn sections(&self) -> [(Section, &[f32]); 4] {
        [
            (Section::Norms, &self.norms),
            (Section::Scales, &self.scales),
            (Section::CodeScales, &self.code_scales),
            (Section::CodeErrors, &self.code_errors),
        ]
    }

    /// Writes whatever there is.
    pub(crate) fn write<W: Write>(&self, file: &mut RowsFileWriter<W>, field: usize) -> Result<(), DenseError> {
        for (section, values) in self.sections() {
            file.append(field, section, bytemuck::cast_slice(values))?;
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        self.sections().iter().map(|(_, values)| values.len() * 4).sum()
    }
}

/// Takes the vectors of one field, document by document.
pub(crate) struct FieldWriter {
    field: VectorField,
    number: usize,
    rows: u32,
    /// Documents of the rows, once one had no vector; until then row and document are the same number.
    docs: Option<Vec<DocId>>,
    row_block: Vec<u8>,
    code_block: Vec<i8>,
    sides: SideValues,
}

impl FieldWriter {
    pub(crate) fn new<W: Write>(field: VectorField, file: &mut RowsFileWriter<W>) -> FieldWriter {
        let number = file.add_field(&field);
        FieldWriter {
            field,
            number,
            rows: 0,
            docs: None,
            row_block: Vec::new(),
            code_block: Vec::new(),
            sides: SideValues::default(),
        }
    }

    pub(crate) fn field(&self) -> &VectorField {
        &self.field
    }

    /// Adds the vector of a document; documents come in ascending order.
    pub(crate) fn add<W: Write>(
        &mut self,
        file: &mut RowsFileWriter<W>,
        doc: DocId,
        vector: &[f32],
    ) -> Result<(), DenseError> {
        let norm = self.field.check(vector)?;
        if doc != self.rows && self.docs.is_none() {
            self.docs = Some((0..self.rows).collect());
        }
        if let Some(docs) = &mut self.docs {
            if docs.last() == Some(&doc) {
                return Err(DenseError::SecondVector { field: self.field.name().to_owned() });
            }
            docs.push(doc);
        }
        self.rows += 1;
        let options = self.field.options();
        let unit;
        let row = if options.metric() == Metric::Cosine {
            unit = normalised(vector);
            &unit
        } else {
            vector
        };
        // The row as it is kept, rounding included.
        let mut decoded = Vec::new();
        let kept = match options.element_type() {
            Element::F32 => {
                self.row_block.extend_from_slice(bytemuck::cast_slice(row));
                row
            }
            Element::F16 => {
                let mut halves = vec![f16::ZERO; row.len()];
                halves.convert_from_f32_slice(row);
                decoded.resize(row.len(), 0.0);
                halves.convert_to_f32_slice(&mut decoded);
                self.row_block.extend_from_slice(bytemuck::cast_slice::<u16, u8>(halves.reinterpret_cast()));
                if options.keeps_scales() {
                    let scale = 1.0 / length(&decoded);
                    self.sides.scales.push(scale);
                    decoded.iter_mut().for_each(|value| *value *= scale);
                }
                &decoded
            }
            Element::Int8 => {
                let mut codes = Vec::with_capacity(row.len());
                let mut scale = quantise(row, &mut codes).scale;
                if options.metric() == Metric::Cosine {
                    decode_int8(&codes, 1.0, &mut decoded);
                    scale = 1.0 / length(&decoded);
                }
                self.sides.scales.push(scale);
                self.row_block.extend_from_slice(bytemuck::cast_slice(&codes));
                decode_int8(&codes, scale, &mut decoded);
                &decoded
            }
        };
        self.sides.norms.push(match options.metric() {
            Metric::Cosine => norm,
            Metric::Dot | Metric::L2 => length(kept),
        });
        if options.has_first_pass() {
            let rounded = quantise(kept, &mut self.code_block);
            self.sides.code_scales.push(rounded.scale);
            self.sides.code_errors.push(rounded.error);
        }
        if self.row_block.len() >= BLOCK {
            self.flush(file)?;
        }
        Ok(())
    }

    fn flush<W: Write>(&mut self, file: &mut RowsFileWriter<W>) -> Result<(), DenseError> {
        file.append(self.number, Section::Rows, &self.row_block)?;
        file.append(self.number, Section::Codes, bytemuck::cast_slice(&self.code_block))?;
        self.row_block.clear();
        self.code_block.clear();
        Ok(())
    }

    /// Writes what is left. `new_ids` gives each document's number in a sorted index.
    pub(crate) fn finish<W: Write>(
        mut self,
        file: &mut RowsFileWriter<W>,
        max_doc: DocId,
        new_ids: Option<&[DocId]>,
    ) -> Result<(), DenseError> {
        self.flush(file)?;
        self.sides.write(file, self.number)?;
        let docs = match (self.docs, new_ids) {
            (None, None) if self.rows == max_doc => None,
            (docs, _) => Some(docs.unwrap_or_else(|| (0..self.rows).collect())),
        };
        let presence = match (docs, new_ids) {
            (None, _) => Presence::All,
            (Some(docs), None) => {
                file.append(self.number, Section::Docs, bytemuck::cast_slice(&docs))?;
                Presence::List
            }
            (Some(mut docs), Some(new_ids)) => {
                for doc in &mut docs {
                    *doc = match new_ids.get(*doc as usize) {
                        Some(&new) => new,
                        None => {
                            return Err(DenseError::from(tantivy::TantivyError::InternalError(format!(
                                "document {doc} has no place in the sorted segment"
                            ))));
                        }
                    };
                }
                let mut order: Vec<u32> = (0..self.rows).collect();
                order.sort_unstable_by_key(|&row| docs[row as usize]);
                file.append(self.number, Section::Docs, bytemuck::cast_slice(&docs))?;
                file.append(self.number, Section::Order, bytemuck::cast_slice(&order))?;
                Presence::Permuted
            }
        };
        file.end_field(self.number, self.rows, presence);
        Ok(())
    }

    /// Bytes that grow with the rows. The blocks do not and are not counted: a budget that they filled would cut
    /// segments of a few documents.
    pub(crate) fn memory(&self) -> usize {
        self.sides.memory() + self.docs.as_ref().map_or(0, |docs| docs.len() * 4)
    }
}
