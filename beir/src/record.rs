//! One record of a corpus or of a table of queries.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{BeirError, Place};
use crate::json::{self, Finite, Object};
use crate::options::{Keep, ReadOptions};

/// The longest id, in characters. An id is one term of an index, and a part of addresses over HTTP.
pub const MAX_ID_CHARS: usize = 512;

/// A document of the corpus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// `_id`: unique in its corpus.
    pub id: String,
    /// The title; empty where there is none.
    pub title: String,
    /// The text; empty where there is none.
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

/// A document with what its record says beside id, title and text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The document.
    pub document: Document,
    /// Members of `metadata`, and the fields that [`Keep`] names; empty where there are none.
    pub metadata: Map<String, Value>,
    /// `vector`: finite numbers; only where the record has such an array.
    pub vector: Option<Vec<f32>>,
    /// Names of the other fields, in alphabetical order.
    pub unread: Vec<String>,
    /// How many numbers were `NaN` or infinite. Within metadata they are null.
    pub non_finite: usize,
    /// Where the record begins; line 0 of a file without a name where it was not read from a file.
    pub place: Place,
}

/// Checks an id by the rules that hold for files, HTTP and the library alike.
///
/// # Errors
/// When the id is empty, blank, or longer than [`MAX_ID_CHARS`] characters; the text follows the name of the field.
pub fn check_id(id: &str) -> Result<(), String> {
    if id.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    match id.chars().count() {
        count if count > MAX_ID_CHARS => Err(format!("has {count} characters; at most {MAX_ID_CHARS} are allowed")),
        _ => Ok(()),
    }
}

/// Why a record cannot be used.
pub(crate) struct Fault {
    /// The text is not JSON at all.
    is_syntax: bool,
    pub(crate) problem: String,
}

impl Fault {
    fn syntax(problem: impl Into<String>) -> Self {
        Self { is_syntax: true, problem: problem.into() }
    }

    fn shape(problem: impl Into<String>) -> Self {
        Self { is_syntax: false, problem: problem.into() }
    }

    pub(crate) fn into_error(self) -> BeirError {
        match self.is_syntax {
            true => BeirError::Json { problem: self.problem },
            false => BeirError::Record { problem: self.problem },
        }
    }
}

/// What a query's record holds.
pub(crate) enum QueryRecord {
    Usable(Query),
    /// It cannot be asked.
    WithoutText {
        id: String,
    },
}

/// The fields of one JSON object, of which some are taken by name.
struct Fields<'a> {
    finite: &'a Finite<'a>,
    fields: Vec<(std::borrow::Cow<'a, str>, &'a str)>,
}

