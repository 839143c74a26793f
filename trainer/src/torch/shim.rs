//! What the bindings leave out of libtorch, by way of `shim.cpp`.
#![allow(unsafe_code)]

use crate::error::TrainError;
use std::ffi::{CStr, c_char};
use tch::Tensor;

/// A tensor on the other side, which the bindings keep behind a pointer to `at::Tensor`.
#[repr(C)]
struct Foreign {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn adam_torch_free(text: *mut c_char);
    fn adam_torch_gradient_norm(
        count: usize,
        parameters: *const *const Foreign,
        norm: *mut *mut Foreign,
    ) -> *mut c_char;
    fn adam_torch_adamw(
        count: usize,
        parameters: *const *const Foreign,
        means: *const *const Foreign,
        squares: *const *const Foreign,
        step: *const Foreign,
        divisor: *const Foreign,
        rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
    ) -> *mut c_char;
    fn adam_torch_clear_gradients(count: usize, parameters: *const *const Foreign) -> *mut c_char;
    fn adam_torch_varlen_attention(
        query: *const Foreign,
        key: *const Foreign,
        value: *const Foreign,
        offsets: *const Foreign,
        longest: i64,
        mixed: *mut *mut Foreign,
    ) -> *mut c_char;
    fn adam_torch_device_memory(device: i32, numbers: *mut i64) -> *mut c_char;
    fn adam_torch_empty_cache() -> *mut c_char;
}

fn pointer(tensor: &Tensor) -> *const Foreign {
    tensor.as_ptr().cast()
}

fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const Foreign> {
    tensors.into_iter().map(pointer).collect()
}

/// What a call gave back.
fn outcome(error: *mut c_char) -> Result<(), TrainError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so a string that ends with a zero byte, ours until it is freed, which is done once, here.
    let text = unsafe {
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        adam_torch_free(error);
        text
    };
    Err(tch::TchError::Torch(text).into())
}

/// A tensor that the other side has made.
fn made(tensor: *mut Foreign) -> Tensor {
    // SAFETY: after a call that succeeded this is a new `at::Tensor` on the heap that nobody else owns, which is what the
    // bindings' tensors are; they free it.
    unsafe { Tensor::from_ptr(tensor.cast()) }
}

/// The length of all gradients that parameters hold, a scalar on their device in f64.
pub(super) fn gradient_norm(parameters: &[Tensor]) -> Result<Tensor, TrainError> {
    let list = pointers(parameters);
    let mut norm = std::ptr::null_mut();
    // SAFETY: `count` valid tensors, borrowed for the call; the call writes one pointer.
    outcome(unsafe { adam_torch_gradient_norm(list.len(), list.as_ptr(), &raw mut norm) })?;
    Ok(made(norm))
}

/// The numbers of one step of [`adamw`].
pub(super) struct Numbers {
    pub(super) rate: f64,
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    pub(super) weight_decay: f64,
    pub(super) epsilon: f64,
}

/// One step of AdamW, in libtorch's fused kernel, over those of the parameters that hold a gradient. `step` and `divisor` are
/// scalars in f32 on the parameters' device: the step's number, counted from 1, and what gradients are divided by.
pub(super) fn adamw(
    parameters: &[&mut Tensor],
    moments: &[&mut (Tensor, Tensor)],
    step: &Tensor,
    divisor: &Tensor,
    numbers: &Numbers,
) -> Result<(), TrainError> {
    let list = pointers(parameters.iter().map(|p| &**p));
    let means = pointers(moments.iter().map(|m| &m.0));
    let squares = pointers(moments.iter().map(|m| &m.1));
    if means.len() != list.len() {
        return Err(TrainError::internal("the optimiser's state is of another model"));
    }
    // SAFETY: three lists of `count` valid tensors and two more; those that are written to are borrowed mutably.
    outcome(unsafe {
        adam_torch_adamw(
            list.len(),
            list.as_ptr(),
            means.as_ptr(),
            squares.as_ptr(),
            pointer(step),
            pointer(divisor),
            numbers.rate,
            numbers.beta1,
            numbers.beta2,
            numbers.weight_decay,
            numbers.epsilon,
        )
    })
}

/// Takes the parameters' gradients away, so that the next backward pass writes them instead of adding to zeros.
pub(crate) fn clear_gradients(parameters: &[Tensor]) -> Result<(), TrainError> {
    let list = pointers(parameters);
    // SAFETY: `count` valid tensors. Gradients hang behind the tensors, which the bindings too change through shared
    // references (a backward pass does); no other thread uses these tensors, which are not `Sync`.
    outcome(unsafe { adam_torch_clear_gradients(list.len(), list.as_ptr()) })
}

/// Attention in which each sequence sees itself only, on CUDA. `query`, `key`, `value` are `[tokens, heads, width]`, sequences
/// one after the other, `offsets` int32 `[sequences + 1]`; gives `[tokens, heads, width]`.
pub(crate) fn varlen_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    offsets: &Tensor,
    longest: i64,
) -> Result<Tensor, TrainError> {
    let mut mixed = std::ptr::null_mut();
    // SAFETY: four valid tensors, borrowed for the call; the call writes one pointer. Shapes are checked there.
    outcome(unsafe {
        adam_torch_varlen_attention(
            pointer(query),
            pointer(key),
            pointer(value),
            pointer(offsets),
            longest,
            &raw mut mixed,
        )
    })?;
    Ok(made(mixed))
}

/// A CUDA device's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceMemory {
    /// Held by this process at most so far.
    pub(super) held_at_most: u64,
    /// All of the device's.
    pub(super) all: u64,
}

/// Asks libtorch's allocator.
pub(super) fn device_memory(device: usize) -> Result<DeviceMemory, TrainError> {
    let mut numbers = [0i64; 5];
    // SAFETY: the call writes five numbers.
    outcome(unsafe { adam_torch_device_memory(device as i32, numbers.as_mut_ptr()) })?;
    let at = |place: usize| u64::try_from(numbers[place]).unwrap_or_default();
    Ok(DeviceMemory { held_at_most: at(2), all: at(4) })
}

/// Gives memory that libtorch holds in reserve back to the CUDA device.
pub(super) fn empty_cache() -> Result<(), TrainError> {
    // SAFETY: takes nothing and may be called at any time.
    outcome(unsafe { adam_torch_empty_cache() })
}
