//! Models in plain libtorch operations, read from and written to Hugging Face folders.

mod attention;
mod cross_encoder;
mod encoder;
mod folder;
mod input;
mod parameters;
mod pooling;
mod size;
mod start;
mod student;

pub use cross_encoder::CrossEncoder;
pub use encoder::{Encoder, Mode};
pub use folder::{ModelTokenizer, Prompts, copy_model_files, fingerprint};
pub use input::{Input, Layout, Packed, Padded, Sequence};
pub use parameters::Parameters;
pub(crate) use parameters::{read_tensors, write_tensors};
pub use pooling::Pooling;
#[cfg(test)]
pub(crate) use pooling::normalise;
pub use size::ModelSize;
pub use start::start_from;
pub use student::Student;
