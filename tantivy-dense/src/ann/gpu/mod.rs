//! The one place that calls into faiss on a GPU, and the only unsafe code around it.
//!
//! What makes the calls safe, in one list:
//! - C++ exceptions are caught on the other side and come back as a status and a message.
//! - A device and its blocks are neither [`Send`] nor [`Sync`]: the thread that opened the device makes every call. Blocks
//!   hold on to the device, so it is closed after the last of them.
//! - Lengths of what the other side reads and writes are checked on this side, before the call.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::rc::Rc;

use super::AnnIndex;

#[repr(C)]
struct RawDevice {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawBlock {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn adg_count(count: *mut c_int, message: *mut c_char, capacity: usize) -> c_int;
    fn adg_open(
        number: c_int,
        scratch_bytes: u64,
        out: *mut *mut RawDevice,
        free_bytes: *mut u64,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adg_close(device: *mut RawDevice);
    fn adg_rows(
        device: *mut RawDevice,
        rows: u64,
        dimension: c_int,
        inner_product: c_int,
        out: *mut *mut RawBlock,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adg_put(
        block: *mut RawBlock,
        first: u64,
        rows: u64,
        values: *const f32,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adg_lists(
        device: *mut RawDevice,
        index: *const c_void,
        out: *mut *mut RawBlock,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adg_search(
        block: *mut RawBlock,
        count: u64,
        queries: *const f32,
        k: u64,
        nprobe: u64,
        distances: *mut f32,
        labels: *mut i64,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
    fn adg_free(block: *mut RawBlock);
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// faiss refused, with its own words.
    Refused(String),
    /// Memory could not be had.
    NoMemory(String),
    /// CUDA reported an error, after which nothing else works.
    Lost(String),
}

const MESSAGE_BYTES: usize = 1024;

fn call(body: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<(), Failure> {
    let mut message = [0_u8; MESSAGE_BYTES];
    let status = body(message.as_mut_ptr().cast(), message.len());
    let text = || {
        let text = CStr::from_bytes_until_nul(&message).map(|text| text.to_string_lossy().trim().to_owned());
        text.unwrap_or_else(|_| "an error without words".to_owned())
    };
    match status {
        0 => Ok(()),
        3 => Err(Failure::NoMemory(text())),
        4 => Err(Failure::Lost(text())),
        _ => Err(Failure::Refused(text())),
    }
}

fn to_int(value: usize, what: &str) -> Result<c_int, Failure> {
    c_int::try_from(value).map_err(|_| Failure::Refused(format!("{what} {value} is beyond what faiss counts to")))
}

/// Number of GPUs that CUDA sees.
pub(crate) fn count() -> Result<usize, Failure> {
    let mut count = 0;
    // SAFETY: writes a number.
    call(|message, capacity| unsafe { adg_count(&mut count, message, capacity) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The device itself, closed after the last block.
struct DeviceHandle(NonNull<RawDevice>);

impl Drop for DeviceHandle {
    fn drop(&mut self) {
        // SAFETY: made by adg_open, closed once.
        unsafe { adg_close(self.0.as_ptr()) }
    }
}

/// An open GPU.
pub(crate) struct Device {
    owned: Rc<DeviceHandle>,
    free_bytes: u64,
}

impl Device {
    /// Opens a GPU, which there must be, with so many bytes of scratch memory for searches.
    pub(crate) fn open(number: usize, scratch_bytes: u64) -> Result<Device, Failure> {
        let number = to_int(number, "the number")?;
        let (mut raw, mut free_bytes) = (std::ptr::null_mut(), 0);
        call(|message, capacity| {
            // SAFETY: all pointers are valid for the call; `raw` is null or owned by us afterwards.
            unsafe { adg_open(number, scratch_bytes, &mut raw, &mut free_bytes, message, capacity) }
        })?;
        match NonNull::new(raw) {
            Some(raw) => Ok(Device { owned: Rc::new(DeviceHandle(raw)), free_bytes }),
            None => Err(Failure::Refused("faiss gave no device and no reason".to_owned())),
        }
    }

    /// Bytes of memory that were free after it was opened.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Room for rows, to be filled by [`Block::put`] before it is searched.
    pub(crate) fn rows(&self, rows: usize, dimension: usize, inner_product: bool) -> Result<Block, Failure> {
        let wide = to_int(dimension, "dimension")?;
        let mut raw = std::ptr::null_mut();
        call(|message, capacity| {
            let inner_product = c_int::from(inner_product);
            // SAFETY: the device is open; `raw` is null or owned by us afterwards.
            unsafe { adg_rows(self.owned.0.as_ptr(), rows as u64, wide, inner_product, &mut raw, message, capacity) }
        })?;
        self.adopt(raw, dimension, inner_product)
    }

    /// A copy of an inverted file.
    pub(crate) fn lists(&self, index: &AnnIndex) -> Result<Block, Failure> {
        let mut raw = std::ptr::null_mut();
        call(|message, capacity| {
            // SAFETY: `index` lives through the call, which only reads it; the other side checks its type.
            unsafe { adg_lists(self.owned.0.as_ptr(), index.inner(), &mut raw, message, capacity) }
        })?;
        self.adopt(raw, index.dimension(), index.similarity() == super::Similarity::InnerProduct)
    }

    fn adopt(&self, raw: *mut RawBlock, dimension: usize, inner_product: bool) -> Result<Block, Failure> {
        match NonNull::new(raw) {
            Some(raw) => Ok(Block { raw, dimension, inner_product, _device: Rc::clone(&self.owned) }),
            None => Err(Failure::Refused("faiss gave no block and no reason".to_owned())),
        }
    }
}

/// Rows or lists on a GPU.
pub(crate) struct Block {
    raw: NonNull<RawBlock>,
    dimension: usize,
    inner_product: bool,
    // Dropped after `raw` is freed in `drop`.
    _device: Rc<DeviceHandle>,
}

impl Block {
    /// Copies whole rows, from row `first` on.
    pub(crate) fn put(&mut self, first: usize, values: &[f32]) -> Result<(), Failure> {
        if !values.len().is_multiple_of(self.dimension.max(1)) {
            return Err(Failure::Refused(format!("{} values are no whole rows", values.len())));
        }
        let rows = (values.len() / self.dimension.max(1)) as u64;
        call(|message, capacity| {
            // SAFETY: `values` holds rows x dimension floats; the other side knows how many rows there is room for.
            unsafe { adg_put(self.raw.as_ptr(), first as u64, rows, values.as_ptr(), message, capacity) }
        })
    }

    /// The `k` nearest rows to each query, of those in the `nprobe` nearest lists for lists: similarities, higher is
    /// nearer, and row numbers, -1 where there are fewer.
    pub(crate) fn search(&self, queries: &[f32], k: usize, nprobe: usize) -> Result<(Vec<f32>, Vec<i64>), Failure> {
        if self.dimension == 0 || !queries.len().is_multiple_of(self.dimension) || k == 0 {
            return Err(Failure::Refused("queries of another dimension, or for no rows".to_owned()));
        }
        let count = queries.len() / self.dimension;
        let room = count.checked_mul(k).ok_or_else(|| Failure::NoMemory("too many rows were asked for".to_owned()))?;
        let (mut distances, mut labels) = (vec![0.0; room], vec![-1; room]);
        call(|message, capacity| {
            // SAFETY: `queries` holds count x dimension floats (checked above), both outputs have room for count x k.
            unsafe {
                adg_search(
                    self.raw.as_ptr(),
                    count as u64,
                    queries.as_ptr(),
                    k as u64,
                    nprobe as u64,
                    distances.as_mut_ptr(),
                    labels.as_mut_ptr(),
                    message,
                    capacity,
                )
            }
        })?;
        if !self.inner_product {
            distances.iter_mut().for_each(|distance| *distance = -*distance);
        }
        Ok((distances, labels))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: made by adg_rows or adg_lists, freed once, before the device is closed.
        unsafe { adg_free(self.raw.as_ptr()) }
    }
}
