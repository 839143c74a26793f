//! How token vectors become one: the same word in configurations, on the command line, in training and in exported folders.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How token vectors become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The mean over the text's tokens.
    #[default]
    Mean,
    /// The first token's vector.
    Cls,
}

impl Pooling {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
        }
    }
}
