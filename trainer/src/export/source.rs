//! The model folder an export starts from: what it says about pooling, length, prompts and tokenizer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::architecture::{Architecture, Config, Family};
use super::error::ExportError;
use super::head::{Head, Pooling};
use super::weights::Weights;

/// A folder in Hugging Face or sentence-transformers layout, read and checked.
pub(crate) struct Source {
    /// The folder.
    pub(crate) root: PathBuf,
    /// `config.json`.
    pub(crate) config: Config,
    /// The same, understood.
    pub(crate) architecture: Architecture,
    /// `model.safetensors`.
    pub(crate) weights: Weights,
    /// The longest text in tokens the folder asks for, special tokens included.
    pub(crate) max_length: usize,
    /// Put before every query.
    pub(crate) query_prompt: String,
    /// Put before every document.
    pub(crate) document_prompt: String,
    /// All prompts by name, and the one for texts of which nothing is said.
    pub(crate) prompts: BTreeMap<String, String>,
    pub(crate) default_prompt: Option<String>,
    /// Whether texts become small letters before all else.
    pub(crate) lower_case: bool,
    /// How vectors are compared.
    pub(crate) similarity: String,
}

/// Refuses a folder without the files every model has.
fn check(root: &Path) -> Result<(), ExportError> {
    if !root.is_dir() {
        return Err(ExportError::model(root, "is not a folder; give the folder of a model in Hugging Face layout"));
    }
    for name in ["config.json", "tokenizer.json"] {
        if !root.join(name).is_file() {
            return Err(ExportError::model(&root.join(name), "is missing; a model in Hugging Face layout has it"));
        }
    }
    Ok(())
}

/// Whether bytes are what a checkout without Git LFS has in place of a large file.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(200)];
    start.starts_with(b"version ") && start.windows(7).any(|part| part == b"git-lfs")
}

/// How a folder's model reads texts; no weights are read for it.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The longest text in tokens that the model takes, special tokens included.
    pub(crate) longest: usize,
    /// The longest text in tokens the folder asks for.
    max_length: usize,
    /// Whether texts become small letters before all else.
    pub(crate) lower_case: bool,
    /// Put before every query.
    pub(crate) query_prompt: String,
    /// Put before every document.
    pub(crate) document_prompt: String,
    /// All prompts by name, and the one for texts of which nothing is said.
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
    similarity: String,
}

/// Names that `sentence_bert_config.json` had for other models before.
pub(crate) const SENTENCE_CONFIGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// Whether `sentence_bert_config.json` asks for small letters.
pub(crate) fn lower_case(root: &Path) -> Result<bool, ExportError> {
    let Some(config) = sentence_config(root)? else { return Ok(false) };
    match config.keys.get("do_lower_case") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(asked)) => Ok(*asked),
        Some(other) => Err(config.fault("do_lower_case", format!("must be true or false, and is {other}"))),
    }
}

fn sentence_config(root: &Path) -> Result<Option<Config>, ExportError> {
    for name in SENTENCE_CONFIGS {
        if let Some(config) = Config::read_if_there(&root.join(name))? {
            return Ok(Some(config));
        }
    }
    Ok(None)
}

impl Reading {
    /// Reads a folder's configuration.
    pub(crate) fn of(root: &Path) -> Result<Self, ExportError> {
        check(root)?;
        Self::by(root, &Architecture::from_config(&Config::read(&root.join("config.json"))?)?)
    }

