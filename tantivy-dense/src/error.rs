//! Everything that can go wrong, in sentences.

use tantivy::TantivyError;

/// The error of this crate. Each message says what was found, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DenseError {
    /// The options of a vector field contradict each other or go beyond a limit.
    #[error("vector field `{field}` cannot be made: {why}")]
    Options {
        /// Name of the field.
        field: String,
        /// What is wrong with the options.
        why: String,
    },
    /// A vector of another length than the field's dimension.
    #[error(
        "field `{field}` holds vectors of {expected} values, but this one has {got}; was it made by another model?"
    )]
    Dimension {
        /// Name of the field.
        field: String,
        /// The field's dimension.
        expected: usize,
        /// Length of the vector at hand.
        got: usize,
    },
    /// A value that is NaN or infinite.
    #[error("value {at} of a vector for field `{field}` is {value}; only finite numbers can be compared")]
    NotFinite {
        /// Name of the field.
        field: String,
        /// Position of the value in the vector, from 0.
        at: usize,
        /// The value.
        value: f32,
    },
    /// A vector without a direction in a field that compares directions.
    #[error("a vector of zeros has no direction, and field `{field}` compares by cosine; leave the vector out instead")]
    ZeroVector {
        /// Name of the field.
        field: String,
    },
    /// A vector so long, or a value so large, that arithmetic on it would overflow.
    #[error(
        "a vector for field `{field}` is too large: {what} is {value:e}, the limit is {limit:e}; scale the vectors down"
    )]
    TooLarge {
        /// Name of the field.
        field: String,
        /// What was measured.
        what: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        limit: f64,
    },
    /// A second vector for one document and field.
    #[error("the document already has a vector in field `{field}`; a vector field takes one per document")]
    SecondVector {
        /// Name of the field.
        field: String,
    },
    /// The bytes of a document's value are not a vector.
    #[error("the value of field `{field}` is not a vector ({why}); add vectors with `VectorField::add`")]
    NotAVector {
        /// Name of the field.
        field: String,
        /// What is wrong with the value.
        why: String,
    },
    /// The schema has no field of this name.
    #[error("the schema has no field `{name}`")]
    UnknownField {
        /// The name that was asked for.
        name: String,
    },
    /// The field exists but is of another type.
    #[error("field `{name}` is of type {found}, not a vector field")]
    NotAVectorField {
        /// Name of the field.
        name: String,
        /// Its type.
        found: String,
    },
    /// The field of a query is not the field of that name in the searched index.
    #[error("the index searched has no vector field `{name}` with the options the query was made for")]
    ForeignField {
        /// Name of the field.
        name: String,
    },
    /// Something written by a later version of this crate.
    #[error(
        "`{file}` has format version {found}, and this version of tantivy-dense reads up to {supported}: update tantivy-dense"
    )]
    NewerFormat {
        /// Name of the file, or of the field.
        file: String,
        /// Version found.
        found: u32,
        /// Newest version this crate reads.
        supported: u32,
    },
    /// A file whose content cannot be what was written.
    #[error("file `{file}` is damaged: {what}; restore it from a copy, or index its documents again")]
    Corrupt {
        /// Name of the file in the index.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A segment without the file of its vectors.
    #[error(
        "there is no file `{file}`: either the segment was written without the plugin, which drops vectors, or a merge \
         replaced it while the searcher was opened: reload, and use a reader made by `Dense::reader`"
    )]
    NoRows {
        /// Name of the file in the index.
        file: String,
    },
    /// An index that holds vectors, opened for writing without the plugin.
    #[error(
        "the index keeps vectors (files {extensions}), so it must be opened with the plugin that writes them: \
         use `Dense::open(folder)`, or `Index::builder().register_plugin(dense.plugin())`"
    )]
    PluginMissing {
        /// Extensions of the files in question.
        extensions: String,
    },
    /// An index made without the plugin, opened with it.
    #[error(
        "the index was made without vectors, and tantivy fixes an index's files when it is made: make a new index with \
         `Dense::create_in_dir` and add the documents again (example `migrate_an_old_index`), or open this one without vectors"
    )]
    MadeWithoutPlugin,
    /// An index is there, and its schema is not the one that was given.
    #[error(
        "the index is there with another schema: field `{field}` {difference}; open it with `Dense::open`, or make a new index in \
         an empty folder"
    )]
    OtherSchema {
        /// Name of the first field that differs.
        field: String,
        /// What differs, with both values.
        difference: String,
    },
    /// Two plugins want the same files.
    #[error("another plugin also writes the files {extensions}: register the vector plugin once")]
    PluginConflict {
        /// Extensions of the files in question.
        extensions: String,
    },
    /// A query was used where no index can be searched, as in `delete_query`.
    #[error(
        "a nearest-neighbour query needs a searcher: search first, and delete the documents found by a term of their own"
    )]
    NoSearcher,
    /// A query that makes no sense.
    #[error("the query on field `{field}` cannot be run: {why}")]
    Query {
        /// Name of the field.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// Several searches could not be made one.
    #[error("hybrid search: {why}")]
    Fusion {
        /// What is wrong.
        why: String,
    },
    /// An approximate index could not be built or used.
    #[error("approximate index{}: {why}", field.as_ref().map_or_else(String::new, |field| format!(" of field `{field}`")))]
    Ann {
        /// Name of the field, where it is known.
        field: Option<String>,
        /// What went wrong.
        why: String,
    },
    /// A name that no device has.
    #[error("no device is called `{name}`; there are `gpu`, `gpu:NUMBER` and `host`")]
    NoDevice {
        /// The name that was given.
        name: String,
    },
    /// The work was stopped by [`Dense::cancel`](crate::Dense::cancel).
    #[error("stopped on request")]
    Cancelled,
    /// tantivy's own errors.
    #[error(transparent)]
    Tantivy(TantivyError),
    /// The operating system's errors. The message holds the cause, which is no further [source](std::error::Error::source).
    #[error("reading or writing vectors: {0}")]
    Io(std::io::Error),
    /// The error of code that is not this crate's, such as a [`Ranking`](crate::Ranking) or
    /// [`TextStatistics`](crate::hybrid::TextStatistics) of a program.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl From<std::io::Error> for DenseError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl DenseError {
    pub(crate) fn corrupt(file: impl Into<String>, what: impl Into<String>) -> DenseError {
        DenseError::Corrupt { file: file.into(), what: what.into() }
    }
}

