//! The teacher: a cross-encoder trained with listwise cross-entropy, or a ready one.

use super::context::{Context, Texts};
use super::dev::DevSet;
use super::gradient::{Group, Pass, Room, Work};
use super::lists::positive_of;
use super::training::{Loop, Objective, Prepare, Prepared, StepReport, TrainingOutcome, step_queries};
use crate::adam::candidates::{Candidate, CandidateConfig, Sampling, sample};
use crate::adam::loss::{flags, listwise};
use crate::config::{TeacherConfig, TeacherKind, TrainingConfig};
use crate::data::batches::BatchLimits;
use crate::error::TrainError;
use crate::model::{CrossEncoder, Encoder, Layout, Mode, ModelTokenizer, Parameters, Sequence};
use crate::torch::{Budget, Machine, ready_for, send};
use adam_encoder::{EncoderOptions, PairScorer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// Batches of a training configuration.
pub(crate) fn limits(config: &TrainingConfig, machine: Machine) -> BatchLimits {
    BatchLimits { max_tokens: config.micro_tokens(machine), max_texts: 4096, max_padding: config.max_padding }
}

/// Batches where no gradients are wanted.
pub(crate) fn limits_without_gradients(config: &TrainingConfig, machine: Machine) -> BatchLimits {
    BatchLimits { max_tokens: config.tokens_without_gradients(machine), ..limits(config, machine) }
}

/// Above this many tokens a step runs in two passes.
pub(crate) fn most_tokens(config: &TrainingConfig, machine: Machine) -> usize {
    config.most_tokens(machine)
}

/// What a training step of this encoder may take.
pub(crate) fn budget(context: &Context<'_>, encoder: &Encoder) -> Budget {
    let bytes = if context.machine.compute == Kind::BFloat16 { 2 } else { 4 };
    let (fixed, with_one) = (encoder.size().training_bytes(0, bytes), encoder.size().training_bytes(1, bytes));
    Budget { limit: context.config.run.memory_limit, fixed, per_token: with_one - fixed }
}

/// Batches of a step's queries, which are few and short. On the CPU a small batch costs little more than its tokens, so padding is
/// bounded as elsewhere; on a GPU a batch costs its launch, and some padded tokens are cheaper than more batches.
pub(crate) fn query_limits(config: &TrainingConfig, machine: Machine) -> BatchLimits {
    let tight = limits(config, machine);
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

/// Refuses a teacher that could not be used once its turn comes, hours into a run.
///
/// # Errors
/// By file, with what it should be.
pub(crate) fn check(context: &Context<'_>) -> Result<(), TrainError> {
    let folder = model_folder(context);
    match context.config.teacher.kind {
        TeacherKind::Train => drop(ModelTokenizer::open(folder)?),
        TeacherKind::Trained => CrossEncoder::check_trained(folder)?,
        TeacherKind::Onnx => {
            let options = EncoderOptions::default().threads(1);
            drop(PairScorer::open(folder, &options)?);
        }
    }
    Ok(())
}

/// Draws candidates and makes inputs of steps.
struct Lesson<'a> {
    context: &'a Context<'a>,
    config: &'a TeacherConfig,
    texts: Arc<Texts>,
    layout: Layout,
    pools: Vec<Vec<Candidate>>,
    length: usize,
}

/// What the loss of a step wants beside its texts.
struct Targets {
    /// `[queries, candidates]`, int64: rows of the pairs; the first is the positive's.
    columns: Tensor,
    /// `[queries, candidates]`, bool: which are there.
    present: Tensor,
}

struct TeacherTraining<'a> {
    context: &'a Context<'a>,
    config: &'a TeacherConfig,
    teacher: CrossEncoder,
    texts: Arc<Texts>,
    dev: Option<DevSet>,
    length: usize,
}

impl Prepare for Lesson<'_> {
    type More = Targets;

    fn prepare(&mut self, step: usize, cap: usize) -> Result<Prepared<Targets>, TrainError> {
        let seed = self.context.config.run.seed;
        let all = &self.context.data.queries;
        let (epoch, queries) = step_queries(seed, all.len(), self.config.training.queries_per_step, step);
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
            let of = &all[query];
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
        let columns = Tensor::f_from_slice(&columns)?.f_view([queries.len() as i64, width as i64])?;
        let groups = vec![Group { sequences, limits: limits(&self.config.training, self.context.machine) }];
        Ok(Prepared {
            queries: queries.iter().map(|&q| all[q].id.clone()).collect(),
            work: Work::new(groups, self.layout, cap)?,
            more: Targets {
                columns: ready_for(&columns, self.layout.device)?,
                present: ready_for(&flags(&present)?, self.layout.device)?,
            },
        })
    }
}

