//! The size of a model from the headers of its files: nothing is loaded.

use crate::error::TrainError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A transformer's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSize {
    /// Values of all tensors.
    pub parameters: u64,
    /// Width of a layer.
    pub hidden: u64,
    /// Layers.
    pub layers: u64,
}

#[derive(Deserialize)]
struct Config {
    #[serde(alias = "dim", alias = "d_model")]
    hidden_size: u64,
    #[serde(alias = "n_layers")]
    num_hidden_layers: u64,
}

#[derive(Deserialize)]
struct Tensor {
    shape: Vec<u64>,
}

/// A header of a model of some billions of parameters is far smaller.
const MOST_HEADER: u64 = 64 << 20;

impl ModelSize {
    /// Reads `config.json` and the header of `model.safetensors` of a folder. Of the layers only those numbered in `layers`
    /// count, and all where it is empty.
    ///
    /// # Errors
    /// When either is missing or not what it should be.
    pub fn of_folder(folder: &Path, layers: &[usize]) -> Result<Self, TrainError> {
        let path = folder.join("config.json");
        let file = File::open(&path).map_err(|e| TrainError::io(&path, e))?;
        let mut json = String::new();
        file.take(MOST_HEADER).read_to_string(&mut json).map_err(|e| TrainError::io(&path, e))?;
        let config: Config = serde_json::from_str(&json).map_err(|e| TrainError::data(&path, e.to_string()))?;
        Ok(Self {
            parameters: parameters(&folder.join("model.safetensors"), layers)?,
            hidden: config.hidden_size,
            layers: if layers.is_empty() { config.num_hidden_layers } else { layers.len() as u64 },
        })
    }

    /// Memory of a training step, about, in bytes.
    ///
    /// Weights, gradients and both moments of AdamW in f32 are 16 bytes a parameter, and with values of 2 bytes a copy of the
    /// weights joins them. What the backward pass needs of a token and layer is some 17 values for each of the layer's width
    /// (inputs of matrix products, of the activation and of layer norms), attention fused.
    pub fn training_bytes(&self, tokens: u64, bytes_per_value: u64) -> u64 {
        let copy = if bytes_per_value < 4 { bytes_per_value } else { 0 };
        let weights = self.parameters.saturating_mul(16 + copy);
        let activations = [tokens, self.layers, self.hidden, 34, bytes_per_value.div_ceil(2)];
        weights.saturating_add(activations.into_iter().fold(1, u64::saturating_mul))
    }
}

fn parameters(path: &Path, layers: &[usize]) -> Result<u64, TrainError> {
    let io = |e| TrainError::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    if &length == b"version " {
        return Err(TrainError::data(path, format!("is {}", crate::export::tokenizer::LFS)));
    }
    let length = u64::from_le_bytes(length);
    if length > MOST_HEADER {
        return Err(TrainError::data(path, "not a safetensors file: its header would be larger than 64 MiB"));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(io)?;
    let wrong = |e: serde_json::Error| TrainError::data(path, format!("not a safetensors file: {e}"));
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header).map_err(wrong)?;
    entries.remove("__metadata__");
    let mut sum = 0u64;
    entries.retain(|name, _| layers.is_empty() || layer_of(name).is_none_or(|layer| layers.contains(&layer)));
    for tensor in entries.into_values() {
        let tensor: Tensor = serde_json::from_value(tensor).map_err(wrong)?;
        sum = sum.saturating_add(tensor.shape.iter().fold(1, |n, &d| n.saturating_mul(d)));
    }
    Ok(sum)
}

/// The number of the layer that a tensor belongs to: 3 of `encoder.layer.3.output.dense.weight`.
fn layer_of(name: &str) -> Option<usize> {
    name.split('.').skip_while(|&part| part != "layer").nth(1)?.parse().ok()
}
