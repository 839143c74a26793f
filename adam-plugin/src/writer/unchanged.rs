//! What the last commit holds of a document: its hashes, and its vectors if they can be taken over.

use std::collections::HashMap;

use tantivy::schema::Field;
use tantivy::{Index, IndexReader, ReloadPolicy, Searcher, Term};
use tantivy_dense::{Dense, VectorField};

use crate::error::PluginError;
use crate::hash::HashFields;
use crate::lookup::documents_with;

/// The state of a document in the last commit, and so what to do about a new version.
#[derive(Debug, PartialEq)]
pub(super) enum DocumentState {
    /// Encode and write it.
    New,
    /// The same document is there.
    Unchanged,
    /// The embedded text is the same; these are its vectors, one for each vector field.
    SameText(Vec<Option<Vec<f32>>>),
}

/// The documents of the last commit, and what has happened to keys since.
pub(super) struct LastCommit {
    dense: Dense,
    index: Index,
    reader: IndexReader,
    searcher: Searcher,
    key: Field,
    fields: Vec<VectorField>,
    /// By key, what was written since the last commit: the hash of the one document there is, or nothing where that is
    /// not known.
    pending: HashMap<Vec<u8>, Option<u64>>,
    /// Something was deleted by a query, so the last commit no longer says what is there.
    uncertain: bool,
}

impl LastCommit {
    pub(super) fn new(dense: &Dense, index: &Index, key: Field, fields: Vec<VectorField>) -> Result<Self, PluginError> {
        let reader: IndexReader = dense.reader_builder(index).reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self {
            dense: dense.clone(),
            index: index.clone(),
            searcher: reader.searcher(),
            reader,
            key,
            fields,
            pending: HashMap::new(),
            uncertain: false,
        })
    }

    /// After a commit or a rollback.
    pub(super) fn reload(&mut self) -> Result<(), PluginError> {
        self.dense.reload(&self.index, &self.reader)?;
        self.searcher = self.reader.searcher();
        self.pending.clear();
        self.uncertain = false;
        Ok(())
    }

    /// Documents were deleted by something other than their key.
    pub(super) fn deleted_at_large(&mut self) {
        self.uncertain = true;
        self.pending.clear();
    }

    /// Whether a term is a document's key.
    pub(super) fn is_key(&self, term: &Term) -> bool {
        term.field() == self.key
    }

    /// The documents of a key were deleted, or it is not known which there are.
    pub(super) fn unsure(&mut self, key: &Term) {
        self.pending.insert(key.serialized_value_bytes().to_vec(), None);
    }

    /// A document was written in place of all others of its key.
    pub(super) fn written(&mut self, key: &Term, document: u64) {
        self.pending.insert(key.serialized_value_bytes().to_vec(), Some(document));
    }

    pub(super) fn state_of(&self, key: &Term, document: u64, text: u64) -> Result<DocumentState, PluginError> {
        match self.pending.get(key.serialized_value_bytes()) {
            Some(Some(hash)) if *hash == document => return Ok(DocumentState::Unchanged),
            Some(_) => return Ok(DocumentState::New),
            None if self.uncertain => return Ok(DocumentState::New),
            None => {}
        }
        let found = documents_with(&self.searcher, key)?;
        // Two documents of one key are no state that this writer leaves; writing puts it right.
        let [address] = found.as_slice() else {
            return Ok(DocumentState::New);
        };
        let reader = self.searcher.segment_reader(address.segment_ord);
        let (of_document, of_text) = HashFields::columns();
        let value =
            |name| -> Result<Option<u64>, PluginError> { Ok(reader.fast_fields().u64(name)?.first(address.doc_id)) };
        if value(of_document)? == Some(document) {
            return Ok(DocumentState::Unchanged);
        }
        if value(of_text)? == Some(text) {
            let vectors = self
                .fields
                .iter()
                .map(|field| self.dense.vector(&self.searcher, field, *address))
                .collect::<Result<_, _>>()?;
            return Ok(DocumentState::SameText(vectors));
        }
        Ok(DocumentState::New)
    }
}
