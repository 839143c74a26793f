//! The folders of all shards as one tantivy directory, for reading.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde_json::Value;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, INDEX_WRITER_LOCK, Lock, WatchCallback, WatchCallbackList, WatchHandle,
    WritePtr,
};

use super::list::{SHARDS_FILE, Shards};
use crate::error::PluginError;
use crate::folder::{Contents, FILE_LIST, IndexFolder, META, segment_of};
use crate::manifest::Manifest;

/// The folders of the shards of one index. Nothing is written through it.
#[derive(Clone)]
pub(crate) struct ShardFolders {
    root: PathBuf,
    state: Arc<RwLock<State>>,
    changed: Arc<WatchCallbackList>,
}

struct State {
    list: Shards,
    manifest: Manifest,
    folders: Vec<IndexFolder>,
    /// Which folder a segment lies in.
    segments: HashMap<String, usize>,
    /// Looks for new commits in every folder, once somebody wants to know.
    watches: Vec<WatchHandle>,
}

impl std::fmt::Debug for ShardFolders {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ShardFolders({})", self.root.display())
    }
}

impl ShardFolders {
    /// Opens the shards that a list names.
    pub(crate) fn open(root: &Path, list: Shards) -> Result<Self, PluginError> {
        let state = State::open(root, list)?;
        let shards = Self {
            root: root.to_path_buf(),
            state: Arc::new(RwLock::new(state)),
            changed: Arc::new(WatchCallbackList::default()),
        };
        // Finds what does not fit together now, and not at the first search.
        shards.meta()?;
        Ok(shards)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // Replaced as a whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For work that may wait: nothing waits while it holds the state.
    pub(crate) fn folders(&self) -> Vec<IndexFolder> {
        self.state().folders.clone()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    pub(crate) fn manifest(&self) -> Manifest {
        self.state().manifest.clone()
    }

    /// Refuses shards that are no longer those that were opened.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let there = Shards::open(&self.root)?;
        if there.as_ref() != Some(&self.state().list) {
            let problem = match there {
                Some(list) => format!("its {SHARDS_FILE} now lists generation {}", list.generation),
                None => format!("its {SHARDS_FILE} was deleted"),
            };
            return Err(PluginError::FolderChanged { index: self.root.clone(), problem });
        }
        self.folders().iter().try_for_each(IndexFolder::check)
    }

    /// Goes over to the shards of another generation.
    pub(crate) fn adopt(&self, other: &Self) -> Result<(), PluginError> {
        let list = other.state().list.clone();
        let mut state = State::open(&self.root, list)?;
        state.watches = self.watched(&state.folders)?;
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, state);
        drop(current);
        drop(before);
        Ok(())
    }

    /// One `meta.json` with the segments of all shards.
    fn meta(&self) -> Result<Vec<u8>, PluginError> {
        let folders = self.folders();
        let (meta, segments) = joined(&folders)?;
        self.state.write().unwrap_or_else(PoisonError::into_inner).segments = segments;
        Ok(meta)
    }

    /// Looks for commits in every folder.
    fn watched(&self, folders: &[IndexFolder]) -> tantivy::Result<Vec<WatchHandle>> {
        let watch = |folder: &IndexFolder| {
            let changed = Arc::clone(&self.changed);
            folder.watch(WatchCallback::new(move || drop(changed.broadcast())))
        };
        folders.iter().map(watch).collect()
    }

    /// Where a file of a segment lies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.holder(Path::new(name)).map_or_else(|| self.root.join(name), |folder| folder.path().join(name))
    }

    /// The folder that holds a file.
    fn holder(&self, path: &Path) -> Option<IndexFolder> {
        let segment = path.to_str().and_then(segment_of)?;
        let known = {
            let state = self.state();
            state.segments.get(segment).and_then(|&at| state.folders.get(at).cloned())
        };
        known.or_else(|| self.folders().into_iter().find(|folder| folder.exists(path).unwrap_or(false)))
    }
}

