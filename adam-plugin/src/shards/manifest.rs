//! What a shard was made of.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::placement::{Part, Placement};
use crate::error::PluginError;
use crate::signed;

/// The file in a shard's folder. tantivy leaves names with a dot alone.
pub(super) const FILE: &str = ".shard.json";

const VERSION: u32 = 1;

/// Most bytes of it that are read.
const MAX_SIZE: u64 = 1 << 16;

/// What a shard was made of. The same rows, model and options give the same bytes, whoever makes it and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardManifest {
    version: u32,
    /// Which shard of how many.
    pub part: Part,
    /// How documents are placed.
    pub placement: Placement,
    /// The job: a digest of input, model and options.
    pub job: String,
    /// Fingerprint of the model.
    pub model: String,
    /// Documents in it.
    pub documents: u64,
    /// Bytes of their keys, texts and metadata.
    pub bytes: u64,
    /// SHA-256 of its documents, in the order of the input.
    pub content: String,
}

impl ShardManifest {
    pub(super) fn new(part: Part, placement: Placement, job: &str, model: &str, content: &super::Content) -> Self {
        Self {
            version: VERSION,
            part,
            placement,
            job: job.to_owned(),
            model: model.to_owned(),
            documents: content.documents(),
            bytes: content.bytes(),
            content: content.sha256(),
        }
    }

    /// Reads the manifest of a shard; `None` where the folder has none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or was written by a later version.
    pub fn read(shard: impl AsRef<Path>) -> Result<Option<Self>, PluginError> {
        signed::read(&shard.as_ref().join(FILE), "the manifest of the shard", VERSION, MAX_SIZE)
    }

    pub(super) fn write(&self, shard: &Path) -> Result<(), PluginError> {
        signed::write(&shard.join(FILE), self)
    }
}
