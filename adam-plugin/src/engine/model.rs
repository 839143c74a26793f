//! The model that an index was made with, opened again.

use std::path::Path;

use adam_encoder::{EncoderOptions, Hub, Precision, SentenceEncoder, TextKind};

use crate::error::PluginError;
use crate::manifest::PinnedModel;

impl PinnedModel {
    /// What is to be remembered of a sentence encoder, so that it can be opened again the same way.
    pub fn of_folder(
        encoder: &SentenceEncoder,
        folder: impl AsRef<Path>,
        precision: Precision,
        max_length: Option<usize>,
    ) -> Self {
        let folder = folder.as_ref();
        Self {
            folder: Some(std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf())),
            precision,
            max_length,
            query_prompt: Some(encoder.prompt(TextKind::Query).to_owned()),
            document_prompt: Some(encoder.prompt(TextKind::Document).to_owned()),
            ..Self::of(encoder)
        }
    }

    /// Opens the model from where it was when the index was made, or from `folder` (which may be a Hugging Face id), with the
    /// precision, length and prompts it had then. `index` is for messages.
    ///
    /// # Errors
    /// When it is not there any more, or cannot be opened. That it is another model is for the index to say.
    pub fn open(
        &self,
        index: impl AsRef<Path>,
        folder: Option<&Path>,
        options: &EncoderOptions,
    ) -> Result<SentenceEncoder, PluginError> {
        let path = match (folder, &self.folder) {
            (Some(folder), _) => Hub::from_environment().resolve(folder)?,
            (None, Some(folder)) if folder.is_dir() => folder.clone(),
            (None, Some(folder)) => {
                return Err(PluginError::ModelMoved {
                    index: index.as_ref().to_path_buf(),
                    model: self.name.clone(),
                    folder: folder.clone(),
                });
            }
            (None, None) => {
                return Err(PluginError::NoModel { task: "making vectors", model: self.name.clone() });
            }
        };
        let options = options
            .clone()
            .precision(self.precision)
            .max_length(self.max_length)
            .query_prompt(self.query_prompt.clone())
            .document_prompt(self.document_prompt.clone());
        Ok(SentenceEncoder::open(&path, &options)?)
    }
}
