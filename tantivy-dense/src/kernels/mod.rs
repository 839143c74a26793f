//! Comparing vectors as fast as the machine can.
//!
//! Every kernel exists for AVX-512, AVX2 and NEON, chosen once per process by what the processor has, and in plain Rust.
//! Each comes in three shapes: one pair of vectors; one query against contiguous rows; several queries against contiguous
//! rows, which are then read from memory once for all. A pair gets the same bits in every shape and on every instruction
//! set (but for processors without fused multiply-add), so a similarity does not depend on how it was come by.
//!
//! Scans of more than the cache holds are bound by memory: a row costs what reading it costs, which is why rounded rows
//! are scanned faster. `cargo bench -p tantivy-dense --bench kernels` prints both, beside the machine's own limit.

mod lanes;
mod loops;
mod portable;
mod scalar;

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::sync::OnceLock;

pub use half::f16;
pub(crate) use scalar::Reading;
pub use scalar::Scalar;

/// Rows are taken in blocks of about so many bytes, so that they are still in the cache for the next query.
const BLOCK_BYTES: usize = 128 << 10;

/// A set of processor instructions that the kernels are written for. Values exist only for sets that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instructions(Set, Reading);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// Calls the version of a kernel for a set of instructions.
macro_rules! dispatch {
    ($instructions:expr, $module:ident => $call:expr) => {
        match $instructions.0 {
            Set::Portable => {
                use portable as $module;
                $call
            }
            // SAFETY, for all sets: `Instructions` are made only for sets that the processor has.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => {
                use x86::avx2 as $module;
                #[allow(unsafe_code)]
                unsafe {
                    $call
                }
            }
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => {
                use x86::avx512 as $module;
                #[allow(unsafe_code)]
                unsafe {
                    $call
                }
            }
            #[cfg(target_arch = "x86_64")]
            Set::Vnni => {
                use x86::vnni as $module;
                #[allow(unsafe_code)]
                unsafe {
                    $call
                }
            }
            #[cfg(target_arch = "aarch64")]
            Set::Neon => {
                use neon as $module;
                #[allow(unsafe_code)]
                unsafe {
                    $call
                }
            }
        }
    };
}

impl Instructions {
    /// The fastest set that this processor has.
    #[inline]
    pub fn best() -> Instructions {
        static BEST: OnceLock<Instructions> = OnceLock::new();
        *BEST.get_or_init(|| Instructions::available().pop().unwrap_or(Instructions(Set::Portable, Reading::Abreast)))
    }

    /// All sets that this processor has, the slowest first.
    pub fn available() -> Vec<Instructions> {
        #[allow(unused_mut)]
        let mut sets = vec![Set::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(x86::avx2::available().then_some(Set::Avx2));
            sets.extend(x86::avx512::available().then_some(Set::Avx512));
            sets.extend(x86::vnni::available().then_some(Set::Vnni));
        }
        #[cfg(target_arch = "aarch64")]
        sets.extend(std::arch::is_aarch64_feature_detected!("neon").then_some(Set::Neon));
        let reading = Reading::best();
        sets.into_iter().map(|set| Instructions(set, reading)).collect()
    }

    /// [`dot`] with these instructions.
    pub fn dot<T: Scalar>(self, query: &[f32], row: &[T]) -> f32 {
        dispatch!(self, set => set::pair::<T, false>(query, row))
    }

    /// [`l2_squared`] with these instructions.
    pub fn l2_squared<T: Scalar>(self, query: &[f32], row: &[T]) -> f32 {
        dispatch!(self, set => set::pair::<T, true>(query, row))
    }

    /// [`dot_i8`] with these instructions.
    pub fn dot_i8(self, query: &[i8], row: &[i8]) -> i32 {
        dispatch!(self, set => set::pair_i8(query, row))
    }

    /// [`dot_rows`] with these instructions.
    pub fn dot_rows<T: Scalar>(self, query: &[f32], rows: &[T], out: &mut Vec<f32>) {
        self.rows::<T, false>(query, rows, out);
    }

    /// [`l2_squared_rows`] with these instructions.
    pub fn l2_squared_rows<T: Scalar>(self, query: &[f32], rows: &[T], out: &mut Vec<f32>) {
        self.rows::<T, true>(query, rows, out);
    }

    /// [`dot_rows_i8`] with these instructions.
    pub fn dot_rows_i8(self, query: &[i8], rows: &[i8], out: &mut Vec<i32>) {
        out.resize(rows.len().checked_div(query.len()).unwrap_or(0), 0);
        dispatch!(self, set => set::rows_i8(query, rows, out, self.1));
    }

    /// [`dot_batch`] with these instructions.
    pub fn dot_batch<T: Scalar>(self, queries: &[&[f32]], rows: &[T], out: &mut Vec<f32>) {
        self.batch::<T, false>(queries, rows, out);
    }

