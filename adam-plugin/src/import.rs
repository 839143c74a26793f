//! Bringing an index over: one without vectors, or one of another model.
//!
//! tantivy fixes at creation which files an index may have, so an index that was made without vectors can never get them. It is
//! read from its stored fields into a new one beside it. What only lay in the inverted index or in columns cannot be read
//! back; such fields are named. Both ways can be interrupted, and go on from the last commit when started again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use adam_encoder::TextEncoder;
use tantivy::schema::{Field, FieldType, STORED, STRING, Schema, Value};
use tantivy::{Index, ReloadPolicy, Searcher, TantivyDocument};
use tantivy_dense::{VectorField, VectorOptions};

use crate::card::{Card, Layout, PinnedModel};
use crate::chunk::{ChunkFields, Chunking};
use crate::engine::Engine;
use crate::error::PluginError;
use crate::folder::IndexFolder;
use crate::hash::HashFields;
use crate::writer::WriterSettings;

/// Name of the field that says which document of the old index one was, where the old index has no key.
pub const ORIGIN: &str = "adam_origin";

/// Name of the vector field that a new index gets.
const VECTOR: &str = "vector";

/// Blocks of stored documents kept in memory while reading.
const CACHED_BLOCKS: usize = 16;

/// How an index is brought over.
pub struct ImportOptions {
    /// Text fields that are embedded, and searched by words; the first is the title if there are several.
    pub fields: Vec<String>,
    /// The field that names a document, a stored text that is indexed as one term; none: [`ORIGIN`] is made.
    pub key: Option<String>,
    /// How long documents are cut into chunks, if they are.
    pub chunks: Option<Chunking>,
    /// Documents between two commits.
    pub commit_every: usize,
    /// Memory of the index writer, in bytes.
    pub memory: usize,
}

/// What was brought over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Documents read.
    pub documents: u64,
    /// Fields whose values are not stored in the old index, so that the new one has none.
    pub lost: Vec<String>,
    /// Documents that the new index has not, since another that was read later has the same key.
    pub replaced: u64,
}

/// Reads a tantivy index without vectors into a new one with vectors.
///
/// # Errors
/// When the old index cannot be read, a field is missing, not stored, or analysed by a tokenizer that is not tantivy's own, the key
/// cannot serve as one, a field has a name that the new index needs for one of its own, or that index cannot be written.
pub fn import(
    old: &Path,
    new: &Path,
    encoder: Arc<dyn TextEncoder>,
    model: PinnedModel,
    options: &ImportOptions,
    settings: WriterSettings,
) -> Result<Imported, PluginError> {
    let refuse = |problem: String| PluginError::Import { path: old.to_path_buf(), problem };
    check_destination(old, new)?;
    let index = open_plain(old)?;
    let schema = index.schema();
    for name in &options.fields {
        let field = schema
            .get_field(name)
            .map_err(|_| refuse(format!("has no field `{name}`; there are {}", names(&schema))))?;
        let entry = schema.get_field_entry(field);
        match entry.field_type() {
            FieldType::Str(_) if entry.is_stored() && entry.is_indexed() => (),
            FieldType::Str(_) => {
                return Err(refuse(format!("the field `{name}` must be stored and indexed, and is not both")));
            }
            _ => return Err(refuse(format!("the field `{name}` holds no text"))),
        }
    }
    if options.fields.is_empty() {
        return Err(refuse("name at least one field to embed".to_owned()));
    }
    if let Some(key) = &options.key {
        check_key(old, &schema, key)?;
    }
    check_names(old, &schema, options.key.is_none())?;
    let mut lost = Vec::new();
    let mut builder = Schema::builder();
    for (field, entry) in schema.fields() {
        if matches!(entry.field_type(), FieldType::Str(_)) && entry.is_indexed() {
            index.tokenizer_for_field(field).map_err(|error| {
                refuse(format!(
                    "the field `{}` is analysed by a tokenizer that only its program knows: {error}",
                    entry.name()
                ))
            })?;
        }
        // In the same order, so that fields keep their numbers and documents can be handed over as they are.
        builder.add_field(entry.clone());
        if !entry.is_stored() {
            lost.push(entry.name().to_owned());
        }
    }
    let key = match &options.key {
        Some(key) => key.clone(),
        None => {
            builder.add_text_field(ORIGIN, STRING | STORED);
            ORIGIN.to_owned()
        }
    };
    VectorField::add_to(&mut builder, VECTOR, VectorOptions::cosine(encoder.dimension()))?;
    HashFields::add_to(&mut builder);
    if let Some(chunking) = options.chunks {
        chunking.check()?;
        ChunkFields::add_to(&mut builder);
    }
    let layout = Layout {
        key,
        searched: options.fields.clone(),
        title: options.fields.first().filter(|_| options.fields.len() > 1).cloned(),
        shown: options.fields.clone(),
        metadata: None,
        vector: VECTOR.to_owned(),
        template: crate::Template::joining(&options.fields)?.to_string(),
        chunks: options.chunks,
    };
    check_layout(new, &layout)?;
    check_source(old, new)?;
    let engine = Engine::open_or_create_with(new, encoder, model, builder.build(), layout)?;
    note_source(old, new)?;
    let origin = engine.index().schema().get_field(ORIGIN).ok().filter(|_| options.key.is_none());
    let mut writer = engine.writer(options.memory, settings)?;
    let mut imported = Imported { lost, ..Imported::default() };
    // Of the old index's own numbers, there are no two the same.
    let key = options.key.as_ref().map(|name| schema.get_field(name)).transpose()?;
    let mut keys = Vec::new();
    for_each_stored(&searcher(&index)?, |segment, doc, mut document| {
        if let Some(origin) = origin {
            document.add_text(origin, format!("{segment}:{doc}"));
        }
        keys.extend(key.map(|key| hash_of_key(&document, key)));
        writer.update_document(document)?;
        imported.documents += 1;
        if imported.documents.is_multiple_of(options.commit_every as u64) {
            writer.commit()?;
        }
        Ok(())
    })?;
    writer.commit()?;
    writer.wait_merging_threads()?;
    imported.replaced = repeated(keys);
    Ok(imported)
}

