//! The one error type of this crate.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A line of a file, counted from 1. A file inside a zip is written `ARCHIVE.zip/folder/file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file, self.line)
    }
}

/// What went wrong: which file, which line, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeirError {
    /// A file or folder could not be opened, read or written.
    #[error("cannot {action} {file}: {cause}")]
    Io {
        /// `open`, `read` or `write`.
        action: &'static str,
        /// The file or folder.
        file: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// Nothing is there.
    #[error("{} does not exist; a collection is a BEIR folder, a .zip of one, or a file of JSON lines", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something is there, but not a collection.
    #[error("{} is not a collection: {problem}", path.display())]
    NotACollection {
        /// What was opened.
        path: PathBuf,
        /// What is missing or unclear.
        problem: String,
    },
    /// The collection lacks a file that was asked for.
    #[error("{collection} has no {file}{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    NoFile {
        /// The collection, as it was named.
        collection: String,
        /// The file asked for, as `qrels/test.tsv`.
        file: String,
        /// What there is instead.
        hint: Option<String>,
    },
    /// The archive breaks off, is not a zip, or could do harm.
    #[error("{}: {problem}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A file cannot be read on from here: it breaks off, is damaged, or is not what it should be.
    #[error("{place}: {problem}")]
    Unreadable {
        /// Where.
        place: Place,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A line cannot be used as it stands.
    #[error("{place}: {problem}")]
    Line {
        /// Where.
        place: Place,
        /// What is wrong with it.
        problem: String,
    },
    /// A text is not JSON. See [`ReadOptions::parse`](crate::ReadOptions::parse).
    #[error("{problem}")]
    Json {
        /// What is wrong with it.
        problem: String,
    },
    /// A JSON value is not a usable record. See [`ReadOptions::parse`](crate::ReadOptions::parse).
    #[error("{problem}")]
    Record {
        /// What is wrong with it; names the field.
        problem: String,
    },
    /// Two records bear the same id.
    #[error("{place}: {what} id `{id}` was already used {first}; ids must be unique")]
    DuplicateId {
        /// Where the second one is.
        place: Place,
        /// `document`, `query`, ...
        what: &'static str,
        /// The id.
        id: String,
        /// Where the first one is: `on line 3`, or `in FILE line 3`.
        first: String,
    },
    /// A metric's name is not one of ours.
    #[error(
        "`{text}` is not a metric; the metrics are ndcg@K, mrr@K, recall@K, map@K and precision@K, K from 1 to 1,000,000"
    )]
    Metric {
        /// The name given.
        text: String,
    },
    /// A text is not the value of an option.
    #[error("`{text}` is not one of the values: {expected}")]
    Value {
        /// The text given.
        text: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// An id or score cannot be written into a run file.
    #[error("run of query `{query}`: {problem}")]
    Run {
        /// The query.
        query: String,
        /// What is wrong.
        problem: String,
    },
    /// Two systems cannot be compared.
    #[error("cannot compare the systems: {problem}")]
    Compare {
        /// Why not.
        problem: String,
    },
}

impl BeirError {
    pub(crate) fn io(action: &'static str, file: impl fmt::Display, cause: std::io::Error) -> Self {
        Self::Io { action, file: file.to_string(), cause }
    }

    pub(crate) fn line(file: &Arc<str>, line: u64, problem: impl Into<String>) -> Self {
        Self::Line { place: Place { file: Arc::clone(file), line }, problem: problem.into() }
    }

    /// The line that is wrong, where the error is about one line alone and what follows it can still be read.
    pub(crate) fn wrong_line(&self) -> Option<&Place> {
        match self {
            Self::Line { place, .. } | Self::DuplicateId { place, .. } => Some(place),
            _ => None,
        }
    }
}
