//! Bringing an index over: one without vectors, or one of another model.
//!
//! tantivy fixes at creation which files an index may have, so an index that was made without vectors can never get them. It is
//! read from its stored fields into a new one beside it, and from its columns where a field is fast and not stored. What only lay
//! in the inverted index cannot be read back; a [`Plan`] names such fields before the work. Both ways can be interrupted, and go on
//! from the last commit when started again.

mod key;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use adam_encoder::TextEncoder;
use tantivy::schema::{Field, FieldEntry, FieldType, STORED, STRING, Schema};
use tantivy::{Index, ReloadPolicy, Searcher, TantivyDocument};
use tantivy_dense::{VectorField, VectorOptions};

use crate::card::{Card, Layout, PinnedModel};
use crate::chunk::{ChunkFields, Chunking};
use crate::columns::{Columns, is_recoverable};
use crate::engine::{Engine, renewed};
use crate::error::PluginError;
use crate::folder::{Contents, IndexFolder};
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

/// What an import would do, found before any of the work.
pub struct Plan<'a> {
    old: &'a Path,
    options: &'a ImportOptions,
    index: Index,
    /// Documents to read.
    pub documents: u64,
    /// Fields that are not stored in the old index, and whose values are read from its columns.
    pub recovered: Vec<String>,
    /// Fields that are neither stored nor in columns, so that they are empty in the new index.
    pub lost: Vec<String>,
}

/// What was brought over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Documents read.
    pub documents: u64,
    /// Fields of the old index that are empty in the new one, since they are neither stored nor in columns.
    pub lost: Vec<String>,
}

impl<'a> Plan<'a> {
    /// Looks at a tantivy index without vectors. Of its documents, only the terms of the key are read.
    ///
    /// # Errors
    /// When the old index cannot be read, a field is missing, not stored, or analysed by a tokenizer that is not tantivy's own, a field
    /// has a name that the new index needs for one of its own, or the key cannot serve as one: it is no stored term, two documents
    /// share it, or a document has none or several.
    pub fn new(old: &'a Path, options: &'a ImportOptions) -> Result<Self, PluginError> {
        let refuse = |problem: String| refusal(old, problem);
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
            key::check_kind(old, &schema, key)?;
        }
        check_names(old, &schema, options.key.is_none())?;
        for (field, entry) in schema.fields() {
            if matches!(entry.field_type(), FieldType::Str(_)) && entry.is_indexed() {
                index.tokenizer_for_field(field).map_err(|error| {
                    refuse(format!(
                        "the field `{}` is analysed by a tokenizer that only its program knows: {error}",
                        entry.name()
                    ))
                })?;
            }
        }
        let searcher = searcher(&index)?;
        if let Some(key) = &options.key {
            key::check_unique(old, &searcher, key)?;
        }
        let (recovered, lost) = not_stored(&schema, |_| true);
        Ok(Self { old, options, documents: searcher.num_docs(), recovered, lost, index })
    }

    /// Reads the old index into a new one with vectors.
    ///
    /// # Errors
    /// When a document cannot be read or embedded, or the new index cannot be written.
    pub fn run(
        self,
        new: &Path,
        encoder: Arc<dyn TextEncoder>,
        model: PinnedModel,
        settings: WriterSettings,
    ) -> Result<Imported, PluginError> {
        let Self { old, options, index, lost, .. } = self;
        check_destination(old, new)?;
        let schema = index.schema();
        let mut builder = Schema::builder();
        for (_, entry) in schema.fields() {
            // In the same order, so that fields keep their numbers and documents can be handed over as they are.
            builder.add_field(entry.clone());
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
        let origin = engine.index().schema().get_field(ORIGIN).ok().filter(|_| options.key.is_none());
        let mut writer = engine.writer(options.memory, settings)?;
        begin_from(old, new)?;
        let mut imported = Imported { lost, ..Imported::default() };
        for_each(
            &searcher(&index)?,
            |_| true,
            |segment, doc, mut document| {
                if let Some(origin) = origin {
                    document.add_text(origin, format!("{segment}:{doc}"));
                }
                writer.update_document(document)?;
                imported.documents += 1;
                if imported.documents.is_multiple_of(options.commit_every as u64) {
                    writer.commit()?;
                }
                Ok(())
            },
        )?;
        writer.commit()?;
        writer.wait_merging_threads()?;
        Ok(imported)
    }
}

