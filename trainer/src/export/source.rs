//! The model folder an export starts from: what it says about pooling, length, prompts and tokenizer.

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

/// How a folder's model reads texts; no weights are read for it.
pub(crate) struct Reading {
    /// The longest text in tokens that the model takes, special tokens included.
    pub(crate) longest: usize,
    /// The longest text in tokens the folder asks for.
    max_length: usize,
    /// Put before every query.
    pub(crate) query_prompt: String,
    /// Put before every document.
    pub(crate) document_prompt: String,
    similarity: String,
}

impl Reading {
    /// Reads a folder's configuration.
    pub(crate) fn of(root: &Path) -> Result<Self, ExportError> {
        check(root)?;
        Self::by(root, &Architecture::from_config(&Config::read(&root.join("config.json"))?)?)
    }

    fn by(root: &Path, architecture: &Architecture) -> Result<Self, ExportError> {
        let sentence = Config::read_if_there(&root.join("sentence_bert_config.json"))?;
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
        let prompts = Config::read_if_there(&root.join("config_sentence_transformers.json"))?;
        let prompt = |names: &[&str]| -> String {
            let all = prompts.as_ref().and_then(|config| config.keys.get("prompts")).and_then(Value::as_object);
            names.iter().find_map(|name| all?.get(*name)?.as_str()).unwrap_or_default().to_owned()
        };
        let similarity =
            prompts.as_ref().and_then(|config| config.text("similarity_fn_name")).unwrap_or("cosine").to_owned();
        Ok(Self {
            longest: architecture.longest(),
            max_length,
            query_prompt: prompt(&["query"]),
            document_prompt: prompt(&["document", "passage", "corpus"]),
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
            similarity: reading.similarity,
        })
    }

    /// How the folder's `modules.json` makes one vector of many; the mean, not scaled, where there is none.
    pub(crate) fn sentence_head(&self) -> Result<Head, ExportError> {
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
    for (key, value) in &config.keys {
        if let Some(mode) = key.strip_prefix("pooling_mode_")
            && value == &Value::Bool(true)
        {
            modes.push(mode.to_owned());
        }
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
