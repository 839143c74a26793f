//! The teacher: a cross-encoder trained with listwise cross-entropy, or a ready one.

use super::context::{Context, Texts};
use super::dev::DevSet;
use super::gradient::{Group, MemoryBound, Pass, Work};
use super::limits::{budget, limits, limits_without_gradients, most_tokens};
use super::lists::positive_of;
use super::training::{Loop, Objective, Prepare, Prepared, StepQueries, StepReport, TrainingOutcome};
use crate::adam::candidates::{Candidate, CandidateConfig, Sampling, sample};
use crate::adam::loss::{flags, listwise};
use crate::config::{TeacherConfig, TeacherKind};
use crate::error::TrainError;
use crate::model::{CrossEncoder, Layout, Mode, ModelTokenizer, Parameters};
use crate::torch::{ready_for, send};
use adam_encoder::{EncoderOptions, PairScorer};
use std::path::Path;
use std::sync::Arc;
use tch::{Kind, Tensor};

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
struct TeacherSteps<'a> {
    order: StepQueries,
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

impl Prepare for TeacherSteps<'_> {
    type More = Targets;

    fn prepare(&mut self, step: usize, cap: usize) -> Result<Prepared<Targets>, TrainError> {
        let seed = self.context.config.run.seed;
        let all = &self.context.data.queries;
        let (epoch, queries) = self.order.of(step);
        let draw = CandidateConfig {
            negatives: self.config.negatives,
            positives: 1,
            sampling: Sampling::Random,
            from_rank: 1,
            to_rank: self.config.to_rank,
        };
        let width = 1 + self.config.negatives;
        let mut sequences = Vec::new();
        let mut columns: Vec<i64> = Vec::new();
        let mut present: Vec<Vec<bool>> = Vec::new();
        for &query in queries {
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

    fn step(
        &mut self,
        step: usize,
        work: Work,
        targets: Targets,
        bound: &MemoryBound<'_>,
    ) -> Result<StepReport, TrainError> {
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
        let computed = bound.run(&pass, work, parameters, &|input, mode| teacher.logits(input, mode), &mut |rows| {
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
    let pools = context.pools(&context.shared_path("mine"))?;
    let dev = DevSet::of(context, &pools);
    let length = config.length.min(teacher.encoder.longest());
    let layout = teacher.encoder.layout();
    let seed = context.config.run.seed;
    let order = StepQueries::new(seed, context.data.queries.len(), config.training.queries_per_step);
    let mut steps = TeacherSteps { order, context, config, texts: Arc::clone(&texts), layout, pools, length };
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
    let outcome = around.run(&mut steps, &mut training)?;
    training.teacher.save(folder)?;
    around.clear();
    Ok(outcome)
}
