//! What a row of each format says, independent of files.

use crate::data::build::{Instance, PassageRef, QueryRef};
use crate::data::rows::{Row, id_of, kind};
use crate::data::{Limits, ListPositive};
use serde_json::Value;

/// The form of a training row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Triplet,
    FlagEmbedding,
    Tevatron,
    TevatronIds,
    ScoredList(ListPositive),
}

impl Form {
    pub(super) fn parse(self, row: &Row, limits: &Limits) -> Result<Instance, String> {
        match self {
            Form::Triplet => triplet(row, limits),
            Form::FlagEmbedding => flag_embedding(row, limits),
            Form::Tevatron => tevatron(row, limits),
            Form::TevatronIds => tevatron_ids(row, limits),
            Form::ScoredList(positive) => scored_list(row, positive, limits),
        }
    }
}

const QUERY: &[&str] = &["query", "anchor", "question", "query_text"];
const QUERY_ID: &[&str] = &["query_id", "qid"];
const POSITIVE: &[&str] = &["positive", "pos", "positive_passage"];
const LABELS: &[&str] = &["scores", "score", "labels", "label"];

fn plain(text: &str) -> PassageRef {
    PassageRef::Text { id: None, title: String::new(), text: text.to_owned() }
}

/// A text, or a list of texts.
fn texts(name: &str, value: &Value, limits: &Limits) -> Result<Vec<PassageRef>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![plain(text)]),
        Value::Array(items) if items.len() > limits.list => {
            Err(format!("`{name}` has {} entries, more than the {} allowed (`max_list`)", items.len(), limits.list))
        }
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(plain(text)),
                other => Err(format!("`{name}` must hold texts, and holds {}", kind(other))),
            })
            .collect(),
        other => Err(format!("`{name}` must be text, and is {}", kind(other))),
    }
}

/// Query, positive, negatives: under their names, or else the columns in order without those of labels.
///
/// A single number under `score` or `label` beside one negative is the margin between the two, as margin losses have it: kept
/// as the scores (margin, 0), which a softmax cannot tell from any other pair with that difference.
pub(super) fn triplet(row: &Row, limits: &Limits) -> Result<Instance, String> {
    let named = row.get(QUERY).is_some() && row.get(POSITIVE).is_some();
    let (query, positives, negatives) = if named {
        let query = row.text(QUERY)?.unwrap_or_default().to_owned();
        let positives = texts("positive", row.get(POSITIVE).unwrap_or(&Value::Null), limits)?;
        let mut negatives = Vec::new();
        for (name, value) in &row.fields {
            if name.starts_with("neg") && !name.ends_with("scores") && !name.ends_with("_id") && !name.ends_with("_ids")
            {
                negatives.extend(texts(name, value, limits)?);
            }
        }
        (query, positives, negatives)
    } else {
        let mut columns = row
            .fields
            .iter()
            .filter(|(name, _)| !LABELS.contains(&name.as_str()) && !QUERY_ID.contains(&name.as_str()));
        let (Some((_, Value::String(query))), Some((name, positive))) = (columns.next(), columns.next()) else {
            return Err(format!("a triplet needs a query and a positive text; its fields are: {}", row.names()));
        };
        let positives = match positive {
            Value::String(text) => vec![plain(text)],
            other => return Err(format!("`{name}` must be text, and is {}", kind(other))),
        };
        let mut negatives = Vec::new();
        for (name, value) in columns {
            negatives.extend(texts(name, value, limits)?);
        }
        (query.clone(), positives, negatives)
    };
    if negatives.len() > limits.list {
        return Err(format!("more than {} negatives (`max_list`)", limits.list));
    }
    let scores = match row.get(LABELS) {
        None => None,
        Some(Value::Number(margin)) if positives.len() == 1 && negatives.len() == 1 => {
            let margin = margin.as_f64().map(|m| m as f32).filter(|m| m.is_finite());
            Some(vec![margin.ok_or_else(|| "`score` must be a finite number".to_owned())?, 0.0])
        }
        // A label of a pair says that it is one, which the row says already.
        Some(Value::Number(_)) => None,
        Some(_) => row.numbers(LABELS, limits)?,
    };
    Ok(Instance { query: QueryRef::Text { id: row.id(QUERY_ID)?, text: query }, positives, negatives, scores })
}

