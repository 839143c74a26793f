//! Verifies every file of an index, a model's folder or a training run, and says what to do about those that are damaged.
//!
//! An index is read whole: checksums of tantivy's files and of the vectors, the manifest, whether files belong together. Folders that
//! hold a list of their files with hashes (`adam_export.json` of an exported model, `manifest.json` of a run) are held against it.

mod hashes;
mod index;
mod report;
mod shards;

use std::path::Path;

pub use report::{CheckReport, Finding, Kind, Severity};

use crate::error::PluginError;
use crate::folder::Contents;
use crate::shards::SHARDS_FILE;

/// Checks an index, the folder of an exported model, or a run. Damage is not an error but in the report.
///
/// # Errors
/// When there is no such folder, it is none of these, or it cannot be looked into.
pub fn check(folder: impl AsRef<Path>) -> Result<CheckReport, PluginError> {
    let folder = folder.as_ref();
    let refuse =
        |problem: &str| Err(PluginError::NotAnIndex { path: folder.to_path_buf(), problem: problem.to_owned() });
    if !folder.is_dir() {
        return refuse("there is no such folder");
    }
    let contents = Contents::of(folder)?;
    let mut report = match contents {
        _ if folder.join(SHARDS_FILE).is_file() => shards::check(folder)?,
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
