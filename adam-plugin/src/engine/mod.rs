//! One index: its folder, its fields, its model.

mod analysis;
mod chunked;
mod delete;
mod document;
mod ids;
mod language;
mod metadata;
mod model;
mod own;
mod schema;
mod search;
mod vector;
mod warnings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{EncoderOptions, SentenceEncoder, TextEncoder};
use tantivy::collector::Count;
use tantivy::query::TermQuery;
use tantivy::schema::{IndexRecordOption, Schema};
use tantivy::{Index, IndexReader, SegmentReader};
use tantivy_dense::{Dense, DenseOptions, Device};

#[cfg(test)]
pub(crate) use document::owned_object;
pub use document::{Document, check_metadata};
pub use language::Language;
pub(crate) use language::{of_query, renewed};
pub use metadata::{MetadataName, MetadataNames};
#[cfg(test)]
pub(crate) use schema::metadata_options;
pub use search::{ArmScore, FusionName, Hit, MAX_HITS, Mode, SearchRequest, SearchResponse, Snippet, WEIGHT};
pub use vector::{MAX_VALUE, check_vector};

use crate::card::{Card, Layout, PinnedModel};
use crate::chunk::Chunking;
use crate::error::PluginError;
use crate::folder::{Contents, IndexFolder};
use crate::rerank::Reranker;
use crate::writer::{Embedding, EmbeddingWriter, WriterSettings};
use schema::Fields;

/// An open index with its pinned model. Searches need `&self` only.
pub struct Engine {
    path: PathBuf,
    dense: Dense,
    index: Index,
    reader: IndexReader,
    card: Card,
    fields: Fields,
    encoder: Option<Arc<dyn TextEncoder>>,
    reranker: Option<Arc<Reranker>>,
    folder: IndexFolder,
    made: Option<Made>,
    names: metadata::KnownNames,
}

/// What this engine made, and so may remove again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Made {
    /// The folder, and not only the index in it.
    with_folder: bool,
}

/// What a new index is like. `None` leaves it to the index where there is one, and to the default where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// The language of the text. English by default.
    pub language: Option<Language>,
    /// How long documents are cut into chunks, each with a vector of its own: a document is as near to a query as its nearest
    /// chunk, and a hit says which one that is. By default they are not cut.
    pub chunks: Option<Chunking>,
}

impl Engine {
    /// Opens the index in a folder for this model, or makes one where there is none.
    ///
    /// # Errors
    /// When the folder holds something else, or an index of another model; when it cannot be written.
    pub fn open_or_create(path: &Path, encoder: Arc<dyn TextEncoder>, model: PinnedModel) -> Result<Self, PluginError> {
        Self::open_or_create_as(path, encoder, model, IndexOptions::default())
    }

    /// As [`Engine::open_or_create`], with options for an index that is made.
    ///
    /// # Errors
    /// As [`Engine::open_or_create`], and when the index there was made with others.
    pub fn open_or_create_as(
        path: &Path,
        encoder: Arc<dyn TextEncoder>,
        model: PinnedModel,
        options: IndexOptions,
    ) -> Result<Self, PluginError> {
        if let Some(chunking) = options.chunks {
            chunking.check()?;
        }
        let schema = schema::schema(encoder.dimension(), options.language.unwrap_or_default(), options.chunks)?;
        let engine = Self::open_or_create_with(path, encoder, model, schema, schema::layout(options.chunks))?;
        engine.check_options(options)?;
        Ok(engine)
    }

    fn check_options(&self, wanted: IndexOptions) -> Result<(), PluginError> {
        let refuse = |name, wanted: String, there: String| {
            let index = self.path.display();
            let problem = format!("is {wanted}, and the index {index} {there}; leave it out, or make a new index");
            Err(PluginError::Setting { name, problem })
        };
        if let Some(chunking) = wanted.chunks
            && self.card.layout.chunks != Some(chunking)
        {
            let said = |Chunking { tokens, overlap }| format!("{tokens} tokens that overlap by {overlap}");
            let there = match self.card.layout.chunks {
                Some(chunking) => format!("cuts documents into chunks of {}", said(chunking)),
                None => "cuts documents not at all".to_owned(),
            };
            return refuse("chunks", said(chunking), there);
        }
        if let Some(language) = wanted.language
            && self.language() != Some(language)
        {
            let there = match self.language() {
                Some(language) => format!("was made for {language}"),
                None => "has fields of its own, with their own analysers".to_owned(),
            };
            return refuse("language", language.to_string(), there);
        }
        Ok(())
    }

