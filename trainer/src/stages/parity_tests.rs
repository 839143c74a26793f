//! Three training steps against PyTorch and transformers, with the values that `tests/parity/make.py` stored.

use super::gradient::{Group, Pass, Work};
use super::training::rate;
use crate::adam::loss::{Distillation, ListScope, LossConfig, StepTargets, contrastive, flags, listwise, step_loss};
use crate::config::TrainingConfig;
use crate::data::batches::BatchLimits;
use crate::model::{CrossEncoder, Layout, Mode, Parameters, Pooling, Sequence, Student, read_tensors};
use crate::torch::{AdamW, AdamWConfig, Budget, Machine};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

fn stored(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name)
}

#[derive(Deserialize)]
struct Settings {
    learning_rate: f64,
    warm_up: f64,
    steps: usize,
    total: usize,
    clip: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
}

#[derive(Deserialize)]
struct Weights {
    contrastive: f64,
    distillation: f64,
    scale: f64,
    teacher_temperature: f64,
    student_temperature: f64,
}

#[derive(Deserialize)]
struct StoredStep {
    loss: f64,
    gradient_norm: f64,
    rate: f64,
}

#[derive(Deserialize)]
struct Stored {
    settings: Settings,
    loss: Weights,
    queries: Vec<Vec<u32>>,
    passages: Vec<Vec<u32>>,
    candidates: Vec<Vec<i64>>,
    present: Vec<Vec<u8>>,
    natural: Vec<Vec<u8>>,
    teacher: Vec<Vec<f32>>,
    allowed: Vec<Vec<u8>>,
    contrastive: Vec<f32>,
    natural_share: Vec<f32>,
    dark_share: Vec<f32>,
    cases: BTreeMap<String, Vec<StoredStep>>,
}

fn read() -> Stored {
    serde_json::from_slice(&std::fs::read(stored("steps.json")).unwrap()).unwrap()
}

fn mask(rows: &[Vec<u8>]) -> Tensor {
    flags(&rows.iter().map(|row| row.iter().map(|&x| x == 1).collect()).collect::<Vec<_>>()).unwrap()
}

fn single(ids: &[u32]) -> Sequence<'static> {
    Sequence { second: ids.len(), ids: Cow::Owned(ids.to_vec()) }
}

impl Stored {
    fn targets(&self) -> StepTargets {
        let shape = [self.candidates.len() as i64, self.candidates[0].len() as i64];
        StepTargets {
            candidates: Tensor::from_slice(&self.candidates.concat()).view(shape),
            present: mask(&self.present),
            natural: mask(&self.natural),
            teacher: Tensor::from_slice(&self.teacher.concat()).view(shape),
            allowed: mask(&self.allowed),
            contrastive: Tensor::from_slice(&self.contrastive),
            natural_share: Tensor::from_slice(&self.natural_share),
            dark_share: Tensor::from_slice(&self.dark_share),
        }
    }

    fn loss(&self, kind: Distillation) -> LossConfig {
        LossConfig {
            kind,
            contrastive: self.loss.contrastive,
            distillation: self.loss.distillation,
            scale: self.loss.scale,
            teacher_temperature: self.loss.teacher_temperature,
            student_temperature: self.loss.student_temperature,
            in_batch: true,
            list: ListScope::Own,
        }
    }

    /// Queries and passages, batched as training batches them.
    fn work(&self, packed: bool) -> Work {
        let limits = BatchLimits { max_tokens: 64, max_texts: 4, max_padding: 0.3 };
        let groups = [&self.queries, &self.passages]
            .into_iter()
            .map(|texts| Group { sequences: texts.iter().map(|ids| single(ids)).collect(), limits })
            .collect();
        Work::new(groups, layout(packed), usize::MAX).unwrap()
    }

    /// Makes the steps of a case and compares each, and the weights at the end. `most_tokens` decides between one pass and two.
    fn check(
        &self,
        name: &str,
        parameters: fn(&mut dyn Model) -> &mut Parameters,
        model: &mut dyn Model,
        step: &dyn Fn(&dyn Model) -> f64,
    ) {
        let s = &self.settings;
        let training =
            TrainingConfig { learning_rate: s.learning_rate, warm_up: s.warm_up, ..TrainingConfig::default() };
        let config = AdamWConfig {
            beta1: s.beta1,
            beta2: s.beta2,
            epsilon: s.epsilon,
            weight_decay: s.weight_decay,
            clip: s.clip,
        };
        let mut optimiser = AdamW::new(config, parameters(model).tensors());
        let steps = &self.cases[name];
        assert_eq!(steps.len(), s.steps);
        for (number, expected) in steps.iter().enumerate() {
            let loss = step(model);
            let rate = rate(&training, number, s.total);
            let (tensors, decays) = parameters(model).for_update();
            let norm = optimiser.step(tensors, decays, rate).unwrap().read().unwrap();
            let near = |what: &str, found: f64, stored: f64| {
                assert!(
                    (found - stored).abs() < 1e-4 * stored.abs().max(1.0),
                    "{name}, step {number}: {what} {found}, PyTorch's {stored}"
                );
            };
            near("loss", loss, expected.loss);
            near("gradient norm", norm, expected.gradient_norm);
            assert!((rate - expected.rate).abs() < 1e-12, "{name}: rate {rate}, PyTorch's {}", expected.rate);
        }
        if !stored(&format!("after-{name}.safetensors")).is_file() {
            return;
        }
        let before = read_tensors(&stored("bert/model.safetensors")).unwrap();
        let after = read_tensors(&stored(&format!("after-{name}.safetensors"))).unwrap();
        let (mut worst, mut moved) = (0f64, 0f64);
        let found = parameters(model);
        for (tensor_name, expected) in &after {
            let ours = found.get(tensor_name).unwrap();
            let difference = (ours - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-4, "{name}: {tensor_name} differs by {difference}");
            worst = worst.max(difference);
            moved = moved.max((&before[tensor_name] - expected).abs().max().double_value(&[]));
        }
        assert_eq!(after.len(), found.names().len(), "{name}: tensors trained");
        // The comparison means something only where weights moved by far more than the tolerance.
        assert!(moved > 3e-3, "{name}: weights moved by {moved}");
        println!("{name}: weights moved by {moved:.1e}, differ by {worst:.1e}");
    }
}

