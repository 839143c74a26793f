//! One line of `corpus.jsonl` or `queries.jsonl`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::BeirError;

/// A document of the corpus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// `_id`: unique in its corpus.
    pub id: String,
    /// The title; empty where there is none.
    pub title: String,
    /// The text.
    pub text: String,
}

impl Document {
    /// Title and text with one space between, as BEIR's own models see a document; surrounding white space is cut.
    pub fn full_text(&self) -> String {
        let mut whole = String::with_capacity(self.title.len() + 1 + self.text.len());
        whole.push_str(&self.title);
        whole.push(' ');
        whole.push_str(&self.text);
        whole.trim().to_owned()
    }
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// `_id`: unique among the queries.
    pub id: String,
    /// What is asked.
    pub text: String,
}

/// An id is text in BEIR, but plain numbers occur in files that others made.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(serde_json::Number),
}

impl Id {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// A line; `M` is what becomes of the metadata, which costs time to read and is rarely wanted.
#[derive(Deserialize)]
#[serde(bound(deserialize = "M: Deserialize<'de>"))]
struct Fields<M> {
    #[serde(rename = "_id")]
    id: Option<Id>,
    title: Option<String>,
    text: Option<String>,
    metadata: Option<M>,
    /// What bears another name.
    #[serde(flatten)]
    unread: BTreeMap<String, serde::de::IgnoredAny>,
}

/// A document with what its line says beside id, title and text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// The document.
    pub document: Document,
    /// `metadata`: names and values of any kind; empty where there are none.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Names of the line's other fields, in alphabetical order; the format has no place for them.
    pub unread: Vec<String>,
}

fn fields<M: for<'de> Deserialize<'de>>(file: &str, line: u64, text: &str) -> Result<(String, Fields<M>), BeirError> {
    if !text.trim_start().starts_with('{') {
        return Err(BeirError::line(file, line, "not a JSON object"));
    }
    let mut record: Fields<M> = serde_json::from_str(text).map_err(|fault| {
        // serde_json counts lines within the text it was given, which is always line 1 here.
        let said = fault.to_string();
        let said = said.split(" at line ").next().unwrap_or(&said);
        let problem = match fault.classify() {
            serde_json::error::Category::Data => format!("not a usable record: {said}"),
            _ => format!("not valid JSON: {said} (column {})", fault.column()),
        };
        BeirError::line(file, line, problem)
    })?;
    let Some(id) = record.id.take() else {
        return Err(BeirError::line(file, line, "the record has no `_id`"));
    };
    let id = id.into_text();
    if id.trim().is_empty() {
        return Err(BeirError::line(file, line, "the record's `_id` is empty"));
    }
    Ok((id, record))
}

fn whole(
    file: &str,
    line: u64,
    id: String,
    title: Option<String>,
    text: Option<String>,
) -> Result<Document, BeirError> {
    match text {
        Some(text) => Ok(Document { id, title: title.unwrap_or_default(), text }),
        None => Err(BeirError::line(file, line, format!("document `{id}` has no `text`"))),
    }
}

pub(crate) fn document(file: &str, line: u64, text: &str) -> Result<Document, BeirError> {
    let (id, fields) = fields::<serde::de::IgnoredAny>(file, line, text)?;
    whole(file, line, id, fields.title, fields.text)
}

pub(crate) fn record(file: &str, line: u64, text: &str) -> Result<Record, BeirError> {
    let (id, fields) = fields::<serde_json::Map<String, serde_json::Value>>(file, line, text)?;
    Ok(Record {
        document: whole(file, line, id, fields.title, fields.text)?,
        metadata: fields.metadata.unwrap_or_default(),
        unread: fields.unread.into_keys().collect(),
    })
}

pub(crate) fn query(file: &str, line: u64, text: &str) -> Result<Query, BeirError> {
    let (id, fields) = fields::<serde::de::IgnoredAny>(file, line, text)?;
    match fields.text {
        Some(text) if !text.trim().is_empty() => Ok(Query { id, text }),
        _ => Err(BeirError::line(file, line, format!("query `{id}` has no text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_may_lack_a_title_and_bear_a_number() {
        let read = document("c", 1, r#"{"_id": 7, "text": "t", "title": null, "metadata": {"a": [1]}}"#).unwrap();
        assert_eq!(read.id, "7");
        assert_eq!(read.full_text(), "t");
    }

    #[test]
    fn fields_without_a_place_are_named() {
        let line = r#"{"url": {"a": [1]}, "_id": "a", "text": "t", "metadata": {"year": 1}, "author": null}"#;
        let read = record("c", 1, line).unwrap();
        assert_eq!(read.unread, ["author", "url"]);
        assert_eq!(read.metadata.len(), 1);
        assert_eq!(read.document, document("c", 1, line).unwrap());
    }

    #[test]
    fn title_and_text_are_joined_by_one_space() {
        let both = Document { id: "1".into(), title: "A title.".into(), text: "Then text. ".into() };
        assert_eq!(both.full_text(), "A title. Then text.");
    }

    #[test]
    fn faults_say_what_and_where() {
        let said = |result: Result<Document, BeirError>| result.unwrap_err().to_string();
        assert_eq!(
            said(document("corpus.jsonl", 3, r#"{"_id": "a", "text": "#)),
            "corpus.jsonl line 3: not valid JSON: EOF while parsing a value (column 21)"
        );
        assert_eq!(said(document("c", 4, "plain words")), "c line 4: not a JSON object");
        assert_eq!(said(document("c", 5, r#"["a"]"#)), "c line 5: not a JSON object");
        assert_eq!(said(document("c", 6, r#"{"text": "x"}"#)), "c line 6: the record has no `_id`");
        assert_eq!(said(document("c", 7, r#"{"_id": " ", "text": "x"}"#)), "c line 7: the record's `_id` is empty");
        assert_eq!(said(document("c", 8, r#"{"_id": "x"}"#)), "c line 8: document `x` has no `text`");
        assert!(said(document("c", 9, r#"{"_id": "x", "text": 3}"#)).starts_with("c line 9: not a usable record"));
        let deep = format!(r#"{{"_id": "x", "text": "t", "metadata": {}"#, "[".repeat(100_000));
        assert!(said(document("c", 10, &deep)).starts_with("c line 10: not valid JSON"));
        assert_eq!(
            query("q", 2, r#"{"_id": "7", "text": ""}"#).unwrap_err().to_string(),
            "q line 2: query `7` has no text"
        );
        assert_eq!(query("q", 2, r#"{"_id": "7"}"#).unwrap_err().to_string(), "q line 2: query `7` has no text");
    }
}
