//! Scoring: what the teacher says of everything distillation will ask for, how it ranks held-out queries beside its student, and the
//! calibration report.

use super::context::Context;
use super::dev::{DevSet, HeldOut, VoiceRank};
use super::inputs::StudentInputs;
use super::limits::limits_without_gradients;
use super::lists::{Lists, QueryList};
use super::round::Round;
use super::scorer::Scorer;
use super::teacher_scores::TeacherScores;
use super::voices::{Voices, Wanted};
use crate::adam::calibration::{Calibration, QueryLogits, calibrate};
use crate::adam::dark::DarkKind;
use crate::adam::fusion::{Fusion, choose_temperature, choose_weights};
use crate::adam::loss::ListScope;
use crate::config::VoiceKind;
use crate::data::scores::KnownScores;
use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What scoring did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoreOutcome {
    /// Pairs that distillation asks for.
    pub pairs: usize,
    /// The calibration report.
    pub calibration: Calibration,
    /// Teacher and student side by side, where queries were held out and `dev.teacher` is on.
    #[serde(default)]
    pub held_out: Option<HeldOut>,
    /// How the teacher's voices are added, where it has several.
    #[serde(default)]
    pub fusion: Fusion,
}

/// The most tokens of a passage that both models read, so that both judge the same text.
pub(crate) fn common_cap(context: &Context<'_>) -> usize {
    let teacher = &context.config.teacher;
    if !teacher.has_cross_encoder() {
        return context.passage_budget;
    }
    let overhead = context.texts.tokens.pair_overhead();
    let of_teacher = teacher.length.min(context.teacher_longest).saturating_sub(teacher.query_length + overhead);
    context.passage_budget.min(of_teacher)
}

/// Lists of a run's training queries.
pub(crate) fn lists<'a>(context: &'a Context<'_>, mine_folder: &Path) -> Result<Lists<'a>, TrainError> {
    let special = context.texts.tokens.special();
    if let Some(problem) = context.config.dark.problem(special) {
        return Err(TrainError::config(format!("[dark] {problem}")));
    }
    Ok(Lists {
        config: context.config,
        queries: &context.data.queries,
        query_tokens: &context.texts.queries,
        passage_tokens: &context.texts.passages,
        pools: context.pools(mine_folder)?,
        special,
        cap: common_cap(context),
    })
}

/// Where the scores of all runs over an output are.
pub(crate) fn cache_path(context: &Context<'_>) -> PathBuf {
    context.shared_path("scores").join("scores.bin")
}

/// Who the cross-encoder is, for the cache: the length cuts what it reads, so it is part of that.
pub(crate) fn cache_teacher(context: &Context<'_>, teacher_key: &str) -> String {
    let config = &context.config.teacher;
    format!("{teacher_key} {} {}", config.length, config.query_length)
}

/// Scores on file, whichever run asked for them.
pub(crate) fn on_file(context: &Context<'_>, teacher_key: &str) -> Result<usize, TrainError> {
    Ok(KnownScores::read(&cache_path(context), &cache_teacher(context, teacher_key))?.len())
}