    /// As [`Engine::open_or_create`], with a schema and layout of the caller's own for an index that is made. The schema
    /// holds the layout's fields, the vector field among them, and [`HashFields`](crate::HashFields).
    ///
    /// # Errors
    /// As [`Engine::open_or_create`], and when the schema has not the fields that the layout names.
    pub fn open_or_create_with(
        path: &Path,
        encoder: Arc<dyn TextEncoder>,
        model: PinnedModel,
        schema: Schema,
        layout: Layout,
    ) -> Result<Self, PluginError> {
        Fields::of(&schema, &layout)?;
        let contents = Contents::of(path)?;
        contents.check_free(path)?;
        let (dense, index, folder, made) = if contents == Contents::Index {
            let (dense, index, folder) = Self::open_folder(path, Dense::new())?;
            (dense, index, folder, None)
        } else {
            Self::create(path, model, schema, layout)?
        };
        let card = folder.card().ok_or_else(|| not_an_index(path))?;
        card.model.check(path, encoder.as_ref())?;
        Ok(Self { made, ..Self::assemble(path, dense, index, folder, card, Some(encoder))? })
    }

    /// Makes an index in a folder that holds none, unless another process was faster: then it is opened.
    fn create(
        path: &Path,
        model: PinnedModel,
        schema: Schema,
        layout: Layout,
    ) -> Result<(Dense, Index, IndexFolder, Option<Made>), PluginError> {
        let made = Made { with_folder: !path.exists() };
        durable::create_folders(path).map_err(|source| PluginError::io("make", path, source))?;
        let folder = IndexFolder::open(path)?;
        let lock = folder.lock()?;
        let contents = Contents::of(path)?;
        contents.check_free(path)?;
        if contents == Contents::Index {
            drop(lock);
            let (dense, index, folder) = Self::open_folder(path, Dense::new())?;
            return Ok((dense, index, folder, None));
        }
        // First the card, then the index: one that is torn between is finished by the next call.
        folder.write_card(&Card::new(model, layout))?;
        let dense = Dense::new();
        let index = dense.index_builder().schema(schema).open_or_create(folder.clone())?;
        Ok((dense, index, folder, Some(made)))
    }

    fn open_folder(path: &Path, dense: Dense) -> Result<(Dense, Index, IndexFolder), PluginError> {
        Contents::of(path)?.check_index(path)?;
        let folder = IndexFolder::open(path)?;
        let index = dense.open_index(folder.clone())?;
        Ok((dense, index, folder))
    }

    /// Whether a folder holds an index of adam.
    ///
    /// # Errors
    /// When the folder cannot be looked into.
    pub fn exists(path: &Path) -> Result<bool, PluginError> {
        Ok(Contents::of(path)? == Contents::Index)
    }

    /// Removes the index if this engine made it and nothing was committed to it since, by whomever; says whether it did. The
    /// engine's writer must have been dropped. For a program whose first run failed: the next one is free to begin otherwise.
    ///
    /// # Errors
    /// When a file cannot be removed, or another writer has begun.
    pub fn remove_if_new(&self) -> Result<bool, PluginError> {
        let Some(made) = self.made else { return Ok(false) };
        let _lock = self.folder.lock()?;
        if self.index.load_metas()?.opstamp > 0 {
            return Ok(false);
        }
        self.folder.remove(made.with_folder)?;
        Ok(true)
    }

    /// Opens an index without its model: searches by words work, others say that they need it.
    ///
    /// # Errors
    /// When the folder is no index of `adam`.
    pub fn open(path: &Path) -> Result<Self, PluginError> {
        let (dense, index, folder) = Self::open_folder(path, Dense::new())?;
        let card = folder.card().ok_or_else(|| not_an_index(path))?;
        Self::assemble(path, dense, index, folder, card, None)
    }

    fn assemble(
        path: &Path,
        dense: Dense,
        index: Index,
        folder: IndexFolder,
        card: Card,
        encoder: Option<Arc<dyn TextEncoder>>,
    ) -> Result<Self, PluginError> {
        Language::register_all(&index);
        let fields = Fields::of(&index.schema(), &card.layout)?;
        let reader = dense.reader(&index)?;
        let path = path.to_path_buf();
        Ok(Self {
            path,
            dense,
            index,
            reader,
            card,
            fields,
            encoder,
            reranker: None,
            folder,
            made: None,
            names: Default::default(),
        })
    }

    /// Gives the engine a re-ranker, for searches that ask for one.
    #[must_use]
    pub fn with_reranker(mut self, reranker: Arc<Reranker>) -> Self {
        self.reranker = Some(reranker);
        self
    }

    /// The re-ranker, where one was given.
    pub fn reranker(&self) -> Option<&Reranker> {
        self.reranker.as_deref()
    }

