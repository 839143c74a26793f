//! tantivy's files compared with their checksums, once for each segment.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tantivy::directory::error::OpenReadError;
use tantivy::index::{SegmentId, SegmentMeta};
use tantivy::{Index, TantivyError};

use crate::error::PluginError;
use crate::folder::Home;

/// Files that every segment has. The vectors (`.vec`, `.ann`) have checksums of their own, which `tantivy-dense` compares.
pub(crate) const EXTENSIONS: [&str; 6] = ["term", "idx", "pos", "store", "fast", "fieldnorm"];

/// Compares each segment's files with the checksums that tantivy wrote at their ends, when the segment is first seen. tantivy itself
/// compares none, so that a flipped bit in `.fieldnorm` would change the order of hits and say nothing.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    /// Segments whose files are as they were written; `None`: nothing is compared.
    verified: Option<Mutex<HashSet<SegmentId>>>,
}

impl Checksums {
    pub(super) fn new(verify: bool) -> Self {
        Self { verified: verify.then(Default::default) }
    }

    /// Reads the files of segments that were not seen before.
    ///
    /// # Errors
    /// [`PluginError::Damaged`] with the first file that is not what was written.
    pub(super) fn verify(&self, home: &Home, index: &Index) -> Result<(), PluginError> {
        let Some(verified) = &self.verified else { return Ok(()) };
        let mut verified = verified.lock().unwrap_or_else(PoisonError::into_inner);
        let metas = index.searchable_segment_metas()?;
        for meta in metas.iter().filter(|meta| !verified.contains(&meta.id())) {
            verify_segment(home, index, meta)?;
        }
        *verified = metas.iter().map(SegmentMeta::id).collect();
        Ok(())
    }
}

fn verify_segment(home: &Home, index: &Index, meta: &SegmentMeta) -> Result<(), PluginError> {
    let id = meta.id().uuid_string();
    let deleted = meta.has_deletes().then(|| meta.delete_opstamp()).flatten().map(|stamp| format!("{id}.{stamp}.del"));
    for name in EXTENSIONS.iter().map(|extension| format!("{id}.{extension}")).chain(deleted) {
        let damaged = |problem| Err(PluginError::Damaged { path: home.file(&name), problem });
        match index.directory().validate_checksum(Path::new(&name)) {
            Ok(true) => {}
            Ok(false) => return damaged("its checksum is wrong: it is not what was written".to_owned()),
            // A merge has replaced the segment since, or the reader says what is missing.
            Err(OpenReadError::FileDoesNotExist(_)) => {}
            Err(fault @ OpenReadError::IoError { .. }) => {
                return match TantivyError::from(fault).into() {
                    // Of a footer that cannot be read.
                    PluginError::Io { cause, .. } => damaged(cause.to_string()),
                    other => Err(other),
                };
            }
            Err(fault) => return damaged(fault.to_string()),
        }
    }
    Ok(())
}