/// Of the natural pairs that distillation asks a cross-encoder for, how many the cache holds, and how many scores it holds in all. Dark
/// examples are not counted: which there are depends on these scores.
pub(crate) fn known(
    context: &Context<'_>,
    mine_folder: &Path,
    teacher_key: &str,
) -> Result<(usize, usize, usize), TrainError> {
    let known = KnownScores::read(&cache_path(context), &cache_teacher(context, teacher_key))?;
    let lists = lists(context, mine_folder)?;
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

/// Sets the teacher beside the round's student on held-out queries, has everything scored that distillation will ask for, and writes
/// the calibration report.
///
/// # Errors
/// [`TrainError::WeakTeacher`] where the teacher ranks no better than its student; [`TrainError::Interrupted`] when the stop flag is set.
/// What was scored stays in the cache.
pub(crate) fn score(
    context: &Context<'_>,
    round: &Round,
    epochs: usize,
    folder: &Path,
    teacher_key: &str,
) -> Result<ScoreOutcome, TrainError> {
    let lists = lists(context, &round.mine_folder(context))?;
    let mut teacher = TeacherScores::open(context, round, teacher_key, Fusion::default())?;
    let scorer = if context.config.teacher.has_cross_encoder() { Some(Scorer::open(context)?) } else { None };
    let scorer = scorer.as_ref();
    // First of all: a teacher that has nothing to teach is refused before hours are spent on its scores.
    let held_out = held_out(context, round, scorer, &mut teacher, &lists, folder)?;

    let (epochs, queries) = (epochs.max(1) as u32, context.data.queries.len());
    let mut work: Vec<Wanted> = Vec::new();
    let mut seen: HashSet<(usize, Vec<u32>)> = HashSet::new();
    for query in 0..queries {
        for epoch in 0..epochs {
            for passage in lists.needed(query, epoch) {
                if seen.insert((query, lists.passage(passage).to_vec())) {
                    work.push(lists.wanted(query, passage));
                }
            }
        }
    }
    // Dark examples of a query cost about as much again, so the bar knows the whole from the start.
    let per_query = (context.config.dark.reinforced + context.config.dark.noisy) * context.config.dark.oversample;
    let made_often = if context.config.dark.refresh == crate::adam::dark::Refresh::Once { 1 } else { epochs as usize };
    let mut bar = context.reporter.bar("score", work.len() + per_query * queries * made_often, 0);
    teacher.ask(scorer, &work, folder, &mut |count| bar.add(count))?;

    work.clear();
    for query in 0..queries {
        for epoch in 0..epochs {
            let list = lists.natural(&teacher, query, epoch);
            let list = list.ok_or_else(|| TrainError::internal("a score that was just written is not there"))?;
            for example in lists.make_dark(query, epoch, &list) {
                if seen.insert((query, example.tokens.clone())) {
                    work.push(Lists::wanted_made(query, &example.tokens));
                }
            }
        }
    }
    teacher.ask(scorer, &work, folder, &mut |count| bar.add(count))?;
    drop(bar);

    let logits = (0..queries)
        .map(|query| Ok(logits_of(&lists.full(&teacher, query, 0)?)))
        .collect::<Result<Vec<_>, TrainError>>()?;
    let calibration = calibrate(&logits, context.config.loss.teacher_temperature as f32);
    let text = calibration.to_text();
    crate::files::write_whole(&folder.join("calibration.txt"), text.as_bytes())?;
    let json = serde_json::to_vec_pretty(&calibration).map_err(|e| TrainError::internal(e.to_string()))?;
    crate::files::write_whole(&folder.join("calibration.json"), &json)?;
    context.reporter.say(text.trim_end());
    Ok(ScoreOutcome { pairs: seen.len(), calibration, held_out, fusion: teacher.fusion.clone() })
}

fn logits_of(list: &QueryList) -> QueryLogits {
    let of = |kind: DarkKind| list.dark.iter().filter(|d| d.0.kind == kind).map(|d| d.1).collect();
    QueryLogits {
        positive: list.positive.1,
        natural: list.natural.iter().map(|n| n.1).collect(),
        reinforced: of(DarkKind::Reinforced),
        noisy: of(DarkKind::Noisy),
    }
}

/// What the teacher can teach: how each voice, their fusion and the round's student rank the queries that were held out. Chooses the
/// weights and the temperature that are not given.
fn held_out(
    context: &Context<'_>,
    round: &Round,
    scorer: Option<&Scorer>,
    teacher: &mut TeacherScores<'_>,
    lists: &Lists<'_>,
    folder: &Path,
) -> Result<Option<HeldOut>, TrainError> {
    let dev = DevSet::of(context, &lists.pools).filter(|_| context.config.dev.teacher);
    let Some(dev) = dev else {
        if let Some(voices) = &teacher.voices {
            teacher.fusion = unmeasured(context, voices);
            context.reporter.say(&format!(
                "teacher: nothing is held out to choose by (data.hold_out); weights {}, temperature {}",
                written_weights(&teacher.fusion.weights),
                teacher.fusion.temperature
            ));
        }
        return Ok(None);
    };
    let wanted: Vec<Vec<Wanted>> =
        dev.lists().map(|(query, list)| list.iter().map(|&passage| lists.wanted(query, passage)).collect()).collect();
    let all: Vec<Wanted> = wanted.iter().flatten().cloned().collect();
    let mut bar = context.reporter.bar("held out", all.len(), 0);
    teacher.ask(scorer, &all, folder, &mut |count| bar.add(count))?;
    drop(bar);
    let missing = || TrainError::internal("a score that was just written is not there");
    let mut ranks = Vec::new();
    if let Some(voices) = &teacher.voices {
        let scores = wanted
            .iter()
            .map(|list| voices.scores(context, &teacher.cache, list))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(missing)?;
        let judge = |fused: Vec<Vec<f32>>| dev.ndcg(&fused);
        let weights = voices.given_weights().unwrap_or_else(|| choose_weights(&scores, &judge));
        let fusion = Fusion { weights, temperature: 1.0 };
        let temperature = match context.config.teacher.temperature {
            Some(given) => given,
            None => choose_temperature(&labelled_lists(context, &dev, lists, teacher, voices, &fusion, &scores)),
        };
        for (at, name) in voices.names().into_iter().enumerate() {
            let alone = scores.iter().map(|list| list[at].clone()).collect::<Vec<_>>();
            ranks.push(VoiceRank { name, ndcg: dev.ndcg(&alone), weight: fusion.weights[at] });
        }
        teacher.fusion = Fusion { temperature, ..fusion };
    }
    let fused = wanted
        .iter()
        .map(|list| teacher.of(list, &[]).map(|scores| scores.0))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(missing)?;
    let student = context.student(&round.base)?;
    let limits = limits_without_gradients(&context.config.distil, context.machine);
    let mut found = dev.compare(&fused, &student, &StudentInputs::new(context, &student)?, &limits)?;
    found.voices = ranks;
    found.temperature = teacher.voices.as_ref().map(|_| teacher.fusion.temperature);
    context.reporter.say(&found.to_text());
    let asks_for_it = context.config.loss.distillation > 0.0;
    if found.teacher <= found.student && asks_for_it && !context.config.teacher.accept_weak {
        let HeldOut { teacher, student, queries, .. } = found;
        return Err(TrainError::WeakTeacher { teacher, student, queries });
    }
    Ok(Some(found))
}

/// Fused lists at temperature 1 as the loss will see them, positives first: to choose the temperature by.
fn labelled_lists(
    context: &Context<'_>,
    dev: &DevSet,
    lists: &Lists<'_>,
    teacher: &TeacherScores<'_>,
    voices: &Voices,
    fusion: &Fusion,
    scores: &[Vec<Vec<f32>>],
) -> Vec<(Vec<f32>, usize)> {
    if context.config.loss.list == ListScope::Own {
        return dev.positives().zip(scores).map(|(positives, list)| (fusion.fuse(list), positives.len())).collect();
    }
    // Steps of held-out queries, made as those of training queries are.
    let queries: Vec<(usize, &[u32])> = dev.lists().collect();
    let positives: Vec<&[u32]> = dev.positives().collect();
    let negatives = context.config.candidates.negatives;
    let mut all = Vec::new();
    for (start, step) in queries.chunks(context.config.distil.queries_per_step).enumerate() {
        let first = start * context.config.distil.queries_per_step;
        let of = |at: usize| {
            let (_, list) = step[at];
            let known = positives[first + at].len();
            list.iter().take(1).chain(list[known..].iter().take(negatives)).copied()
        };
        let columns: Vec<u32> = (0..step.len()).flat_map(of).collect();
        for (at, (query, list)) in step.iter().enumerate() {
            let known = positives[first + at];
            let mut passages = vec![list[0]];
            let mut seen = HashSet::new();
            passages.extend(columns.iter().copied().filter(|p| !known.contains(p) && seen.insert(*p)));
            let wanted: Vec<Wanted> = passages.iter().map(|&passage| lists.wanted(*query, passage)).collect();
            if let Some(list) = voices.scores(context, &teacher.cache, &wanted) {
                all.push((fusion.fuse(&list), 1));
            }
        }
    }
    all
}

/// Weights and temperature where nothing was held out to choose them by: a dense voice counts more than BM25, by what was measured on
/// several collections.
fn unmeasured(context: &Context<'_>, voices: &Voices) -> Fusion {
    let config = &context.config.teacher;
    let by_kind = || {
        config.voices.iter().map(|voice| match voice.kind {
            VoiceKind::Bm25 => 0.3,
            VoiceKind::Dense => 0.7,
            _ => 1.0,
        })
    };
    Fusion {
        weights: voices.given_weights().unwrap_or_else(|| by_kind().collect()),
        temperature: config.temperature.unwrap_or(0.5),
    }
}

fn written_weights(weights: &[f64]) -> String {
    weights.iter().map(|weight| format!("{weight:.2}")).collect::<Vec<_>>().join(", ")
}
