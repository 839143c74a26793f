//! Export: from a model folder with safetensors to a folder that every consumer of sentence-transformers and ONNX
//! models loads.
//!
//! [`export`] reads the model, writes its graph in standard ONNX operators and in ONNX Runtime's fused ones, in f32 and
//! int8, runs each file against the trainer's own forward pass, and moves the finished folder to its place only when
//! all of them agree.

pub(crate) mod architecture;
mod card;
mod error;
mod files;
mod folder;
mod fused;
mod graph;
pub(crate) mod head;
pub mod onnx;
mod parity;
mod quantise;
pub(crate) mod source;
mod weights;

pub use card::{MetricRow, ModelCard};
pub use error::ExportError;
pub use folder::{ExportOptions, Exported, FileReport, Kind, add_results, export, is_export};
pub use head::Pooling;
pub use parity::Parity;
