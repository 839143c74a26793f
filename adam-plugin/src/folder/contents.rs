//! What lies in a folder: an index, the beginning of one, or something else.

use std::io::ErrorKind;
use std::path::Path;

use tantivy::directory::{INDEX_WRITER_LOCK, META_LOCK};

use crate::error::PluginError;
use crate::manifest::MANIFEST_FILE;

/// tantivy's list of the segments of an index.
pub(crate) const META: &str = "meta.json";

/// tantivy's list of the files of an index.
pub(crate) const FILE_LIST: &str = ".managed.json";

/// Most bytes of `meta.json` that are read.
pub(crate) const MAX_META: u64 = 64 << 20;

/// Says in a new index from which one it is read, while it is brought over; as the manifest, a file that tantivy leaves alone.
pub(crate) const SOURCE_FILE: &str = ".adam-source";

/// Unfinished files of earlier versions, which gave them fixed names.
const OLD_LEFTOVERS: [&str; 2] = [".adam.json.tmp", ".adam-source.tmp"];

/// In the root of a file system of its own.
const LOST_AND_FOUND: &str = "lost+found";

/// What a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// There is no such folder, or nothing in it but locks and unfinished files: a new index may be made.
    Nothing,
    /// A manifest and no segments: an index whose making was interrupted. Nothing was committed.
    Begun,
    /// An index of adam.
    Index,
    /// Segments and no `meta.json`, which says what they are.
    WithoutMeta,
    /// Something else.
    Foreign,
}

impl Contents {
    pub(crate) fn of(folder: &Path) -> Result<Self, PluginError> {
        let entries = match folder.read_dir() {
            Ok(entries) => entries,
            Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(source) => return Err(PluginError::io("read", folder, source)),
        };
        let (mut manifest, mut meta, mut begun, mut segments, mut other) = (false, false, false, false, false);
        for entry in entries {
            let entry = entry.map_err(|source| PluginError::io("read", folder, source))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match name.as_ref() {
                MANIFEST_FILE => manifest = true,
                META => meta = true,
                FILE_LIST | SOURCE_FILE => begun = true,
                name if is_segment_file(name) => segments = true,
                name if is_leftover(name) || is_lock(name) || name == LOST_AND_FOUND => {}
                _ => other = true,
            }
        }
        Ok(match (manifest, meta) {
            (true, true) => Self::Index,
            (true, false) if segments => Self::WithoutMeta,
            (true, false) => Self::Begun,
            (false, _) if meta || begun || segments || other => Self::Foreign,
            (false, _) => Self::Nothing,
        })
    }

    /// Refuses a folder that a new index cannot be made in.
    pub(crate) fn check_free(self, folder: &Path) -> Result<(), PluginError> {
        match self {
            Self::Foreign => Err(not_an_index(
                folder,
                format!(
                    "it holds other files and no {MANIFEST_FILE}; name an empty folder, or one that is not there yet"
                ),
            )),
            Self::WithoutMeta => Err(without_meta(folder)),
            Self::Nothing | Self::Begun | Self::Index => Ok(()),
        }
    }

    /// Refuses a folder that holds no index.
    pub(crate) fn check_index(self, folder: &Path) -> Result<(), PluginError> {
        match self {
            Self::Index => Ok(()),
            Self::Nothing if !folder.is_dir() => Err(not_an_index(folder, "there is no such folder".to_owned())),
            Self::Nothing | Self::Foreign => Err(not_an_index(
                folder,
                format!("it holds no {MANIFEST_FILE}; make an index in a new folder, or bring one over"),
            )),
            Self::Begun => Err(not_an_index(
                folder,
                "its making was interrupted before anything was committed; start what made it again".to_owned(),
            )),
            Self::WithoutMeta => Err(without_meta(folder)),
        }
    }
}

/// Whether this is an unfinished file of this or an earlier version.
pub(crate) fn is_leftover(name: &str) -> bool {
    durable::is_leftover(name) || OLD_LEFTOVERS.contains(&name)
}

pub(crate) fn is_lock(name: &str) -> bool {
    [&INDEX_WRITER_LOCK.filepath, &META_LOCK.filepath].iter().any(|lock| lock.as_os_str() == name)
}

/// Whether a name is that of a segment's file: the segment's id, 32 hexadecimal digits, and an extension.
pub(crate) fn is_segment_file(name: &str) -> bool {
    segment_of(name).is_some()
}

/// The segment that a file is of, by its name.
pub(crate) fn segment_of(name: &str) -> Option<&str> {
    let (id, extension) = name.split_once('.')?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && !extension.is_empty()).then_some(id)
}

/// Removes what killed writers left unfinished. The caller holds the writer's lock.
pub(super) fn remove_leftovers(folder: &Path) {
    let removed = durable::remove_leftovers(folder);
    let old = OLD_LEFTOVERS.iter().filter(|name| std::fs::remove_file(folder.join(name)).is_ok()).count();
    match removed {
        Ok(0) if old == 0 => {}
        Ok(new) => tracing::info!(folder = %folder.display(), files = new + old, "removed files of a killed writer"),
        // They only take some bytes.
        Err(fault) => tracing::warn!(folder = %folder.display(), "files of a killed writer cannot be removed: {fault}"),
    }
}

fn not_an_index(folder: &Path, problem: String) -> PluginError {
    PluginError::NotAnIndex { path: folder.to_path_buf(), problem }
}

fn without_meta(folder: &Path) -> PluginError {
    not_an_index(
        folder,
        format!(
            "it holds segments and no {META}, which lists them; restore that file from a copy, or make the index anew in another folder"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_holds_is_told_by_its_names() {
        let segment = "0123456789abcdef0123456789abcdef.vec";
        for (names, expected) in [
            (vec![], Contents::Nothing),
            (vec![".tmpAb3dE6", ".adam.json.tmp", ".tantivy-writer.lock", ".tantivy-meta.lock"], Contents::Nothing),
            (vec![LOST_AND_FOUND], Contents::Nothing),
            (vec![MANIFEST_FILE], Contents::Begun),
            (vec![MANIFEST_FILE, FILE_LIST, SOURCE_FILE, ".tmpAb3dE6"], Contents::Begun),
            (vec![MANIFEST_FILE, META], Contents::Index),
            (vec![MANIFEST_FILE, META, segment, "notes.txt"], Contents::Index),
            (vec![MANIFEST_FILE, segment], Contents::WithoutMeta),
            (vec![META], Contents::Foreign),
            (vec![FILE_LIST], Contents::Foreign),
            (vec!["notes.txt"], Contents::Foreign),
            (vec!["notes.tmp"], Contents::Foreign),
        ] {
            let home = tempfile::tempdir().unwrap();
            for name in &names {
                std::fs::write(home.path().join(name), "").unwrap();
            }
            assert_eq!(Contents::of(home.path()).unwrap(), expected, "{names:?}");
        }
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Contents::of(&home.path().join("missing")).unwrap(), Contents::Nothing);
        std::fs::write(home.path().join("file"), "").unwrap();
        assert!(Contents::of(&home.path().join("file")).is_err());
    }
}
