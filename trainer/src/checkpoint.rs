//! Checkpoints of a training loop.
//!
//! A checkpoint is two files: `state-STEP.safetensors` (weights, both moments, the best weights so far and the mean of the last) and
//! `state-STEP.json` (the step, what was measured, and the SHA-256 of the first). The second is written last and
//! counts; one whose first file is missing or damaged is passed over for the one before it, with a note. Random numbers need no
//! state: each is a function of seed, epoch, query and purpose.

use crate::error::TrainError;
use crate::files::{hex, write_whole};
use crate::model::Parameters;
use crate::torch::AdamW;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Where a training loop stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Format of checkpoints.
    pub format: u32,
    /// Hash of everything the loop's outcome depends on: a checkpoint of another configuration is not gone on with.
    pub configuration: String,
    /// Optimiser steps made.
    pub step: usize,
    /// Evaluations on the development queries: step and value.
    pub evaluations: Vec<(usize, f64)>,
    /// The best of them, whose weights are kept.
    pub best: Option<(usize, f64)>,
    /// Tokens seen.
    pub tokens: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Most tokens of a batch, where memory did not suffice for what the configuration says.
    #[serde(default)]
    pub batch_cap: Option<usize>,
    /// Steps whose weights are in the average.
    #[serde(default)]
    pub averaged: usize,
    /// SHA-256 of the tensor file.
    pub tensors: String,
}

/// Weights that a loop carries beside those it trains.
#[derive(Debug, Default)]
pub struct Carried {
    /// The best so far.
    pub best: Option<Vec<Tensor>>,
    /// The mean of the last steps.
    pub average: Option<Vec<Tensor>>,
}

/// A checkpoint that was put back.
pub type Found = (Position, Carried);

const FORMAT: u32 = 1;

/// The checkpoints of one loop.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Checkpoints in a folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn paths(&self, step: usize) -> (PathBuf, PathBuf) {
        (self.folder.join(format!("state-{step:08}.safetensors")), self.folder.join(format!("state-{step:08}.json")))
    }

    /// Steps with a checkpoint, newest first.
    fn steps(&self) -> Vec<usize> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut steps: Vec<usize> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("state-")?.strip_suffix(".json")?.parse().ok())
            .collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        steps
    }

    /// Writes a checkpoint and removes all but it and the one before. Those of later steps go too: they are of settings that were
    /// given up, or torn.
    ///
    /// # Errors
    /// When the disk does not take it; earlier checkpoints are kept then.
    pub fn save(
        &self,
        mut position: Position,
        parameters: &Parameters,
        optimiser: &AdamW,
        carried: &Carried,
    ) -> Result<(), TrainError> {
        let (tensor_path, json_path) = self.paths(position.step);
        let mut all: BTreeMap<String, Tensor> = BTreeMap::new();
        for (i, name) in parameters.names().iter().enumerate() {
            all.insert(format!("weight/{name}"), parameters.tensors()[i].f_detach()?);
            if parameters.tensors()[i].requires_grad() {
                all.insert(format!("mean/{name}"), optimiser.moments[i].0.shallow_clone());
                all.insert(format!("square/{name}"), optimiser.moments[i].1.shallow_clone());
            }
            for (part, weights) in [("best", &carried.best), ("average", &carried.average)] {
                if let Some(weights) = weights {
                    all.insert(format!("{part}/{name}"), weights[i].shallow_clone());
                }
            }
        }
        let borrowed: BTreeMap<&str, Tensor> = all.iter().map(|(n, t)| (n.as_str(), t.shallow_clone())).collect();
        crate::model::write_tensors(&tensor_path, &borrowed, HashMap::new())?;
        let bytes = std::fs::read(&tensor_path).map_err(|e| TrainError::io(&tensor_path, e))?;
        position.tensors = hex(&Sha256::digest(&bytes));
        position.format = FORMAT;
        let text = serde_json::to_vec_pretty(&position).map_err(|e| TrainError::internal(e.to_string()))?;
        write_whole(&json_path, &text)?;
        let (later, past): (Vec<usize>, Vec<usize>) = self.steps().into_iter().partition(|&step| step > position.step);
        for old in later.into_iter().chain(past.into_iter().skip(2)) {
            let (tensors, json) = self.paths(old);
            let _ = std::fs::remove_file(json);
            let _ = std::fs::remove_file(tensors);
        }
        Ok(())
    }

    /// Puts the newest good checkpoint of this configuration back: weights, optimiser, step; gives the weights it carries beside too.
    ///
    /// # Errors
    /// When a checkpoint that is whole does not fit the model.
    pub fn load(
        &self,
        configuration: &str,
        parameters: &mut Parameters,
        optimiser: &mut AdamW,
    ) -> Result<Option<Found>, TrainError> {
        for step in self.steps() {
            let (tensor_path, json_path) = self.paths(step);
            let position = match read_progress(&json_path) {
                Ok(position) => position,
                Err(reason) => {
                    tracing::warn!("{}: passed over: {reason}", json_path.display());
                    continue;
                }
            };
            if position.configuration != configuration {
                tracing::warn!("{}: passed over: it was written under other settings", json_path.display());
                continue;
            }
            let bytes = match std::fs::read(&tensor_path) {
                Ok(bytes) if hex(&Sha256::digest(&bytes)) == position.tensors => bytes,
                Ok(_) => {
                    tracing::warn!("{}: passed over: its checksum does not fit", tensor_path.display());
                    continue;
                }
                Err(reason) => {
                    tracing::warn!("{}: passed over: {reason}", tensor_path.display());
                    continue;
                }
            };
            drop(bytes);
            let mut found = crate::model::read_tensors(&tensor_path)?;
            let mut take = |part: &str, name: &str| {
                found.remove(&format!("{part}/{name}")).ok_or_else(|| {
                    TrainError::data(&tensor_path, format!("holds no `{part}/{name}`: it is of another model"))
                })
            };
            let names = parameters.names().to_vec();
            let mut weights = Vec::new();
            for (i, name) in names.iter().enumerate() {
                weights.push(take("weight", name)?);
                if parameters.tensors()[i].requires_grad() {
                    let (mean, square) = (take("mean", name)?, take("square", name)?);
                    tch::no_grad(|| -> Result<(), TrainError> {
                        optimiser.moments[i].0.f_copy_(&mean)?;
                        optimiser.moments[i].1.f_copy_(&square)?;
                        Ok(())
                    })?;
                }
            }
            let mut carried = |part: &str, is_there: bool| -> Result<Option<Vec<Tensor>>, TrainError> {
                is_there.then(|| names.iter().map(|name| take(part, name)).collect()).transpose()
            };
            let carried = Carried {
                best: carried("best", position.best.is_some())?,
                average: carried("average", position.averaged > 0)?,
            };
            parameters.restore(&weights)?;
            optimiser.steps = position.step as u64;
            return Ok(Some((position, carried)));
        }
        Ok(None)
    }

    /// Removes all of them: the loop is done and its product written.
    pub fn clear(&self) {
        for step in self.steps() {
            let (tensors, json) = self.paths(step);
            let _ = std::fs::remove_file(json);
            let _ = std::fs::remove_file(tensors);
        }
        let _ = std::fs::remove_dir(&self.folder);
    }
}

fn read_progress(path: &Path) -> Result<Position, String> {
    let text = std::fs::read(path).map_err(|e| e.to_string())?;
    let position: Position = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    if position.format != FORMAT {
        return Err(format!("format {}, and this program reads format {FORMAT}", position.format));
    }
    Ok(position)
}
