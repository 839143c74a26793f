//! ONNX files: the messages of the format and a builder that writes graphs with them.

mod builder;
pub mod messages;

pub(crate) use builder::{GraphBuilder, Value};
pub use builder::{MICROSOFT_DOMAIN, OPSET};
