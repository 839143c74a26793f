//! What is odd about filters that can be searched all the same: names and values that no document has.

use std::fmt;

use tantivy::query::{EnableScoring, Query};
use tantivy::{Index, Searcher, TERMINATED};

use super::columns::ValueRange;
use super::compile::{Compiler, Target};
use super::date::Period;
use super::expression::{Comparison, Condition};
use super::names::{self, Contents};
use super::number::Number;
use super::range::value_range;
use super::{Filter, shown};

/// Most conditions of a request that are looked into.
const MAX_CONDITIONS: usize = 64;
/// Most names or values that a warning offers.
const MAX_OFFERED: usize = 5;

/// Something about a filter that a user should know, though it can be searched. As text it is a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterWarning {
    /// No document has the name.
    UnknownName {
        /// The name.
        name: String,
        /// The names that are most like it; without any such, some that there are.
        offered: Vec<String>,
        /// Whether they are like it.
        are_near: bool,
    },
    /// Documents have the name, and none matches the condition.
    NothingMatches {
        /// The condition.
        condition: String,
        /// The name.
        name: String,
        /// What it holds, in words.
        holds: String,
        /// Values that are most like the one looked for.
        near: Vec<String>,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// The first end of a range lies above the last.
    Reversed {
        /// The condition.
        condition: String,
    },
    /// A range of dates or numbers over a name that holds texts that are neither.
    NotComparable {
        /// The name.
        name: String,
        /// What texts should be: `date`, `number`, `number or date`.
        kind: &'static str,
        /// Different texts that are not.
        count: usize,
        /// Some of them.
        examples: Vec<String>,
    },
}

impl fmt::Display for FilterWarning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName { name, offered, are_near } => {
                write!(out, "no document has the name `{}`", shown(name))?;
                match (offered.is_empty(), are_near) {
                    (true, _) => out.write_str("; there is no metadata"),
                    (false, true) => write!(out, "; the nearest is {}", list(offered)),
                    (false, false) => write!(out, "; there are {}", list(offered)),
                }
            }
            Self::NothingMatches { condition, name, holds, near, hint } => {
                write!(out, "no document matches `{}`: `{}` holds {holds}", shown(condition), shown(name))?;
                if !near.is_empty() {
                    write!(out, "; the nearest is {}", list(near))?;
                }
                hint.iter().try_for_each(|hint| write!(out, "; {hint}"))
            }
            Self::Reversed { condition } => {
                write!(out, "nothing can match `{}`: its first end is above its last", shown(condition))
            }
            Self::NotComparable { name, kind, count, examples } => {
                let texts = if *count == 1 { "a text that is" } else { "texts that are" };
                write!(
                    out,
                    "`{}` also holds {texts} no {kind}, which no range finds: {}",
                    shown(name),
                    list(examples)
                )?;
                if *count > examples.len() { write!(out, " and {} more", count - examples.len()) } else { Ok(()) }
            }
        }
    }
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("`{}`", item.chars().take(60).collect::<String>())).collect::<Vec<_>>().join(", ")
}

/// Looks into every condition of some filters.
pub(crate) fn warnings(
    filters: &[Filter],
    index: &Index,
    searcher: &Searcher,
    metadata: Option<&str>,
) -> Result<Vec<FilterWarning>, crate::PluginError> {
    let mut conditions: Vec<(&Filter, &Condition)> = Vec::new();
    for filter in filters {
        filter.expression.visit(&mut |condition| {
            if conditions.len() < MAX_CONDITIONS && conditions.iter().all(|(_, known)| *known != condition) {
                conditions.push((filter, condition));
            }
        });
    }
    let mut warnings = Vec::new();
    // An index without documents has no names either, and needs no advice.
    if searcher.num_docs() == 0 {
        return Ok(warnings);
    }
    let schema = index.schema();
    for (filter, condition) in conditions {
        let mut compiler = Compiler::new(index, &schema, metadata);
        let refuse = |problem| filter.refuse(problem);
        let query = compiler.condition(condition).map_err(refuse)?;
        let target = compiler.target(&condition.path).map_err(refuse)?;
        let warning = look_into(condition, target, query.as_ref(), &compiler, searcher)?;
        warnings.extend(warning.into_iter().filter(|warning| !warnings.contains(warning)).collect::<Vec<_>>());
    }
    Ok(warnings)
}

