//! Distillation: the student learns from the teacher's scores of natural and dark candidates, and from its positives.

use super::context::Context;
use super::dev::{DevSet, HeldOutChange};
use super::gradient::{Group, MemoryBound, Pass, Work};
use super::inputs::StudentInputs;
use super::limits::{budget, limits, limits_without_gradients, most_tokens, query_limits};
use super::lists::{Lists, QueryList};
use super::round::Round;
use super::same_text::SameText;
use super::score;
use super::teacher_scores::TeacherScores;
use super::training::{Loop, Objective, Prepare, Prepared, StepQueries, StepReport, TrainingOutcome};
use crate::adam::confidence::{entropy, margin};
use crate::adam::dark::DarkKind;
use crate::adam::fusion::Fusion;
use crate::adam::loss::{ListScope, StepTargets, flags, step_loss};
use crate::adam::pacing::{Ranking, Treatment};
use crate::config::TrainingConfig;
use crate::data::Origin;
use crate::error::TrainError;
use crate::model::{Layout, Mode, Parameters, Student};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Makes lists, selection and inputs of steps.
struct DistilSteps<'a> {
    context: &'a Context<'a>,
    config: &'a TrainingConfig,
    inputs: &'a StudentInputs<'a>,
    lists: &'a Lists<'a>,
    layout: Layout,
    teacher: TeacherScores<'a>,
    same: SameText,
    order: StepQueries,
    /// The queries in the order of selection in an epoch.
    ranking: Option<(u32, Ranking)>,
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
    config: &'a TrainingConfig,
    student: Student,
    inputs: &'a StudentInputs<'a>,
    dev: Option<DevSet>,
}

impl Prepare for DistilSteps<'_> {
    type More = Targets;

    fn prepare(&mut self, step: usize, cap: usize) -> Result<Prepared<Targets>, TrainError> {
        let config = self.context.config;
        let all = &self.context.data.queries;
        let (epoch, queries) = self.order.of(step);
        let queries = queries.to_vec();
        let lists =
            queries.iter().map(|&query| self.lists.full(&self.teacher, query, epoch)).collect::<Result<Vec<_>, _>>()?;
        let share = config.pacing.share(step as f64 / self.steps_per_epoch as f64, self.config.epochs as f64);
        let ranking = self.ranking(epoch)?;
        let weights: Vec<f32> = queries.iter().map(|&query| ranking.weight(query, share)).collect();
        let (selected, confidence, of_selected) = ranking.summary(share);
        let (groups, targets) = self.targets(epoch, &queries, &lists, &weights)?;
        Ok(Prepared {
            queries: queries.iter().map(|&q| all[q].id.clone()).collect(),
            work: Work::new(groups, self.layout, cap)?,
            more: Targets {
                lists,
                targets,
                selection: vec![
                    ("selected", selected),
                    ("confidence", confidence),
                    ("confidence_selected", of_selected),
                ],
            },
        })
    }
}

