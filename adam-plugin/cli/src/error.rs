//! Calls that are wrong, and so end with an exit code of their own.

/// What is wrong with options that clap took: it sees each by itself.
#[derive(Debug)]
pub(crate) struct WrongCall(pub(crate) String);

impl std::fmt::Display for WrongCall {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for WrongCall {}
