//! What comes after pooling: dense layers, layer normalisation, scaling to length 1.

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, ArrayView2};
use safetensors::{Dtype, SafeTensors};

use super::json::{JsonFile, is_there};
use super::pooling::WIDTH_LIMIT;
use crate::error::EncoderError;
use crate::files::read_limited;
use crate::limits::WEIGHT_LIMIT;

/// One step on the pooled vectors.
#[derive(Debug)]
pub(crate) enum Step {
    Dense(Dense),
    LayerNorm(LayerNorm),
    Normalize,
}

impl Step {
    /// Applies the step to `rows`, one vector a row.
    pub(crate) fn apply(&self, mut rows: Array2<f32>) -> Array2<f32> {
        match self {
            Self::Dense(dense) => dense.apply(&rows),
            Self::LayerNorm(norm) => {
                for mut row in rows.rows_mut() {
                    norm.apply(&mut row);
                }
                rows
            }
            Self::Normalize => {
                for mut row in rows.rows_mut() {
                    if let Some(row) = row.as_slice_mut() {
                        normalize(row);
                    }
                }
                rows
            }
        }
    }

    /// Values the step takes, where that is fixed.
    pub(crate) fn inputs(&self) -> Option<usize> {
        match self {
            Self::Dense(dense) => Some(dense.inputs()),
            Self::LayerNorm(norm) => Some(norm.width()),
            Self::Normalize => None,
        }
    }

    /// A line for the fingerprint.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Dense(dense) => format!(
                "dense {}->{} {:?} residual={} {}",
                dense.inputs(),
                dense.outputs(),
                dense.activation,
                dense.residual.is_some(),
                dense.hash
            ),
            Self::LayerNorm(norm) => format!("layer_norm {} {}", norm.width(), norm.hash),
            Self::Normalize => "normalize".to_owned(),
        }
    }
}

/// Scales a vector to length 1; one of length 0 stays as it is.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
    if length > 1e-12 {
        let scale = (1.0 / length) as f32;
        vector.iter_mut().for_each(|value| *value *= scale);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Identity,
    Tanh,
    Relu,
    Sigmoid,
    Silu,
}

impl Activation {
    fn read(config: &JsonFile) -> Result<Self, EncoderError> {
        // What sentence-transformers takes where the key is absent.
        let Some(name) = config.text("activation_function")? else {
            return Ok(Self::Tanh);
        };
        match name {
            "torch.nn.modules.linear.Identity" => Ok(Self::Identity),
            "torch.nn.modules.activation.Tanh" => Ok(Self::Tanh),
            "torch.nn.modules.activation.ReLU" => Ok(Self::Relu),
            "torch.nn.modules.activation.Sigmoid" => Ok(Self::Sigmoid),
            "torch.nn.modules.activation.SiLU" => Ok(Self::Silu),
            _ => Err(EncoderError::key(
                config.path(),
                "activation_function",
                format!("is \"{name}\"; supported are Identity, Tanh, ReLU, Sigmoid and SiLU of torch.nn.modules"),
            )),
        }
    }

    fn apply(self, value: f32) -> f32 {
        match self {
            Self::Identity => value,
            Self::Tanh => value.tanh(),
            Self::Relu => value.max(0.0),
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
            Self::Silu => value / (1.0 + (-value).exp()),
        }
    }
}

/// A linear layer with an activation.
#[derive(Debug)]
pub(crate) struct Dense {
    /// `[outputs, inputs]`, as torch keeps it.
    weight: Array2<f32>,
    bias: Option<Array1<f32>>,
    activation: Activation,
    /// What is added of the layer's own input.
    residual: Option<Residual>,
    hash: String,
}

#[derive(Debug)]
enum Residual {
    AsIs,
    /// `[outputs, inputs]`.
    Projected(Array2<f32>),
}

impl Dense {
    pub(crate) fn read(folder: &Path) -> Result<Self, EncoderError> {
        let config = JsonFile::read(&folder.join("config.json"), "it describes a dense layer")?;
        for key in ["module_input_name", "module_output_name"] {
            if let Some(name) = config.text(key)?
                && name != "sentence_embedding"
            {
                return Err(EncoderError::key(
                    config.path(),
                    key,
                    format!("is \"{name}\"; only layers over \"sentence_embedding\" are supported"),
                ));
            }
        }
        let size = |key: &str| {
            config.size(key, WIDTH_LIMIT)?.ok_or_else(|| EncoderError::key(config.path(), key, "is missing"))
        };
        let (inputs, outputs) = (size("in_features")?, size("out_features")?);
        let activation = Activation::read(&config)?;
        let with_bias = config.flag("bias")?.unwrap_or(true);
        let weights = Weights::read(folder)?;
        let weight = weights.matrix("linear.weight", outputs, inputs)?;
        let bias = if with_bias { Some(weights.vector("linear.bias", outputs)?) } else { None };
        let residual = match (config.flag("use_residual")?.unwrap_or(false), inputs == outputs) {
            (false, _) => None,
            (true, true) => Some(Residual::AsIs),
            (true, false) => Some(Residual::Projected(weights.matrix("residual.weight", outputs, inputs)?)),
        };
        Ok(Self { weight, bias, activation, residual, hash: weights.hash() })
    }

