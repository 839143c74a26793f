//! From a model's name to a folder: a path as it is, or a Hugging Face name through the local cache.

use std::path::{Path, PathBuf};

use crate::error::EncoderError;

/// Longest name part or revision accepted.
const NAME_LIMIT: usize = 96;

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
        Self { cache, offline }
    }

    /// A cache in a place of your own.
    pub fn new(cache: impl Into<PathBuf>, offline: bool) -> Self {
        Self { cache: Some(cache.into()), offline }
    }

    /// The folder of a model: `model` itself where it is a folder, else the newest copy of the Hugging Face model of
    /// that name in the cache, downloaded first where this crate was built with the feature `hub` and the network
    /// may be asked (`HF_ENDPOINT` names another hub, `HF_TOKEN` or the file `token` in `HF_HOME` opens private models).
    ///
    /// # Errors
    /// When the name is not a plain name, or the model is neither in the cache nor to be had.
    pub fn resolve(&self, model: &str) -> Result<PathBuf, EncoderError> {
        let path = Path::new(model);
        if !model.is_empty() && path.is_dir() {
            return Ok(path.to_path_buf());
        }
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
            && is_whole(&folder)
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
        use std::io::IsTerminal;

        use hf_hub::{Repo, RepoType, api::sync::ApiBuilder};

        let mut builder = ApiBuilder::from_env()
            .with_cache_dir(cache.to_path_buf())
            // Bars for whoever waits at a terminal; a log is better off without.
            .with_progress(std::io::stderr().is_terminal());
        if let Some(token) = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty()) {
            builder = builder.with_token(Some(token));
        }
        let api = builder.build().map_err(|error| format!("the hub cannot be asked: {error}"))?;
        let repository = api.repo(Repo::with_revision(name.repository.clone(), RepoType::Model, name.revision.clone()));
        let info = repository.info().map_err(|error| format!("the hub does not give it: {error}"))?;
        let mut folder = None;
        for file in info.siblings.iter().map(|sibling| sibling.rfilename.as_str()).filter(|file| is_wanted(file)) {
            tracing::info!(model = name.repository, file, "downloading");
            let path = repository.get(file).map_err(|error| format!("file {file} could not be downloaded: {error}"))?;
            // The folder is as many levels up as the file's name has parts.
            folder = path.ancestors().nth(Path::new(file).components().count()).map(Path::to_path_buf);
        }
        folder
            .filter(|folder| is_whole(folder))
            .ok_or_else(|| "the repository has no ONNX model with a tokenizer; export it to ONNX first".to_owned())
    }
}

/// Whether a file of a repository is one an encoder reads. Names come from the network: none may lead elsewhere.
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "used where models are downloaded, and tested always"))]
fn is_wanted(file: &str) -> bool {
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
            SETTINGS.contains(&name) || (name.starts_with("sentence_") && name.ends_with("_config.json"))
        }
        // Weights beside an ONNX file have names of their own: model.onnx_data, model.onnx.data.
        _ if parts[parts.len() - 2] == "onnx" => {
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
    let commit = std::fs::read_to_string(repository.join("refs").join(revision))
        .ok()
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
            assert!(is_wanted(good), "{good}");
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
            assert!(!is_wanted(bad), "{bad}");
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