impl<'a> Fields<'a> {
    fn of(text: &str, finite: &'a Finite<'a>) -> Result<Self, Fault> {
        if !finite.text().trim_start().starts_with('{') {
            return Err(match serde_json::from_str::<serde::de::IgnoredAny>(finite.text()) {
                Ok(_) => Fault::shape(format!("not a JSON object, but {}", json::kind(finite.text()))),
                Err(_) => Fault::syntax("not a JSON object"),
            });
        }
        match serde_json::from_str::<Object<'a>>(finite.text()) {
            Ok(Object(fields)) => Ok(Self { finite, fields }),
            Err(fault) => Err(Fault::syntax(match text.trim() {
                "{" => "the object goes on over several lines; write each on one line, or all of them as one JSON array"
                    .to_owned(),
                line if line.ends_with("},") => {
                    "a comma follows the object; objects on lines have none between them, those of a JSON array stand in [ ]"
                        .to_owned()
                }
                _ => format!("not valid JSON: {}", json::said(&fault)),
            })),
        }
    }

    /// Takes a field out.
    fn take(&mut self, name: &str) -> Result<Option<&'a str>, Fault> {
        let Some(at) = self.fields.iter().position(|(field, _)| field == name) else { return Ok(None) };
        let (_, value) = self.fields.swap_remove(at);
        match self.fields.iter().any(|(field, _)| field == name) {
            true => Err(Fault::shape(format!("the record has `{name}` twice"))),
            false => Ok(Some(value)),
        }
    }

    /// What a value is, for messages.
    fn kind(&self, value: &str) -> &'static str {
        if self.finite.was_replaced(value) { "NaN or Infinity" } else { json::kind(value) }
    }

    /// A string; empty where there is none or null.
    fn text(&mut self, name: &str) -> Result<String, Fault> {
        let Some(value) = self.take(name)? else { return Ok(String::new()) };
        match self.kind(value) {
            "a string" => string(name, value),
            "null" => Ok(String::new()),
            kind => Err(Fault::shape(format!("`{name}` must be a string, found {kind}"))),
        }
    }

    /// The id under one of several names.
    fn id(&mut self, names: &[&str]) -> Result<String, Fault> {
        for &name in names {
            let Some(value) = self.take(name)? else { continue };
            let id = match self.kind(value) {
                "a string" => string(name, value)?,
                // The digits as they stand in the file, however many.
                "a number" if value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => value.to_owned(),
                "a number" => {
                    let value: String = value.chars().take(40).collect();
                    return Err(Fault::shape(format!(
                        "`{name}` must be a string or a whole number, found the number {value}"
                    )));
                }
                kind => return Err(Fault::shape(format!("`{name}` must be a string or a whole number, found {kind}"))),
            };
            return match check_id(&id) {
                Ok(()) => Ok(id),
                Err(problem) => Err(Fault::shape(format!("the record's `{name}` {problem}"))),
            };
        }
        // Whoever has ids under another name sees which.
        let mut fields: Vec<String> =
            self.fields.iter().take(10).map(|(field, _)| field.chars().take(40).collect()).collect();
        fields.sort();
        let fields = if fields.is_empty() { "no fields".to_owned() } else { fields.join(", ") };
        Err(Fault::shape(format!("the record has no `{}`; it has {fields}", names.first().unwrap_or(&"_id"))))
    }

    fn metadata(&mut self) -> Result<Map<String, Value>, Fault> {
        let Some(value) = self.take("metadata")? else { return Ok(Map::new()) };
        match self.kind(value) {
            "null" => Ok(Map::new()),
            "an object" => parsed("metadata", value),
            kind => Err(Fault::shape(format!("`metadata` must be an object, found {kind}"))),
        }
    }

    /// The vector, if there is one. Another kind of value under that name is a field like any other.
    fn vector(&mut self) -> Result<Option<Vec<f32>>, Fault> {
        let is_array = |(name, value): &(std::borrow::Cow<'a, str>, &str)| {
            name == "vector" && matches!(json::kind(value), "an array" | "null")
        };
        if !self.fields.iter().any(is_array) {
            return Ok(None);
        }
        let Some(value) = self.take("vector")?.filter(|value| json::kind(value) == "an array") else { return Ok(None) };
        match serde_json::from_str::<Vec<f32>>(value) {
            Ok(vector) if vector.iter().all(|value| value.is_finite()) => Ok(Some(vector)),
            _ => Err(Fault::shape("`vector` must be an array of finite numbers")),
        }
    }
}

fn string(name: &str, value: &str) -> Result<String, Fault> {
    serde_json::from_str(value).map_err(|fault| {
        let said = fault.to_string();
        Fault::shape(match said.contains("surrogate") || said.contains("hex escape") {
            true => format!("`{name}` holds half of a surrogate pair, such as \\ud800, which is no character"),
            false => format!("`{name}`: {}", json::said(&fault)),
        })
    })
}

fn parsed<T: serde::de::DeserializeOwned>(name: &str, value: &str) -> Result<T, Fault> {
    serde_json::from_str(value).map_err(|fault| {
        let said = json::said(&fault);
        Fault::shape(match () {
            () if said.contains("recursion limit") => format!("`{name}` is nested more than 127 levels deep"),
            () if said.contains("surrogate") || said.contains("hex escape") => {
                format!("`{name}` holds half of a surrogate pair, such as \\ud800, which is no character")
            }
            () => format!("`{name}`: {said}"),
        })
    })
}

/// Reads a document and no metadata, which saves time where none is wanted.
pub(crate) fn document(text: &str, options: &ReadOptions) -> Result<Document, Fault> {
    let finite = Finite::of(text);
    whole(&mut Fields::of(text, &finite)?, options)
}

fn whole(fields: &mut Fields<'_>, options: &ReadOptions) -> Result<Document, Fault> {
    let id = match &options.id {
        Some(name) => fields.id(&[name])?,
        None => fields.id(&["_id", "id"])?,
    };
    Ok(Document { id, title: fields.text(options.title_name())?, text: fields.text(options.text_name())? })
}

