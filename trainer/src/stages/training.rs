//! The loop that every training stage shares: schedule, optimiser, evaluation, checkpoints, metrics, and stops.
//!
//! A step's data is made ahead on a thread of its own, in the order of steps, a few steps at most before it is used. What it is
//! depends on the step alone, so a run that is stopped and gone on with sees the same data as one that is not.

use super::gradient::{Room, Work};
use super::step_log::{Launched, StepLog};
use crate::checkpoint::{Checkpoints, Progress};
use crate::config::TrainingConfig;
use crate::error::TrainError;
use crate::model::Parameters;
use crate::report::{Metrics, Reporter};
use crate::torch::{AdamW, Later, held_at_most};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;
use tch::{Device, Tensor};

/// Makes the data of steps, ahead of them and on a thread of its own.
pub(crate) trait Prepare: Send {
    /// What a step wants beside its texts.
    type More: Send;
    /// A step's data, in batches of at most `cap` tokens.
    fn prepare(&mut self, step: usize, cap: usize) -> Result<Prepared<Self::More>, TrainError>;
}

/// The data of a step.
pub(crate) struct Prepared<More> {
    /// The ids of its queries, for messages.
    pub(crate) queries: Vec<String>,
    /// Its texts.
    pub(crate) work: Work,
    /// What else the loss wants.
    pub(crate) more: More,
}

/// What a stage does in a step and how it measures itself.
pub(crate) trait Objective<More> {
    /// The parameters that are trained.
    fn parameters(&mut self) -> &mut Parameters;
    /// Adds a step's gradients to the parameters.
    fn step(&mut self, step: usize, work: Work, more: More, room: &Room<'_>) -> Result<StepReport, TrainError>;
    /// Floating-point operations of a forward pass over one token in a text of `length`.
    fn flops_per_token(&self, length: usize) -> f64;
    /// A value on held-out queries, higher is better; none where nothing was held out.
    fn evaluate(&mut self) -> Result<Option<f64>, TrainError>;
}

/// Steps whose data may lie ready: enough that an uneven step does not leave the device waiting.
const AHEAD: usize = 4;

/// Values for the log.
pub(crate) type Values = Vec<(&'static str, f64)>;

/// What a step was like.
pub(crate) struct StepReport {
    /// The loss.
    pub(crate) loss: Later,
    /// Tokens without padding.
    pub(crate) tokens: usize,
    /// Tokens with padding.
    pub(crate) padded: usize,
    /// Reads more values for the log, from the device, which is at work on them.
    pub(crate) values: Box<dyn FnOnce() -> Result<Values, TrainError>>,
}

/// What surrounds a loop.
pub(crate) struct Loop<'a> {
    pub(crate) stage: &'static str,
    pub(crate) config: &'a TrainingConfig,
    /// Hash of everything the outcome depends on.
    pub(crate) configuration: String,
    pub(crate) steps_per_epoch: usize,
    /// Where the model runs.
    pub(crate) device: Device,
    /// Whether the weights before the first step compete too; not for a fresh head.
    pub(crate) judge_start: bool,
    /// The run's folder, for metrics.
    pub(crate) run: &'a Path,
    /// The stage's folder, for checkpoints.
    pub(crate) folder: &'a Path,
    pub(crate) checkpoint_minutes: f64,
    pub(crate) reporter: &'a Reporter,
    pub(crate) stop: &'a AtomicBool,
}

/// What a finished loop says.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct TrainingOutcome {
    /// Steps made.
    pub steps: usize,
    /// Step and value of each evaluation on the development queries.
    pub evaluations: Vec<(usize, f64)>,
    /// The step whose weights were kept.
    pub kept: usize,
    /// Tokens seen, without padding.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Tokens a second, without padding, over the time of steps alone.
    #[serde(default)]
    pub tokens_per_second: f64,
    /// Floating-point operations of the model a second, in 10^12, over the same time: three forward passes a token, whatever is
    /// computed twice to save memory.
    #[serde(default)]
    pub teraflops: f64,
    /// Bytes of memory held at most, where the system says.
    #[serde(default)]
    pub memory: Option<u64>,
}

/// The learning rate of a step, counted from 0: a straight rise over the first share, a straight fall to 0.
pub(crate) fn rate(config: &TrainingConfig, step: usize, total: usize) -> f64 {
    let rise = (config.warm_up * total as f64).round();
    let at = step as f64 + 1.0;
    let factor = if at <= rise { at / rise } else { (total as f64 - step as f64) / (total as f64 - rise).max(1.0) };
    config.learning_rate * factor.clamp(0.0, 1.0)
}

