//! AdamW with decoupled weight decay, bias correction and clipping by the global norm.
//!
//! On the CPU one pass over memory a parameter does all of a step, in parallel and elementwise, so the outcome does not depend
//! on the number of threads; elsewhere a few tensor operations do the same.

use super::slices;
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
                let square = match slices::values(&gradient) {
                    // Sums of chunks of a fixed size in a fixed order: the same for any number of threads.
                    Some(values) => values
                        .par_chunks(CHUNK)
                        .map(|chunk| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>())
                        .collect::<Vec<_>>()
                        .into_iter()
                        .sum(),
                    None => f64::try_from(gradient.f_to_kind(Kind::Float)?.f_square()?.f_sum(Kind::Double)?)?,
                };
                sum += square;
            }
        }
        Ok(sum.sqrt())
    }

    /// One step at a learning rate, with the gradients the parameters hold; they are zeroed. `decays` says which parameters
    /// weight decay applies to. Gives the gradient's length before clipping.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn step(&mut self, parameters: &mut [Tensor], decays: &[bool], rate: f64) -> Result<f64, TrainError> {
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
            // The step is no part of the graph.
            tch::no_grad(|| update.apply(parameter, &gradient, moments))?;
            parameter.zero_grad();
        }
        Ok(norm)
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
    fn apply(
        &self,
        parameter: &mut Tensor,
        gradient: &Tensor,
        moments: &mut (Tensor, Tensor),
    ) -> Result<(), TrainError> {
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
            return Ok(());
        }
        let gradient = gradient.f_to_kind(Kind::Float)?.f_mul_scalar(f64::from(self.factor))?;
        let _ =
            mean.f_mul_scalar_(f64::from(self.beta1))?.f_add_(&gradient.f_mul_scalar(f64::from(1.0 - self.beta1))?)?;
        let _ = square
            .f_mul_scalar_(f64::from(self.beta2))?
            .f_add_(&gradient.f_square()?.f_mul_scalar(f64::from(1.0 - self.beta2))?)?;
        let divisor = square.f_sqrt()?.f_mul_scalar(f64::from(self.root))?.f_add_scalar(f64::from(self.epsilon))?;
        let change = mean.f_div(&divisor)?.f_mul_scalar(f64::from(self.size))?;
        let _ = parameter.f_mul_scalar_(f64::from(self.keep))?.f_sub_(&change)?;
        Ok(())
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

    #[test]
    fn both_ways_agree_with_the_formula() {
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
        // A tensor that is not contiguous goes the other way.
        let update = Update { factor: 1.0, beta1: 0.9, beta2: 0.999, size: 0.1, root: 31.6, epsilon: 1e-8, keep: 0.99 };
        let start = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).view([2, 3]);
        let gradient = Tensor::from_slice(&[0.1f32, -0.2, 0.3, 0.4, 0.5, -0.6]).view([2, 3]);
        let zero = || start.zeros_like();
        let mut straight = start.copy();
        update.apply(&mut straight, &gradient, &mut (zero(), zero())).unwrap();
        let mut turned = start.transpose(0, 1).contiguous().transpose(0, 1);
        update.apply(&mut turned, &gradient, &mut (zero(), zero())).unwrap();
        assert!((straight - turned).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn long_gradients_are_cut() {
        let mut parameter = vec![Tensor::from_slice(&[3f32, 4.0]).set_requires_grad(true)];
        let mut optimiser = AdamW::new(AdamWConfig::default(), &parameter);
        (parameter[0].square().sum(Kind::Float) * 0.5).backward();
        let norm = optimiser.step(&mut parameter, &[false], 0.0).unwrap();
        assert!((norm - 5.0).abs() < 1e-6);
        let mean: Vec<f32> = Vec::try_from(&optimiser.moments[0].0).unwrap();
        assert!((mean[0] - 0.06).abs() < 1e-6 && (mean[1] - 0.08).abs() < 1e-6);
    }
}
