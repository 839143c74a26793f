//! Whether a folder is still the one that was opened.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use super::contents::META;
use crate::error::PluginError;
use crate::manifest::{MANIFEST_FILE, Manifest};

/// A file or folder as the file system knows it, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    #[cfg(unix)]
    pub(super) fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: found.dev(), inode: found.ino() }
    }

    /// Elsewhere a folder with open files can be neither renamed nor deleted.
    #[cfg(not(unix))]
    pub(super) fn of(_: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}

/// Identifies the state of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    id: FileId,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self { id: FileId::of(found), length: found.len(), modified: found.modified().ok() }
    }
}

/// What a folder was when it was opened, and what its writer left in it last.
#[derive(Debug)]
pub(super) struct Identity {
    folder: FileId,
    manifest: Option<(Stamp, Manifest)>,
    pub(super) writing: Option<WriterLockState>,
    /// Whether the folder was ever written to from here: what was put in its place lacks that.
    pub(super) is_own: bool,
}

/// While the writer's lock is held.
#[derive(Debug)]
pub(super) struct WriterLockState {
    pub(super) lock: FileId,
    pub(super) lock_file: std::path::PathBuf,
    /// What `meta.json` held when the lock was taken or the writer wrote it last.
    pub(super) meta: Option<Vec<u8>>,
}

impl Identity {
    pub(super) fn of(folder: &Path) -> Result<Self, PluginError> {
        let found = std::fs::metadata(folder).map_err(|source| PluginError::io("read", folder, source))?;
        Ok(Self { folder: FileId::of(&found), manifest: read_manifest(folder)?, writing: None, is_own: false })
    }

    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref().map(|(_, manifest)| manifest)
    }

    /// Remembers a manifest that was just written.
    pub(super) fn note_manifest(&mut self, folder: &Path) -> Result<(), PluginError> {
        self.manifest = read_manifest(folder)?;
        Ok(())
    }

    /// Refuses a folder that is gone or was replaced, or whose lock or manifest is gone or was replaced.
    pub(super) fn check(&mut self, folder: &Path) -> Result<(), PluginError> {
        let changed = |problem: &str| changed(folder, problem);
        match std::fs::metadata(folder) {
            Ok(found) if FileId::of(&found) == self.folder => {}
            Ok(_) => return Err(changed("another folder was put in its place")),
            Err(fault) if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(changed("its folder was moved or deleted"));
            }
            Err(source) => return Err(PluginError::io("read", folder, source)),
        }
        if let Some(writing) = &self.writing {
            match std::fs::symlink_metadata(&writing.lock_file) {
                Ok(found) if FileId::of(&found) == writing.lock => {}
                _ => {
                    return Err(changed(
                        "the lock of its writer was deleted or replaced, so another program may have written to it",
                    ));
                }
            }
        }
        self.check_manifest(folder)
    }

    fn check_manifest(&mut self, folder: &Path) -> Result<(), PluginError> {
        let Some((stamp, manifest)) = &mut self.manifest else { return Ok(()) };
        let path = folder.join(MANIFEST_FILE);
        match std::fs::metadata(&path) {
            Ok(found) if Stamp::of(&found) == *stamp => return Ok(()),
            Ok(_) => {}
            Err(fault) if fault.kind() == ErrorKind::NotFound => {
                return Err(changed(folder, &format!("its {MANIFEST_FILE} was deleted")));
            }
            Err(source) => return Err(PluginError::io("read", path, source)),
        }
        match read_manifest(folder)? {
            Some((now, there)) if there.is_compatible(manifest) => {
                (*stamp, *manifest) = (now, there);
                Ok(())
            }
            _ => Err(changed(folder, &format!("its {MANIFEST_FILE} now names another model or other fields"))),
        }
    }

    /// The lock was just taken. On a file system in layers, as containers have, its making may have given the folder another number.
    pub(super) fn hold(&mut self, folder: &Path, writing: WriterLockState) -> std::io::Result<()> {
        self.folder = FileId::of(&std::fs::metadata(folder)?);
        self.writing = Some(writing);
        self.is_own = true;
        Ok(())
    }

    /// Takes over a folder that was put in the place of this one.
    pub(super) fn adopt(&mut self, other: Self) {
        (self.folder, self.manifest) = (other.folder, other.manifest);
    }

    /// Refuses to write over a `meta.json` that somebody else wrote.
    pub(super) fn check_meta(&self, folder: &Path, most: u64) -> Result<(), PluginError> {
        let Some(writing) = &self.writing else { return Ok(()) };
        let path = folder.join(META);
        let there = match durable::read(&path, most) {
            Ok(there) => Some(there),
            Err(fault) if fault.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(PluginError::io("read", path, source)),
        };
        if there == writing.meta {
            return Ok(());
        }
        Err(changed(folder, &format!("its {META} was written or deleted by another program")))
    }
}

fn read_manifest(folder: &Path) -> Result<Option<(Stamp, Manifest)>, PluginError> {
    // The stamp comes first: of a manifest that is replaced meanwhile it is too old, and the next look reads it again.
    let Ok(found) = std::fs::metadata(folder.join(MANIFEST_FILE)) else { return Ok(None) };
    Ok(Manifest::read(folder)?.map(|manifest| (Stamp::of(&found), manifest)))
}

fn changed(folder: &Path, problem: &str) -> PluginError {
    PluginError::FolderChanged { index: folder.to_path_buf(), problem: problem.to_owned() }
}
