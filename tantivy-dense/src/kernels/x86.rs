//! AVX2 (with FMA and F16C) and AVX-512 (with and without VNNI).
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{Floats, LANES, Wholes};
use half::f16;

use super::loops;
use super::scalar::Scalar;

/// Ones and zeros to cut a mask for the last lanes from.
static MASK: [i32; 2 * LANES] = {
    let mut mask = [0; 2 * LANES];
    let mut lane = LANES;
    while lane < 2 * LANES {
        mask[lane] = -1;
        lane += 1;
    }
    mask
};

// SAFETY, for all methods below: an instruction needs nothing but a processor that has it, which the traits' callers
// promise; loads read as many values as the caller promises to be there, and need no alignment.

#[derive(Clone, Copy)]
struct Floats256([__m256; 2]);

impl Floats for Floats256 {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above, here and below.
        unsafe { Floats256([_mm256_setzero_ps(); 2]) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Floats256([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        unsafe {
            let low = _mm_loadu_si128(from.cast());
            let high = _mm_loadu_si128(from.add(8).cast());
            Floats256([_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)])
        }
    }

    #[inline(always)]
    unsafe fn keep_last(self, count: usize) -> Self {
        unsafe {
            // `count` is at most LANES, so that 16 numbers of the mask follow.
            let mask = MASK.as_ptr().add(count.min(LANES)).cast::<f32>();
            let Floats256([low, high]) = self;
            let low = _mm256_and_ps(low, _mm256_loadu_ps(mask));
            Floats256([low, _mm256_and_ps(high, _mm256_loadu_ps(mask.add(8)))])
        }
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        unsafe { Floats256([_mm256_sub_ps(self.0[0], other.0[0]), _mm256_sub_ps(self.0[1], other.0[1])]) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, sum: Self) -> Self {
        unsafe {
            Floats256([
                _mm256_fmadd_ps(self.0[0], factor.0[0], sum.0[0]),
                _mm256_fmadd_ps(self.0[1], factor.0[1], sum.0[1]),
            ])
        }
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        unsafe { fold_256(_mm256_add_ps(self.0[0], self.0[1])) }
    }
}

#[inline(always)]
unsafe fn fold_256(eight: __m256) -> f32 {
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// Widened to 16 bits, multiplied, and added in pairs to 32 bits: no product or sum is ever cut off.
#[derive(Clone, Copy)]
struct Wholes256(__m256i);

impl Wholes for Wholes256 {
    const STEP: usize = 32;
    const BIASED: bool = false;
    type Query = [__m256i; 2];

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Wholes256(_mm256_setzero_si256()) }
    }

    #[inline(always)]
    unsafe fn query(from: *const i8) -> [__m256i; 2] {
        unsafe {
            let low = _mm_loadu_si128(from.cast());
            let high = _mm_loadu_si128(from.add(16).cast());
            [_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)]
        }
    }

    #[inline(always)]
    unsafe fn step(self, query: [__m256i; 2], row: *const i8) -> Self {
        unsafe {
            let [low, high] = Self::query(row);
            let products = _mm256_add_epi32(_mm256_madd_epi16(query[0], low), _mm256_madd_epi16(query[1], high));
            Wholes256(_mm256_add_epi32(self.0, products))
        }
    }

    #[inline(always)]
    unsafe fn fold(self) -> i32 {
        unsafe { fold_256_i32(self.0) }
    }
}

#[inline(always)]
unsafe fn fold_256_i32(eight: __m256i) -> i32 {
    unsafe {
        let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
    }
}

#[derive(Clone, Copy)]
struct Floats512(__m512);

