//! Deleting documents.

use tantivy::Term;
use tantivy::query::Query;

use super::Engine;
use crate::error::PluginError;
use crate::filter::{Filter, all_of};
use crate::folder::{Home, IndexFolder};
use crate::writer::begin;

/// Memory of a writer that only deletes, in bytes.
const MEMORY: usize = 15_000_000;

impl Engine {
    /// Deletes the documents with these ids, and those that match all of the filters, with all their chunks; commits, and says how
    /// many there were. Needs no model.
    ///
    /// # Errors
    /// When the index is being written to already, a filter does not fit it, or there are neither ids nor filters.
    pub fn delete(&self, ids: &[String], filters: &[Filter]) -> Result<u64, PluginError> {
        if ids.is_empty() && filters.is_empty() {
            return Err(PluginError::Query { problem: "names neither ids nor filters; nothing is deleted".to_owned() });
        }
        let matching = self.deletion_query(filters)?;
        if let Home::Shards(shards) = &self.folder {
            // One after another: a failure leaves those that come later as they are, and the same call goes on with them.
            let each = |shard: &IndexFolder| Engine::open(shard.path())?.delete(ids, filters);
            let deleted = shards.folders().iter().map(each).sum::<Result<u64, PluginError>>()?;
            self.reload()?;
            return Ok(deleted);
        }
        let mut writer = self.index_writer(MEMORY)?;
        begin(&writer)?;
        // Both counts while nobody else can write.
        let before = self.num_docs_now()?;
        let delete = || {
            for id in ids {
                writer.delete_term(self.term_of_chunks(id));
            }
            if let Some(query) = matching {
                writer.delete_query(query)?;
            }
            writer.commit()?;
            Ok(())
        };
        PluginError::guarded("deleting documents", delete).map_err(|fault| self.folder.explain(fault))?;
        let after = self.num_docs_now()?;
        writer.wait_merging_threads()?;
        Ok(before.saturating_sub(after))
    }

    fn num_docs_now(&self) -> Result<u64, PluginError> {
        self.reload()?;
        Ok(self.num_docs())
    }

    /// The term of a document and all of its chunks.
    fn term_of_chunks(&self, id: &str) -> Term {
        self.fields.chunks.map_or_else(|| self.key_term(id), |chunks| chunks.all_of(id))
    }

    /// The documents that match all of the filters, as a query by which all of their chunks are deleted; none without filters.
    ///
    /// # Errors
    /// When a filter does not fit the index, or would find only the first of a document's chunks.
    pub fn deletion_query(&self, filters: &[Filter]) -> Result<Option<Box<dyn Query>>, PluginError> {
        let (schema, layout) = (self.index.schema(), &self.manifest.layout);
        // Of a document in several chunks, only the first would match such a filter, and the others would stay behind.
        if layout.chunks.is_some() && filters.iter().any(|filter| filter.is_of_documents(&schema, &layout.key)) {
            return Err(PluginError::Query {
                problem: "deletes by a text or id field, and this index keeps documents in chunks: delete by ids, or by a filter on \
                          metadata or on a field without text"
                    .to_owned(),
            });
        }
        all_of(filters, &self.index, layout.metadata.as_deref())
    }
}
