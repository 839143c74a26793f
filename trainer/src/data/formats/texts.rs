//! Rows that carry their texts: a query, what is relevant to it and what is not, by the names of the fields.
//!
//! Pairs, triplets, labelled pairs, lists with labels and FlagEmbedding's rows are all of this form, and one file may mix them.

use super::fields::{KNOWN, Role, role};
use super::row_forms::{NO_POSITIVE, passages};
use crate::data::build::{Instance, PassageRef, QueryRef};
use crate::data::rows::{Row, kind, shorten};
use crate::data::{DataConfig, Limits};
use serde_json::Value;

/// What makes a labelled passage a positive.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabelRule {
    /// The smallest grade of a positive.
    min_grade: i32,
    /// The smallest score of a positive, where one is set.
    min_score: Option<f64>,
}

impl LabelRule {
    pub(super) fn of(config: &DataConfig) -> Self {
        Self { min_grade: config.min_grade, min_score: config.min_score }
    }

    /// Whether a label makes a positive.
    fn label(self, name: &str, value: &Value) -> Result<bool, String> {
        let number = number(name, value)?;
        if value.is_boolean() || truth(value).is_some() {
            return Ok(number > 0.0);
        }
        match self.min_score {
            Some(least) => Ok(number >= least),
            None if number.fract() == 0.0 => Ok(number >= f64::from(self.min_grade)),
            None => Err(format!(
                "`{name}` is {number}: a label that is no whole number needs a threshold; set `data.min_score`, the smallest score of a positive"
            )),
        }
    }

    /// Whether a score makes a positive.
    fn score(self, name: &str, value: &Value) -> Result<bool, String> {
        let number = number(name, value)?;
        if value.is_boolean() || truth(value).is_some() {
            return Ok(number > 0.0);
        }
        self.min_score.map(|least| number >= least).ok_or_else(|| {
            format!(
                "`{name}` is {number}: which score makes a positive is not said; set `data.min_score` (such as 0.5 for scores in 0..1), \
                 or write a `label` of 0 or 1"
            )
        })
    }
}

/// `true`, `yes` and their opposites as text.
fn truth(value: &Value) -> Option<bool> {
    match value.as_str()?.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

/// A label or score as a finite number.
fn number(name: &str, value: &Value) -> Result<f64, String> {
    let found = match value {
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => truth(value).map(|yes| f64::from(u8::from(yes))).or_else(|| text.trim().parse().ok()),
        _ => None,
    };
    // As 32-bit numbers, which scores are kept in.
    found.filter(|number| (*number as f32).is_finite()).ok_or_else(|| match value {
        Value::Null => format!("`{name}` is null; leave the field out where a row has none"),
        Value::String(text) => format!("`{name}` must be a finite number, true or false, and is \"{}\"", shorten(text)),
        Value::Number(number) => format!("`{name}` must be a finite number, and is {number}"),
        other => format!("`{name}` must be a number, true or false, and is {}", kind(other)),
    })
}

/// The fields of a row by what they say.
struct Parts<'a> {
    query: Option<(&'a str, &'a Value)>,
    positives: Vec<(&'a str, &'a Value)>,
    negatives: Vec<(&'a str, &'a Value)>,
    /// Passages that only a label calls relevant.
    open: Vec<(&'a str, &'a Value)>,
    labels: Vec<(&'a str, &'a Value)>,
    scores: Vec<(&'a str, &'a Value)>,
    positive_scores: Option<(&'a str, &'a Value)>,
    negative_scores: Option<(&'a str, &'a Value)>,
    title: Option<&'a Value>,
    unread: Vec<String>,
}