    /// [`l2_squared_batch`] with these instructions.
    pub fn l2_squared_batch<T: Scalar>(self, queries: &[&[f32]], rows: &[T], out: &mut Vec<f32>) {
        self.batch::<T, true>(queries, rows, out);
    }

    fn rows<T: Scalar, const L2: bool>(self, query: &[f32], rows: &[T], out: &mut Vec<f32>) {
        out.resize(rows.len().checked_div(query.len()).unwrap_or(0), 0.0);
        dispatch!(self, set => set::rows::<T, L2>(query, rows, out, self.1));
    }

    fn batch<T: Scalar, const L2: bool>(self, queries: &[&[f32]], rows: &[T], out: &mut Vec<f32>) {
        let length = queries.iter().map(|query| query.len()).min().unwrap_or(0);
        let count = rows.len().checked_div(length).unwrap_or(0);
        out.clear();
        out.resize(count * queries.len(), 0.0);
        if count == 0 {
            return;
        }
        let block = (BLOCK_BYTES / (length * size_of::<T>())).max(1);
        for (at, rows) in rows.chunks(block * length).enumerate() {
            let here = at * block..count.min((at + 1) * block);
            dispatch!(self, set => {
                let mut results = out.chunks_exact_mut(count).map(|out| &mut out[here.clone()]);
                let mut queries = queries.iter().map(|query| &query[..length]);
                let whole = queries.len() / set::MANY;
                for _ in 0..whole {
                    let (Some(queries), Some(results)) = (take(&mut queries), take(&mut results)) else { break };
                    set::many::<T, L2>(queries, rows, results);
                }
                queries.zip(results).for_each(|(query, out)| set::rows::<T, L2>(query, rows, out, self.1));
            });
        }
    }
}

/// The next `N`, if there are as many.
fn take<T, const N: usize>(from: &mut impl Iterator<Item = T>) -> Option<[T; N]> {
    from.take(N).collect::<Vec<T>>().try_into().ok()
}

impl fmt::Display for Instructions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Set::Vnni => "AVX-512 VNNI",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "NEON",
        })
    }
}

/// Inner product. Where lengths differ, as here and below, values without a partner are left out.
///
/// ```
/// use tantivy_dense::kernels::{dot, f16};
/// assert_eq!(dot(&[1.0, 2.0], &[3.0_f32, 4.0]), 11.0);
/// assert_eq!(dot(&[1.0, 2.0], &[f16::ONE, f16::ONE]), 3.0);
/// ```
#[inline]
pub fn dot<T: Scalar>(query: &[f32], row: &[T]) -> f32 {
    Instructions::best().dot(query, row)
}

/// Squared Euclidean distance.
#[inline]
pub fn l2_squared<T: Scalar>(query: &[f32], row: &[T]) -> f32 {
    Instructions::best().l2_squared(query, row)
}

/// Inner product of small whole numbers: exact for up to 131,071 of them, and wraps around beyond.
#[inline]
pub fn dot_i8(query: &[i8], row: &[i8]) -> i32 {
    Instructions::best().dot_i8(query, row)
}

/// Inner products of a query with rows of its length that follow each other. `out` gets one number a row; what it held
/// is overwritten, so that it can be used again for the next rows.
#[inline]
pub fn dot_rows<T: Scalar>(query: &[f32], rows: &[T], out: &mut Vec<f32>) {
    Instructions::best().dot_rows(query, rows, out);
}

/// Squared Euclidean distances, as [`dot_rows`].
#[inline]
pub fn l2_squared_rows<T: Scalar>(query: &[f32], rows: &[T], out: &mut Vec<f32>) {
    Instructions::best().l2_squared_rows(query, rows, out);
}

/// Inner products of small whole numbers, as [`dot_rows`] and [`dot_i8`].
#[inline]
pub fn dot_rows_i8(query: &[i8], rows: &[i8], out: &mut Vec<i32>) {
    Instructions::best().dot_rows_i8(query, rows, out);
}

/// Inner products of several queries of one length with rows that follow each other, each row read once from memory.
/// `out` gets one number a row for the first query, then for the second, and so on.
///
/// ```
/// let mut out = Vec::new();
/// tantivy_dense::kernels::dot_batch(&[&[1.0, 0.0], &[0.0, 1.0]], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], &mut out);
/// assert_eq!(out, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
/// ```
pub fn dot_batch<T: Scalar>(queries: &[&[f32]], rows: &[T], out: &mut Vec<f32>) {
    Instructions::best().dot_batch(queries, rows, out);
}

/// Squared Euclidean distances, as [`dot_batch`].
pub fn l2_squared_batch<T: Scalar>(queries: &[&[f32]], rows: &[T], out: &mut Vec<f32>) {
    Instructions::best().l2_squared_batch(queries, rows, out);
}
