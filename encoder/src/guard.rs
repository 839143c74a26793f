//! Where code of others runs: a panic inside a tokenizer or a model becomes an error of the text at hand.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::EncoderError;

/// Does `work`; a panic in it becomes the error that `fault` makes of its message.
///
/// What `work` changes must be of no use afterwards, or whole after every statement.
pub(crate) fn guarded<T>(
    work: impl FnOnce() -> Result<T, EncoderError>,
    fault: impl FnOnce(String) -> EncoderError,
) -> Result<T, EncoderError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(fault(said(payload.as_ref()))))
}

/// The message of a panic.
pub(crate) fn said(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
