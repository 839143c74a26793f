//! What a row of each format says, independent of files.

use super::fields::QUERY;
use super::texts::{self, LabelRule};
use crate::data::build::{Instance, PassageRef, QueryRef};
use crate::data::rows::{Row, id_of, kind};
use crate::data::{Limits, ListPositive, list};
use serde_json::Value;

/// The form of a training row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Texts under known names, or Tevatron's lists of passages: each row says which.
    Texts(LabelRule),
    TevatronIds,
    ScoredList(ListPositive),
}

/// What a row says, and the names of its fields that were not read.
pub(super) type Parsed = (Instance, Vec<String>);

impl Form {
    pub(super) fn parse(self, row: &Row, limits: &Limits) -> Result<Parsed, String> {
        match self {
            Form::Texts(_) if row.get(&["positive_passages"]).is_some() => tevatron(row, limits),
            Form::Texts(rule) => texts::parse(row, rule, limits),
            Form::TevatronIds => tevatron_ids(row, limits),
            Form::ScoredList(positive) => scored_list(row, positive, limits),
        }
    }
}

/// Said of a row that names nothing relevant.
pub(super) const NO_POSITIVE: &str = "it has no positive passage";

const QUERY_ID: &[&str] = &["query_id", "qid"];

/// The names of a row's fields that are none of these.
fn unread(row: &Row, read: &[&str]) -> Vec<String> {
    row.fields.iter().map(|(name, _)| name).filter(|name| !read.contains(&name.as_str())).cloned().collect()
}

/// The passages of a field: a text, an object with a `text`, or a list of these. `title` belongs to a single text.
pub(super) fn passages(
    name: &str,
    value: &Value,
    title: Option<&Value>,
    limits: &Limits,
) -> Result<Vec<PassageRef>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(PassageRef::Text { id: None, title: String::new(), text: text.clone() }),
        Value::Object(fields) => passage(name, Row { fields: fields.clone().into_iter().collect(), positional: false }),
        other => Err(format!("`{name}` must hold texts, and holds {}", kind(other))),
    };
    match value {
        Value::Null => Ok(Vec::new()),
        // What a table of comma-separated values makes of a list.
        Value::String(text) if list_of_texts(text).is_some() => {
            passages(name, &Value::Array(list_of_texts(text).unwrap_or_default()), None, limits)
        }
        Value::String(text) => {
            let title = match title {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(title)) => title.clone(),
                Some(other) => return Err(format!("`title` must be text, and is {}", kind(other))),
            };
            Ok(vec![PassageRef::Text { id: None, title, text: text.clone() }])
        }
        Value::Object(_) => Ok(vec![one(value)?]),
        Value::Array(items) if items.len() > limits.list => {
            Err(format!("`{name}` has {} entries, more than the {} allowed (`max_list`)", items.len(), limits.list))
        }
        Value::Array(items) => items.iter().map(one).collect(),
        other => Err(format!("`{name}` must be text, and is {}", kind(other))),
    }
}

/// A list of texts that was written as one text: `['a', 'b']`.
fn list_of_texts(text: &str) -> Option<Vec<Value>> {
    let trimmed = text.trim();
    if !(trimmed.starts_with("['") || trimmed.starts_with("[\"")) || !trimmed.ends_with(']') {
        return None;
    }
    list::parse(trimmed).ok().filter(|items| items.iter().all(Value::is_string))
}

/// A passage as an object.
fn passage(name: &str, item: Row) -> Result<PassageRef, String> {
    Ok(PassageRef::Text {
        id: item.id(&["docid", "_id", "id"])?,
        title: item.text(&["title"])?.unwrap_or_default().to_owned(),
        text: item.text(&["text"])?.ok_or_else(|| format!("a passage of `{name}` has no `text`"))?.to_owned(),
    })
}

