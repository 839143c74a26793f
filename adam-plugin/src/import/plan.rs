//! An index without vectors, read into a new one with vectors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::TextEncoder;
use tantivy::Index;
use tantivy::schema::{FieldType, STORED, STRING, Schema};
use tantivy_dense::{VectorField, VectorOptions};

use super::key;
use super::options::ImportOptions;
use super::reading::{ImportReport, for_each, names, not_stored, open_plain, refusal, searcher};
use super::source::{begin_from, check_destination, check_layout, check_source};
use crate::chunk::ChunkFields;
use crate::engine::Engine;
use crate::error::PluginError;
use crate::hash::HashFields;
use crate::manifest::{Layout, PinnedModel};
use crate::template::Template;
use crate::writer::WriterSettings;

/// Name of the field that says which document of the old index one was, where the old index has no key.
pub const ORIGIN: &str = "adam_origin";

/// Name of the vector field that a new index gets.
const VECTOR: &str = "vector";

/// What an import would do, found before any of the work.
pub struct Plan {
    old: PathBuf,
    options: ImportOptions,
    index: Index,
    num_docs: u64,
    recovered: Vec<String>,
    lost: Vec<String>,
}

impl Plan {
    /// Number of documents to read.
    pub fn num_docs(&self) -> u64 {
        self.num_docs
    }

    /// Fields that are not stored in the old index, and whose values are read from its columns.
    pub fn recovered(&self) -> &[String] {
        &self.recovered
    }

    /// Fields that are neither stored nor in columns, so that they are empty in the new index.
    pub fn lost(&self) -> &[String] {
        &self.lost
    }

    /// Looks at a tantivy index without vectors. Of its documents, only the terms of the key are read.
    ///
    /// # Errors
    /// When the old index cannot be read, a field is missing, not stored, or analysed by a tokenizer that is not tantivy's own, a field
    /// has a name that the new index needs for one of its own, or the key cannot serve as one: it is no stored term, two documents
    /// share it, or a document has none or several.
    pub fn new(old: impl AsRef<Path>, options: &ImportOptions) -> Result<Self, PluginError> {
        let old = old.as_ref();
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
        Ok(Self {
            old: old.to_path_buf(),
            options: options.clone(),
            num_docs: searcher.num_docs(),
            recovered,
            lost,
            index,
        })
    }

    /// Reads the old index into a new one with vectors.
    ///
    /// # Errors
    /// When a document cannot be read or embedded, or the new index cannot be written.
    pub fn run(
        self,
        new: impl AsRef<Path>,
        encoder: Arc<dyn TextEncoder>,
        model: PinnedModel,
        settings: WriterSettings,
    ) -> Result<ImportReport, PluginError> {
        let Self { old, options, index, lost, .. } = self;
        let (old, new) = (old.as_path(), new.as_ref());
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
            template: Template::joining(&options.fields)?.to_string(),
            chunks: options.chunks,
        };
        check_layout(new, &layout)?;
        check_source(old, new)?;
        let engine =
            Engine::builder(new).encoder(encoder).pinned(model).schema(builder.build(), layout).open_or_create()?;
        let origin = engine.index().schema().get_field(ORIGIN).ok().filter(|_| options.key.is_none());
        let mut writer = engine.writer(options.write.memory, settings)?;
        begin_from(old, new)?;
        let mut report = ImportReport { num_docs: 0, lost };
        for_each(
            &searcher(&index)?,
            |_| true,
            |segment, doc, mut document| {
                if let Some(origin) = origin {
                    document.add_text(origin, format!("{segment}:{doc}"));
                }
                writer.update_document(document)?;
                report.num_docs += 1;
                if report.num_docs.is_multiple_of(options.write.commit_every as u64) {
                    writer.commit()?;
                }
                Ok(())
            },
        )?;
        writer.commit()?;
        writer.wait_merging_threads()?;
        Ok(report)
    }
}

/// Reads a tantivy index without vectors into a new one with vectors: makes a [`Plan`] and runs it.
///
/// # Errors
/// As [`Plan::new`] and [`Plan::run`].
pub fn import(
    old: impl AsRef<Path>,
    new: impl AsRef<Path>,
    encoder: Arc<dyn TextEncoder>,
    model: PinnedModel,
    options: &ImportOptions,
    settings: WriterSettings,
) -> Result<ImportReport, PluginError> {
    check_destination(old.as_ref(), new.as_ref())?;
    Plan::new(old, options)?.run(new, encoder, model, settings)
}

/// Refuses fields that have a name which the new index needs for a field of its own.
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
                 program that makes this index"
            ),
        }),
    }
}
