//! Finding ONNX Runtime's library and loading it, once for the process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;

use crate::error::EncoderError;

/// Kept for the life of the process: sessions need it, and ONNX Runtime allows only one.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
/// Held while loading, so that two threads do not both create the environment.
static LOADING: Mutex<()> = Mutex::new(());

/// What setting a machine up comes to, for the message when nothing is found.
const REMEDY: &str =
    "Run scripts/setup.sh, or `pip install onnxruntime`, or set ORT_DYLIB_PATH to the library or its folder";

/// Loads ONNX Runtime if that has not been done yet. Opening a model does this by itself; call it to find out early
/// whether the library is there.
///
/// Looked for, in order: the file named by `ORT_DYLIB_PATH`, or the newest in the folder it names (if set, nothing else is
/// tried); beside the running binary and in `lib` next to it; the cache (`ADAM_CACHE`, else `~/.cache/adam`) in `onnxruntime-*`; the `onnxruntime`
/// package of an active Python environment and of the user's and system's Python; the system's library folders.
///
/// # Errors
/// [`EncoderError::Runtime`], which names every place that was looked in.
pub fn init() -> Result<(), EncoderError> {
    environment().map(|_| ())
}

/// As [`init`], with a library that the caller knows, by its file or the folder it lies in, before all places but
/// `ORT_DYLIB_PATH`. Does nothing if ONNX Runtime is loaded already: a process has one.
///
/// # Errors
/// As [`init`].
pub fn init_with(library: &Path) -> Result<(), EncoderError> {
    loaded(|| {
        let mut search = Search::from_environment();
        let file = if library.is_dir() { library_in(library) } else { Some(library.to_path_buf()) };
        search.first = file;
        search
    })
    .map(|_| ())
}

/// The build of ONNX Runtime that is loaded, as it describes itself.
///
/// # Errors
/// As [`init`].
pub fn build_info() -> Result<&'static str, EncoderError> {
    init()?;
    Ok(ort::info())
}

pub(crate) fn environment() -> Result<&'static Environment, EncoderError> {
    loaded(Search::from_environment)
}

fn loaded(search: impl FnOnce() -> Search) -> Result<&'static Environment, EncoderError> {
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let _guard = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let environment = load(&search())?;
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

fn load(search: &Search) -> Result<Environment, EncoderError> {
    let mut faults = Vec::new();
    for path in search.files() {
        match ort::init_from(&path) {
            Ok(builder) => {
                tracing::debug!(library = %path.display(), "ONNX Runtime loaded");
                return builder.with_name("adam").with_telemetry(false).build().map_err(|error| {
                    EncoderError::Runtime {
                        problem: format!("ONNX Runtime from {} did not start: {error}", path.display()),
                    }
                });
            }
            Err(error) => faults.push(format!("{}: {error}", path.display())),
        }
    }
    let problem = if faults.is_empty() {
        let places: Vec<String> = search.places().iter().map(|place| place.display().to_string()).collect();
        format!("ONNX Runtime ({}) was not found. Looked in: {}. {REMEDY}", library_name(), places.join(", "))
    } else {
        format!("ONNX Runtime could not be loaded: {}. {REMEDY}", faults.join("; "))
    };
    Err(EncoderError::Runtime { problem })
}

