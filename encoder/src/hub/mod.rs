//! From a model's name to a folder: a path as it is, or a Hugging Face name through the local cache.

#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod store;

use std::path::{Path, PathBuf};

use crate::error::EncoderError;

/// Longest name part or revision accepted.
const NAME_LIMIT: usize = 96;

/// Most bytes of a file that names a commit.
const REF_LIMIT: u64 = 1024;

/// A Hugging Face model name, checked: `organisation/model` or `model`, with `@revision` behind it if wanted.
///
/// No part can be read as a path: letters, digits, `-`, `_` and `.` only, no `.` or `-` at the start, no `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    repository: String,
    revision: String,
}

impl ModelName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`EncoderError::Name`] for anything that is not a plain name.
    pub fn parse(name: &str) -> Result<Self, EncoderError> {
        let refuse =
            |problem: &str| EncoderError::Name { name: name.chars().take(200).collect(), problem: problem.to_owned() };
        let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
        let parts: Vec<&str> = repository.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_plain(part)) {
            return Err(refuse("is neither a folder that exists nor a model name such as `organisation/model`"));
        }
        // Branches may hold slashes; each part still has to be plain.
        if revision.len() > NAME_LIMIT || !revision.split('/').all(is_plain) {
            return Err(refuse("has a revision that is not a plain name"));
        }
        Ok(Self { repository: repository.to_owned(), revision: revision.to_owned() })
    }

    /// The repository's folder name in the cache.
    fn cache_folder(&self) -> String {
        format!("models--{}", self.repository.replace('/', "--"))
    }
}

fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= NAME_LIMIT
        && !part.starts_with(['.', '-'])
        && !part.contains("..")
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Where models come from: the cache's folder, and whether the network may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    cache: Option<PathBuf>,
    offline: bool,
    /// Whether weights are wanted and no ONNX files.
    weights: bool,
}