pub(crate) fn record(text: &str, options: &ReadOptions) -> Result<Record, Fault> {
    let finite = Finite::of(text);
    let mut fields = Fields::of(text, &finite)?;
    let document = whole(&mut fields, options)?;
    let mut metadata = fields.metadata()?;
    let vector = fields.vector()?;
    let (mut unread, mut kept) = (Vec::new(), Vec::new());
    for (name, value) in std::mem::take(&mut fields.fields) {
        let keep = match &options.keep {
            Keep::Nothing => false,
            Keep::Fields(names) => names.iter().any(|wanted| *wanted == name),
            Keep::All => true,
        };
        if keep { kept.push((name.into_owned(), value)) } else { unread.push(name.into_owned()) }
    }
    for (name, value) in kept {
        let value: Value = parsed(&name, value)?;
        if metadata.get(&name).is_some_and(|before| *before != value) {
            let problem = format!("`{name}` stands twice, in the record or its `metadata`, with different values");
            return Err(Fault::shape(problem));
        }
        metadata.insert(name, value);
    }
    unread.sort();
    unread.dedup();
    let place = Place { file: Arc::from(""), line: 0 };
    Ok(Record { document, metadata, vector, unread, non_finite: finite.count(), place })
}

/// Reads a query. Field names of the corpus hold where the record has them, BEIR's otherwise.
pub(crate) fn query(text: &str, options: &ReadOptions) -> Result<QueryRecord, Fault> {
    let finite = Finite::of(text);
    let mut fields = Fields::of(text, &finite)?;
    let has = |fields: &Fields<'_>, name: &str| fields.fields.iter().any(|(field, _)| field == name);
    let id = match &options.id {
        Some(name) if has(&fields, name) => fields.id(&[name])?,
        _ => fields.id(&["_id", "id"])?,
    };
    let text = match &options.text {
        Some(name) if has(&fields, name) => fields.text(name)?,
        _ => fields.text("text")?,
    };
    Ok(match text.trim().is_empty() {
        true => QueryRecord::WithoutText { id },
        false => QueryRecord::Usable(Query { id, text }),
    })
}

/// Reads a judgement that is a JSON object.
pub(crate) fn judgement(text: &str) -> Result<(String, String, i32), Fault> {
    let finite = Finite::of(text);
    let mut fields = Fields::of(text, &finite)?;
    let query = fields.id(&["query-id", "query_id", "qid"])?;
    let document = fields.id(&["corpus-id", "corpus_id", "doc-id", "doc_id", "docid"])?;
    let grade = match fields.take("score")? {
        Some(grade) if fields.kind(grade) == "a number" => self::grade(grade).map_err(Fault::shape)?,
        Some(other) => return Err(Fault::shape(format!("`score` must be a number, found {}", fields.kind(other)))),
        None => return Err(Fault::shape("the record has no `score`")),
    };
    Ok((query, document, grade))
}

/// A grade is a whole number, which some programs write as `1.0`.
pub(crate) fn grade(text: &str) -> Result<i32, String> {
    if let Ok(grade) = text.parse() {
        return Ok(grade);
    }
    match text.parse::<f64>().ok().filter(|grade| grade.is_finite() && grade.fract() == 0.0) {
        // Whole and within the range.
        Some(grade) if grade.abs() <= f64::from(i32::MAX) => Ok(grade as i32),
        Some(_) => Err(format!("grade `{text}` is not between -{0} and {0}", i32::MAX)),
        None => Err(format!("grade `{text}` is not a whole number")),
    }
}

