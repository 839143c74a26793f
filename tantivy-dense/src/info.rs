//! What is open for search, and what it takes.

use tantivy::SegmentReader;
use tantivy::index::SegmentId;

use crate::ann::AnnKind;
use crate::warm::{FieldVectors, SegmentVectors};

/// One segment of a searcher.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The segment.
    pub segment: SegmentId,
    /// Its documents, deleted ones included.
    pub max_doc: u32,
    /// Its documents without the deleted ones.
    pub num_docs: u32,
    /// One for each vector field, in the order of the schema.
    pub fields: Vec<FieldInfo>,
}

/// The vectors of one field in one segment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FieldInfo {
    /// Name of the field.
    pub name: String,
    /// Number of vectors, those of deleted documents included.
    pub rows: u32,
    /// Bytes of rows and what is kept beside them. They are used where they lie: in a mapped file, or in the memory of a
    /// directory in memory.
    pub rows_bytes: u64,
    /// The approximate index, where one is in use.
    pub index: Option<IndexInfo>,
    /// Why an approximate index that is there is not used.
    pub unusable: Option<String>,
}

/// An approximate index in use.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct IndexInfo {
    /// Factory string it was built from.
    pub factory: String,
    /// Its family.
    pub kind: AnnKind,
    /// Name and version of the library that built it.
    pub library: String,
    /// Bytes of the index in its file, parts of which are used where they lie.
    pub file_bytes: u64,
    /// Bytes that the index holds in memory of its own. A search needs another byte per row of a graph and thread.
    pub heap_bytes: u64,
}

impl SegmentInfo {
    pub(crate) fn of(reader: &SegmentReader, vectors: &SegmentVectors) -> SegmentInfo {
        SegmentInfo {
            segment: reader.segment_id(),
            max_doc: reader.max_doc(),
            num_docs: reader.num_docs(),
            fields: vectors.fields().iter().map(|field| FieldInfo::of(field)).collect(),
        }
    }

    /// Bytes in memory that are not part of a file.
    pub fn heap_bytes(&self) -> u64 {
        self.fields.iter().flat_map(|field| &field.index).map(|index| index.heap_bytes).sum()
    }

    /// Bytes of files that searches read.
    pub fn file_bytes(&self) -> u64 {
        let of = |field: &FieldInfo| field.rows_bytes + field.index.as_ref().map_or(0, |index| index.file_bytes);
        self.fields.iter().map(of).sum()
    }
}

impl FieldInfo {
    fn of(vectors: &FieldVectors) -> FieldInfo {
        let FieldVectors { rows, index, .. } = vectors;
        FieldInfo {
            name: rows.field().name().to_owned(),
            rows: rows.len(),
            rows_bytes: rows.file_bytes(),
            index: index.as_ref().ok().map(|open| IndexInfo {
                factory: open.entry.factory.clone(),
                kind: open.index.kind(),
                library: format!("{} {}", open.entry.library, open.entry.library_version),
                file_bytes: open.entry.length,
                heap_bytes: open.index.memory_bytes() as u64,
            }),
            unusable: index.as_ref().err().cloned().flatten(),
        }
    }
}
