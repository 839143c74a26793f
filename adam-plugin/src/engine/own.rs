//! The fields that an index has in addition to those its layout names, such as `price` and `brand` of an index that was brought over.
//!
//! A document's metadata goes into them by name, with the type of each, and comes back from them in hits. In an index that
//! `adam index` made there are no such fields.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use tantivy::schema::{Facet, Field, FieldEntry, FieldType, OwnedValue, Schema};
use tantivy::{DocAddress, Searcher, TantivyDocument};

use super::Engine;
use super::document::owned_object;
use crate::chunk::ChunkFields;
use crate::columns::Columns;
use crate::error::PluginError;
use crate::filter::instant;
use crate::hash::HashFields;

impl Engine {
    /// Whether a field is one that metadata is written to by its name.
    fn is_own(&self, schema: &Schema, field: Field) -> bool {
        let (fields, name) = (&self.fields, schema.get_field_name(field));
        let named_by_layout = field == fields.key
            || field == fields.vector.field()
            || Some(field) == self.title_field()
            || Some(field) == self.text_fields().next()
            || (fields.searched.contains(&field) && !fields.shown.contains(&field))
            || self.manifest.layout.metadata.as_deref() == Some(name);
        let entry = schema.get_field_entry(field);
        let made = matches!(entry.field_type(), FieldType::Custom(_) | FieldType::TieBreaker);
        !named_by_layout && !made && !HashFields::is_hash(name) && !ChunkFields::is_one(name)
    }

    /// Names of the fields that metadata is written to by its names, in the order of the schema: those of an index that was brought
    /// over or has a schema of its own.
    pub fn own_fields(&self) -> Vec<String> {
        let schema = self.index.schema();
        let own = schema.fields().filter(|(field, _)| self.is_own(&schema, *field));
        own.map(|(_, entry)| entry.name().to_owned()).collect()
    }

    /// Writes metadata to the fields that bear its names, and gives back what none bears.
    ///
    /// # Errors
    /// In words, where a value is not of the field's type.
    pub(super) fn add_own(
        &self,
        document: &mut TantivyDocument,
        metadata: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let schema = self.index.schema();
        let mut left = Map::new();
        for (name, value) in metadata {
            match schema.get_field(name) {
                Ok(field) if self.is_own(&schema, field) => {
                    let entry = schema.get_field_entry(field);
                    let values = match value {
                        Value::Array(values) => values.as_slice(),
                        one => std::slice::from_ref(one),
                    };
                    for value in values.iter().filter(|value| !value.is_null()) {
                        add_typed(document, field, entry, value)?;
                    }
                }
                _ => {
                    left.insert(name.clone(), value.clone());
                }
            }
        }
        Ok(left)
    }

    /// Adds the values of fields that are not stored but in columns to a document that was read from the store.
    pub(super) fn add_columns(
        &self,
        searcher: &Searcher,
        address: DocAddress,
        document: &mut TantivyDocument,
    ) -> Result<(), PluginError> {
        let schema = searcher.schema();
        let reader = searcher.segment_reader(address.segment_ord);
        let columns = Columns::open(reader, schema, |field| self.is_own(schema, field))?;
        Ok(columns.add_to(document, address.doc_id)?)
    }

    /// What a document holds in own fields, by name: a value, or an array of several.
    pub(super) fn own_values(&self, document: &TantivyDocument) -> Map<String, Value> {
        let schema = self.index.schema();
        let mut found: BTreeMap<Field, Vec<Value>> = BTreeMap::new();
        for (field, value) in document.field_values().filter(|(field, _)| self.is_own(&schema, *field)) {
            let value = tantivy::schema::Value::as_value(&value);
            found.entry(field).or_default().extend(serde_json::to_value(OwnedValue::from(value)).ok());
        }
        let named = found.into_iter().map(|(field, mut values)| {
            let value = if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
            (schema.get_field_name(field).to_owned(), value)
        });
        named.collect()
    }
}

fn add_typed(document: &mut TantivyDocument, field: Field, entry: &FieldEntry, value: &Value) -> Result<(), String> {
    let wrong = || {
        let mut found = value.to_string();
        if let Some((end, _)) = found.char_indices().nth(60) {
            found.truncate(end);
            found.push_str("...");
        }
        format!("its metadata `{}` is {found}, and that field of the index takes {}", entry.name(), expected(entry))
    };
    match (entry.field_type(), value) {
        // tantivy's own conversion panics at a text without a slash.
        (FieldType::Facet(_), Value::String(text)) => {
            document.add_facet(field, Facet::from_text(text).map_err(|_| wrong())?);
        }
        (FieldType::Date(_), Value::String(text)) => document.add_date(field, instant(text).ok_or_else(wrong)?),
        // A number in a field of dates would be taken as it is, and fail when it is indexed.
        (FieldType::Date(_), _) => return Err(wrong()),
        (FieldType::JsonObject(_), Value::Object(object)) => document.add_object(field, owned_object(object)),
        (FieldType::U64(_) | FieldType::I64(_), Value::Number(number)) => {
            let whole = Value::Number(whole(number).unwrap_or_else(|| number.clone()));
            let value = entry.field_type().value_from_json(whole).map_err(|_| wrong())?;
            document.add_field_value(field, &value);
        }
        (kind, value) => {
            let value = kind.value_from_json(value.clone()).map_err(|_| wrong())?;
            document.add_field_value(field, &value);
        }
    }
    Ok(())
}

/// `3.0`, which many programs write for 3, as a whole number.
fn whole(number: &Number) -> Option<Number> {
    const MOST: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() <= MOST)?;
    Some(Number::from(float as i64))
}

/// What a field takes, in words.
fn expected(entry: &FieldEntry) -> &'static str {
    match entry.field_type() {
        FieldType::Str(_) => "text",
        FieldType::U64(_) => "whole numbers from 0 to 2^64 - 1",
        FieldType::I64(_) => "whole numbers",
        FieldType::F64(_) => "numbers",
        FieldType::Bool(_) => "true or false",
        FieldType::Date(_) => "dates such as \"2024-05-31\" or \"2024-05-31T10:00:00Z\"",
        FieldType::Facet(_) => "facets such as \"/tools/kitchen\"",
        FieldType::Bytes(_) => "bytes as base64 text",
        FieldType::IpAddr(_) => "IP addresses",
        FieldType::JsonObject(_) => "JSON objects",
        FieldType::TieBreaker | FieldType::Custom(_) => "nothing from a document",
    }
}