trait Model {
    fn student(&self) -> Option<&Student> {
        None
    }
    fn teacher(&self) -> Option<&CrossEncoder> {
        None
    }
    fn parameters(&mut self) -> &mut Parameters;
}

impl Model for Student {
    fn student(&self) -> Option<&Student> {
        Some(self)
    }
    fn parameters(&mut self) -> &mut Parameters {
        &mut self.encoder.parameters
    }
}

impl Model for CrossEncoder {
    fn teacher(&self) -> Option<&CrossEncoder> {
        Some(self)
    }
    fn parameters(&mut self) -> &mut Parameters {
        &mut self.encoder.parameters
    }
}

fn pass(most_tokens: usize) -> Pass {
    Pass { mode: Mode { compute: Kind::Float, dropout: 0.0 }, most_tokens, seed: 1, budget: Budget::default() }
}

fn layout(packed: bool) -> Layout {
    Layout { pad: 0, packed, device: Device::Cpu }
}

fn student() -> Student {
    Student::open(&stored("bert"), Machine::CPU).unwrap()
}

/// In one pass, and in two with cached gradients, padded and packed: all must be PyTorch's.
const ALL: [(usize, bool); 4] = [(usize::MAX, false), (0, false), (usize::MAX, true), (0, true)];

#[test]
fn distillation_steps_are_those_of_pytorch() {
    let stored = read();
    for (name, kind) in [("kl", Distillation::Kl), ("margin-mse", Distillation::MarginMse)] {
        for (most_tokens, packed) in ALL {
            let (targets, config, work) = (stored.targets(), stored.loss(kind), stored.work(packed));
            stored.check(name, |m| m.parameters(), &mut student(), &|model| {
                let student = model.student().unwrap();
                let forward = |input: &_, mode| student.embed(input, mode);
                let computed = pass(most_tokens).run(&work, &forward, &mut |rows| {
                    let similarities = rows[0].matmul(&rows[1].transpose(0, 1));
                    Ok(step_loss(&similarities, &targets, &config)?.total)
                });
                computed.unwrap().loss.read().unwrap()
            });
        }
    }
}

#[test]
fn warm_up_steps_are_those_of_pytorch() {
    let stored = read();
    let allowed = mask(&stored.allowed);
    let positives: Vec<i64> = stored.candidates.iter().map(|row| row[0]).collect();
    let positives = Tensor::from_slice(&positives);
    for (most_tokens, packed) in ALL {
        let work = stored.work(packed);
        stored.check("warm-up", |m| m.parameters(), &mut student(), &|model| {
            let student = model.student().unwrap();
            let forward = |input: &_, mode| student.embed(input, mode);
            let computed = pass(most_tokens).run(&work, &forward, &mut |rows| {
                let scores = rows[0].matmul(&rows[1].transpose(0, 1)) * stored.loss.scale;
                Ok(contrastive(&scores, &allowed, &positives)?.mean(Kind::Float))
            });
            computed.unwrap().loss.read().unwrap()
        });
    }
}

#[test]
fn teacher_steps_are_those_of_pytorch() {
    let stored = read();
    let present = mask(&stored.present);
    let content = |ids: &[u32]| ids[1..ids.len() - 1].to_vec();
    for (most_tokens, packed) in ALL {
        let mut teacher = CrossEncoder::open(&self::stored("bert"), Pooling::Cls, Machine::CPU, 1).unwrap();
        assert_eq!(teacher.pooling, Pooling::Mean, "the folder's own head says how it pools");
        let mut sequences = Vec::new();
        for (query, row) in stored.queries.iter().zip(&stored.candidates) {
            for &passage in row {
                let passage = content(&stored.passages[passage as usize]);
                sequences.push(teacher.tokens.pair(&content(query), &passage, 32, 40));
            }
        }
        let limits = BatchLimits { max_tokens: 128, max_texts: 4, max_padding: 0.3 };
        let work = Work::new(vec![Group { sequences, limits }], layout(packed), usize::MAX).unwrap();
        stored.check("teacher", |m| m.parameters(), &mut teacher, &|model| {
            let teacher = model.teacher().unwrap();
            let forward = |input: &_, mode| teacher.logits(input, mode);
            let computed = pass(most_tokens)
                .run(&work, &forward, &mut |rows| Ok(listwise(&rows[0].view([3, 4]), &present)?.mean(Kind::Float)));
            computed.unwrap().loss.read().unwrap()
        });
    }
}
