//! One index: its folder, its fields, its model.

mod chunked;
mod schema;
mod search;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{EncoderOptions, Hub, SentenceEncoder, TextEncoder};
use tantivy::collector::Count;
use tantivy::directory::MmapDirectory;
use tantivy::query::TermQuery;
use tantivy::schema::{IndexRecordOption, OwnedValue, Schema, Value};
use tantivy::{Index, IndexReader, TantivyDocument};
use tantivy_dense::{Dense, DenseOptions, Device};

pub use search::{ArmScore, FusionName, Hit, MAX_HITS, Mode, SearchRequest, SearchResponse, Snippet, WEIGHT};

use crate::card::{Card, Layout, PinnedModel};
use crate::chunk::Chunking;
use crate::error::PluginError;
use crate::rerank::Reranker;
use crate::writer::{Embedding, EmbeddingWriter, WriterSettings};
use schema::Fields;

/// A document as `adam` takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Its key: a document with the same one is replaced.
    pub id: String,
    /// Its title, which may be empty.
    pub title: String,
    /// Its text.
    pub text: String,
    /// What can be filtered by: a JSON object.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// Its vector, where somebody made it already with the index's model.
    pub vector: Option<Vec<f32>>,
}

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
}

impl Engine {
    /// Opens the index in a folder for this model, or makes one where there is none.
    ///
    /// # Errors
    /// When the folder holds something else, or an index of another model; when it cannot be written.
    pub fn open_or_create(path: &Path, encoder: Arc<dyn TextEncoder>, model: PinnedModel) -> Result<Self, PluginError> {
        let schema = schema::schema(encoder.dimension(), None)?;
        Self::open_or_create_with(path, encoder, model, schema, schema::layout(None))
    }

    /// As [`Engine::open_or_create`], for an index whose long documents are cut into chunks, each with a vector of its own:
    /// a document is as near to a query as its nearest chunk, and a hit says which one that is.
    ///
    /// # Errors
    /// As [`Engine::open_or_create`], and when the index there is cuts otherwise, or not at all.
    pub fn open_or_create_chunked(
        path: &Path,
        encoder: Arc<dyn TextEncoder>,
        model: PinnedModel,
        chunking: Chunking,
    ) -> Result<Self, PluginError> {
        chunking.check()?;
        let schema = schema::schema(encoder.dimension(), Some(chunking))?;
        let engine = Self::open_or_create_with(path, encoder, model, schema, schema::layout(Some(chunking)))?;
        engine.check_chunks(chunking)?;
        Ok(engine)
    }

    fn check_chunks(&self, wanted: Chunking) -> Result<(), PluginError> {
        let there = match self.card.layout.chunks {
            Some(chunking) if chunking == wanted => return Ok(()),
            Some(Chunking { tokens, overlap }) => format!("into chunks of {tokens} tokens that overlap by {overlap}"),
            None => "not at all".to_owned(),
        };
        Err(PluginError::Setting {
            name: "chunks",
            problem: format!(
                "is {} tokens that overlap by {}, and the index {} cuts documents {there}; leave it out, or make a new index",
                wanted.tokens,
                wanted.overlap,
                self.path.display()
            ),
        })
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
        let occupied = path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        let card = match Card::read(path)? {
            Some(card) => {
                card.model.check(path, encoder.as_ref())?;
                card
            }
            None if occupied => return Err(not_an_index(path)),
            None => {
                std::fs::create_dir_all(path).map_err(|source| PluginError::io("make", path, source))?;
                let card = Card::new(model, layout);
                // First the card, then the index: one that is torn between is finished at the next call.
                card.write(path)?;
                card
            }
        };
        if Index::exists(&MmapDirectory::open(path).map_err(tantivy::TantivyError::from)?)
            .map_err(tantivy::TantivyError::from)?
        {
            let (dense, index) = Dense::open(path)?;
            return Self::assemble(path, dense, index, card, Some(encoder));
        }
        let (dense, index) = Dense::open_or_create(path, schema)?;
        Self::assemble(path, dense, index, card, Some(encoder))
    }

    /// Opens an index without its model: searches by words work, others say that they need it.
    ///
    /// # Errors
    /// When the folder is no index of `adam`.
    pub fn open(path: &Path) -> Result<Self, PluginError> {
        if !path.is_dir() {
            return Err(PluginError::NotAnIndex {
                path: path.to_path_buf(),
                problem: "there is no such folder".to_owned(),
            });
        }
        let card = Card::read(path)?.ok_or_else(|| not_an_index(path))?;
        let (dense, index) = Dense::open(path)?;
        Self::assemble(path, dense, index, card, None)
    }