impl Objective<Targets> for TeacherTraining<'_> {
    fn parameters(&mut self) -> &mut Parameters {
        &mut self.teacher.encoder.parameters
    }

    fn flops_per_token(&self, length: usize) -> f64 {
        self.teacher.encoder.flops_per_token(length)
    }

    fn step(&mut self, step: usize, work: Work, targets: Targets, room: &Room<'_>) -> Result<StepReport, TrainError> {
        let machine = self.context.machine;
        let (columns, present) = (send(&targets.columns, machine.device)?, send(&targets.present, machine.device)?);
        let mut hits = None;
        let teacher = &self.teacher;
        let pass = Pass {
            mode: Mode { compute: machine.compute, dropout: self.config.training.dropout },
            most_tokens: most_tokens(&self.config.training, machine),
            seed: self.context.config.run.seed.wrapping_mul(31).wrapping_add(step as u64),
            budget: budget(self.context, &teacher.encoder),
        };
        let parameters = teacher.encoder.parameters.tensors();
        let computed = room.run(&pass, work, parameters, &|input, mode| teacher.logits(input, mode), &mut |rows| {
            let logits = rows[0].f_take(&columns)?;
            let best = logits.f_masked_fill(&present.f_logical_not()?, -1e30)?.f_argmax(1, false)?;
            hits = Some(best.f_eq(0)?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)?);
            Ok(listwise(&logits, &present)?.f_mean(Kind::Float)?)
        })?;
        Ok(StepReport {
            loss: computed.loss,
            tokens: computed.padding.real,
            padded: computed.padding.padded,
            values: Box::new(move || hits.iter().map(|hits| Ok(("positive_first", f64::try_from(hits)?))).collect()),
        })
    }

    fn evaluate(&mut self) -> Result<Option<f64>, TrainError> {
        match (&self.dev, self.context.config.dev.teacher) {
            (Some(dev), true) => {
                let limits = limits_without_gradients(&self.config.training, self.context.machine);
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
    let layout = teacher.encoder.layout();
    let mut lesson = Lesson { context, config, texts: Arc::clone(&texts), layout, pools, length };
    let mut training = TeacherTraining { context, config, teacher, texts, dev, length };
    let around = Loop {
        stage: "teacher",
        config: &config.training,
        configuration: key.to_owned(),
        steps_per_epoch: context.data.queries.len().div_ceil(config.training.queries_per_step),
        device: context.machine.device,
        judge_start: false,
        run: &context.config.run.output,
        folder,
        checkpoint_minutes: context.config.run.checkpoint_minutes,
        reporter: context.reporter,
        stop: context.stop,
    };
    let outcome = around.run(&mut lesson, &mut training)?;
    training.teacher.save(folder)?;
    around.clear();
    Ok(outcome)
}

/// A teacher that scores.
pub(crate) enum Scorer {
    /// One of ours.
    Torch(Box<CrossEncoder>, Arc<Texts>),
    /// Any in ONNX; it reads text. With how its tokenizer writes the mask.
    Onnx(Box<PairScorer>, Option<String>),
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
            let options = EncoderOptions::default().max_length(config.length).threads(context.config.run.threads);
            let mask = mask_name(&ModelTokenizer::open(&folder)?);
            return Ok(Self::Onnx(Box::new(PairScorer::open(&folder, &options)?), mask));
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
                let same = Arc::ptr_eq(texts, &context.texts);
                let mask = mask_name(&texts.tokens);
                let mut sequences: Vec<Sequence<'static>> = Vec::with_capacity(pairs.len());
                let length = config.length.min(teacher.encoder.longest());
                for pair in pairs {
                    let query = texts.queries.get(pair.query);
                    if same {
                        sequences.push(texts.tokens.pair(query, pair.passage, config.query_length, length));
                    } else {
                        // Made in the student's tokens, written out, and read by the teacher: the same text for both.
                        let text = written(context, pair.passage, mask.as_deref())?;
                        let made = texts.tokens.tokenizer().encode_fast(text, false);
                        let made = made.map_err(|e| {
                            TrainError::Tokenizer(format!("the teacher's tokenizer refuses a passage: {e}"))
                        })?;
                        sequences.push(texts.tokens.pair(query, made.get_ids(), config.query_length, length));
                    }
                }
                let limits = limits_without_gradients(&config.training, context.machine);
                let limits = BatchLimits { max_tokens: limits.max_tokens.max(8192), ..limits };
                teacher.score_all(&sequences, &limits, &mut |_| ())
            }
            Self::Onnx(scorer, mask) => {
                let texts = pairs
                    .iter()
                    .map(|pair| {
                        let query = context.query(pair.query).map(|q| q.text.as_str()).unwrap_or_default();
                        Ok((query, written(context, pair.passage, mask.as_deref())?))
                    })
                    .collect::<Result<Vec<_>, TrainError>>()?;
                let texts: Vec<(&str, &str)> = texts.iter().map(|(q, p)| (*q, p.as_str())).collect();
                Ok(scorer.score(&texts)?)
            }
        }
    }
}

/// How a tokenizer writes its mask token.
fn mask_name(tokens: &ModelTokenizer) -> Option<String> {
    tokens.special().mask.and_then(|id| tokens.tokenizer().id_to_token(id))
}

/// Tokens of the student as text, with the reader's own mask token; a reader that has none reads nothing in its place.
fn written(context: &Context<'_>, tokens: &[u32], mask: Option<&str>) -> Result<String, TrainError> {
    let student = context.texts.tokens.tokenizer();
    let text = student
        .decode(tokens, false)
        .map_err(|e| TrainError::internal(format!("tokens cannot be written as text: {e}")))?;
    Ok(with_mask(text, mask_name(&context.texts.tokens).as_deref(), mask))
}

fn with_mask(text: String, ours: Option<&str>, theirs: Option<&str>) -> String {
    match ours {
        Some(ours) if theirs != Some(ours) => text.replace(ours, theirs.unwrap_or_default()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teacher_reads_its_own_mask() {
        let text = || "glass [MASK] froze".to_owned();
        assert_eq!(with_mask(text(), Some("[MASK]"), Some("<mask>")), "glass <mask> froze");
        assert_eq!(with_mask(text(), Some("[MASK]"), Some("[MASK]")), text());
        assert_eq!(with_mask(text(), Some("[MASK]"), None), "glass  froze");
        assert_eq!(with_mask(text(), None, Some("<mask>")), text());
    }
}
