//! Plain Rust, for processors without any of the sets of instructions, and to test the others by.
#![allow(unsafe_code)]

use super::lanes::{Floats, LANES, Wholes};
use half::f16;

use super::loops;
use super::scalar::Scalar;

/// Sixteen floats that the compiler may lay out as it likes. Where products are not `FUSED` into sums they are rounded
/// first: without an instruction for it, fusing would be a function call a value.
#[derive(Clone, Copy)]
pub(super) struct Plain<const FUSED: bool>([f32; LANES]);

impl<const FUSED: bool> Floats for Plain<FUSED> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Plain([0.0; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises that `LANES` values are there.
        Plain(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        // SAFETY: as above.
        Plain(widen(&unsafe { from.cast::<[f16; LANES]>().read_unaligned() }))
    }

    #[inline(always)]
    unsafe fn keep_last(mut self, count: usize) -> Self {
        self.0[..LANES - count].fill(0.0);
        self
    }

    #[inline(always)]
    unsafe fn minus(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a -= b);
        self
    }

    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, mut sum: Self) -> Self {
        for ((sum, a), b) in sum.0.iter_mut().zip(self.0).zip(factor.0) {
            *sum = if FUSED { a.mul_add(b, *sum) } else { a * b + *sum };
        }
        sum
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        let mut lanes = self.0;
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
            width /= 2;
        }
        lanes[0]
    }
}

/// Half-precision values as f32.
pub(super) fn widen(values: &[f16; LANES]) -> [f32; LANES] {
    use half::slice::HalfFloatSliceExt;
    let mut wide = [0.0; LANES];
    values.convert_to_f32_slice(&mut wide);
    wide
}

/// One sum in plain arithmetic.
#[derive(Clone, Copy)]
pub(super) struct PlainWholes(i32);

impl Wholes for PlainWholes {
    const STEP: usize = LANES;
    const BIASED: bool = false;
    type Query = [i8; LANES];

    #[inline(always)]
    unsafe fn zero() -> Self {
        PlainWholes(0)
    }

    #[inline(always)]
    unsafe fn query(from: *const i8) -> [i8; LANES] {
        // SAFETY: the caller promises that `STEP` values are there.
        unsafe { from.cast::<[i8; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn step(self, query: [i8; LANES], row: *const i8) -> Self {
        // SAFETY: as above.
        let row = unsafe { row.cast::<[i8; LANES]>().read_unaligned() };
        let sum = query.iter().zip(row).fold(0_i32, |sum, (&a, b)| sum + i32::from(a) * i32::from(b));
        PlainWholes(self.0.wrapping_add(sum))
    }

    #[inline(always)]
    unsafe fn fold(self) -> i32 {
        self.0
    }
}

loops::kernels!(Plain<false>, PlainWholes, rows: 1, queries: 2 by 1);

/// Rounds as the processors' fused instructions do: slow, for tests.
#[cfg(test)]
#[allow(dead_code, reason = "tests hold single pairs against it")]
pub(super) mod fused {
    use super::{Plain, PlainWholes, Scalar, loops};
    loops::kernels!(Plain<true>, PlainWholes, rows: 1, queries: 2 by 1);
}