impl Loop<'_> {
    /// Steps of the whole loop.
    fn total(&self) -> usize {
        self.config.epochs * self.steps_per_epoch
    }

    /// Whether an evaluation follows after so many steps.
    fn evaluates_after(&self, steps: usize) -> bool {
        let per_epoch = self.config.evaluations;
        if per_epoch == 0 {
            return steps == self.total();
        }
        let place = |s: usize| s * per_epoch / self.steps_per_epoch.max(1);
        steps == self.total() || place(steps) > place(steps - 1)
    }

    /// Runs to the end, from a checkpoint where there is one; leaves the best weights in the parameters.
    ///
    /// # Errors
    /// [`TrainError::Interrupted`] after a checkpoint when the stop flag is set; [`TrainError::NotANumber`] with the batch's ids;
    /// whatever the objective or the disk says.
    pub(crate) fn run<P: Prepare>(
        &self,
        preparer: &mut P,
        objective: &mut dyn Objective<P::More>,
    ) -> Result<TrainingOutcome, TrainError> {
        let total = self.total();
        let checkpoints = Checkpoints::new(&self.folder.join("checkpoints"));
        let mut optimiser = AdamW::new(self.config.adamw, objective.parameters().tensors());
        let mut best: Option<Vec<Tensor>> = None;
        let mut place = Progress { configuration: self.configuration.clone(), ..Progress::default() };
        let found = checkpoints.load(&self.configuration, objective.parameters(), &mut optimiser)?;
        let mut metrics = Metrics::open(self.run, self.stage, found.is_some())?;
        if let Some((found, weights)) = found {
            self.reporter.say(&format!("{}: goes on from step {} of {total}", self.stage, found.step));
            (place, best) = (found, weights);
        } else if self.judge_start
            && total > 0
            && let Some(value) = objective.evaluate()?
        {
            place.evaluations.push((0, value));
            place.best = Some((0, value));
            best = Some(objective.parameters().snapshot()?);
            metrics.write(0, &[("dev_ndcg@10", value)])?;
            self.reporter.say(&format!("{}: step 0: development nDCG@10 {value:.4}", self.stage));
        }
        let room = Room::new(self.stage, self.reporter, place.batch_cap.unwrap_or(usize::MAX));
        let first = place.step;
        let state = State { checkpoints, optimiser, metrics, best, place };
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(AHEAD);
            let cap = &room;
            std::thread::Builder::new()
                .name("batches".to_owned())
                .spawn_scoped(scope, move || {
                    for step in first..total {
                        let made = preparer.prepare(step, cap.cap());
                        let failed = made.is_err();
                        // Nobody listens any more once the loop has ended, for whatever reason.
                        if sender.send(made).is_err() || failed {
                            break;
                        }
                    }
                })
                .map_err(|e| TrainError::internal(format!("a thread for the data cannot be started: {e}")))?;
            self.steps(objective, state, &room, receiver)
        })
    }

    /// The loop itself, over data that comes ready.
    fn steps<More>(
        &self,
        objective: &mut dyn Objective<More>,
        state: State,
        room: &Room<'_>,
        data: Receiver<Result<Prepared<More>, TrainError>>,
    ) -> Result<TrainingOutcome, TrainError> {
        let total = self.total();
        let State { checkpoints, mut optimiser, metrics, mut best, mut place } = state;
        let mut log = StepLog::new(self.stage, metrics, self.reporter.bar(self.stage, total, place.step));
        let before = place.seconds;
        let loop_began = Instant::now();
        let mut saved = Instant::now();
        let first = place.step;
        while place.step < total {
            let (step, began) = (place.step, Instant::now());
            let Prepared { queries, work, more } = data.recv().unwrap_or_else(|_| {
                Err(TrainError::internal("the thread that makes batches has ended; its message is above"))
            })?;
            let flops: f64 = work.lengths().map(|n| 3.0 * n as f64 * objective.flops_per_token(n)).sum();
            let StepReport { loss, tokens, padded, values } = objective.step(step, work, more, room)?;
            let learning_rate = rate(self.config, step, total);
            let (tensors, decays) = objective.parameters().for_update();
            let gradient_norm = optimiser.step(tensors, decays, learning_rate)?;
            place.step += 1;
            place.tokens += tokens as u64;
            place.batch_cap = Some(room.cap()).filter(|&cap| cap < usize::MAX);
            let step = place.step;
            log.tell(Launched {
                step,
                began,
                queries,
                loss,
                gradient_norm,
                learning_rate,
                tokens,
                padded,
                flops,
                values,
            })?;
            if self.evaluates_after(step)
                && let Some(value) = objective.evaluate()?
            {
                place.evaluations.push((step, value));
                log.metrics.write(step, &[("dev_ndcg@10", value)])?;
                self.reporter.say(&format!("{}: step {step}: development nDCG@10 {value:.4}", self.stage));
                if place.best.is_none_or(|(_, known)| value > known) {
                    place.best = Some((step, value));
                    best = Some(objective.parameters().snapshot()?);
                }
            }
            place.seconds = before + loop_began.elapsed().as_secs_f64();
            let stopped = self.stop.load(Ordering::Relaxed);
            let saves = step < total && (stopped || saved.elapsed().as_secs_f64() > self.checkpoint_minutes * 60.0);
            if saves {
                checkpoints.save(place.clone(), objective.parameters(), &optimiser, best.as_deref())?;
                saved = Instant::now();
            }
            if step < total && stopped {
                self.reporter
                    .say(&format!("{}: stopped after step {step} of {total}; a checkpoint is written", self.stage));
                return Err(TrainError::Interrupted);
            }
        }
        let (mut metrics, clock) = log.end();
        if let Some(weights) = &best {
            objective.parameters().restore(weights)?;
        }
        let held = held_at_most(self.device);
        if total > first {
            let memory = match held {
                Some((held, Some(all))) => format!(", memory {held} of {all} at most"),
                Some((held, None)) => format!(", memory {held} at most"),
                None => String::new(),
            };
            self.reporter.say(&format!(
                "{}: {} steps, {:.0} tokens/s, {}{memory}",
                self.stage,
                total - first,
                clock.tokens_per_second(),
                clock.speed()
            ));
            if let Some((held, _)) = held {
                metrics.write(total, &[("memory_bytes", held.0 as f64), ("teraflops", clock.teraflops())])?;
            }
        }
        Ok(TrainingOutcome {
            steps: total,
            kept: place.best.map_or(total, |(step, _)| step),
            evaluations: place.evaluations,
            tokens: place.tokens,
            seconds: place.seconds,
            tokens_per_second: clock.tokens_per_second(),
            teraflops: clock.teraflops(),
            memory: held.map(|(held, _)| held.0),
        })
    }

    /// Removes the checkpoints, once the stage's product is written.
    pub(crate) fn clear(&self) {
        Checkpoints::new(&self.folder.join("checkpoints")).clear();
    }
}

