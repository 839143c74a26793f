//! All segments as one.

use super::Engine;
use crate::error::PluginError;

impl Engine {
    /// Merges all segments into one and drops what was deleted, with `memory` bytes for the writer. Searches become a little faster, and
    /// BM25 no longer counts deleted documents. It reads and writes the whole index once.
    ///
    /// # Errors
    /// When the index is being written to, or a file cannot be.
    pub fn merge_all(&self, memory: usize) -> Result<(), PluginError> {
        let writer = self.index_writer(memory)?;
        let merge = || -> Result<(), PluginError> {
            self.dense.prepare(&writer)?;
            let segments = self.index.searchable_segment_metas()?;
            if segments.len() > 1 || segments.iter().any(|segment| segment.has_deletes()) {
                let mut writer = writer;
                writer.merge(&segments.iter().map(|segment| segment.id()).collect::<Vec<_>>()).wait()?;
                writer.wait_merging_threads()?;
            }
            Ok(())
        };
        merge().map_err(|fault| self.folder.explain(fault))?;
        self.reload()
    }
}
