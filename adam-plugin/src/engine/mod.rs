//! One index: its folder, its fields, its model.

mod analysis;
mod builder;
mod checksums;
mod chunked;
mod delete;
mod document;
mod expand;
mod export;
mod fold;
pub mod gather;
mod ids;
mod known_names;
mod language;
mod merge;
mod metadata;
#[cfg(feature = "onnx")]
mod model;
mod order;
mod own;
mod refine;
mod request;
mod response;
mod schema;
mod search;
mod segment;
mod snippets;
mod vector;
mod warnings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::TextEncoder;
use tantivy::collector::Count;
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy::{Index, IndexReader, IndexWriter, SegmentReader};
use tantivy_dense::Dense;

pub(crate) use analysis::runs_together;
pub use builder::EngineBuilder;
pub(crate) use checksums::EXTENSIONS;
#[cfg(test)]
pub(crate) use document::owned_object;
pub use document::{Document, MAX_ID_CHARS, check_id, check_metadata};
pub use export::ExportedRow;
pub use known_names::{MetadataName, MetadataNames};
pub use language::Language;
pub(crate) use language::{of_query, renewed, stems};
pub use refine::{
    Boost, BoostFunction, Combination, Direction, Example, Facet, Grouping, MAX_DEEP_HITS, NumberOrText, Sorting,
};
pub use request::{FusionName, MAX_HITS, Mode, SearchRequest, WEIGHT};
pub use response::{ArmScore, FacetCounts, FacetValue, Hit, HitGroup, SearchResponse, Snippet};
#[cfg(test)]
pub(crate) use schema::metadata_options;
pub use vector::{MAX_VALUE, check_vector};

use crate::error::PluginError;
use crate::folder::{Contents, Home};
use crate::manifest::Manifest;
use crate::rerank::Reranker;
use crate::shards::SHARDS_FILE;
use crate::writer::{Embedding, EmbeddingWriter, WriterSettings};
use checksums::Checksums;
use known_names::KnownNames;
use schema::Fields;

/// An open index with its pinned model. Searches need `&self` only.
pub struct Engine {
    path: PathBuf,
    dense: Dense,
    index: Index,
    reader: IndexReader,
    manifest: Manifest,
    fields: Fields,
    encoder: Option<Arc<dyn TextEncoder>>,
    reranker: Option<Arc<Reranker>>,
    folder: Home,
    created: Option<Creation>,
    names: KnownNames,
    checksums: Checksums,
    synonyms: expand::SynonymTables,
}

/// What this engine created, and so may remove again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Creation {
    /// The folder, and not only the index in it.
    with_folder: bool,
}

impl Engine {
    /// Whether a folder holds an index of adam.
    ///
    /// # Errors
    /// When the folder cannot be looked into.
    pub fn exists(path: impl AsRef<Path>) -> Result<bool, PluginError> {
        let path = path.as_ref();
        Ok(path.join(SHARDS_FILE).is_file() || Contents::of(path)? == Contents::Index)
    }

    /// Removes the index if this engine made it and nothing was committed to it since by any program; says whether it did. The
    /// engine's writer must have been dropped. For a program whose first run failed: the next one is free to begin otherwise.
    ///
    /// # Errors
    /// When a file cannot be removed, or another writer has begun.
    pub fn remove_if_new(&self) -> Result<bool, PluginError> {
        let Some(created) = self.created else { return Ok(false) };
        let _lock = self.folder.lock()?;
        if self.index.load_metas()?.opstamp > 0 {
            return Ok(false);
        }
        self.folder.writable()?.remove(created.with_folder)?;
        Ok(true)
    }

    /// Gives an open engine a re-ranker, as [`EngineBuilder::reranker`].
    #[must_use]
    pub fn with_reranker(mut self, reranker: Arc<Reranker>) -> Self {
        self.reranker = Some(reranker);
        self
    }

    /// The re-ranker, where one was given.
    pub fn reranker(&self) -> Option<&Reranker> {
        self.reranker.as_deref()
    }

    /// Gives an engine that was opened without its model that model. For programs that look into an index before they open a model;
    /// otherwise see [`EngineBuilder::encoder`].
    ///
    /// # Errors
    /// When it is not the model that the index was made with.
    pub fn with_encoder(mut self, encoder: Arc<dyn TextEncoder>) -> Result<Self, PluginError> {
        self.manifest.model.check(&self.path, encoder.as_ref())?;
        self.encoder = Some(encoder);
        Ok(self)
    }