fn look_into(
    condition: &Condition,
    target: Target<'_>,
    query: &dyn Query,
    compiler: &Compiler<'_>,
    searcher: &Searcher,
) -> Result<Vec<FilterWarning>, crate::PluginError> {
    let written = condition.to_string();
    let range = match &condition.comparison {
        Comparison::Range { from, to } => value_range(from, to).ok(),
        _ => None,
    };
    let is_reversed = range.as_ref().is_some_and(|range| {
        let numbers = range.numbers.is_none_or(|numbers| numbers.is_reversed());
        numbers && range.dates.is_none_or(|(from, to)| from > to)
    });
    let is_found = has_match(query, searcher)?;
    let (field, name, options, mut keys) = match target {
        Target::Keys { field, name, options, keys } => (field, name, options, keys),
        Target::Field(..) if is_reversed && !is_found => {
            return Ok(vec![FilterWarning::Reversed { condition: written }]);
        }
        Target::Field(_, entry) if !is_found => {
            return Ok(vec![FilterWarning::NothingMatches {
                condition: written,
                name: entry.name().to_owned(),
                holds: "other values".to_owned(),
                near: Vec::new(),
                hint: hint(condition),
            }]);
        }
        Target::Field(..) => return Ok(Vec::new()),
    };
    if is_reversed {
        return Ok(vec![FilterWarning::Reversed { condition: written }]);
    }
    for other in condition.readings().skip(1) {
        if let Ok(Target::Keys { field: same, keys: more, .. }) = compiler.target(&other.path)
            && same == field
        {
            keys.extend(more);
        }
    }
    if is_found && range.is_none() {
        return Ok(Vec::new());
    }
    let contents = Contents::read(searcher, field, name, options, &keys)?;
    let joined = condition.path.joined();
    if !contents.is_there {
        let (known, _) = names::names(searcher, field)?;
        let known: Vec<String> = known.keys().map(|keys| names::written(keys)).collect();
        let near = nearest(&joined, &known);
        let are_near = !near.is_empty();
        let offered = if are_near { near } else { known.into_iter().take(2 * MAX_OFFERED).collect() };
        return Ok(vec![FilterWarning::UnknownName { name: joined, offered, are_near }]);
    }
    let mut warnings = Vec::new();
    if !is_found {
        let value = match &condition.comparison {
            Comparison::Equal(value) => value.as_str(),
            _ => "",
        };
        let near = if value.is_empty() { Vec::new() } else { nearest(value, &contents.texts) };
        warnings.push(FilterWarning::NothingMatches {
            condition: written,
            name: joined.clone(),
            holds: described(&contents),
            near,
            hint: hint(condition),
        });
    }
    if let Some(range) = range {
        warnings.extend(not_comparable(&joined, &range, &contents).filter(|_| is_found));
    }
    Ok(warnings)
}

/// Whether a document that is not deleted matches.
fn has_match(query: &dyn Query, searcher: &Searcher) -> tantivy::Result<bool> {
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
    for reader in searcher.segment_readers() {
        let mut scorer = weight.scorer(reader, 1.0)?;
        let mut document = scorer.doc();
        while document != TERMINATED && reader.is_deleted(document) {
            document = scorer.advance();
        }
        if document != TERMINATED {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Texts that a range skips because they cannot be compared with its ends.
fn not_comparable(name: &str, range: &ValueRange, contents: &Contents) -> Option<FilterWarning> {
    let kind = match (range.numbers.is_some(), range.dates.is_some()) {
        (true, true) => "number or date",
        (true, false) => "number",
        _ => "date",
    };
    let is_comparable = |text: &String| {
        (range.numbers.is_some() && Number::parse(text).is_some())
            || (range.dates.is_some() && Period::parse(text).is_some())
    };
    let others: Vec<&String> = contents.texts.iter().filter(|text| !is_comparable(text)).collect();
    let examples: Vec<String> = others.iter().take(3).map(|text| (*text).clone()).collect();
    (!examples.is_empty()).then(|| FilterWarning::NotComparable {
        name: name.to_owned(),
        kind,
        count: others.len(),
        examples,
    })
}

/// What a name holds, in words.
fn described(contents: &Contents) -> String {
    let mut parts = Vec::new();
    for kind in contents.kinds() {
        parts.push(match (kind, contents.numbers) {
            ("numbers", Some((least, most))) if least == most => format!("the number {least}"),
            ("numbers", Some((least, most))) => format!("numbers from {least} to {most}"),
            ("text" | "dates" | "numbers in text", _) if !contents.texts.is_empty() => {
                let texts = &contents.texts;
                if texts.len() <= MAX_OFFERED && !contents.has_more {
                    list(texts)
                } else {
                    format!("{kind} such as {}", list(&texts[..texts.len().min(3)]))
                }
            }
            ("text", _) => "long texts".to_owned(),
            (kind, _) => kind.to_owned(),
        });
    }
    if parts.is_empty() { "further names, and no values".to_owned() } else { parts.join(" and ") }
}

/// What may have been meant by a value that no document has.
fn hint(condition: &Condition) -> Option<String> {
    let Comparison::Equal(value) = &condition.comparison else { return None };
    let next_word = value.split_whitespace().skip(1).any(|word| {
        word.find([':', '<', '>'])
            .is_some_and(|at| at > 0 && word[..at].chars().all(|sign| sign.is_alphanumeric() || sign == '_'))
    });
    if next_word && !value.contains("//") {
        return Some("between two conditions there must be AND or OR".to_owned());
    }
    let items: Vec<&str> = value.split([',', '|']).map(str::trim).collect();
    (items.len() > 1 && items.iter().all(|item| !item.is_empty()))
        .then(|| format!("several values are written {}:({})", condition.path, items.join(", ")))
}

/// Those most like a word, the nearest first.
pub(crate) fn nearest(word: &str, known: &[String]) -> Vec<String> {
    let plain = |text: &str| text.to_lowercase().chars().take(64).collect::<String>();
    let word = plain(word);
    let length = word.chars().count();
    let limit = (length / 3).max(1).min(length.saturating_sub(1));
    let mut near: Vec<(usize, &String)> = known
        .iter()
        .filter_map(|known| {
            let other = plain(known);
            let last = other.rsplit('.').next().unwrap_or_default();
            let distance = strsim::osa_distance(&word, &other).min(1 + strsim::osa_distance(&word, last));
            (distance <= limit).then_some((distance, known))
        })
        .collect();
    near.sort();
    near.into_iter().take(MAX_OFFERED).map(|(_, known)| known.clone()).collect()
}
