//! Where a model runs.

use std::fmt;
use std::str::FromStr;

use crate::error::EncoderError;

/// Where ONNX Runtime runs the model. All but [`Provider::Cpu`] need a build of ONNX Runtime that contains them;
/// one that is asked for and absent is an error, never a silent fall-back to the CPU.
///
/// As text: `cpu`, `cuda`, `cuda:1`, `tensorrt:0`, `openvino`, `coreml`, `directml:0`, `migraphx:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// The CPU; always there.
    Cpu,
    /// NVIDIA CUDA on the device with this number.
    Cuda(i32),
    /// NVIDIA TensorRT on the device with this number.
    TensorRt(i32),
    /// AMD MIGraphX on the device with this number.
    MiGraphX(i32),
    /// DirectML (Windows) on the device with this number.
    DirectMl(i32),
    /// Intel OpenVINO.
    OpenVino,
    /// Apple Core ML.
    CoreMl,
}

impl FromStr for Provider {
    type Err = EncoderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || EncoderError::Option {
            name: "providers",
            problem: format!(
                "has `{text}`; it can be cpu, openvino, coreml, or cuda, tensorrt, migraphx, directml, each of these with `:DEVICE` or without"
            ),
        };
        let (name, device) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number.parse::<u8>().map_err(|_| refuse())?)),
            None => (text, None),
        };
        let number = i32::from(device.unwrap_or(0));
        match (name, device) {
            ("cpu", None) => Ok(Self::Cpu),
            ("openvino", None) => Ok(Self::OpenVino),
            ("coreml", None) => Ok(Self::CoreMl),
            ("cuda", _) => Ok(Self::Cuda(number)),
            ("tensorrt", _) => Ok(Self::TensorRt(number)),
            ("migraphx", _) => Ok(Self::MiGraphX(number)),
            ("directml", _) => Ok(Self::DirectMl(number)),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::OpenVino => f.write_str("openvino"),
            Self::CoreMl => f.write_str("coreml"),
            Self::Cuda(device) => write!(f, "cuda:{device}"),
            Self::TensorRt(device) => write!(f, "tensorrt:{device}"),
            Self::MiGraphX(device) => write!(f, "migraphx:{device}"),
            Self::DirectMl(device) => write!(f, "directml:{device}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_read_back_what_they_print() {
        for text in ["cpu", "cuda:0", "cuda:3", "tensorrt:1", "openvino", "coreml", "directml:0", "migraphx:2"] {
            assert_eq!(text.parse::<Provider>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<Provider>().unwrap(), Provider::Cuda(0));
        for text in ["gpu", "cuda:", "cuda:-1", "cuda:1:2", "cpu:0", ""] {
            assert!(text.parse::<Provider>().is_err(), "{text}");
        }
    }
}
