//! The way of a step's data to a GPU: made ready by one thread, sent by another that does not wait for it to arrive.

use crate::error::TrainError;
use tch::{Device, Tensor};

/// The tensor in memory that a GPU reads by itself, where it is to go to one.
///
/// # Errors
/// When libtorch fails.
pub(crate) fn ready_for(tensor: &Tensor, device: Device) -> Result<Tensor, TrainError> {
    // Not `f_pin_memory`, which libtorch warns about twice a tensor when it is given a device.
    if device.is_cuda() { Ok(tensor.f_internal_pin_memory(device)?) } else { Ok(tensor.shallow_clone()) }
}

/// The tensor on the device. The host waits for nothing if it was [made ready](ready_for).
///
/// # Errors
/// When libtorch fails.
pub(crate) fn send(tensor: &Tensor, device: Device) -> Result<Tensor, TrainError> {
    if device == Device::Cpu {
        return Ok(tensor.shallow_clone());
    }
    Ok(tensor.f_to_device_(device, tensor.kind(), true, false)?)
}
