//! Text in, hybrid BM25 and dense answers out: a sentence encoder inside a tantivy index.
//!
//! - [`EmbeddingWriter`] wraps tantivy's `IndexWriter`: documents go in with their text, vectors are made on the way.
//! - [`Engine`] is one index folder with its model pinned: add documents, search by BM25, by vectors, or by both.
//! - [`import`] brings an index over that has no vectors yet, or those of another model.
//!
//! The package `adam-cli` is the program `adam` over this library, `adam-server` the HTTP server.
//!
//! # Features
//!
//! - `onnx` (default): models run by ONNX Runtime. Without it, bring an encoder of your own: a
//!   [`TextEncoder`](adam_encoder::TextEncoder).
//! - `hub` (default): models are downloaded by their Hugging Face name. Without it, names are looked up in the local cache.
//! - `faiss`: approximate vector search by faiss, which needs cmake and OpenBLAS to build. Without it, searches are exact.
//! - `gpu`: vector search on NVIDIA GPUs.
//! - `openapi`: schemas of requests and answers for an OpenAPI document, by utoipa.
//!
//! ```no_run
//! # #[cfg(feature = "onnx")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use adam_encoder::{EncoderOptions, SentenceEncoder};
//! use adam_plugin::engine::Document;
//! use adam_plugin::{Engine, SearchRequest, WriterSettings};
//!
//! let encoder = Arc::new(SentenceEncoder::open("student", &EncoderOptions::default())?);
//! let engine = Engine::builder("birds-index").encoder(encoder).open_or_create()?;
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
//! # #[cfg(not(feature = "onnx"))]
//! # fn main() {}
//! ```
//!
//! Searches, encoding and commits block the thread that calls them; the example `service` has them in `spawn_blocking`.

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
mod manifest;
mod query;
mod rerank;
pub mod shards;
mod signed;
mod template;
mod words;
mod writer;

pub use {adam_encoder, tantivy, tantivy_dense};

pub use chunk::{ChunkFields, Chunking};
pub use engine::{Engine, EngineBuilder, Hit, Language, Mode, SearchRequest, SearchResponse};
pub use error::{PluginError, UnknownName};
pub use filter::{Filter, FilterWarning};
pub use hash::HashFields;
pub use manifest::{Layout, MANIFEST_FILE, Manifest, PinnedModel};
pub use query::{MAX_QUERY, text_query};
pub use rerank::Reranker;
pub use template::Template;
pub use words::{FieldWeight, Synonyms, Typos};
pub use writer::{Embedding, EmbeddingWriter, Failure, OnFailure, PendingCommit, Progress, Pulse, WriterSettings};
