//! Building an index: which one, trained on a sample, filled row by row.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Similarity;
use super::faults::{check_vector, failed, refused};
use super::index::AnnIndex;
use super::native::Native;
use super::rows::RowSource;
use super::written::AnnSpec;
use crate::DenseError;

/// Largest number in a factory string, enough for the lists of billions of rows.
const MAX_FACTORY_NUMBER: u32 = 1 << 22;
/// faiss numbers the nodes of a graph with 32-bit signed integers.
const MAX_ROWS: usize = i32::MAX as usize;

/// What to build.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnBuild {
    /// A faiss factory string, for instance `HNSW32` or `IVF1024,SQ8`.
    pub factory: String,
    /// How vectors are compared.
    pub similarity: Similarity,
    /// Values per row.
    pub dimension: usize,
    /// Threads to train and add with; 0 for as many as the machine has.
    ///
    /// Matrix products during training go through BLAS, which has a thread pool of its own (`OPENBLAS_NUM_THREADS`).
    pub threads: usize,
    /// How widely a graph looks for each row's neighbours; 0 for faiss's default of 40. Indexes without a graph ignore it.
    pub ef_construction: usize,
    /// Rows to train on at most; 0 chooses by the number of lists. Indexes without training ignore it.
    pub train_rows: usize,
}

impl AnnBuild {
    /// A build with every default.
    pub fn new(factory: impl Into<String>, similarity: Similarity, dimension: usize) -> AnnBuild {
        AnnBuild { factory: factory.into(), similarity, dimension, threads: 0, ef_construction: 0, train_rows: 0 }
    }

    /// What an index built so over `rows` rows must turn out to be when it is opened.
    pub fn spec(&self, rows: usize) -> AnnSpec {
        AnnSpec { similarity: self.similarity, dimension: self.dimension, rows }
    }
}

impl AnnIndex {
    /// Whether the library knows how to build such an index.
    ///
    /// # Errors
    /// [`DenseError::Ann`] with the library's reason, or because there is no library.
    pub fn check(build: &AnnBuild) -> Result<(), DenseError> {
        check_factory(&build.factory)?;
        let inner_product = build.similarity == Similarity::InnerProduct;
        match Native::create(&build.factory, build.dimension, inner_product, 0, build.ef_construction) {
            Ok(_) => Ok(()),
            Err(failure) => Err(failed(&format!("index `{}`", build.factory), failure)),
        }
    }

    /// Builds an index over all of `rows`. Row i of the source becomes row i of the index.
    ///
    /// Takes minutes for millions of rows, on `build.threads` threads. Sets `cancel` from elsewhere to make it return
    /// [`DenseError::Cancelled`] within about a second. A graph built with more than one thread differs a little from
    /// one build to the next.
    pub fn build(build: &AnnBuild, rows: &dyn RowSource, cancel: &AtomicBool) -> Result<AnnIndex, DenseError> {
        let count = rows.len();
        let dimension = build.dimension;
        if dimension == 0 || count > MAX_ROWS {
            return Err(refused(format!("no index over {count} rows of {dimension} values can be built")));
        }
        check_factory(&build.factory)?;
        let threads = match build.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        let inner_product = build.similarity == Similarity::InnerProduct;
        let doing = || format!("building {} over {count} rows of {dimension}", build.factory);
        let mut native = Native::create(&build.factory, dimension, inner_product, count as u64, build.ef_construction)
            .map_err(|failure| failed(&doing(), failure))?;
        let info = native.info().map_err(|failure| failed(&doing(), failure))?;
        if !info.trained {
            let sample = sample(build, rows, info.lists, cancel)?;
            native
                .train((sample.len() / dimension) as u64, &sample, threads, cancel)
                .map_err(|failure| failed(&doing(), failure))?;
        }
        // Each batch costs a graph one pass over a byte per row and thread, so batches grow with the rows.
        let batch = (count / 32).clamp(4096, 65_536).min(count.max(1));
        let mut buffer = vec![0.0; batch * dimension];
        let mut first = 0;
        while first < count {
            if cancel.load(Ordering::Relaxed) {
                return Err(DenseError::Cancelled);
            }
            let here = batch.min(count - first);
            let values = &mut buffer[..here * dimension];
            rows.read(first, values)?;
            for (offset, row) in values.chunks_exact(dimension).enumerate() {
                check_vector(row, || format!("row {}", first + offset))?;
            }
            native.add(here as u64, values, threads, cancel).map_err(|failure| failed(&doing(), failure))?;
            first += here;
        }
        let info = native.info().map_err(|failure| failed(&doing(), failure))?;
        Ok(AnnIndex { native, info, mapped_bytes: 0 })
    }
}

/// faiss divides by some of the numbers in a factory string and makes room for others before it looks at them.
fn check_factory(factory: &str) -> Result<(), DenseError> {
    let numbers = factory.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    for digits in numbers {
        if !digits.parse().is_ok_and(|number: u32| (1..=MAX_FACTORY_NUMBER).contains(&number)) {
            let limit = format!("the numbers in it can be from 1 to {MAX_FACTORY_NUMBER}, {digits} cannot");
            return Err(refused(format!("index `{factory}`: {limit}")));
        }
    }
    let one_link = |part: &str| part.split_once("HNSW").is_some_and(|(_, links)| links == "1");
    if factory.split([',', '_', '(', ')']).any(one_link) {
        return Err(refused(format!("index `{factory}`: a graph needs two links a row or more")));
    }
    Ok(())
}

/// A sample of the rows to train on: one from each of as many equal stretches, at a place that varies in a fixed way,
/// so that neither the order of the documents nor a period in it shows.
fn sample(build: &AnnBuild, rows: &dyn RowSource, lists: u64, cancel: &AtomicBool) -> Result<Vec<f32>, DenseError> {
    let count = rows.len();
    let wanted = match build.train_rows {
        0 => (lists as usize).saturating_mul(64).max(65_536),
        rows => rows,
    };
    let wanted = wanted.min(count);
    if wanted == 0 {
        return Err(refused(format!("{} cannot be trained without rows", build.factory)));
    }
    let mut values = vec![0.0; wanted * build.dimension];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for (i, out) in values.chunks_exact_mut(build.dimension).enumerate() {
        if i % 1024 == 0 && cancel.load(Ordering::Relaxed) {
            return Err(DenseError::Cancelled);
        }
        let (start, end) = (i * count / wanted, (i + 1) * count / wanted);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let row = start + (state % (end - start).max(1) as u64) as usize;
        rows.read(row, out)?;
        check_vector(out, || format!("row {row}"))?;
    }
    Ok(values)
}
