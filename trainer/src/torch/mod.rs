//! libtorch: which device and precision to use, and the optimiser.

mod adamw;
mod budget;
mod cuda;
mod later;
mod shim;
mod slices;
mod transfer;

pub use adamw::{AdamW, AdamWConfig};
pub use budget::MemorySize;
pub(crate) use budget::{Budget, held_at_most, is_out_of_memory, release};
pub use later::Later;
pub(crate) use shim::{clear_gradients, varlen_attention};
pub(crate) use transfer::{ready_for, send};

use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use tch::{Cuda, Device, Kind, Tensor};

/// The libtorch that the bindings are made for.
pub const VERSION: &str = "2.11.0";

/// Where the model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// CUDA where it is at hand, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA device; an error where there is none.
    Cuda,
}

/// In which numbers the model computes. Master weights, losses and the optimiser are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrecisionChoice {
    /// bf16 where the hardware multiplies it faster than f32 (CUDA, AMX, AVX-512 BF16), else f32.
    #[default]
    Auto,
    /// 32-bit.
    F32,
    /// bfloat16 activations and weight copies.
    Bf16,
}

/// How texts of different lengths go through the model together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackingChoice {
    /// As is faster on the device: packed, on CPUs and GPUs.
    #[default]
    Auto,
    /// One after the other, without padding; attention keeps them apart. Models whose attention has a bias by distance
    /// (MPNet) are padded all the same.
    On,
    /// Side by side, short ones padded, batched by length.
    Off,
}

/// A device, the kind of number it computes in, and how texts lie in a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// The device.
    pub device: Device,
    /// [`Kind::Float`] or [`Kind::BFloat16`].
    pub compute: Kind,
    /// Whether texts are packed one after the other, without padding, where the model can.
    pub packed: bool,
}

impl Machine {
    /// The CPU in f32, with padding.
    pub const CPU: Self = Self { device: Device::Cpu, compute: Kind::Float, packed: false };

    /// Chooses, and sets the number of threads (0: one for each core).
    ///
    /// # Errors
    /// When CUDA is asked for and is not there.
    pub fn choose(
        device: DeviceChoice,
        precision: PrecisionChoice,
        packing: PackingChoice,
        threads: usize,
    ) -> Result<Self, TrainError> {
        let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
        tch::set_num_threads(threads.min(1024) as i32);
        let device = match device {
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Auto => {
                if cuda::load().is_ok() && Cuda::is_available() {
                    Device::Cuda(0)
                } else {
                    Device::Cpu
                }
            }
            DeviceChoice::Cuda => {
                cuda::load().map_err(|problem| TrainError::config(format!("`device = \"cuda\"`: {problem}")))?;
                if !Cuda::is_available() {
                    return Err(TrainError::config(
                        "`device = \"cuda\"`: libtorch finds no CUDA device; check the driver, or use `device = \"cpu\"`",
                    ));
                }
                Device::Cuda(0)
            }
        };
        let fast_bf16 = || if device.is_cuda() { attends_in_bf16(device) } else { has_fast_bf16() };
        let compute = match precision {
            PrecisionChoice::F32 => Kind::Float,
            PrecisionChoice::Bf16 => Kind::BFloat16,
            PrecisionChoice::Auto if fast_bf16() => Kind::BFloat16,
            PrecisionChoice::Auto => Kind::Float,
        };
        let packed = match packing {
            PackingChoice::Auto | PackingChoice::On => true,
            PackingChoice::Off => false,
        };
        Ok(Self { device, compute, packed })
    }

    /// For messages and keys: `cpu f32`, `cuda:0 bf16 packed`.
    pub fn describe(&self) -> String {
        let device = match self.device {
            Device::Cuda(n) => format!("cuda:{n}"),
            _ => "cpu".to_owned(),
        };
        let kind = if self.compute == Kind::BFloat16 { "bf16" } else { "f32" };
        let packed = if self.packed { " packed" } else { "" };
        format!("{device} {kind}{packed}")
    }
}

/// Whether this GPU has what training in bf16 needs: libtorch's fused attention refuses those older than Ampere (A100, RTX 30),
/// which do not multiply bf16 in hardware either.
fn attends_in_bf16(device: Device) -> bool {
    let attend = || -> Result<Tensor, TrainError> {
        let tokens = Tensor::f_ones([2, 1, 32], (Kind::BFloat16, device))?;
        let offsets = Tensor::f_from_slice(&[0i32, 2])?.f_to_device(device)?;
        varlen_attention(&tokens, &tokens, &tokens, &offsets, 2)
    };
    attend().is_ok()
}

/// Whether this CPU multiplies bf16 in hardware; without it libtorch emulates, which is slower than f32.
fn has_fast_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}