impl DistilSteps<'_> {
    /// The queries by the teacher's margins in an epoch: made once, whatever the number of steps.
    fn ranking(&mut self, epoch: u32) -> Result<&Ranking, TrainError> {
        let config = self.context.config;
        let all = &self.context.data.queries;
        let make = || -> Result<(u32, Ranking), TrainError> {
            let margins = (0..all.len())
                .map(|query| {
                    if !config.pacing.enabled {
                        return Ok(0.0);
                    }
                    let list = self.lists.natural(&self.teacher, query, epoch);
                    let list = list
                        .ok_or_else(|| TrainError::internal("a teacher score is missing; run the score stage again"))?;
                    let (positive, negatives) = list.natural_logits();
                    Ok(margin(positive, &negatives))
                })
                .collect::<Result<Vec<_>, TrainError>>()?;
            let ids: Vec<&str> = all.iter().map(|q| q.id.as_str()).collect();
            Ok((epoch, config.pacing.rank(config.run.distil_seed(), &ids, &margins)))
        };
        let known = match self.ranking.take() {
            Some(known) if known.0 == epoch => known,
            _ => make()?,
        };
        Ok(&self.ranking.insert(known).1)
    }

    /// Factors on the terms of each query's loss: those of selection, times how much the query counts in its step.
    fn treatments(&self, queries: &[usize], weights: &[f32]) -> Vec<Treatment> {
        let config = self.context.config;
        let origin = |query: usize| self.context.data.queries[query].origin;
        let counts = |query: usize| {
            if origin(query) == Origin::Labelled { config.queries.labelled_weight as f32 } else { 1.0 }
        };
        // A mean of 1: a step of queries of one sort is weighted as one without weights.
        let mean = queries.iter().map(|&query| counts(query)).sum::<f32>() / queries.len().max(1) as f32;
        queries
            .iter()
            .zip(weights)
            .map(|(&query, &weight)| {
                let Treatment { contrastive, natural, dark } = config.pacing.treatment(weight);
                let factor = counts(query) / mean;
                // Nobody says that the first passage of a logged query is relevant: the teacher alone labels it.
                let labelled = if origin(query) == Origin::Log { 0.0 } else { 1.0 };
                Treatment {
                    contrastive: contrastive * factor * labelled,
                    natural: natural * factor,
                    dark: dark * factor,
                }
            })
            .collect()
    }

    /// The scores of every passage of a step for a query, where the loss compares all of them: those of its own list first.
    fn scores_of_step(
        &self,
        query: usize,
        list: &QueryList,
        further: &[u32],
    ) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
        let natural: Vec<_> =
            list.passages().chain(further.iter().copied()).map(|p| self.lists.wanted(query, p)).collect();
        let dark: Vec<_> = list.dark.iter().map(|d| Lists::wanted_made(query, &d.0.tokens)).collect();
        let found = self.teacher.of(&natural, &dark);
        found.ok_or_else(|| TrainError::internal("a teacher score is missing; run the score stage again"))
    }

    /// Model inputs of a step and everything about it that does not depend on the student.
    fn targets(
        &self,
        epoch: u32,
        queries: &[usize],
        lists: &[QueryList],
        weights: &[f32],
    ) -> Result<(Vec<Group>, StepTargets), TrainError> {
        let config = self.context.config;
        let budget = self.inputs.passage_budget();
        let mut column: HashMap<u32, i64> = HashMap::new();
        let mut natural_passages: Vec<u32> = Vec::new();
        for list in lists {
            for passage in list.passages() {
                column.entry(passage).or_insert_with(|| {
                    natural_passages.push(passage);
                    natural_passages.len() as i64 - 1
                });
            }
        }
        let positives: Vec<&[u32]> =
            queries.iter().map(|&q| self.context.data.queries[q].positives.as_slice()).collect();
        let own: Vec<HashSet<u32>> = lists.iter().map(|l| l.natural.iter().map(|n| n.0).collect()).collect();
        let target: Vec<u32> = lists.iter().map(|l| l.positive.0).collect();
        let mut allowed = self.same.allowed(&positives, &own, &target, &natural_passages, config.loss.in_batch);
        // Passages of other queries that the distillation term compares too: never a known positive or one of the same text.
        let further: Vec<Vec<u32>> = if config.loss.list == ListScope::Batch && config.loss.distillation > 0.0 {
            let comparable = self.same.allowed(&positives, &own, &target, &natural_passages, true);
            let of_query = |(list, comparable): (&QueryList, Vec<bool>)| {
                let listed: HashSet<u32> = list.passages().collect();
                let others = natural_passages.iter().zip(comparable).filter(|(p, may)| *may && !listed.contains(p));
                others.map(|(&p, _)| p).collect()
            };
            lists.iter().zip(comparable).map(of_query).collect()
        } else {
            vec![Vec::new(); lists.len()]
        };
        let edited = self.inputs.edited(queries.iter().zip(&target));
        let mut passages: Vec<_> = natural_passages
            .iter()
            .map(|&p| {
                let content = edited
                    .get(&p)
                    .copied()
                    .or_else(|| self.inputs.window(p, epoch))
                    .unwrap_or_else(|| self.lists.passage(p));
                self.inputs.passage(&content[..content.len().min(budget)])
            })
            .collect();
        let width = lists
            .iter()
            .zip(&further)
            .map(|(l, further)| 1 + l.natural.len() + l.dark.len() + l.others.len() + further.len())
            .max()
            .unwrap_or(1);
        let (mut candidates, mut teacher) = (Vec::new(), Vec::new());
        let (mut present, mut natural) = (Vec::new(), Vec::new());
        for ((list, further), &query) in lists.iter().zip(&further).zip(queries) {
            // In a list of the whole step all scores are relative to the step.
            let (listed, dark) = if further.is_empty() {
                let known =
                    std::iter::once(list.positive.1).chain(list.others.iter().chain(&list.natural).map(|n| n.1));
                (known.collect(), list.dark.iter().map(|d| d.1).collect())
            } else {
                self.scores_of_step(query, list, further)?
            };
            let others = list.others.len();
            let mut row: Vec<(i64, f32, bool)> = Vec::with_capacity(width);
            row.push((column[&list.positive.0], listed[0], true));
            for (n, &score) in list.natural.iter().zip(&listed[1 + others..]) {
                row.push((column[&n.0], score, true));
            }
            for ((example, _), score) in list.dark.iter().zip(dark) {
                row.push((passages.len() as i64, score, false));
                passages.push(self.inputs.passage(&example.tokens));
            }
            for (other, &score) in list.others.iter().zip(&listed[1..]) {
                row.push((column[&other.0], score, true));
            }
            for (passage, &score) in further.iter().zip(&listed[1 + others + list.natural.len()..]) {
                row.push((column[passage], score, true));
            }
            present.push((0..width).map(|i| i < row.len()).collect::<Vec<_>>());
            natural.push((0..width).map(|i| row.get(i).is_some_and(|r| r.2)).collect::<Vec<_>>());
            row.resize(width, (0, 0.0, false));
            candidates.extend(row.iter().map(|r| r.0));
            teacher.extend(row.iter().map(|r| r.1));
        }
        for row in &mut allowed {
            row.resize(passages.len(), false);
        }
        let treatments = self.treatments(queries, weights);
        let shape = [lists.len() as i64, width as i64];
        let factor = |pick: &dyn Fn(&Treatment) -> f32| -> Result<Tensor, TrainError> {
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
        let tight = limits(self.config, self.context.machine);
        let groups = vec![
            Group {
                sequences: queries.iter().map(|&q| self.inputs.query(q)).collect(),
                limits: query_limits(self.config, self.context.machine),
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
        bound: &MemoryBound<'_>,
    ) -> Result<StepReport, TrainError> {
        let config = self.context.config;
        let targets = targets.to_device(self.context.machine.device)?;
        let student = &self.student;
        let pass = Pass {
            mode: Mode { compute: self.context.machine.compute, dropout: self.config.dropout },
            most_tokens: most_tokens(self.config, self.context.machine),
            seed: config.run.distil_seed().wrapping_mul(37).wrapping_add(step as u64),
            budget: budget(self.context, &student.encoder),
        };
        let mut whole = None;
        let parameters = student.encoder.parameters.tensors();
        let computed = bound.run(&pass, work, parameters, &|input, mode| student.embed(input, mode), &mut |rows| {
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
        let limits = limits_without_gradients(self.config, self.context.machine);
        match &self.dev {
            Some(dev) => dev.student(&self.student, self.inputs, &limits).map(Some),
            None => Ok(None),
        }
    }
}

/// What a round of distillation runs with.
pub(crate) struct DistilPlan<'a> {
    /// Its loop.
    pub(crate) training: &'a TrainingConfig,
    /// How the teacher's voices are added.
    pub(crate) fusion: Fusion,
    /// Names the cross-encoder in the cache of scores.
    pub(crate) teacher_key: &'a str,
    /// Hash of all the outcome depends on.
    pub(crate) key: &'a str,
}

/// Distils the student of a round into a folder.
///
/// # Errors
/// As [`Loop::run`].
pub(crate) fn distil(
    context: &Context<'_>,
    round: &Round,
    folder: &Path,
    plan: DistilPlan<'_>,
) -> Result<Distilled, TrainError> {
    let config = context.config;
    let mut student = context.student(&round.base)?;
    student.encoder.freeze(config.student.freeze_embeddings, config.student.freeze_layers)?;
    let inputs = StudentInputs::new(context, &student)?;
    let lists = score::lists(context, &round.mine_folder(context))?;
    let dev = DevSet::of(context, &lists.pools);
    let queries = context.data.queries.len();
    let steps_per_epoch = queries.div_ceil(plan.training.queries_per_step);
    let seed = config.run.distil_seed().wrapping_add((round.number as u64) << 32);
    let mut steps = DistilSteps {
        context,
        config: plan.training,
        inputs: &inputs,
        lists: &lists,
        layout: student.encoder.layout(),
        teacher: TeacherScores::open(context, round, plan.teacher_key, plan.fusion)?,
        same: SameText::of(context),
        order: StepQueries::new(seed, queries, plan.training.queries_per_step),
        ranking: None,
        steps_per_epoch,
    };
    let mut training = DistilTraining { context, config: plan.training, student, inputs: &inputs, dev };
    let around = Loop {
        stage: STAGES.get(round.number).copied().unwrap_or("distil-later"),
        config: plan.training,
        configuration: plan.key.to_owned(),
        steps_per_epoch,
        device: context.machine.device,
        judge_start: true,
        run: &context.own_path(""),
        folder,
        checkpoint_minutes: config.run.checkpoint_minutes,
        reporter: context.reporter,
        stop: context.stop,
    };
    let outcome = around.run(&mut steps, &mut training)?;
    training.student.save(&folder.join("model"))?;
    around.clear();
    let limits = limits_without_gradients(plan.training, context.machine);
    let held_out = match &training.dev {
        Some(dev) => Some(dev.change(&context.student(&round.base)?, &training.student, &inputs, &limits)?),
        None => None,
    };
    if let Some(change) = &held_out {
        context.reporter.say(&change.to_text());
    }
    Ok(Distilled { training: outcome, held_out })
}

/// What rounds are called in metrics.
const STAGES: [&str; 4] = ["distil", "distil-2", "distil-3", "distil-4"];

/// What distillation says.
#[derive(Debug, Serialize)]
pub(crate) struct Distilled {
    #[serde(flatten)]
    training: TrainingOutcome,
    /// Where queries were held out.
    held_out: Option<HeldOutChange>,
}
