//! Numbers of a step that are read once all of its work is under way: a GPU that the host waits for in between stands idle until
//! it is given more.

use crate::error::TrainError;
use tch::{Kind, Tensor};

/// A number that the device may still be at work on.
#[derive(Debug)]
pub struct Later(Tensor);

impl Later {
    /// Of a tensor of one element, without its graph.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn new(scalar: &Tensor) -> Result<Self, TrainError> {
        Ok(Self(scalar.f_detach()?.f_to_kind(Kind::Double)?))
    }

    /// The number; waits for the device.
    ///
    /// # Errors
    /// When libtorch fails, or what the device was at work on did.
    pub fn read(&self) -> Result<f64, TrainError> {
        Ok(f64::try_from(&self.0)?)
    }
}

impl From<f64> for Later {
    fn from(number: f64) -> Self {
        Self(Tensor::from(number))
    }
}
