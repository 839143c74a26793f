//! What the teacher says of a query's list: the cross-encoder's raw logits, or the fusion of its voices.

use super::context::Context;
use super::round::Round;
use super::score::{cache_path, cache_teacher};
use super::scorer::{Pair, Scorer};
use super::voices::{Voices, Wanted};
use crate::adam::fusion::Fusion;
use crate::data::scores::{ScoreCache, score_key};
use crate::error::TrainError;
use std::path::Path;
use std::sync::atomic::Ordering;

/// The teacher's scores, as far as they are known.
pub(crate) struct TeacherScores<'a> {
    context: &'a Context<'a>,
    pub(crate) cache: ScoreCache,
    /// Names the cross-encoder in the cache.
    teacher: String,
    /// None: the cross-encoder alone.
    pub(crate) voices: Option<Voices>,
    /// How voices are added.
    pub(crate) fusion: Fusion,
}

/// Pairs scored between two flushes of the cache, after each of which a run can be stopped.
fn chunk(context: &Context<'_>) -> usize {
    if context.machine.device.is_cuda() { 16_384 } else { 512 }
}

impl<'a> TeacherScores<'a> {
    /// Opens the cache, and the voices where there are some.
    ///
    /// # Errors
    /// When the cache or a voice cannot be used.
    pub(crate) fn open(
        context: &'a Context<'a>,
        round: &Round,
        teacher_key: &str,
        fusion: Fusion,
    ) -> Result<Self, TrainError> {
        let teacher = cache_teacher(context, teacher_key);
        let cache = ScoreCache::open(&cache_path(context), &teacher)?;
        let voices = if context.config.teacher.voices.is_empty() {
            None
        } else {
            Some(Voices::open(context, round, teacher_key)?)
        };
        Ok(Self { context, cache, teacher, voices, fusion })
    }

    /// Whether scores are relative to their list.
    pub(crate) fn is_fused(&self) -> bool {
        self.voices.is_some()
    }

    /// Scores of a query's list, and of made passages on the same scale; nothing where one is not known.
    pub(crate) fn of(&self, list: &[Wanted], made: &[Wanted]) -> Option<(Vec<f32>, Vec<f32>)> {
        match &self.voices {
            Some(voices) => voices.fuse(&self.fusion, self.context, &self.cache, list, made),
            None => {
                let known = |pairs: &[Wanted]| pairs.iter().map(|pair| self.logit(pair)).collect::<Option<Vec<f32>>>();
                Some((known(list)?, known(made)?))
            }
        }
    }

    /// The cross-encoder's logit of a pair.
    pub(crate) fn logit(&self, pair: &Wanted) -> Option<f32> {
        self.cache.get(&score_key(&self.teacher, self.context.query_text(pair.query), &pair.tokens))
    }

    /// Has what is missing scored, and kept.
    ///
    /// # Errors
    /// What a voice says; [`TrainError::Interrupted`] when the stop flag is set. What was scored is kept.
    pub(crate) fn ask(
        &mut self,
        scorer: Option<&Scorer>,
        wanted: &[Wanted],
        folder: &Path,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), TrainError> {
        if let Some(voices) = &self.voices {
            return voices.ask(self.context, scorer, &mut self.cache, wanted, folder, done);
        }
        let scorer = scorer.ok_or_else(|| TrainError::internal("a cross-encoder was not opened"))?;
        let missing: Vec<&Wanted> = wanted.iter().filter(|pair| self.logit(pair).is_none()).collect();
        for chunk in missing.chunks(chunk(self.context)) {
            let pairs: Vec<Pair<'_>> =
                chunk.iter().map(|pair| Pair { query: pair.query, passage: &pair.tokens }).collect();
            let scores = scorer.score(self.context, &pairs)?;
            for (pair, score) in chunk.iter().zip(scores) {
                let key = score_key(&self.teacher, self.context.query_text(pair.query), &pair.tokens);
                self.cache.insert(key, score)?;
            }
            self.cache.flush()?;
            done(chunk.len());
            if self.context.stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted);
            }
        }
        Ok(())
    }
}
