//! What can go wrong in training.

use std::path::{Path, PathBuf};

/// Why a stage stopped. What was finished before it is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is wrong, or two settings do not go together.
    #[error("configuration: {0}")]
    Config(String),
    /// The program contradicts itself, or a thread of it has ended: no setting helps.
    #[error("internal fault: {0}")]
    Internal(String),
    /// A tokenizer does not take a text.
    #[error("{0}")]
    Tokenizer(String),
    /// A data or model file is not what it should be.
    #[error("{path}: {problem}", path = .path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A row of a data file is wrong.
    #[error("{path}, line {line}: {problem}", path = .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line, or row of a table, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The loss stopped being a number.
    #[error(
        "the {stage} stage's loss is not a number at step {step} (queries {queries}); lower the learning rate or look at these queries"
    )]
    NotANumber {
        /// Which stage.
        stage: &'static str,
        /// The optimiser step, counted from 1.
        step: usize,
        /// Ids of the batch's queries.
        queries: String,
    },
    /// A step does not fit in memory, even with its texts one by one.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// A voice of the teacher cannot score a pair.
    #[error("the teacher's voice `{voice}`: {problem}")]
    Voice {
        /// Its kind.
        voice: String,
        /// What is wrong, with the query and the passage.
        problem: String,
    },
    /// The teacher ranks held-out queries no better than the student that is to learn from it.
    #[error(
        "the teacher ranks no better than its student: nDCG@10 {teacher:.4} against {student:.4} over {queries} held-out queries. \
         Distillation would do harm. Give a better teacher ([[teacher.voices]], another teacher.model, more teacher.training.epochs), \
         train by labels alone (loss.distillation = 0), or go on with --accept-weak-teacher"
    )]
    WeakTeacher {
        /// The teacher's nDCG@10.
        teacher: f64,
        /// The student's.
        student: f64,
        /// Held-out queries.
        queries: usize,
    },
    /// Another process works in the run's folder.
    #[error(
        "another adam-train is at work in {path}; wait until it has ended, or give this run a folder of its own (--work DIR)",
        path = .0.display()
    )]
    Busy(PathBuf),
    /// The run was asked to stop; a checkpoint was written.
    #[error("interrupted; what was done is kept, the same command goes on from there")]
    Interrupted,
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// A model could not be exported.
    #[error("export: {0}")]
    Export(#[from] crate::export::ExportError),
    /// An ONNX model could not be run.
    #[error(transparent)]
    Encoder(#[from] adam_encoder::EncoderError),
    /// A collection could not be read.
    #[error(transparent)]
    Collection(#[from] beir_eval::BeirError),
    /// Full-text search failed.
    #[error("tantivy: {0}")]
    Tantivy(#[from] tantivy::TantivyError),
    /// Vector search failed.
    #[error(transparent)]
    Dense(#[from] tantivy_dense::DenseError),
}

impl TrainError {
    /// A [`TrainError::Config`].
    pub fn config(problem: impl Into<String>) -> Self {
        Self::Config(problem.into())
    }

    /// A [`TrainError::Internal`].
    pub(crate) fn internal(problem: impl Into<String>) -> Self {
        Self::Internal(problem.into())
    }

    /// A [`TrainError::Data`].
    pub fn data(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// A [`TrainError::Row`].
    pub fn row(path: impl AsRef<Path>, line: u64, problem: impl Into<String>) -> Self {
        Self::Row { path: path.as_ref().to_path_buf(), line, problem: problem.into() }
    }

    /// A [`TrainError::Io`].
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }
}
