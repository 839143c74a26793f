//! Training data: read in any of the usual formats, checked row by row, tokenised once, batched without waste.
//!
//! [`load`] turns a [`DataConfig`] into [`TrainingData`]: passages and queries with numbers for names. Rows that cannot be
//! used are not fatal; each is kept in [`TrainingData::dropped`] by file and line, so that `adam-train check` can show them,
//! and only too many of them stop a run (`max_wrong_share`).

mod array;
pub mod batches;
mod build;
mod example;
pub(crate) mod files;
mod formats;
mod list;
pub(crate) mod made;
pub(crate) mod rows;
pub mod scores;
pub mod tokens;

pub use example::{Example, ExamplePassage};
pub use formats::Format;
pub use made::QuerySource;

use crate::adam::random::KeyedRandom;
use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Which of a scored list's passages is the positive, in formats that do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListPositive {
    /// The first one, as the published lists have it.
    #[default]
    First,
    /// The one with the highest score.
    Highest,
}

/// What happens when a row cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrongRows {
    /// It is dropped and listed.
    #[default]
    Drop,
    /// The first one ends the run.
    Fail,
}

/// Where training data is and how to read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A BEIR folder or zip, a folder of MS MARCO or three-table files, or one file of training rows.
    pub path: PathBuf,
    /// The format, or `auto` to tell it from the file names and the first row.
    pub format: Format,
    /// The split of judgements to train on (BEIR, MS MARCO).
    pub split: String,
    /// The table of queries, where rows name queries by id and it is not beside `path` under its usual name.
    pub queries: Option<PathBuf>,
    /// The table of passages, likewise.
    pub documents: Option<PathBuf>,
    /// The smallest grade of a positive; judged passages of a lower grade are negatives.
    pub min_grade: i32,
    /// The smallest score of a positive, where rows say by a number how similar query and passage are; a lower score makes a negative.
    /// Absent: such rows are not used. Where it is set, it decides about labels as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f64>,
    /// Which passage of a scored list is the positive (three tables).
    pub list_positive: ListPositive,
    /// Share of the training queries held out as development queries, in 0..1. Queries with equal text stay together.
    pub hold_out: f64,
    /// Seed of the held-out share.
    pub hold_out_seed: u64,
    /// At most this many queries are used, the same ones each time.
    pub max_queries: Option<usize>,
    /// What happens when a row cannot be used.
    pub wrong_rows: WrongRows,
    /// More than this share of dropped rows ends the run: such a file is not what it was taken for.
    pub max_wrong_share: f64,
    /// Longest line, in bytes.
    pub max_line_bytes: usize,
    /// Most rows of a file.
    pub max_rows: u64,
    /// Most entries of a list within a row.
    pub max_list: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            format: Format::Auto,
            split: "train".to_owned(),
            queries: None,
            documents: None,
            min_grade: 1,
            min_score: None,
            list_positive: ListPositive::First,
            hold_out: 0.0,
            hold_out_seed: 0,
            max_queries: None,
            wrong_rows: WrongRows::Drop,
            max_wrong_share: 0.05,
            max_line_bytes: 16 << 20,
            max_rows: 1 << 32,
            max_list: 4096,
        }
    }
}

impl DataConfig {
    /// What is wrong with these settings, as a sentence; nothing when all is well.
    pub fn problem(&self) -> Option<String> {
        if self.path.as_os_str().is_empty() {
            return Some("`path` is missing: name the training data".to_owned());
        }
        if !(0.0..1.0).contains(&self.hold_out) {
            return Some(format!("`hold_out` must lie in 0..1, and is {}", self.hold_out));
        }
        if self.min_score.is_some_and(|least| !least.is_finite()) {
            return Some("`min_score` must be a finite number".to_owned());
        }
        if !(0.0..=1.0).contains(&self.max_wrong_share) {
            return Some(format!("`max_wrong_share` must lie in 0..=1, and is {}", self.max_wrong_share));
        }
        for (name, value) in [
            ("max_line_bytes", self.max_line_bytes as u64),
            ("max_rows", self.max_rows),
            ("max_list", self.max_list as u64),
        ] {
            if value == 0 {
                return Some(format!("`{name}` must be at least 1"));
            }
        }
        if self.max_queries == Some(0) {
            return Some("`max_queries` must be at least 1".to_owned());
        }
        None
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { line_bytes: self.max_line_bytes, rows: self.max_rows, list: self.max_list }
    }
}

/// Bounds on what is read, since files come from anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) line_bytes: usize,
    pub(crate) rows: u64,
    pub(crate) list: usize,
}

/// All passages, by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passages {
    /// Their ids; passages that came without one are named by the hash of their text.
    pub ids: Vec<String>,
    /// Their titles, empty where there is none.
    pub titles: Vec<String>,
    /// Their texts.
    pub texts: Vec<String>,
}

