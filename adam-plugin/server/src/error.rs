//! The one error type of this crate.

use std::time::Duration;

use adam_plugin::PluginError;

/// Why a server cannot begin, or did not end well: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An option has a value that cannot be honoured.
    #[error("setting `{name}` {problem}")]
    Setting {
        /// The option.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system refused something.
    #[error("cannot {action}: {cause}")]
    System {
        /// What was to be done, such as `listen at 127.0.0.1:80`.
        action: String,
        /// What the operating system said. It is in the text, and so not in `source()`.
        cause: std::io::Error,
    },
    /// The counters of `/metrics` cannot be set up.
    #[error("the counters of /metrics cannot be set up: {0}")]
    Metrics(prometheus::Error),
    /// The embedding writer did not end, though it was given time to.
    #[error(
        "the embedding writer made no progress for {} s, so its last commit was given up: {waiting} accepted documents and deletions are not committed",
        quiet.as_secs()
    )]
    WriterStuck {
        /// How long it made no progress.
        quiet: Duration,
        /// Documents and deletions that were accepted and are not committed.
        waiting: u64,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] PluginError),
}

impl ServeError {
    pub(crate) fn system(action: impl Into<String>, cause: std::io::Error) -> Self {
        Self::System { action: action.into(), cause }
    }
}
