//! The model that an index was made with, opened again.

use std::path::Path;

use adam_encoder::{EncoderOptions, Hub, SentenceEncoder};

use crate::card::PinnedModel;
use crate::error::PluginError;

impl PinnedModel {
    /// Opens the model from where it was when the index was made, or from `folder` (which may be a Hugging Face id), with the
    /// precision, length and prompts it had then. `index` is for messages.
    ///
    /// # Errors
    /// When it is not there any more, or cannot be opened. That it is another model is for the index to say.
    pub fn open(
        &self,
        index: &Path,
        folder: Option<&Path>,
        options: &EncoderOptions,
    ) -> Result<SentenceEncoder, PluginError> {
        let place = match (folder, &self.folder) {
            (Some(folder), _) => Hub::from_environment().resolve(folder)?,
            (None, Some(folder)) if folder.is_dir() => folder.clone(),
            (None, Some(folder)) => {
                return Err(PluginError::ModelMoved {
                    index: index.to_path_buf(),
                    model: self.name.clone(),
                    folder: folder.clone(),
                });
            }
            (None, None) => {
                return Err(PluginError::NoModel { what: "making vectors", model: self.name.clone() });
            }
        };
        let options = options
            .clone()
            .precision(self.precision.parse()?)
            .max_length(self.max_length)
            .query_prompt(self.query_prompt.clone())
            .document_prompt(self.document_prompt.clone());
        Ok(SentenceEncoder::open(&place, &options)?)
    }
}
