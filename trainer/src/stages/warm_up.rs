//! Warm-up: contrastive training on labels, mined negatives and the other queries' passages.

use super::context::Context;
use super::dev::DevSet;
use super::gradient::{Group, MemoryBound, Pass, Work};
use super::inputs::StudentInputs;
use super::limits::{budget, limits, limits_without_gradients, most_tokens, query_limits};
use super::lists::positive_of;
use super::mine::{MineConfig, MineOrder, MineProgress, Surroundings, VectorSource, VectorTable, mine};
use super::same_text::SameText;
use super::training::{Loop, Objective, Prepare, Prepared, StepQueries, StepReport, TrainingOutcome};
use crate::adam::candidates::{Candidate, CandidateConfig, Sampling, sample};
use crate::adam::loss::{contrastive, flags};
use crate::config::{Config, MinedBy};
use crate::data::Origin;
use crate::error::TrainError;
use crate::model::{Layout, Mode, Parameters, Student};
use crate::torch::{ready_for, send};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use tch::{Kind, Tensor};

/// Draws candidates and makes inputs of steps.
struct WarmUpSteps<'a> {
    order: StepQueries,
    /// Numbers of the queries that take part: those whose positives somebody or something labelled.
    labelled: Vec<usize>,
    context: &'a Context<'a>,
    inputs: &'a StudentInputs<'a>,
    layout: Layout,
    pools: Vec<Vec<Candidate>>,
    same: SameText,
}

/// What the loss of a step wants beside its texts.
struct Targets {
    /// `[queries, passages]`, bool: what is compared.
    allowed: Tensor,
    /// `[queries]`, int64: each positive's column.
    columns: Tensor,
}

struct WarmUp<'a> {
    context: &'a Context<'a>,
    student: Student,
    inputs: &'a StudentInputs<'a>,
    dev: Option<DevSet>,
}

impl Prepare for WarmUpSteps<'_> {
    type More = Targets;

    fn prepare(&mut self, step: usize, cap: usize) -> Result<Prepared<Targets>, TrainError> {
        let config = &self.context.config.warm_up;
        let seed = self.context.config.run.seed;
        let all = &self.context.data.queries;
        let (epoch, queries) = self.order.of(step);
        let queries: Vec<usize> = queries.iter().map(|&at| self.labelled[at]).collect();
        let draw = CandidateConfig {
            negatives: config.negatives,
            positives: 1,
            sampling: Sampling::Random,
            from_rank: 1,
            to_rank: config.to_rank,
        };
        let mut column: HashMap<u32, usize> = HashMap::new();
        let mut passages: Vec<u32> = Vec::new();
        let (mut own, mut target) = (Vec::new(), Vec::new());
        for &query in &queries {
            let of = &all[query];
            let pool = &self.pools[query];
            let positive = positive_of(of, seed, epoch);
            let negatives: HashSet<u32> =
                sample(&draw, seed ^ 1, epoch, &of.id, pool).into_iter().map(|place| pool[place].passage).collect();
            let mut listed: Vec<u32> = negatives.iter().copied().collect();
            listed.sort_unstable();
            for passage in std::iter::once(positive).chain(listed) {
                column.entry(passage).or_insert_with(|| {
                    passages.push(passage);
                    passages.len() - 1
                });
            }
            own.push(negatives);
            target.push(positive);
        }
        let positives: Vec<&[u32]> = queries.iter().map(|&q| all[q].positives.as_slice()).collect();
        let allowed = flags(&self.same.allowed(&positives, &own, &target, &passages, true))?;
        let columns: Vec<i64> = target.iter().map(|p| column[p] as i64).collect();
        let machine = self.context.machine;
        let edited = self.inputs.edited(queries.iter().zip(&target));
        let groups = vec![
            Group {
                sequences: queries.iter().map(|&q| self.inputs.query(q)).collect(),
                limits: query_limits(&config.training, machine),
            },
            Group {
                sequences: passages
                    .iter()
                    .map(|&p| {
                        let whole = || self.context.texts.passages.get(p as usize);
                        self.inputs.passage(
                            edited.get(&p).copied().or_else(|| self.inputs.window(p, epoch)).unwrap_or_else(whole),
                        )
                    })
                    .collect(),
                limits: limits(&config.training, machine),
            },
        ];
        Ok(Prepared {
            queries: queries.iter().map(|&q| all[q].id.clone()).collect(),
            work: Work::new(groups, self.layout, cap)?,
            more: Targets {
                allowed: ready_for(&allowed, machine.device)?,
                columns: ready_for(&Tensor::f_from_slice(&columns)?, machine.device)?,
            },
        })
    }
}

