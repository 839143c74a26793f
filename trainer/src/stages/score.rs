//! Scoring: the teacher's raw logits of everything distillation will ask for, and the calibration report.

use super::context::Context;
use super::dev::{DevSet, HeldOut, StudentInputs};
use super::lists::{Lists, QueryList};
use super::teacher::{Pair, Scorer, limits_without_gradients};
use crate::adam::calibration::{Calibration, QueryLogits, calibrate};
use crate::adam::dark::DarkKind;
use crate::data::scores::{KnownScores, ScoreCache, ScoreKey};
use crate::error::TrainError;
use crate::report::Bar;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// What scoring did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoreOutcome {
    /// Pairs that distillation asks for.
    pub pairs: usize,
    /// Those of them that were not in the cache.
    pub scored: usize,
    /// The calibration report.
    pub calibration: Calibration,
    /// Teacher and student side by side, where queries were held out and `dev.teacher` is on.
    #[serde(default)]
    pub held_out: Option<HeldOut>,
}

/// Pairs scored between two flushes of the cache, after each of which a run can be stopped.
fn chunk(context: &Context<'_>) -> usize {
    if context.machine.device.is_cuda() { 16_384 } else { 512 }
}

/// The most tokens of a passage that both models read, so that both judge the same text.
pub(crate) fn common_cap(context: &Context<'_>) -> usize {
    let teacher = &context.config.teacher;
    let overhead = context.texts.tokens.pair_overhead();
    let of_teacher = teacher.length.min(context.teacher_longest).saturating_sub(teacher.query_length + overhead);
    context.passage_room.min(of_teacher)
}

/// Lists of a run's training queries.
pub(crate) fn lists<'a>(context: &'a Context<'_>) -> Result<Lists<'a>, TrainError> {
    let special = context.texts.tokens.special();
    if let Some(problem) = context.config.dark.problem(special) {
        return Err(TrainError::config(format!("[dark] {problem}")));
    }
    Ok(Lists {
        config: context.config,
        queries: &context.data.queries,
        query_tokens: &context.texts.queries,
        passage_tokens: &context.texts.passages,
        pools: context.pools()?,
        special,
        cap: common_cap(context),
    })
}

/// Where the scores of all runs over an output are.
pub(crate) fn cache_path(context: &Context<'_>) -> PathBuf {
    context.place("scores").join("scores.bin")
}

/// Who the teacher is, for the cache: the length cuts the query's room too, so it is part of that.
fn cache_teacher(context: &Context<'_>, teacher_key: &str) -> String {
    let config = &context.config.teacher;
    format!("{teacher_key} {} {}", config.length, config.query_length)
}

/// Opens the run's cache of scores.
pub(crate) fn cache(context: &Context<'_>, teacher_key: &str) -> Result<ScoreCache, TrainError> {
    ScoreCache::open(&cache_path(context), &cache_teacher(context, teacher_key))
}

/// Scores on file of this teacher, whichever run asked for them.
pub(crate) fn on_file(context: &Context<'_>, teacher_key: &str) -> Result<usize, TrainError> {
    Ok(KnownScores::read(&cache_path(context), &cache_teacher(context, teacher_key))?.len())
}

/// Of the natural pairs that distillation asks for, how many the cache holds, and how many scores it holds in all. Dark examples
/// are not counted: which there are depends on these scores.
pub(crate) fn known(context: &Context<'_>, teacher_key: &str) -> Result<(usize, usize, usize), TrainError> {
    let known = KnownScores::read(&cache_path(context), &cache_teacher(context, teacher_key))?;
    let lists = lists(context)?;
    let mut seen = HashSet::new();
    let mut hits = 0;
    for query in 0..context.data.queries.len() {
        for epoch in 0..context.config.distil.epochs.max(1) as u32 {
            for passage in lists.needed(query, epoch) {
                if seen.insert((query, passage)) {
                    let tokens = lists.passage(passage);
                    hits += usize::from(known.get(&lists.queries[query].text, tokens).is_some());
                }
            }
        }
    }
    Ok((hits, seen.len(), known.len()))
}

