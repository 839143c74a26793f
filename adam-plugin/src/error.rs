//! The one error type of this crate.

use std::path::PathBuf;
use std::sync::Arc;

use adam_encoder::EncoderError;
use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenReadError, OpenWriteError};
use tantivy_dense::DenseError;

/// What went wrong: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// `read`, `write`, `create`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said. It is in the text, and so not in `source()`.
        cause: std::io::Error,
    },
    /// The folder holds no index that this crate made.
    #[error("{} is not an index of adam: {problem}", path.display())]
    NotAnIndex {
        /// The folder.
        path: PathBuf,
        /// What is missing, and what to do.
        problem: String,
    },
    /// The manifest of an index or a shard, or the list of shards, is damaged, from a later version, or does not fit the rest.
    #[error("{}: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The index was made with another model.
    #[error(
        "the index {} was made with the model `{pinned}` ({pinned_fingerprint}), and vectors of `{given}` ({given_fingerprint}) cannot be compared with its own; use the first model, or make a new index with the vectors of the other",
        index.display()
    )]
    OtherModel {
        /// The index.
        index: PathBuf,
        /// Name of the model it was made with.
        pinned: String,
        /// The start of its fingerprint, and its dimension.
        pinned_fingerprint: String,
        /// Name of the model at hand.
        given: String,
        /// The start of its fingerprint, and its dimension.
        given_fingerprint: String,
    },
    /// A search or a document needs vectors, and no model was opened.
    #[error("{task} needs the model of the index, `{model}`, and no model was opened")]
    NoModel {
        /// What needs it.
        task: &'static str,
        /// The model that the index was made with.
        model: String,
    },
    /// The model that an index was made with is no longer where it was then.
    #[error(
        "the index {} was made with the model `{model}` from {}, which is not there; name its folder",
        index.display(),
        folder.display()
    )]
    ModelMoved {
        /// The index.
        index: PathBuf,
        /// The model that it was made with.
        model: String,
        /// Where that was.
        folder: PathBuf,
    },
    /// A field is missing or cannot serve the purpose.
    #[error("field `{name}` {problem}")]
    Field {
        /// Name of the field.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A document template cannot be read.
    #[error("template `{template}`: {problem}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of synonyms cannot be used.
    #[error("{} line {line}: {problem}", file.display())]
    Synonyms {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A query cannot be used.
    #[error("query: {problem}")]
    Query {
        /// What is wrong with it.
        problem: String,
    },
    /// A filter cannot be used.
    #[error("filter `{filter}`{}: {problem}", position.map_or_else(String::new, |position| format!(", at character {position}")))]
    Filter {
        /// The filter.
        filter: String,
        /// Where in it, as a number of characters from 1, if it could not be read.
        position: Option<usize>,
        /// What is wrong with it.
        problem: String,
    },
    /// A fault of this program, and not of what it was given.
    #[error("internal fault: {problem}")]
    Internal {
        /// What happened.
        problem: String,
    },
    /// A setting has a value that cannot be honoured.
    #[error("setting `{name}` {problem}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A document cannot be taken.
    #[error("document `{document}`: {problem}")]
    Document {
        /// The document's key, or what stands for it.
        document: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The embedding writer failed earlier; documents since the last commit are lost.
    #[error("the embedding writer stopped: {problem}; roll back to continue from the last commit")]
    WriterStopped {
        /// The first failure.
        problem: String,
    },
    /// A panic in this program, a model or a library, which was caught.
    #[error("{what} failed with a panic: {problem}")]
    Panicked {
        /// What was being done.
        what: &'static str,
        /// The panic's message.
        problem: String,
    },
    /// The embedding writer's thread is gone.
    #[error("the embedding writer's thread has ended; open a new writer")]
    WriterGone,
    /// Another process or thread is writing to the index.
    #[error("the index is being written to by {holder}; wait for it, or end it")]
    Locked {
        /// Who that is, as far as it is known.
        holder: String,
    },
    /// The folder of an open index was moved, deleted, replaced or changed by somebody who did not hold its lock.
    #[error(
        "the index {} is no longer the one that was opened: {problem}; put it back, or open the index again",
        index.display()
    )]
    FolderChanged {
        /// The folder.
        index: PathBuf,
        /// What happened to it.
        problem: String,
    },
    /// An index of several shards was to be written to as if it were one folder.
    #[error("{} is an index of several shards, and each is written in its own folder", index.display())]
    Sharded {
        /// The index.
        index: PathBuf,
    },
    /// A file of the index is not what was written.
    #[error("{} is damaged: {problem}; restore the index from a copy, or make it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// tantivy's writer failed, and this is why.
    #[error("the index cannot be written: {cause}")]
    NotWritten {
        /// What failed, with the file's path.
        cause: String,
    },
    /// Stored documents of another index cannot be carried over.
    #[error("{}: {problem}", path.display())]
    Import {
        /// The index that was to be read.
        path: PathBuf,
        /// What is in the way.
        problem: String,
    },
    /// The text encoder failed.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The vector field failed.
    #[error(transparent)]
    Dense(DenseError),
    /// tantivy takes its locks in the index's folder.
    #[error("no lock can be taken in the folder of the index, as writing needs one: {0}")]
    NoLock(Arc<std::io::Error>),
    /// tantivy failed.
    #[error("{0}")]
    Tantivy(TantivyError),
}

