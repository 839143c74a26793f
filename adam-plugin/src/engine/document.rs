//! Documents into an index and out again: which of its fields holds what.

use tantivy::collector::TopDocs;
use tantivy::query::TermQuery;
use tantivy::schema::{Field, IndexRecordOption, OwnedValue, Value};
use tantivy::{DocAddress, Searcher, TantivyDocument};

use super::{Engine, check_vector, schema};
use crate::error::PluginError;
use crate::lookup::documents_with;

/// A document as it is written and read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Its key: a document with the same one is replaced.
    pub id: String,
    /// Its title, which may be empty.
    pub title: String,
    /// Its text.
    pub text: String,
    /// What can be filtered by: a JSON object.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// Its vector, if it was already made with the index's model.
    pub vector: Option<Vec<f32>>,
}

impl Engine {
    /// A document for the writer, in the fields that the index's layout names: the title in the title's, the text in the first
    /// of those that are shown otherwise, both together in searched fields that are not shown. Metadata goes into fields of the
    /// index's own that bear its names, with the type of each, and else into the metadata's.
    ///
    /// # Errors
    /// When it has no id or one of more than 512 characters, metadata of more than 1,000 names, something for which the index has no
    /// field or a field of another type, or a vector that is not one of the index's.
    pub fn document(&self, document: Document) -> Result<TantivyDocument, PluginError> {
        let Document { id, mut title, mut text, metadata, vector } = document;
        let fault = |problem: String| PluginError::Document { document: shown(&id), problem };
        check_id(&id).map_err(|problem| fault(format!("its id {problem}")))?;
        // An index that was brought over has its own fields, and not always one for everything.
        let lost = |what: &str| {
            fault(format!("its {what} would be lost, since the index has no field for it: {}", self.described_fields()))
        };
        let mut out = TantivyDocument::new();
        out.add_text(self.fields.key, &id);
        if let Some(metadata) = &metadata {
            check_metadata(metadata).map_err(fault)?;
            let mut left = self.add_own(&mut out, metadata).map_err(fault)?;
            if let Some(name) = &self.manifest.layout.metadata {
                let field = self.index.schema().get_field(name)?;
                out.add_object(field, owned_object(&left));
            } else {
                self.take_by_name(&mut left, &id, &mut title, &mut text).map_err(fault)?;
                let names: Vec<String> = left.keys().map(|name| format!("`{}`", shown(name))).collect();
                if !names.is_empty() {
                    return Err(lost(&format!("metadata {}", names.join(", "))));
                }
            }
        }
        let parts = [("title", self.title_field(), &title), ("text", self.text_fields().next(), &text)];
        for (what, field, value) in parts {
            match field {
                _ if value.is_empty() => {}
                Some(field) => out.add_text(field, value),
                None => return Err(lost(what)),
            }
        }
        for &field in &self.fields.searched {
            if field != self.fields.key && Some(field) != self.fields.title && !self.fields.shown.contains(&field) {
                out.add_text(field, format!("{title} {text}").trim());
            }
        }
        if let Some(vector) = &vector {
            check_vector(vector.iter().copied(), self.manifest.model.dimension)
                .map_err(|problem| fault(format!("its vector {problem}")))?;
            self.fields.vector.add(&mut out, vector)?;
        }
        Ok(out)
    }

    /// Metadata that bears the name of the key's, title's or text's field is that part of the document, where the document does not
    /// say it otherwise.
    fn take_by_name(
        &self,
        metadata: &mut serde_json::Map<String, serde_json::Value>,
        id: &str,
        title: &mut String,
        text: &mut String,
    ) -> Result<(), String> {
        let schema = self.index.schema();
        let mut key = id.to_owned();
        let parts = [
            ("id", Some(self.fields.key), &mut key),
            ("title", self.title_field(), title),
            ("text", self.text_fields().next(), text),
        ];
        for (what, field, known) in parts {
            let Some(name) = field.map(|field| schema.get_field_name(field)) else { continue };
            match metadata.remove(name) {
                None | Some(serde_json::Value::Null) => {}
                Some(serde_json::Value::String(value)) if known.is_empty() || *known == value => *known = value,
                Some(serde_json::Value::String(_)) => {
                    return Err(format!("its {what} is given twice, with another value in the metadata `{name}`"));
                }
                Some(_) => {
                    return Err(format!("its metadata `{name}` is not text, and that field of the index takes text"));
                }
            }
        }
        Ok(())
    }

