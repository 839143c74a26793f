//! Logs each step after its work has been queued on the device.

use super::training::Values;
use crate::error::TrainError;
use crate::report::{Bar, Metrics};
use crate::torch::Later;
use std::time::Instant;

/// A step that the device may still be at work on.
pub(crate) struct StepRecord {
    /// Its number, counted from 1.
    pub(crate) step: usize,
    pub(crate) began: Instant,
    /// The ids of its queries, for messages.
    pub(crate) queries: Vec<String>,
    pub(crate) loss: Later,
    pub(crate) gradient_norm: Later,
    pub(crate) learning_rate: f64,
    /// Tokens without padding.
    pub(crate) tokens: usize,
    /// Tokens with padding.
    pub(crate) padded: usize,
    /// Floating-point operations of the model.
    pub(crate) flops: f64,
    /// Reads more values.
    pub(crate) values: Box<dyn FnOnce() -> Result<Values, TrainError>>,
}

/// The metrics, the progress bar and the time of steps.
pub(crate) struct StepLog {
    stage: &'static str,
    pub(crate) metrics: Metrics,
    bar: Bar,
    smooth: Option<f64>,
    clock: Clock,
}

impl StepLog {
    pub(crate) fn new(stage: &'static str, metrics: Metrics, bar: Bar) -> Self {
        Self { stage, metrics, bar, smooth: None, clock: Clock::default() }
    }

    /// Takes the bar away; gives what is left.
    pub(crate) fn end(self) -> (Metrics, Clock) {
        (self.metrics, self.clock)
    }

    /// Waits for a step and logs it.
    ///
    /// # Errors
    /// [`TrainError::NotANumber`] where its loss or its gradients are none; whatever the device or the disk says.
    pub(crate) fn tell(&mut self, step: StepRecord) -> Result<(), TrainError> {
        let (loss, norm) = (step.loss.read()?, step.gradient_norm.read()?);
        if !(loss.is_finite() && norm.is_finite()) {
            // The weights are NaN by now as well; they are not saved.
            let queries = step.queries.join(", ");
            return Err(TrainError::NotANumber { stage: self.stage, step: step.step, queries });
        }
        let more = (step.values)()?;
        let took = step.began.elapsed().as_secs_f64();
        self.clock.add(step.tokens, step.flops, took);
        let speed = self.clock.tokens_per_second();
        let smooth = self.smooth.map_or(loss, |s| 0.9 * s + 0.1 * loss);
        self.smooth = Some(smooth);
        let mut values = vec![
            ("loss", loss),
            ("learning_rate", step.learning_rate),
            ("gradient_norm", norm),
            ("tokens_per_second", speed),
            ("padding", 1.0 - step.tokens as f64 / step.padded.max(1) as f64),
            ("tokens", step.tokens as f64),
            ("flops", step.flops),
            ("seconds", took),
        ];
        values.extend(more);
        self.metrics.write(step.step, &values)?;
        self.bar.message(format!("loss {smooth:.4}  {speed:.0} tokens/s"));
        self.bar.set(step.step);
        Ok(())
    }
}

/// Work done and the time of steps, apart from evaluations and checkpoints.
#[derive(Default)]
pub(crate) struct Clock {
    tokens: u64,
    flops: f64,
    seconds: f64,
}

impl Clock {
    fn add(&mut self, tokens: usize, flops: f64, seconds: f64) {
        self.tokens += tokens as u64;
        self.flops += flops;
        self.seconds += seconds;
    }

    pub(crate) fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }

    pub(crate) fn teraflops(&self) -> f64 {
        self.flops / self.seconds.max(1e-9) / 1e12
    }

    pub(crate) fn speed(&self) -> String {
        let teraflops = self.teraflops();
        if teraflops < 1.0 { format!("{:.1} GFLOP/s", 1e3 * teraflops) } else { format!("{teraflops:.1} TFLOP/s") }
    }
}
