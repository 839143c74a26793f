//! Distillation: the student learns from the teacher's scores of natural and dark candidates, and from its positives.

use super::context::Context;
use super::dev::{DevSet, HeldOutChange, StudentInputs};
use super::gradient::{Group, Pass, Room, Work};
use super::lists::{Lists, QueryList};
use super::score;
use super::teacher::{budget, limits, limits_without_gradients, most_tokens, query_limits};
use super::training::{Loop, Objective, Prepare, Prepared, StepReport, TrainingOutcome, step_queries};
use crate::adam::confidence::{entropy, margin};
use crate::adam::dark::DarkKind;
use crate::adam::loss::{StepTargets, flags, step_loss};
use crate::data::scores::ScoreCache;
use crate::error::TrainError;
use crate::model::{Layout, Mode, Parameters, Student};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Which passages have the same text: case and white space make no difference.
pub(crate) struct SameText(Vec<u64>);

impl SameText {
    pub(crate) fn of(context: &Context<'_>) -> Self {
        let passages = &context.data.passages;
        Self(
            (0..passages.len() as u32)
                .map(|p| {
                    let text = passages.full_text(p).unwrap_or_default().to_lowercase();
                    let words: Vec<&str> = text.split_whitespace().collect();
                    crate::adam::random::KeyedRandom::new("same-text", 0, &[words.join(" ").as_bytes()]).bits()
                })
                .collect(),
        )
    }

    fn get(&self, passage: u32) -> u64 {
        self.0.get(passage as usize).copied().unwrap_or_default()
    }

    /// For each query and natural passage of a step: may the contrastive term compare them? A query's own candidates always;
    /// other queries' unless known as a positive of this one or of the same text as one.
    pub(crate) fn allowed(
        &self,
        positives: &[&[u32]],
        own: &[HashSet<u32>],
        target: &[u32],
        passages: &[u32],
        in_batch: bool,
    ) -> Vec<Vec<bool>> {
        positives
            .iter()
            .zip(own)
            .zip(target)
            .map(|((positives, own), &target)| {
                let texts: HashSet<u64> = positives.iter().map(|&p| self.get(p)).collect();
                passages
                    .iter()
                    .map(|&p| {
                        p == target
                            || ((in_batch || own.contains(&p))
                                && !positives.contains(&p)
                                && !texts.contains(&self.get(p)))
                    })
                    .collect()
            })
            .collect()
    }
}

/// Makes lists, selection and inputs of steps.
struct Lesson<'a> {
    context: &'a Context<'a>,
    inputs: &'a StudentInputs<'a>,
    lists: &'a Lists<'a>,
    layout: Layout,
    cache: ScoreCache,
    same: SameText,
    /// The teacher's margins of all queries in an epoch.
    margins: Option<(u32, Vec<f32>)>,
    steps_per_epoch: usize,
}

/// What the loss of a step wants beside its texts.
struct Targets {
    lists: Vec<QueryList>,
    targets: StepTargets,
    /// What selection says, for the log.
    selection: Vec<(&'static str, f64)>,
}

struct DistilTraining<'a> {
    context: &'a Context<'a>,
    student: Student,
    inputs: &'a StudentInputs<'a>,
    dev: Option<DevSet>,
}

impl Prepare for Lesson<'_> {
    type More = Targets;

    fn prepare(&mut self, step: usize, cap: usize) -> Result<Prepared<Targets>, TrainError> {
        let config = self.context.config;
        let all = &self.context.data.queries;
        let seed = config.run.distil_seed();
        let (epoch, queries) = step_queries(seed, all.len(), config.distil.queries_per_step, step);
        let lists =
            queries.iter().map(|&query| self.lists.full(&self.cache, query, epoch)).collect::<Result<Vec<_>, _>>()?;
        let share = config.pacing.share(step as f64 / self.steps_per_epoch as f64, config.distil.epochs as f64);
        let ids: Vec<&str> = all.iter().map(|q| q.id.as_str()).collect();
        let selection = config.pacing.select(seed, share, &ids, self.margins(epoch)?);
        let (groups, targets) = self.targets(&queries, &lists, &selection.weights)?;
        Ok(Prepared {
            queries: queries.iter().map(|&q| all[q].id.clone()).collect(),
            work: Work::new(groups, self.layout, cap)?,
            more: Targets {
                lists,
                targets,
                selection: vec![
                    ("selected", selection.share),
                    ("confidence", selection.mean_confidence),
                    ("confidence_selected", selection.selected_confidence),
                ],
            },
        })
    }
}

