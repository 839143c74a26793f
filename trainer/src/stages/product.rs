//! What a finished stage must have left: a stamp says that it was made, not that it is still there.

use crate::export::fault_of;
use std::path::PathBuf;

/// Something that later stages or users read.
pub(crate) enum Product {
    /// A file; that it is there suffices, as stages that write one bit by bit are stamped when it is whole.
    File(PathBuf),
    /// An exported folder, with all of its files in their sizes.
    Exported(PathBuf),
}

impl Product {
    /// What is wrong with it now, by its path; nothing where it is whole.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::File(path) => (!path.is_file()).then(|| format!("{} is gone", path.display())),
            Self::Exported(folder) => fault_of(folder),
        }
    }
}
