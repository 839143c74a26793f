//! Arrow data that Python hands over in capsules.
#![allow(unsafe_code, reason = "Arrow's C interface")]

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{ArrayRef, make_array};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyTuple};

use crate::errors::input;

/// The arrays of a stream, or a single one.
pub(crate) enum Chunks {
    Stream(ArrayStreamReader),
    One(Option<ArrayRef>),
}

/// The data of an object; none if it has no Arrow data.
pub(crate) fn chunks(given: &Bound<'_, PyAny>) -> PyResult<Option<Chunks>> {
    if given.hasattr("__arrow_c_stream__")? {
        let capsule = given.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
        let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
        // SAFETY: the protocol says that a capsule of this name holds a stream, which is moved out of it here.
        let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr().cast()) };
        if stream.release().is_none() {
            return Err(input("the Arrow stream was read already; make a new one"));
        }
        let reader = ArrayStreamReader::try_new(stream)
            .map_err(|fault| input(format!("the Arrow stream cannot be read: {fault}")))?;
        return Ok(Some(Chunks::Stream(reader)));
    }
    if given.hasattr("__arrow_c_array__")? {
        let pair = given.call_method0("__arrow_c_array__")?.cast_into::<PyTuple>()?;
        let schema = pair.get_item(0)?.cast_into::<PyCapsule>()?;
        let array = pair.get_item(1)?.cast_into::<PyCapsule>()?;
        let schema = schema.pointer_checked(Some(c"arrow_schema"))?;
        let array = array.pointer_checked(Some(c"arrow_array"))?;
        // SAFETY: the protocol says what capsules of these names hold; the array is moved out of its own, and the schema is only
        // looked at while the capsule lives.
        let data = unsafe {
            let array = FFI_ArrowArray::from_raw(array.as_ptr().cast());
            from_ffi(array, schema.cast::<FFI_ArrowSchema>().as_ref())
        };
        let data = data.map_err(|fault| input(format!("the Arrow array cannot be read: {fault}")))?;
        return Ok(Some(Chunks::One(Some(make_array(data)))));
    }
    Ok(None)
}

impl Iterator for Chunks {
    type Item = PyResult<ArrayRef>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(array) => array.take().map(Ok),
            Self::Stream(reader) => {
                let next = reader.next()?;
                Some(next.map_err(|fault| input(format!("the Arrow stream broke off: {fault}"))))
            }
        }
    }
}