impl Lesson<'_> {
    fn margins(&mut self, epoch: u32) -> Result<&[f32], TrainError> {
        if self.margins.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let margins = (0..self.context.data.queries.len())
                .map(|query| {
                    let list = self.lists.natural(&self.cache, query, epoch);
                    let list = list
                        .ok_or_else(|| TrainError::internal("a teacher score is missing; run the score stage again"))?;
                    let (positive, negatives) = list.natural_logits();
                    Ok(margin(positive, &negatives))
                })
                .collect::<Result<Vec<_>, TrainError>>()?;
            self.margins = Some((epoch, margins));
        }
        Ok(self.margins.as_ref().map(|(_, m)| m.as_slice()).unwrap_or_default())
    }

    /// Model inputs of a step and everything about it that does not depend on the student.
    fn targets(
        &self,
        queries: &[usize],
        lists: &[QueryList],
        weights: &[f32],
    ) -> Result<(Vec<Group>, StepTargets), TrainError> {
        let config = self.context.config;
        let room = self.inputs.passage_room();
        let mut column: HashMap<u32, i64> = HashMap::new();
        let mut natural_passages: Vec<u32> = Vec::new();
        for list in lists {
            for passage in std::iter::once(list.positive.0).chain(list.natural.iter().map(|n| n.0)) {
                column.entry(passage).or_insert_with(|| {
                    natural_passages.push(passage);
                    natural_passages.len() as i64 - 1
                });
            }
        }
        let mut passages: Vec<_> = natural_passages
            .iter()
            .map(|&p| {
                let content = self.lists.passage(p);
                self.inputs.passage(&content[..content.len().min(room)])
            })
            .collect();
        let width = lists.iter().map(|l| 1 + l.natural.len() + l.dark.len()).max().unwrap_or(1);
        let (mut candidates, mut teacher) = (Vec::new(), Vec::new());
        let (mut present, mut natural) = (Vec::new(), Vec::new());
        for list in lists {
            let mut row: Vec<(i64, f32, bool)> = Vec::with_capacity(width);
            row.push((column[&list.positive.0], list.positive.1, true));
            row.extend(list.natural.iter().map(|n| (column[&n.0], n.1, true)));
            for (example, logit) in &list.dark {
                row.push((passages.len() as i64, *logit, false));
                passages.push(self.inputs.passage(&example.tokens));
            }
            present.push((0..width).map(|i| i < row.len()).collect::<Vec<_>>());
            natural.push((0..width).map(|i| row.get(i).is_some_and(|r| r.2)).collect::<Vec<_>>());
            row.resize(width, (0, 0.0, false));
            candidates.extend(row.iter().map(|r| r.0));
            teacher.extend(row.iter().map(|r| r.1));
        }
        let positives: Vec<&[u32]> =
            queries.iter().map(|&q| self.context.data.queries[q].positives.as_slice()).collect();
        let own: Vec<HashSet<u32>> = lists.iter().map(|l| l.natural.iter().map(|n| n.0).collect()).collect();
        let target: Vec<u32> = lists.iter().map(|l| l.positive.0).collect();
        let mut allowed = self.same.allowed(&positives, &own, &target, &natural_passages, config.loss.in_batch);
        for row in &mut allowed {
            row.resize(passages.len(), false);
        }
        let treatments: Vec<_> = queries.iter().map(|&q| config.pacing.treatment(weights[q])).collect();
        let shape = [lists.len() as i64, width as i64];
        let factor = |pick: &dyn Fn(&crate::adam::pacing::Treatment) -> f32| -> Result<Tensor, TrainError> {
            Ok(Tensor::f_from_slice(&treatments.iter().map(pick).collect::<Vec<_>>())?)
        };
        let targets = StepTargets {
            candidates: Tensor::f_from_slice(&candidates)?.f_view(shape)?,
            present: flags(&present)?,
            natural: flags(&natural)?,
            teacher: Tensor::f_from_slice(&teacher)?.f_view(shape)?,
            allowed: flags(&allowed)?,
            contrastive: factor(&|t| t.contrastive)?,
            natural_share: factor(&|t| t.natural)?,
            dark_share: factor(&|t| t.dark)?,
        };
        let targets = targets.ready_for(self.context.machine.device)?;
        let tight = limits(&config.distil, self.context.machine);
        let groups = vec![
            Group {
                sequences: queries.iter().map(|&q| self.inputs.query(q)).collect(),
                limits: query_limits(&config.distil, self.context.machine),
            },
            Group { sequences: passages, limits: tight },
        ];
        Ok((groups, targets))
    }
}

