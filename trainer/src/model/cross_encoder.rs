//! The teacher: an encoder over `[CLS] query [SEP] passage [SEP]`, pooled, and one linear layer that gives a logit.

use super::encoder::{Encoder, Mode};
use super::folder::{ModelTokenizer, copy_model_files};
use super::input::{Input, Sequence};
use super::pooling::Pooling;
use crate::adam::random::KeyedRandom;
use crate::data::batches::BatchLimits;
use crate::error::TrainError;
use crate::torch::Machine;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Names of the head's tensors.
const WEIGHT: &str = "classifier.weight";
const BIAS: &str = "classifier.bias";

/// The file that says what sits on the encoder.
const HEAD_FILE: &str = "teacher.json";

/// What [`HEAD_FILE`] holds.
#[derive(Debug, Serialize, Deserialize)]
struct HeadFile {
    format: u32,
    pooling: Pooling,
}

/// A cross-encoder.
#[derive(Debug)]
pub struct CrossEncoder {
    /// The encoder with its parameters and the head's.
    pub encoder: Encoder,
    /// Its tokenizer.
    pub tokens: ModelTokenizer,
    /// How token vectors become one.
    pub pooling: Pooling,
    folder: PathBuf,
}

impl CrossEncoder {
    /// Reads a folder. One that this type has written comes with its head; any other encoder gets a fresh one, small random
    /// numbers that depend on `seed`.
    ///
    /// # Errors
    /// When the folder is broken or asks for what is not supported.
    pub fn open(folder: &Path, pooling: Pooling, machine: Machine, seed: u64) -> Result<Self, TrainError> {
        let mut encoder = Encoder::open(folder, machine)?;
        let tokens = ModelTokenizer::open(folder)?;
        let path = folder.join(HEAD_FILE);
        let hidden = encoder.hidden() as i64;
        let (pooling, weight, bias) = if path.is_file() {
            let text = std::fs::read(&path).map_err(|e| TrainError::io(&path, e))?;
            let head: HeadFile = serde_json::from_slice(&text).map_err(|e| TrainError::data(&path, e.to_string()))?;
            if head.format != 1 {
                return Err(TrainError::data(
                    &path,
                    format!("format {}, and this program reads format 1", head.format),
                ));
            }
            let part = |name: &str, shape: &[i64]| -> Result<Tensor, TrainError> {
                encoder
                    .parameters
                    .carried(name)
                    .filter(|t| t.size() == shape)
                    .map(Tensor::shallow_clone)
                    .ok_or_else(|| TrainError::data(folder, format!("the tensor `{name}` is missing or not {shape:?}")))
            };
            (head.pooling, part(WEIGHT, &[1, hidden])?, part(BIAS, &[1])?)
        } else {
            let mut random = KeyedRandom::new("teacher-head", seed, &[]);
            let spread = 1.0 / (hidden as f64).sqrt();
            let values: Vec<f32> = (0..hidden).map(|_| random.uniform(-spread, spread) as f32).collect();
            let weight = Tensor::f_from_slice(&values)?.f_view([1, hidden])?;
            (pooling, weight, Tensor::f_zeros([1], (Kind::Float, tch::Device::Cpu))?)
        };
        encoder.parameters.add(WEIGHT, &weight, machine.device)?;
        encoder.parameters.add(BIAS, &bias, machine.device)?;
        Ok(Self { encoder, tokens, pooling, folder: folder.to_owned() })
    }

    /// Refuses a folder that this type has not written: without its head an encoder would score by chance.
    ///
    /// # Errors
    /// With the file that is missing.
    pub fn check_trained(folder: &Path) -> Result<(), TrainError> {
        for name in [HEAD_FILE, "config.json", "tokenizer.json", "model.safetensors"] {
            let path = folder.join(name);
            if !path.is_file() {
                return Err(TrainError::data(
                    &path,
                    "is missing: `teacher.kind = \"trained\"` takes a folder that the teacher stage of a run wrote \
                     (DIR/teacher); export another cross-encoder to ONNX and use `kind = \"onnx\"`",
                ));
            }
        }
        Ok(())
    }

    /// Raw logits of one batch, `[batch]` in f32.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn logits(&self, input: &Input, mode: Mode) -> Result<Tensor, TrainError> {
        let tokens = self.encoder.forward(input, mode)?;
        let mut rows = self.pooling.pool_batch(&tokens, input)?;
        if mode.dropout > 0.0 {
            rows = rows.f_dropout(mode.dropout, true)?;
        }
        let parameters = &self.encoder.parameters;
        Ok(rows.f_linear(parameters.get(WEIGHT)?, Some(parameters.get(BIAS)?))?.f_squeeze_dim(-1)?)
    }

    /// Raw logits of any number of pairs, without gradients, in the order given.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn score_all(
        &self,
        sequences: &[Sequence<'_>],
        limits: &BatchLimits,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, TrainError> {
        let lengths: Vec<usize> = sequences.iter().map(Sequence::len).collect();
        let mut scores = vec![0f32; sequences.len()];
        let layout = self.encoder.layout();
        for batch in layout.batches(&lengths, limits) {
            let members: Vec<&Sequence<'_>> = batch.texts.iter().map(|&i| &sequences[i]).collect();
            let input = layout.input(&members)?.to_device(layout.device)?;
            let logits = tch::no_grad(|| self.logits(&input, self.encoder.inference()))?;
            let logits: Vec<f32> = Vec::try_from(logits.f_to_device(tch::Device::Cpu)?)?;
            for (&place, logit) in batch.texts.iter().zip(logits) {
                scores[place] = logit;
            }
            progress(batch.texts.len());
        }
        Ok(scores)
    }

    /// Writes a folder that [`CrossEncoder::open`] reads.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        copy_model_files(&self.folder, folder)?;
        // The base's sentence-transformers files would say that this is a sentence encoder.
        for name in ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"] {
            let path = folder.join(name);
            if path.is_file() {
                std::fs::remove_file(&path).map_err(|e| TrainError::io(&path, e))?;
            }
        }
        let head = HeadFile { format: 1, pooling: self.pooling };
        let text = serde_json::to_vec_pretty(&head).map_err(|e| TrainError::internal(e.to_string()))?;
        crate::files::write_whole(&folder.join(HEAD_FILE), &text)?;
        self.encoder.parameters.write(&folder.join("model.safetensors"))
    }
}
