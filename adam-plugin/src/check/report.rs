//! What a check found.

use std::path::PathBuf;

use serde::Serialize;

/// What a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An index of adam.
    Index,
    /// A folder with a list of its files and their hashes: an exported model, or a run.
    Listed,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Answers are or may be wrong, or something cannot be opened.
    Damage,
    /// Nothing is wrong with the answers.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
    /// How bad it is.
    pub severity: Severity,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What the folder is.
    pub kind: Kind,
    /// Files that were read.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Documents whose words were looked up, of an index.
    pub documents: u64,
    /// What was found, damage first.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, files: 0, bytes: 0, documents: 0, findings: Vec::new() }
    }

    /// Whether something is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }

    pub(super) fn damage(&mut self, path: impl Into<PathBuf>, problem: impl Into<String>, remedy: &str) {
        self.push(path.into(), problem.into(), remedy, Severity::Damage);
    }

    pub(super) fn note(&mut self, path: impl Into<PathBuf>, problem: impl Into<String>, remedy: &str) {
        self.push(path.into(), problem.into(), remedy, Severity::Note);
    }

    fn push(&mut self, path: PathBuf, problem: String, remedy: &str, severity: Severity) {
        self.findings.push(Finding { path, problem, remedy: remedy.to_owned(), severity });
    }
}
