//! The loops of all kernels, over whatever instructions there are.
//!
//! Everything here is inlined into functions that enable the instructions; on its own it would be slow, not wrong.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop)] // several arrays are walked by one index

use super::lanes::{Floats, LANES, Wholes};
use super::scalar::Scalar;

/// How far ahead of its reading one query asks for rows, in bytes, where rows are read abreast. The processor's own prefetching ends
/// at the page, 4 KiB, and rows mapped from a file lie in pages that small.
const AHEAD: usize = 4 << 10;

/// Asks for the cache line that many bytes behind an address, which need not be one that exists.
#[inline(always)]
fn ask_ahead<T>(from: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and it never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(AHEAD));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

/// `LANES` values of a row.
///
/// # Safety
/// They must be readable, and the processor must have the instructions of `F`.
#[inline(always)]
unsafe fn load<F: Floats, T: Scalar>(from: *const T) -> F {
    // SAFETY: the caller's promise; `HALF` tells which of the two types `T` is.
    unsafe { if T::HALF { F::load_half(from.cast()) } else { F::load(from.cast()) } }
}

/// The last `rest` of `length` values, in the last lanes.
///
/// # Safety
/// `rest < LANES`, `rest <= length`, `length` values readable at `from`, and the instructions of `F`.
#[inline(always)]
unsafe fn load_rest<F: Floats, T: Scalar>(from: *const T, length: usize, rest: usize) -> F {
    // SAFETY: with `LANES` values or more, the last `LANES` of them are read; else a padded copy is.
    unsafe {
        if length >= LANES {
            return load::<F, T>(from.add(length - LANES)).keep_last(rest);
        }
        let mut lanes = [T::ZERO; LANES];
        std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr().add(LANES - rest), rest);
        load::<F, T>(lanes.as_ptr())
    }
}

/// Compares `Q` queries with `R` rows: inner products, or squared distances where `L2`. `ahead`: asks for what follows.
///
/// # Safety
/// `length` values must be readable at every pointer, and the processor must have the instructions of `F`.
#[inline(always)]
unsafe fn tile<F: Floats, T: Scalar, const L2: bool, const Q: usize, const R: usize>(
    queries: [*const f32; Q],
    rows: [*const T; R],
    length: usize,
    ahead: bool,
) -> [[f32; R]; Q] {
    // SAFETY: every load is of `LANES` values below `length`, or `load_rest`'s business.
    unsafe {
        let mut sums = [[F::zero(); R]; Q];
        let rest = length % LANES;
        let mut at = 0;
        while at < length - rest {
            let mut query = [F::zero(); Q];
            for q in 0..Q {
                query[q] = F::load(queries[q].add(at));
            }
            for r in 0..R {
                if ahead {
                    ask_ahead(rows[r].add(at));
                }
                let row = load::<F, T>(rows[r].add(at));
                for q in 0..Q {
                    sums[q][r] = add::<F, L2>(query[q], row, sums[q][r]);
                }
            }
            at += LANES;
        }
        if rest > 0 {
            for r in 0..R {
                let row = load_rest::<F, T>(rows[r], length, rest);
                for q in 0..Q {
                    let query = load_rest::<F, f32>(queries[q], length, rest);
                    sums[q][r] = add::<F, L2>(query, row, sums[q][r]);
                }
            }
        }
        let mut totals = [[0.0; R]; Q];
        for q in 0..Q {
            for r in 0..R {
                totals[q][r] = sums[q][r].fold();
            }
        }
        totals
    }
}

/// # Safety
/// The processor must have the instructions of `F`.
#[inline(always)]
unsafe fn add<F: Floats, const L2: bool>(query: F, row: F, sum: F) -> F {
    // SAFETY: the caller's promise.
    unsafe {
        if L2 {
            let difference = query.minus(row);
            difference.times_plus(difference, sum)
        } else {
            query.times_plus(row, sum)
        }
    }
}

/// Compares one query with one row, as far as the shorter goes.
///
/// # Safety
/// The processor must have the instructions of `F`.
#[inline(always)]
pub(super) unsafe fn pair<F: Floats, T: Scalar, const L2: bool>(query: &[f32], row: &[T]) -> f32 {
    let length = query.len().min(row.len());
    // SAFETY: both have `length` values.
    let [[total]] = unsafe { tile::<F, T, L2, 1, 1>([query.as_ptr()], [row.as_ptr()], length, false) };
    total
}

