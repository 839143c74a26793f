//! A cross-encoder that scores pairs: one of ours, or any in ONNX.

use super::context::{Context, Texts};
use super::limits::limits_without_gradients;
use super::teacher::model_folder;
use crate::config::TeacherKind;
use crate::data::batches::BatchLimits;
use crate::error::TrainError;
use crate::model::{CrossEncoder, ModelTokenizer, Sequence};
use adam_encoder::{EncoderOptions, PairScorer};
use std::path::PathBuf;
use std::sync::Arc;

/// A teacher that scores.
pub(crate) enum Scorer {
    /// One of ours.
    Torch(Box<CrossEncoder>, Arc<Texts>),
    /// Any in ONNX; it reads text. With how its tokenizer writes the mask.
    Onnx(Box<PairScorer>, Option<String>),
}

/// A passage to score.
pub(crate) struct Pair<'a> {
    pub(crate) query: usize,
    /// Content tokens in the student's tokenizer.
    pub(crate) passage: &'a [u32],
}

impl Scorer {
    /// Opens the run's teacher.
    pub(crate) fn open(context: &Context<'_>) -> Result<Self, TrainError> {
        let config = &context.config.teacher;
        let folder: PathBuf = match config.kind {
            TeacherKind::Train => context.shared_path("teacher"),
            TeacherKind::Trained | TeacherKind::Onnx => model_folder(context).to_owned(),
        };
        if config.kind == TeacherKind::Onnx {
            let options = EncoderOptions::default().max_length(config.length).threads(context.config.run.threads);
            let mask = mask_name(&ModelTokenizer::open(&folder)?);
            return Ok(Self::Onnx(Box::new(PairScorer::open(&folder, &options)?), mask));
        }
        let teacher = CrossEncoder::open(&folder, config.pooling, context.machine, context.config.run.seed)?;
        let texts = context.texts_for(&folder)?;
        Ok(Self::Torch(Box::new(teacher), texts))
    }

    /// Raw logits of pairs.
    pub(crate) fn score(&self, context: &Context<'_>, pairs: &[Pair<'_>]) -> Result<Vec<f32>, TrainError> {
        let config = &context.config.teacher;
        match self {
            Self::Torch(teacher, texts) => {
                let same = Arc::ptr_eq(texts, &context.texts);
                let mask = mask_name(&texts.tokens);
                let mut sequences: Vec<Sequence<'static>> = Vec::with_capacity(pairs.len());
                let length = config.length.min(teacher.encoder.longest());
                for pair in pairs {
                    let query = texts.queries.get(pair.query);
                    if same {
                        sequences.push(texts.tokens.pair(query, pair.passage, config.query_length, length));
                    } else {
                        // Made in the student's tokens, written out, and read by the teacher: the same text for both.
                        let text = written(context, pair.passage, mask.as_deref())?;
                        let made = texts.tokens.tokenizer().encode_fast(text, false);
                        let made = made.map_err(|e| {
                            TrainError::Tokenizer(format!("the teacher's tokenizer refuses a passage: {e}"))
                        })?;
                        sequences.push(texts.tokens.pair(query, made.get_ids(), config.query_length, length));
                    }
                }
                let limits = limits_without_gradients(&config.training, context.machine);
                let limits = BatchLimits { max_tokens: limits.max_tokens.max(8192), ..limits };
                teacher.score_all(&sequences, &limits, &mut |_| ())
            }
            Self::Onnx(scorer, mask) => {
                let texts = pairs
                    .iter()
                    .map(|pair| {
                        let query = context.query(pair.query).map(|q| q.text.as_str()).unwrap_or_default();
                        Ok((query, written(context, pair.passage, mask.as_deref())?))
                    })
                    .collect::<Result<Vec<_>, TrainError>>()?;
                let texts: Vec<(&str, &str)> = texts.iter().map(|(q, p)| (*q, p.as_str())).collect();
                Ok(scorer.score(&texts)?)
            }
        }
    }
}

/// How a tokenizer writes its mask token.
pub(crate) fn mask_name(tokens: &ModelTokenizer) -> Option<String> {
    tokens.special().mask.and_then(|id| tokens.tokenizer().id_to_token(id))
}

/// Tokens of the student as text, with the reader's own mask token; a reader that has none reads nothing in its place.
pub(crate) fn written(context: &Context<'_>, tokens: &[u32], mask: Option<&str>) -> Result<String, TrainError> {
    let student = context.texts.tokens.tokenizer();
    let text = student
        .decode(tokens, false)
        .map_err(|e| TrainError::internal(format!("tokens cannot be written as text: {e}")))?;
    Ok(with_mask(text, mask_name(&context.texts.tokens).as_deref(), mask))
}

fn with_mask(text: String, ours: Option<&str>, theirs: Option<&str>) -> String {
    match ours {
        Some(ours) if theirs != Some(ours) => text.replace(ours, theirs.unwrap_or_default()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teacher_reads_its_own_mask() {
        let text = || "glass [MASK] froze".to_owned();
        assert_eq!(with_mask(text(), Some("[MASK]"), Some("<mask>")), "glass <mask> froze");
        assert_eq!(with_mask(text(), Some("[MASK]"), Some("[MASK]")), text());
        assert_eq!(with_mask(text(), Some("[MASK]"), None), "glass  froze");
        assert_eq!(with_mask(text(), None, Some("<mask>")), text());
    }
}
