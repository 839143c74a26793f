//! The voices of a teacher: each scores pairs in its own way, and the fusion of all is what the student learns from.
//!
//! Voices are of two sorts. BM25 and frozen encoders are cheap: any query of the data with any of its passages is scored on the spot.
//! The others (cross-encoder, command, scores from a file or from the rows) are asked once a pair, and the answers are kept in the
//! cache of scores.

pub(crate) mod bm25;
mod command;
mod file;

use super::context::{Context, key_of, model_key};
use super::encode::{CorpusEncoder, corpus_vectors, trained_encoder};
use super::round::Round;
use super::scorer::{Pair, Scorer, written};
use super::vectors::Vectors;
use crate::adam::fusion::Fusion;
use crate::config::{START, VoiceConfig, VoiceKind};
use crate::data::scores::{ScoreCache, ScoreKey, score_key};
use crate::error::TrainError;
use adam_encoder::TextKind;
use bm25::{Bm25, Terms};
use command::{Asked, Program};
use file::PairScores;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) use bm25::ANALYSER;

/// A passage to score.
#[derive(Clone, Debug)]
pub(crate) enum Scored {
    /// One of the data.
    Passage(u32),
    /// One that was made: its content tokens in the student's tokenizer.
    Made(Vec<u32>),
}

/// A query and a passage to score, with the passage's content tokens as the student reads them: they name the pair in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) query: usize,
    pub(crate) passage: Scored,
    pub(crate) tokens: Vec<u32>,
}

/// A frozen encoder.
struct DenseVoice {
    encoder: CorpusEncoder,
    passages: Vectors,
    queries: Vectors,
}

enum Source {
    Bm25(Box<Bm25>),
    Dense(Box<DenseVoice>),
    /// Its scores are in the cache, once [`Voices::ask`] has put them there.
    Kept,
}

/// One voice.
struct Voice {
    kind: VoiceKind,
    config: VoiceConfig,
    /// What is said of it in tables.
    name: String,
    /// Names it in the cache.
    key: String,
    source: Source,
}

/// All voices of a teacher.
pub(crate) struct Voices {
    voices: Vec<Voice>,
}

/// What identifies each voice, for keys of stages: everything its scores depend on beside data and settings.
pub(crate) fn keys(context: &Context<'_>, round: &Round, cross_encoder: &str) -> Result<Vec<String>, TrainError> {
    context.config.teacher.voices.iter().map(|voice| key(context, voice, round, cross_encoder)).collect()
}

fn key(context: &Context<'_>, voice: &VoiceConfig, round: &Round, cross_encoder: &str) -> Result<String, TrainError> {
    let teacher = &context.config.teacher;
    Ok(match voice.kind {
        VoiceKind::CrossEncoder => format!("{cross_encoder} {} {}", teacher.length, teacher.query_length),
        VoiceKind::Bm25 => key_of(&[&"bm25", &context.data_key]),
        VoiceKind::Dense => {
            // The student of the round is what the round's own key says, and need not be made yet.
            let model = match &voice.model {
                Some(_) => model_key(&dense_model(context, voice, round))?,
                None => round.base_key.clone(),
            };
            key_of(&[&"dense", &model, &context.machine.describe()])
        }
        VoiceKind::Scores => {
            let path = voice.path.clone().unwrap_or_default();
            let bytes = std::fs::read(&path).map_err(|e| TrainError::io(&path, e))?;
            key_of(&[&"scores", &crate::files::hex(&Sha256::digest(&bytes))])
        }
        VoiceKind::Rows => key_of(&[&"rows", &context.data_key]),
        VoiceKind::Command => key_of(&[&"command", &voice.command]),
    })
}

/// The model folder of a dense voice.
fn dense_model(context: &Context<'_>, voice: &VoiceConfig, round: &Round) -> PathBuf {
    match &voice.model {
        None => round.base.clone(),
        Some(path) if path.ends_with(START) && !path.is_dir() => context.start.clone(),
        Some(path) => path.clone(),
    }
}