impl Hub {
    /// As the environment says, like Hugging Face's own tools: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`; no network where `HF_HUB_OFFLINE` is set.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let offline = std::env::var("HF_HUB_OFFLINE")
            .is_ok_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        let cache = variable("HF_HUB_CACHE")
            .or_else(|| Some(variable("HF_HOME")?.join("hub")))
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface/hub")))
            .or_else(|| Some(variable("HOME").or_else(|| variable("USERPROFILE"))?.join(".cache/huggingface/hub")));
        Self { cache, offline, weights: false }
    }

    /// A cache in a place of your own.
    pub fn new(cache: impl Into<PathBuf>, offline: bool) -> Self {
        Self { cache: Some(cache.into()), offline, weights: false }
    }

    /// Models to train from: their `model.safetensors` is wanted, and no ONNX file.
    #[must_use]
    pub fn for_training(self) -> Self {
        Self { weights: true, ..self }
    }

    /// The folder of a model: `model` itself where it is a folder, else the newest copy of the Hugging Face model of
    /// that name in the cache, downloaded first where this crate was built with the feature `hub` and the network
    /// may be asked (`HF_ENDPOINT` names another hub, `HF_TOKEN` or the file `token` in `HF_HOME` opens private models).
    ///
    /// # Errors
    /// When the name is not a plain name, or the model is neither in the cache nor to be had.
    pub fn resolve(&self, model: impl AsRef<Path>) -> Result<PathBuf, EncoderError> {
        let path = model.as_ref();
        if path.is_dir() {
            return Ok(path.to_path_buf());
        }
        // A path that is not Unicode is no name; what is left of it is refused below.
        let model = &*path.to_string_lossy();
        // What is written like a path was meant as one.
        if path.is_absolute() || model.starts_with('.') || model.starts_with('~') || model.ends_with('/') {
            return Err(EncoderError::Missing {
                path: path.to_path_buf(),
                needed: "it is the model's folder".to_owned(),
            });
        }
        let name = ModelName::parse(model)?;
        let fault = |problem: String| EncoderError::Name { name: model.to_owned(), problem };
        let cache = self
            .cache
            .as_ref()
            .ok_or_else(|| fault("there is no cache to look in; set HF_HOME, or name the model's folder".to_owned()))?;
        if let Some(folder) = snapshot(&cache.join(name.cache_folder()), &name.revision)
            && self.is_whole(&folder)
        {
            return Ok(folder);
        }
        if self.offline {
            return Err(fault(format!(
                "is not in the cache {}, and HF_HUB_OFFLINE forbids asking the network",
                cache.display()
            )));
        }
        self.download(&name, cache)
            .map_err(|problem| fault(format!("is no folder here, and as a Hugging Face id: {problem}")))
    }

    #[cfg(not(feature = "hub"))]
    fn download(&self, name: &ModelName, cache: &Path) -> Result<PathBuf, String> {
        Err(format!(
            "is not in the cache {}, and this program was built without downloading (cargo feature `hub`); fetch it with `huggingface-cli download {}`, or name a folder",
            cache.display(),
            name.repository
        ))
    }

    #[cfg(feature = "hub")]
    fn download(&self, name: &ModelName, cache: &Path) -> Result<PathBuf, String> {
        use std::io::Write;

        let client = fetch::Client::from_environment()?;
        let (repository, revision) = (&name.repository, name.revision.replace('/', "%2F"));
        let listing = client
            .get(&format!("/api/models/{repository}/revision/{revision}"), LISTING_LIMIT)
            .map_err(|problem| format!("the hub does not give its list of files: {problem}"))?;
        let listing: Listing = serde_json::from_slice(&listing)
            .map_err(|error| format!("the hub's list of files cannot be read: {error}"))?;
        let mut names: Vec<String> = listing
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .filter(|file| is_wanted(file, self.weights))
            .collect();
        names.sort();
        names.dedup();
        if names.len() > FILES {
            return Err(format!("the hub lists {} files of a model; at most {FILES} are taken", names.len()));
        }
        let store = store::Store::open(cache, &name.cache_folder())?;
        let snapshot = store.snapshot()?;
        let mut commit = None;
        let mut files = Vec::with_capacity(names.len());
        for file in names {
            tracing::info!(model = repository, file, "downloading");
            let mut blob = store.file()?;
            let fetched = client
                .file(&format!("/{repository}/resolve/{revision}/{file}"), limit_of(&file), |part| blob.write_all(part))
                .map_err(|problem| format!("file {file} could not be downloaded: {problem}"))?;
            let of = fetched.commit.or_else(|| listing.sha.clone()).filter(|commit| is_plain(commit)).ok_or_else(|| {
                format!("file {file} could not be downloaded: the hub does not say by a plain name which commit it is of")
            })?;
            if *commit.get_or_insert_with(|| of.clone()) != of {
                return Err("the model changed on the hub while it was downloaded; try again".to_owned());
            }
            store.keep(blob, &fetched.sha256)?;
            store::link(snapshot.path(), &file, &fetched.sha256)?;
            files.push((file, fetched.sha256));
        }
        let whole = self.is_whole(snapshot.path());
        match commit.filter(|_| whole) {
            Some(commit) => store.publish(snapshot, &files, &commit, &name.revision),
            None if self.weights => Err(
                "the repository has no config.json, tokenizer.json and model.safetensors; save the model with these"
                    .to_owned(),
            ),
            None => Err("the repository has no ONNX model with a tokenizer; export it to ONNX first".to_owned()),
        }
    }

    fn is_whole(&self, folder: &Path) -> bool {
        let has = |name: &str| folder.join(name).is_file();
        if self.weights {
            ["config.json", "tokenizer.json", "model.safetensors"].into_iter().all(has)
        } else {
            is_whole(folder)
        }
    }
}