impl ReadOptions {
    /// Reads one document from a JSON object, by the same rules as a line of a file.
    ///
    /// # Errors
    /// [`BeirError::Json`] where the text is not JSON, [`BeirError::Record`] where it is not a usable document; the
    /// message names the field.
    pub fn parse(&self, json: &str) -> Result<Record, BeirError> {
        record(json, self).map_err(Fault::into_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Record, String> {
        ReadOptions::default().parse(text).map_err(|fault| fault.to_string())
    }

    fn problem(text: &str) -> String {
        read(text).unwrap_err()
    }

    #[test]
    fn a_document_may_lack_title_and_text_and_bear_a_number() {
        for (text, id) in [
            (r#"{"_id": 7, "text": "t", "title": null, "metadata": {"a": [1]}}"#, "7"),
            (r#"{"id": "007", "text": "t", "metadata": null}"#, "007"),
            (r#"{"_id": 12345678901234567890123, "text": "t"}"#, "12345678901234567890123"),
            (r#"{"_id": -18446744073709551616, "text": "t"}"#, "-18446744073709551616"),
            (r#"{"_id": " a ", "id": "b", "text": "t"}"#, " a "),
        ] {
            let read = read(text).unwrap();
            assert_eq!((read.document.id.as_str(), read.document.full_text().as_str()), (id, "t"));
        }
        for text in [r#"{"_id": "a"}"#, r#"{"_id": "a", "text": null, "title": null}"#, r#"{"_id": "a", "text": ""}"#] {
            assert_eq!(read(text).unwrap().document, Document { id: "a".to_owned(), ..Document::default() });
        }
    }

    #[test]
    fn fields_without_a_place_are_named_or_kept() {
        let line =
            r#"{"url": {"a": [1]}, "_id": "a", "text": "t", "metadata": {"year": 1}, "author": null, "year": 1}"#;
        let plain = read(line).unwrap();
        assert_eq!((plain.unread.join(" "), plain.metadata.len()), ("author url year".to_owned(), 1));
        let keep = |keep: &str| ReadOptions::new().keep(keep.parse().unwrap()).parse(line).unwrap();
        let some = keep("author,year");
        assert_eq!(some.unread, ["url"]);
        assert_eq!(Value::Object(some.metadata), serde_json::json!({"year": 1, "author": null}));
        let all = keep("all");
        assert!(all.unread.is_empty());
        assert_eq!(Value::Object(all.metadata), serde_json::json!({"year": 1, "author": null, "url": {"a": [1]}}));
        assert_eq!(plain.document, document(line, &ReadOptions::new()).ok().unwrap());

        let differs = r#"{"_id": "a", "metadata": {"year": 1}, "year": 2}"#;
        let said = ReadOptions::new().keep(Keep::All).parse(differs).unwrap_err().to_string();
        assert_eq!(said, "`year` stands twice, in the record or its `metadata`, with different values");
    }

    #[test]
    fn own_names_replace_the_usual_ones() {
        let options = ReadOptions::new().id_field("sku").title_field("name").text_field("description");
        let read = options
            .parse(r#"{"sku": 17, "_id": 1, "name": "Kettle", "title": "x", "description": "boils", "text": "y"}"#)
            .unwrap();
        assert_eq!((read.document.id.as_str(), read.document.full_text().as_str()), ("17", "Kettle boils"));
        assert_eq!(read.unread, ["_id", "text", "title"]);
        let said = options.parse(r#"{"_id": "a", "text": "t"}"#).unwrap_err().to_string();
        assert_eq!(said, "the record has no `sku`; it has _id, text");
    }

    #[test]
    fn vectors_are_taken() {
        assert_eq!(read(r#"{"_id": "a", "vector": [1, -0.5]}"#).unwrap().vector, Some(vec![1.0, -0.5]));
        assert_eq!(read(r#"{"_id": "a", "vector": null}"#).unwrap().vector, None);
        assert_eq!(read(r#"{"_id": "a", "vector": "mosquito"}"#).unwrap().unread, ["vector"]);
        for vector in ["[\"a\"]", "[1, null]", "[NaN]", "[1e39]", "[[1]]"] {
            let said = problem(&format!(r#"{{"_id": "a", "vector": {vector}}}"#));
            assert_eq!(said, "`vector` must be an array of finite numbers", "{vector}");
        }
    }

    #[test]
    fn pythons_numbers_are_null_in_metadata_and_refused_in_what_is_text() {
        let line =
            r#"{"_id": "a", "text": "NaN", "metadata": {"price": NaN, "in": [Infinity, -Infinity]}, "other": NaN}"#;
        let taken = read(line).unwrap();
        assert_eq!(Value::Object(taken.metadata), serde_json::json!({"price": null, "in": [null, null]}));
        assert_eq!((taken.non_finite, taken.document.text.as_str()), (4, "NaN"));
        assert_eq!(problem(r#"{"_id": NaN}"#), "`_id` must be a string or a whole number, found NaN or Infinity");
        assert_eq!(problem(r#"{"_id": "a", "text": NaN}"#), "`text` must be a string, found NaN or Infinity");
        assert_eq!(problem(r#"{"_id": "a", "title": -Infinity}"#), "`title` must be a string, found NaN or Infinity");
    }

    #[test]
    fn faults_name_the_field() {
        assert_eq!(problem(r#"{"_id": "a", "text": "#), "not valid JSON: EOF while parsing a value (column 21)");
        assert_eq!(problem("plain words"), "not a JSON object");
        assert_eq!(problem(r#"["a"]"#), "not a JSON object, but an array");
        assert_eq!(problem(r#"{"text": "x"}"#), "the record has no `_id`; it has text");
        assert_eq!(problem(r#"{"_id": " ", "text": "x"}"#), "the record's `_id` is empty");
        assert_eq!(problem(r#"{"_id": "x", "text": 3}"#), "`text` must be a string, found a number");
        assert_eq!(problem(r#"{"_id": "x", "title": ["a"]}"#), "`title` must be a string, found an array");
        assert_eq!(problem(r#"{"_id": "x", "metadata": ""}"#), "`metadata` must be an object, found a string");
        for (id, found) in [
            ("true", "true or false"),
            ("null", "null"),
            ("{}", "an object"),
            ("[1]", "an array"),
            ("1.5", "the number 1.5"),
            ("1.0", "the number 1.0"),
            ("1e22", "the number 1e22"),
        ] {
            let expected = format!("`_id` must be a string or a whole number, found {found}");
            assert_eq!(problem(&format!(r#"{{"_id": {id}, "text": "t"}}"#)), expected);
        }
        assert_eq!(problem(r#"{"_id": "a", "_id": "b"}"#), "the record has `_id` twice");
        assert_eq!(problem(r#"{"_id": "a", "text": "b", "text": "c"}"#), "the record has `text` twice");
        let long = format!(r#"{{"_id": "{}"}}"#, "é".repeat(513));
        assert_eq!(problem(&long), "the record's `_id` has 513 characters; at most 512 are allowed");
        assert!(read(&long.replacen('é', "", 1)).is_ok());
        assert!(problem(r#"{"_id": "a", "text": "\ud800"}"#).starts_with("`text` holds half of a surrogate pair"));
        assert!(problem(r#"{"_id": "a", "metadata": {"a": "\ud800x"}}"#).starts_with("`metadata` holds half of a"));
        assert!(read(r#"{"_id": "a", "ignored": "\ud800"}"#).is_ok());
        assert!(problem("{\"_id\": \"a\u{0}\"}").starts_with("not valid JSON: control character"));
        assert!(problem(r#"{"_id": "a"},"#).starts_with("a comma follows the object"));
        assert!(problem("{").starts_with("the object goes on over several lines"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |field: &str, depth: usize| {
            format!(r#"{{"_id": "x", "text": "t", "{field}": {{"a": {}{}}}}}"#, "[".repeat(depth), "]".repeat(depth))
        };
        assert!(read(&deep("metadata", 100)).is_ok());
        assert_eq!(problem(&deep("metadata", 100_000)), "`metadata` is nested more than 127 levels deep");
        assert_eq!(read(&deep("ignored", 100_000)).unwrap().unread, ["ignored"]);
        let open = format!(r#"{{"_id": "x", "metadata": {}"#, "[".repeat(100_000));
        assert!(problem(&open).starts_with("not valid JSON"));
    }

    #[test]
    fn title_and_text_are_joined_by_one_space() {
        let both = Document { id: "1".into(), title: "A title.".into(), text: "Then text. ".into() };
        assert_eq!(both.full_text(), "A title. Then text.");
    }

    #[test]
    fn a_query_without_text_is_told_apart() {
        let read = |text: &str| query(text, &ReadOptions::default()).ok().unwrap();
        for text in [r#"{"_id": "7", "text": ""}"#, r#"{"_id": "7"}"#, r#"{"_id": 7, "text": " "}"#] {
            assert!(matches!(read(text), QueryRecord::WithoutText { id } if id == "7"), "{text}");
        }
        assert!(matches!(read(r#"{"_id": "7", "text": "t"}"#), QueryRecord::Usable(query) if query.text == "t"));
    }
}
