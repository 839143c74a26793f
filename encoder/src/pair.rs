//! One score for a pair of texts: cross-encoders, for re-ranking and as teachers.

use std::ops::ControlFlow;
use std::path::Path;

use crate::batch::{Padded, Plan};
use crate::error::EncoderError;
use crate::fingerprint::Fingerprint;
use crate::folder::{ModelFolder, OnnxFile};
use crate::options::EncoderOptions;
use crate::session::{SessionPool, Share, Values};
use crate::tokenize::{TextTokenizer, Tokens};

/// Pairs tokenised at a time are so many that their tokens stay below this number, more or less.
const WINDOW_TOKENS: usize = 4 << 20;

/// A cross-encoder with one output for a pair, as those trained on MS MARCO have.
///
/// Scores are raw logits: no sigmoid, whatever the folder's configuration says, since re-ranking needs only their
/// order and distillation needs them unsquashed.
pub struct PairScorer {
    name: String,
    fingerprint: String,
    batch_tokens: usize,
    tokenizer: TextTokenizer,
    pool: SessionPool,
    /// Name of the output with the logits.
    output: String,
}

impl std::fmt::Debug for PairScorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairScorer")
            .field("name", &self.name)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl PairScorer {
    /// Opens a cross-encoder's folder: `config.json`, `tokenizer.json` and the ONNX file.
    ///
    /// # Errors
    /// As [`SentenceEncoder::open`](crate::SentenceEncoder::open), and when the model gives more than one value for a
    /// pair.
    pub fn open(folder: impl AsRef<Path>, options: &EncoderOptions) -> Result<Self, EncoderError> {
        options.check()?;
        let spec = ModelFolder::open_pair(folder.as_ref())?;
        let max_length = spec.effective_length(options.max_length)?;
        let tokenizer = TextTokenizer::open(&spec, max_length, options.all_threads())?;
        let file = OnnxFile::open(&spec.transformer, options)?;
        let fingerprint = Fingerprint::default()
            .part("kind", "pair scorer 1")
            .part("onnx", &file.hash)
            .part("tokenizer", tokenizer.hash())
            .part("max_length", &max_length.to_string())
            .part("lower_case", &spec.lower_case.to_string())
            .finish();
        let pool = SessionPool::open(&file, options)?;
        drop(file);
        let output = pool
            .output("logits")
            .or_else(|| match pool.outputs() {
                [only] => Some(only),
                _ => None,
            })
            .ok_or_else(|| {
                EncoderError::model(pool.path(), format!("has no output `logits`; it has {}", pool.describe_outputs()))
            })?;
        pool.check_f32(output)?;
        if output.axes == 2
            && let Some(width) = output.width
            && width != 1
        {
            return Err(many_labels(pool.path(), width));
        }
        let output = output.name.clone();
        let scorer =
            Self { name: spec.name(), fingerprint, batch_tokens: options.most_tokens(), tokenizer, pool, output };
        // One pair, so that a model that does not do what it says is refused now and not in the middle of the work.
        scorer.score(&[("What is the capital of Iceland?", "Reykjavík is the capital of Iceland.")])?;
        Ok(scorer)
    }

    /// The raw logit of each pair (query first), in the order given.
    ///
    /// # Errors
    /// When a text cannot be tokenised or the model fails.
    pub fn score(&self, pairs: &[(&str, &str)]) -> Result<Vec<f32>, EncoderError> {
        self.score_with_progress(pairs, &mut |_| {})
    }

    /// As [`score`](Self::score), and `done` hears how many pairs are finished after each batch.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn score_with_progress(
        &self,
        pairs: &[(&str, &str)],
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, EncoderError> {
        let mut scores = vec![0.0; pairs.len()];
        self.score_into(pairs, &mut scores, &mut |finished| {
            done(finished);
            ControlFlow::Continue(())
        })?;
        Ok(scores)
    }

    /// Scores into memory of the caller: one value for each pair. `done` hears how many pairs are finished after each batch, and ends
    /// the work by a break.
    ///
    /// # Errors
    /// As [`score`](Self::score), and [`EncoderError::Rows`] where `scores` has another length, [`EncoderError::Stopped`] after a
    /// break. Some scores may be written then, and others not.
    pub fn score_into(
        &self,
        pairs: &[(&str, &str)],
        scores: &mut [f32],
        done: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<(), EncoderError> {
        if scores.len() != pairs.len() {
            return Err(EncoderError::Rows { values: scores.len(), texts: pairs.len(), width: 1 });
        }
        let window = (WINDOW_TOKENS / self.tokenizer.max_length()).clamp(256, 16_384);
        let mut before = 0;
        for (pairs, scores) in pairs.chunks(window).zip(scores.chunks_mut(window)) {
            let encode = |(first, second): &(&str, &str)| self.tokenizer.encode_pair(first, second);
            let tokens = self.tokenizer.for_all(pairs, before, encode)?;
            let lengths: Vec<usize> = tokens.iter().map(|tokens| tokens.ids.len()).collect();
            let plan = Plan::by_length(&lengths, self.batch_tokens);
            let mut finished = before;
            for (score, _) in scores.iter_mut().zip(&lengths).filter(|(_, length)| **length == 0) {
                // Two empty texts and a tokenizer without special tokens: nothing to score.
                *score = 0.0;
                finished += 1;
            }
            self.pool.for_each(
                plan.len(),
                |index, share| self.run_batch(plan.batch(index), share, &tokens),
                |index, batch_scores| {
                    let batch = plan.batch(index);
                    for (score, pair) in batch_scores.iter().zip(batch) {
                        scores[*pair] = *score;
                    }
                    finished += batch.len();
                    done(finished)
                },
            )?;
            before += pairs.len();
        }
        Ok(())
    }

    fn run_batch(&self, batch: &[usize], share: Share, tokens: &[Tokens]) -> Result<Vec<f32>, EncoderError> {
        let padded = Padded::new(batch.iter().map(|index| &tokens[*index]), self.tokenizer.pad_id());
        self.pool.run(&padded, share, &self.output, |output| self.read(output, batch.len()))
    }

    fn read(&self, output: &Values<'_>, rows: usize) -> Result<Vec<f32>, EncoderError> {
        let wrong = |problem: String| EncoderError::Inference { path: self.pool.path().to_path_buf(), problem };
        match output.shape.as_slice() {
            [found] | [found, 1] if *found == rows => {}
            [found, width] if *found == rows => return Err(many_labels(self.pool.path(), *width)),
            shape => return Err(wrong(format!("its output has shape {shape:?} for {rows} pairs"))),
        }
        if output.values.iter().any(|value| !value.is_finite()) {
            return Err(wrong("a score came out that is not a finite number".to_owned()));
        }
        Ok(output.values.to_vec())
    }

    /// Identifies the function from pair to score: equal fingerprints give equal scores.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A short name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Longest pair in tokens; both texts are cut, the longer one first, until they fit.
    pub fn max_length(&self) -> usize {
        self.tokenizer.max_length()
    }

    /// The ONNX file that runs.
    pub fn model_file(&self) -> &Path {
        self.pool.path()
    }
}

fn many_labels(path: &Path, width: usize) -> EncoderError {
    EncoderError::model(
        path,
        format!("gives {width} values for a pair; a re-ranker gives one, so this is a classifier of another kind"),
    )
}
