//! Writing into the cache of models, in the layout of Hugging Face's own tools: `blobs` with the files, `snapshots/COMMIT` with links
//! to them, `refs` with the commit of each branch. All names of files in `blobs` are hashes that were computed here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{Builder, NamedTempFile, TempDir};

/// How the names of unfinished files and folders begin.
const UNFINISHED: &str = ".part-";
/// Unfinished ones of this age are of a process that was killed.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// The folder of one model in the cache.
pub(super) struct Store {
    home: PathBuf,
}

type Done<T> = Result<T, String>;

fn fault<'a>(action: &'a str, path: &'a Path) -> impl Fn(std::io::Error) -> String + use<'a> {
    move |error| format!("cannot {action} {}: {error}", path.display())
}

impl Store {
    /// The folder `name` in the cache, made where it is not there.
    pub(super) fn open(cache: &Path, name: &str) -> Done<Self> {
        durable::create_folders(cache).map_err(fault("make", cache))?;
        let store = Self { home: folder(cache, &[name])? };
        for part in ["blobs", "snapshots"] {
            remove_stale(&folder(&store.home, &[part])?);
        }
        Ok(store)
    }

    /// A file to write into, which is gone again unless it is [kept](Self::keep).
    pub(super) fn file(&self) -> Done<NamedTempFile> {
        let blobs = folder(&self.home, &["blobs"])?;
        builder(0o666).tempfile_in(&blobs).map_err(fault("make a file in", &blobs))
    }

    /// Puts a file that is whole in its place.
    pub(super) fn keep(&self, file: NamedTempFile, sha256: &str) -> Done<()> {
        let blobs = folder(&self.home, &["blobs"])?;
        let place = blobs.join(sha256);
        file.as_file().sync_all().map_err(fault("write", &place))?;
        file.persist(&place).map_err(|error| fault("write", &place)(error.error))?;
        durable::sync_folder(&blobs).map_err(fault("write", &blobs))
    }

    /// A folder for the links of a commit, which is gone again unless it is [published](Self::publish).
    pub(super) fn snapshot(&self) -> Done<TempDir> {
        let snapshots = folder(&self.home, &["snapshots"])?;
        let made = builder(0o777).tempdir_in(&snapshots);
        made.map_err(fault("make a folder in", &snapshots))
    }

    /// Gives a commit's folder its name, and notes it as the newest of a branch. Where there is one of that name already, its files
    /// stay, and it gets those that it lacks.
    pub(super) fn publish(
        &self,
        made: TempDir,
        files: &[(String, String)],
        commit: &str,
        revision: &str,
    ) -> Done<PathBuf> {
        let snapshots = folder(&self.home, &["snapshots"])?;
        let target = snapshots.join(commit);
        if target.symlink_metadata().is_ok() {
            let target = folder(&snapshots, &[commit])?;
            for (name, sha256) in files {
                link(&target, name, sha256)?;
            }
        } else {
            std::fs::rename(made.path(), &target).map_err(fault("make", &target))?;
            // It is elsewhere now.
            let _ = made.keep();
        }
        durable::sync_folder(&snapshots).map_err(fault("write", &snapshots))?;
        let mut parts: Vec<&str> = std::iter::once("refs").chain(revision.split('/')).collect();
        let last = parts.pop().unwrap_or("main");
        let refs = folder(&self.home, &parts)?;
        let place = refs.join(last);
        durable::replace(&place, commit.as_bytes()).map_err(fault("write", &place))?;
        Ok(target)
    }
}

/// A link in a commit's folder to a file in `blobs`; one that is there stays.
pub(super) fn link(snapshot: &Path, name: &str, sha256: &str) -> Done<()> {
    let mut parts: Vec<&str> = name.split('/').collect();
    let depth = parts.len() + 1;
    let last = parts.pop().unwrap_or_default();
    let place = folder(snapshot, &parts)?.join(last);
    if place.symlink_metadata().is_ok() {
        return Ok(());
    }
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(format!("{}blobs/{sha256}", "../".repeat(depth)), &place);
    #[cfg(not(unix))]
    let linked = {
        let blobs = snapshot.ancestors().nth(2).unwrap_or(snapshot).join("blobs").join(sha256);
        let _ = depth;
        std::fs::hard_link(&blobs, &place).or_else(|_| std::fs::copy(&blobs, &place).map(|_| ()))
    };
    linked.map_err(fault("make", &place))
}

/// The folder at a path of plain names below another, made where it is not there. A link on the way is refused: it may lead anywhere.
fn folder(below: &Path, parts: &[&str]) -> Done<PathBuf> {
    let mut path = below.to_path_buf();
    for part in parts {
        path.push(part);
        let meta = match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Another process may be quicker.
                let made = std::fs::create_dir(&path);
                match made.err().filter(|error| error.kind() != std::io::ErrorKind::AlreadyExists) {
                    None => path.symlink_metadata(),
                    Some(error) => Err(error),
                }
            }
            found => found,
        };
        if !meta.map_err(fault("make", &path))?.is_dir() {
            return Err(format!(
                "{} is a link or a file, where the cache has a folder of its own; take it away",
                path.display()
            ));
        }
    }
    Ok(path)
}

fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED);
    // As other programs make files, so that a cache can be shared; the process's mask takes away from it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// Takes away what killed processes left.
fn remove_stale(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > STALE));
        if old && entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let path = entry.path();
            let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
    }
}
