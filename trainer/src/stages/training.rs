//! The loop that every training stage shares: schedule, optimiser, evaluation, checkpoints, metrics, and stops.
//!
//! A step's data is made ahead on a thread of its own, in the order of steps, a few steps at most before it is used. What it is
//! depends on the step alone, so a run that is stopped and gone on with sees the same data as one that is not.

use super::gradient::{MemoryBound, Work};
use super::step_log::{StepLog, StepRecord};
use crate::adam::random::KeyedRandom;
use crate::checkpoint::{Carried, Checkpoints, Position};
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
    fn step(&mut self, step: usize, work: Work, more: More, bound: &MemoryBound<'_>) -> Result<StepReport, TrainError>;
    /// Floating-point operations of a forward pass over one token in a text of `length`.
    fn flops_per_token(&self, length: usize) -> f64;
    /// A value on held-out queries, higher is better; none where nothing was held out.
    fn evaluate(&mut self) -> Result<Option<f64>, TrainError>;
}

/// What is kept where no step ranks held-out queries better.
pub(crate) const BEFORE_TRAINING: &str = "the model before the first step";

/// What choosing among weights needs of an objective, whatever its steps want.
trait ObjectiveWeights {
    fn weights(&mut self) -> &mut Parameters;
    fn measure(&mut self) -> Result<Option<f64>, TrainError>;
}

impl<More> ObjectiveWeights for &mut dyn Objective<More> {
    fn weights(&mut self) -> &mut Parameters {
        self.parameters()
    }

    fn measure(&mut self) -> Result<Option<f64>, TrainError> {
        self.evaluate()
    }
}