    fn assemble(
        path: &Path,
        dense: Dense,
        index: Index,
        card: Card,
        encoder: Option<Arc<dyn TextEncoder>>,
    ) -> Result<Self, PluginError> {
        schema::register(&index);
        let fields = Fields::of(&index.schema(), &card.layout)?;
        let reader = dense.reader(&index)?;
        Ok(Self { path: path.to_path_buf(), dense, index, reader, card, fields, encoder, reranker: None })
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
        let folder = MmapDirectory::open(&self.path).map_err(tantivy::TantivyError::from)?;
        let index = dense.open_index(folder)?;
        let engine = Self::assemble(&self.path, dense, index, self.card, self.encoder)?;
        Ok(Self { reranker: self.reranker, ..engine })
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
        let model = &self.card.model;
        let place = match (folder, &model.folder) {
            (Some(folder), _) => Hub::from_environment().resolve(&folder.to_string_lossy())?,
            (None, Some(folder)) => folder.clone(),
            (None, None) => {
                return Err(PluginError::NoModel { what: "a search by vectors", model: model.name.clone() });
            }
        };
        let options = EncoderOptions {
            precision: model.precision.parse().unwrap_or(options.precision),
            max_length: model.max_length,
            query_prompt: model.query_prompt.clone(),
            document_prompt: model.document_prompt.clone(),
            ..options.clone()
        };
        Ok(SentenceEncoder::open(&place, &options)?)
    }

    /// A writer that embeds on the way. Documents are replaced by key, and left alone where nothing changed.
    ///
    /// # Errors
    /// When the index is being written to already, or the engine has no model.
    pub fn writer(&self, memory: usize, settings: WriterSettings) -> Result<EmbeddingWriter, PluginError> {
        let encoder = self.encoder("writing documents")?;
        let writer = self.index.writer(memory)?;
        let mut embedding = Embedding::new(self.fields.vector.clone(), self.card.layout.template.parse()?);
        if let Some(chunking) = self.card.layout.chunks {
            embedding = embedding.chunks(chunking);
        }
        let settings = settings.key(self.card.layout.key.clone()).skip_unchanged(true);
        EmbeddingWriter::new(&self.dense, writer, encoder, vec![embedding], settings)
    }

    /// A document for the writer.
    ///
    /// # Errors
    /// When it has no id, or its vector is not one of the index's.
    pub fn document(&self, document: Document) -> Result<TantivyDocument, PluginError> {
        let fault =
            |problem: &str| PluginError::Document { document: document.id.clone(), problem: problem.to_owned() };
        if document.id.is_empty() {
            return Err(fault("has an empty id"));
        }
        let schema = self.index.schema();
        let mut out = TantivyDocument::new();
        out.add_text(self.fields.key, &document.id);
        for (name, value) in [("title", &document.title), ("text", &document.text)] {
            if let (Ok(field), false) = (schema.get_field(name), value.is_empty()) {
                out.add_text(field, value);
            }
        }
        if let Ok(field) = schema.get_field("content") {
            out.add_text(field, format!("{} {}", document.title, document.text).trim());
        }
        if let (Some(metadata), Some(name)) = (&document.metadata, &self.card.layout.metadata) {
            let field = schema.get_field(name)?;
            let object = metadata.iter().map(|(name, value)| (name.clone(), owned(value))).collect();
            out.add_object(field, object);
        }
        if let Some(vector) = &document.vector {
            self.fields.vector.add(&mut out, vector)?;
        }
        Ok(out)
    }

    /// A document that was read from the store of an index with the same fields, for the writer: what is indexed and not
    /// stored is put together again.
    pub(crate) fn restored(&self, mut document: TantivyDocument) -> TantivyDocument {
        let schema = self.index.schema();
        let text = |document: &TantivyDocument, name: &str| {
            let field = schema.get_field(name).ok()?;
            document.get_first(field)?.as_str().map(str::to_owned)
        };
        if let Some(content) = schema::own_content(&schema)
            && document.get_first(content).is_none()
        {
            let title = text(&document, "title").unwrap_or_default();
            let body = text(&document, "text").unwrap_or_default();
            document.add_text(content, format!("{title} {body}").trim());
        }
        document
    }

