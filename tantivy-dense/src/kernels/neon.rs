//! NEON, which every 64-bit ARM processor has.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::lanes::{Floats, LANES, Wholes};
use super::portable::widen;
use half::f16;

use super::loops;
use super::scalar::Scalar;

// SAFETY, for all methods below: as in `x86.rs`.

#[derive(Clone, Copy)]
struct Floats128([float32x4_t; 4]);

impl Floats for Floats128 {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above, here and below.
        unsafe { Floats128([vdupq_n_f32(0.0); 4]) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe {
            let four = |at: usize| vld1q_f32(from.add(4 * at));
            Floats128([four(0), four(1), four(2), four(3)])
        }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        // The `half` crate knows which processors convert by an instruction.
        unsafe { Self::load(widen(&from.cast::<[f16; LANES]>().read_unaligned()).as_ptr()) }
    }

    #[inline(always)]
    unsafe fn keep_last(self, count: usize) -> Self {
        unsafe {
            let mut lanes = [0.0_f32; LANES];
            for (at, four) in self.0.into_iter().enumerate() {
                vst1q_f32(lanes.as_mut_ptr().add(4 * at), four);
            }
            lanes[..LANES - count].fill(0.0);
            Self::load(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn minus(mut self, other: Self) -> Self {
        unsafe {
            for at in 0..4 {
                self.0[at] = vsubq_f32(self.0[at], other.0[at]);
            }
            self
        }
    }

    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, mut sum: Self) -> Self {
        unsafe {
            for at in 0..4 {
                sum.0[at] = vfmaq_f32(sum.0[at], self.0[at], factor.0[at]);
            }
            sum
        }
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        unsafe {
            let [a, b, c, d] = self.0;
            let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
}

/// Products of 16 bits, added in pairs to 32 bits.
#[derive(Clone, Copy)]
struct Wholes128(int32x4_t);

impl Wholes for Wholes128 {
    const STEP: usize = 16;
    const BIASED: bool = false;
    type Query = int8x16_t;

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Wholes128(vdupq_n_s32(0)) }
    }

    #[inline(always)]
    unsafe fn query(from: *const i8) -> int8x16_t {
        unsafe { vld1q_s8(from) }
    }

    #[inline(always)]
    unsafe fn step(self, query: int8x16_t, row: *const i8) -> Self {
        unsafe {
            let row = vld1q_s8(row);
            let low = vmull_s8(vget_low_s8(query), vget_low_s8(row));
            Wholes128(vpadalq_s16(vpadalq_s16(self.0, low), vmull_high_s8(query, row)))
        }
    }

    #[inline(always)]
    unsafe fn fold(self) -> i32 {
        unsafe { vaddvq_s32(self.0) }
    }
}

loops::kernels!("neon", Floats128, Wholes128, rows: 4, queries: 2 by 2);
