//! What a caller may choose about an embedding writer.

use std::time::Duration;

use tantivy::{Index, IndexWriter};
use tantivy_dense::VectorField;

use crate::chunk::Chunking;
use crate::error::{PluginError, UnknownName};
use crate::folder::IndexFolder;
use crate::template::Template;

/// Longest time a batch may wait for more documents.
const MAX_LINGER: Duration = Duration::from_secs(3600);

/// Which text of a document goes into which vector field.
#[derive(Debug, Clone)]
pub struct Embedding {
    pub(super) destination: VectorField,
    pub(super) template: Template,
    pub(super) chunks: Option<Chunking>,
}

impl Embedding {
    /// The text that `template` makes of a document is embedded into `destination`. What the model does not read of it is
    /// cut off.
    pub fn new(destination: VectorField, template: Template) -> Self {
        Self { destination, template, chunks: None }
    }

    /// Cut long texts into chunks with a vector each, in place of cutting them off. Needs a text field as the key, and the
    /// fields of [`ChunkFields`](crate::ChunkFields); a writer with chunks has no other embedding.
    #[must_use]
    pub fn chunks(mut self, chunking: Chunking) -> Self {
        self.chunks = Some(chunking);
        self
    }
}

/// What happens to a document whose text the model cannot embed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The writer stops; the commit fails and says which document it was.
    #[default]
    Fail,
    /// The document is left out, and listed in [`take_failures`](crate::EmbeddingWriter::take_failures).
    Skip,
    /// The document is indexed without its vectors, so that text finds it, and listed.
    TextOnly,
}

impl std::str::FromStr for OnFailure {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALL: [OnFailure; 3] = [OnFailure::Fail, OnFailure::Skip, OnFailure::TextOnly];
        UnknownName::find("policy", text, &["fail", "skip", "text-only"]).map(|position| ALL[position])
    }
}

/// A document that could not be embedded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its key.
    pub document: String,
    /// What the model or the vector field said.
    pub problem: String,
}

/// The progress of a writer. Documents count once they are handed to tantivy or left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Documents dealt with, in whatever way.
    pub documents: u64,
    /// Texts that went through the model.
    pub encoded: u64,
    /// Documents left as they are in the index, since nothing had changed.
    pub unchanged: u64,
    /// Documents written anew with the vectors they had, since the embedded text had not changed.
    pub reused: u64,
    /// Documents that failed and were left out or indexed as text only.
    pub failed: u64,
    /// Documents without any text to embed and without a vector of their own, so that no search by vectors finds them. They count
    /// when they come in.
    pub without_text: u64,
}

/// Called after each batch, in the writer's thread.
pub(super) type ProgressCallback = Box<dyn FnMut(Progress) + Send>;

/// Opens a writer of an index, in the writer's thread.
pub(super) type Reopen = Box<dyn FnMut(&Index) -> tantivy::Result<IndexWriter> + Send>;

/// Memory of a fresh writer, unless told otherwise, in bytes.
const REOPEN_MEMORY: usize = 128 << 20;

/// Settings of an [`EmbeddingWriter`](crate::EmbeddingWriter).
pub struct WriterSettings {
    pub(super) batch: usize,
    pub(super) queue: usize,
    pub(super) linger: Duration,
    pub(super) on_failure: OnFailure,
    pub(super) key: Option<String>,
    pub(super) skip_unchanged: bool,
    pub(super) progress: Option<ProgressCallback>,
    pub(super) folder: Option<IndexFolder>,
    pub(super) reopen: Reopen,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self {
            batch: 256,
            queue: 512,
            linger: Duration::from_millis(20),
            on_failure: OnFailure::Fail,
            key: None,
            skip_unchanged: false,
            progress: None,
            folder: None,
            reopen: Box::new(|index| index.writer(REOPEN_MEMORY)),
        }
    }
}

impl WriterSettings {
    /// Documents encoded together. The encoder sorts a batch by length, so larger ones waste less on padding; memory
    /// and the time to the first commit grow with it. Default 256.
    #[must_use]
    pub fn batch(mut self, documents: usize) -> Self {
        self.batch = documents;
        self
    }

    /// Documents that may wait in front of the model; a caller that is ahead by more waits. Default 512.
    #[must_use]
    pub fn queue(mut self, documents: usize) -> Self {
        self.queue = documents;
        self
    }

    /// How long a batch that is not full waits for more documents, an hour at most. Default 20 ms.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// What happens to a document that cannot be embedded. Default: the writer stops.
    #[must_use]
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.on_failure = policy;
        self
    }

    /// The field that tells documents apart, for
    /// [`update_document`](crate::EmbeddingWriter::update_document) and for messages: indexed as one term.
    #[must_use]
    pub fn key(mut self, field: impl Into<String>) -> Self {
        self.key = Some(field.into());
        self
    }

    /// Leave unchanged documents of the index as they are, and keep the vectors of documents whose embedded text is
    /// unchanged. Needs a key and the two fields of [`HashFields`](crate::HashFields).
    #[must_use]
    pub fn skip_unchanged(mut self, on: bool) -> Self {
        self.skip_unchanged = on;
        self
    }

    /// Called after each batch, in the writer's thread.
    #[must_use]
    pub fn progress(mut self, callback: impl FnMut(Progress) + Send + 'static) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// The folder that is written to, which knows what tantivy's errors leave out.
    pub(crate) fn folder(mut self, folder: &IndexFolder) -> Self {
        self.folder = Some(folder.clone());
        self
    }

    /// How a fresh tantivy writer is opened when one is not able to go back to its last commit. By default it gets 128 MiB; a
    /// caller whose writer has other settings, such as a merge policy, says so here.
    #[must_use]
    pub fn reopen(mut self, open: impl FnMut(&Index) -> tantivy::Result<IndexWriter> + Send + 'static) -> Self {
        self.reopen = Box::new(open);
        self
    }

    pub(super) fn check(&self) -> Result<(), PluginError> {
        let limit = 1..=1usize << 20;
        for (name, value) in [("batch", self.batch), ("queue", self.queue)] {
            if !limit.contains(&value) {
                return Err(PluginError::Setting {
                    name,
                    problem: format!("is {value}; it can be from 1 to 1,048,576"),
                });
            }
        }
        if self.linger > MAX_LINGER {
            return Err(PluginError::Setting {
                name: "linger",
                problem: format!("is {:?}; it can be an hour at most, since documents wait that long", self.linger),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let refused = |settings: WriterSettings| settings.check().unwrap_err().to_string();
        assert!(refused(WriterSettings::default().batch(0)).contains("batch"));
        assert!(refused(WriterSettings::default().queue(usize::MAX)).contains("queue"));
        assert!(refused(WriterSettings::default().linger(Duration::MAX)).contains("linger"));
        assert!(WriterSettings::default().linger(MAX_LINGER).check().is_ok());
    }
}