/// The library's file name on this system.
fn library_name() -> String {
    format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// The places to look in, in order.
struct Search {
    /// Named outright, as a file or as the folder it lies in: nothing else is tried.
    named: Option<PathBuf>,
    /// A file that the program knows of; tried first where none is named.
    first: Option<PathBuf>,
    places: Vec<PathBuf>,
}

impl Search {
    fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME").or_else(|| variable("USERPROFILE"));
        let mut places = Vec::new();
        if let Some(folder) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            places.push(folder.to_path_buf());
            places.push(folder.join("lib"));
            places.push(folder.join("../lib"));
        }
        let cache = variable("ADAM_CACHE").or_else(|| {
            let base = variable("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")))?;
            Some(base.join("adam"))
        });
        if let Some(cache) = cache {
            places.extend(newest_first(&cache, "onnxruntime-"));
        }
        places.extend(python_folders().iter().map(|packages| packages.join("onnxruntime/capi")));
        for variable in ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(paths) = std::env::var_os(variable) {
                places.extend(std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()));
            }
        }
        for lib in [
            "/usr/local/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib64",
            "/usr/lib",
            "/opt/homebrew/lib",
            "/opt/onnxruntime/lib",
        ] {
            places.push(PathBuf::from(lib));
        }
        Self { named: variable("ORT_DYLIB_PATH"), first: None, places }
    }

    /// Library files that exist, in the order of the places.
    fn files(&self) -> Vec<PathBuf> {
        match &self.named {
            Some(path) if !path.is_dir() => vec![path.clone()],
            named => {
                let first = self.first.iter().filter(|_| named.is_none()).cloned();
                first.chain(self.places().iter().filter_map(|place| library_in(place))).collect()
            }
        }
    }

    /// The folders to look in.
    fn places(&self) -> &[PathBuf] {
        self.named.as_ref().map_or(self.places.as_slice(), std::slice::from_ref)
    }
}

/// The library in one folder: under its plain name, or with a version behind it as Python packages ship it.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let name = library_name();
    let plain = folder.join(&name);
    if plain.is_file() {
        return Some(plain);
    }
    newest_first(folder, &format!("{name}.")).into_iter().find(|path| path.is_file())
}

/// The folders of packages of every `pythonX.Y` below a folder, newest Python first.
fn package_folders(lib: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    newest_first(lib, "python3")
        .into_iter()
        .flat_map(|python| ["site-packages", "dist-packages"].map(|packages| python.join(packages)))
}

/// The folders of packages of the active Python environment, of the user's Python and of the system's.
pub(crate) fn python_folders() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut folders = Vec::new();
    for python in [variable("VIRTUAL_ENV"), variable("CONDA_PREFIX")].into_iter().flatten() {
        folders.extend(package_folders(&python.join("lib")));
        folders.push(python.join("Lib/site-packages"));
    }
    if let Some(home) = variable("HOME").or_else(|| variable("USERPROFILE")) {
        folders.extend(package_folders(&home.join(".local/lib")));
    }
    for lib in ["/usr/local/lib", "/usr/lib"] {
        folders.extend(package_folders(Path::new(lib)));
    }
    folders
}

/// Entries of a folder whose name starts with `prefix`, the highest version first.
fn newest_first(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let version = |path: &Path| -> Vec<u64> {
        path.file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| {
                    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
                })
                .collect()
        })
        .unwrap_or_default();
    found.sort_by_key(|path| std::cmp::Reverse(version(path)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_wins() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(folder.path().join(name), b"").unwrap();
        let name = library_name();
        touch(&format!("{name}.1.9.0"));
        touch(&format!("{name}.1.32.0"));
        assert!(library_in(folder.path()).unwrap().ends_with(format!("{name}.1.32.0")));
        touch(&name);
        assert!(library_in(folder.path()).unwrap().ends_with(&name));
    }

    #[test]
    fn a_named_file_is_the_only_one_tried() {
        let search =
            Search { named: Some(PathBuf::from("nowhere.so")), first: None, places: vec![PathBuf::from("/usr/lib")] };
        assert_eq!(search.files(), [PathBuf::from("nowhere.so")]);
    }

    /// Python packages ship the library with its version behind the name, which changes with every release.
    #[test]
    fn a_named_folder_stands_for_the_library_in_it() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = library_name();
        std::fs::write(other.path().join(&name), b"").unwrap();
        let search =
            Search { named: Some(folder.path().to_path_buf()), first: None, places: vec![other.path().to_path_buf()] };
        assert!(search.files().is_empty());
        assert_eq!(search.places(), [folder.path()]);
        let library = folder.path().join(format!("{name}.1.24.1"));
        std::fs::write(&library, b"").unwrap();
        assert_eq!(search.files(), [library]);
    }
}
