//! What a writer asks of its thread.

use std::sync::mpsc::SyncSender;

use tantivy::query::Query;
use tantivy::{IndexWriter, Opstamp, TantivyDocument, Term};

use crate::error::PluginError;

/// A document on its way.
pub(super) struct Addition {
    pub(super) name: String,
    pub(super) document: TantivyDocument,
    /// The text for each vector field, where there is one.
    pub(super) texts: Vec<Option<String>>,
    /// The document's key, where it has one.
    pub(super) key: Option<Term>,
    /// Whether documents with the same key are replaced.
    pub(super) replaces: bool,
    /// Hash of the document, hash of the embedded text.
    pub(super) hashes: Option<(u64, u64)>,
}

/// What the thread is asked to do.
pub(super) enum Operation {
    Add(Box<Addition>),
    DeleteTerm(Term),
    DeleteQuery(Box<dyn Query>),
    Commit(SyncSender<Result<Opstamp, PluginError>>),
    Rollback(SyncSender<Result<Opstamp, PluginError>>),
    Close(SyncSender<Result<Box<IndexWriter>, PluginError>>),
}
