//! The one error type of this crate.

use std::path::PathBuf;

/// What went wrong: which file, which key, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// A file that the model needs is not there.
    #[error("{} is missing: {needed}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What it is needed for, and how to make it.
        needed: String,
    },
    /// A file is larger than any honest file of its kind.
    #[error("{} has {size} bytes; at most {limit} are read from a file of this kind", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The largest size accepted, in bytes.
        limit: u64,
    },
    /// A file is not JSON, or breaks off.
    #[error("{} is not valid JSON: {cause}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and kind of the fault.
        cause: serde_json::Error,
    },
    /// A key in a JSON file has a value this crate cannot honour.
    #[error("{}: key `{key}` {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key, with its parents, as in `prompts.query`.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// A model or weight file cannot be used.
    #[error("{}: {problem}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// ONNX Runtime could not be found or loaded.
    #[error("{problem}")]
    Runtime {
        /// What happened, with the places that were looked in.
        problem: String,
    },
    /// A text could not be turned into tokens.
    #[error("{}: a text could not be turned into tokens: {problem}", path.display())]
    Tokenize {
        /// The tokenizer file in use.
        path: PathBuf,
        /// What the tokenizer said.
        problem: String,
    },
    /// One text of those given failed. The others can be encoded without it.
    #[error("text {position}: {cause}")]
    Text {
        /// Its place among the texts given, counted from 0.
        position: usize,
        /// What is wrong with it.
        cause: Box<EncoderError>,
    },
    /// A tokenizer or a model ended in a panic, which was caught.
    #[error("{}: it failed with a panic: {problem}", path.display())]
    Panicked {
        /// The file in use.
        path: PathBuf,
        /// The panic's message.
        problem: String,
    },
    /// The model failed while running.
    #[error("{}: running the model failed: {problem}", path.display())]
    Inference {
        /// The ONNX file in use.
        path: PathBuf,
        /// What ONNX Runtime said.
        problem: String,
    },
    /// The caller stopped the work before it was done.
    #[error("stopped by the caller before all texts were done")]
    Stopped,
    /// An option has a value that cannot be honoured.
    #[error("option `{name}` {problem}")]
    Option {
        /// The option, as its setter is called.
        name: &'static str,
        /// What is wrong, and what would be accepted.
        problem: String,
    },
    /// A model name could not be resolved to a folder.
    #[error("model `{name}`: {problem}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The rows to write to do not hold one vector for each text.
    #[error("room for {values} values was given, and {texts} texts take {texts} x {width}")]
    Rows {
        /// Values that were given.
        values: usize,
        /// Number of texts or pairs.
        texts: usize,
        /// Values of one text or pair.
        width: usize,
    },
    /// An encoder that is not of this crate failed; see [`EncoderError::other`].
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl EncoderError {
    /// The failure of an encoder that is not of this crate, for an implementation of
    /// [`TextEncoder`](crate::TextEncoder): an error of any type, or a text.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// What went wrong without the names of files, for a message to who is not to hear them.
    pub fn reason(&self) -> String {
        match self {
            Self::Tokenize { problem, .. } => format!("the text could not be turned into tokens: {problem}"),
            Self::Panicked { problem, .. } => format!("the model failed with a panic: {problem}"),
            Self::Inference { problem, .. } => format!("running the model failed: {problem}"),
            Self::Text { position, cause } => format!("text {position}: {}", cause.reason()),
            Self::Other(error) => error.to_string(),
            _ => "the model cannot be used".to_owned(),
        }
    }

    #[cfg(feature = "onnx")]
    pub(crate) fn key(path: &std::path::Path, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Key { path: path.to_path_buf(), key: key.into(), problem: problem.into() }
    }

    pub(crate) fn model(path: &std::path::Path, problem: impl Into<String>) -> Self {
        Self::Model { path: path.to_path_buf(), problem: problem.into() }
    }
}