fn tevatron(row: &Row, limits: &Limits) -> Result<Parsed, String> {
    let query = row.text(&QUERY)?.ok_or_else(|| "`query` is missing".to_owned())?.to_owned();
    let mut scores = Some(Vec::new());
    let mut part = |name: &str| -> Result<Vec<PassageRef>, String> {
        let mut passages = Vec::new();
        for item in row.list(&[name], limits)?.unwrap_or_default() {
            let Value::Object(fields) = item else {
                return Err(format!("`{name}` must hold objects, and holds {}", kind(&item)));
            };
            let item = Row { fields: fields.into_iter().collect(), positional: false };
            let score = match item.get(&["score"]) {
                Some(Value::Number(score)) => score.as_f64().map(|s| s as f32).filter(|s| s.is_finite()),
                _ => None,
            };
            match score {
                Some(score) => scores.iter_mut().for_each(|all| all.push(score)),
                None => scores = None,
            }
            passages.push(passage(name, item)?);
        }
        Ok(passages)
    };
    let (positives, negatives) = (part("positive_passages")?, part("negative_passages")?);
    if positives.is_empty() {
        return Err(NO_POSITIVE.to_owned());
    }
    let instance = Instance {
        query: QueryRef::Text { id: row.id(QUERY_ID)?, text: query },
        positives,
        negatives,
        scores,
        grades: None,
    };
    let read = [&QUERY[..], QUERY_ID, &["positive_passages", "negative_passages"]].concat();
    Ok((instance, unread(row, &read)))
}

fn ids(row: &Row, name: &str, limits: &Limits) -> Result<Vec<PassageRef>, String> {
    let items = row.list(&[name], limits)?.unwrap_or_default();
    items.iter().map(|item| Ok(PassageRef::Id(id_of(item, name)?))).collect()
}

fn tevatron_ids(row: &Row, limits: &Limits) -> Result<Parsed, String> {
    let text = row.text(&["query_text", "query"])?.ok_or_else(|| "`query_text` is missing".to_owned())?;
    let instance = Instance {
        query: QueryRef::Text { id: row.id(QUERY_ID)?, text: text.to_owned() },
        positives: ids(row, "positive_document_ids", limits)?,
        negatives: ids(row, "negative_document_ids", limits)?,
        scores: None,
        grades: None,
    };
    if instance.positives.is_empty() {
        return Err(NO_POSITIVE.to_owned());
    }
    let read = ["query_text", "query", "query_id", "qid", "positive_document_ids", "negative_document_ids"];
    Ok((instance, unread(row, &read)))
}

fn scored_list(row: &Row, positive: ListPositive, limits: &Limits) -> Result<Parsed, String> {
    let query = row.id(QUERY_ID)?.ok_or_else(|| "`query_id` is missing".to_owned())?;
    let mut passages = ids(row, "document_ids", limits)?;
    if passages.is_empty() {
        return Err("`document_ids` is missing or empty".to_owned());
    }
    let mut scores = row.numbers(&["scores"], limits)?;
    if let Some(scores) = &scores
        && scores.len() != passages.len()
    {
        return Err(format!("`scores` has {} entries for {} `document_ids`", scores.len(), passages.len()));
    }
    if positive == ListPositive::Highest {
        let scores = scores.as_mut().ok_or_else(|| "without `scores` the highest cannot be told".to_owned())?;
        // The first of equals.
        let best = (1..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
        scores[..=best].rotate_right(1);
        passages[..=best].rotate_right(1);
    }
    let negatives = passages.split_off(1);
    let instance = Instance { query: QueryRef::Id(query), positives: passages, negatives, scores, grades: None };
    Ok((instance, unread(row, &["query_id", "qid", "document_ids", "scores"])))
}

/// A row of a table of passages: id, title, text.
pub(super) fn document(row: &Row) -> Result<(String, String, String), String> {
    let id = row
        .id(&["document_id", "docid", "doc_id", "_id", "id", "pid", "passage_id"])?
        .ok_or_else(|| format!("a passage without an id; its fields are: {}", row.names()))?;
    let text = row
        .text(&["text", "document_text", "document", "passage", "contents", "body"])?
        .ok_or_else(|| format!("a passage without a text; its fields are: {}", row.names()))?;
    let title = row.text(&["title"])?.unwrap_or_default();
    Ok((id, title.to_owned(), text.to_owned()))
}

/// A row of a table of queries: id, text.
pub(super) fn query(row: &Row) -> Result<(String, String), String> {
    let id = row
        .id(&["query_id", "qid", "_id", "id"])?
        .ok_or_else(|| format!("a query without an id; its fields are: {}", row.names()))?;
    let text = row
        .text(&["text", "query_text", "query", "question"])?
        .ok_or_else(|| format!("a query without a text; its fields are: {}", row.names()))?;
    Ok((id, text.to_owned()))
}
