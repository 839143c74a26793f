//! AdamW with decoupled weight decay, bias correction and clipping by the global norm.
//!
//! On the CPU one pass over memory a parameter does all of a step, in parallel and elementwise, so the outcome does not depend
//! on the number of threads; elsewhere libtorch's fused kernel does it for all parameters in a few launches, and the gradient's
//! length stays on the device until somebody asks for it.

use super::{Later, shim, slices};
use crate::error::TrainError;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second.
    pub epsilon: f64,
    /// Shrinks weights (not biases and norms) by this times the learning rate.
    pub weight_decay: f64,
    /// Longest gradient over all parameters together; longer ones are scaled down. 0 is off.
    pub clip: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, clip: 1.0 }
    }
}

/// The optimiser's state: two moments a parameter and the number of steps made.
#[derive(Debug)]
pub struct AdamW {
    /// Settings.
    pub config: AdamWConfig,
    /// Steps made.
    pub steps: u64,
    /// First and second moment of each parameter, in the parameters' order.
    pub moments: Vec<(Tensor, Tensor)>,
}

/// Elements handled at a time: half of a usual L2 cache for four streams.
const CHUNK: usize = 1 << 15;

impl AdamW {
    /// A fresh state for these parameters.
    pub fn new(config: AdamWConfig, parameters: &[Tensor]) -> Self {
        let moments = parameters.iter().map(|p| (p.detach().zeros_like(), p.detach().zeros_like())).collect();
        Self { config, steps: 0, moments }
    }

    /// The length of all gradients together, f64.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn gradient_norm(parameters: &[Tensor]) -> Result<f64, TrainError> {
        let mut sum = 0.0;
        for parameter in parameters {
            let gradient = parameter.f_grad()?;
            if gradient.defined() {
                let Some(values) = slices::values(&gradient) else {
                    return Ok(f64::try_from(shim::gradient_norm(parameters)?)?);
                };
                // Sums of chunks of a fixed size in a fixed order: the same for any number of threads.
                let squares: Vec<f64> = values
                    .par_chunks(CHUNK)
                    .map(|chunk| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>())
                    .collect();
                sum += squares.into_iter().sum::<f64>();
            }
        }
        Ok(sum.sqrt())
    }

    /// One step at a learning rate, with the gradients the parameters hold; they are taken away. `decays` says which parameters
    /// weight decay applies to. Gives the gradient's length before clipping. On a GPU the host waits for nothing.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn step(&mut self, parameters: &mut [Tensor], decays: &[bool], rate: f64) -> Result<Later, TrainError> {
        let plain = |t: &Tensor| slices::values(t).is_some();
        let here = parameters.iter().zip(&self.moments).all(|(p, (m, v))| {
            let gradient = p.grad();
            !gradient.defined() || (plain(p) && plain(&gradient) && plain(m) && plain(v))
        });
        let norm = if here {
            self.step_in_slices(parameters, decays, rate)?
        } else {
            self.step_fused(parameters, decays, rate)?
        };
        shim::clear_gradients(parameters)?;
        Ok(norm)
    }

    fn step_in_slices(&mut self, parameters: &mut [Tensor], decays: &[bool], rate: f64) -> Result<Later, TrainError> {
        let norm = Self::gradient_norm(parameters)?;
        let clip = self.config.clip;
        let factor = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        self.steps += 1;
        let steps = self.steps.min(1 << 30) as i32;
        let correction1 = 1.0 - self.config.beta1.powi(steps);
        let correction2 = 1.0 - self.config.beta2.powi(steps);
        for ((parameter, moments), &decay) in parameters.iter_mut().zip(&mut self.moments).zip(decays) {
            let gradient = parameter.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let update = Update {
                factor: factor as f32,
                beta1: self.config.beta1 as f32,
                beta2: self.config.beta2 as f32,
                size: (rate / correction1) as f32,
                root: (1.0 / correction2.sqrt()) as f32,
                epsilon: self.config.epsilon as f32,
                keep: (1.0 - rate * if decay { self.config.weight_decay } else { 0.0 }) as f32,
            };
            update.apply(parameter, &gradient, moments);
        }
        Ok(norm.into())
    }

    /// As `step`, in libtorch's fused kernel, on any device.
    fn step_fused(&mut self, parameters: &mut [Tensor], decays: &[bool], rate: f64) -> Result<Later, TrainError> {
        let norm = shim::gradient_norm(parameters)?;
        let divisor = if self.config.clip > 0.0 {
            norm.f_div_scalar(self.config.clip)?.f_clamp_min(1.0)?.f_to_kind(Kind::Float)?
        } else {
            norm.f_ones_like()?.f_to_kind(Kind::Float)?
        };
        self.steps += 1;
        // f32 counts exactly up to here, where the corrections have long been 1.
        let number = Tensor::f_full([0i64; 0], self.steps.min(1 << 24) as f64, (Kind::Float, norm.device()))?;
        for kind in [true, false] {
            let mut group: Vec<&mut Tensor> = Vec::new();
            let mut state: Vec<&mut (Tensor, Tensor)> = Vec::new();
            for ((parameter, moments), &decay) in parameters.iter_mut().zip(&mut self.moments).zip(decays) {
                if decay == kind {
                    group.push(parameter);
                    state.push(moments);
                }
            }
            let numbers = shim::Numbers {
                rate,
                beta1: self.config.beta1,
                beta2: self.config.beta2,
                weight_decay: if kind { self.config.weight_decay } else { 0.0 },
                epsilon: self.config.epsilon,
            };
            shim::adamw(&group, &state, &number, &divisor, &numbers)?;
        }
        Later::new(&norm)
    }
}

