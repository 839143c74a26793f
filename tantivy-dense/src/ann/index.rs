//! [`AnnIndex`]: an approximate index over rows, in memory or mapped.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use tantivy::directory::OwnedBytes;

use super::Similarity;
use super::native::{Breadth, Failure, Found, Info, Kind, Native};
use crate::DenseError;
use crate::norm::squares;

/// Rows that an index is built from: `len()` vectors of the index's dimension.
pub trait RowSource: Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with whole rows, the first of which is row `first`. `out` holds a multiple of the dimension, and no
    /// row at or beyond [`RowSource::len`] is asked for.
    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), DenseError>;
}

/// Rows one after another in memory.
#[derive(Clone, Copy, Debug)]
pub struct RowSlice<'a> {
    values: &'a [f32],
    dimension: usize,
}

impl<'a> RowSlice<'a> {
    /// `values` is a whole number of rows of `dimension` values.
    pub fn new(values: &'a [f32], dimension: usize) -> Result<RowSlice<'a>, DenseError> {
        if dimension == 0 || !values.len().is_multiple_of(dimension) {
            return Err(refused(format!("{} values are no whole number of rows of {dimension}", values.len())));
        }
        Ok(RowSlice { values, dimension })
    }
}

impl RowSource for RowSlice<'_> {
    fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), DenseError> {
        let start = first.saturating_mul(self.dimension);
        match self.values.get(start..start.saturating_add(out.len())) {
            Some(values) => {
                out.copy_from_slice(values);
                Ok(())
            }
            None => Err(refused(format!("row {first} and following are beyond the {} rows there are", self.len()))),
        }
    }
}

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

/// What an opened index must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnSpec {
    /// How vectors are compared.
    pub similarity: Similarity,
    /// Values per row.
    pub dimension: usize,
    /// Number of rows.
    pub rows: usize,
}

/// How widely one query searches. `None` stands for the breadth the index was built with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnnSearch {
    /// Candidates a graph keeps while it walks; never fewer than k.
    pub ef: Option<usize>,
    /// Lists to look into, for an inverted file.
    pub nprobe: Option<usize>,
    /// Candidates per wanted row for an index that refines (`...,RFlat`).
    pub k_factor: Option<f32>,
}

/// The family an index belongs to, which decides whether `ef` or `nprobe` matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnKind {
    /// Every row is looked at.
    Flat,
    /// A graph (HNSW): `ef` matters.
    Graph,
    /// An inverted file (IVF): `nprobe` matters.
    Lists,
    /// Another of faiss's kinds.
    Other,
}

/// Rows found, with what finding them took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnnFound {
    /// Row numbers and similarities (higher is nearer), nearest first, ties by row number.
    pub rows: Vec<(u32, f32)>,
    /// Distances computed.
    pub distances: u64,
    /// Nodes of a graph walked through, or lists looked into.
    pub places: u64,
}

/// An approximate index over rows.
///
/// Searching takes `&self` and may be done from any number of threads; each search runs on its caller's thread alone.
pub struct AnnIndex {
    pub(super) native: Native,
    pub(super) info: Info,
    pub(super) mapped_bytes: usize,
}

/// The first bytes of a written index: magic with version, flags, the number of padding bytes, two zero bytes, the
/// length of what faiss wrote as u64 little-endian. Padding follows, so that the largest array of the index begins at
/// a multiple of 64 when the whole begins at one.
const MAGIC: [u8; 4] = *b"FAI1";
const HEADER: usize = 16;
const FLAG_GRAPH_ONLY: u8 = 1;
const ALIGNMENT: u64 = 64;
/// Largest number in a factory string, enough for the lists of billions of rows.
const MAX_FACTORY_NUMBER: u32 = 1 << 22;
/// faiss numbers the nodes of a graph with 32-bit signed integers.
const MAX_ROWS: usize = i32::MAX as usize;
/// With squared lengths up to this, no inner product or squared distance of two vectors overflows.
const MAX_SQUARED_LENGTH: f64 = 1e37;

fn refused(what: impl Into<String>) -> DenseError {
    DenseError::Ann { field: String::new(), why: what.into() }
}

pub(super) fn failed(doing: &str, failure: Failure) -> DenseError {
    match failure {
        Failure::Refused(words) => refused(format!("{doing}: {words}")),
        Failure::Cancelled => DenseError::Cancelled,
        Failure::NoMemory => refused(format!("{doing}: out of memory")),
    }
}

