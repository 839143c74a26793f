//! The ids of an index's documents.

use tantivy::schema::IndexRecordOption;
use tantivy::termdict::TermMerger;
use tantivy::{DocSet, TERMINATED, TantivyError};

use super::Engine;
use crate::error::PluginError;

impl Engine {
    /// Gives the id of every document that searches see, each once, in the order of their bytes. Reads the terms of the key, no
    /// document.
    ///
    /// # Errors
    /// tantivy's, and those of `body`, which end it.
    pub fn for_each_id(&self, mut body: impl FnMut(&str) -> Result<(), PluginError>) -> Result<(), PluginError> {
        let searcher = self.reader.searcher();
        let inverted = searcher
            .segment_readers()
            .iter()
            .map(|reader| reader.inverted_index(self.fields.key))
            .collect::<tantivy::Result<Vec<_>>>()?;
        let streams: Vec<_> = inverted
            .iter()
            .map(|index| index.terms().stream())
            .collect::<std::io::Result<_>>()
            .map_err(TantivyError::from)?;
        let mut terms = TermMerger::new(streams);
        while terms.advance() {
            let mut alive = false;
            for (ordinal, info) in terms.current_segment_ords_and_term_infos() {
                let mut postings = inverted[ordinal]
                    .read_postings_from_terminfo(&info, IndexRecordOption::Basic)
                    .map_err(TantivyError::from)?;
                while !alive && postings.doc() != TERMINATED {
                    alive = !searcher.segment_reader(ordinal as u32).is_deleted(postings.doc());
                    postings.advance();
                }
            }
            if alive && let Ok(id) = std::str::from_utf8(terms.key()) {
                body(id)?;
            }
        }
        Ok(())
    }
}
