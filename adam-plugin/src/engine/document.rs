//! Documents into an index and out again: which of its fields holds what.

use tantivy::TantivyDocument;
use tantivy::collector::TopDocs;
use tantivy::query::TermQuery;
use tantivy::schema::{Field, IndexRecordOption, OwnedValue, Value};

use super::{Engine, schema};
use crate::error::PluginError;

/// A document as `adam` takes it.
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
    /// Its vector, where somebody made it already with the index's model.
    pub vector: Option<Vec<f32>>,
}

impl Engine {
    /// A document for the writer, in the fields that the index's layout names: the title in the title's, the text in the first
    /// of those that are shown otherwise, both together in searched fields that are not shown, metadata in the metadata's.
    ///
    /// # Errors
    /// When it has no id, something for which the index has no field, or a vector that is not one of the index's.
    pub fn document(&self, document: Document) -> Result<TantivyDocument, PluginError> {
        let fault = |problem: String| PluginError::Document { document: document.id.clone(), problem };
        if document.id.is_empty() {
            return Err(fault("has an empty id".to_owned()));
        }
        // An index that was brought over has its own fields, and not always one for everything.
        let lost = |what: &str| {
            fault(format!("its {what} would be lost, since the index has no field for it: {}", self.described_fields()))
        };
        let mut out = TantivyDocument::new();
        out.add_text(self.fields.key, &document.id);
        let parts =
            [("title", self.title_field(), &document.title), ("text", self.text_fields().next(), &document.text)];
        for (what, field, value) in parts {
            match field {
                _ if value.is_empty() => {}
                Some(field) => out.add_text(field, value),
                None => return Err(lost(what)),
            }
        }
        for &field in &self.fields.searched {
            if field != self.fields.key && Some(field) != self.fields.title && !self.fields.shown.contains(&field) {
                out.add_text(field, format!("{} {}", document.title, document.text).trim());
            }
        }
        match (&document.metadata, &self.card.layout.metadata) {
            (Some(metadata), Some(name)) => {
                let field = self.index.schema().get_field(name)?;
                let object = metadata.iter().map(|(name, value)| (name.clone(), owned(value))).collect();
                out.add_object(field, object);
            }
            (Some(metadata), None) if !metadata.is_empty() => return Err(lost("metadata")),
            _ => {}
        }
        if let Some(vector) = &document.vector {
            self.fields.vector.add(&mut out, vector)?;
        }
        Ok(out)
    }

    /// The title's field. The key's is not one to write a title to, even where it is shown as such.
    fn title_field(&self) -> Option<Field> {
        self.fields.title.filter(|&field| field != self.fields.key)
    }

    /// The fields that are shown as text.
    fn text_fields(&self) -> impl Iterator<Item = Field> {
        let (key, title) = (self.fields.key, self.fields.title);
        self.fields.shown.iter().copied().filter(move |&field| field != key && Some(field) != title)
    }

    /// Which field is for what, for messages.
    fn described_fields(&self) -> String {
        let schema = self.index.schema();
        let place = |field: Option<Field>| {
            field.map_or_else(|| "nowhere".to_owned(), |field| format!("in `{}`", schema.get_field_name(field)))
        };
        let metadata = self.card.layout.metadata.as_ref().map_or("nowhere".to_owned(), |name| format!("in `{name}`"));
        format!(
            "it keeps ids {}, titles {}, texts {} and metadata {metadata}",
            place(Some(self.fields.key)),
            place(self.title_field()),
            place(self.text_fields().next()),
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

    /// A stored document by its id, its text from all fields that are shown beside the title.
    ///
    /// # Errors
    /// tantivy's.
    pub fn get(&self, id: &str) -> Result<Option<Document>, PluginError> {
        let searcher = self.reader.searcher();
        let query = TermQuery::new(self.key_term(id), IndexRecordOption::Basic);
        let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
        let Some(&(_, address)) = found.first() else { return Ok(None) };
        let stored: TantivyDocument = searcher.doc(address)?;
        let text = |fields: &mut dyn Iterator<Item = Field>| {
            let values = fields.flat_map(|field| stored.get_all(field));
            values.filter_map(|value| value.as_str()).collect::<Vec<_>>().join(" ")
        };
        Ok(Some(Document {
            id: id.to_owned(),
            title: text(&mut self.fields.title.into_iter()),
            text: text(&mut self.text_fields()),
            metadata: self.metadata(&stored),
            vector: None,
        }))
    }

    pub(super) fn metadata(&self, stored: &TantivyDocument) -> Option<serde_json::Map<String, serde_json::Value>> {
        let field = self.index.schema().get_field(self.card.layout.metadata.as_ref()?).ok()?;
        let owned = OwnedValue::from(stored.get_first(field)?.as_value());
        match serde_json::to_value(&owned) {
            Ok(serde_json::Value::Object(object)) => Some(object),
            _ => None,
        }
    }
}

/// A JSON value as tantivy keeps it; a string that is a date with time and zone becomes a date.
fn owned(value: &serde_json::Value) -> OwnedValue {
    match value {
        // tantivy brings dates to UTC, and panics where that leads into the year 10000. Dates beyond 2262 stay text there in
        // any case, so nothing is lost.
        serde_json::Value::String(text) if text.starts_with("9999-12-31") => OwnedValue::Str(text.clone()),
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
    fn dates_that_utc_moves_out_of_reach_stay_text() {
        let late = "9999-12-31T23:59:59-05:00";
        let early = "0000-01-01T00:00:00+05:00";
        let text = |text: &str| OwnedValue::Str(text.to_owned());
        assert_eq!(owned(&serde_json::json!(late)), text(late));
        assert_eq!(owned(&serde_json::json!(early)), text(early));
        assert_eq!(owned(&serde_json::json!([{ "a": [late] }])), {
            let inner = OwnedValue::Array(vec![text(late)]);
            OwnedValue::Array(vec![OwnedValue::Object(vec![("a".to_owned(), inner)])])
        });
        // The others as before.
        assert!(matches!(owned(&serde_json::json!("2024-05-31T00:00:00Z")), OwnedValue::Date(_)));
        assert_eq!(owned(&serde_json::json!(5)), OwnedValue::I64(5));
        assert_eq!(owned(&serde_json::json!("2024")), text("2024"));
    }
}
