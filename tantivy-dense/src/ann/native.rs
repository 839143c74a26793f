//! The one place that calls into faiss, and the only unsafe code around it.
//!
//! What makes the calls safe, in one list:
//! - C++ exceptions are caught on the other side and come back as a status and a message.
//! - An index is either being built (`&mut self`) or searched (`&self`). The shim's searches write to nothing shared
//!   except a pool behind a mutex, or take turns where faiss itself writes to global counters.
//! - Filters and parameters live on the other side's stack for the length of one call: nothing leaks, nothing dangles.
//! - Bytes that an opened index looks at in place are owned by the index and dropped after it.
//! - Vectors handed over are finite and of bounded length before faiss sees them: its heaps loop on comparisons that NaN
//!   breaks. What an opened index holds itself is checked as far as faiss follows it without looking (links of a graph,
//!   sizes, ranges of scalar quantizers), and trusted beyond that.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::AtomicBool;

// Nothing is called through it, but it brings the libraries that the shim needs.
use faiss_sys as _;
use tantivy::directory::OwnedBytes;

use super::raw::{Breadth, Failure, Info, Kind, RawHits};

#[cfg(target_endian = "big")]
compile_error!("the feature `faiss` passes filters as words in the machine's order, which faiss reads as bytes");

#[repr(C)]
struct RawIndex {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawQuery {
    vector: *const f32,
    k: u64,
    ef: u64,
    nprobe: u64,
    k_factor: f32,
    bitmap: *const u8,
    bitmap_bytes: u64,
}

#[repr(C)]
#[derive(Default)]
struct RawInfo {
    rows: u64,
    dimension: u64,
    owned_bytes: u64,
    lists: u64,
    inner_product: c_int,
    kind: c_int,
    trained: c_int,
    concurrent: c_int,
    graph_over_rows: c_int,
}

type RawSink = extern "C" fn(user: *mut c_void, bytes: *const u8, length: usize) -> c_int;

unsafe extern "C" {
    fn adf_version() -> *const c_char;
    fn adf_create(
        factory: *const c_char,
        dimension: c_int,
        inner_product: c_int,
        rows: u64,
        ef_construction: c_int,
        out: *mut *mut RawIndex,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adf_train(
        index: *mut RawIndex,
        rows: u64,
        values: *const f32,
        threads: c_int,
        cancel: *const u8,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adf_add(
        index: *mut RawIndex,
        rows: u64,
        values: *const f32,
        threads: c_int,
        cancel: *const u8,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adf_size(
        index: *const RawIndex,
        graph_only: c_int,
        bytes: *mut u64,
        mappable_at: *mut u64,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adf_write(
        index: *const RawIndex,
        graph_only: c_int,
        sink: RawSink,
        user: *mut c_void,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adf_open(
        bytes: *const u8,
        length: u64,
        rows: *const f32,
        row_values: u64,
        expected_rows: u64,
        out: *mut *mut RawIndex,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adf_info(index: *const RawIndex, info: *mut RawInfo, message: *mut c_char, capacity: usize) -> c_int;
    fn adf_search(
        index: *mut RawIndex,
        query: *const RawQuery,
        distances: *mut f32,
        labels: *mut i64,
        distances_computed: *mut u64,
        places_visited: *mut u64,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adf_search_flat(
        index: *const RawIndex,
        count: u64,
        queries: *const f32,
        k: u64,
        distances: *mut f32,
        labels: *mut i64,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    #[cfg(feature = "gpu")]
    fn adf_inner(index: *const RawIndex) -> *const c_void;
    fn adf_free(index: *mut RawIndex);
}

/// One faiss index.
pub(super) struct Native {
    raw: NonNull<RawIndex>,
    // After `raw`'s release in `drop`, fields go in this order; nobody looks at the bytes any more by then.
    _blob: Option<OwnedBytes>,
    _rows: Option<OwnedBytes>,
}

// SAFETY: the index is plain memory without ties to the thread that made it.
unsafe impl Send for Native {}
// SAFETY: `&self` reaches adf_info, adf_size, adf_write and adf_inner, which only read; adf_search_flat, which reads too and
// takes flat indexes alone, whose search writes to nothing shared; and adf_search, which writes to nothing but a pool behind a
// mutex: kinds that would write to faiss's globals are serialised by a mutex in the shim. The GPU's shim only reads what
// adf_inner points to.
unsafe impl Sync for Native {}

const MESSAGE_BYTES: usize = 1024;

/// Runs one call with room for a message and turns its status into a result.
fn call(body: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<(), Failure> {
    let mut message = [0_u8; MESSAGE_BYTES];
    let status = body(message.as_mut_ptr().cast(), message.len());
    match status {
        0 => Ok(()),
        2 => Err(Failure::Cancelled),
        3 => Err(Failure::NoMemory),
        _ => {
            let text = CStr::from_bytes_until_nul(&message).map(|text| text.to_string_lossy().into_owned());
            Err(Failure::Refused(text.unwrap_or_else(|_| "an error without words".to_owned())))
        }
    }
}

/// The version of faiss that is linked, as in "1.12.0".
pub(super) fn version() -> String {
    // SAFETY: returns a string literal.
    unsafe { CStr::from_ptr(adf_version()) }.to_string_lossy().into_owned()
}

fn flag_pointer(cancel: &AtomicBool) -> *const u8 {
    // Read on the other side as one byte, atomically; AtomicBool has the size and representation of bool.
    cancel.as_ptr().cast_const().cast()
}

fn to_int(value: usize, what: &str) -> Result<c_int, Failure> {
    c_int::try_from(value).map_err(|_| Failure::Refused(format!("{what} {value} is beyond what faiss counts to")))
}

impl Native {
    /// An empty index from a factory string, with room for `rows`.
    pub(super) fn create(
        factory: &str,
        dimension: usize,
        inner_product: bool,
        rows: u64,
        ef_construction: usize,
    ) -> Result<Native, Failure> {
        let text = CString::new(factory)
            .map_err(|_| Failure::Refused("the factory string contains a zero byte".to_owned()))?;
        let dimension = to_int(dimension, "dimension")?;
        let ef_construction = to_int(ef_construction, "efConstruction")?;
        let mut raw = std::ptr::null_mut();
        call(|message, capacity| {
            // SAFETY: all pointers are valid for the call; `raw` is null or owned by us afterwards.
            unsafe {
                adf_create(
                    text.as_ptr(),
                    dimension,
                    c_int::from(inner_product),
                    rows,
                    ef_construction,
                    &mut raw,
                    message,
                    capacity,
                )
            }
        })?;
        Native::adopt(raw, None, None)
    }

    /// An index over the bytes of [`Native::write`]. `rows` are the vectors of a graph written without them; they and
    /// the bytes stay where they are as long as the index lives, and are looked at in place where faiss can.
    ///
    /// The caller has verified a checksum over `blob`: faiss's reader believes the lengths it finds.
    pub(super) fn open(blob: OwnedBytes, rows: Option<OwnedBytes>, expected_rows: u64) -> Result<Native, Failure> {
        let (row_pointer, row_values) = match &rows {
            None => (std::ptr::null(), 0),
            Some(bytes) => {
                let values: &[f32] = bytemuck::try_cast_slice(bytes.as_slice())
                    .map_err(|error| Failure::Refused(format!("the rows are not aligned floats: {error}")))?;
                (values.as_ptr(), values.len() as u64)
            }
        };
        let bytes = blob.as_slice();
        let mut raw = std::ptr::null_mut();
        call(|message, capacity| {
            // SAFETY: `OwnedBytes` does not move its memory, and both are kept in the result until the index is freed.
            unsafe {
                adf_open(
                    bytes.as_ptr(),
                    bytes.len() as u64,
                    row_pointer,
                    row_values,
                    expected_rows,
                    &mut raw,
                    message,
                    capacity,
                )
            }
        })?;
        Native::adopt(raw, Some(blob), rows)
    }

    fn adopt(raw: *mut RawIndex, blob: Option<OwnedBytes>, rows: Option<OwnedBytes>) -> Result<Native, Failure> {
        match NonNull::new(raw) {
            Some(raw) => Ok(Native { raw, _blob: blob, _rows: rows }),
            None => Err(Failure::Refused("faiss gave no index and no reason".to_owned())),
        }
    }

    /// Trains on `values`, whole rows one after another, with up to `threads` OpenMP threads.
    pub(super) fn train(
        &mut self,
        rows: u64,
        values: &[f32],
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<(), Failure> {
        self.check_rows(rows, values)?;
        let threads = to_int(threads, "threads")?.max(1);
        call(|message, capacity| {
            // SAFETY: `values` holds rows x dimension floats (checked above), and `&mut self` excludes searches.
            unsafe {
                adf_train(self.raw.as_ptr(), rows, values.as_ptr(), threads, flag_pointer(cancel), message, capacity)
            }
        })
    }

    /// Adds `values`, whole rows one after another; they get the next row numbers.
    pub(super) fn add(
        &mut self,
        rows: u64,
        values: &[f32],
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<(), Failure> {
        if self._blob.is_some() {
            return Err(Failure::Refused("an opened index takes no more rows".to_owned()));
        }
        self.check_rows(rows, values)?;
        let threads = to_int(threads, "threads")?.max(1);
        call(|message, capacity| {
            // SAFETY: as in `train`; the index owns its memory (checked above), so it may grow.
            unsafe {
                adf_add(self.raw.as_ptr(), rows, values.as_ptr(), threads, flag_pointer(cancel), message, capacity)
            }
        })
    }

    fn check_rows(&self, rows: u64, values: &[f32]) -> Result<(), Failure> {
        let dimension = self.info()?.dimension;
        if dimension.checked_mul(rows) == Some(values.len() as u64) {
            Ok(())
        } else {
            Err(Failure::Refused(format!("{} values are not {rows} rows of {dimension}", values.len())))
        }
    }

    /// Length in bytes of what [`Native::write`] writes, and where in it the largest array begins.
    pub(super) fn size(&self, graph_only: bool) -> Result<(u64, u64), Failure> {
        let (mut bytes, mut at) = (0, 0);
        call(|message, capacity| {
            // SAFETY: reads the index, writes two numbers.
            unsafe { adf_size(self.raw.as_ptr(), c_int::from(graph_only), &mut bytes, &mut at, message, capacity) }
        })?;
        Ok((bytes, at))
    }

    /// Writes the index to `sink`, piece by piece. An error of the sink is returned as it was.
    pub(super) fn write(
        &self,
        graph_only: bool,
        sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<std::io::Result<()>, Failure> {
        struct State<'a> {
            sink: &'a mut dyn FnMut(&[u8]) -> std::io::Result<()>,
            error: Option<std::io::Error>,
            panic: Option<Box<dyn std::any::Any + Send>>,
        }
        extern "C" fn push(user: *mut c_void, bytes: *const u8, length: usize) -> c_int {
            // SAFETY: `user` is the `State` below, used by nobody else during the call; faiss hands `length` bytes.
            let (state, bytes) = unsafe { (&mut *user.cast::<State>(), std::slice::from_raw_parts(bytes, length)) };
            match catch_unwind(AssertUnwindSafe(|| (state.sink)(bytes))) {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    state.error = Some(error);
                    1
                }
                Err(panic) => {
                    state.panic = Some(panic);
                    1
                }
            }
        }
        let mut state = State { sink, error: None, panic: None };
        let user: *mut c_void = std::ptr::from_mut(&mut state).cast();
        let result = call(|message, capacity| {
            // SAFETY: `state` outlives the call, and no panic crosses the other side.
            unsafe { adf_write(self.raw.as_ptr(), c_int::from(graph_only), push, user, message, capacity) }
        });
        if let Some(panic) = state.panic {
            resume_unwind(panic);
        }
        if let Some(error) = state.error {
            return Ok(Err(error));
        }
        result.map(Ok)
    }

    pub(super) fn info(&self) -> Result<Info, Failure> {
        let mut raw = RawInfo::default();
        call(|message, capacity| {
            // SAFETY: reads the index, fills `raw`.
            unsafe { adf_info(self.raw.as_ptr(), &mut raw, message, capacity) }
        })?;
        Ok(Info {
            rows: raw.rows,
            dimension: raw.dimension,
            owned_bytes: raw.owned_bytes,
            lists: raw.lists,
            inner_product: raw.inner_product != 0,
            kind: match raw.kind {
                1 => Kind::Flat,
                2 => Kind::Graph,
                3 => Kind::Lists,
                _ => Kind::Other,
            },
            trained: raw.trained != 0,
            concurrent: raw.concurrent != 0,
            graph_over_rows: raw.graph_over_rows != 0,
        })
    }

    /// The `k` nearest rows among those whose bit is set. `query` is finite and has the index's dimension.
    pub(super) fn search(
        &self,
        query: &[f32],
        dimension: usize,
        k: usize,
        breadth: Breadth,
        filter: Option<&[u64]>,
    ) -> Result<RawHits, Failure> {
        if query.len() != dimension || k == 0 {
            return Err(Failure::Refused("a query of another dimension, or for no rows".to_owned()));
        }
        let mut found = RawHits { distances: vec![0.0; k], labels: vec![-1; k], ..RawHits::default() };
        let raw_query = raw_query(query, k, breadth, filter);
        call(|message, capacity| {
            // SAFETY: the query's pointers live through the call; both outputs have room for `k`.
            unsafe {
                adf_search(
                    self.raw.as_ptr(),
                    &raw_query,
                    found.distances.as_mut_ptr(),
                    found.labels.as_mut_ptr(),
                    &mut found.distances_computed,
                    &mut found.places_visited,
                    message,
                    capacity,
                )
            }
        })?;
        Ok(found)
    }

    /// The `k` nearest rows to each of many queries, one after another in `queries`, by a flat index. For every query `k`
    /// distances as faiss has them, and row numbers, -1 where there are fewer rows.
    pub(super) fn search_flat(
        &self,
        queries: &[f32],
        dimension: usize,
        k: usize,
    ) -> Result<(Vec<f32>, Vec<i64>), Failure> {
        if dimension == 0 || !queries.len().is_multiple_of(dimension) || k == 0 {
            return Err(Failure::Refused("queries of another dimension, or for no rows".to_owned()));
        }
        let count = queries.len() / dimension;
        let room = count.checked_mul(k).ok_or(Failure::NoMemory)?;
        let (mut distances, mut labels) = (vec![0.0; room], vec![-1; room]);
        if self.info()?.dimension != dimension as u64 {
            return Err(Failure::Refused("queries of another dimension".to_owned()));
        }
        call(|message, capacity| {
            // SAFETY: `queries` holds count x dimension floats (checked above), both outputs have room for count x k.
            unsafe {
                adf_search_flat(
                    self.raw.as_ptr(),
                    count as u64,
                    queries.as_ptr(),
                    k as u64,
                    distances.as_mut_ptr(),
                    labels.as_mut_ptr(),
                    message,
                    capacity,
                )
            }
        })?;
        Ok((distances, labels))
    }

    /// The faiss index itself, for the GPU's shim: to be read while `self` lives.
    #[cfg(feature = "gpu")]
    pub(super) fn inner(&self) -> *const c_void {
        // SAFETY: reads a pointer.
        unsafe { adf_inner(self.raw.as_ptr()) }
    }
}

fn raw_query(query: &[f32], k: usize, breadth: Breadth, filter: Option<&[u64]>) -> RawQuery {
    RawQuery {
        vector: query.as_ptr(),
        k: k as u64,
        ef: breadth.ef,
        nprobe: breadth.nprobe,
        k_factor: breadth.k_factor,
        // A non-null pointer means "filter", so an empty slice (dangling, never read: zero bytes) selects nothing.
        bitmap: filter.map_or(std::ptr::null(), |words| words.as_ptr().cast()),
        bitmap_bytes: filter.map_or(0, |words| words.len() as u64 * 8),
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: made by adf_create or adf_open, freed once.
        unsafe { adf_free(self.raw.as_ptr()) }
    }
}