impl From<TantivyError> for DenseError {
    /// The three errors about plugins say what to do in terms of this crate.
    fn from(error: TantivyError) -> DenseError {
        match error {
            TantivyError::MissingPlugin(extensions) => DenseError::PluginMissing { extensions },
            TantivyError::UnexpectedPlugin(_) => DenseError::MadeWithoutPlugin,
            TantivyError::ConflictingPlugins(extensions) => DenseError::PluginConflict { extensions },
            other => DenseError::Tantivy(other),
        }
    }
}

macro_rules! through_tantivy {
    ($($type:ty),*) => {$(
        impl From<$type> for DenseError {
            fn from(error: $type) -> DenseError {
                DenseError::Tantivy(error.into())
            }
        }
    )*};
}
through_tantivy!(
    tantivy::directory::error::OpenReadError,
    tantivy::directory::error::OpenWriteError,
    tantivy::directory::error::OpenDirectoryError
);

impl From<DenseError> for TantivyError {
    fn from(error: DenseError) -> TantivyError {
        match error {
            DenseError::Tantivy(error) => error,
            DenseError::Io(error) => error.into(),
            DenseError::Corrupt { ref file, .. } => {
                TantivyError::DataCorruption(tantivy::error::DataCorruption::new(file.into(), error.to_string()))
            }
            DenseError::Options { .. }
            | DenseError::UnknownField { .. }
            | DenseError::NotAVectorField { .. }
            | DenseError::OtherSchema { .. }
            | DenseError::ForeignField { .. } => TantivyError::SchemaError(error.to_string()),
            DenseError::Cancelled => TantivyError::SystemError(error.to_string()),
            other => TantivyError::InvalidArgument(other.to_string()),
        }
    }
}