    /// The title's field. The key's is not one to write a title to, even where it is shown as such.
    pub(super) fn title_field(&self) -> Option<Field> {
        self.fields.title.filter(|&field| field != self.fields.key)
    }

    /// The fields that are shown as text.
    pub(super) fn text_fields(&self) -> impl Iterator<Item = Field> {
        let (key, title) = (self.fields.key, self.fields.title);
        self.fields.shown.iter().copied().filter(move |&field| field != key && Some(field) != title)
    }

    /// Which field is for what, for messages.
    fn described_fields(&self) -> String {
        let schema = self.index.schema();
        let named = |field: Option<Field>| {
            field.map_or_else(|| "nowhere".to_owned(), |field| format!("in `{}`", schema.get_field_name(field)))
        };
        let own = self.own_fields();
        let metadata = match &self.manifest.layout.metadata {
            Some(name) => format!("in `{name}`"),
            None if own.is_empty() => "nowhere".to_owned(),
            None => format!("by name in `{}`", own.join("`, `")),
        };
        format!(
            "it keeps ids {}, titles {}, texts {} and metadata {metadata}",
            named(Some(self.fields.key)),
            named(self.title_field()),
            named(self.text_fields().next()),
        )
    }

    /// A document that was read from the store of an index with the same fields, for the writer: what is indexed and not
    /// stored is put together again.
    pub(crate) fn restored(&self, mut document: TantivyDocument) -> TantivyDocument {
        let schema = self.index.schema();
        let text = |document: &TantivyDocument, name: &str| {
            let field = schema.get_field(name).ok()?;
            document.get_first(field)?.as_str().map(str::to_owned)
        };
        if let Some((content, _)) = schema::own_content(&schema)
            && document.get_first(content).is_none()
        {
            let title = text(&document, "title").unwrap_or_default();
            let body = text(&document, "text").unwrap_or_default();
            document.add_text(content, format!("{title} {body}").trim());
        }
        document
    }

    /// A stored document by its id, as it can be given to [`Engine::document`] again: further shown fields are in its metadata, by name.
    ///
    /// # Errors
    /// tantivy's.
    pub fn get(&self, id: &str) -> Result<Option<Document>, PluginError> {
        self.check_folder()?;
        let searcher = self.reader.searcher();
        let query = TermQuery::new(self.key_term(id), IndexRecordOption::Basic);
        let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
        let Some(&(_, address)) = found.first() else { return Ok(None) };
        let mut stored: TantivyDocument = searcher.doc(address)?;
        self.add_columns(&searcher, address, &mut stored)?;
        Ok(Some(self.read(id.to_owned(), &stored)))
    }

    /// A stored document as it was written, without its vector.
    pub(super) fn read(&self, id: String, stored: &TantivyDocument) -> Document {
        let text = |fields: &mut dyn Iterator<Item = Field>| {
            let values = fields.flat_map(|field| stored.get_all(field));
            values.filter_map(|value| value.as_str()).collect::<Vec<_>>().join(" ")
        };
        Document {
            id,
            title: text(&mut self.fields.title.into_iter()),
            text: text(&mut self.text_fields().take(1)),
            metadata: self.metadata(stored),
            vector: None,
        }
    }

    /// Where the document of a key is.
    pub(super) fn address_of(&self, searcher: &Searcher, id: &str) -> Result<Option<DocAddress>, PluginError> {
        Ok(documents_with(searcher, &self.key_term(id))?.first().copied())
    }