impl Objective<Targets> for WarmUp<'_> {
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
        targets: Targets,
        bound: &MemoryBound<'_>,
    ) -> Result<StepReport, TrainError> {
        let config = &self.context.config.warm_up;
        let machine = self.context.machine;
        let (allowed, columns) = (send(&targets.allowed, machine.device)?, send(&targets.columns, machine.device)?);
        let student = &self.student;
        let pass = Pass {
            mode: Mode { compute: machine.compute, dropout: config.training.dropout },
            most_tokens: most_tokens(&config.training, machine),
            seed: self.context.config.run.seed.wrapping_mul(41).wrapping_add(step as u64),
            budget: budget(self.context, &student.encoder),
        };
        let parameters = student.encoder.parameters.tensors();
        let computed = bound.run(&pass, work, parameters, &|input, mode| student.embed(input, mode), &mut |rows| {
            student.nested_loss(rows, &self.context.config.student.matryoshka, &mut |rows| {
                let scores = rows[0].f_matmul(&rows[1].f_transpose(0, 1)?)?.f_mul_scalar(config.scale)?;
                Ok(contrastive(&scores, &allowed, &columns)?.f_mean(Kind::Float)?)
            })
        })?;
        Ok(StepReport {
            loss: computed.loss,
            tokens: computed.padding.real,
            padded: computed.padding.padded,
            values: Box::new(|| Ok(Vec::new())),
        })
    }

    fn evaluate(&mut self) -> Result<Option<f64>, TrainError> {
        let limits = limits_without_gradients(&self.context.config.warm_up.training, self.context.machine);
        match &self.dev {
            Some(dev) => dev.student(&self.student, self.inputs, &limits).map(Some),
            None => Ok(None),
        }
    }
}

/// How the warm-up mines: as many candidates as negatives and development lists are drawn from.
fn mining(config: &Config) -> MineConfig {
    let to_rank = config.warm_up.to_rank.max(config.dev.candidates);
    let both = config.warm_up.mined_by == MinedBy::Both;
    MineConfig {
        dense: both,
        bm25: true,
        from_rank: 1,
        to_rank,
        keep: to_rank,
        order: if both { MineOrder::Fused } else { MineOrder::BestRank },
        margin: None,
        ceiling: None,
        relative_ceiling: None,
        ..config.mine.clone()
    }
}

/// Warms the student up into a folder. `vectors` are those of the start model, where its ranking takes part.
///
/// # Errors
/// As [`Loop::run`].
pub(crate) fn warm_up(
    context: &Context<'_>,
    mut vectors: Option<VectorTable>,
    folder: &Path,
    key: &str,
) -> Result<TrainingOutcome, TrainError> {
    let config = &context.config.warm_up;
    let mut student = context.student(&context.start)?;
    student.encoder.freeze(context.config.student.freeze_embeddings, context.config.student.freeze_layers)?;
    let inputs = StudentInputs::new(context, &student)?;
    let all = [context.data.queries.as_slice(), context.data.dev.as_slice()].concat();
    let mining = mining(context.config);
    let mut bar = context.reporter.bar("mining", all.len(), 0);
    let mine_folder = folder.join("mine");
    mine(
        &mining,
        &context.data.passages,
        &all,
        vectors.as_mut().map(|v| v as &mut dyn VectorSource),
        &mut Surroundings {
            folder: &mine_folder,
            stop: context.stop,
            progress: &mut |progress| {
                if let MineProgress::Search(done, _) = progress {
                    bar.set(done);
                }
            },
        },
    )?;
    drop(bar);
    drop(vectors);
    let pools: Vec<Vec<Candidate>> = super::mine::read(&mine_folder.join("mined.jsonl"), &context.data.passages)?
        .iter()
        .map(|query| {
            let ranked = query.candidates.iter().enumerate();
            ranked.map(|(rank, c)| Candidate { passage: c.passage, rank: rank + 1, teacher: None }).collect()
        })
        .collect();
    let dev = DevSet::of(context, &pools);
    let layout = student.encoder.layout();
    let seed = context.config.run.seed ^ 1;
    let queries = context.data.queries.iter().enumerate();
    let labelled: Vec<usize> = queries.filter(|(_, query)| query.origin != Origin::Log).map(|(at, _)| at).collect();
    if labelled.is_empty() {
        return Err(TrainError::config(
            "[warm_up] contrastive training needs labelled or made queries, and a query log alone has none; set `warm_up.training.epochs = 0`",
        ));
    }
    let order = StepQueries::new(seed, labelled.len(), config.training.queries_per_step);
    let steps_per_epoch = labelled.len().div_ceil(config.training.queries_per_step);
    let mut steps =
        WarmUpSteps { order, labelled, context, inputs: &inputs, layout, pools, same: SameText::of(context) };
    let mut training = WarmUp { context, student, inputs: &inputs, dev };
    let around = Loop {
        stage: "warm-up",
        config: &config.training,
        configuration: key.to_owned(),
        steps_per_epoch,
        device: context.machine.device,
        judge_start: true,
        run: &context.config.run.output,
        folder,
        checkpoint_minutes: context.config.run.checkpoint_minutes,
        reporter: context.reporter,
        stop: context.stop,
    };
    let outcome = around.run(&mut steps, &mut training)?;
    training.student.save(&folder.join("model"))?;
    around.clear();
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_come_from_all_the_ranks_that_are_asked_for() {
        let mut config = Config::default();
        (config.mine.keep, config.warm_up.to_rank, config.dev.candidates) = (24, 100, 30);
        let made = mining(&config);
        assert_eq!((made.from_rank, made.to_rank, made.keep), (1, 100, 100));
        config.dev.candidates = 200;
        assert_eq!(mining(&config).keep, 200);
        config.warm_up.mined_by = MinedBy::Both;
        assert!(mining(&config).dense && mining(&config).order == MineOrder::Fused);
    }
}
