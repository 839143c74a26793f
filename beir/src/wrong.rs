//! Lines that were left out.

use std::fmt;
use std::path::Path;

use crate::error::{BeirError, Place};

/// A line that was left out, and why. Shown as `FILE line N: PROBLEM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongLine {
    /// Where.
    pub place: Place,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for WrongLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// The lines that reading left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrongLines {
    listed: Vec<WrongLine>,
    count: usize,
    repeated: usize,
}

/// Lines that are listed one by one; the others are counted.
const MAX_LISTED: usize = 100_000;

impl WrongLines {
    /// How many there were.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many of them were left out only because their id had come before.
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// The first 100,000 of them.
    pub fn listed(&self) -> &[WrongLine] {
        &self.listed
    }

    /// Adds one.
    pub fn push(&mut self, wrong: WrongLine) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(wrong);
        }
    }

    /// Adds the line that an error is about. An error about more than one line comes back.
    pub(crate) fn take(&mut self, fault: BeirError) -> Result<(), BeirError> {
        let (place, problem) = match fault {
            BeirError::Line { place, problem } => (place, problem),
            BeirError::DuplicateId { place, what, id, first } => {
                self.repeated += 1;
                (place, format!("{what} id `{id}` was already used {first}"))
            }
            other => return Err(other),
        };
        self.push(WrongLine { place, problem });
        Ok(())
    }

    /// Writes them to a file, one a line, and how many more there were.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), BeirError> {
        let path = path.as_ref();
        let written = durable::write_output(path, |out| {
            for wrong in &self.listed {
                writeln!(out, "{}", wrong.to_string().replace(['\n', '\r'], " "))?;
            }
            match self.count - self.listed.len() {
                0 => Ok(()),
                more => writeln!(out, "and {more} more"),
            }
        });
        written.map_err(|source| BeirError::io("write", path.display(), source))
    }
}