/// Compares `Q` queries of one length with contiguous rows of that length, `R` at a time. Result `(q, r)` goes to
/// `out[q][r]`; rows beyond the shortest output are left out.
///
/// # Safety
/// The processor must have the instructions of `F`.
#[inline(always)]
pub(super) unsafe fn rows<F: Floats, T: Scalar, const L2: bool, const Q: usize, const R: usize>(
    queries: [&[f32]; Q],
    rows: &[T],
    out: [&mut [f32]; Q],
    ahead: bool,
) {
    let length = queries.iter().map(|query| query.len()).min().unwrap_or(0);
    let Some(count) = rows.len().checked_div(length) else { return };
    let count = out.iter().map(|out| out.len()).min().unwrap_or(0).min(count);
    let queries = queries.map(<[f32]>::as_ptr);
    // SAFETY: row `r` of `count` has its `length` values at `r * length`, within `rows`; outputs have `count` places.
    unsafe {
        let mut row = 0;
        while row + R <= count {
            let mut pointers = [rows.as_ptr(); R];
            for r in 0..R {
                pointers[r] = rows.as_ptr().add((row + r) * length);
            }
            let totals = tile::<F, T, L2, Q, R>(queries, pointers, length, ahead);
            for q in 0..Q {
                for r in 0..R {
                    *out[q].get_unchecked_mut(row + r) = totals[q][r];
                }
            }
            row += R;
        }
        while row < count {
            let totals = tile::<F, T, L2, Q, 1>(queries, [rows.as_ptr().add(row * length)], length, false);
            for q in 0..Q {
                *out[q].get_unchecked_mut(row) = totals[q][0];
            }
            row += 1;
        }
    }
}

/// Inner products of a query with `R` rows of 8-bit numbers.
///
/// # Safety
/// `length` values must be readable at every pointer, and the processor must have the instructions of `W`.
#[inline(always)]
unsafe fn tile_i8<W: Wholes, const R: usize>(
    query: *const i8,
    rows: [*const i8; R],
    length: usize,
    bias: i32,
    ahead: bool,
) -> [i32; R] {
    // SAFETY: every step is of `STEP` values below `length`.
    unsafe {
        let mut sums = [W::zero(); R];
        let mut at = 0;
        while at + W::STEP <= length {
            let step = W::query(query.add(at));
            for r in 0..R {
                if ahead {
                    ask_ahead(rows[r].add(at));
                }
                sums[r] = sums[r].step(step, rows[r].add(at));
            }
            at += W::STEP;
        }
        let mut totals = [0_i32; R];
        for r in 0..R {
            totals[r] = sums[r].fold().wrapping_sub(bias);
            for at in at..length {
                let product = i32::from(*query.add(at)) * i32::from(*rows[r].add(at));
                totals[r] = totals[r].wrapping_add(product);
            }
        }
        totals
    }
}

/// What the instructions add to every inner product with a query.
///
/// # Safety
/// `length` values must be readable, and the processor must have the instructions of `W`.
#[inline(always)]
unsafe fn bias<W: Wholes>(query: *const i8, length: usize) -> i32 {
    if !W::BIASED {
        return 0;
    }
    let zeros = [0_i8; 64];
    // SAFETY: every step is of `STEP` values below `length`; `zeros` has as many.
    unsafe {
        let mut bias = W::zero();
        let mut at = 0;
        while at + W::STEP <= length {
            bias = bias.step(W::query(query.add(at)), zeros.as_ptr());
            at += W::STEP;
        }
        bias.fold()
    }
}

/// Inner product of a query with one row, as far as the shorter goes.
///
/// # Safety
/// The processor must have the instructions of `W`.
#[inline(always)]
pub(super) unsafe fn pair_i8<W: Wholes>(query: &[i8], row: &[i8]) -> i32 {
    const { assert!(W::STEP <= 64) };
    let length = query.len().min(row.len());
    // SAFETY: both have `length` values.
    let [total] = unsafe {
        let bias = bias::<W>(query.as_ptr(), length);
        tile_i8::<W, 1>(query.as_ptr(), [row.as_ptr()], length, bias, false)
    };
    total
}