/// What a loop carries from where it starts.
struct State {
    checkpoints: Checkpoints,
    optimiser: AdamW,
    metrics: Metrics,
    best: Option<Vec<Tensor>>,
    place: Progress,
}

/// The queries of a step: each epoch visits all in an order of its own.
pub(crate) fn step_queries(seed: u64, queries: usize, per_step: usize, step: usize) -> (u32, Vec<usize>) {
    let steps = queries.div_ceil(per_step.max(1)).max(1);
    let (epoch, place) = (step / steps, step % steps);
    let mut order: Vec<usize> = (0..queries).collect();
    crate::adam::random::KeyedRandom::new("order", seed, &[&(epoch as u64).to_le_bytes()]).shuffle(&mut order);
    let start = place * per_step;
    (epoch as u32, order[start..(start + per_step).min(queries)].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls_in_straight_lines() {
        let config = TrainingConfig { learning_rate: 1.0, warm_up: 0.2, ..TrainingConfig::default() };
        let rates: Vec<f64> = (0..10).map(|s| rate(&config, s, 10)).collect();
        assert_eq!(rates[0], 0.5);
        assert_eq!(rates[1], 1.0);
        assert_eq!(rates[2], 1.0);
        assert!((rates[9] - 0.125).abs() < 1e-12);
        assert!(rates[2..].windows(2).all(|w| w[0] > w[1]));
    }

    #[test]
    fn an_epoch_visits_every_query_once() {
        let mut seen: Vec<usize> = (0..4).flat_map(|s| step_queries(3, 10, 3, s).1).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_eq!(step_queries(3, 10, 3, 4).0, 1);
        assert_ne!(step_queries(3, 100, 100, 0).1, step_queries(3, 100, 100, 1).1);
    }
}
