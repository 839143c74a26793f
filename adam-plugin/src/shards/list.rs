//! The file `SHARDS`, which makes several folders one index.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::ShardManifest;
use super::placement::{Part, Placement};
use crate::error::PluginError;
use crate::signed;

/// The file that lists the shards of an index.
pub(crate) const SHARDS_FILE: &str = "SHARDS";

const VERSION: u32 = 1;

/// Most bytes of it that are read: some thousand shards.
const MAX_SIZE: u64 = 4 << 20;

/// The shards of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shards {
    version: u32,
    /// Counts the jobs that made shards here, from 1.
    pub generation: u64,
    /// The job that made these.
    pub job: String,
    /// How documents are placed.
    pub placement: Placement,
    /// Fingerprint of the model of all of them.
    pub model: String,
    /// The shards, by their number.
    pub shards: Vec<Shard>,
}

/// A shard in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its folder, below that of the index.
    pub folder: String,
    /// Documents when it was made.
    pub documents: u64,
    /// SHA-256 of these documents.
    pub content: String,
}

impl Shards {
    pub(super) fn new(generation: u64, manifests: &[ShardManifest], folder: impl Fn(Part) -> String) -> Option<Self> {
        let first = manifests.first()?;
        let shard = |manifest: &ShardManifest| Shard {
            folder: folder(manifest.part),
            documents: manifest.documents,
            content: manifest.content.clone(),
        };
        Some(Self {
            version: VERSION,
            generation,
            job: first.job.clone(),
            placement: first.placement,
            model: first.model.clone(),
            shards: manifests.iter().map(shard).collect(),
        })
    }

    /// The shards of the index in a folder; `None` where there is no such list, as in an index that is one folder.
    ///
    /// # Errors
    /// When the list cannot be read, is damaged, was written by a later version, or names a folder that is not below its own.
    pub fn open(index: impl AsRef<Path>) -> Result<Option<Self>, PluginError> {
        let path = index.as_ref().join(SHARDS_FILE);
        let Some(list) = signed::read::<Self>(&path, "the list of shards", VERSION, MAX_SIZE)? else { return Ok(None) };
        let below = |folder: &str| {
            !folder.is_empty() && folder.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\\'))
        };
        let problem = match list.shards.iter().find(|shard| !below(&shard.folder)) {
            Some(shard) => Some(format!("names the folder {:?}, which is not below the index", shard.folder)),
            None if list.shards.is_empty() => Some("names no shard".to_owned()),
            None => None,
        };
        match problem {
            Some(problem) => Err(PluginError::Manifest { path, problem }),
            None => Ok(Some(list)),
        }
    }

    pub(super) fn write(&self, index: &Path) -> Result<(), PluginError> {
        signed::write(&index.join(SHARDS_FILE), self)
    }

    /// The folders of the shards.
    pub fn folders(&self, index: impl AsRef<Path>) -> Vec<PathBuf> {
        self.shards.iter().map(|shard| index.as_ref().join(&shard.folder)).collect()
    }

    /// Whether every shard is there, and the one that this list means.
    ///
    /// # Errors
    /// For the first that is missing, or was made by another job or with another model.
    pub fn check(&self, index: impl AsRef<Path>) -> Result<(), PluginError> {
        for (number, path) in (0u32..).zip(self.folders(index)) {
            if let Some(problem) = self.problem(number, &path)? {
                return Err(PluginError::Manifest { path, problem });
            }
        }
        Ok(())
    }

    fn problem(&self, number: u32, path: &Path) -> Result<Option<String>, PluginError> {
        if !path.is_dir() {
            return Ok(Some(format!("shard {number} is missing, which {SHARDS_FILE} lists; make it again")));
        }
        Ok(match ShardManifest::read(path)? {
            None => Some(format!("shard {number} has no manifest; make it again")),
            Some(made) if made.model != self.model => Some(format!(
                "shard {number} was made with another model ({}) than the others ({})",
                made.model, self.model
            )),
            Some(made) if made.job != self.job || made.part.number != number => Some(format!(
                "is shard {} of job {}, and {SHARDS_FILE} lists shard {number} of job {}: it is of another generation; make it again",
                made.part, made.job, self.job
            )),
            Some(_) => None,
        })
    }

    /// The number of the shard that a key belongs to; none where documents are placed by their row.
    pub fn of_key(&self, key: &str) -> Option<usize> {
        let of = u32::try_from(self.shards.len()).ok()?;
        (self.placement == Placement::Hash).then(|| Part::of_key(key, of).number as usize)
    }
}