/// Reads a tantivy index without vectors into a new one with vectors: a [`Plan`], carried out.
///
/// # Errors
/// As [`Plan::new`] and [`Plan::run`].
pub fn import(
    old: &Path,
    new: &Path,
    encoder: Arc<dyn TextEncoder>,
    model: PinnedModel,
    options: &ImportOptions,
    settings: WriterSettings,
) -> Result<Imported, PluginError> {
    check_destination(old, new)?;
    Plan::new(old, options)?.run(new, encoder, model, settings)
}

fn refusal(old: &Path, problem: String) -> PluginError {
    PluginError::Import { path: old.to_path_buf(), problem }
}

/// The fields whose values are not stored: those that columns still hold, and those that are lost.
fn not_stored(schema: &Schema, wanted: impl Fn(Field) -> bool) -> (Vec<String>, Vec<String>) {
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

/// Refuses to go on with an index that was begun otherwise: it would keep its own layout.
fn check_layout(new: &Path, wanted: &Layout) -> Result<(), PluginError> {
    if Contents::of(new)? != Contents::Index {
        return Ok(());
    }
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
pub(crate) const SOURCE_FILE: &str = ".adam-source";

/// Longest path read from it, in bytes.
const MAX_SOURCE: u64 = 1 << 16;

/// Refuses to go on with an index that holds documents and was not begun from this one: the two would become one.
fn check_source(old: &Path, new: &Path) -> Result<(), PluginError> {
    if Contents::of(new)? != Contents::Index {
        return Ok(());
    }
    let note = new.join(SOURCE_FILE);
    let source = match durable::read(&note, MAX_SOURCE) {
        Ok(source) => String::from_utf8_lossy(&source).into_owned(),
        Err(fault) if fault.kind() == ErrorKind::NotFound => String::new(),
        Err(fault) => return Err(PluginError::io("read", note, fault)),
    };
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

/// Says in the new index where it is read from, unless another import was faster. The caller has the new index's writer.
fn begin_from(old: &Path, new: &Path) -> Result<(), PluginError> {
    check_source(old, new)?;
    note_source(old, new)
}

/// Writes down from which index this one is read. The caller holds the lock of the new one's writer.
fn note_source(old: &Path, new: &Path) -> Result<(), PluginError> {
    let note = new.join(SOURCE_FILE);
    durable::replace(&note, named(old).as_bytes()).map_err(|fault| PluginError::io("write", note, fault))
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

/// Fields of an index of `adam` that [`reembed`] cannot carry over, since they are neither stored nor in columns: only an index with
/// a schema of its own has any.
///
/// # Errors
/// When the folder is no index of `adam`.
pub fn losses(old: &Path) -> Result<Vec<String>, PluginError> {
    let engine = Engine::open(old)?;
    Ok(not_stored(&engine.index().schema(), carried_over(&engine)).1)
}

/// Whether a field's values have to be read from the old index, since the new one does not make them anew.
fn carried_over(engine: &Engine) -> impl Fn(Field) -> bool {
    let schema = engine.index().schema();
    let made = engine.made_field();
    move |field| {
        let name = schema.get_field_name(field);
        !HashFields::is_hash(name) && !ChunkFields::is_one(name) && made != Some(field)
    }
}

/// Reads an index of `adam` into a new one with the vectors of another model.
///
/// # Errors
/// When the old index cannot be read, or the new one cannot be written or was begun from something else.
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
    // the new model's dimension, and text is cut into words as new indexes do it.
    let mut builder = Schema::builder();
    for (_, entry) in schema.fields() {
        if entry.name() == layout.vector {
            VectorField::add_to(&mut builder, &layout.vector, VectorOptions::cosine(encoder.dimension()))?;
        } else {
            builder.add_field(renewed(entry));
        }
    }
    check_destination(old, new)?;
    check_layout(new, &layout)?;
    check_source(old, new)?;
    let engine = Engine::open_or_create_with(new, encoder, model, builder.build(), layout)?;
    let key = engine.index().schema().get_field(&engine.card().layout.key)?;
    let mut writer = engine.writer(memory, settings)?;
    begin_from(old, new)?;
    let mut imported = Imported { lost: not_stored(&schema, carried_over(&from)).1, ..Imported::default() };
    for_each(&searcher(from.index())?, carried_over(&from), |_, _, document| {
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

/// Every document that is not deleted, with its segment and number: what is stored of it, and what columns hold of the fields that
/// are not stored and wanted.
fn for_each(
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

fn names(schema: &Schema) -> String {
    let names: Vec<String> = schema.fields().map(|(_, entry)| format!("`{}`", entry.name())).collect();
    names.join(", ")
}
