//! Reading the documents of an index.

use std::path::Path;

use tantivy::schema::{Field, FieldEntry, FieldType, Schema};
use tantivy::{Index, ReloadPolicy, Searcher, TantivyDocument};

use crate::columns::{Columns, is_recoverable};
use crate::error::PluginError;
use crate::folder::IndexFolder;

/// Blocks of stored documents kept in memory while reading.
const CACHED_BLOCKS: usize = 16;

/// What was brought over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Number of documents read.
    pub num_docs: u64,
    /// Fields of the old index that are empty in the new one, since they are neither stored nor in columns.
    pub lost: Vec<String>,
}

/// Number of documents of a tantivy index that are not deleted.
///
/// # Errors
/// When the folder holds no index.
pub fn num_docs(path: impl AsRef<Path>) -> Result<u64, PluginError> {
    Ok(searcher(&open_plain(path.as_ref())?)?.num_docs())
}

/// Why an index cannot be brought over.
pub(super) fn refusal(old: &Path, problem: String) -> PluginError {
    PluginError::Import { path: old.to_path_buf(), problem }
}

pub(super) fn open_plain(path: &Path) -> Result<Index, PluginError> {
    if !path.is_dir() {
        return Err(PluginError::Import { path: path.to_path_buf(), problem: "there is no such folder".to_owned() });
    }
    Ok(Index::open(IndexFolder::open(path)?)?)
}

pub(super) fn searcher(index: &Index) -> Result<Searcher, PluginError> {
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    Ok(tantivy::IndexReader::searcher(&reader))
}

/// Every document that is not deleted, with its segment and number: what is stored of it, and what columns hold of the fields that
/// are not stored and wanted.
pub(super) fn for_each(
    searcher: &Searcher,
    wanted: impl Fn(Field) -> bool,
    mut body: impl FnMut(String, u32, TantivyDocument) -> Result<(), PluginError>,
) -> Result<(), PluginError> {
    for reader in searcher.segment_readers() {
        let store = reader.get_store_reader(CACHED_BLOCKS).map_err(tantivy::TantivyError::from)?;
        let columns = Columns::open(reader, searcher.schema(), &wanted)?;
        for doc in reader.doc_ids_alive() {
            let mut document: TantivyDocument = store.get(doc)?;
            columns.add_to(&mut document, doc)?;
            body(reader.segment_id().uuid_string(), doc, document)?;
        }
    }
    Ok(())
}

/// The fields whose values are not stored: those that columns still hold, and those that are lost.
pub(super) fn not_stored(schema: &Schema, wanted: impl Fn(Field) -> bool) -> (Vec<String>, Vec<String>) {
    let has_values = |entry: &FieldEntry| !matches!(entry.field_type(), FieldType::TieBreaker | FieldType::Custom(_));
    let named = |entry: &FieldEntry| entry.name().to_owned();
    let fields = || {
        let all = schema.fields().filter(|(field, entry)| !entry.is_stored() && has_values(entry) && wanted(*field));
        all.map(|(_, entry)| entry)
    };
    (
        fields().filter(|entry| is_recoverable(entry)).map(named).collect(),
        fields().filter(|entry| !is_recoverable(entry)).map(named).collect(),
    )
}

/// The names of all fields, for messages.
pub(super) fn names(schema: &Schema) -> String {
    let names: Vec<String> = schema.fields().map(|(_, entry)| format!("`{}`", entry.name())).collect();
    names.join(", ")
}
