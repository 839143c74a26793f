//! Settings of the teacher: a cross-encoder, or several voices whose scores are fused.

use super::TrainingConfig;
use crate::model::Pooling;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the cross-encoder comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TeacherKind {
    /// Trained here from `model`.
    #[default]
    Train,
    /// A folder that an earlier run's teacher stage wrote.
    Trained,
    /// Any cross-encoder in ONNX.
    Onnx,
}

/// What a voice of the teacher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VoiceKind {
    /// The cross-encoder that the section `[teacher]` describes.
    CrossEncoder,
    /// BM25 with the statistics of the data's passages.
    Bm25,
    /// A frozen sentence encoder.
    Dense,
    /// Scores from a file.
    Scores,
    /// The scores that the training rows carry.
    Rows,
    /// A program that scores pairs.
    Command,
}

impl VoiceKind {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEncoder => "cross-encoder",
            Self::Bm25 => "bm25",
            Self::Dense => "dense",
            Self::Scores => "scores",
            Self::Rows => "rows",
            Self::Command => "command",
        }
    }

    /// Whether it scores any query and any passage of the data at no cost.
    pub fn is_cheap(self) -> bool {
        matches!(self, Self::Bm25 | Self::Dense)
    }
}

/// A voice of the teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoiceConfig {
    /// What it is.
    pub kind: VoiceKind,
    /// Its weight; absent: all weights are chosen on held-out queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// `dense`: the folder of a sentence encoder, or `start`; absent: the student as distillation finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// `scores`: the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `command`: the program and its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// `command`: seconds without an answer after which it counts as hung.
    #[serde(default = "minute")]
    pub timeout_seconds: f64,
}

fn minute() -> f64 {
    60.0
}

/// `model` of a dense voice that stands for the model the run starts from.
pub(crate) const START: &str = "start";

impl VoiceConfig {
    fn problem(&self) -> Option<String> {
        let kind = self.kind.name();
        if self.weight.is_some_and(|weight| !(weight.is_finite() && weight >= 0.0)) {
            return Some(format!("the `weight` of the voice `{kind}` must be 0 or more"));
        }
        if !(self.timeout_seconds.is_finite() && self.timeout_seconds > 0.0) {
            return Some(format!("`timeout_seconds` of the voice `{kind}` must be above 0"));
        }
        let given = [
            ("model", self.model.is_some(), VoiceKind::Dense),
            ("path", self.path.is_some(), VoiceKind::Scores),
            ("command", !self.command.is_empty(), VoiceKind::Command),
        ];
        if let Some((name, ..)) = given.iter().find(|(_, is_given, of)| *is_given && *of != self.kind) {
            return Some(format!("a voice of kind `{kind}` has no `{name}`"));
        }
        let missing = given.iter().find(|(_, is_given, of)| !is_given && *of == self.kind && *of != VoiceKind::Dense);
        missing.map(|(name, ..)| format!("a voice of kind `{kind}` needs `{name}`"))
    }
}

/// The teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherConfig {
    /// Where the cross-encoder comes from.
    pub kind: TeacherKind,
    /// Its folder; absent, for a teacher that is trained: the student's model.
    pub model: Option<PathBuf>,
    /// How token vectors become one, for a fresh head.
    pub pooling: Pooling,
    /// Most tokens of a query and a passage together, special ones included.
    pub length: usize,
    /// Most of them for the query.
    pub query_length: usize,
    /// Mined negatives a query and step.
    pub negatives: usize,
    /// Mined ranks they are drawn from.
    pub to_rank: usize,
    /// Leave the word, position and type tables as they are.
    pub freeze_embeddings: bool,
    /// Leave this many of the lowest layers as they are.
    pub freeze_layers: usize,
    /// Voices whose scores are fused; none: the cross-encoder alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub voices: Vec<VoiceConfig>,
    /// The fused z-scores are divided by this; absent: chosen on held-out queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Go on with a teacher that ranks held-out queries no better than its student.
    #[serde(skip_serializing_if = "super::is_off")]
    pub accept_weak: bool,
    /// The loop.
    pub training: TrainingConfig,
}

impl Default for TeacherConfig {
    fn default() -> Self {
        Self {
            kind: TeacherKind::Train,
            model: None,
            pooling: Pooling::Mean,
            length: 256,
            query_length: 64,
            negatives: 7,
            to_rank: 50,
            freeze_embeddings: false,
            freeze_layers: 0,
            voices: Vec::new(),
            temperature: None,
            accept_weak: false,
            training: TrainingConfig {
                epochs: 2,
                queries_per_step: 8,
                learning_rate: 5e-5,
                ..TrainingConfig::default()
            },
        }
    }
}

/// Most voices of a teacher: the weights are chosen on a grid.
const MOST_VOICES: usize = 6;

impl TeacherConfig {
    /// Whether the cross-encoder speaks.
    pub fn has_cross_encoder(&self) -> bool {
        self.voices.is_empty() || self.voices.iter().any(|voice| voice.kind == VoiceKind::CrossEncoder)
    }

    /// Whether a cross-encoder is trained here.
    pub fn is_trained_here(&self) -> bool {
        self.kind == TeacherKind::Train && self.has_cross_encoder()
    }

    pub(super) fn problem(&self) -> Option<String> {
        if self.query_length + 16 > self.length {
            return Some("`query_length` leaves no room for passages in `length`".to_owned());
        }
        if self.negatives == 0 && self.is_trained_here() {
            return Some("`negatives` must be at least 1".to_owned());
        }
        if self.model.is_none() && self.kind != TeacherKind::Train && self.has_cross_encoder() {
            return Some("`model` must name the teacher's folder where `kind` is \"trained\" or \"onnx\"".to_owned());
        }
        if self.voices.len() > MOST_VOICES {
            return Some(format!("at most {MOST_VOICES} voices, and there are {}", self.voices.len()));
        }
        if let Some(temperature) = self.temperature {
            if self.voices.is_empty() {
                return Some(
                    "`temperature` is that of fused voices; for the cross-encoder alone use `loss.teacher_temperature`"
                        .to_owned(),
                );
            }
            if !(temperature.is_finite() && temperature > 0.0) {
                return Some(format!("`temperature` must be above 0, and is {temperature}"));
            }
        }
        for once in [VoiceKind::CrossEncoder, VoiceKind::Bm25, VoiceKind::Rows] {
            if self.voices.iter().filter(|voice| voice.kind == once).count() > 1 {
                return Some(format!("the voice `{}` is there twice", once.name()));
            }
        }
        let weights = || self.voices.iter().filter_map(|voice| voice.weight);
        if !self.voices.is_empty() && weights().count() == self.voices.len() && weights().sum::<f64>() == 0.0 {
            return Some("the weights of all voices are 0".to_owned());
        }
        self.voices.iter().find_map(VoiceConfig::problem)
    }
}