/// What is read of a hub's list of a repository's files.
#[cfg(feature = "hub")]
#[derive(serde::Deserialize)]
struct Listing {
    #[serde(default)]
    sha: Option<String>,
    siblings: Vec<Sibling>,
}

#[cfg(feature = "hub")]
#[derive(serde::Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Largest list of files, in bytes.
#[cfg(feature = "hub")]
const LISTING_LIMIT: u64 = 16 << 20;
/// Most files of one model; known ones have some twenty.
#[cfg(feature = "hub")]
const FILES: usize = 128;

/// Most bytes taken of a file: as many as are read of it when the model is opened.
#[cfg(feature = "hub")]
fn limit_of(file: &str) -> u64 {
    use crate::limits::{CONFIG_LIMIT, EXTERNAL_LIMIT, ONNX_LIMIT, TOKENIZER_LIMIT, WEIGHT_LIMIT};
    match file.rsplit('/').next().unwrap_or(file) {
        "tokenizer.json" => TOKENIZER_LIMIT,
        // At the root it is a whole model's.
        _ if file == "model.safetensors" => EXTERNAL_LIMIT,
        name if name.ends_with(".json") => CONFIG_LIMIT,
        name if name.ends_with(".safetensors") => WEIGHT_LIMIT,
        name if name.ends_with(".onnx") => ONNX_LIMIT,
        _ => EXTERNAL_LIMIT,
    }
}

/// Whether a file of a repository is one an encoder reads. Names come from the network: none may lead elsewhere.
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "used where models are downloaded, and tested always"))]
fn is_wanted(file: &str, weights: bool) -> bool {
    let parts: Vec<&str> = file.split('/').collect();
    if parts.len() > 3 || !parts.iter().all(|part| is_plain(part)) {
        return false;
    }
    let name = parts.last().copied().unwrap_or_default();
    match parts.len() {
        1 => {
            const SETTINGS: [&str; 8] = [
                "config.json",
                "modules.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "special_tokens_map.json",
                "config_sentence_transformers.json",
                "adam_export.json",
                "model.onnx",
            ];
            const FOR_TRAINING: [&str; 8] = [
                "model.safetensors",
                "README.md",
                "vocab.txt",
                "vocab.json",
                "merges.txt",
                "sentencepiece.bpe.model",
                "spiece.model",
                "added_tokens.json",
            ];
            if weights && FOR_TRAINING.contains(&name) {
                return true;
            }
            SETTINGS.contains(&name) && !(weights && name == "model.onnx")
                || (name.starts_with("sentence_") && name.ends_with("_config.json"))
        }
        // Weights beside an ONNX file have names of their own: model.onnx_data, model.onnx.data.
        _ if parts[parts.len() - 2] == "onnx" => {
            if weights {
                return false;
            }
            let stem = name.strip_prefix("model").unwrap_or_default();
            ["", "_fp16", "_quantized", "_int8", "_fused", "_fused_quantized"].iter().any(|kind| {
                stem.strip_prefix(kind).is_some_and(|rest| matches!(rest, ".onnx" | ".onnx_data" | ".onnx.data"))
            })
        }
        // 1_Pooling, 2_Dense and the like.
        2 => {
            parts[0].starts_with(|c: char| c.is_ascii_digit())
                && matches!(name, "config.json" | "model.safetensors" | "tokenizer.json" | "tokenizer_config.json")
        }
        _ => false,
    }
}

/// The folder of a revision in a cached repository: a branch or tag by way of `refs`, or a commit itself.
fn snapshot(repository: &Path, revision: &str) -> Option<PathBuf> {
    let snapshots = repository.join("snapshots");
    let commit = crate::files::read_limited(&repository.join("refs").join(revision), REF_LIMIT)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(|text| text.trim().to_owned())
        .filter(|commit| is_plain(commit))
        .unwrap_or_else(|| revision.to_owned());
    let folder = snapshots.join(commit);
    folder.is_dir().then_some(folder)
}