/// The numbers of one step.
struct Update {
    factor: f32,
    beta1: f32,
    beta2: f32,
    size: f32,
    root: f32,
    epsilon: f32,
    keep: f32,
}

impl Update {
    /// For tensors of which [`slices::values`] gives the values.
    fn apply(&self, parameter: &mut Tensor, gradient: &Tensor, moments: &mut (Tensor, Tensor)) {
        let (mean, square) = moments;
        if let (Some(p), Some(g), Some(m), Some(v)) = (
            slices::values_mut(parameter),
            slices::values(gradient),
            slices::values_mut(mean),
            slices::values_mut(square),
        ) {
            p.par_chunks_mut(CHUNK)
                .zip(g.par_chunks(CHUNK))
                .zip(m.par_chunks_mut(CHUNK))
                .zip(v.par_chunks_mut(CHUNK))
                .for_each(|(((p, g), m), v)| self.slice(p, g, m, v));
        }
    }

    fn slice(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * self.factor;
            *m = self.beta1 * *m + (1.0 - self.beta1) * g;
            *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
            *p = *p * self.keep - self.size * *m / (v.sqrt() * self.root + self.epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_step_is_that_of_the_formula() {
        let config = AdamWConfig { weight_decay: 0.1, clip: 0.0, ..AdamWConfig::default() };
        let (mut p, mut m, mut v) = (0.5f64, 0.0f64, 0.0f64);
        let mut parameter = vec![Tensor::from_slice(&[0.5f32]).set_requires_grad(true)];
        let mut optimiser = AdamW::new(config, &parameter);
        for step in 1..=5 {
            // Loss 3 p squared.
            let loss = parameter[0].square().sum(Kind::Float) * 3.0;
            loss.backward();
            optimiser.step(&mut parameter, &[true], 0.01).unwrap();
            let g = 6.0 * p;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mh, vh) = (m / (1.0 - 0.9f64.powi(step)), v / (1.0 - 0.999f64.powi(step)));
            p = p * (1.0 - 0.01 * 0.1) - 0.01 * mh / (vh.sqrt() + 1e-8);
            assert!((parameter[0].double_value(&[0]) - p).abs() < 1e-6);
        }
    }

    /// Parameters of several shapes, and a loss that gives each a gradient of its own size at every step.
    fn model() -> Vec<Tensor> {
        [vec![3, 4], vec![5], vec![1, 70_000], vec![2, 2]]
            .into_iter()
            .enumerate()
            .map(|(at, size)| {
                let count: i64 = size.iter().product();
                let start = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * (0.37 + at as f64)).sin();
                start.view(size.as_slice()).set_requires_grad(true)
            })
            .collect()
    }

