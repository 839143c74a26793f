//! What a model folder in sentence-transformers layout says: modules, pooling, length, prompts, and where the files are.
//!
//! Nothing here is guessed around: a key that asks for something this crate does not do is refused with the file and
//! the key by name, since a vector that is slightly wrong is worse than none.

mod json;
pub(crate) mod layers;
mod modules;
mod normalizer;
mod onnx;
pub(crate) mod pooling;
mod protobuf;
mod sentence;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::EncoderError;
use crate::text_encoder::TextKind;

pub(crate) use json::JsonFile;
pub(crate) use layers::Step;
pub(crate) use normalizer::{Adjustment, adjust};
pub(crate) use onnx::{OnnxFile, SharedWeight, WeightValues};
pub(crate) use pooling::Pooling;

/// Longest prompt accepted, in bytes.
const PROMPT_LIMIT: usize = 16 << 10;

/// The text put before every query and every document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prompts {
    pub(crate) query: String,
    pub(crate) document: String,
}

impl Prompts {
    pub(crate) fn of(&self, kind: TextKind) -> &str {
        match kind {
            TextKind::Query => &self.query,
            TextKind::Document => &self.document,
        }
    }
}

/// A model folder, read and checked, no model loaded yet.
#[derive(Debug)]
pub(crate) struct ModelFolder {
    /// The folder itself.
    pub(crate) root: PathBuf,
    /// Where the transformer's own files lie: the root, or a folder below it in old models.
    pub(crate) transformer: PathBuf,
    /// How token vectors become one vector.
    pub(crate) pooling: Pooling,
    /// Whether that is a guess, since nothing in the folder says so.
    pub(crate) guesses_pooling: bool,
    /// What happens to that vector afterwards, in order.
    pub(crate) steps: Vec<Step>,
    /// Longest sequence in tokens, special tokens included, as the folder says.
    pub(crate) max_length: Option<usize>,
    /// Longest sequence the model's position table holds.
    pub(crate) positions: Option<usize>,
    /// Lower the case of a text before it is tokenised.
    pub(crate) lower_case: bool,
    /// Text put before a query or a document.
    pub(crate) prompts: Prompts,
    /// Token id that fills up short rows.
    pub(crate) pad_id: u32,
    /// `tokenizer.json`.
    pub(crate) tokenizer: PathBuf,
}

/// Reads the configuration of a sentence encoder's folder as [`SentenceEncoder::open`](crate::SentenceEncoder::open) does, without its
/// model: for programs that make such folders.
///
/// # Errors
/// When a file is missing or broken, or asks for something this crate does not do; the file and the key are named.
pub fn check_sentence_folder(folder: impl AsRef<Path>) -> Result<(), EncoderError> {
    ModelFolder::open(folder.as_ref()).map(drop)
}

/// As [`check_sentence_folder`] for a cross-encoder's folder.
///
/// # Errors
/// As [`check_sentence_folder`].
pub fn check_pair_folder(folder: impl AsRef<Path>) -> Result<(), EncoderError> {
    ModelFolder::open_pair(folder.as_ref()).map(drop)
}

impl ModelFolder {
    /// Reads a sentence encoder's folder.
    pub(crate) fn open(root: &Path) -> Result<Self, EncoderError> {
        check_is_folder(root)?;
        let modules = modules::read(root)?;
        let mut folder = Self::transformer(root, modules.transformer)?;
        folder.pooling = modules.pooling;
        folder.guesses_pooling = modules.guessed;
        folder.steps = modules.steps;
        folder.prompts = read_prompts(root)?;
        Ok(folder)
    }

    /// Reads a cross-encoder's folder: the transformer's files only.
    pub(crate) fn open_pair(root: &Path) -> Result<Self, EncoderError> {
        check_is_folder(root)?;
        Self::transformer(root, root.to_path_buf())
    }

    fn transformer(root: &Path, transformer: PathBuf) -> Result<Self, EncoderError> {
        let config = JsonFile::read(
            &transformer.join("config.json"),
            "it describes the transformer; a model folder in Hugging Face layout has it",
        )?;
        let settings = sentence::read(&transformer)?;
        let tokenizer_config = JsonFile::read_if_there(&transformer.join("tokenizer_config.json"))?;

        let positions = read_positions(&config)?;
        let sentence::SentenceSettings { mut max_length, lower_case } = settings;
        if max_length.is_none()
            && let Some(tokenizer_config) = &tokenizer_config
        {
            max_length = tokenizer_config.length("model_max_length")?;
        }
        let max_length = match (max_length, positions) {
            (Some(length), Some(positions)) => Some(length.min(positions)),
            (length, positions) => length.or(positions),
        };
        let pad_id = match config.get("pad_token_id") {
            None => 0,
            Some(value) => {
                value.as_i64().and_then(|id| if id == -1 { Some(0) } else { u32::try_from(id).ok() }).ok_or_else(
                    || EncoderError::key(config.path(), "pad_token_id", "must be a token id, a whole number"),
                )?
            }
        };
        let tokenizer = [transformer.join("tokenizer.json"), root.join("tokenizer.json")]
            .into_iter()
            .find(|path| json::is_there(path))
            .ok_or_else(|| EncoderError::Missing {
                path: transformer.join("tokenizer.json"),
                needed: "it holds the tokenizer; save the model with a recent `transformers`, which writes it"
                    .to_owned(),
            })?;

        Ok(Self {
            root: root.to_path_buf(),
            transformer,
            pooling: Pooling::default(),
            guesses_pooling: false,
            steps: Vec::new(),
            max_length,
            positions,
            lower_case,
            prompts: Prompts::default(),
            pad_id,
            tokenizer,
        })
    }

