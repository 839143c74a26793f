//! The fields of an index that `adam` makes.

use tantivy::schema::{
    FAST, Field, FieldType, IndexRecordOption, JsonObjectOptions, STORED, STRING, Schema, TextFieldIndexing,
    TextOptions,
};
use tantivy_dense::{VectorField, VectorOptions};

use super::language::Language;
use crate::chunk::{ChunkFields, Chunking};
use crate::error::PluginError;
use crate::hash::HashFields;
use crate::manifest::Layout;
use crate::template::{Bound, Template};

/// The schema for vectors of some dimension.
///
/// BM25 ranks by one field, `content`, that holds title and text together: of two fields with lengths and statistics of their own,
/// a match in a short title would outweigh several in the text.
pub(crate) fn schema(dimension: usize, language: Language, chunks: Option<Chunking>) -> Result<Schema, PluginError> {
    let mut schema = Schema::builder();
    schema.add_text_field("id", STRING | STORED | FAST);
    schema.add_text_field("title", STORED);
    schema.add_text_field("text", STORED);
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(&language.analyser())
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    schema.add_text_field("content", TextOptions::default().set_indexing_options(indexing));
    schema.add_json_field("metadata", metadata_options());
    VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(dimension))?;
    HashFields::add_to(&mut schema);
    if chunks.is_some() {
        ChunkFields::add_to(&mut schema);
    }
    Ok(schema.build())
}

/// How metadata is indexed: each value as one term, and in columns.
pub(crate) fn metadata_options() -> JsonObjectOptions {
    JsonObjectOptions::from(STORED | FAST).set_indexing_options(
        TextFieldIndexing::default().set_tokenizer("raw").set_index_option(IndexRecordOption::Basic),
    )
}

/// Which field is for what in [`schema`].
pub(crate) fn layout(chunks: Option<Chunking>) -> Layout {
    Layout {
        key: "id".to_owned(),
        searched: vec!["content".to_owned()],
        title: Some("title".to_owned()),
        shown: vec!["title".to_owned(), "text".to_owned()],
        metadata: Some("metadata".to_owned()),
        vector: "vector".to_owned(),
        template: "{title} {text}".to_owned(),
        chunks,
    }
}

/// The field that [`schema`] has for searched text, if this is such a schema: made of title and text, and not stored. With its
/// language.
pub(crate) fn own_content(schema: &Schema) -> Option<(Field, Language)> {
    let field = schema.get_field("content").ok()?;
    let FieldType::Str(options) = schema.get_field_entry(field).field_type() else { return None };
    let (language, _) = Language::of_analyser(options.get_indexing_options()?.tokenizer())?;
    (!options.is_stored()).then_some((field, language))
}

/// The fields of an index, by its layout.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) key: Field,
    /// Whether the key is a column of text.
    pub(crate) key_is_column: bool,
    pub(crate) searched: Vec<Field>,
    pub(crate) title: Option<Field>,
    pub(crate) shown: Vec<Field>,
    pub(crate) vector: VectorField,
    pub(crate) chunks: Option<ChunkFields>,
    /// What of a document is embedded.
    pub(crate) template: Bound,
}

impl Fields {
    pub(crate) fn of(schema: &Schema, layout: &Layout) -> Result<Self, PluginError> {
        let field = |name: &String| {
            schema.get_field(name).map_err(|_| {
                PluginError::field(name, "is named in the index's manifest, and the index has none of that name")
            })
        };
        let key = field(&layout.key)?;
        let entry = schema.get_field_entry(key);
        Ok(Self {
            key,
            key_is_column: entry.is_fast() && matches!(entry.field_type(), FieldType::Str(_)),
            searched: layout.searched.iter().map(field).collect::<Result<_, _>>()?,
            title: layout.title.as_ref().map(field).transpose()?,
            shown: layout.shown.iter().map(field).collect::<Result<_, _>>()?,
            vector: VectorField::from_schema(schema, &layout.vector)?,
            chunks: layout.chunks.map(|_| ChunkFields::from_schema(schema)).transpose()?,
            template: layout.template.parse::<Template>()?.bind(schema)?,
        })
    }
}
