//! Settings of the student: where it starts, how long its texts are, how token vectors become one.

use crate::model::Pooling;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudentConfig {
    /// The folder of the model to start from, in sentence-transformers layout with safetensors.
    pub model: PathBuf,
    /// Most tokens of a query in training, special ones included.
    pub query_length: usize,
    /// Most tokens of a passage in training, special ones included. Evaluation and the exported student use `max_length`.
    pub passage_length: usize,
    /// Which part of a longer passage training reads.
    #[serde(skip_serializing_if = "Window::is_start")]
    pub passage_window: Window,
    /// Start from these layers of the model only, counted from 0, in this order: a student of three of six layers is about twice as
    /// fast. Absent: all. The teacher starts from the whole model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
    /// Most tokens of a text for evaluation and the exported student; absent: as the folder says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Leave the word, position and type tables as they are.
    pub freeze_embeddings: bool,
    /// Leave this many of the lowest layers as they are (and the tables with them).
    pub freeze_layers: usize,
    /// How token vectors become one; absent: as the folder says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether vectors are brought to length 1; absent: as the folder says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalised: Option<bool>,
    /// Put before every query; absent: as the folder says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_prompt: Option<String>,
    /// Put before every document; absent: as the folder says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_prompt: Option<String>,
    /// Matryoshka: the losses are the mean over vectors cut to each of these numbers of values and whole ones, so that a vector's
    /// first values are a usable vector themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matryoshka: Vec<usize>,
    /// One encoder for queries and passages, or two.
    #[serde(skip_serializing_if = "Towers::are_tied")]
    pub towers: Towers,
}

/// Whether queries and passages share the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Towers {
    /// One encoder.
    #[default]
    Tied,
    /// One each. Refused: the exported folder holds one model, and what loads it expects one.
    Untied,
}

impl Towers {
    fn are_tied(&self) -> bool {
        *self == Self::Tied
    }
}

/// Which part of a passage longer than `passage_length` training reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// Its start, as an index without chunks has it.
    #[default]
    Start,
    /// Another part in each epoch, as the chunks of an index have it.
    Random,
}

impl Window {
    fn is_start(&self) -> bool {
        *self == Self::Start
    }
}

impl StudentConfig {
    pub(super) fn problem(&self) -> Option<String> {
        if self.towers == Towers::Untied {
            return Some(
                "`towers = \"untied\"` is not supported: the exported folder holds one encoder for queries and passages"
                    .to_owned(),
            );
        }
        let cuts = &self.matryoshka;
        if cuts.contains(&0) || cuts.windows(2).any(|w| w[0] >= w[1]) || cuts.len() > 16 {
            return Some(format!("`matryoshka` must list at most 16 rising numbers above 0, and is {cuts:?}"));
        }
        if self.layers.len() > 128 {
            return Some(format!("`layers` may name 128 layers at most, and names {}", self.layers.len()));
        }
        if self.max_length.is_some_and(|length| length < 8) {
            return Some("`max_length` must be 8 at least".to_owned());
        }
        let prompts = [&self.query_prompt, &self.document_prompt];
        prompts.into_iter().flatten().any(|p| p.len() > 4096).then(|| "a prompt may have 4096 bytes at most".to_owned())
    }
}

impl Default for StudentConfig {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            query_length: 64,
            passage_length: 256,
            passage_window: Window::Start,
            layers: Vec::new(),
            max_length: None,
            freeze_embeddings: false,
            freeze_layers: 0,
            pooling: None,
            normalised: None,
            query_prompt: None,
            document_prompt: None,
            matryoshka: Vec::new(),
            towers: Towers::Tied,
        }
    }
}
