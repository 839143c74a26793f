//! Making the shards of an index, one at a time, without a driver.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::list::Shards;
use super::manifest::ShardManifest;
use super::placement::{Content, Part, Placement};
use crate::error::PluginError;
use crate::signed;

/// Hexadecimal digits of a job in the name of its folder.
const DIGITS: usize = 12;

/// All shards that are made of one input with one model: what every unit of the work has to agree about, and each finds by itself.
#[derive(Clone, Debug)]
pub struct ShardJob {
    index: PathBuf,
    id: String,
    placement: Placement,
    of: u32,
    model: String,
}

/// What is there of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// It is whole, and was made of the same rows.
    Done(PathBuf),
    /// It has to be made, in this folder, which may hold the beginning of it.
    Open(PathBuf),
}

impl ShardJob {
    /// The job that makes `of` shards in the folder `index` of all `rows` of an input, with a model (its fingerprint) and options that
    /// make a difference to the index, in any text that stays the same.
    pub fn new(
        index: impl AsRef<Path>,
        of: u32,
        placement: Placement,
        rows: &Content,
        model: &str,
        options: &str,
    ) -> Self {
        let id = signed::digest(&format!("1\n{of}\n{placement}\n{}\n{model}\n{options}", rows.sha256()));
        let id = id.get(..DIGITS).unwrap_or(&id).to_owned();
        Self { index: index.as_ref().to_path_buf(), id, placement, of, model: model.to_owned() }
    }

    /// Identifies it.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn folder(&self) -> PathBuf {
        self.index.join(format!("job-{}", self.id))
    }

    fn shard(&self, part: Part) -> PathBuf {
        self.folder().join(part.folder())
    }

    fn expected(&self, part: Part, rows: &Content) -> ShardManifest {
        ShardManifest::new(part, self.placement, &self.id, &self.model, rows)
    }

    /// What is there of a shard that shall hold these rows. Folders are made as far as they are missing.
    ///
    /// # Errors
    /// When a manifest is damaged, a folder cannot be made, or the index is no place for shards.
    pub fn state(&self, part: Part, rows: &Content) -> Result<ShardState, PluginError> {
        let shard = self.shard(part);
        if shard.is_dir() {
            return match ShardManifest::read(&shard)? {
                Some(made) if made == self.expected(part, rows) => Ok(ShardState::Done(shard)),
                _ => Err(PluginError::Manifest {
                    path: shard,
                    problem: "is there and was not made of the same rows; remove it to make it again".to_owned(),
                }),
            };
        }
        durable::create_folders(self.folder()).map_err(|fault| PluginError::io("make", self.folder(), fault))?;
        Ok(ShardState::Open(unfinished(&shard)))
    }

    /// Names a shard that was just made as whole: its manifest is written, and its folder renamed.
    ///
    /// # Errors
    /// When a file cannot be written or renamed.
    pub fn finish(&self, part: Part, rows: &Content) -> Result<PathBuf, PluginError> {
        let shard = self.shard(part);
        let begun = unfinished(&shard);
        self.expected(part, rows).write(&begun)?;
        durable::sync_folder(&begun).map_err(|fault| PluginError::io("sync", &begun, fault))?;
        durable::rename(&begun, &shard).map_err(|fault| PluginError::io("rename", &begun, fault))?;
        Ok(shard)
    }

    /// Writes the list of shards if all of this job are there; says whether they are. Whoever finishes a shard calls it; that several do
    /// at once does no harm, since they write the same. Shards of generations before the last one are removed.
    ///
    /// # Errors
    /// When a shard's manifest is damaged or of another job, or a file cannot be written.
    pub fn seal(&self) -> Result<Option<Shards>, PluginError> {
        let mut manifests = Vec::new();
        for number in 0..self.of {
            let part = Part { number, of: self.of };
            match ShardManifest::read(self.shard(part))? {
                None => return Ok(None),
                Some(made) if made.job == self.id && made.part == part => manifests.push(made),
                Some(made) => {
                    let problem =
                        format!("is shard {} of job {}, not shard {part} of job {}", made.part, made.job, self.id);
                    return Err(PluginError::Manifest { path: self.shard(part), problem });
                }
            }
        }
        let before = Shards::open(&self.index)?;
        if let Some(list) = before.as_ref().filter(|list| list.job == self.id) {
            return Ok(Some(list.clone()));
        }
        let generation = before.as_ref().map_or(1, |list| list.generation.saturating_add(1));
        let folder = |part: Part| format!("job-{}/{}", self.id, part.folder());
        let Some(list) = Shards::new(generation, &manifests, folder) else { return Ok(None) };
        list.write(&self.index)?;
        // Searches of the generation before may still open its files.
        self.remove_all_but(&[Some(self.id.as_str()), before.as_ref().map(|list| list.job.as_str())])?;
        Ok(Some(list))
    }

    fn remove_all_but(&self, kept: &[Option<&str>]) -> Result<(), PluginError> {
        let entries = self.index.read_dir().map_err(|fault| PluginError::io("read", &self.index, fault))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(job) = name.to_str().and_then(|name| name.strip_prefix("job-")) else { continue };
            let ours = job.len() == DIGITS && job.bytes().all(|byte| byte.is_ascii_hexdigit());
            // One that was never finished may be at work now.
            if !ours || kept.contains(&Some(job)) || !is_finished(&entry.path()) {
                continue;
            }
            match std::fs::remove_dir_all(entry.path()) {
                Err(fault) if fault.kind() != ErrorKind::NotFound => {
                    return Err(PluginError::io("remove", entry.path(), fault));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a job's folder holds no shard that is being made.
fn is_finished(job: &Path) -> bool {
    job.read_dir().is_ok_and(|entries| {
        entries.flatten().all(|entry| !entry.file_name().to_string_lossy().ends_with(".unfinished"))
    })
}

/// Where a shard is made.
fn unfinished(shard: &Path) -> PathBuf {
    shard.with_extension("unfinished")
}