/// An unknown name, such as `german` for a mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a {kind}; use {}", listed(known))]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    known: Vec<&'static str>,
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

impl UnknownName {
    pub(crate) fn new(kind: &'static str, name: &str, known: Vec<&'static str>) -> Self {
        // It stands in messages.
        Self { kind, name: name.chars().take(100).collect(), known }
    }

    /// The position of a name among those that are known.
    pub(crate) fn find(kind: &'static str, name: &str, known: &[&'static str]) -> Result<usize, Self> {
        known.iter().position(|known| *known == name).ok_or_else(|| Self::new(kind, name, known.to_vec()))
    }
}

impl From<DenseError> for PluginError {
    fn from(error: DenseError) -> Self {
        match error {
            DenseError::Tantivy(error) => error.into(),
            other => Self::Dense(other),
        }
    }
}

impl From<TantivyError> for PluginError {
    fn from(error: TantivyError) -> Self {
        if let Some(changed) = folder_changed(&error) {
            return changed;
        }
        match error {
            TantivyError::LockFailure(LockError::LockBusy, _) => {
                Self::Locked { holder: "another program or writer".to_owned() }
            }
            TantivyError::LockFailure(LockError::IoError(fault), _) => Self::NoLock(fault),
            TantivyError::OpenReadError(OpenReadError::IoError { io_error, filepath }) => {
                Self::io("read", filepath, std::io::Error::new(io_error.kind(), io_error.to_string()))
            }
            other => Self::Tantivy(other),
        }
    }
}

/// The error of an index's folder that came through tantivy.
fn folder_changed(error: &TantivyError) -> Option<PluginError> {
    let fault = match error {
        TantivyError::IoError(fault)
        | TantivyError::LockFailure(LockError::IoError(fault), _)
        | TantivyError::OpenReadError(OpenReadError::IoError { io_error: fault, .. })
        | TantivyError::OpenWriteError(OpenWriteError::IoError { io_error: fault, .. }) => fault,
        _ => return None,
    };
    match fault.get_ref()?.downcast_ref()? {
        PluginError::FolderChanged { index, problem } => {
            Some(PluginError::FolderChanged { index: index.clone(), problem: problem.clone() })
        }
        _ => None,
    }
}

impl PluginError {
    /// Does `work`, which runs code of others; a panic in it becomes an error.
    pub(crate) fn guarded<T>(what: &'static str, work: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        // Whatever `work` was changing is thrown away by the caller after an error.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|payload| {
            let problem = payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "no message".to_owned());
            Err(Self::Panicked { what, problem })
        })
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, cause: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), cause }
    }

    pub(crate) fn field(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { name: name.into(), problem: problem.into() }
    }
}