    /// Lets vectors be compared on a device, see [`Device`]. Where it cannot be used searches run on the processor as before, and
    /// their reports say why.
    ///
    /// # Errors
    /// Opens the index again, and so those of [`Engine::open`].
    pub fn with_device(self, device: Device) -> Result<Self, PluginError> {
        let dense = Dense::with_options(DenseOptions::default().device(device));
        let index = dense.open_index(self.folder.clone())?;
        let engine = Self::assemble(&self.path, dense, index, self.folder, self.card, self.encoder)?;
        Ok(Self { reranker: self.reranker, made: self.made, ..engine })
    }

    /// Gives the engine its model.
    ///
    /// # Errors
    /// When it is not the one the index was made with.
    pub fn with_encoder(mut self, encoder: Arc<dyn TextEncoder>) -> Result<Self, PluginError> {
        self.card.model.check(&self.path, encoder.as_ref())?;
        self.encoder = Some(encoder);
        Ok(self)
    }

    /// Opens the model the index was made with, from where it was then or from `folder`.
    ///
    /// # Errors
    /// When it is not there any more, or is another.
    pub fn with_pinned_encoder(self, folder: Option<&Path>, options: &EncoderOptions) -> Result<Self, PluginError> {
        let encoder = self.pinned_encoder(folder, options)?;
        self.with_encoder(Arc::new(encoder))
    }

    /// The model the index was made with, from where it was then or from `folder`.
    ///
    /// # Errors
    /// When it is not there any more, or cannot be opened.
    pub fn pinned_encoder(
        &self,
        folder: Option<&Path>,
        options: &EncoderOptions,
    ) -> Result<SentenceEncoder, PluginError> {
        self.card.model.open(&self.path, folder, options)
    }

    /// A writer that embeds on the way. Documents are replaced by key, and left alone where nothing changed.
    ///
    /// # Errors
    /// When the index is being written to already, or the engine has no model.
    pub fn writer(&self, memory: usize, settings: WriterSettings) -> Result<EmbeddingWriter, PluginError> {
        self.writer_with(self.encoder("writing documents")?, memory, settings)
    }

    fn writer_with(
        &self,
        encoder: Arc<dyn TextEncoder>,
        memory: usize,
        settings: WriterSettings,
    ) -> Result<EmbeddingWriter, PluginError> {
        let writer = self.index.writer(memory).map_err(|fault| match fault.into() {
            PluginError::Locked { .. } => self.folder.locked(),
            fault => fault,
        })?;
        let mut embedding = Embedding::new(self.fields.vector.clone(), self.card.layout.template.parse()?);
        if let Some(chunking) = self.card.layout.chunks {
            embedding = embedding.chunks(chunking);
        }
        self.folder.forget_fault();
        let settings = settings
            .key(self.card.layout.key.clone())
            .skip_unchanged(true)
            .folder(&self.folder)
            .reopen(move |index| index.writer(memory));
        EmbeddingWriter::new(&self.dense, writer, encoder, vec![embedding], settings)
    }

    /// The term that names a document, for deleting it by [`EmbeddingWriter::delete_term`].
    pub fn key_term(&self, id: &str) -> tantivy::Term {
        tantivy::Term::from_field_text(self.fields.key, id)
    }

    /// Makes what was committed since the last call visible to searches at once; they see it within a moment anyway.
    ///
    /// # Errors
    /// tantivy's, and about files that cannot be read.
    pub fn reload(&self) -> Result<(), PluginError> {
        self.check_folder()?;
        Ok(self.dense.reload(&self.index, &self.reader)?)
    }

    /// Refuses an index whose folder is not the one that was opened any more: moved, deleted, replaced, with another card, or
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
        let Ok((_, index, folder)) = Self::open_folder(self.folder.path(), Dense::new()) else { return Err(changed) };
        let same = folder.card().is_some_and(|card| card.is_compatible(&self.card));
        if !same || index.schema() != self.index.schema() {
            return Err(changed);
        }
        self.folder.adopt(&folder)?;
        tracing::info!(index = %self.path.display(), "follows the folder that was put in the place of the old one");
        Ok(self.dense.reload(&self.index, &self.reader)?)
    }

    /// Documents that searches see.
    pub fn documents(&self) -> u64 {
        let searcher = self.reader.searcher();
        let Some(chunks) = self.fields.chunks else { return searcher.num_docs() };
        // Further chunks of a document are none.
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
    pub fn card(&self) -> &Card {
        &self.card
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

    /// The model.
    ///
    /// # Errors
    /// When none was opened; `what` needs it.
    pub fn encoder(&self, what: &'static str) -> Result<Arc<dyn TextEncoder>, PluginError> {
        self.encoder.clone().ok_or_else(|| PluginError::NoModel { what, model: self.card.model.name.clone() })
    }
}

/// Of a folder whose card was taken away while it was opened.
fn not_an_index(path: &Path) -> PluginError {
    PluginError::NotAnIndex { path: path.to_path_buf(), problem: format!("it holds no {}", crate::CARD_FILE) }
}
