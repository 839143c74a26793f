//! Taking documents out of an index.

use std::sync::Arc;

use adam_encoder::{EncoderError, TextEncoder, TextKind};
use tantivy::query::Query;

use super::Engine;
use crate::card::PinnedModel;
use crate::error::PluginError;
use crate::filter::{Filter, all_of};
use crate::writer::WriterSettings;

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
        let matching = self.query_for_deletion(filters)?;
        let absent = Arc::new(Absent(self.card.model.clone()));
        let mut writer = self.writer_with(absent, MEMORY, WriterSettings::default())?;
        // Both counts while nobody else can write.
        let before = self.documents_now()?;
        for id in ids {
            writer.delete_term(self.key_term(id))?;
        }
        if let Some(query) = matching {
            writer.delete_query(query)?;
        }
        writer.commit()?;
        let after = self.documents_now()?;
        writer.wait_merging_threads()?;
        Ok(before.saturating_sub(after))
    }

    fn documents_now(&self) -> Result<u64, PluginError> {
        self.reload()?;
        Ok(self.documents())
    }

    /// The documents that match all of the filters, as a query by which all of their chunks are deleted; none without filters.
    ///
    /// # Errors
    /// When a filter does not fit the index, or would find only the first of a document's chunks.
    pub(crate) fn query_for_deletion(&self, filters: &[Filter]) -> Result<Option<Box<dyn Query>>, PluginError> {
        let (schema, layout) = (self.index.schema(), &self.card.layout);
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

/// In the place of the model where nothing is embedded.
struct Absent(PinnedModel);

impl TextEncoder for Absent {
    fn dimension(&self) -> usize {
        self.0.dimension
    }

    fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    fn name(&self) -> &str {
        &self.0.name
    }

    fn encode(&self, _: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        Err(EncoderError::Name {
            name: self.0.name.clone(),
            problem: "is not open: this writer only deletes".to_owned(),
        })
    }
}