/// Refuses a key by which the new index could not find a document again, or name it.
fn check_key(old: &Path, schema: &Schema, key: &str) -> Result<(), PluginError> {
    let refuse = |problem: String| PluginError::Import { path: old.to_path_buf(), problem };
    let field =
        schema.get_field(key).map_err(|_| refuse(format!("has no field `{key}`; there are {}", names(schema))))?;
    let entry = schema.get_field_entry(field);
    let is_term = match entry.field_type() {
        FieldType::Str(options) => options.get_indexing_options().is_some_and(|indexing| indexing.tokenizer() == "raw"),
        _ => false,
    };
    if is_term && entry.is_stored() {
        return Ok(());
    }
    Err(refuse(format!(
        "the field `{key}` cannot be the key, which is a stored text that is indexed as one term (STRING | STORED); name such a \
         field, or none, and documents are named by where they lay in this index"
    )))
}

/// Refuses fields with the names of those that the new index gets beside the old ones: a schema has no name twice.
fn check_names(old: &Path, schema: &Schema, makes_origin: bool) -> Result<(), PluginError> {
    let is_ours = |name: &str| {
        name == VECTOR || (makes_origin && name == ORIGIN) || HashFields::is_hash(name) || ChunkFields::is_one(name)
    };
    match schema.fields().map(|(_, entry)| entry.name()).find(|name| is_ours(name)) {
        None => Ok(()),
        Some(name) => Err(PluginError::Import {
            path: old.to_path_buf(),
            problem: format!(
                "has a field `{name}`, and the new index needs that name for a field of its own; give it another name in the \
                 program that makes this index (an index of adam gets another model by `adam reembed`)"
            ),
        }),
    }
}

/// The key of a document, in 8 bytes: what is counted by it must fit in memory for every document there is.
fn hash_of_key(document: &TantivyDocument, key: Field) -> u64 {
    let mut hasher = DefaultHasher::new();
    document.get_first(key).and_then(|value| value.as_str()).hash(&mut hasher);
    hasher.finish()
}

/// How many of these there were before. What the new index holds does not tell: it may have been begun by an earlier import of
/// more documents, and lack those that could not be embedded.
fn repeated(mut keys: Vec<u64>) -> u64 {
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    (all - keys.len()) as u64
}

/// Refuses to go on with an index that was begun otherwise: it would keep its own layout.
fn check_layout(new: &Path, wanted: &Layout) -> Result<(), PluginError> {
    let Some(card) = Card::read(new)? else { return Ok(()) };
    let there = card.layout;
    if there == *wanted {
        return Ok(());
    }
    Err(PluginError::Import {
        path: new.to_path_buf(),
        problem: format!(
            "was begun with {}, and now it is to be made with {}; go on as it was begun, or name another folder for the new index",
            described(&there),
            described(wanted)
        ),
    })
}

/// Name of the file in the new index that says from which it is read: as the card, a file that tantivy leaves alone.
const SOURCE_FILE: &str = ".adam-source";

/// Refuses to go on with an index that holds documents and was not begun from this one: the two would become one.
fn check_source(old: &Path, new: &Path) -> Result<(), PluginError> {
    if Card::read(new)?.is_none() {
        return Ok(());
    }
    let note = new.join(SOURCE_FILE);
    let source = std::fs::read_to_string(&note).unwrap_or_default();
    if source == named(old) || Engine::open(new)?.documents() == 0 {
        return Ok(());
    }
    let begun = if source.is_empty() {
        "was not begun from another index".to_owned()
    } else {
        format!("was begun from {source} (if that is this one and has moved, write its path into {})", note.display())
    };
    Err(PluginError::Import {
        path: new.to_path_buf(),
        problem: format!("holds documents and {begun}; name another folder for the new index"),
    })
}

