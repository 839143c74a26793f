//! All documents of an index with their vectors, for other programs.

use tantivy::schema::Value;
use tantivy::{DocAddress, Searcher, TantivyDocument};

use super::Engine;
use super::chunked::ChunkColumns;
use super::document::Document;
use crate::error::PluginError;
use crate::lookup::documents_with;

/// Blocks of stored documents kept in memory while reading.
const CACHED_BLOCKS: usize = 16;

/// A document, or a chunk of one.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedRow {
    /// Title, text and metadata of the document, with the vector that the index has of it. Of a chunk, the text is the chunk's.
    pub document: Document,
    /// Which chunk of the document it is, from 0; none in an index without chunks.
    pub chunk: Option<u64>,
}

impl Engine {
    /// Calls `take` with every document, in the order in which they lie: those of one commit. Documents of an index with chunks come
    /// chunk by chunk. No model is needed. Gives the number of rows.
    ///
    /// # Errors
    /// What `take` gives, and when a document cannot be read.
    pub fn export<E: From<PluginError>>(&self, mut take: impl FnMut(ExportedRow) -> Result<(), E>) -> Result<u64, E> {
        self.check_folder()?;
        let searcher = self.reader.searcher();
        let mut rows = 0;
        for (ordinal, segment) in (0u32..).zip(searcher.segment_readers()) {
            let store = segment
                .get_store_reader(CACHED_BLOCKS)
                .map_err(|fault| PluginError::from(tantivy::TantivyError::from(fault)))?;
            for number in segment.doc_ids_alive() {
                let stored: TantivyDocument = store.get(number).map_err(PluginError::from)?;
                // A further chunk comes with its document.
                let Some(id) = stored.get_first(self.fields.key).and_then(|value| value.as_str()).map(str::to_owned)
                else {
                    continue;
                };
                for row in self.rows_of(&searcher, DocAddress::new(ordinal, number), id, stored)? {
                    take(row)?;
                    rows += 1;
                }
            }
        }
        Ok(rows)
    }

    fn rows_of(
        &self,
        searcher: &Searcher,
        address: DocAddress,
        id: String,
        mut stored: TantivyDocument,
    ) -> Result<Vec<ExportedRow>, PluginError> {
        self.add_columns(searcher, address, &mut stored)?;
        let embedded = self.fields.chunks.is_some().then(|| self.fields.template.render(&stored).unwrap_or_default());
        let document = self.read(id, &stored);
        let (Some(chunks), Some(embedded)) = (self.fields.chunks, embedded) else {
            let vector = self.dense.vector(searcher, &self.fields.vector, address)?;
            return Ok(vec![ExportedRow { document: Document { vector, ..document }, chunk: None }]);
        };
        let columns = ChunkColumns::new(searcher);
        let mut rows = Vec::new();
        for chunk in documents_with(searcher, &chunks.all_of(&document.id))? {
            let (range, number) = (columns.range(chunk)?, columns.part(chunk)?);
            // A document that could not be embedded has no chunks, and so all of its text.
            let text = embedded
                .get(range)
                .filter(|piece| !piece.is_empty())
                .map_or_else(|| document.text.clone(), str::to_owned);
            let vector = self.dense.vector(searcher, &self.fields.vector, chunk)?;
            rows.push(ExportedRow { document: Document { text, vector, ..document.clone() }, chunk: Some(number) });
        }
        rows.sort_by_key(|row| row.chunk);
        Ok(rows)
    }
}
