//! Export: from a model folder with safetensors to a folder that every consumer of sentence-transformers and ONNX
//! models loads.
//!
//! [`export`] reads the model, writes its graph in standard ONNX operators and in ONNX Runtime's fused ones, in f32, f16 and int8,
//! and runs each file against the trainer's own forward pass. The finished folder moves to its place only when those in f32
//! agree; one in f16 that does not is left out, and of int8 it is said how far it is off.

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
pub(crate) mod tokenizer;
mod weights;

pub use card::{MetricRow, ModelCard};
pub use error::ExportError;
pub use folder::{
    ExportOptions, Exported, FileReport, Kind, add_hybrid_weight, add_results, export, fault_of, is_export,
};
pub use head::Pooling;
pub use parity::Parity;