impl<'a> Parts<'a> {
    fn of(row: &'a Row) -> Self {
        let mut parts = Self {
            query: None,
            positives: Vec::new(),
            negatives: Vec::new(),
            open: Vec::new(),
            labels: Vec::new(),
            scores: Vec::new(),
            positive_scores: None,
            negative_scores: None,
            title: None,
            unread: Vec::new(),
        };
        let (mut best, mut title_name) = (usize::MAX, None);
        let (mut first, mut second, mut later) = (None, None, Vec::new());
        for (place, (name, value)) in row.fields.iter().enumerate() {
            let field = (name.as_str(), value);
            let role = match (row.positional, place) {
                (false, _) => role(name),
                (true, 0) => Role::Query(0),
                (true, 1) => Role::Positive,
                (true, _) => Role::Negative,
            };
            match role {
                Role::Query(rank) if value.is_null() || rank >= best => later.push(field),
                Role::Query(rank) => {
                    best = rank;
                    later.extend(parts.query.replace(field));
                }
                Role::First if first.is_none() => first = Some(field),
                Role::Second if second.is_none() => second = Some(field),
                Role::Positive => parts.positives.push(field),
                Role::Negative => parts.negatives.push(field),
                Role::Passage if !value.is_null() => parts.open.push(field),
                Role::Label => parts.labels.push(field),
                Role::Score => parts.scores.push(field),
                Role::PositiveScores if !value.is_null() => parts.positive_scores = Some(field),
                Role::NegativeScores if !value.is_null() => parts.negative_scores = Some(field),
                Role::Title => (parts.title, title_name) = (Some(value), Some(name.as_str())),
                Role::QueryId => {}
                Role::First
                | Role::Second
                | Role::Passage
                | Role::PositiveScores
                | Role::NegativeScores
                | Role::Unread => {
                    parts.unread.push(name.clone());
                }
            }
        }
        match (parts.query, first, second) {
            (None, Some(first), Some(second)) => {
                parts.query = Some(first);
                parts.unread.extend(parts.open.drain(..).map(|(name, _)| name.to_owned()));
                parts.open = vec![second];
            }
            _ => parts.unread.extend(first.into_iter().chain(second).map(|(name, _)| name.to_owned())),
        }
        parts.unread.extend(later.into_iter().map(|(name, _)| name.to_owned()));
        if !parts.positives.is_empty() {
            // What is called positive is meant; other texts of the row are not.
            parts.unread.extend(parts.open.drain(..).map(|(name, _)| name.to_owned()));
        }
        if parts.open.is_empty() {
            parts.unread.extend(title_name.map(str::to_owned));
            parts.title = None;
        }
        parts
    }
}

/// Whether the names of a row's fields make it one of this form, whatever their values.
pub(super) fn is_one(row: &Row) -> bool {
    let parts = Parts::of(row);
    parts.query.is_some() && !(parts.positives.is_empty() && parts.negatives.is_empty() && parts.open.is_empty())
}

/// Reads a row; beside what it says the names of the fields that were not read.
pub(super) fn parse(row: &Row, rule: LabelRule, limits: &Limits) -> Result<(Instance, Vec<String>), String> {
    let parts = Parts::of(row);
    let Some((name, query)) = parts.query else {
        return Err(format!("it has no query; its fields are: {}; a training row has {KNOWN}", row.names()));
    };
    let Value::String(query) = query else {
        return Err(format!("`{name}` must be text, and is {}", kind(query)));
    };
    if let [(one, _), (other, _), ..] = parts.open[..] {
        return Err(format!("`{one}` and `{other}` could both be the passage; call the right one `positive`"));
    }
    if parts.positives.is_empty() && parts.negatives.is_empty() && parts.open.is_empty() {
        return Err(format!("it has no passage; its fields are: {}; a training row has {KNOWN}", row.names()));
    }
    let gather = |fields: &[(&str, &Value)]| -> Result<Vec<PassageRef>, String> {
        let mut all = Vec::new();
        for (name, value) in fields {
            all.extend(passages(name, value, parts.title, limits)?);
        }
        if all.len() > limits.list {
            return Err(format!("more than {} passages (`max_list`)", limits.list));
        }
        Ok(all)
    };
    let is_open = !parts.open.is_empty();
    let positives = gather(if is_open { &parts.open } else { &parts.positives })?;
    let negatives = gather(&parts.negatives)?;
    if positives.is_empty() {
        return Err(NO_POSITIVE.to_owned());
    }
    let mut instance = Instance {
        query: QueryRef::Text { id: row.id(&["query_id", "qid"])?, text: query.clone() },
        positives,
        negatives,
        scores: None,
        grades: None,
    };
    match (&parts.labels[..], &parts.scores[..]) {
        ([], []) => instance.scores = side_scores(&parts, &instance, limits)?,
        ([(name, value)], _) => judge(&mut instance, name, value, true, is_open, rule, limits)?,
        ([], [(name, value)]) => judge(&mut instance, name, value, false, is_open, rule, limits)?,
        ([(one, _), (other, _), ..], _) | ([], [(one, _), (other, _), ..]) => {
            return Err(format!("`{one}` and `{other}` both judge the row; leave one of them out"));
        }
    }
    let mut unread = parts.unread;
    if !parts.labels.is_empty() {
        unread.extend(parts.scores.iter().map(|(name, _)| (*name).to_owned()));
    }
    Ok((instance, unread))
}

