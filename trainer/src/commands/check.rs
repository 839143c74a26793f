//! `adam-train check`: reads the data and says what a run would do, without training anything.
//!
//! It needs no GPU and runs no model: rows and tokens are counted, steps and memory follow from the settings, the model's
//! size from the headers of its files.

pub use crate::model::ModelSize;

use crate::data::batches::{BatchLimits, Padding, pack};
use crate::data::tokens::TokenStore;
use crate::data::{DataConfig, Dropped, Example, load, tokens};
use crate::error::TrainError;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use tokenizers::Tokenizer;

/// One stage of training, as far as its cost goes.
#[derive(Clone, Debug)]
pub struct StagePlan {
    /// Its name.
    pub name: String,
    /// Epochs.
    pub epochs: f64,
    /// Queries per optimiser step.
    pub queries: usize,
    /// Passages per query and step, the positive and dark examples included.
    pub passages: usize,
    /// For a model that reads query and passage together: the most tokens of both.
    pub pair_cap: Option<usize>,
    /// A step of more tokens than this goes through the model in parts.
    pub most_tokens: usize,
    /// Most tokens of such a part.
    pub micro_tokens: usize,
    /// The size of the model, where its files are at hand.
    pub model: Option<ModelSize>,
}

/// What is checked.
pub struct CheckInput<'a> {
    /// The data.
    pub data: &'a DataConfig,
    /// The student's tokenizer, for token lengths.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Where token ids are kept between runs.
    pub token_folder: Option<&'a Path>,
    /// What is put before queries and passages.
    pub prompts: (&'a str, &'a str),
    /// Most tokens of a query, special ones included.
    pub query_cap: usize,
    /// Most tokens of a passage, special ones included.
    pub passage_cap: usize,
    /// Tokens that the model can read of a text.
    pub longest: usize,
    /// The size of the student, where its files are at hand.
    pub model: Option<ModelSize>,
    /// Bytes of a value in the forward pass: 2 for bf16, 4 for f32.
    pub activation_bytes: usize,
    /// Bounds of batches.
    pub batches: BatchLimits,
    /// The stages of the run.
    pub stages: Vec<StagePlan>,
}

/// Percentiles of token lengths, special tokens included.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// Texts counted.
    pub texts: usize,
    /// Mean length before the cap.
    pub mean: f64,
    /// The 50th, 90th, 95th and 99th percentile and the maximum, before the cap (lengths are counted up to 4,096).
    pub percentiles: [usize; 5],
    /// The cap.
    pub cap: usize,
    /// Share of texts that the cap cuts.
    pub cut: f64,
    /// Share of padding, batched by length under the cap.
    pub padding: f64,
    /// Share of all tokens that lie under the cap: what training sees of the text.
    pub seen: f64,
}

/// Optimiser steps and tokens of a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageCost {
    /// The stage.
    pub name: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Passages that go through the model, dark examples included.
    pub passages: u64,
    /// Tokens that go through the model, about; 0 without a tokenizer.
    pub tokens: u64,
    /// Peak memory of the model, about, in bytes; 0 when its size is not known.
    pub memory: u64,
}

/// What a run would meet.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    /// The format the data was read as.
    pub format: String,
    /// Rows that are used.
    pub rows_kept: u64,
    /// Rows that are not.
    pub rows_dropped: u64,
    /// How many rows were dropped for which sort of reason (ids and numbers taken out), most frequent first.
    pub reasons: Vec<(String, u64)>,
    /// The first dropped rows, by file and line.
    pub examples: Vec<String>,
    /// Passages.
    pub passages: usize,
    /// Training queries.
    pub queries: usize,
    /// Queries held out.
    pub dev_queries: usize,
    /// Mean number of positives of a training query.
    pub positives: f64,
    /// Mean number of negatives that came with the data.
    pub negatives: f64,
    /// Training queries whose teacher scores came with the data.
    pub scored_queries: usize,
    /// Queries that have a text and that nothing judges.
    pub unjudged_queries: u64,
    /// Queries of which only negatives are known.
    pub only_negatives: u64,
    /// Fields that were not read, with how many rows have them.
    pub unread: BTreeMap<String, u64>,
    /// The first rows as they were understood.
    pub rows: Vec<Example>,
    /// Lengths of queries.
    pub query_lengths: Option<Lengths>,
    /// Lengths of passages.
    pub passage_lengths: Option<Lengths>,
    /// The student's parameters.
    pub parameters: Option<u64>,
    /// Costs by stage.
    pub stages: Vec<StageCost>,
    /// Natural pairs that distillation asks for whose teacher score is cached, of how many; and all cached scores.
    pub cache: Option<(usize, usize, usize)>,
    /// What is worth knowing beside.
    pub notes: Vec<String>,
}

/// How many dropped rows are shown one by one.
const EXAMPLES: usize = 20;
/// Lengths are counted up to this many tokens, so that a book among the passages costs no more than a page.
const LENGTH_LIMIT: u32 = 4096;
/// Where a greater share of the passages is cut, a note says so.
const MUCH_CUT: f64 = 0.5;
/// `[CLS]` and `[SEP]`.
const SPECIAL: usize = 2;

