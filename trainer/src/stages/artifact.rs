//! What a finished stage must have left: a stamp says that it was made, not that it is still there and whole.

use crate::error::TrainError;
use crate::export::fault_of;
use crate::files::hex;
use crate::model::fingerprint;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Something that later stages or users read.
pub(crate) enum Artifact {
    /// A file.
    File(PathBuf),
    /// A model's folder: its weights and what decides what they give.
    Model(PathBuf),
    /// An exported folder, whose report has the hash of each file.
    Exported(PathBuf),
}

impl Artifact {
    /// What is wrong with it now, by its path; nothing where it is whole. `hash` is what the stamp says of it, where it says so.
    pub(crate) fn fault(&self, hash: Option<&str>) -> Option<String> {
        let path = match self {
            Self::Exported(folder) => return fault_of(folder),
            Self::File(path) => path.clone(),
            Self::Model(folder) => folder.join("model.safetensors"),
        };
        if !path.is_file() {
            return Some(format!("{} is gone", path.display()));
        }
        let is_same = hash.is_none_or(|known| self.hash().ok().flatten().as_deref() == Some(known));
        (!is_same).then(|| match self {
            Self::Model(folder) => {
                format!("{} is damaged: its files are not those that were written", folder.display())
            }
            _ => format!("{} is damaged: its bytes are not those that were written", path.display()),
        })
    }

    /// Its hash, for the stamp; none for an exported folder, which has its own.
    pub(crate) fn hash(&self) -> Result<Option<String>, TrainError> {
        match self {
            Self::File(path) => hash_of(path).map(Some),
            Self::Model(folder) => fingerprint(folder).map(Some),
            Self::Exported(_) => Ok(None),
        }
    }
}

fn hash_of(path: &Path) -> Result<String, TrainError> {
    let io = |e| TrainError::io(path, e);
    let mut file = std::fs::File::open(path).map_err(io)?;
    let (mut hash, mut part) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part).map_err(io)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&part[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        for artifact in [Artifact::File(path.clone()), Artifact::Model(folder.path().to_owned())] {
            std::fs::write(&path, [1, 2, 3]).unwrap();
            let hash = artifact.hash().unwrap();
            assert_eq!(artifact.fault(hash.as_deref()), None);
            std::fs::write(&path, [1, 2, 2]).unwrap();
            assert!(artifact.fault(hash.as_deref()).unwrap().contains("is damaged"));
            // A stamp of an earlier release says nothing of it.
            assert_eq!(artifact.fault(None), None);
            std::fs::remove_file(&path).unwrap();
            assert!(artifact.fault(None).unwrap().ends_with("is gone"));
        }
    }
}
