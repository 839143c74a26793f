//! Memory: how much a run may take, how much it took, and what a device says when it has none left.

use super::shim;
use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use tch::Device;

/// A size in bytes, as `512MB`, `8GB`, `8GiB`, or a number of bytes of 64 MiB and more: a smaller one lacks its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemorySize(pub u64);

/// No bound of memory is smaller, so that a smaller number without a unit is a slip, such as `8` for `8GB`.
const LEAST_WITHOUT_UNIT: f64 = (64 << 20) as f64;

/// Longer ones first, since `b` is the end of all.
const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let with_unit = UNITS.iter().find_map(|(name, bytes)| Some((lower.strip_suffix(name)?, *bytes)));
        let (number, unit) = with_unit.unwrap_or((&lower, 1));
        let bytes = number.trim().parse::<f64>().ok().map(|n| n * unit as f64);
        match bytes {
            Some(bytes) if with_unit.is_none() && (0.0..LEAST_WITHOUT_UNIT).contains(&bytes) => Err(format!(
                "`{text}` without a unit is a number of bytes, too few to work in; write it as 8GB or 512MiB"
            )),
            Some(bytes) if (1.0..1e18).contains(&bytes) => Ok(Self(bytes as u64)),
            _ => Err(format!("`{text}` is no size of memory; write it as 8GB, 512MiB or a number of bytes")),
        }
    }
}

impl TryFrom<String> for MemorySize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MemorySize> for String {
    fn from(size: MemorySize) -> Self {
        format!("{}B", size.0)
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        if bytes < 1e6 {
            write!(f, "{:.0} kB", bytes / 1e3)
        } else if bytes < 1e9 {
            write!(f, "{:.0} MB", bytes / 1e6)
        } else {
            write!(f, "{:.1} GB", bytes / 1e9)
        }
    }
}

/// What a training step may take. Checked before the forward pass, by estimate, so that a limit holds on devices that would
/// rather swap or take memory from others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    /// The limit, where there is one.
    pub(crate) limit: Option<MemorySize>,
    /// Bytes whatever the batch: weights, gradients, moments.
    pub(crate) fixed: u64,
    /// Bytes a token that is in the model at once.
    pub(crate) per_token: u64,
}

impl Budget {
    /// Refuses so many tokens at once where they are estimated not to fit.
    ///
    /// # Errors
    /// [`TrainError::OutOfMemory`].
    pub(crate) fn check(&self, tokens: usize) -> Result<(), TrainError> {
        let needed = self.fixed.saturating_add(self.per_token.saturating_mul(tokens as u64));
        match self.limit {
            Some(limit) if needed > limit.0 => Err(TrainError::OutOfMemory(format!(
                "{tokens} tokens at once take about {}, and the limit is {limit}",
                MemorySize(needed)
            ))),
            _ => Ok(()),
        }
    }
}

/// Whether an error says that memory is used up.
pub(crate) fn is_out_of_memory(error: &TrainError) -> bool {
    match error {
        TrainError::OutOfMemory(_) => true,
        // "CUDA out of memory. Tried to allocate ...", cuBLAS's and cuDNN's failed allocations, and the CPU allocator's words.
        TrainError::Torch(error) => {
            let text = error.to_string().to_lowercase();
            ["out of memory", "alloc_failed", "can't allocate memory", "cannot allocate memory"]
                .iter()
                .any(|words| text.contains(words))
        }
        _ => false,
    }
}

/// Gives back what libtorch holds in reserve, after memory was used up.
///
/// # Errors
/// When libtorch fails.
pub(crate) fn release(device: Device) -> Result<(), TrainError> {
    if device.is_cuda() { shim::empty_cache() } else { Ok(()) }
}

/// The most memory that was held so far, and how much there is: on CUDA libtorch's on the device, else the process's.
pub(crate) fn held_at_most(device: Device) -> Option<(MemorySize, Option<MemorySize>)> {
    if let Device::Cuda(number) = device {
        let memory = shim::device_memory(number).ok()?;
        return Some((MemorySize(memory.held_at_most), Some(MemorySize(memory.all))));
    }
    // Linux keeps it for every process, in kB.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some((MemorySize(kilobytes.checked_mul(1024)?), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("8GB", 8_000_000_000),
            ("512 MiB", 512 << 20),
            ("1.5gb", 1_500_000_000),
            ("4096B", 4096),
            ("64kB", 64_000),
            ("67108864", 64 << 20),
        ] {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)), "{text}");
        }
        for text in ["", "GB", "-1GB", "8 apples", "nan", "1e30GB", "0", "0B", "8", "67108863"] {
            assert!(text.parse::<MemorySize>().is_err(), "{text}");
        }
        let size = MemorySize(3 << 30);
        for size in [size, MemorySize(8)] {
            assert_eq!(String::from(size).parse(), Ok(size), "what is written down reads back");
        }
        assert!("8".parse::<MemorySize>().unwrap_err().contains("8GB"));
    }

    #[test]
    fn a_budget_counts_what_is_fixed_and_what_grows() {
        let budget = Budget { limit: Some(MemorySize(1_000)), fixed: 400, per_token: 10 };
        assert!(budget.check(60).is_ok());
        let error = budget.check(61).unwrap_err();
        assert!(is_out_of_memory(&error) && error.to_string().contains("61 tokens"), "{error}");
        assert!(Budget { limit: None, ..budget }.check(usize::MAX).is_ok());
        assert!(budget.check(usize::MAX).is_err(), "and does not wrap around");
    }

    #[test]
    fn errors_about_memory_are_told_from_others() {
        let torch = |text: &str| TrainError::from(tch::TchError::Torch(text.to_owned()));
        assert!(is_out_of_memory(&torch("CUDA out of memory. Tried to allocate 2.00 GiB.")));
        assert!(is_out_of_memory(&torch("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")));
        assert!(!is_out_of_memory(&torch("The size of tensor a (3) must match the size of tensor b (4)")));
        assert!(!is_out_of_memory(&TrainError::config("out of memory")));
        // What the CPU's allocator really says.
        let error = tch::Tensor::f_zeros([1 << 46], (tch::Kind::Float, Device::Cpu)).unwrap_err();
        assert!(is_out_of_memory(&error.into()));
    }

    #[test]
    fn the_process_knows_its_memory() {
        if cfg!(target_os = "linux") {
            let (held, all) = held_at_most(Device::Cpu).unwrap();
            assert!(held.0 > 1 << 20 && all.is_none(), "{held}");
        }
    }
}