/// Looks at the data and counts.
///
/// # Errors
/// As [`load`], and when the tokenizer or the score file cannot be used.
pub fn check(input: &CheckInput<'_>) -> Result<CheckReport, TrainError> {
    let data = load(input.data)?;
    let mut report = CheckReport {
        format: data.format.name().to_owned(),
        rows_kept: data.rows_kept,
        rows_dropped: data.rows_dropped,
        reasons: by_reason(&data.dropped),
        examples: data.dropped.iter().take(EXAMPLES).map(Dropped::to_string).collect(),
        passages: data.passages.len(),
        queries: data.queries.len(),
        dev_queries: data.dev.len(),
        scored_queries: data.queries.iter().filter(|q| q.scores.is_some()).count(),
        unjudged_queries: data.unjudged,
        only_negatives: data.only_negatives,
        unread: data.unread.clone(),
        rows: data.examples.clone(),
        notes: data.remarks(),
        parameters: input.model.map(|m| m.parameters),
        ..CheckReport::default()
    };
    let mean = |count: fn(&crate::data::TrainQuery) -> usize| {
        data.queries.iter().map(count).sum::<usize>() as f64 / data.queries.len().max(1) as f64
    };
    report.positives = mean(|q| q.positives.len());
    report.negatives = mean(|q| q.negatives.len());

    let (mut query_mean, mut passage_mean) = (0.0, 0.0);
    if let Some(tokenizer) = input.tokenizer {
        let (query_prompt, passage_prompt) = input.prompts;
        let query = |i: usize| Cow::Owned(format!("{query_prompt}{}", data.queries[i].text));
        let passage = |i: usize| {
            let text = data.passages.full_text(i as u32).unwrap_or_default();
            Cow::Owned(format!("{passage_prompt}{text}"))
        };
        let queries = tokenize(input, tokenizer, data.queries.len(), &query, &mut report.notes, "queries")?;
        let passages = tokenize(input, tokenizer, data.passages.len(), &passage, &mut report.notes, "passages")?;
        let (lengths, mean) = lengths(&queries, input.query_cap, &input.batches);
        (report.query_lengths, query_mean) = (Some(lengths), mean);
        let (lengths, mean) = self::lengths(&passages, input.passage_cap, &input.batches);
        if lengths.cut > MUCH_CUT {
            let advice = if input.passage_cap < input.longest {
                "raise `student.passage_length` if the rest matters"
            } else {
                "the model cannot read more"
            };
            report.notes.push(format!(
                "{:.0} % of the passages are longer than what the student reads of them in training, {} tokens; {advice}",
                100.0 * lengths.cut,
                lengths.cap
            ));
        }
        (report.passage_lengths, passage_mean) = (Some(lengths), mean);
    }
    for stage in &input.stages {
        let cost = cost(stage, data.queries.len(), query_mean, passage_mean, input);
        report.stages.push(cost);
    }
    if report.scored_queries > 0 {
        report.notes.push(
            "scores that come with the data are used where the voice `rows` is on (teacher.voices = [{ kind = \"rows\" }])"
                .to_owned(),
        );
    }
    Ok(report)
}