/// `prompt` and `type` are not used: prompts are set once for the model, not row by row.
fn flag_embedding(row: &Row, limits: &Limits) -> Result<Instance, String> {
    let query = row.text(&["query"])?.ok_or_else(|| "`query` is missing".to_owned())?.to_owned();
    let part = |name: &str| texts(name, row.get(&[name]).unwrap_or(&Value::Null), limits);
    let (positives, negatives) = (part("pos")?, part("neg")?);
    let pos_scores = row.numbers(&["pos_scores"], limits)?;
    let neg_scores = row.numbers(&["neg_scores"], limits)?;
    for (name, scores, passages) in [("pos", &pos_scores, &positives), ("neg", &neg_scores, &negatives)] {
        if let Some(scores) = scores
            && scores.len() != passages.len()
        {
            return Err(format!("`{name}_scores` has {} entries for {} passages", scores.len(), passages.len()));
        }
    }
    let scores = match (pos_scores, neg_scores) {
        (Some(mut all), Some(neg)) => {
            all.extend(neg);
            Some(all)
        }
        (Some(all), None) if negatives.is_empty() => Some(all),
        _ => None,
    };
    Ok(Instance { query: QueryRef::Text { id: row.id(QUERY_ID)?, text: query }, positives, negatives, scores })
}

fn tevatron(row: &Row, limits: &Limits) -> Result<Instance, String> {
    let query = row.text(QUERY)?.ok_or_else(|| "`query` is missing".to_owned())?.to_owned();
    let mut scores = Some(Vec::new());
    let mut part = |name: &str| -> Result<Vec<PassageRef>, String> {
        let mut passages = Vec::new();
        for item in row.list(&[name], limits)?.unwrap_or_default() {
            let Value::Object(fields) = item else {
                return Err(format!("`{name}` must hold objects, and holds {}", kind(&item)));
            };
            let item = Row { fields: fields.into_iter().collect() };
            let score = match item.get(&["score"]) {
                Some(Value::Number(score)) => score.as_f64().map(|s| s as f32).filter(|s| s.is_finite()),
                _ => None,
            };
            match score {
                Some(score) => scores.iter_mut().for_each(|all| all.push(score)),
                None => scores = None,
            }
            passages.push(PassageRef::Text {
                id: item.id(&["docid", "_id", "id"])?,
                title: item.text(&["title"])?.unwrap_or_default().to_owned(),
                text: item.text(&["text"])?.ok_or_else(|| format!("a passage of `{name}` has no `text`"))?.to_owned(),
            });
        }
        Ok(passages)
    };
    let (positives, negatives) = (part("positive_passages")?, part("negative_passages")?);
    Ok(Instance { query: QueryRef::Text { id: row.id(QUERY_ID)?, text: query }, positives, negatives, scores })
}

fn ids(row: &Row, name: &str, limits: &Limits) -> Result<Vec<PassageRef>, String> {
    let items = row.list(&[name], limits)?.unwrap_or_default();
    items.iter().map(|item| Ok(PassageRef::Id(id_of(item, name)?))).collect()
}

fn tevatron_ids(row: &Row, limits: &Limits) -> Result<Instance, String> {
    let text = row.text(&["query_text", "query"])?.ok_or_else(|| "`query_text` is missing".to_owned())?;
    Ok(Instance {
        query: QueryRef::Text { id: row.id(QUERY_ID)?, text: text.to_owned() },
        positives: ids(row, "positive_document_ids", limits)?,
        negatives: ids(row, "negative_document_ids", limits)?,
        scores: None,
    })
}

fn scored_list(row: &Row, positive: ListPositive, limits: &Limits) -> Result<Instance, String> {
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
    Ok(Instance { query: QueryRef::Id(query), positives: passages, negatives, scores })
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
