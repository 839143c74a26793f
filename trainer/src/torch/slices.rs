//! The values of CPU tensors as Rust slices.
#![allow(unsafe_code)]

use tch::{Device, Kind, Tensor};

/// The values of a tensor if it is f32, contiguous and on the CPU.
pub(super) fn values(tensor: &Tensor) -> Option<&[f32]> {
    plain(tensor).then(|| {
        // SAFETY: `plain` has checked that the storage holds `numel` f32 values from this address on, and the borrow keeps
        // the tensor, and with it the storage, alive.
        unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<f32>(), tensor.numel()) }
    })
}

/// The same to write to. The caller holds the only handle that is used meanwhile.
pub(super) fn values_mut(tensor: &mut Tensor) -> Option<&mut [f32]> {
    plain(tensor).then(|| {
        // SAFETY: as in `values`; parameters and moments are owned by one struct each, which is borrowed mutably here, and no
        // libtorch call runs during the borrow.
        unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), tensor.numel()) }
    })
}

fn plain(tensor: &Tensor) -> bool {
    tensor.defined()
        && tensor.numel() > 0
        && tensor.device() == Device::Cpu
        && tensor.kind() == Kind::Float
        && tensor.is_contiguous()
}