/// Inner products of a query with contiguous rows of its length, `R` at a time.
///
/// # Safety
/// The processor must have the instructions of `W`.
#[inline(always)]
pub(super) unsafe fn rows_i8<W: Wholes, const R: usize>(query: &[i8], rows: &[i8], out: &mut [i32], ahead: bool) {
    const { assert!(W::STEP <= 64) };
    let length = query.len();
    let Some(count) = rows.len().checked_div(length) else { return };
    let count = count.min(out.len());
    // SAFETY: as in `rows`.
    unsafe {
        let bias = bias::<W>(query.as_ptr(), length);
        let mut row = 0;
        while row + R <= count {
            let mut pointers = [rows.as_ptr(); R];
            for r in 0..R {
                pointers[r] = rows.as_ptr().add((row + r) * length);
            }
            let totals = tile_i8::<W, R>(query.as_ptr(), pointers, length, bias, ahead);
            for r in 0..R {
                *out.get_unchecked_mut(row + r) = totals[r];
            }
            row += R;
        }
        while row < count {
            let [total] = tile_i8::<W, 1>(query.as_ptr(), [rows.as_ptr().add(row * length)], length, bias, false);
            *out.get_unchecked_mut(row) = total;
            row += 1;
        }
    }
}

/// The kernels for one set of instructions: functions that enable it, and into which the loops are inlined.
macro_rules! kernels {
    ($features:literal, $floats:ty, $wholes:ty, rows: $single:literal, queries: $many:literal by $rows:literal) => {
        $crate::kernels::loops::kernels!(@each [#[target_feature(enable = $features)]], $floats, $wholes, $single, $many, $rows);
    };
    ($floats:ty, $wholes:ty, rows: $single:literal, queries: $many:literal by $rows:literal) => {
        $crate::kernels::loops::kernels!(@each [], $floats, $wholes, $single, $many, $rows);
    };
    (@each [$($attribute:tt)*], $floats:ty, $wholes:ty, $single:literal, $many:literal, $rows:literal) => {
        /// How many queries `many` takes at once.
        pub(in crate::kernels) const MANY: usize = $many;

        $($attribute)*
        pub(in crate::kernels) fn pair<T: Scalar, const L2: bool>(query: &[f32], row: &[T]) -> f32 {
            // SAFETY: this function can only run where the processor has what it enables.
            unsafe { loops::pair::<$floats, T, L2>(query, row) }
        }

        $($attribute)*
        pub(in crate::kernels) fn rows<T: Scalar, const L2: bool>(
            query: &[f32],
            rows: &[T],
            out: &mut [f32],
            reading: $crate::kernels::scalar::Reading,
        ) {
            // SAFETY: as above.
            unsafe {
                match reading {
                    $crate::kernels::scalar::Reading::Abreast => loops::rows::<$floats, T, L2, 1, $single>([query], rows, [out], true),
                    $crate::kernels::scalar::Reading::InOrder => loops::rows::<$floats, T, L2, 1, 1>([query], rows, [out], false),
                }
            }
        }

        $($attribute)*
        pub(in crate::kernels) fn many<T: Scalar, const L2: bool>(
            queries: [&[f32]; $many],
            rows: &[T],
            out: [&mut [f32]; $many],
        ) {
            // SAFETY: as above.
            unsafe { loops::rows::<$floats, T, L2, $many, $rows>(queries, rows, out, false) }
        }

        $($attribute)*
        pub(in crate::kernels) fn pair_i8(query: &[i8], row: &[i8]) -> i32 {
            // SAFETY: as above.
            unsafe { loops::pair_i8::<$wholes>(query, row) }
        }

        $($attribute)*
        pub(in crate::kernels) fn rows_i8(query: &[i8], rows: &[i8], out: &mut [i32], reading: $crate::kernels::scalar::Reading) {
            // SAFETY: as above.
            unsafe {
                match reading {
                    $crate::kernels::scalar::Reading::Abreast => loops::rows_i8::<$wholes, 4>(query, rows, out, true),
                    $crate::kernels::scalar::Reading::InOrder => loops::rows_i8::<$wholes, 1>(query, rows, out, false),
                }
            }
        }
    };
}
pub(super) use kernels;
