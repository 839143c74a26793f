//! The model that an index was made with, opened again.

use std::path::Path;

use adam_encoder::{EncoderOptions, Hub, Precision, SentenceEncoder, TextKind};

use serde::Deserialize;

use crate::error::PluginError;
use crate::manifest::PinnedModel;

/// Largest report of an export that is read, in bytes.
const MAX_REPORT: u64 = 1 << 20;

/// What `adam-train` notes beside a model that it exported.
#[derive(Deserialize)]
struct ExportReport {
    hybrid: HybridReport,
}

#[derive(Deserialize)]
struct HybridReport {
    dense_weight: f32,
}

/// The weight of the vectors in hybrid search that the model's training chose on held-out queries; `None` where it chose none, or the
/// note cannot be read: then the default holds, as for any other model.
fn hybrid_weight(folder: &Path) -> Option<f32> {
    let bytes = durable::read(folder.join("adam_export.json"), MAX_REPORT).ok()?;
    let report: ExportReport = serde_json::from_slice(&bytes).ok()?;
    Some(report.hybrid.dense_weight).filter(|weight| (0.0..=1.0).contains(weight))
}

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
            hybrid_weight: hybrid_weight(folder),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn the_weight_that_training_chose_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(hybrid_weight(folder.path()), None);
        for (report, weight) in [
            (r#"{"files": {}, "hybrid": {"dense_weight": 0.65, "held_out_queries": 40}}"#, Some(0.65)),
            (r#"{"files": {}}"#, None),
            (r#"{"hybrid": {"dense_weight": 1.5}}"#, None),
            (r#"{"hybrid": {"dense_weight": "much"}}"#, None),
            ("half", None),
        ] {
            std::fs::write(folder.path().join("adam_export.json"), report).unwrap();
            assert_eq!(hybrid_weight(folder.path()), weight, "{report}");
        }
    }
}