fn tokenize(
    input: &CheckInput<'_>,
    tokenizer: &Tokenizer,
    count: usize,
    text: &(dyn Fn(usize) -> Cow<'static, str> + Sync),
    notes: &mut Vec<String>,
    what: &str,
) -> Result<TokenStore, TrainError> {
    let Some(folder) = input.token_folder else {
        return tokens::tokenize(tokenizer, count, text, LENGTH_LIMIT);
    };
    let (store, origin) = tokens::load_or_tokenize(folder, tokenizer, count, text, LENGTH_LIMIT, &mut |_| ())?;
    if let tokens::Origin::Remade(reason) = origin {
        notes.push(format!("token ids of the {what} were made again: {reason}"));
    }
    Ok(store)
}

/// Percentiles, and the mean length under the cap.
fn lengths(store: &TokenStore, cap: usize, limits: &BatchLimits) -> (Lengths, f64) {
    let mut all: Vec<usize> = (0..store.len()).map(|i| store.length(i) + SPECIAL).collect();
    all.sort_unstable();
    let count = all.len().max(1) as f64;
    let at = |share: f64| {
        let place = (share * all.len().saturating_sub(1) as f64).round() as usize;
        all.get(place).copied().unwrap_or_default()
    };
    let capped: Vec<usize> = all.iter().map(|&length| length.min(cap)).collect();
    let padding = Padding::of(&pack(&capped, limits), &capped).share();
    let report = Lengths {
        texts: all.len(),
        mean: all.iter().sum::<usize>() as f64 / count,
        percentiles: [at(0.5), at(0.9), at(0.95), at(0.99), at(1.0)],
        cap,
        cut: all.iter().filter(|&&length| length > cap).count() as f64 / count,
        padding,
        seen: capped.iter().sum::<usize>() as f64 / all.iter().sum::<usize>().max(1) as f64,
    };
    (report, capped.iter().sum::<usize>() as f64 / count)
}

fn cost(stage: &StagePlan, queries: usize, query_mean: f64, passage_mean: f64, input: &CheckInput<'_>) -> StageCost {
    let per_step = stage.queries.max(1);
    // The last step of an epoch takes what is left.
    let steps = (queries.div_ceil(per_step) as f64 * stage.epochs).round() as u64;
    let passages = ((queries * stage.passages) as f64 * stage.epochs).round() as u64;
    let in_step = per_step.min(queries);
    let of_query = match stage.pair_cap {
        Some(cap) => stage.passages as f64 * (query_mean + passage_mean).min(cap as f64),
        None => query_mean + stage.passages as f64 * passage_mean,
    };
    let step_tokens = in_step as f64 * of_query;
    let tokens = (queries as f64 * stage.epochs * of_query).round() as u64;
    let memory = stage.model.map_or(0, |model| {
        // A step in one pass keeps all of its activations.
        let at_once = if step_tokens > stage.most_tokens as f64 { stage.micro_tokens as f64 } else { step_tokens };
        model.training_bytes(at_once.ceil() as u64, input.activation_bytes as u64)
    });
    StageCost { name: stage.name.clone(), steps, passages, tokens, memory }
}

/// Counts reasons with the ids and numbers in them taken out, so that a thousand rows with the same fault are one line.
fn by_reason(dropped: &[Dropped]) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for row in dropped {
        *counts.entry(sort_of(&row.reason)).or_default() += 1;
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    counts
}

fn sort_of(reason: &str) -> String {
    let mut sort = String::new();
    for (n, part) in reason.split('`').enumerate() {
        // Between backticks stands an id or a name.
        sort.push_str(if n % 2 == 1 { "…" } else { part });
    }
    let mut short = String::new();
    let mut in_number = false;
    for character in sort.chars() {
        if !character.is_ascii_digit() {
            short.push(character);
        } else if !in_number {
            short.push('N');
        }
        in_number = character.is_ascii_digit();
    }
    short
}

/// A number with what it counts.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A number for reading, in thousands or millions where it is large.
fn amount(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..999_500 => format!("{} thousand", (count + 500) / 1000),
        _ => format!("{:.1} million", count as f64 / 1e6),
    }
}

impl CheckReport {
    /// The report for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "data          {} used, {} not; format {}",
            counted(self.rows_kept, "row", "rows"),
            self.rows_dropped,
            self.format
        );
        let _ = writeln!(
            text,
            "              {}, {}, {} held out",
            counted(self.passages as u64, "passage", "passages"),
            counted(self.queries as u64, "training query", "training queries"),
            self.dev_queries
        );
        let _ = writeln!(
            text,
            "              {:.2} positives and {:.2} negatives a query; {} with teacher scores",
            self.positives,
            self.negatives,
            counted(self.scored_queries as u64, "query", "queries")
        );
        for (at, row) in self.rows.iter().enumerate() {
            for (line, said) in row.lines().iter().enumerate() {
                let name = if (at, line) == (0, 0) { "rows" } else { "" };
                let place = if line == 0 && row.line > 0 { format!("  (line {})", row.line) } else { String::new() };
                let _ = writeln!(text, "{name:<12}  {said}{place}");
            }
        }
        if !self.reasons.is_empty() {
            let _ = writeln!(text, "not used");
            for (reason, count) in self.reasons.iter().take(EXAMPLES) {
                let _ = writeln!(text, "{count:>12}  {reason}");
            }
            for example in &self.examples {
                let _ = writeln!(text, "              {example}");
            }
        }
        for (name, lengths) in [("queries", &self.query_lengths), ("passages", &self.passage_lengths)] {
            if let Some(l) = lengths {
                let [p50, p90, p95, p99, max] = l.percentiles;
                let _ = writeln!(
                    text,
                    "{name:<12}  tokens: mean {:.1}, 50 % {p50}, 90 % {p90}, 95 % {p95}, 99 % {p99}, longest {max}",
                    l.mean
                );
                let _ = writeln!(
                    text,
                    "              the cap of {} cuts {:.1} %, training sees {:.1} % of the text; padding {:.1} %",
                    l.cap,
                    100.0 * l.cut,
                    100.0 * l.seen,
                    100.0 * l.padding
                );
            }
        }
        if let Some(parameters) = self.parameters {
            let _ = writeln!(text, "student       {:.1} million parameters", parameters as f64 / 1e6);
        }
        for stage in &self.stages {
            let _ = write!(text, "{:<12}  {} steps, {} passages", stage.name, stage.steps, stage.passages);
            if stage.tokens > 0 {
                let _ = write!(text, ", {} tokens", amount(stage.tokens));
            }
            if stage.memory > 0 {
                let _ = write!(text, ", about {:.1} GB", stage.memory as f64 / 1e9);
            }
            text.push('\n');
        }
        if let Some((hits, pairs, all)) = self.cache {
            let _ = writeln!(text, "teacher       {hits} of {pairs} pairs are scored already ({all} scores on file)");
        }
        for note in &self.notes {
            match note.strip_prefix("warning: ") {
                Some(warning) => {
                    let _ = writeln!(text, "warning       {warning}");
                }
                None => {
                    let _ = writeln!(text, "note          {note}");
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
