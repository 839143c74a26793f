//! A second look at the best hits: a cross-encoder reads query and document together.

use std::path::Path;

use adam_encoder::{EncoderOptions, Hub, PairScorer};

use crate::error::PluginError;

/// A cross-encoder that puts hits in a better order. Reading each pair of query and document, it is far slower than the
/// search and looks at few.
///
/// ```no_run
/// use std::sync::Arc;
/// use adam_encoder::EncoderOptions;
/// use adam_plugin::{Engine, Reranker, SearchRequest};
///
/// # fn main() -> Result<(), adam_plugin::PluginError> {
/// let options = EncoderOptions::default();
/// let reranker = Reranker::open("ms-marco-MiniLM-L6-v2".as_ref(), &options)?;
/// let engine = Engine::open("index".as_ref())?.with_pinned_encoder(None, &options)?.with_reranker(Arc::new(reranker));
/// let found = engine.search(&SearchRequest { rerank: Some(50), ..SearchRequest::new("do crows use tools") })?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reranker {
    scorer: PairScorer,
}

impl Reranker {
    /// Opens a cross-encoder with one output: a folder in Hugging Face layout with ONNX, or a Hugging Face id.
    ///
    /// # Errors
    /// When there is no such model, or it is none that scores pairs.
    pub fn open(model: &Path, options: &EncoderOptions) -> Result<Self, PluginError> {
        let folder = Hub::from_environment().resolve(model)?;
        Ok(Self { scorer: PairScorer::open(&folder, options)? })
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        self.scorer.name()
    }

    /// How well each text answers the query: logits, higher is better.
    ///
    /// # Errors
    /// When the model fails.
    pub fn score(&self, query: &str, texts: &[&str]) -> Result<Vec<f32>, PluginError> {
        let pairs: Vec<(&str, &str)> = texts.iter().map(|text| (query, *text)).collect();
        Ok(self.scorer.score(&pairs)?)
    }
}

impl From<PairScorer> for Reranker {
    fn from(scorer: PairScorer) -> Self {
        Self { scorer }
    }
}