impl Passages {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What models read: title, one space, text; trimmed. `None` for a number that names no passage.
    pub fn full_text(&self, passage: u32) -> Option<String> {
        let (title, text) = (self.titles.get(passage as usize)?, self.texts.get(passage as usize)?);
        Some(format!("{title} {text}").trim().to_owned())
    }
}

/// A training query; passages by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainQuery {
    /// Its id; queries that came without one are named by the hash of their text.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Relevant passages, at least one.
    pub positives: Vec<u32>,
    /// Passages given as negatives; often none, which is what mining is for.
    pub negatives: Vec<u32>,
    /// Teacher scores that came with the data: of the positives, then of the negatives, in their order.
    pub scores: Option<Vec<f32>>,
    /// Where it comes from.
    pub origin: Origin,
    /// How training reads its positive, where that is without the part that the query was made of.
    pub edited: Option<String>,
}

/// Where a training query comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The data judges it.
    #[default]
    Labelled,
    /// Made from a passage.
    Made,
    /// A query log; the teacher alone labels it.
    Log,
    /// Clicks.
    Clicks,
}

/// A row that was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Its file.
    pub file: PathBuf,
    /// Its line, or row in a Parquet file, counted from 1; 0 when the reason concerns no one line.
    pub line: u64,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file.display(), self.reason)
        } else {
            write!(f, "{}, line {}: {}", self.file.display(), self.line, self.reason)
        }
    }
}

/// The chapter of the manual on training data, in Markdown.
pub const FORMATS: &str = include_str!("../../docs/training-rows.md");

/// How many dropped rows are kept one by one; beyond, they are only counted.
const MOST_DROPPED: usize = 10_000;

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct TrainingData {
    /// The format it was read as.
    pub format: Format,
    /// All passages.
    pub passages: Passages,
    /// The queries to train on.
    pub queries: Vec<TrainQuery>,
    /// The queries held out for development.
    pub dev: Vec<TrainQuery>,
    /// Rows that were used.
    pub rows_kept: u64,
    /// Rows that were not used, the first 10,000 of them.
    pub dropped: Vec<Dropped>,
    /// How many rows were not used.
    pub rows_dropped: u64,
    /// Queries that have a text and that nothing judges.
    pub unjudged: u64,
    /// Queries of which only negatives are known; not used, and not counted as wrong rows.
    pub only_negatives: u64,
    /// Rows whose positive was the query itself, among those not used.
    pub same_text: u64,
    /// Fields that were not read, with how many rows have them; at most 50 names.
    pub unread: BTreeMap<String, u64>,
    /// The first rows as they were understood.
    pub examples: Vec<Example>,
}

impl TrainingData {
    /// Training queries, then held-out ones.
    pub fn all_queries(&self) -> impl Iterator<Item = &TrainQuery> {
        self.queries.iter().chain(&self.dev)
    }

    /// What a user should know about data that was read without fault.
    pub fn remarks(&self) -> Vec<String> {
        let queries = |count: u64| if count == 1 { "1 query".to_owned() } else { format!("{count} queries") };
        let in_rows = |count: u64| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        let mut remarks = Vec::new();
        if self.unjudged > 0 {
            let have = if self.unjudged == 1 { "has no judgement and is" } else { "have no judgements and are" };
            remarks.push(format!("{} {have} not used", queries(self.unjudged)));
        }
        if self.only_negatives > 0 {
            let have = if self.only_negatives == 1 { "has" } else { "have" };
            remarks.push(format!("{} {have} negatives only and no positive: not used", queries(self.only_negatives)));
        }
        let named = |suspicious: bool| -> Vec<String> {
            let all = self.unread.iter().filter(|(name, _)| formats::is_suspicious(name) == suspicious);
            all.map(|(name, count)| format!("`{}` ({})", rows::shorten(name), in_rows(*count))).collect()
        };
        let (suspicious, plain) = (named(true), named(false));
        if !suspicious.is_empty() {
            remarks.push(format!(
                "warning: these fields are not read, and their names say that they matter: {}; `adam-train formats` lists the names that are",
                suspicious.join(", ")
            ));
        }
        if !plain.is_empty() {
            remarks.push(format!("fields that are not read: {}", plain.join(", ")));
        }
        remarks
    }
}

/// The format of training data: the one that is named, or told from file names and the first row.
///
/// # Errors
/// When it cannot be told.
pub fn format_of(config: &DataConfig) -> Result<Format, TrainError> {
    match config.format {
        Format::Auto => formats::detect(config),
        named => Ok(named),
    }
}