    pub(crate) fn inputs(&self) -> usize {
        self.weight.ncols()
    }

    pub(crate) fn outputs(&self) -> usize {
        self.weight.nrows()
    }

    fn apply(&self, rows: &Array2<f32>) -> Array2<f32> {
        let mut out = rows.dot(&self.weight.t());
        if let Some(bias) = &self.bias {
            out += bias;
        }
        out.mapv_inplace(|value| self.activation.apply(value));
        match &self.residual {
            None => {}
            Some(Residual::AsIs) => out += rows,
            Some(Residual::Projected(weight)) => out += &rows.dot(&weight.t()),
        }
        out
    }
}

/// Layer normalisation with learned scale and shift.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    scale: Array1<f32>,
    shift: Array1<f32>,
    hash: String,
}

impl LayerNorm {
    pub(crate) fn read(folder: &Path) -> Result<Self, EncoderError> {
        let config = JsonFile::read(&folder.join("config.json"), "it describes a layer normalisation")?;
        let width = config
            .size("dimension", WIDTH_LIMIT)?
            .ok_or_else(|| EncoderError::key(config.path(), "dimension", "is missing"))?;
        let weights = Weights::read(folder)?;
        Ok(Self {
            scale: weights.vector("norm.weight", width)?,
            shift: weights.vector("norm.bias", width)?,
            hash: weights.hash(),
        })
    }

    pub(crate) fn width(&self) -> usize {
        self.scale.len()
    }

    fn apply(&self, row: &mut ndarray::ArrayViewMut1<f32>) {
        let count = row.len() as f64;
        let mean = row.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let variance = row.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
        // torch's default epsilon; the module has no key for another.
        let factor = 1.0 / (variance + 1e-5).sqrt();
        for ((value, scale), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
            *value = ((f64::from(*value) - mean) * factor) as f32 * scale + shift;
        }
    }
}

/// A layer's `model.safetensors`.
struct Weights {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Weights {
    fn read(folder: &Path) -> Result<Self, EncoderError> {
        let path = folder.join("model.safetensors");
        if !is_there(&path) {
            let needed = if folder.join("pytorch_model.bin").is_file() {
                "only pytorch_model.bin is there, a format that can run code; load and save the model once with a recent sentence-transformers"
            } else {
                "it holds the weights of this layer"
            };
            return Err(EncoderError::Missing { path, needed: needed.to_owned() });
        }
        Ok(Self { bytes: read_limited(&path, WEIGHT_LIMIT)?, path })
    }

    fn hash(&self) -> String {
        crate::fingerprint::hex_of(&self.bytes)
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EncoderError> {
        let fault = |problem: String| EncoderError::model(&self.path, problem);
        let file = SafeTensors::deserialize(&self.bytes)
            .map_err(|error| fault(format!("is not a whole safetensors file: {error}")))?;
        let tensor = file.tensor(name).map_err(|_| fault(format!("has no tensor `{name}`")))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(fault(format!("tensor `{name}` is {:?}; only F32 is supported", tensor.dtype())));
        }
        if tensor.shape() != shape {
            return Err(fault(format!(
                "tensor `{name}` has shape {:?}, where config.json says {shape:?}",
                tensor.shape()
            )));
        }
        let values: Vec<f32> = tensor
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(fault(format!("tensor `{name}` holds a value that is not finite")));
        }
        Ok(values)
    }

    fn vector(&self, name: &str, length: usize) -> Result<Array1<f32>, EncoderError> {
        Ok(Array1::from(self.values(name, &[length])?))
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Array2<f32>, EncoderError> {
        let values = self.values(name, &[rows, columns])?;
        ArrayView2::from_shape((rows, columns), &values)
            .map(|view| view.to_owned())
            .map_err(|error| EncoderError::model(&self.path, format!("tensor `{name}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizing_zero_gives_zero() {
        let mut zero = [0.0f32; 4];
        normalize(&mut zero);
        assert_eq!(zero, [0.0; 4]);
        let mut large = [3e30f32, 4e30];
        normalize(&mut large);
        assert!((large[0] - 0.6).abs() < 1e-6 && (large[1] - 0.8).abs() < 1e-6);
    }
}
