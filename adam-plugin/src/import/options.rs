//! How an index is brought over.

use crate::chunk::Chunking;

/// Documents between two commits, unless an option says otherwise.
const COMMIT_EVERY: usize = 20_000;

/// Memory of the index writer in bytes, unless an option says otherwise.
const MEMORY: usize = 128 << 20;

/// How an index is brought over by [`import`](super::import).
#[derive(Clone, Debug)]
pub struct ImportOptions {
    pub(super) fields: Vec<String>,
    pub(super) key: Option<String>,
    pub(super) chunks: Option<Chunking>,
    pub(super) write: WriteOptions,
}

/// How a new index is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteOptions {
    pub(super) commit_every: usize,
    pub(super) memory: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { commit_every: COMMIT_EVERY, memory: MEMORY }
    }
}

impl ImportOptions {
    /// Text fields that are embedded and searched by BM25; the first is the title if there are several.
    pub fn new<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self {
        let fields = fields.into_iter().map(Into::into).collect();
        Self { fields, key: None, chunks: None, write: WriteOptions::default() }
    }

    /// The field that names a document: a stored text that is indexed as one term. Default: none, and [`ORIGIN`](super::ORIGIN) is made.
    #[must_use]
    pub fn key(mut self, field: impl Into<String>) -> Self {
        self.key = Some(field.into());
        self
    }

    /// Splits long documents into chunks, each with a vector of its own. Default: one vector a document.
    #[must_use]
    pub fn chunks(mut self, chunking: Chunking) -> Self {
        self.chunks = Some(chunking);
        self
    }

    /// Documents between two commits; an interrupted import continues from the last one. Default: 20,000.
    #[must_use]
    pub fn commit_every(mut self, documents: usize) -> Self {
        self.write.commit_every = documents;
        self
    }

    /// Memory of the index writer, in bytes. Default: 128 MiB.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.write.memory = bytes;
        self
    }
}

/// How an index gets another model by [`reembed`](super::reembed).
#[derive(Clone, Debug, Default)]
pub struct ReembedOptions {
    pub(super) write: WriteOptions,
}

impl ReembedOptions {
    /// Documents between two commits; an interrupted run continues from the last one. Default: 20,000.
    #[must_use]
    pub fn commit_every(mut self, documents: usize) -> Self {
        self.write.commit_every = documents;
        self
    }

    /// Memory of the index writer, in bytes. Default: 128 MiB.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.write.memory = bytes;
        self
    }
}
