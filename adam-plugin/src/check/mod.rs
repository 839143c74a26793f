//! Verifies every file of an index, a model's folder or a training run, and says what to do about those that are damaged.
//!
//! An index is read whole: checksums of tantivy's files and of the vectors, the card, whether files belong together. Folders that
//! hold a list of their files with hashes (`adam_export.json` of an exported model, `manifest.json` of a run) are held against it.

mod hashes;
mod index;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::PluginError;
use crate::folder::Contents;

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
    fn new(kind: Kind) -> Self {
        Self { kind, files: 0, bytes: 0, documents: 0, findings: Vec::new() }
    }

    /// Whether something is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }

    fn damage(&mut self, path: impl Into<PathBuf>, problem: impl Into<String>, remedy: &str) {
        self.push(path.into(), problem.into(), remedy, Severity::Damage);
    }

    fn note(&mut self, path: impl Into<PathBuf>, problem: impl Into<String>, remedy: &str) {
        self.push(path.into(), problem.into(), remedy, Severity::Note);
    }

    fn push(&mut self, path: PathBuf, problem: String, remedy: &str, severity: Severity) {
        self.findings.push(Finding { path, problem, remedy: remedy.to_owned(), severity });
    }
}

/// Checks an index, the folder of an exported model, or a run. Damage is not an error but in the report.
///
/// # Errors
/// When there is no such folder, it is none of these, or it cannot be looked into.
pub fn check(folder: &Path) -> Result<CheckReport, PluginError> {
    let refuse =
        |problem: &str| Err(PluginError::NotAnIndex { path: folder.to_path_buf(), problem: problem.to_owned() });
    if !folder.is_dir() {
        return refuse("there is no such folder");
    }
    let contents = Contents::of(folder)?;
    let mut report = match contents {
        Contents::Index | Contents::WithoutMeta | Contents::Begun => index::check(folder, contents)?,
        Contents::Foreign | Contents::Nothing => match hashes::check(folder)? {
            Some(report) => report,
            None => {
                return refuse(
                    "and it has no adam_export.json or manifest.json with hashes of its files, as an exported model or a run has; there \
                     is nothing to check it against",
                );
            }
        },
    };
    report
        .findings
        .sort_by(|a, b| (a.severity == Severity::Note, &a.path).cmp(&(b.severity == Severity::Note, &b.path)));
    Ok(report)
}
