//! What can go wrong while a student is exported.

use std::path::PathBuf;

/// Why a model was not exported. Nothing is left behind at the output's path in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the model is not what it should be.
    #[error("{path}: {problem}", path = .path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A setting in a file of the model asks for something that is not supported.
    #[error("{path}: key `{key}` {problem}", path = .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor is missing or has another shape.
    #[error("{path}: tensor `{name}` {problem}", path = .path.display())]
    Tensor {
        /// The weight file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An option of the export cannot be honoured.
    #[error("{option} {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The written model disagrees with the trainer's own forward pass.
    #[error(
        "{file} differs from the trainer's own forward pass by {difference:.1e} (at most {limit:.0e} is allowed), worst on the text {text:?}; the export was not kept"
    )]
    Parity {
        /// The ONNX file.
        file: String,
        /// Largest absolute difference of two values.
        difference: f64,
        /// What would have been accepted.
        limit: f64,
        /// The text with the largest difference.
        text: String,
    },
    /// A file of the model's folder asks for something that is not supported.
    #[error(transparent)]
    Folder(adam_encoder::EncoderError),
    /// Running the written model failed.
    #[error("the written model does not run: {0}")]
    Run(#[from] adam_encoder::EncoderError),
    /// The trainer's own forward pass failed.
    #[error("the trainer's own forward pass failed: {0}")]
    Forward(String),
}

impl ExportError {
    /// An [`ExportError::Model`].
    pub(crate) fn model(path: &std::path::Path, problem: impl Into<String>) -> Self {
        Self::Model { path: path.to_path_buf(), problem: problem.into() }
    }

    /// An [`ExportError::Key`].
    pub(crate) fn key(path: &std::path::Path, key: &str, problem: impl Into<String>) -> Self {
        Self::Key { path: path.to_path_buf(), key: key.to_owned(), problem: problem.into() }
    }

    /// Names the path in an input-output error.
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_path_buf(), source }
    }
}