    /// What is known of a document apart from title and text: its metadata, and the values of the index's own fields.
    pub(super) fn metadata(&self, stored: &TantivyDocument) -> Option<serde_json::Map<String, serde_json::Value>> {
        let own = self.own_values(stored);
        let Some(name) = &self.manifest.layout.metadata else { return (!own.is_empty()).then_some(own) };
        let field = self.index.schema().get_field(name).ok()?;
        let kept = stored.get_first(field).map(|value| serde_json::to_value(OwnedValue::from(value.as_value())));
        match kept {
            Some(Ok(serde_json::Value::Object(mut object))) => {
                object.extend(own);
                Some(object)
            }
            _ => (!own.is_empty()).then_some(own),
        }
    }
}

/// Longest id of a document, in characters.
pub const MAX_ID_CHARS: usize = 512;

/// Refuses an id that a document cannot have.
///
/// # Errors
/// When it is empty, blank, or longer than [`MAX_ID_CHARS`] characters; the text follows the name of the field.
pub fn check_id(id: &str) -> Result<(), String> {
    if id.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    match id.chars().count() {
        count if count > MAX_ID_CHARS => Err(format!("has {count} characters; at most {MAX_ID_CHARS} are allowed")),
        _ => Ok(()),
    }
}

/// Most names in the metadata of one document, at all depths: each is a column of its own in the index.
const MAX_NAMES: usize = 1000;

/// Refuses metadata that would make too many columns.
///
/// # Errors
/// In words, when it has more than 1,000 names at all depths.
pub fn check_metadata(metadata: &serde_json::Map<String, serde_json::Value>) -> Result<(), String> {
    fn collect(path: &str, value: &serde_json::Value, names: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(members) => members.iter().for_each(|(name, value)| {
                let path = format!("{path}.{name}");
                collect(&path, value, names);
                names.insert(path);
            }),
            serde_json::Value::Array(values) => values.iter().for_each(|value| collect(path, value, names)),
            _ => {}
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for (name, value) in metadata {
        collect(name, value, &mut names);
    }
    match metadata.len() + names.len() {
        count if count > MAX_NAMES => Err(format!("its metadata has {count} names; the limit is {MAX_NAMES}")),
        _ => Ok(()),
    }
}

/// A name as a message can hold it.
fn shown(name: &str) -> String {
    match name.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// A JSON object as tantivy keeps it.
pub(crate) fn owned_object(
    object: &serde_json::Map<String, serde_json::Value>,
) -> std::collections::BTreeMap<String, OwnedValue> {
    object.iter().map(|(name, value)| (name.clone(), owned(value))).collect()
}

/// A JSON value as tantivy keeps it. Text stays the text it is: tantivy would make dates of some, and give them back in UTC.
/// Filters find dates in texts, see [`crate::Filter`].
fn owned(value: &serde_json::Value) -> OwnedValue {
    match value {
        serde_json::Value::String(text) => OwnedValue::Str(text.clone()),
        serde_json::Value::Array(items) => OwnedValue::Array(items.iter().map(owned).collect()),
        serde_json::Value::Object(object) => {
            OwnedValue::Object(object.iter().map(|(name, value)| (name.clone(), owned(value))).collect())
        }
        other => other.clone().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_as_they_were_given() {
        let given = serde_json::json!([
            "2024-05-31T12:00:00+02:00", "9999-12-31T23:59:59-05:00", "0000-01-01T00:00:00+05:00", "2024-05-31", "2024",
            { "a": ["2024-05-31T00:00:00Z"] }, 5, 1.5, true, null
        ]);
        assert_eq!(serde_json::to_value(owned(&given)).unwrap(), given);
        assert_eq!(owned(&serde_json::json!(5)), OwnedValue::I64(5));
        assert_eq!(
            owned(&serde_json::json!("2024-05-31T00:00:00Z")),
            OwnedValue::Str("2024-05-31T00:00:00Z".to_owned())
        );
    }
}