impl State {
    fn open(root: &Path, list: Shards) -> Result<Self, PluginError> {
        let refuse = |path: &Path, problem: String| Err(PluginError::Manifest { path: path.to_path_buf(), problem });
        let mut folders = Vec::with_capacity(list.shards.len());
        let mut first: Option<Manifest> = None;
        list.check(root)?;
        for (number, path) in list.folders(root).into_iter().enumerate() {
            Contents::of(&path)?.check_index(&path)?;
            let folder = IndexFolder::open(&path)?;
            let Some(manifest) = folder.manifest() else {
                return refuse(&path, "holds no index of adam".to_owned());
            };
            if let Some(first) = &first
                && !first.is_compatible(&manifest)
            {
                return refuse(&path, format!("shard {number} has another model or other fields than shard 0"));
            }
            first.get_or_insert(manifest);
            folders.push(folder);
        }
        match first {
            Some(manifest) => Ok(Self { list, manifest, folders, segments: HashMap::new(), watches: Vec::new() }),
            None => refuse(root, "lists no shard".to_owned()),
        }
    }
}

/// One `meta.json` out of several, and which folder each segment lies in.
fn joined(folders: &[IndexFolder]) -> Result<(Vec<u8>, HashMap<String, usize>), PluginError> {
    let mut whole: Option<Value> = None;
    let mut listed = Vec::new();
    let mut extensions = HashSet::new();
    let mut opstamp = 0;
    let mut segments = HashMap::new();
    for (at, folder) in folders.iter().enumerate() {
        let path = folder.path().join(META);
        let refuse = |problem: &str| PluginError::Manifest { path: path.clone(), problem: problem.to_owned() };
        let bytes = folder.atomic_read(Path::new(META)).map_err(tantivy::TantivyError::from)?;
        let mut meta: Value =
            serde_json::from_slice(&bytes).map_err(|fault| refuse(&format!("cannot be read: {fault}")))?;
        if whole.as_ref().is_some_and(|whole| whole["schema"] != meta["schema"]) {
            return Err(refuse("has other fields than the other shards"));
        }
        for segment in meta["segments"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            let id: String = segment["segment_id"].as_str().unwrap_or_default().replace('-', "");
            if segments.insert(id, at).is_some() {
                return Err(refuse("lists a segment of another shard: one is a copy of the other"));
            }
            listed.push(segment);
        }
        for extension in meta["persisted_custom_extensions"].as_array().into_iter().flatten() {
            extensions.extend(extension.as_str().map(str::to_owned));
        }
        opstamp = opstamp.max(meta["opstamp"].as_u64().unwrap_or(0));
        whole.get_or_insert(meta);
    }
    let mut whole = whole.unwrap_or_default();
    whole["segments"] = listed.into();
    whole["opstamp"] = opstamp.into();
    if !extensions.is_empty() {
        let mut extensions: Vec<String> = extensions.into_iter().collect();
        extensions.sort_unstable();
        whole["persisted_custom_extensions"] = extensions.into();
    }
    Ok((whole.to_string().into_bytes(), segments))
}

fn read_only() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ReadOnlyFilesystem, "shards are written one by one, each in its own folder")
}

fn missing(path: &Path) -> OpenReadError {
    OpenReadError::FileDoesNotExist(path.to_path_buf())
}

impl Directory for ShardFolders {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.holder(path).ok_or_else(|| missing(path))?.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_path_buf() })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(path == Path::new(META) || self.holder(path).is_some())
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.to_path_buf()))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(META) {
            let failed = |fault| OpenReadError::wrap_io_error(std::io::Error::other(fault), path.to_path_buf());
            return self.meta().map_err(failed);
        }
        // Each shard has a list of files of its own, and nothing is collected here.
        if path == Path::new(FILE_LIST) {
            return Err(missing(path));
        }
        self.holder(path).ok_or_else(|| missing(path))?.atomic_read(path)
    }

    fn atomic_write(&self, _: &Path, _: &[u8]) -> std::io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> std::io::Result<()> {
        Ok(())
    }

    /// The lock that keeps files from being deleted while they are opened is that of every shard.
    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        if lock.filepath == INDEX_WRITER_LOCK.filepath {
            return Err(LockError::wrap_io_error(read_only()));
        }
        let locks = self.folders().iter().map(|folder| folder.acquire_lock(lock)).collect::<Result<Vec<_>, _>>()?;
        Ok(DirectoryLock::from(Box::new(Locks(locks))))
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        if self.state().watches.is_empty() {
            let watches = self.watched(&self.folders())?;
            self.state.write().unwrap_or_else(PoisonError::into_inner).watches = watches;
        }
        Ok(self.changed.subscribe(callback))
    }
}

/// Held until it is dropped.
struct Locks(#[expect(dead_code, reason = "dropping releases them")] Vec<DirectoryLock>);