    /// The term that names a document, for deleting it by [`EmbeddingWriter::delete_term`].
    pub fn key_term(&self, id: &str) -> tantivy::Term {
        tantivy::Term::from_field_text(self.fields.key, id)
    }

    /// A stored document by its id.
    ///
    /// # Errors
    /// tantivy's.
    pub fn get(&self, id: &str) -> Result<Option<Document>, PluginError> {
        let searcher = self.reader.searcher();
        let query = TermQuery::new(self.key_term(id), IndexRecordOption::Basic);
        let found = searcher.search(&query, &tantivy::collector::TopDocs::with_limit(1).order_by_score())?;
        let Some(&(_, address)) = found.first() else { return Ok(None) };
        let stored: TantivyDocument = searcher.doc(address)?;
        let schema = self.index.schema();
        let text = |name: &str| {
            let field = schema.get_field(name).ok()?;
            stored.get_first(field)?.as_str().map(str::to_owned)
        };
        Ok(Some(Document {
            id: id.to_owned(),
            title: text("title").unwrap_or_default(),
            text: text("text").unwrap_or_default(),
            metadata: self.metadata(&stored),
            vector: None,
        }))
    }

    fn metadata(&self, stored: &TantivyDocument) -> Option<serde_json::Map<String, serde_json::Value>> {
        let field = self.index.schema().get_field(self.card.layout.metadata.as_ref()?).ok()?;
        let owned = OwnedValue::from(stored.get_first(field)?.as_value());
        match serde_json::to_value(&owned) {
            Ok(serde_json::Value::Object(object)) => Some(object),
            _ => None,
        }
    }

    /// Makes what was committed since the last call visible to searches at once; they see it within a moment anyway.
    ///
    /// # Errors
    /// tantivy's, and about files that cannot be read.
    pub fn reload(&self) -> Result<(), PluginError> {
        Ok(self.reader.reload()?)
    }

    /// Documents that searches see.
    pub fn documents(&self) -> u64 {
        let searcher = self.reader.searcher();
        let Some(chunks) = self.fields.chunks else { return searcher.num_docs() };
        // Further chunks of a document are none.
        let documents = TermQuery::new(chunks.documents(), IndexRecordOption::Basic);
        searcher.search(&documents, &Count).map_or(0, |count| count as u64)
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

/// A JSON value as tantivy keeps it; a string that is a date with time and zone becomes a date.
fn owned(value: &serde_json::Value) -> OwnedValue {
    match value {
        // tantivy brings dates to UTC, and panics where that leads into the year 10000. Dates beyond 2262 stay text there in
        // any case, so nothing is lost.
        serde_json::Value::String(text) if text.starts_with("9999-12-31") => OwnedValue::Str(text.clone()),
        serde_json::Value::Array(items) => OwnedValue::Array(items.iter().map(owned).collect()),
        serde_json::Value::Object(object) => {
            OwnedValue::Object(object.iter().map(|(name, value)| (name.clone(), owned(value))).collect())
        }
        other => other.clone().into(),
    }
}

fn not_an_index(path: &Path) -> PluginError {
    PluginError::NotAnIndex {
        path: path.to_path_buf(),
        problem: format!(
            "it holds no {}; `adam index` makes an index, `adam import` brings one over",
            crate::CARD_FILE
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_utc_moves_out_of_reach_stay_text() {
        let late = "9999-12-31T23:59:59-05:00";
        let early = "0000-01-01T00:00:00+05:00";
        let text = |text: &str| OwnedValue::Str(text.to_owned());
        assert_eq!(owned(&serde_json::json!(late)), text(late));
        assert_eq!(owned(&serde_json::json!(early)), text(early));
        assert_eq!(owned(&serde_json::json!([{ "a": [late] }])), {
            let inner = OwnedValue::Array(vec![text(late)]);
            OwnedValue::Array(vec![OwnedValue::Object(vec![("a".to_owned(), inner)])])
        });
        // The others as before.
        assert!(matches!(owned(&serde_json::json!("2024-05-31T00:00:00Z")), OwnedValue::Date(_)));
        assert_eq!(owned(&serde_json::json!(5)), OwnedValue::I64(5));
        assert_eq!(owned(&serde_json::json!("2024")), text("2024"));
    }
}
