//! Which numbers a model computes with.

use std::fmt;
use std::str::FromStr;

use crate::error::EncoderError;

/// Which of a folder's ONNX files to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 32-bit floating point: the model as trained.
    #[default]
    F32,
    /// 16-bit floating point inside, inputs and outputs as ever: half the size, and on a GPU several times as fast. A CPU mostly
    /// computes it in 32 bits, no faster than [`Precision::F32`].
    F16,
    /// 8-bit weights and activations (dynamic quantisation): about twice as fast on a CPU, a quarter of the
    /// size. Activations are scaled per batch, so a vector depends a little on the texts that share its batch. CUDA and TensorRT
    /// have no kernels for it and are refused.
    Int8,
}

impl FromStr for Precision {
    type Err = EncoderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "int8" => Ok(Self::Int8),
            _ => Err(EncoderError::Option {
                name: "precision",
                problem: format!("is `{text}`; it can be `f32`, `f16` or `int8`"),
            }),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}
