//! An index of `adam`, read into a new one with the vectors of another model.

use std::path::Path;
use std::sync::Arc;

use adam_encoder::TextEncoder;
use tantivy::schema::{Field, Schema};
use tantivy_dense::{VectorField, VectorOptions};

use super::options::ReembedOptions;
use super::reading::{ImportReport, for_each, not_stored, searcher};
use super::source::{begin_from, check_destination, check_layout, check_source};
use crate::chunk::ChunkFields;
use crate::engine::{Engine, renewed};
use crate::error::PluginError;
use crate::hash::HashFields;
use crate::manifest::PinnedModel;
use crate::writer::WriterSettings;

/// Fields of an index of `adam` that [`reembed`] cannot carry over, since they are neither stored nor in columns: only an index with
/// a schema of its own has any.
///
/// # Errors
/// When the folder is no index of `adam`.
pub fn losses(old: impl AsRef<Path>) -> Result<Vec<String>, PluginError> {
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
    old: impl AsRef<Path>,
    new: impl AsRef<Path>,
    encoder: Arc<dyn TextEncoder>,
    model: PinnedModel,
    options: &ReembedOptions,
    settings: WriterSettings,
) -> Result<ImportReport, PluginError> {
    let (old, new) = (old.as_ref(), new.as_ref());
    let from = Engine::open(old)?;
    let schema = from.index().schema();
    let layout = from.manifest().layout.clone();
    // The same fields in the same order, so that stored documents can be handed over as they are; only the vector field has
    // the new model's dimension, and text is analysed as in new indexes.
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
    let engine =
        Engine::builder(new).encoder(encoder).pinned(model).schema(builder.build(), layout).open_or_create()?;
    let key = engine.index().schema().get_field(&engine.manifest().layout.key)?;
    let mut writer = engine.writer(options.write.memory, settings)?;
    begin_from(old, new)?;
    let mut report = ImportReport { num_docs: 0, lost: not_stored(&schema, carried_over(&from)).1 };
    for_each(&searcher(from.index())?, carried_over(&from), |_, _, document| {
        // Further chunks of a document have no key; they are made anew.
        if document.get_first(key).is_none() {
            return Ok(());
        }
        writer.update_document(engine.restored(document))?;
        report.num_docs += 1;
        if report.num_docs.is_multiple_of(options.write.commit_every as u64) {
            writer.commit()?;
        }
        Ok(())
    })?;
    writer.commit()?;
    writer.wait_merging_threads()?;
    Ok(report)
}