    fn backward(parameters: &[Tensor], step: i64) {
        // The last one has no gradient, as one that a batch does not use.
        for (at, parameter) in parameters.iter().enumerate().take(3) {
            (parameter.square() * (1.0 + at as f64) + parameter * step as f64).sum(Kind::Float).backward();
        }
    }

    /// The fused kernel is what runs on a GPU; it runs on the CPU as well.
    #[test]
    fn the_fused_step_is_the_step_in_slices() {
        for clip in [0.0, 1.0, 1e9] {
            let config = AdamWConfig { weight_decay: 0.1, clip, ..AdamWConfig::default() };
            let decays = [true, false, true, false];
            let (mut ours, mut fused) = (model(), model());
            let (mut slices, mut kernel) = (AdamW::new(config, &ours), AdamW::new(config, &fused));
            for step in 0..6 {
                backward(&ours, step);
                backward(&fused, step);
                let a = slices.step_in_slices(&mut ours, &decays, 0.01).unwrap().read().unwrap();
                let b = kernel.step_fused(&mut fused, &decays, 0.01).unwrap().read().unwrap();
                assert!((a - b).abs() < 1e-4 * a, "lengths {a} and {b}");
                for tensors in [&ours, &fused] {
                    shim::clear_gradients(tensors).unwrap();
                    assert!(tensors.iter().all(|t| !t.grad().defined()));
                }
            }
            for (at, (a, b)) in ours.iter().zip(&fused).enumerate() {
                let difference = (a - b).abs().max().double_value(&[]);
                assert!(difference < 2e-6, "clip {clip}, parameter {at}: {difference}");
            }
            assert!((&ours[0] - &model()[0]).abs().max().double_value(&[]) > 1e-2, "weights moved");
            assert_eq!(ours[3], model()[3], "no gradient, no change");
            assert_eq!((slices.steps, kernel.steps), (6, 6));
        }
    }

    /// Going on from stored moments and a step's number gives the very bits of going on at once.
    #[test]
    fn the_fused_step_goes_on_bit_for_bit() {
        let config = AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() };
        let decays = [true, false, true, false];
        let mut whole = model();
        let mut optimiser = AdamW::new(config, &whole);
        let mut middle = None;
        for step in 0..6 {
            if step == 3 {
                let copy = |t: &Tensor| t.detach().copy();
                let moments: Vec<_> = optimiser.moments.iter().map(|(m, v)| (copy(m), copy(v))).collect();
                let weights: Vec<_> = whole.iter().map(|t| copy(t).set_requires_grad(true)).collect();
                middle = Some((weights, AdamW { config, steps: optimiser.steps, moments }));
            }
            backward(&whole, step);
            optimiser.step_fused(&mut whole, &decays, 0.01).unwrap();
            shim::clear_gradients(&whole).unwrap();
        }
        let (mut parts, mut optimiser) = middle.unwrap();
        for step in 3..6 {
            backward(&parts, step);
            optimiser.step_fused(&mut parts, &decays, 0.01).unwrap();
            shim::clear_gradients(&parts).unwrap();
        }
        assert_eq!(whole, parts);
    }

    #[test]
    fn long_gradients_are_cut() {
        let mut parameter = vec![Tensor::from_slice(&[3f32, 4.0]).set_requires_grad(true)];
        let mut optimiser = AdamW::new(AdamWConfig::default(), &parameter);
        (parameter[0].square().sum(Kind::Float) * 0.5).backward();
        let norm = optimiser.step(&mut parameter, &[false], 0.0).unwrap().read().unwrap();
        assert!((norm - 5.0).abs() < 1e-6);
        let mean: Vec<f32> = Vec::try_from(&optimiser.moments[0].0).unwrap();
        assert!((mean[0] - 0.06).abs() < 1e-6 && (mean[1] - 0.08).abs() < 1e-6);
    }
}
