//! Training queries beside the labelled ones: made, filtered by what ranks their passage, added to the data.

use super::context::{Context, finished, key_of, stamp};
use super::encode::{encode, passage_texts, trained_encoder};
use super::mine::{MineConfig, MineOrder, Surroundings, VectorSource, VectorTable, mine, read};
use crate::config::Config;
use crate::data::made::{MadeQuery, from_clicks, from_file, from_log, from_passages, normal};
use crate::data::{Origin, TrainQuery, TrainingData};
use crate::error::TrainError;
use crate::report::Reporter;
use adam_encoder::TextKind;
use beir_eval::Collection;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::Instant;

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    asked: usize,
    kept: usize,
    not_found: usize,
}

/// Queries that are added to the data, in the order of their sources: clicks, made elsewhere, made here, the log.
pub(crate) fn gather(config: &Config, data: &TrainingData, reporter: &Reporter) -> Result<Vec<MadeQuery>, TrainError> {
    let (settings, limits) = (&config.queries, config.data.limits());
    let mut all = Vec::new();
    if let Some(path) = &settings.clicks {
        reporter.say(
            "warning: queries: clicks are biased towards what was shown first; compare the student with the start model on judged queries",
        );
        all.extend(from_clicks(path, &data.passages, &limits)?);
    }
    if let Some(path) = &settings.file {
        all.extend(from_file(path, &data.passages, &limits)?);
    }
    all.extend(from_passages(&data.passages, &settings.from, settings.made, config.run.seed));
    if let Some(path) = &settings.log {
        all.extend(from_log(path, &limits)?);
    }
    // Never a query that is judged later, never one twice.
    let mut known: HashSet<String> = data.all_queries().map(|query| normal(&query.text)).collect();
    known.extend(evaluation_queries(config));
    all.retain(|query| known.insert(normal(&query.text)));
    Ok(all)
}

/// The texts of the queries that the run is judged on.
fn evaluation_queries(config: &Config) -> Vec<String> {
    let path = config.eval.collection.as_ref().unwrap_or(&config.data.path);
    let Ok(collection) = Collection::open(path) else { return Vec::new() };
    let (Ok(queries), Ok(qrels)) = (collection.queries(), collection.qrels(&config.eval.split)) else {
        return Vec::new();
    };
    queries.into_iter().filter(|query| qrels.get(&query.id).is_some()).map(|query| normal(&query.text)).collect()
}

/// Adds them to the data of a context, which has no tokens of queries yet.
///
/// # Errors
/// When a file or a model cannot be used; [`TrainError::Interrupted`] when the stop flag is set.
pub(crate) fn extend(context: &mut Context<'_>) -> Result<(), TrainError> {
    let made = gather(context.config, &context.data, context.reporter)?;
    if made.is_empty() {
        return Ok(());
    }
    let as_queries: Vec<TrainQuery> = made
        .iter()
        .enumerate()
        // Without positives: whether a query's passage is found is what is asked.
        .map(|(at, query)| TrainQuery { id: name(query, at), text: query.text.clone(), ..TrainQuery::default() })
        .collect();
    let keep_rank = context.config.queries.keep_rank;
    let mining = MineConfig {
        bm25: true,
        dense: true,
        from_rank: 1,
        to_rank: keep_rank.max(20),
        keep: keep_rank,
        order: MineOrder::Fused,
        margin: None,
        ceiling: None,
        relative_ceiling: None,
        ..context.config.mine.clone()
    };
    let folder = context.shared_path("queries");
    let texts: Vec<(&str, &[u32], &Option<String>)> =
        made.iter().map(|query| (query.text.as_str(), query.passages.as_slice(), &query.without)).collect();
    let key = key_of(&[&"queries", &context.data_key, &context.start_key()?, &texts, &keep_rank]);
    if finished(&folder, &key).is_none() {
        let began = Instant::now();
        context.reporter.say(&format!("queries: {} are looked for in the collection", made.len()));
        let encoder = trained_encoder(context, &context.start)?;
        let passages = passage_texts(&context.data.passages);
        let vectors = folder.join("passages.vectors");
        let passages = encode(context, &encoder, &passages, TextKind::Document, &vectors, "encode")?;
        let texts: Vec<String> = as_queries.iter().map(|query| query.text.clone()).collect();
        let queries = encode(context, &encoder, &texts, TextKind::Query, &folder.join("queries.vectors"), "queries")?;
        let mut table = VectorTable::of(encoder.fingerprint(), passages, queries);
        let around = &mut Surroundings { folder: &folder, stop: context.stop, progress: &mut |_| () };
        mine(&mining, &context.data.passages, &as_queries, Some(&mut table as &mut dyn VectorSource), around)?;
        stamp(&folder, &key, began.elapsed().as_secs_f64(), &made.len(), None)?;
    }
    let found = read(&folder.join("mined.jsonl"), &context.data.passages)?;
    let mut outcome = Outcome { asked: made.len(), ..Outcome::default() };
    let mut added = Vec::new();
    for ((query, id), found) in made.into_iter().zip(as_queries).zip(found) {
        let ranked: Vec<u32> = found.candidates.iter().map(|candidate| candidate.passage).collect();
        let positives = match query.origin {
            // What the teacher finds first stands for the positive; the teacher's scores say how much of one it is.
            Origin::Log => ranked.iter().take(1).copied().collect(),
            // People found it.
            Origin::Clicks => query.passages,
            _ => query.passages.into_iter().filter(|passage| ranked.contains(passage)).collect::<Vec<_>>(),
        };
        if positives.is_empty() {
            outcome.not_found += 1;
            continue;
        }
        outcome.kept += 1;
        added.push(TrainQuery {
            id: id.id,
            text: query.text,
            positives,
            origin: query.origin,
            edited: query.without,
            ..TrainQuery::default()
        });
    }
    context.reporter.say(&format!(
        "queries: {} of {} are used, {} left out since their passage is not among the first {keep_rank}",
        outcome.kept, outcome.asked, outcome.not_found
    ));
    if context.data.dev.is_empty() {
        hold_out_made(context, &mut added);
    }
    context.data.queries.extend(added);
    Ok(())
}

fn name(query: &MadeQuery, at: usize) -> String {
    let sort = match query.origin {
        Origin::Log => "log",
        Origin::Clicks => "click",
        Origin::Made | Origin::Labelled => "made",
    };
    format!("{sort}-{at}")
}

/// Where no labelled query is held out, some of the made ones are: to see that training does no harm to the search for passages.
fn hold_out_made(context: &mut Context<'_>, added: &mut Vec<TrainQuery>) {
    const MOST: usize = 100;
    let can = added.iter().filter(|query| query.origin != Origin::Log).count();
    let wanted = (can / 10).min(MOST);
    let step = can.checked_div(wanted).unwrap_or(0);
    if step == 0 {
        return;
    }
    let mut seen = 0;
    let (held, kept): (Vec<TrainQuery>, Vec<TrainQuery>) = std::mem::take(added).into_iter().partition(|query| {
        let counts = query.origin != Origin::Log;
        seen += usize::from(counts);
        counts && seen % step == 0 && seen / step <= wanted
    });
    *added = kept;
    context.data.dev.extend(held);
}
