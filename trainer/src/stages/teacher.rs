//! The teacher: a cross-encoder trained with listwise cross-entropy, or a ready one.

use super::context::{Context, Texts};
use super::dev::DevSet;
use super::gradient::{Group, Pass};
use super::lists::positive_of;
use super::training::{Loop, Objective, StepReport, TrainingOutcome, step_queries};
use crate::adam::candidates::{Candidate, CandidateConfig, Sampling, sample};
use crate::adam::loss::{flags, listwise};
use crate::config::{TeacherConfig, TeacherKind};
use crate::data::batches::BatchLimits;
use crate::error::TrainError;
use crate::model::{CrossEncoder, Mode, Parameters, Sequence};
use crate::torch::Machine;
use adam_encoder::{EncoderOptions, PairScorer};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tch::{Kind, Tensor};

/// Batches of a training configuration.
pub(crate) fn limits(config: &crate::config::TrainingConfig) -> BatchLimits {
    BatchLimits { max_tokens: config.micro_tokens, max_texts: 4096, max_padding: config.max_padding }
}

/// Batches of a step's queries, which are few and short. On the CPU a small batch costs little more than its tokens, so padding is
/// bounded as elsewhere; on a GPU a batch costs its launch, and some padded tokens are cheaper than more batches.
pub(crate) fn query_limits(config: &crate::config::TrainingConfig, machine: Machine) -> BatchLimits {
    let tight = limits(config);
    if machine.device == tch::Device::Cpu {
        tight
    } else {
        BatchLimits { max_padding: tight.max_padding.max(0.25), ..tight }
    }
}

/// The folder of the model a teacher starts from, or is.
pub(crate) fn model_folder<'a>(context: &'a Context<'_>) -> &'a Path {
    context.config.teacher.model.as_deref().unwrap_or(&context.config.student.model)
}

struct TeacherTraining<'a> {
    context: &'a Context<'a>,
    config: &'a TeacherConfig,
    teacher: CrossEncoder,
    texts: Rc<Texts>,
    pools: Vec<Vec<Candidate>>,
    dev: Option<DevSet>,
    length: usize,
}

impl TeacherTraining<'_> {
    fn order(&self, step: usize) -> (u32, Vec<usize>) {
        let queries = self.context.data.queries.len();
        step_queries(self.context.config.run.seed, queries, self.config.training.queries_per_step, step)
    }
}