/// Means over a step's lists of what the teacher says, and of the loss by kind of candidate.
fn describe(lists: &[QueryList], by_candidate: &[Vec<f32>], temperature: f32) -> Vec<(&'static str, f64)> {
    let count = lists.len().max(1) as f64;
    let (mut bare, mut dark) = (0.0, 0.0);
    let mut kinds = [(0.0, 0usize); 4];
    for (list, parts) in lists.iter().zip(by_candidate) {
        let mut logits = vec![list.positive.1];
        logits.extend(list.natural.iter().map(|n| n.1));
        bare += entropy(&logits, temperature);
        logits.extend(list.dark.iter().map(|d| d.1));
        dark += entropy(&logits, temperature);
        let kind_of = |place: usize| match place {
            0 => 0,
            p if p <= list.natural.len() => 1,
            p => match list.dark.get(p - 1 - list.natural.len()).map(|d| d.0.kind) {
                Some(DarkKind::Noisy) => 3,
                _ => 2,
            },
        };
        for (place, part) in parts.iter().enumerate().take(logits.len()) {
            let kind = &mut kinds[kind_of(place)];
            kind.0 += f64::from(*part);
            kind.1 += 1;
        }
    }
    let passages = kinds.iter().map(|k| k.1).sum::<usize>();
    let mean = |(sum, count): (f64, usize)| if count == 0 { 0.0 } else { sum / count as f64 };
    vec![
        ("teacher_entropy_natural", bare / count),
        ("teacher_entropy_all", dark / count),
        ("passages_per_query", passages as f64 / count),
        ("distil_positive", mean(kinds[0])),
        ("distil_natural", mean(kinds[1])),
        ("distil_reinforced", mean(kinds[2])),
        ("distil_noisy", mean(kinds[3])),
    ]
}

