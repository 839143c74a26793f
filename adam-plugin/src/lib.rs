//! Text in, hybrid BM25 and dense answers out: a sentence encoder inside a tantivy index.
//!
//! - [`EmbeddingWriter`] wraps tantivy's `IndexWriter`: documents go in with their text, vectors are made on the way.
//! - [`Engine`] is one index folder with its model pinned: add documents, search by words, by meaning, by both.
//! - The program `adam` is both at the command line and over HTTP.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use adam_encoder::{EncoderOptions, SentenceEncoder};
//! use adam_plugin::engine::Document;
//! use adam_plugin::{Engine, PinnedModel, SearchRequest, WriterSettings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let encoder = Arc::new(SentenceEncoder::open("student", &EncoderOptions::default())?);
//! let pinned = PinnedModel::of(encoder.as_ref());
//! let engine = Engine::open_or_create("birds-index".as_ref(), encoder, pinned)?;
//!
//! let mut writer = engine.writer(50_000_000, WriterSettings::default())?;
//! let (id, text) = ("crow".to_owned(), "Crows bend wires into hooks and fish with them.".to_owned());
//! writer.update_document(engine.document(Document { id, text, ..Document::default() })?)?;
//! writer.commit()?;
//! engine.reload()?;
//!
//! for hit in engine.search(&SearchRequest::new("birds that use tools"))?.hits {
//!     println!("{:.3}  {}", hit.score, hit.id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Searches, encoding and commits block the thread that calls them; the example `service` has them in `spawn_blocking`.

mod card;
pub mod check;
mod chunk;
mod columns;
pub mod engine;
mod error;
pub mod filter;
mod folder;
mod hash;
pub mod import;
mod lookup;
mod query;
mod rerank;
pub mod serve;
mod template;
mod writer;

pub use card::{CARD_FILE, Card, Layout, PinnedModel};
pub use chunk::{ChunkFields, Chunking};
pub use engine::{Engine, Hit, IndexOptions, Language, Mode, SearchRequest, SearchResponse};
pub use error::PluginError;
pub use filter::{Filter, FilterWarning};
pub use hash::HashFields;
pub use query::{MAX_QUERY, Syntax, text_query};
pub use rerank::Reranker;
pub use template::Template;
pub use writer::{Embedding, EmbeddingWriter, Failure, OnFailure, PendingCommit, Progress, WriterSettings};
