//! What a kernel asks of a processor: sixteen floats side by side, or a step's worth of small whole numbers.
//!
//! A set of instructions is an implementation of these two traits, one instruction or a few per method, and the loops
//! over them (`loops.rs`) are written once.
#![allow(unsafe_code)]

use super::f16;

/// Values that are added up side by side.
pub(super) const LANES: usize = 16;

/// [`LANES`] floats.
pub(super) trait Floats: Copy {
    /// # Safety
    /// As all methods here: the processor must have the instructions.
    unsafe fn zero() -> Self;
    /// # Safety
    /// `LANES` values must be readable at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `LANES` values must be readable at `from`.
    unsafe fn load_half(from: *const f16) -> Self;
    /// The last `count` lanes, zeros in the others. `count` is at most `LANES`.
    ///
    /// # Safety
    /// See [`Floats::zero`].
    unsafe fn keep_last(self, count: usize) -> Self;
    /// # Safety
    /// See [`Floats::zero`].
    unsafe fn minus(self, other: Self) -> Self;
    /// `self * factor + sum`, rounded once.
    ///
    /// # Safety
    /// See [`Floats::zero`].
    unsafe fn times_plus(self, factor: Self, sum: Self) -> Self;
    /// The sum of the lanes: the upper half is added to the lower, until one is left.
    ///
    /// # Safety
    /// See [`Floats::zero`].
    unsafe fn fold(self) -> f32;
}

/// Sums of products of 8-bit numbers.
pub(super) trait Wholes: Copy {
    /// Values per step.
    const STEP: usize;
    /// Whether sums come out too large by the product with a row of zeros, which the loop takes off again.
    const BIASED: bool;
    /// A step of a query, made ready.
    type Query: Copy;
    /// # Safety
    /// As all methods here: the processor must have the instructions.
    unsafe fn zero() -> Self;
    /// # Safety
    /// `STEP` values must be readable at `from`.
    unsafe fn query(from: *const i8) -> Self::Query;
    /// Adds a step of products.
    ///
    /// # Safety
    /// `STEP` values must be readable at `row`.
    unsafe fn step(self, query: Self::Query, row: *const i8) -> Self;
    /// # Safety
    /// See [`Wholes::zero`].
    unsafe fn fold(self) -> i32;
}