impl Voices {
    /// Opens every voice; frozen encoders encode the collection unless that is done.
    ///
    /// # Errors
    /// When a model or a file cannot be used; [`TrainError::Interrupted`] when the stop flag is set.
    pub(crate) fn open(context: &Context<'_>, round: &Round, cross_encoder: &str) -> Result<Self, TrainError> {
        let keys = keys(context, round, cross_encoder)?;
        let voices = context
            .config
            .teacher
            .voices
            .iter()
            .zip(keys)
            .map(|(config, key)| {
                let source = match config.kind {
                    VoiceKind::Bm25 => Source::Bm25(Box::new(Bm25::of(&context.data.passages)?)),
                    VoiceKind::Dense => Source::Dense(Box::new(dense(context, config, round)?)),
                    _ => Source::Kept,
                };
                Ok(Voice { kind: config.kind, config: config.clone(), name: name(config), key, source })
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        Ok(Self { voices })
    }

    /// What each is called in tables.
    pub(crate) fn names(&self) -> Vec<String> {
        self.voices.iter().map(|voice| voice.name.clone()).collect()
    }

    /// The weights that the configuration gives; none where one lacks it.
    pub(crate) fn given_weights(&self) -> Option<Vec<f64>> {
        self.voices.iter().map(|voice| voice.config.weight).collect()
    }

    /// Puts the scores of pairs into the cache, as far as they are not there and are not made on the spot.
    ///
    /// # Errors
    /// What a voice says, with the pair; [`TrainError::Interrupted`] when the stop flag is set. What was scored is kept.
    pub(crate) fn ask(
        &self,
        context: &Context<'_>,
        scorer: Option<&Scorer>,
        cache: &mut ScoreCache,
        wanted: &[Wanted],
        folder: &Path,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), TrainError> {
        for voice in &self.voices {
            let missing: Vec<&Wanted> = wanted
                .iter()
                .filter(|pair| voice.is_kept(&pair.passage) && cache.get(&voice.pair_key(context, pair)).is_none())
                .collect();
            if !missing.is_empty() {
                voice.ask(context, scorer, cache, &missing, folder, done)?;
            }
        }
        Ok(())
    }

    /// The fused scores of a query's list, and of made passages on the list's scale. Nothing where a score is not known.
    pub(crate) fn fuse(
        &self,
        fusion: &Fusion,
        context: &Context<'_>,
        cache: &ScoreCache,
        list: &[Wanted],
        made: &[Wanted],
    ) -> Option<(Vec<f32>, Vec<f32>)> {
        let listed = self.scores(context, cache, list)?;
        let made = self
            .voices
            .iter()
            .map(|voice| {
                let terms = voice.terms(context, made.first().map_or(0, |pair| pair.query));
                made.iter()
                    .map(|pair| {
                        if voice.reads_made() {
                            voice.score(context, cache, pair, &terms).map(Some)
                        } else {
                            Some(None)
                        }
                    })
                    .collect::<Option<Vec<_>>>()
            })
            .collect::<Option<Vec<_>>>()?;
        Some(fusion.fuse_more(&listed, &made))
    }

    /// Each voice's scores of a query's list. Nothing where one is not known.
    pub(crate) fn scores(&self, context: &Context<'_>, cache: &ScoreCache, list: &[Wanted]) -> Option<Vec<Vec<f32>>> {
        let query = list.first().map_or(0, |pair| pair.query);
        let of_voice = |voice: &Voice| -> Option<Vec<f32>> {
            let terms = voice.terms(context, query);
            list.iter().map(|pair| voice.score(context, cache, pair, &terms)).collect()
        };
        self.voices.iter().map(of_voice).collect()
    }
}

/// A frozen encoder with the vectors of the data.
fn dense(context: &Context<'_>, voice: &VoiceConfig, round: &Round) -> Result<DenseVoice, TrainError> {
    let folder = match &voice.model {
        None => round.mine_folder(context),
        Some(_) => {
            let model = dense_model(context, voice, round);
            context.shared_path("voices").join(&model_key(&model)?[..16])
        }
    };
    let model = dense_model(context, voice, round);
    let encoder = trained_encoder(context, &model)?;
    let (passages, queries) = corpus_vectors(context, &encoder, &folder)?;
    Ok(DenseVoice { encoder, passages, queries })
}

fn name(config: &VoiceConfig) -> String {
    let of = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match (config.kind, &config.model, &config.path) {
        (VoiceKind::Dense, None, _) => "dense (student)".to_owned(),
        (VoiceKind::Dense, Some(model), _) => format!("dense ({})", of(model)),
        (VoiceKind::Scores, _, Some(path)) => format!("scores ({})", of(path)),
        (VoiceKind::Command, ..) => format!("command ({})", config.command.first().map_or("", String::as_str)),
        (kind, ..) => kind.name().to_owned(),
    }
}

impl Voice {
    /// Whether it can score text that is no passage of the data.
    fn reads_made(&self) -> bool {
        !matches!(self.kind, VoiceKind::Scores | VoiceKind::Rows)
    }

    /// Whether the score of such a passage comes from the cache.
    fn is_kept(&self, passage: &Scored) -> bool {
        match (&self.source, passage) {
            (Source::Bm25(_), _) | (Source::Dense(_), Scored::Passage(_)) => false,
            (Source::Dense(_), Scored::Made(_)) => true,
            (Source::Kept, Scored::Passage(_)) => true,
            (Source::Kept, Scored::Made(_)) => self.reads_made(),
        }
    }

    fn pair_key(&self, context: &Context<'_>, pair: &Wanted) -> ScoreKey {
        score_key(&self.key, context.query_text(pair.query), &pair.tokens)
    }

    /// The query's terms, where they are what it compares.
    fn terms(&self, context: &Context<'_>, query: usize) -> Option<Terms> {
        match &self.source {
            Source::Bm25(bm25) => Some(bm25.terms(context.query_text(query))),
            _ => None,
        }
    }

    fn score(&self, context: &Context<'_>, cache: &ScoreCache, pair: &Wanted, terms: &Option<Terms>) -> Option<f32> {
        match (&self.source, &pair.passage) {
            (Source::Bm25(bm25), Scored::Passage(passage)) => Some(bm25.passage(terms.as_ref()?, *passage)),
            (Source::Bm25(bm25), Scored::Made(tokens)) => {
                Some(bm25.text(terms.as_ref()?, &written(context, tokens, None).ok()?))
            }
            (Source::Dense(dense), Scored::Passage(passage)) => {
                let (query, passage) = (dense.queries.row(pair.query)?, dense.passages.row(*passage as usize)?);
                Some(query.iter().zip(passage).map(|(a, b)| a * b).sum())
            }
            _ => cache.get(&self.pair_key(context, pair)),
        }
    }

    /// Scores pairs and keeps the answers.
    fn ask(
        &self,
        context: &Context<'_>,
        scorer: Option<&Scorer>,
        cache: &mut ScoreCache,
        missing: &[&Wanted],
        folder: &Path,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), TrainError> {
        const CHUNK: usize = 512;
        match self.kind {
            VoiceKind::Bm25 => {}
            VoiceKind::Scores | VoiceKind::Rows => {
                let known = self.read_file_scores(context)?;
                self.copy(context, cache, &known, missing, folder)?;
                done(missing.len());
            }
            VoiceKind::Command => {
                let asked: Vec<Asked> =
                    missing.iter().map(|pair| asked(context, pair)).collect::<Result<Vec<_>, TrainError>>()?;
                let timeout = Duration::from_secs_f64(self.config.timeout_seconds);
                let program = Program { command: &self.config.command, timeout, stop: context.stop };
                let outcome = program.score(&asked, &mut |at, score| {
                    cache.insert(self.pair_key(context, missing[at]), score)?;
                    if (at + 1) % CHUNK == 0 {
                        cache.flush()?;
                    }
                    done(1);
                    Ok(())
                });
                // Also what was answered before it failed.
                cache.flush()?;
                outcome?;
            }
            VoiceKind::CrossEncoder | VoiceKind::Dense => {
                for chunk in missing.chunks(CHUNK) {
                    let scores = match (&self.source, scorer) {
                        (Source::Dense(dense), _) => dense.of_made(context, chunk)?,
                        (_, Some(scorer)) => {
                            let pairs: Vec<Pair<'_>> =
                                chunk.iter().map(|pair| Pair { query: pair.query, passage: &pair.tokens }).collect();
                            scorer.score(context, &pairs)?
                        }
                        _ => return Err(TrainError::internal("a cross-encoder was not opened")),
                    };
                    for (pair, score) in chunk.iter().zip(scores) {
                        if !score.is_finite() {
                            return Err(TrainError::Voice {
                                voice: self.name.clone(),
                                problem: format!("gave {score} to {}, which is no finite number", named(context, pair)),
                            });
                        }
                        cache.insert(self.pair_key(context, pair), score)?;
                    }
                    cache.flush()?;
                    done(chunk.len());
                    if context.stop.load(Ordering::Relaxed) {
                        return Err(TrainError::Interrupted);
                    }
                }
            }
        }
        Ok(())
    }

    fn read_file_scores(&self, context: &Context<'_>) -> Result<PairScores, TrainError> {
        let Some(path) = &self.config.path else { return file::of_rows(&context.data) };
        let (known, unknown) = file::read(path, &context.data, &context.config.data)?;
        if unknown > 0 {
            context.reporter.say(&format!(
                "{}: {unknown} rows name a query or passage that is not in the data, and are not used",
                path.display()
            ));
        }
        Ok(known)
    }

    /// Takes scores over from a file; the pairs that it lacks are listed in a file, ready to be scored.
    fn copy(
        &self,
        context: &Context<'_>,
        cache: &mut ScoreCache,
        known: &PairScores,
        missing: &[&Wanted],
        folder: &Path,
    ) -> Result<(), TrainError> {
        let mut lacking: HashMap<(usize, u32), ()> = HashMap::new();
        let mut rows = String::new();
        let mut first = None;
        for pair in missing {
            let Scored::Passage(passage) = pair.passage else { continue };
            match known.get(&(pair.query, passage)) {
                Some(&score) => cache.insert(self.pair_key(context, pair), score)?,
                None => {
                    if lacking.insert((pair.query, passage), ()).is_none() {
                        first.get_or_insert_with(|| named(context, pair));
                        let asked = asked(context, pair)?;
                        let row = serde_json::json!({
                            "query": asked.query_id, "passage": asked.passage_id,
                            "query_text": asked.query, "passage_text": asked.passage,
                        });
                        rows.push_str(&format!("{row}\n"));
                    }
                }
            }
        }
        cache.flush()?;
        let Some(first) = first else { return Ok(()) };
        let path = folder.join("wanted.jsonl");
        crate::files::write_whole(&path, rows.as_bytes())?;
        Err(TrainError::Voice {
            voice: self.name.clone(),
            problem: format!(
                "has no score for {first}; {} pairs are missing and listed with their texts in {}: score them, add them, and run again",
                lacking.len(),
                path.display()
            ),
        })
    }
}

impl DenseVoice {
    /// Similarities of made passages, encoded as texts.
    fn of_made(&self, context: &Context<'_>, pairs: &[&Wanted]) -> Result<Vec<f32>, TrainError> {
        let mask = self.encoder.mask_name();
        let texts =
            pairs.iter().map(|pair| written(context, &pair.tokens, mask.as_deref())).collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = self.encoder.encode(&texts, TextKind::Document, &mut |_| ())?;
        let similarity = |(pair, vector): (&&Wanted, Vec<f32>)| {
            self.queries.row(pair.query).map_or(f32::NAN, |query| query.iter().zip(&vector).map(|(a, b)| a * b).sum())
        };
        Ok(pairs.iter().zip(vectors).map(similarity).collect())
    }
}

fn passage_id<'a>(context: &'a Context<'_>, passage: &Scored) -> &'a str {
    match passage {
        Scored::Passage(number) => context.data.passages.ids.get(*number as usize).map_or("", String::as_str),
        Scored::Made(_) => "a dark example",
    }
}

/// A pair in words, for messages.
fn named(context: &Context<'_>, pair: &Wanted) -> String {
    let query = context.query(pair.query).map_or("", |query| query.id.as_str());
    format!("the query `{query}` and the passage `{}`", passage_id(context, &pair.passage))
}

/// A pair as programs and people read it.
fn asked(context: &Context<'_>, pair: &Wanted) -> Result<Asked, TrainError> {
    Ok(Asked {
        query_id: context.query(pair.query).map(|query| query.id.clone()).unwrap_or_default(),
        passage_id: passage_id(context, &pair.passage).to_owned(),
        query: context.query_text(pair.query).to_owned(),
        passage: match &pair.passage {
            Scored::Passage(passage) => context.data.passages.full_text(*passage).unwrap_or_default(),
            Scored::Made(tokens) => written(context, tokens, None)?,
        },
    })
}