/// Scores whatever is missing, writes the calibration report, and sets the teacher beside the student of `base`.
///
/// # Errors
/// [`TrainError::Interrupted`] when the stop flag is set; what was scored stays in the cache.
pub(crate) fn score(
    context: &Context<'_>,
    base: &Path,
    folder: &Path,
    teacher_key: &str,
) -> Result<ScoreOutcome, TrainError> {
    let lists = lists(context)?;
    let mut cache = cache(context, teacher_key)?;
    let scorer = Scorer::open(context)?;
    let epochs = context.config.distil.epochs.max(1) as u32;
    let queries = context.data.queries.len();

    let mut work: Vec<(usize, Vec<u32>)> = Vec::new();
    let mut seen: HashSet<ScoreKey> = HashSet::new();
    let mut pairs = 0;
    for query in 0..queries {
        for epoch in 0..epochs {
            for passage in lists.needed(query, epoch) {
                let tokens = lists.passage(passage);
                let key = cache.key(&lists.queries[query].text, tokens);
                if seen.insert(key) {
                    pairs += 1;
                    if cache.get(&key).is_none() {
                        work.push((query, tokens.to_vec()));
                    }
                }
            }
        }
    }
    let mut scored = work.len();
    // Dark examples of a query cost about as much again, so the bar knows the whole from the start.
    let per_query = (context.config.dark.reinforced + context.config.dark.noisy) * context.config.dark.oversample;
    let made_often = if context.config.dark.refresh == crate::adam::dark::Refresh::Once { 1 } else { epochs as usize };
    let mut bar = context.reporter.bar("score", work.len() + per_query * queries * made_often, 0);
    run(context, &scorer, &mut cache, &work, &mut bar)?;

    work.clear();
    for query in 0..queries {
        for epoch in 0..epochs {
            let list = natural(&lists, &cache, query, epoch)?;
            for example in lists.make_dark(query, epoch, &list) {
                let key = cache.key(&lists.queries[query].text, &example.tokens);
                if seen.insert(key) {
                    pairs += 1;
                    if cache.get(&key).is_none() {
                        work.push((query, example.tokens));
                    }
                }
            }
        }
    }
    scored += work.len();
    run(context, &scorer, &mut cache, &work, &mut bar)?;
    drop(bar);

    let logits = (0..queries)
        .map(|query| {
            let list = lists.full(&cache, query, 0)?;
            let of = |kind: DarkKind| list.dark.iter().filter(|d| d.0.kind == kind).map(|d| d.1).collect();
            Ok(QueryLogits {
                positive: list.positive.1,
                natural: list.natural.iter().map(|n| n.1).collect(),
                reinforced: of(DarkKind::Reinforced),
                noisy: of(DarkKind::Noisy),
            })
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let calibration = calibrate(&logits, context.config.loss.teacher_temperature as f32);
    let text = calibration.to_text();
    crate::checkpoint::write_whole(&folder.join("calibration.txt"), text.as_bytes())?;
    let json = serde_json::to_vec_pretty(&calibration).map_err(|e| TrainError::internal(e.to_string()))?;
    crate::checkpoint::write_whole(&folder.join("calibration.json"), &json)?;
    context.reporter.say(text.trim_end());
    let held_out = held_out(context, base, &scorer, &mut cache, &lists)?;
    Ok(ScoreOutcome { pairs, scored, calibration, held_out })
}

/// What the teacher can teach: how it and the student of `base` rank the queries that were held out.
fn held_out(
    context: &Context<'_>,
    base: &Path,
    scorer: &Scorer,
    cache: &mut ScoreCache,
    lists: &Lists<'_>,
) -> Result<Option<HeldOut>, TrainError> {
    let Some(dev) = DevSet::of(context, &lists.pools).filter(|_| context.config.dev.teacher) else { return Ok(None) };
    let pairs: Vec<(usize, Vec<u32>)> =
        dev.pairs().map(|(query, passage)| (query, lists.passage(passage).to_vec())).collect();
    let keys: Vec<ScoreKey> = pairs.iter().map(|(query, passage)| cache.key(text(context, *query), passage)).collect();
    let missing: Vec<_> =
        pairs.into_iter().zip(&keys).filter(|(_, key)| cache.get(key).is_none()).map(|(pair, _)| pair).collect();
    let mut bar = context.reporter.bar("held out", missing.len(), 0);
    run(context, scorer, cache, &missing, &mut bar)?;
    drop(bar);
    let logits = keys.iter().map(|key| cache.get(key)).collect::<Option<Vec<f32>>>();
    let logits = logits.ok_or_else(|| TrainError::internal("a score that was just written is not there"))?;
    let student = context.student(base)?;
    let limits = limits_without_gradients(&context.config.distil, context.machine);
    let found = dev.compare(logits, &student, &StudentInputs::new(context, &student)?, &limits)?;
    context.reporter.say(&found.to_text());
    Ok(Some(found))
}

/// The text of a query by its number.
fn text<'a>(context: &'a Context<'_>, query: usize) -> &'a str {
    context.query(query).map(|query| query.text.as_str()).unwrap_or_default()
}

fn natural(lists: &Lists<'_>, cache: &ScoreCache, query: usize, epoch: u32) -> Result<QueryList, TrainError> {
    lists.natural(cache, query, epoch).ok_or_else(|| TrainError::internal("a score that was just written is not there"))
}

fn run(
    context: &Context<'_>,
    scorer: &Scorer,
    cache: &mut ScoreCache,
    work: &[(usize, Vec<u32>)],
    bar: &mut Bar,
) -> Result<(), TrainError> {
    for chunk in work.chunks(chunk(context)) {
        let pairs: Vec<Pair<'_>> = chunk.iter().map(|(query, passage)| Pair { query: *query, passage }).collect();
        let scores = scorer.score(context, &pairs)?;
        for ((query, tokens), score) in chunk.iter().zip(scores) {
            let key = cache.key(text(context, *query), tokens);
            cache.insert(key, score)?;
        }
        cache.flush()?;
        bar.add(chunk.len());
        if context.stop.load(Ordering::Relaxed) {
            return Err(TrainError::Interrupted);
        }
    }
    Ok(())
}