/// Teacher scores under names of their own.
fn side_scores(parts: &Parts<'_>, instance: &Instance, limits: &Limits) -> Result<Option<Vec<f32>>, String> {
    let read = |side: Option<(&str, &Value)>, count: usize| -> Result<Option<Vec<f32>>, String> {
        let Some((name, value)) = side else { return Ok(None) };
        let numbers = numbers(name, value, limits)?;
        if numbers.len() != count {
            return Err(format!("`{name}` has {} entries for {count} passages", numbers.len()));
        }
        Ok(Some(numbers.into_iter().map(|number| number as f32).collect()))
    };
    let positives = read(parts.positive_scores, instance.positives.len())?;
    let negatives = read(parts.negative_scores, instance.negatives.len())?;
    Ok(match (positives, negatives) {
        (Some(mut all), Some(rest)) => {
            all.extend(rest);
            Some(all)
        }
        (Some(all), None) if instance.negatives.is_empty() => Some(all),
        _ => None,
    })
}

fn numbers(name: &str, value: &Value, limits: &Limits) -> Result<Vec<f64>, String> {
    if !is_list(value) {
        return Ok(vec![number(name, value)?]);
    }
    items(name, value, limits)?.iter().map(|item| number(name, item)).collect()
}

/// Whether a value is a list, or a text that writes one.
fn is_list(value: &Value) -> bool {
    value.is_array() || value.as_str().is_some_and(|text| text.trim_start().starts_with('['))
}

fn items(name: &str, value: &Value, limits: &Limits) -> Result<Vec<Value>, String> {
    let row = Row { fields: vec![(name.to_owned(), value.clone())], positional: false };
    Ok(row.list(&[name], limits)?.unwrap_or_default())
}

/// What a label or score says about the row's passages.
///
/// One value judges the passage of a pair. A list judges passages one by one. Beside negatives the fields have said already what is
/// relevant: numbers there are a teacher's, a single one the margin between a positive and a negative, as margin losses have it; it is
/// kept as the scores (margin, 0), which a softmax cannot tell from any other pair with that difference.
fn judge(
    instance: &mut Instance,
    name: &str,
    value: &Value,
    is_label: bool,
    is_open: bool,
    rule: LabelRule,
    limits: &Limits,
) -> Result<(), String> {
    let makes_positive = |value: &Value| if is_label { rule.label(name, value) } else { rule.score(name, value) };
    let (first, all) = (instance.positives.len(), instance.positives.len() + instance.negatives.len());
    if !instance.negatives.is_empty() {
        if is_list(value) {
            let found = numbers(name, value, limits)?;
            if found.len() == all {
                instance.scores = Some(found.into_iter().map(|number| number as f32).collect());
            } else if found.len() != instance.negatives.len() {
                // As many as negatives are margins.
                return Err(format!("it has {} scores for {all} passages", found.len()));
            }
            return Ok(());
        }
        let number = number(name, value)?;
        let is_grade = is_label && (value.is_boolean() || number.fract() == 0.0);
        if is_grade && !makes_positive(value)? {
            return Err(format!(
                "`{name}` is {number}, and the row names a positive and negatives: one of the two is wrong"
            ));
        }
        if !is_grade && all == 2 {
            instance.scores = Some(vec![number as f32, 0.0]);
        }
        return Ok(());
    }
    let (values, written): (Vec<Value>, Vec<String>) = if is_list(value) {
        let items = items(name, value, limits)?;
        if items.len() != first {
            return Err(format!("`{name}` has {} entries for {first} passages", items.len()));
        }
        if !is_label && !is_open {
            // Passages that are called positives, with what a teacher says of them.
            let scores = items.iter().map(|item| Ok(number(name, item)? as f32)).collect::<Result<_, String>>()?;
            instance.scores = Some(scores);
            return Ok(());
        }
        let written = items.iter().map(written).collect();
        (items, written)
    } else {
        (vec![value.clone(); first], vec![written(value); first])
    };
    let is_positive = values.iter().map(makes_positive).collect::<Result<Vec<bool>, String>>()?;
    let (mut grades, mut negative_grades) = (Vec::new(), Vec::new());
    let judged = std::mem::take(&mut instance.positives).into_iter().zip(is_positive).zip(written);
    for ((passage, is_positive), written) in judged {
        let grade = format!("{name} {written}");
        if is_positive {
            instance.positives.push(passage);
            grades.push(grade);
        } else {
            instance.negatives.push(passage);
            negative_grades.push(grade);
        }
    }
    grades.extend(negative_grades);
    instance.grades = Some(grades);
    Ok(())
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => shorten(text),
        other => other.to_string(),
    }
}
