//! What all clones of a [`Dense`](crate::Dense) share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::DenseError;
use crate::options::DenseOptions;
use crate::warm::OpenSegments;

pub(crate) struct Inner {
    pub(crate) options: DenseOptions,
    pub(crate) segments: Arc<OpenSegments>,
    pub(crate) cancelled: AtomicBool,
}

impl Inner {
    pub(crate) fn cancel_flag(&self) -> &AtomicBool {
        &self.cancelled
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), DenseError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(DenseError::Cancelled) } else { Ok(()) }
    }
}
