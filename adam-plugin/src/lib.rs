//! Text in, hybrid BM25 and dense answers out: a sentence encoder inside a tantivy index.
//!
//! - [`EmbeddingWriter`] wraps tantivy's `IndexWriter`: documents go in with their text, vectors are made on the way.
//! - [`Engine`] is one index folder with its model pinned: add documents, search by words, by meaning, by both.
//! - The program `adam` is both at the command line and over HTTP.

mod card;
mod chunk;
pub mod engine;
mod error;
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
pub use engine::{Engine, Hit, Mode, SearchRequest, SearchResponse};
pub use error::PluginError;
pub use hash::HashFields;
pub use query::{Filter, MAX_QUERY, Syntax, text_query};
pub use rerank::Reranker;
pub use template::Template;
pub use writer::{Embedding, EmbeddingWriter, Failure, OnFailure, PendingCommit, Progress, WriterSettings};