/// Reads training data.
///
/// # Errors
/// When a file cannot be read, its format cannot be told or is another one, more than `max_wrong_share` of the rows are
/// wrong (with `wrong_rows = "fail"` any), or no query is left.
pub fn load(config: &DataConfig) -> Result<TrainingData, TrainError> {
    if let Some(problem) = config.problem() {
        return Err(TrainError::config(format!("[data] {problem}")));
    }
    if !config.path.exists() {
        let hint = match config.path.to_string_lossy() {
            name if name == "-" => {
                "; standard input is not read, since training data is read more than once: save it to a file"
            }
            name if name.contains(['*', '?']) => {
                "; several files are read from one folder: name the folder that holds them"
            }
            _ => "",
        };
        return Err(TrainError::data(&config.path, format!("there is no such file or folder{hint}")));
    }
    let format = format_of(config)?;
    let mut data = formats::read(format, config)?;
    data.format = format;

    let rows = data.rows_kept + data.rows_dropped;
    if data.queries.is_empty() && format != Format::Corpus {
        let first = data.dropped.first().map_or_else(|| "it holds no rows".to_owned(), Dropped::to_string);
        return Err(TrainError::data(&config.path, format!("no training query could be used; {first}")));
    }
    if data.rows_dropped as f64 > config.max_wrong_share * rows as f64 {
        let first = data.dropped.first().map(Dropped::to_string).unwrap_or_default();
        return Err(TrainError::data(
            &config.path,
            format!(
                "{} of {rows} rows cannot be used, more than `max_wrong_share` = {} allows; the first: {first}",
                data.rows_dropped, config.max_wrong_share
            ),
        ));
    }
    if data.rows_dropped > 0 {
        tracing::warn!(
            "{} of {rows} rows were not used; the first: {}",
            data.rows_dropped,
            data.dropped.first().map(Dropped::to_string).unwrap_or_default()
        );
    }
    if let Some(most) = config.max_queries {
        thin_out(&mut data.queries, most, config.hold_out_seed);
    }
    data.dev = hold_out(&mut data.queries, config.hold_out, config.hold_out_seed);
    Ok(data)
}

/// Keeps `most` of the queries, chosen by a hash of their ids, in the order they had.
fn thin_out(queries: &mut Vec<TrainQuery>, most: usize, seed: u64) {
    if queries.len() <= most {
        return;
    }
    let mut order: Vec<usize> = (0..queries.len()).collect();
    order.sort_by_cached_key(|&i| (KeyedRandom::new("max-queries", seed, &[queries[i].id.as_bytes()]).bits(), i));
    let mut keep = vec![false; queries.len()];
    for &i in &order[..most] {
        keep[i] = true;
    }
    let mut keep = keep.into_iter();
    queries.retain(|_| keep.next().unwrap_or(false));
}

/// Takes a share of the queries out, chosen by a hash of their texts, so that a query asked twice is never on both sides and
/// the choice does not depend on the order of the files.
fn hold_out(queries: &mut Vec<TrainQuery>, share: f64, seed: u64) -> Vec<TrainQuery> {
    let wanted = (share * queries.len() as f64).round() as usize;
    if wanted == 0 {
        return Vec::new();
    }
    let hash = |query: &TrainQuery| {
        let text = query.text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        KeyedRandom::new("hold-out", seed, &[text.as_bytes()]).bits()
    };
    let hashes: Vec<u64> = queries.iter().map(hash).collect();
    let mut sorted = hashes.clone();
    sorted.sort_unstable();
    // Queries of equal text share the hash, so the cut never falls between them.
    let cut = sorted[(wanted - 1).min(sorted.len() - 1)];
    if sorted.last() == Some(&cut) {
        // Everything would be held out; there is nothing to train on then, so nothing is.
        return Vec::new();
    }
    let mut held = Vec::with_capacity(wanted);
    let mut kept = Vec::with_capacity(queries.len() - wanted);
    for (query, hash) in queries.drain(..).zip(hashes) {
        if hash <= cut { held.push(query) } else { kept.push(query) }
    }
    *queries = kept;
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(n: usize) -> Vec<TrainQuery> {
        (0..n)
            .map(|i| TrainQuery {
                id: format!("q{i}"),
                text: format!("What is number {}?", i / 2),
                positives: vec![0],
                negatives: vec![],
                scores: None,
                ..TrainQuery::default()
            })
            .collect()
    }

    #[test]
    fn held_out_queries_are_the_same_in_any_order_and_texts_stay_together() {
        let mut forward = queries(200);
        let mut backward = queries(200);
        backward.reverse();
        let held = hold_out(&mut forward, 0.2, 5);
        let mut again = hold_out(&mut backward, 0.2, 5);
        again.reverse();
        assert_eq!(held, again);
        assert!((40..=41).contains(&held.len()), "{}", held.len());
        assert_eq!(held.len() + forward.len(), 200);
        for query in &held {
            assert!(forward.iter().all(|q| q.text != query.text));
        }
        let mut other = queries(200);
        assert_ne!(held, hold_out(&mut other, 0.2, 6));
        assert!(hold_out(&mut queries(200), 0.0, 5).is_empty());
        assert!(hold_out(&mut queries(1), 0.9, 5).is_empty());
    }

    #[test]
    fn thinning_keeps_order_and_number() {
        let mut few = queries(100);
        thin_out(&mut few, 10, 1);
        assert_eq!(few.len(), 10);
        let number = |q: &TrainQuery| q.id[1..].parse::<usize>().unwrap();
        assert!(few.windows(2).all(|w| number(&w[0]) < number(&w[1])));
    }
}
