//! What rows are made of, and how they are read.

use half::f16;

/// A type that values of a row are kept in: `f32` or [`f16`](struct@half::f16).
pub trait Scalar: sealed::Scalar {}
impl Scalar for f32 {}
impl Scalar for f16 {}

mod sealed {
    use super::f16;

    pub trait Scalar: Copy + Send + Sync + 'static {
        const ZERO: Self;
        /// Whether the type is `f16`.
        const HALF: bool;
    }

    impl Scalar for f32 {
        const ZERO: f32 = 0.0;
        const HALF: bool = false;
    }

    impl Scalar for f16 {
        const ZERO: f16 = f16::ZERO;
        const HALF: bool = true;
    }
}

/// How one query reads rows that do not fit into a cache; the numbers are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Several rows side by side, each asked for ahead of its turn. An Intel server (Ice Lake) reads rows of a mapped file 1.2 times as
    /// fast so, since its own prefetching stops at every page.
    Abreast,
    /// One row after the other as they lie, without being asked for. An AMD server (Zen 4) does all by itself then, 18 GiB/s, where rows
    /// abreast come at 6 and rows asked for ahead at 14.
    InOrder,
}

impl Reading {
    /// The one that suits this processor.
    pub(super) fn best() -> Reading {
        #[cfg(target_arch = "x86_64")]
        {
            let leaf = std::arch::x86_64::__cpuid(0);
            let vendor = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat();
            if vendor == b"GenuineIntel" { Reading::Abreast } else { Reading::InOrder }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Reading::Abreast
    }
}