    /// A writer that makes vectors. Documents are replaced by key; unchanged ones are left as they are.
    ///
    /// # Errors
    /// When the index is being written to already, or the engine has no model.
    pub fn writer(&self, memory: usize, settings: WriterSettings) -> Result<EmbeddingWriter, PluginError> {
        let encoder = self.need_encoder("writing documents")?;
        let writer = self.index_writer(memory)?;
        let mut embedding = Embedding::new(self.fields.vector.clone(), self.manifest.layout.template.parse()?);
        if let Some(chunking) = self.manifest.layout.chunks {
            embedding = embedding.chunks(chunking);
        }
        let settings = settings
            .key(self.manifest.layout.key.clone())
            .skip_unchanged(true)
            .folder(self.folder.writable()?)
            .reopen(move |index| index.writer(memory));
        EmbeddingWriter::new(&self.dense, writer, encoder, vec![embedding], settings)
    }

    /// tantivy's writer of the index.
    fn index_writer(&self, memory: usize) -> Result<IndexWriter, PluginError> {
        let folder = self.folder.writable()?;
        let writer = self.index.writer(memory).map_err(|fault| match fault.into() {
            PluginError::Locked { .. } => folder.locked(),
            fault => fault,
        })?;
        folder.forget_fault();
        Ok(writer)
    }

    /// The term that names a document, for deleting it by [`EmbeddingWriter::delete_term`].
    pub fn key_term(&self, id: &str) -> tantivy::Term {
        tantivy::Term::from_field_text(self.fields.key, id)
    }

    /// Shows searches at once what was committed since the last call; without it they see it a moment later.
    ///
    /// # Errors
    /// tantivy's, and about files that cannot be read.
    pub fn reload(&self) -> Result<(), PluginError> {
        self.check_folder()?;
        self.dense.reload(&self.index, &self.reader)?;
        // What this engine wrote itself is not read again.
        if self.folder.is_own() { Ok(()) } else { self.checksums.verify(&self.folder, &self.index) }
    }

    /// Refuses an index whose folder is not the one that was opened any more: moved, deleted, replaced, with another manifest, or
    /// written to after its lock was deleted. Searches and lookups begin with it; it costs a look at two or three names.
    ///
    /// An engine that has only read follows a folder that was put in the place of its own, if that has the same model and fields:
    /// the index in a newer state. One that has written does not: what it wrote is not there.
    ///
    /// # Errors
    /// [`PluginError::FolderChanged`], and when the folder cannot be looked at.
    pub fn check_folder(&self) -> Result<(), PluginError> {
        match self.folder.check() {
            Err(changed @ PluginError::FolderChanged { .. }) if !self.folder.is_own() => self.follow(changed),
            checked => checked,
        }
    }

    /// Goes over to what was put in the place of the folder, if it is of the same kind.
    fn follow(&self, changed: PluginError) -> Result<(), PluginError> {
        let Ok((index, folder)) = Home::open_index(self.folder.path(), &Dense::new()) else {
            return Err(changed);
        };
        let same = folder.manifest().is_some_and(|manifest| manifest.is_compatible(&self.manifest));
        if !same || index.schema() != self.index.schema() {
            return Err(changed);
        }
        self.folder.adopt(&folder)?;
        tracing::info!(index = %self.path.display(), "follows the folder that was put in the place of the old one");
        Ok(self.dense.reload(&self.index, &self.reader)?)
    }

    /// Weight of the vectors in hybrid searches that name none: what the training of the index's model chose on held-out queries
    /// (`adam_export.json` in the model's folder, read when the index is made), else [`WEIGHT`].
    pub fn hybrid_weight(&self) -> f32 {
        self.manifest.model.hybrid_weight.unwrap_or(WEIGHT)
    }

    /// Documents that searches see.
    pub fn num_docs(&self) -> u64 {
        let searcher = self.reader.searcher();
        let Some(chunks) = self.fields.chunks else { return searcher.num_docs() };
        // Only first chunks count as documents.
        let documents = TermQuery::new(chunks.documents(), IndexRecordOption::Basic);
        searcher.search(&documents, &Count).map_or(0, |count| count as u64)
    }

    /// The segments that searches see.
    pub(crate) fn segment_readers(&self) -> Vec<SegmentReader> {
        self.reader.searcher().segment_readers().to_vec()
    }

    /// The index's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model and the layout.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The tantivy index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The language of its text; `None` where it has fields of its own, as an imported index does.
    pub fn language(&self) -> Option<Language> {
        schema::own_content(&self.index.schema()).map(|(_, language)| language)
    }

    /// The field that is made of a document's title and text, where there is one.
    pub(crate) fn made_field(&self) -> Option<tantivy::schema::Field> {
        schema::own_content(&self.index.schema()).map(|(field, _)| field)
    }

    /// The vectors of the index.
    pub fn dense(&self) -> &Dense {
        &self.dense
    }

    /// The model, if it was opened.
    pub fn encoder(&self) -> Option<&Arc<dyn TextEncoder>> {
        self.encoder.as_ref()
    }

    /// The model, for a task that does not work without it.
    fn need_encoder(&self, task: &'static str) -> Result<Arc<dyn TextEncoder>, PluginError> {
        self.encoder.clone().ok_or_else(|| PluginError::NoModel { task, model: self.manifest.model.name.clone() })
    }
}