impl Objective<Targets> for DistilTraining<'_> {
    fn parameters(&mut self) -> &mut Parameters {
        &mut self.student.encoder.parameters
    }

    fn flops_per_token(&self, length: usize) -> f64 {
        self.student.encoder.flops_per_token(length)
    }

    fn step(
        &mut self,
        step: usize,
        work: Work,
        Targets { lists, targets, selection: mut values }: Targets,
        room: &Room<'_>,
    ) -> Result<StepReport, TrainError> {
        let config = self.context.config;
        let targets = targets.to_device(self.context.machine.device)?;
        let student = &self.student;
        let pass = Pass {
            mode: Mode { compute: self.context.machine.compute, dropout: config.distil.dropout },
            most_tokens: most_tokens(&config.distil, self.context.machine),
            seed: config.run.distil_seed().wrapping_mul(37).wrapping_add(step as u64),
            budget: budget(self.context, &student.encoder),
        };
        let mut whole = None;
        let parameters = student.encoder.parameters.tensors();
        let computed = room.run(&pass, work, parameters, &|input, mode| student.embed(input, mode), &mut |rows| {
            student.nested_loss(rows, &config.student.matryoshka, &mut |rows| {
                let similarities = rows[0].f_matmul(&rows[1].f_transpose(0, 1)?)?;
                let loss = step_loss(&similarities, &targets, &config.loss)?;
                // Without the total: its graph would outlive a step that did not fit in memory.
                whole = Some((loss.contrastive, loss.distillation, loss.by_candidate));
                Ok(loss.total)
            })
        })?;
        let temperature = config.loss.teacher_temperature as f32;
        Ok(StepReport {
            loss: computed.loss,
            tokens: computed.padding.real,
            padded: computed.padding.padded,
            values: Box::new(move || {
                if let Some((contrastive, distillation, by_candidate)) = whole {
                    values.push(("contrastive", f64::try_from(contrastive.f_to_kind(Kind::Double)?)?));
                    values.push(("distillation", f64::try_from(distillation.f_to_kind(Kind::Double)?)?));
                    let parts: Vec<Vec<f32>> = Vec::try_from(by_candidate.f_to_device(Device::Cpu)?)?;
                    values.extend(describe(&lists, &parts, temperature));
                }
                Ok(values)
            }),
        })
    }

    fn evaluate(&mut self) -> Result<Option<f64>, TrainError> {
        let limits = limits_without_gradients(&self.context.config.distil, self.context.machine);
        match &self.dev {
            Some(dev) => dev.student(&self.student, self.inputs, &limits).map(Some),
            None => Ok(None),
        }
    }
}

/// Distils the student of `base` into a folder.
///
/// # Errors
/// As [`Loop::run`].
pub(crate) fn distil(
    context: &Context<'_>,
    base: &Path,
    folder: &Path,
    teacher_key: &str,
    key: &str,
) -> Result<Distilled, TrainError> {
    let config = context.config;
    let mut student = context.student(base)?;
    student.encoder.freeze(config.student.freeze_embeddings, config.student.freeze_layers)?;
    let inputs = StudentInputs::new(context, &student)?;
    let lists = score::lists(context)?;
    let dev = DevSet::of(context, &lists.pools);
    let steps_per_epoch = context.data.queries.len().div_ceil(config.distil.queries_per_step);
    let mut lesson = Lesson {
        context,
        inputs: &inputs,
        lists: &lists,
        layout: student.encoder.layout(),
        cache: score::cache(context, teacher_key)?,
        same: SameText::of(context),
        margins: None,
        steps_per_epoch,
    };
    let mut training = DistilTraining { context, student, inputs: &inputs, dev };
    let around = Loop {
        stage: "distil",
        config: &config.distil,
        configuration: key.to_owned(),
        steps_per_epoch,
        device: context.machine.device,
        judge_start: true,
        run: &context.own(""),
        folder,
        checkpoint_minutes: config.run.checkpoint_minutes,
        reporter: context.reporter,
        stop: context.stop,
    };
    let outcome = around.run(&mut lesson, &mut training)?;
    training.student.save(&folder.join("model"))?;
    around.clear();
    let limits = limits_without_gradients(&config.distil, context.machine);
    let held_out = match &training.dev {
        Some(dev) => Some(dev.change(&context.student(base)?, &training.student, &inputs, &limits)?),
        None => None,
    };
    if let Some(change) = &held_out {
        context.reporter.say(&change.to_text());
    }
    Ok(Distilled { training: outcome, held_out })
}

/// What distillation says.
#[derive(Debug, Serialize)]
pub(crate) struct Distilled {
    #[serde(flatten)]
    training: TrainingOutcome,
    /// Where queries were held out.
    held_out: Option<HeldOutChange>,
}