impl Objective for TeacherTraining<'_> {
    fn parameters(&mut self) -> &mut Parameters {
        &mut self.teacher.encoder.parameters
    }

    fn step(&mut self, step: usize) -> Result<StepReport, TrainError> {
        let (epoch, queries) = self.order(step);
        let seed = self.context.config.run.seed;
        let draw = CandidateConfig {
            negatives: self.config.negatives,
            sampling: Sampling::Random,
            from_rank: 1,
            to_rank: self.config.to_rank,
        };
        let width = 1 + self.config.negatives;
        let mut sequences = Vec::new();
        let mut columns: Vec<i64> = Vec::new();
        let mut present: Vec<Vec<bool>> = Vec::new();
        for &query in &queries {
            let of = &self.context.data.queries[query];
            let pool = &self.pools[query];
            let mut passages = vec![positive_of(of, seed, epoch)];
            passages.extend(sample(&draw, seed, epoch, &of.id, pool).into_iter().map(|place| pool[place].passage));
            let mut row = vec![false; width];
            for (column, there) in row.iter_mut().enumerate() {
                columns.push(sequences.len() as i64);
                if let Some(&passage) = passages.get(column) {
                    *there = true;
                    let (q, p) = (self.texts.queries.get(query), self.texts.passages.get(passage as usize));
                    sequences.push(self.texts.tokens.pair(q, p, self.config.query_length, self.length));
                } else if let Some(last) = columns.last_mut() {
                    // Absent: points at a passage that is there and is masked out.
                    *last = 0;
                }
            }
            present.push(row);
        }
        let device = self.context.machine.device;
        let columns =
            Tensor::f_from_slice(&columns)?.f_view([queries.len() as i64, width as i64])?.f_to_device(device)?;
        let present = flags(&present)?.f_to_device(device)?;
        let mut hits = 0.0;
        let pass = Pass {
            device,
            pad: self.teacher.encoder.pad(),
            mode: Mode { compute: self.context.machine.compute, dropout: self.config.training.dropout },
            most_tokens: self.config.training.most_tokens,
            seed: seed.wrapping_mul(31).wrapping_add(step as u64),
        };
        let groups = [Group { sequences, limits: limits(&self.config.training) }];
        let teacher = &self.teacher;
        let computed = pass.run(&groups, &|input, mode| teacher.logits(input, mode), &mut |rows| {
            let logits = rows[0].f_take(&columns)?;
            let best = logits.f_masked_fill(&present.f_logical_not()?, -1e30)?.f_argmax(1, false)?;
            hits = f64::try_from(best.f_eq(0)?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)?)?;
            Ok(listwise(&logits, &present)?.f_mean(Kind::Float)?)
        })?;
        Ok(StepReport {
            loss: computed.loss,
            tokens: computed.padding.real,
            padded: computed.padding.padded,
            values: vec![("positive_first", hits)],
        })
    }

    fn queries(&self, step: usize) -> Vec<String> {
        self.order(step).1.into_iter().map(|q| self.context.data.queries[q].id.clone()).collect()
    }

    fn evaluate(&mut self) -> Result<Option<f64>, TrainError> {
        match (&self.dev, self.context.config.dev.teacher) {
            (Some(dev), true) => {
                let limits = limits(&self.config.training);
                dev.teacher(&self.teacher, &self.texts, self.config.query_length, self.length, &limits).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Trains the teacher into a folder.
///
/// # Errors
/// As [`Loop::run`].
pub(crate) fn train(context: &Context<'_>, folder: &Path, key: &str) -> Result<TrainingOutcome, TrainError> {
    let config = &context.config.teacher;
    let base = model_folder(context);
    let mut teacher = CrossEncoder::open(base, config.pooling, context.machine, context.config.run.seed)?;
    teacher.encoder.freeze(config.freeze_embeddings, config.freeze_layers)?;
    let texts = context.texts_for(base)?;
    let pools = context.pools()?;
    let dev = DevSet::of(context, &pools);
    let length = config.length.min(teacher.encoder.longest());
    let mut training = TeacherTraining { context, config, teacher, texts, pools, dev, length };
    let around = Loop {
        stage: "teacher",
        config: &config.training,
        configuration: key.to_owned(),
        steps_per_epoch: context.data.queries.len().div_ceil(config.training.queries_per_step),
        judge_start: false,
        run: &context.config.run.output,
        folder,
        checkpoint_minutes: context.config.run.checkpoint_minutes,
        reporter: context.reporter,
        stop: context.stop,
    };
    let outcome = around.run(&mut training)?;
    training.teacher.save(folder)?;
    around.clear();
    Ok(outcome)
}

/// A teacher that scores.
pub(crate) enum Scorer {
    /// One of ours.
    Torch(Box<CrossEncoder>, Rc<Texts>),
    /// Any in ONNX; it reads text.
    Onnx(Box<PairScorer>),
}

/// A passage to score.
pub(crate) struct Pair<'a> {
    pub(crate) query: usize,
    /// Content tokens in the student's tokenizer.
    pub(crate) passage: &'a [u32],
}

impl Scorer {
    /// Opens the run's teacher.
    pub(crate) fn open(context: &Context<'_>) -> Result<Self, TrainError> {
        let config = &context.config.teacher;
        let folder: PathBuf = match config.kind {
            TeacherKind::Train => context.place("teacher"),
            TeacherKind::Trained | TeacherKind::Onnx => model_folder(context).to_owned(),
        };
        if config.kind == TeacherKind::Onnx {
            let options = EncoderOptions {
                max_length: Some(config.length),
                threads: context.config.run.threads,
                ..EncoderOptions::default()
            };
            return Ok(Self::Onnx(Box::new(PairScorer::open(&folder, &options)?)));
        }
        let teacher = CrossEncoder::open(&folder, config.pooling, context.machine, context.config.run.seed)?;
        let texts = context.texts_for(&folder)?;
        Ok(Self::Torch(Box::new(teacher), texts))
    }

    /// Raw logits of pairs.
    pub(crate) fn score(&self, context: &Context<'_>, pairs: &[Pair<'_>]) -> Result<Vec<f32>, TrainError> {
        let config = &context.config.teacher;
        match self {
            Self::Torch(teacher, texts) => {
                let same = Rc::ptr_eq(texts, &context.texts);
                let mut sequences: Vec<Sequence<'static>> = Vec::with_capacity(pairs.len());
                let length = config.length.min(teacher.encoder.longest());
                for pair in pairs {
                    let query = texts.queries.get(pair.query);
                    if same {
                        sequences.push(texts.tokens.pair(query, pair.passage, config.query_length, length));
                    } else {
                        // Made in the student's tokens, written out, and read by the teacher: the same text for both.
                        let text = written(context, pair.passage, texts)?;
                        let made = texts.tokens.tokenizer().encode_fast(text, false);
                        let made = made.map_err(|e| {
                            TrainError::config(format!("the teacher's tokenizer refuses a passage: {e}"))
                        })?;
                        sequences.push(texts.tokens.pair(query, made.get_ids(), config.query_length, length));
                    }
                }
                let limits = BatchLimits {
                    max_tokens: config.training.micro_tokens.max(8192),
                    max_texts: 4096,
                    max_padding: config.training.max_padding,
                };
                teacher.score_all(&sequences, &limits, &mut |_| ())
            }
            Self::Onnx(scorer) => {
                let texts = pairs
                    .iter()
                    .map(|pair| {
                        let query = context.query(pair.query).map(|q| q.text.as_str()).unwrap_or_default();
                        Ok((query, written(context, pair.passage, &context.texts)?))
                    })
                    .collect::<Result<Vec<_>, TrainError>>()?;
                let texts: Vec<(&str, &str)> = texts.iter().map(|(q, p)| (*q, p.as_str())).collect();
                Ok(scorer.score(&texts)?)
            }
        }
    }
}

/// Tokens of the student as text, with the reader's own mask token.
fn written(context: &Context<'_>, tokens: &[u32], reader: &Texts) -> Result<String, TrainError> {
    let student = context.texts.tokens.tokenizer();
    let text = student
        .decode(tokens, false)
        .map_err(|e| TrainError::config(format!("tokens cannot be written as text: {e}")))?;
    let name = |texts: &Texts| texts.tokens.special().mask.and_then(|id| texts.tokens.tokenizer().id_to_token(id));
    Ok(match (name(&context.texts), name(reader)) {
        (Some(ours), Some(theirs)) if ours != theirs => text.replace(&ours, &theirs),
        _ => text,
    })
}