/// Writes down from which index this one is read, whole or not at all.
fn note_source(old: &Path, new: &Path) -> Result<(), PluginError> {
    let (note, part) = (new.join(SOURCE_FILE), new.join(".adam-source.tmp"));
    let io = |error| PluginError::io("write", &note, error);
    std::fs::write(&part, named(old)).map_err(io)?;
    std::fs::rename(&part, &note).map_err(io)
}

/// The name of an index from wherever it is called.
fn named(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned()
}

/// What of a layout the caller chose.
fn described(layout: &Layout) -> String {
    let chunks = match layout.chunks {
        Some(Chunking { tokens, overlap }) => format!("chunks of {tokens} tokens that overlap by {overlap}"),
        None => "no chunks".to_owned(),
    };
    format!(
        "the fields `{}`, the key `{}`, {chunks} and the template `{}`",
        layout.searched.join("`, `"),
        layout.key,
        layout.template
    )
}

/// Reads an index of `adam` into a new one with the vectors of another model.
///
/// # Errors
/// As [`import`].
pub fn reembed(
    old: &Path,
    new: &Path,
    encoder: Arc<dyn TextEncoder>,
    model: PinnedModel,
    commit_every: usize,
    memory: usize,
    settings: WriterSettings,
) -> Result<Imported, PluginError> {
    let from = Engine::open(old)?;
    let schema = from.index().schema();
    let layout = from.card().layout.clone();
    // The same fields in the same order, so that stored documents can be handed over as they are; only the vector field has
    // the new model's dimension.
    let mut builder = Schema::builder();
    for (_, entry) in schema.fields() {
        if entry.name() == layout.vector {
            VectorField::add_to(&mut builder, &layout.vector, VectorOptions::cosine(encoder.dimension()))?;
        } else {
            builder.add_field(entry.clone());
        }
    }
    check_destination(old, new)?;
    check_layout(new, &layout)?;
    check_source(old, new)?;
    let engine = Engine::open_or_create_with(new, encoder, model, builder.build(), layout)?;
    note_source(old, new)?;
    let key = engine.index().schema().get_field(&engine.card().layout.key)?;
    let mut writer = engine.writer(memory, settings)?;
    let mut imported = Imported::default();
    for_each_stored(&searcher(from.index())?, |_, _, document| {
        // Further chunks of a document have no key; they are made anew.
        if document.get_first(key).is_none() {
            return Ok(());
        }
        writer.update_document(engine.restored(document))?;
        imported.documents += 1;
        if imported.documents.is_multiple_of(commit_every as u64) {
            writer.commit()?;
        }
        Ok(())
    })?;
    writer.commit()?;
    writer.wait_merging_threads()?;
    Ok(imported)
}

/// Refuses to write an index over the one it is read from.
fn check_destination(old: &Path, new: &Path) -> Result<(), PluginError> {
    match (old.canonicalize(), new.canonicalize()) {
        (Ok(from), Ok(to)) if from == to => Err(PluginError::Import {
            path: old.to_path_buf(),
            problem: "cannot be read and written at once; name another folder for the new index".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Documents of an index, deleted ones left out.
///
/// # Errors
/// When the folder holds no index.
pub fn count(path: &Path) -> Result<u64, PluginError> {
    Ok(searcher(&open_plain(path)?)?.num_docs())
}

fn open_plain(path: &Path) -> Result<Index, PluginError> {
    if !path.is_dir() {
        return Err(PluginError::Import { path: path.to_path_buf(), problem: "there is no such folder".to_owned() });
    }
    Ok(Index::open(IndexFolder::open(path)?)?)
}

fn searcher(index: &Index) -> Result<Searcher, PluginError> {
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    Ok(tantivy::IndexReader::searcher(&reader))
}

/// Every document that is not deleted, with its segment and number.
fn for_each_stored(
    searcher: &Searcher,
    mut body: impl FnMut(String, u32, TantivyDocument) -> Result<(), PluginError>,
) -> Result<(), PluginError> {
    for reader in searcher.segment_readers() {
        let store = reader.get_store_reader(CACHED_BLOCKS).map_err(tantivy::TantivyError::from)?;
        for doc in reader.doc_ids_alive() {
            body(reader.segment_id().uuid_string(), doc, store.get(doc)?)?;
        }
    }
    Ok(())
}

fn names(schema: &Schema) -> String {
    let names: Vec<String> = schema.fields().map(|(_, entry)| format!("`{}`", entry.name())).collect();
    names.join(", ")
}
