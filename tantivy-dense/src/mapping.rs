//! The order of documents in a sorted index.
//!
//! tantivy hands a plugin two mappings between old and new document numbers that only its own modules can read. Its
//! public code applies them to fast fields, though: so a column that holds each document's old address is pushed
//! through that code, and read back in the new order.

use tantivy::columnar::{Column, ColumnarReader};
use tantivy::directory::{FileSlice, RamDirectory};
use tantivy::fastfield::{FastFieldsPlugin, FastFieldsWriter};
use tantivy::index::SegmentComponent;
use tantivy::indexer::DocIdMapping;
use tantivy::indexer::doc_id_mapping::{MappingType, SegmentDocIdMapping};
use tantivy::schema::{FAST, Field, Schema};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{
    DocId, Index, IndexSettings, PluginMergeContext, SegmentPlugin, SegmentReader, SingleSegmentIndexWriter,
    TantivyDocument, TantivyError,
};

const COLUMN: &str = "old";
/// Budget of the writer of scratch segments, which hold one column of numbers; the least that tantivy takes.
const SCRATCH_BUDGET: usize = 15_000_000;

/// The new number of every document that an indexing thread sorted, by its old number.
pub(crate) fn new_ids(mapping: &DocIdMapping, max_doc: DocId) -> Result<Vec<DocId>, TantivyError> {
    let (schema, field) = scratch_schema();
    let mut writer = FastFieldsWriter::from_schema_and_tokenizer_manager(&schema, TokenizerManager::new())?;
    for old in 0..max_doc {
        writer.add_document(&address(field, 0, old))?;
    }
    let mut bytes = Vec::new();
    writer.serialize(&mut bytes, Some(mapping))?;
    let column = open_column(FileSlice::from(bytes))?;
    let mut new_ids = vec![DocId::MAX; max_doc as usize];
    for new in 0..max_doc {
        let (_, old) = read(&column, new)?;
        match new_ids.get_mut(old as usize) {
            Some(place) => *place = new,
            None => return Err(unreadable(new)),
        }
    }
    Ok(new_ids)
}

/// Where the documents of a merged segment come from.
pub(crate) enum MergeOrder<'a> {
    /// One segment after another, without their deleted documents.
    Stacked(&'a [SegmentReader]),
    /// Old address of each document in turn: the segment's place among the sources, and its document.
    Shuffled(Vec<(u32, DocId)>),
}

impl<'a> MergeOrder<'a> {
    /// The order of a merge.
    pub(crate) fn of(
        readers: &'a [SegmentReader],
        mapping: &SegmentDocIdMapping,
    ) -> Result<MergeOrder<'a>, TantivyError> {
        match mapping.mapping_type() {
            MappingType::Stacked | MappingType::StackedWithDeletes => Ok(MergeOrder::Stacked(readers)),
            MappingType::Shuffled => shuffled(readers, mapping).map(MergeOrder::Shuffled),
        }
    }

    /// Number of documents of the merged segment.
    pub(crate) fn max_doc(&self) -> DocId {
        match self {
            MergeOrder::Stacked(readers) => readers.iter().map(SegmentReader::num_docs).sum(),
            MergeOrder::Shuffled(addresses) => addresses.len() as DocId,
        }
    }

    /// Runs `body(new document, source, old document)` in the order of new documents, until it fails.
    pub(crate) fn try_for_each<E>(&self, mut body: impl FnMut(DocId, usize, DocId) -> Result<(), E>) -> Result<(), E> {
        match self {
            MergeOrder::Stacked(readers) => {
                let mut new = 0;
                for (source, reader) in readers.iter().enumerate() {
                    for old in reader.doc_ids_alive() {
                        body(new, source, old)?;
                        new += 1;
                    }
                }
                Ok(())
            }
            MergeOrder::Shuffled(addresses) => addresses
                .iter()
                .enumerate()
                .try_for_each(|(new, &(source, old))| body(new as DocId, source as usize, old)),
        }
    }
}

fn shuffled(readers: &[SegmentReader], mapping: &SegmentDocIdMapping) -> Result<Vec<(u32, DocId)>, TantivyError> {
    let (schema, field) = scratch_schema();
    let mut sources = Vec::with_capacity(readers.len());
    for (source, reader) in readers.iter().enumerate() {
        let mut writer: SingleSegmentIndexWriter = Index::builder()
            .schema(schema.clone())
            .single_segment_index_writer(RamDirectory::create(), SCRATCH_BUDGET)?;
        for old in 0..reader.max_doc() {
            writer.add_document(address(field, source as u32, old))?;
        }
        let index = writer.finalize()?;
        let segments = index.searchable_segments()?;
        let segment = segments.first().ok_or_else(|| unreadable(0))?;
        sources.push(SegmentReader::open(segment)?);
    }
    let target_index = Index::create_in_ram(schema.clone());
    let target = target_index.new_segment();
    FastFieldsPlugin.merge(PluginMergeContext {
        readers: &sources,
        doc_id_mapping: mapping,
        target_segment: &target,
        schema: &schema,
        settings: &IndexSettings::default(),
    })?;
    let column = open_column(target.open_read(SegmentComponent::FastFields)?)?;
    let count = readers.iter().map(SegmentReader::num_docs).sum();
    (0..count).map(|new| read(&column, new)).collect()
}

fn scratch_schema() -> (Schema, Field) {
    let mut schema = Schema::builder();
    let field = schema.add_u64_field(COLUMN, FAST);
    (schema.build(), field)
}

fn address(field: Field, source: u32, old: DocId) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_u64(field, u64::from(source) << 32 | u64::from(old));
    document
}

fn open_column(file: FileSlice) -> Result<Column<u64>, TantivyError> {
    let columns = ColumnarReader::open(file)?;
    let column = columns.read_columns(COLUMN)?.first().map(|handle| handle.open_u64_lenient()).transpose()?.flatten();
    column.ok_or_else(|| unreadable(0))
}

fn read(column: &Column<u64>, new: DocId) -> Result<(u32, DocId), TantivyError> {
    let address = column.first(new).ok_or_else(|| unreadable(new))?;
    Ok(((address >> 32) as u32, address as DocId))
}

fn unreadable(new: DocId) -> TantivyError {
    TantivyError::InternalError(format!("the order of the sorted segment is not told for document {new}"))
}