    fn by(root: &Path, architecture: &Architecture) -> Result<Self, ExportError> {
        let sentence = sentence_config(root)?;
        let tokenizer = Config::read_if_there(&root.join("tokenizer_config.json"))?;
        let asked = match &sentence {
            Some(config) => config.number("max_seq_length")?,
            None => None,
        };
        // A tokenizer without a limit says so with a number beyond all bounds.
        let tokenizer_limit = tokenizer
            .as_ref()
            .and_then(|config| config.keys.get("model_max_length"))
            .and_then(Value::as_f64)
            .filter(|limit| (1.0..1e6).contains(limit))
            .map(|limit| limit as usize);
        let max_length = asked.or(tokenizer_limit).unwrap_or(usize::MAX).min(architecture.longest());
        let config = Config::read_if_there(&root.join("config_sentence_transformers.json"))?;
        let (mut prompts, mut default_prompt, mut similarity) = (BTreeMap::new(), None, "cosine".to_owned());
        if let Some(config) = &config {
            for (name, text) in config.keys.get("prompts").and_then(Value::as_object).into_iter().flatten() {
                match text {
                    Value::Null => {}
                    Value::String(text) => drop(prompts.insert(name.clone(), text.clone())),
                    other => {
                        return Err(config.fault(&format!("prompts.{name}"), format!("must be text, and is {other}")));
                    }
                }
            }
            default_prompt = config.text("default_prompt_name").map(str::to_owned);
            if let Some(name) = &default_prompt
                && !prompts.contains_key(name)
            {
                return Err(
                    config.fault("default_prompt_name", format!("is {name:?}, which `prompts` does not contain"))
                );
            }
            similarity = config.text("similarity_fn_name").unwrap_or("cosine").to_owned();
        }
        let fallback = default_prompt.as_ref().and_then(|name| prompts.get(name)).cloned().unwrap_or_default();
        let prompt = |names: &[&str]| names.iter().find_map(|name| prompts.get(*name)).unwrap_or(&fallback).clone();
        Ok(Self {
            longest: architecture.longest(),
            max_length,
            lower_case: lower_case(root)?,
            query_prompt: prompt(&["query"]),
            document_prompt: prompt(&["document", "passage", "corpus"]),
            prompts,
            default_prompt,
            similarity,
        })
    }
}

impl Source {
    /// Reads a folder.
    pub(crate) fn read(root: &Path) -> Result<Self, ExportError> {
        check(root)?;
        let config = Config::read(&root.join("config.json"))?;
        let architecture = Architecture::from_config(&config)?;
        let weights = Weights::read(root)?;
        weights.refuse_not_finite()?;
        let reading = Reading::by(root, &architecture)?;
        Ok(Self {
            root: root.to_path_buf(),
            config,
            architecture,
            weights,
            max_length: reading.max_length,
            query_prompt: reading.query_prompt,
            document_prompt: reading.document_prompt,
            prompts: reading.prompts,
            default_prompt: reading.default_prompt,
            lower_case: reading.lower_case,
            similarity: reading.similarity,
        })
    }

    /// How the folder's `modules.json` makes one vector of many; the mean, not scaled, where there is none.
    pub(crate) fn sentence_head(&self) -> Result<Head, ExportError> {
        let head = self.modules()?;
        // Every key that changes a vector and is not known is refused there, by its name.
        adam_encoder::check_sentence_folder(&self.root).map_err(ExportError::Folder)?;
        Ok(head)
    }

    fn modules(&self) -> Result<Head, ExportError> {
        let path = self.root.join("modules.json");
        if !path.is_file() {
            return Ok(Head::Sentence { pooling: Pooling::Mean, normalised: false });
        }
        let fault = |problem: String| ExportError::model(&path, problem);
        let text = std::fs::read(&path).map_err(ExportError::io(&path))?;
        let modules: Vec<Value> =
            serde_json::from_slice(&text).map_err(|error| fault(format!("is not a JSON list: {error}")))?;
        let mut pooling = None;
        let mut normalised = false;
        for (at, module) in modules.iter().enumerate() {
            let kind = module.get("type").and_then(Value::as_str).unwrap_or_default();
            let place = module.get("path").and_then(Value::as_str).unwrap_or_default();
            let plain = Path::new(place).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            if !plain {
                return Err(fault(format!("names the folder {place:?}, which is not a plain path below the model's")));
            }
            match (at, kind.rsplit('.').next().unwrap_or_default()) {
                (0, "Transformer") if place.is_empty() => {}
                (0, "Transformer") => {
                    return Err(fault(format!(
                        "keeps the transformer in {place:?}; save the model with its files at the root"
                    )));
                }
                (1, "Pooling") => pooling = Some(read_pooling(&self.root.join(place).join("config.json"))?),
                (2, "Normalize") => normalised = true,
                _ => {
                    return Err(fault(format!(
                        "has the module {kind:?} at place {at}; supported are Transformer, Pooling and Normalize, in that order"
                    )));
                }
            }
        }
        let pooling = pooling.ok_or_else(|| fault("has no Pooling module".to_owned()))?;
        Ok(Head::Sentence { pooling, normalised })
    }
}