/// A mean of weights with one more in it.
fn add_to_mean(mean: Option<Vec<Tensor>>, count: usize, parameters: &Parameters) -> Result<Vec<Tensor>, TrainError> {
    let Some(mut mean) = mean else { return parameters.snapshot() };
    for (mean, weight) in mean.iter_mut().zip(parameters.tensors()) {
        let weight = weight.f_detach()?.f_to_device(mean.device())?;
        let step = weight.f_sub(mean)?.f_div_scalar(count as f64 + 1.0)?;
        let _ = mean.f_add_(&step)?;
    }
    Ok(mean)
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
    /// What was kept, in words: that step, an average, or a mixture with the start.
    #[serde(default)]
    pub kept_weights: String,
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
        let passed = |s: usize| s * per_epoch / self.steps_per_epoch.max(1);
        steps == self.total() || passed(steps) > passed(steps - 1)
    }

    /// Whether the last evaluations brought nothing better.
    fn is_exhausted(&self, position: &Position) -> bool {
        let best = position.best.map_or(0, |(step, _)| step);
        let since = position.evaluations.iter().rev().take_while(|(step, _)| *step > best).count();
        self.config.patience > 0 && since >= self.config.patience
    }

    /// Leaves in the parameters what ranks held-out queries best: the best step, the average of the last ones, or one of the two mixed
    /// with the start. Gives what that is, in words.
    fn choose(
        &self,
        objective: &mut dyn ObjectiveWeights,
        position: &Position,
        carried: Carried,
        start: Option<Vec<Tensor>>,
    ) -> Result<String, TrainError> {
        let Some((step, mut value)) = position.best else {
            // Nothing was measured: the average of the last steps is the safer one, where it was asked for.
            return match carried.average {
                Some(average) => {
                    objective.weights().restore(&average)?;
                    Ok(format!("the average of the last {} steps", position.averaged))
                }
                None => Ok(format!("step {}", position.step)),
            };
        };
        let mut kept = if step == 0 { BEFORE_TRAINING.to_owned() } else { format!("step {step}") };
        let Some(mut best) = carried.best else { return Ok(kept) };
        let mut is_average = false;
        let mut attempt = |weights: Vec<Tensor>, value: &mut f64, best: &mut Vec<Tensor>| -> Result<bool, TrainError> {
            objective.weights().restore(&weights)?;
            let Some(found) = objective.measure()? else { return Ok(false) };
            let is_better = found > *value;
            if is_better {
                (*value, *best) = (found, weights);
            }
            Ok(is_better)
        };
        if let Some(average) = carried.average
            && attempt(average, &mut value, &mut best)?
        {
            kept = format!("the average of the last {} steps", position.averaged);
            is_average = true;
        }
        if let Some(start) = start
            && (step > 0 || is_average)
        {
            let trained: Vec<Tensor> = best.iter().map(Tensor::copy).collect();
            let of_trained = kept.clone();
            for share in [0.75, 0.5] {
                let mixed = start
                    .iter()
                    .zip(&trained)
                    .map(|(a, b)| Ok(a.f_mul_scalar(1.0 - share)?.f_add(&b.f_mul_scalar(share)?)?))
                    .collect::<Result<Vec<_>, TrainError>>()?;
                if attempt(mixed, &mut value, &mut best)? {
                    kept = format!("{share} of {of_trained} and {} of the start", 1.0 - share);
                }
            }
        }
        objective.weights().restore(&best)?;
        if value > position.best.map_or(value, |(_, known)| known) {
            self.reporter.say(&format!("{}: development nDCG@10 {value:.4} by {kept}", self.stage));
        }
        Ok(kept)
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
        let mut carried = Carried::default();
        // Before a checkpoint puts other weights in their place.
        let start = if self.config.mix_start { Some(objective.parameters().snapshot()?) } else { None };
        let mut position = Position { configuration: self.configuration.clone(), ..Position::default() };
        let found = checkpoints.load(&self.configuration, objective.parameters(), &mut optimiser)?;
        let mut metrics = Metrics::open(self.run, self.stage, found.is_some())?;
        if let Some((found, weights)) = found {
            self.reporter.say(&format!("{}: goes on from step {} of {total}", self.stage, found.step));
            (position, carried) = (found, weights);
        } else if self.judge_start
            && total > 0
            && let Some(value) = objective.evaluate()?
        {
            position.evaluations.push((0, value));
            position.best = Some((0, value));
            carried.best = Some(objective.parameters().snapshot()?);
            metrics.write(0, &[("dev_ndcg@10", value)])?;
            self.reporter.say(&format!("{}: step 0: development nDCG@10 {value:.4}", self.stage));
        }
        let bound = MemoryBound::new(self.stage, self.reporter, position.batch_cap.unwrap_or(usize::MAX));
        let first = position.step;
        let state = State { checkpoints, optimiser, metrics, carried, start, position };
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(AHEAD);
            let cap = &bound;
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
            self.steps(objective, state, &bound, receiver)
        })
    }

    /// The loop itself, over data that comes ready.
    fn steps<More>(
        &self,
        objective: &mut dyn Objective<More>,
        state: State,
        bound: &MemoryBound<'_>,
        data: Receiver<Result<Prepared<More>, TrainError>>,
    ) -> Result<TrainingOutcome, TrainError> {
        let total = self.total();
        let State { checkpoints, mut optimiser, metrics, mut carried, start, mut position } = state;
        let mut log = StepLog::new(self.stage, metrics, self.reporter.bar(self.stage, total, position.step));
        let before = position.seconds;
        let loop_began = Instant::now();
        let mut saved = Instant::now();
        let first = position.step;
        let averages_from = total - ((self.config.average * total as f64).round() as usize).min(total);
        while position.step < total && !self.is_exhausted(&position) {
            let (step, began) = (position.step, Instant::now());
            let Prepared { queries, work, more } = data.recv().unwrap_or_else(|_| {
                Err(TrainError::internal("the thread that makes batches has ended; its message is above"))
            })?;
            let flops: f64 = work.lengths().map(|n| 3.0 * n as f64 * objective.flops_per_token(n)).sum();
            let StepReport { loss, tokens, padded, values } = objective.step(step, work, more, bound)?;
            let learning_rate = rate(self.config, step, total);
            let (tensors, decays) = objective.parameters().for_update();
            let gradient_norm = optimiser.step(tensors, decays, learning_rate)?;
            position.step += 1;
            if position.step > averages_from {
                carried.average = Some(add_to_mean(carried.average.take(), position.averaged, objective.parameters())?);
                position.averaged += 1;
            }
            position.tokens += tokens as u64;
            position.batch_cap = Some(bound.cap()).filter(|&cap| cap < usize::MAX);
            let step = position.step;
            log.tell(StepRecord {
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
                position.evaluations.push((step, value));
                log.metrics.write(step, &[("dev_ndcg@10", value)])?;
                self.reporter.say(&format!("{}: step {step}: development nDCG@10 {value:.4}", self.stage));
                if position.best.is_none_or(|(_, known)| value > known) {
                    position.best = Some((step, value));
                    carried.best = Some(objective.parameters().snapshot()?);
                }
            }
            position.seconds = before + loop_began.elapsed().as_secs_f64();
            let stopped = self.stop.load(Ordering::Relaxed);
            let saves = step < total && (stopped || saved.elapsed().as_secs_f64() > self.checkpoint_minutes * 60.0);
            if saves {
                checkpoints.save(position.clone(), objective.parameters(), &optimiser, &carried)?;
                saved = Instant::now();
            }
            if step < total && stopped {
                self.reporter
                    .say(&format!("{}: stopped after step {step} of {total}; a checkpoint is written", self.stage));
                return Err(TrainError::Interrupted);
            }
        }
        let (mut metrics, clock) = log.end();
        if position.step < total {
            self.reporter.say(&format!(
                "{}: ends after step {} of {total}: {} evaluations without a better one",
                self.stage, position.step, self.config.patience
            ));
        }
        let mut objective = objective;
        let kept = self.choose(&mut objective, &position, carried, start)?;
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
            steps: position.step,
            kept: position.best.map_or(position.step, |(step, _)| step),
            kept_weights: kept,
            evaluations: position.evaluations,
            tokens: position.tokens,
            seconds: position.seconds,
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
    carried: Carried,
    /// The weights before the first step, where the outcome may be mixed with them.
    start: Option<Vec<Tensor>>,
    position: Position,
}

/// The queries of steps: each epoch visits all in an order that is drawn once.
pub(crate) struct StepQueries {
    seed: u64,
    queries: usize,
    per_step: usize,
    /// The epoch last asked for, and its order.
    known: Option<(u32, Vec<usize>)>,
}

impl StepQueries {
    pub(crate) fn new(seed: u64, queries: usize, per_step: usize) -> Self {
        Self { seed, queries, per_step: per_step.max(1), known: None }
    }

    /// The epoch of a step, and its queries.
    pub(crate) fn of(&mut self, step: usize) -> (u32, &[usize]) {
        let steps = self.queries.div_ceil(self.per_step).max(1);
        let (epoch, position) = ((step / steps) as u32, step % steps);
        let (seed, queries) = (self.seed, self.queries);
        let draw = || {
            let mut order: Vec<usize> = (0..queries).collect();
            KeyedRandom::new("order", seed, &[&u64::from(epoch).to_le_bytes()]).shuffle(&mut order);
            (epoch, order)
        };
        if self.known.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.known = Some(draw());
        }
        let order = self.known.as_ref().map_or(&[][..], |(_, order)| order);
        let start = position * self.per_step;
        (epoch, &order[start.min(queries)..(start + self.per_step).min(queries)])
    }
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
        let mut steps = StepQueries::new(3, 10, 3);
        let mut seen: Vec<usize> = (0..4).flat_map(|s| steps.of(s).1.to_vec()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_eq!(steps.of(4).0, 1);
        let mut whole = StepQueries::new(3, 100, 100);
        let first = whole.of(0).1.to_vec();
        assert_ne!(first, whole.of(1).1);
        // Whoever begins later sees the same.
        assert_eq!(StepQueries::new(3, 10, 3).of(2), steps.of(2));
    }
}
