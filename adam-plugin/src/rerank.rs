//! A second look at the best hits: a model reads query and document together.

use std::fmt;

use adam_encoder::EncoderError;

use crate::error::PluginError;

type Score = dyn Fn(&str, &[&str]) -> Result<Vec<f32>, EncoderError> + Send + Sync;

/// A cross-encoder that puts hits in a better order. It reads each pair of query and document, so it is far slower than the search and
/// reads only a few.
///
/// ```no_run
/// # #[cfg(feature = "onnx")]
/// # fn main() -> Result<(), adam_plugin::PluginError> {
/// use std::sync::Arc;
/// use adam_encoder::EncoderOptions;
/// use adam_plugin::{Engine, Reranker, SearchRequest};
///
/// let options = EncoderOptions::default();
/// let reranker = Reranker::open("ms-marco-MiniLM-L6-v2", &options)?;
/// let engine = Engine::builder("index").pinned_encoder(None, options).reranker(Arc::new(reranker)).open()?;
/// let found = engine.search(&SearchRequest::new("do crows use tools").rerank(50))?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "onnx"))]
/// # fn main() {}
/// ```
pub struct Reranker {
    name: String,
    score: Box<Score>,
}

impl fmt::Debug for Reranker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reranker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Reranker {
    /// A re-ranker of your own: `score` says how well each of the texts answers the query; higher is better.
    pub fn new(
        name: impl Into<String>,
        score: impl Fn(&str, &[&str]) -> Result<Vec<f32>, EncoderError> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), score: Box::new(score) }
    }

    /// Opens a cross-encoder with one output: a folder in Hugging Face layout with ONNX, or a Hugging Face id.
    ///
    /// # Errors
    /// When there is no such model, or it does not score pairs.
    #[cfg(feature = "onnx")]
    pub fn open(
        model: impl AsRef<std::path::Path>,
        options: &adam_encoder::EncoderOptions,
    ) -> Result<Self, PluginError> {
        let folder = adam_encoder::Hub::from_environment().resolve(model)?;
        Ok(adam_encoder::PairScorer::open(&folder, options)?.into())
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How well each text answers the query: logits, higher is better.
    ///
    /// # Errors
    /// When the model fails, or gives another number of scores than there are texts.
    pub fn score(&self, query: &str, texts: &[&str]) -> Result<Vec<f32>, PluginError> {
        let scores = (self.score)(query, texts)?;
        if scores.len() != texts.len() {
            let problem =
                format!("the re-ranker `{}` gave {} scores for {} texts", self.name, scores.len(), texts.len());
            return Err(PluginError::Encoder(EncoderError::other(problem)));
        }
        Ok(scores)
    }
}

#[cfg(feature = "onnx")]
impl From<adam_encoder::PairScorer> for Reranker {
    fn from(scorer: adam_encoder::PairScorer) -> Self {
        Self::new(scorer.name().to_owned(), move |query, texts| {
            let pairs: Vec<(&str, &str)> = texts.iter().map(|text| (query, *text)).collect();
            scorer.score(&pairs)
        })
    }
}