/// The file the trainer writes beside a cross-encoder's weights.
const TEACHER_FILE: &str = "teacher.json";

impl Source {
    /// What stands on a cross-encoder's encoder: as the trainer saved it, or one of Hugging Face's classifiers with one
    /// label.
    pub(crate) fn pair_head(&self) -> Result<Head, ExportError> {
        adam_encoder::check_pair_folder(&self.root).map_err(ExportError::Folder)?;
        let path = self.root.join(TEACHER_FILE);
        if path.is_file() {
            let file = Config::read(&path)?;
            let pooling = match file.text("pooling") {
                Some("mean") => Pooling::Mean,
                Some("cls") => Pooling::Cls,
                _ => return Err(file.fault("pooling", "must be \"mean\" or \"cls\"")),
            };
            return Ok(Head::Pair { pooling, dense: None, score: "classifier".to_owned() });
        }
        // BERT's classifiers read the pooler, the others have a dense layer of their own; DistilBERT's uses ReLU.
        let (dense, score) = match self.architecture.family {
            Family::Bert => ("pooler.dense", "classifier"),
            Family::Roberta | Family::MpNet => ("classifier.dense", "classifier.out_proj"),
            Family::DistilBert => {
                return Err(self.config.fault(
                    "model_type",
                    format!("is \"distilbert\" and there is no {TEACHER_FILE}; its own classifier is not supported"),
                ));
            }
        };
        if !self.weights.has(&format!("{score}.weight")) {
            return Err(ExportError::model(
                &self.root,
                format!("has neither {TEACHER_FILE} nor a tensor {score}.weight, so it is no cross-encoder"),
            ));
        }
        Ok(Head::Pair { pooling: Pooling::Cls, dense: Some(dense.to_owned()), score: score.to_owned() })
    }
}

/// Reads `1_Pooling/config.json`, in the older dialect (one flag a mode) or the newer (one name).
fn read_pooling(path: &Path) -> Result<Pooling, ExportError> {
    let config = Config::read(path)?;
    let mut modes: Vec<String> = match config.keys.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode.clone()],
        Some(Value::Array(modes)) => modes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    // Where the newer key is there, the older ones say nothing.
    for (key, value) in config.keys.iter().filter(|_| !config.keys.contains_key("pooling_mode")) {
        if let Some(mode) = key.strip_prefix("pooling_mode_")
            && value == &Value::Bool(true)
        {
            modes.push(mode.to_owned());
        }
    }
    if config.keys.get("include_prompt") == Some(&Value::Bool(false)) {
        return Err(
            config.fault("include_prompt", "is false; only models that pool the prompt's tokens too are supported")
        );
    }
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::Cls),
        [] => Err(config.fault("pooling_mode_mean_tokens", "and all other modes are off; one must be on")),
        [mode] => Err(config.fault(&format!("pooling_mode_{mode}"), "is on; only mean and cls are supported")),
        _ => {
            Err(config
                .fault("pooling_mode", format!("asks for {} at once; only one is supported", modes.join(" and "))))
        }
    }
}