    /// The longest sequence to feed, in tokens: as asked for, or as the folder says.
    pub(crate) fn effective_length(&self, asked: Option<usize>) -> Result<usize, EncoderError> {
        match (asked, self.positions) {
            (Some(asked), Some(positions)) if asked > positions => Err(EncoderError::Option {
                name: "max_length",
                problem: format!(
                    "is {asked}, and {} has only {positions} positions",
                    self.transformer.join("config.json").display()
                ),
            }),
            (Some(asked), _) => Ok(asked),
            (None, _) => Ok(self.max_length.unwrap_or_else(|| {
                tracing::warn!(folder = %self.root.display(), "the folder names no maximum length; using 512 tokens");
                512
            })),
        }
    }

    /// The folder's last name, for messages.
    pub(crate) fn name(&self) -> String {
        self.root
            .canonicalize()
            .ok()
            .as_deref()
            .unwrap_or(&self.root)
            .file_name()
            .map_or_else(|| self.root.display().to_string(), |name| name.to_string_lossy().into_owned())
    }
}

fn check_is_folder(root: &Path) -> Result<(), EncoderError> {
    match std::fs::metadata(root) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(EncoderError::model(root, "is not a folder; name the folder that holds the model's files")),
        Err(cause) => Err(EncoderError::Read { path: root.to_path_buf(), cause }),
    }
}

/// The number of positions the model can take, where it has a table of them.
fn read_positions(config: &JsonFile) -> Result<Option<usize>, EncoderError> {
    let Some(value) = config.get("max_position_embeddings") else {
        return Ok(None);
    };
    let number = value.as_i64().ok_or_else(|| {
        EncoderError::key(
            config.path(),
            "max_position_embeddings",
            format!("must be a whole number, and is {}", json::kind_of(value)),
        )
    })?;
    // XLNet writes -1 for "no limit".
    if number <= 0 {
        return Ok(None);
    }
    // The RoBERTa family numbers positions from the padding id + 1, so the first rows of the table are never used.
    let offset = match config.text("model_type")? {
        Some("roberta" | "xlm-roberta" | "xlm-roberta-xl" | "camembert" | "mpnet" | "data2vec-text" | "longformer") => {
            config.get("pad_token_id").and_then(Value::as_i64).unwrap_or(1) + 1
        }
        _ => 0,
    };
    let usable = number.saturating_sub(offset);
    if usable < 3 {
        return Err(EncoderError::key(
            config.path(),
            "max_position_embeddings",
            format!("is {number}, which leaves no room for a text"),
        ));
    }
    Ok(usize::try_from(usable).ok())
}

/// `prompts` of `config_sentence_transformers.json`, resolved as sentence-transformers resolves them for queries and
/// documents.
fn read_prompts(root: &Path) -> Result<Prompts, EncoderError> {
    let Some(file) = JsonFile::read_if_there(&root.join("config_sentence_transformers.json"))? else {
        return Ok(Prompts::default());
    };
    if let Some(kind) = file.text("model_type")?
        && kind != "SentenceTransformer"
        && kind != "CrossEncoder"
    {
        return Err(EncoderError::key(
            file.path(),
            "model_type",
            format!("is \"{kind}\"; only a SentenceTransformer has one dense vector for a text"),
        ));
    }
    if file.get("truncate_dim").is_some() {
        return Err(EncoderError::key(
            file.path(),
            "truncate_dim",
            "is not supported; take it out, and vectors keep all of their values",
        ));
    }
    let Some(prompts) = file.object("prompts")? else {
        return Ok(Prompts::default());
    };
    let text_of = |name: &str| -> Result<Option<String>, EncoderError> {
        match prompts.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= PROMPT_LIMIT => Ok(Some(text.clone())),
            Some(other) => Err(EncoderError::key(
                file.path(),
                format!("prompts.{name}"),
                format!("must be a string of at most {PROMPT_LIMIT} bytes, and is {}", json::kind_of(other)),
            )),
        }
    };
    let fallback = match file.text("default_prompt_name")? {
        None => String::new(),
        Some(name) => text_of(name)?.ok_or_else(|| {
            EncoderError::key(
                file.path(),
                "default_prompt_name",
                format!("is \"{name}\", which `prompts` does not contain"),
            )
        })?,
    };
    let query = text_of("query")?.unwrap_or_else(|| fallback.clone());
    let mut document = None;
    for name in ["document", "passage", "corpus"] {
        document = text_of(name)?;
        if document.is_some() {
            break;
        }
    }
    Ok(Prompts { query, document: document.unwrap_or(fallback) })
}