fn damaged(what: impl std::fmt::Display) -> DenseError {
    refused(format!("the written index is damaged: {what}"))
}

/// NaN and overflow break the heaps that a search keeps its candidates in.
pub(super) fn check_vector(values: &[f32], what: impl Fn() -> String) -> Result<(), DenseError> {
    if squares(values) <= MAX_SQUARED_LENGTH {
        Ok(())
    } else {
        Err(refused(format!("{} holds a value that is not finite, or is longer than 3e18", what())))
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

impl AnnIndex {
    /// Whether indexes can be built and searched: false where the crate was built without the feature `faiss`.
    pub fn available() -> bool {
        cfg!(feature = "faiss")
    }

    /// Name and version of the library that builds indexes, as written to files. `None` without the feature.
    pub fn library() -> Option<(&'static str, String)> {
        #[cfg(feature = "faiss")]
        {
            Some(("faiss", super::native::version()))
        }
        #[cfg(not(feature = "faiss"))]
        {
            None
        }
    }

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

    /// Whether [`AnnIndex::write_to`] can leave the vectors out, because they are the rows as they are.
    pub fn can_leave_out_rows(&self) -> bool {
        self.info.graph_over_rows
    }

    /// Writes the index to `out` and returns the number of bytes and their CRC-32.
    ///
    /// With `without_rows`, a graph over plain 32-bit rows is written without them, a fifth to a tenth of the size;
    /// [`AnnIndex::open`] must then be given the rows.
    pub fn write_to(&self, out: &mut dyn Write, without_rows: bool) -> Result<(u64, u32), DenseError> {
        let doing = "writing an index";
        if without_rows && !self.info.graph_over_rows {
            return Err(refused("only a graph over plain rows can be written without them"));
        }
        let (length, array) = self.native.size(without_rows).map_err(|failure| failed(doing, failure))?;
        let padding = (HEADER as u64 + array).next_multiple_of(ALIGNMENT) - (HEADER as u64 + array);
        let mut header = [0_u8; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = if without_rows { FLAG_GRAPH_ONLY } else { 0 };
        header[5] = padding as u8; // below 64
        header[8..].copy_from_slice(&length.to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        let mut written = 0_u64;
        let mut push = |bytes: &[u8]| {
            checksum.update(bytes);
            written += bytes.len() as u64;
            out.write_all(bytes)
        };
        push(&header).and_then(|()| push(&[0; ALIGNMENT as usize][..padding as usize])).map_err(DenseError::from)?;
        self.native
            .write(without_rows, &mut push)
            .map_err(|failure| failed(doing, failure))?
            .map_err(DenseError::from)?;
        let expected = HEADER as u64 + padding + length;
        if written != expected {
            return Err(refused(format!("faiss wrote an index of {written} bytes after announcing {expected}")));
        }
        Ok((written, checksum.finalize()))
    }

    /// The bytes of [`AnnIndex::write_to`] and their CRC-32.
    pub fn to_bytes(&self, without_rows: bool) -> Result<(Vec<u8>, u32), DenseError> {
        let mut bytes = Vec::new();
        let (_, checksum) = self.write_to(&mut bytes, without_rows)?;
        Ok((bytes, checksum))
    }

    /// Opens what [`AnnIndex::write_to`] wrote.
    ///
    /// The checksum is verified before faiss sees a byte, because its reader believes every length it finds; what was
    /// read is then held against `spec`, and the links of a graph against its rows. `rows` are the rows it was built
    /// from, where it was written without them: they must be the very same values, which is the caller's to ensure (by
    /// a checksum kept beside, as [`super::file`] does). Rows that are not aligned to four bytes are copied.
    ///
    /// The neighbours of a graph and the codes of a flat index are used where they lie, so that a mapped file costs
    /// little memory; `bytes` should begin at a multiple of 64 for that, and is copied in part otherwise.
    pub fn open(
        bytes: OwnedBytes,
        checksum: u32,
        spec: &AnnSpec,
        rows: Option<OwnedBytes>,
    ) -> Result<AnnIndex, DenseError> {
        if crc32fast::hash(&bytes) != checksum {
            return Err(damaged("its checksum differs"));
        }
        let header: [u8; HEADER] = match bytes.get(..HEADER).and_then(|header| header.try_into().ok()) {
            Some(header) => header,
            None => return Err(damaged(format!("{} bytes hold no header", bytes.len()))),
        };
        if header[..4] != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let mut length = [0; 8];
        length.copy_from_slice(&header[8..]);
        let start = HEADER + usize::from(header[5]);
        let end = usize::try_from(u64::from_le_bytes(length)).ok().and_then(|length| start.checked_add(length));
        if end != Some(bytes.len()) || header[4] > FLAG_GRAPH_ONLY {
            return Err(damaged("its header does not fit its length"));
        }
        let rows = match (header[4] & FLAG_GRAPH_ONLY != 0, rows) {
            (false, _) => None,
            (true, None) => {
                return Err(refused("the index was written without its rows; they must be given"));
            }
            (true, Some(rows)) => Some(aligned(rows, spec)?),
        };
        // A graph is walked by comparing with these, and faiss's heaps believe that comparisons are of numbers.
        if let Some(rows) = &rows {
            let values: &[f32] = bytemuck::try_cast_slice(rows).unwrap_or_default();
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(refused(format!("row {} holds a value that is no number", at / spec.dimension.max(1))));
            }
        }
        let doing = "opening an index";
        let mapped_bytes = bytes.len();
        let native = Native::open(bytes.slice(start..bytes.len()), rows, spec.rows as u64)
            .map_err(|failure| failed(doing, failure))?;
        let info = native.info().map_err(|failure| failed(doing, failure))?;
        let inner_product = spec.similarity == Similarity::InnerProduct;
        if info.rows != spec.rows as u64
            || info.dimension != spec.dimension as u64
            || info.inner_product != inner_product
        {
            return Err(refused(format!(
                "the written index has {} rows of {} values; {} rows of {} with {:?} were expected",
                info.rows, info.dimension, spec.rows, spec.dimension, spec.similarity
            )));
        }
        Ok(AnnIndex { native, info, mapped_bytes })
    }

    /// The `k` nearest rows, nearest first, ties by row number; fewer where fewer are found.
    ///
    /// `filter` has bit `row % 64` of word `row / 64` set for every row that may be returned; rows beyond its end may
    /// not. A graph walks through rows that are filtered out, so a filter that leaves few rows can leave it short:
    /// scan those rows instead.
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        search: &AnnSearch,
        filter: Option<&[u64]>,
    ) -> Result<Vec<(u32, f32)>, DenseError> {
        Ok(self.search_counted(query, k, search, filter)?.rows)
    }

    /// [`AnnIndex::search`], with what it took.
    pub fn search_counted(
        &self,
        query: &[f32],
        k: usize,
        search: &AnnSearch,
        filter: Option<&[u64]>,
    ) -> Result<AnnFound, DenseError> {
        self.check_query(query)?;
        let k = k.min(self.rows());
        if k == 0 {
            return Ok(AnnFound::default());
        }
        let found = self
            .native
            .search(query, self.dimension(), k, self.breadth(search), filter)
            .map_err(|failure| failed("searching an index", failure))?;
        self.collect(found, filter)
    }

    /// How vectors are compared.
    pub fn similarity(&self) -> Similarity {
        if self.info.inner_product { Similarity::InnerProduct } else { Similarity::SquaredL2 }
    }

    /// The faiss index, to be copied to a GPU while `self` lives.
    #[cfg(feature = "gpu")]
    pub(super) fn inner(&self) -> *const std::ffi::c_void {
        self.native.inner()
    }

    /// All rows found whose similarity is at least `least`. Approximate as [`AnnIndex::search`] is: a graph returns those its walk
    /// meets, an inverted file those in the lists it looks into. Range searches take turns with one another.
    pub fn search_within(
        &self,
        query: &[f32],
        least: f32,
        search: &AnnSearch,
        filter: Option<&[u64]>,
    ) -> Result<AnnFound, DenseError> {
        self.check_query(query)?;
        if least.is_nan() {
            return Err(refused("the least similarity is not a number"));
        }
        if self.rows() == 0 {
            return Ok(AnnFound::default());
        }
        // faiss leaves out rows exactly at the radius.
        let radius = if self.info.inner_product { least.next_down() } else { (-least).next_up() };
        let found = self
            .native
            .range(query, self.dimension(), radius, self.breadth(search), filter)
            .map_err(|failure| failed("searching an index within a distance", failure))?;
        let mut found = self.collect(found, filter)?;
        found.rows.retain(|&(_, similarity)| similarity >= least);
        Ok(found)
    }

    pub(super) fn check_query(&self, query: &[f32]) -> Result<(), DenseError> {
        if query.len() != self.dimension() {
            return Err(refused(format!("a query of {} values for an index of {}", query.len(), self.dimension())));
        }
        check_vector(query, || "the query".to_owned())
    }

    fn breadth(&self, search: &AnnSearch) -> Breadth {
        // Wider than all rows is as good as all rows, and an honest size to allocate.
        let rows = self.info.rows.max(1);
        Breadth {
            ef: search.ef.map_or(0, |ef| (ef as u64).clamp(1, rows)),
            nprobe: search.nprobe.map_or(0, |lists| (lists as u64).clamp(1, rows)),
            k_factor: search.k_factor.filter(|factor| factor.is_finite()).map_or(0.0, |factor| factor.max(1.0)),
        }
    }

    fn collect(&self, found: Found, filter: Option<&[u64]>) -> Result<AnnFound, DenseError> {
        let mut rows = Vec::with_capacity(found.labels.len());
        for (&label, &distance) in found.labels.iter().zip(&found.distances) {
            if label == -1 {
                continue;
            }
            let row = match u32::try_from(label) {
                Ok(row) if u64::from(row) < self.info.rows => row,
                _ => {
                    return Err(damaged(format!("it names row {label} of {}", self.info.rows)));
                }
            };
            let allowed =
                filter.is_none_or(|words| words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1));
            if !allowed {
                return Err(refused(format!("an index of kind {:?} does not honour filters", self.kind())));
            }
            rows.push((row, if self.info.inner_product { distance } else { -distance }));
        }
        rows.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(AnnFound { rows, distances: found.distances_computed, places: found.places_visited })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.info.rows as usize
    }

    /// Values per row.
    pub fn dimension(&self) -> usize {
        self.info.dimension as usize
    }

    /// The family the index belongs to.
    pub fn kind(&self) -> AnnKind {
        match self.info.kind {
            Kind::Flat => AnnKind::Flat,
            Kind::Graph => AnnKind::Graph,
            Kind::Lists => AnnKind::Lists,
            Kind::Other => AnnKind::Other,
        }
    }

    /// Number of lists of an inverted file, else 0.
    pub fn lists(&self) -> usize {
        self.info.lists as usize
    }

    /// Whether searches from several threads run at the same time. Kinds whose search adds to faiss's global counters
    /// (product quantisers without lists, fast-scan) take turns instead.
    pub fn is_concurrent(&self) -> bool {
        self.info.concurrent
    }

    /// Bytes of memory the index holds itself, rows and bytes used in place not counted. A search keeps another byte
    /// per row of a graph and concurrent thread.
    pub fn memory_bytes(&self) -> usize {
        self.info.owned_bytes as usize
    }

    /// Length of the bytes the index was opened from, parts of which it may use in place; 0 for one just built.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped_bytes
    }
}

impl std::fmt::Debug for AnnIndex {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AnnIndex").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Rows as 32-bit floats where they lie, or a copy where they are not aligned.
fn aligned(rows: OwnedBytes, spec: &AnnSpec) -> Result<OwnedBytes, DenseError> {
    let expected = spec.rows.checked_mul(spec.dimension).and_then(|values| values.checked_mul(4));
    if expected != Some(rows.len()) {
        return Err(refused(format!(
            "{} bytes of rows are not {} rows of {} 32-bit floats",
            rows.len(),
            spec.rows,
            spec.dimension
        )));
    }
    if bytemuck::try_cast_slice::<u8, f32>(&rows).is_ok() {
        return Ok(rows);
    }
    // A vector of bytes promises no alignment, so the copy begins at the first aligned byte of a slightly longer one.
    let mut copy = vec![0_u8; rows.len() + align_of::<f32>() - 1];
    let start = copy.as_ptr().align_offset(align_of::<f32>());
    let end = start.saturating_add(rows.len());
    match copy.get_mut(start..end) {
        Some(place) => place.copy_from_slice(&rows),
        None => return Err(refused("the rows could not be aligned")),
    }
    Ok(OwnedBytes::new(copy).slice(start..end))
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
