//! Where an index lies: in one folder, or in those of its shards.

use std::path::{Path, PathBuf};

use tantivy::Index;
use tantivy::directory::DirectoryLock;
use tantivy_dense::Dense;

use super::{Contents, IndexFolder};
use crate::error::PluginError;
use crate::manifest::Manifest;
use crate::shards::{ShardFolders, Shards};

/// Where an index lies.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    One(IndexFolder),
    Shards(ShardFolders),
}

impl Home {
    /// Opens the index in a folder that holds one of `adam`, or a list of shards.
    pub(crate) fn open_index(path: &Path, dense: &Dense) -> Result<(Index, Self), PluginError> {
        if let Some(list) = Shards::open(path)? {
            let folders = ShardFolders::open(path, list)?;
            return Ok((dense.open_index(folders.clone())?, Self::Shards(folders)));
        }
        Contents::of(path)?.check_index(path)?;
        let (index, folder) = IndexFolder::open_index(path, dense)?;
        Ok((index, Self::One(folder)))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::One(folder) => folder.path(),
            Self::Shards(folders) => folders.path(),
        }
    }

    /// Where a file of the index lies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::One(folder) => folder.path().join(name),
            Self::Shards(folders) => folders.file(name),
        }
    }

    pub(crate) fn manifest(&self) -> Option<Manifest> {
        match self {
            Self::One(folder) => folder.manifest(),
            Self::Shards(folders) => Some(folders.manifest()),
        }
    }

    /// Refuses what is no longer what was opened.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        match self {
            Self::One(folder) => folder.check(),
            Self::Shards(folders) => folders.check(),
        }
    }

    /// Whether it was written to through this handle, now or before.
    pub(crate) fn is_own(&self) -> bool {
        match self {
            Self::One(folder) => folder.is_own(),
            Self::Shards(_) => false,
        }
    }

    /// Goes over to what was put in its place.
    pub(crate) fn adopt(&self, other: &Self) -> Result<(), PluginError> {
        match (self, other) {
            (Self::One(folder), Self::One(other)) => folder.adopt(other),
            (Self::Shards(folders), Self::Shards(other)) => folders.adopt(other),
            _ => Err(PluginError::FolderChanged {
                index: self.path().to_path_buf(),
                problem: "an index of another kind was put in its place".to_owned(),
            }),
        }
    }

    /// The one folder that can be written to.
    pub(crate) fn writable(&self) -> Result<&IndexFolder, PluginError> {
        match self {
            Self::One(folder) => Ok(folder),
            Self::Shards(folders) => Err(PluginError::Sharded { index: folders.path().to_path_buf() }),
        }
    }

    /// Takes the lock of the writer.
    pub(crate) fn lock(&self) -> Result<DirectoryLock, PluginError> {
        self.writable()?.lock()
    }

    /// An error of a writer with its cause.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        match self {
            Self::One(folder) => folder.explain(error),
            Self::Shards(_) => error,
        }
    }
}
