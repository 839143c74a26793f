//! Opening the model that a command names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{EncoderOptions, Hub, Precision, SentenceEncoder};
use adam_plugin::PinnedModel;
use anyhow::Result;
use clap::Args;

/// How the model computes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Computing {
    /// Numbers the model computes in: f32, or int8 (about twice as fast; vectors of the two must not be mixed).
    #[arg(long, value_name = "f32|int8", default_value = "f32")]
    pub(crate) precision: Precision,
    /// Threads of the model; 0 is one for each core.
    #[arg(long, value_name = "N", default_value_t = 0, env = "ADAM_THREADS")]
    pub(crate) threads: usize,
    /// Longest text in tokens; what is longer is cut [default: as the model's folder says].
    #[arg(long, value_name = "N")]
    pub(crate) max_length: Option<usize>,
}

impl Computing {
    pub(crate) fn options(&self) -> EncoderOptions {
        EncoderOptions {
            precision: self.precision,
            threads: self.threads,
            max_length: self.max_length,
            ..EncoderOptions::default()
        }
    }

    /// Opens a folder in sentence-transformers layout with ONNX, or a model by its Hugging Face id.
    pub(crate) fn open(&self, model: &Path) -> Result<(Arc<SentenceEncoder>, PinnedModel)> {
        let folder: PathBuf = Hub::from_environment().resolve(&model.to_string_lossy())?;
        let encoder = SentenceEncoder::open(&folder, &self.options())?;
        let pinned = PinnedModel::of_folder(&encoder, &folder, self.precision, self.max_length);
        Ok((Arc::new(encoder), pinned))
    }
}