impl Floats for Floats512 {
    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Floats512(_mm512_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Floats512(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        unsafe { Floats512(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn keep_last(self, count: usize) -> Self {
        unsafe {
            // Bits from LANES - count on; none where `count` is 0.
            let mask = (0xffff_u32 << (LANES - count.min(LANES))) as u16;
            Floats512(_mm512_maskz_mov_ps(mask, self.0))
        }
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        unsafe { Floats512(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, sum: Self) -> Self {
        unsafe { Floats512(_mm512_fmadd_ps(self.0, factor.0, sum.0)) }
    }

    #[inline(always)]
    unsafe fn fold(self) -> f32 {
        unsafe {
            let low = _mm512_castps512_ps256(self.0);
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
            fold_256(_mm256_add_ps(low, high))
        }
    }
}

#[inline(always)]
unsafe fn fold_512_i32(sixteen: __m512i) -> i32 {
    unsafe {
        let low = _mm512_castsi512_si256(sixteen);
        fold_256_i32(_mm256_add_epi32(low, _mm512_extracti64x4_epi64::<1>(sixteen)))
    }
}

/// As [`Wholes256`], twice as wide.
#[derive(Clone, Copy)]
struct Wholes512(__m512i);

impl Wholes for Wholes512 {
    const STEP: usize = 64;
    const BIASED: bool = false;
    type Query = [__m512i; 2];

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Wholes512(_mm512_setzero_si512()) }
    }

    #[inline(always)]
    unsafe fn query(from: *const i8) -> [__m512i; 2] {
        unsafe {
            let low = _mm256_loadu_si256(from.cast());
            let high = _mm256_loadu_si256(from.add(32).cast());
            [_mm512_cvtepi8_epi16(low), _mm512_cvtepi8_epi16(high)]
        }
    }

    #[inline(always)]
    unsafe fn step(self, query: [__m512i; 2], row: *const i8) -> Self {
        unsafe {
            let [low, high] = Self::query(row);
            let products = _mm512_add_epi32(_mm512_madd_epi16(query[0], low), _mm512_madd_epi16(query[1], high));
            Wholes512(_mm512_add_epi32(self.0, products))
        }
    }

    #[inline(always)]
    unsafe fn fold(self) -> i32 {
        unsafe { fold_512_i32(self.0) }
    }
}

/// VNNI multiplies an unsigned number by a signed one and adds four such products, exactly. So 128 is added to the
/// row's numbers, and what that adds to the sum is the same for every row: the bias.
#[derive(Clone, Copy)]
struct WholesVnni(__m512i);

impl Wholes for WholesVnni {
    const STEP: usize = 64;
    const BIASED: bool = true;
    type Query = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { WholesVnni(_mm512_setzero_si512()) }
    }

    #[inline(always)]
    unsafe fn query(from: *const i8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn step(self, query: __m512i, row: *const i8) -> Self {
        unsafe {
            // Flipping the highest bit adds 128, read as an unsigned number.
            let row = _mm512_xor_si512(_mm512_loadu_si512(row.cast()), _mm512_set1_epi8(i8::MIN));
            WholesVnni(_mm512_dpbusd_epi32(self.0, row, query))
        }
    }

    #[inline(always)]
    unsafe fn fold(self) -> i32 {
        unsafe { fold_512_i32(self.0) }
    }
}

/// Processors from 2013 on.
pub(super) mod avx2 {
    use super::{Floats256, Scalar, Wholes256, loops};
    loops::kernels!("avx2,fma,f16c", Floats256, Wholes256, rows: 4, queries: 2 by 2);

    pub(in crate::kernels) fn available() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
    }
}

/// Without VNNI: servers from 2017 on.
pub(super) mod avx512 {
    use super::{Floats512, Scalar, Wholes512, loops};
    loops::kernels!("avx512f,avx512bw", Floats512, Wholes512, rows: 8, queries: 4 by 4);

    pub(in crate::kernels) fn available() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
    }
}

/// With VNNI: servers from 2019 on.
pub(super) mod vnni {
    use super::{Floats512, Scalar, WholesVnni, loops};
    loops::kernels!("avx512f,avx512bw,avx512vnni", Floats512, WholesVnni, rows: 8, queries: 4 by 4);

    pub(in crate::kernels) fn available() -> bool {
        super::avx512::available() && is_x86_feature_detected!("avx512vnni")
    }
}