/// Whether a folder has the files without which no model opens. A download that broke off may lack them.
fn is_whole(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    let has_onnx = |below: &str| {
        std::fs::read_dir(folder.join(below))
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".onnx")))
    };
    (has("config.json") && has("tokenizer.json") && (has_onnx("") || has_onnx("onnx")))
        || (has("modules.json") && has_onnx("0_Transformer/onnx"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for good in ["model", "org/model", "org/model@v1.0", "a-b_c.d/e@refs/pr/3"] {
            ModelName::parse(good).unwrap();
        }
        for bad in [
            "",
            "/",
            "a/b/c",
            "../x",
            "a/..",
            "a..b",
            ".hidden/x",
            "-x",
            "a b",
            "a\\b",
            "a/b@../../etc",
            "a/b@",
            "org/\0",
            "org/модель",
            "C:model",
        ] {
            assert!(ModelName::parse(bad).is_err(), "{bad:?}");
        }
        let long = "x".repeat(97);
        assert!(ModelName::parse(&long).is_err());
    }

    #[test]
    fn only_files_an_encoder_reads_are_wanted() {
        for good in [
            "config.json",
            "sentence_bert_config.json",
            "onnx/model.onnx",
            "onnx/model_quantized.onnx",
            "onnx/model_fp16.onnx",
            "onnx/model.onnx_data",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
        ] {
            assert!(is_wanted(good, false), "{good}");
        }
        for bad in [
            "model.safetensors",
            "pytorch_model.bin",
            "../config.json",
            "onnx/../../x",
            "/config.json",
            "onnx/model_q4.onnx",
            "onnx/model_fused_fp16.onnx",
            "openvino/openvino_model.bin",
            "README.md",
            "",
        ] {
            assert!(!is_wanted(bad, false), "{bad}");
        }
    }

    #[test]
    fn training_wants_weights() {
        for good in ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "1_Pooling/config.json"] {
            assert!(is_wanted(good, true), "{good}");
        }
        for bad in ["onnx/model.onnx", "model.onnx", "pytorch_model.bin", "../model.safetensors", "x/model.safetensors"]
        {
            assert!(!is_wanted(bad, true), "{bad}");
        }
    }

    fn cached(whole: bool) -> (tempfile::TempDir, PathBuf) {
        let cache = tempfile::tempdir().unwrap();
        let repository = cache.path().join("models--org--model");
        let folder = repository.join("snapshots/abc123");
        std::fs::create_dir_all(folder.join("onnx")).unwrap();
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::write(repository.join("refs/main"), "abc123\n").unwrap();
        for name in ["config.json", "tokenizer.json"] {
            std::fs::write(folder.join(name), "{}").unwrap();
        }
        if whole {
            std::fs::write(folder.join("onnx/model.onnx"), "").unwrap();
        }
        (cache, folder)
    }

    #[test]
    fn the_cache_is_asked_first() {
        let (cache, folder) = cached(true);
        let hub = Hub::new(cache.path(), true);
        assert_eq!(hub.resolve("org/model").unwrap(), folder);
        assert_eq!(hub.resolve("org/model@abc123").unwrap(), folder);
        assert_eq!(hub.resolve(folder.to_str().unwrap()).unwrap(), folder);
        let message = hub.resolve("org/other").unwrap_err().to_string();
        assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
        assert!(hub.resolve("./nowhere").unwrap_err().to_string().contains("nowhere"));
    }

    #[test]
    fn half_a_download_is_no_model() {
        let (cache, _folder) = cached(false);
        assert!(Hub::new(cache.path(), true).resolve("org/model").is_err());
    }

    #[test]
    fn a_reference_cannot_lead_out_of_the_cache() {
        let (cache, _folder) = cached(true);
        let repository = cache.path().join("models--org--model");
        std::fs::write(repository.join("refs/main"), "../../../elsewhere").unwrap();
        assert!(Hub::new(cache.path(), true).resolve("org/model").is_err());
    }
}
