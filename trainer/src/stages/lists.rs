//! Which candidates a query has in an epoch: its positive, its natural negatives, its dark examples.
//!
//! All of it is a function of the configuration, the seed, the query and the epoch, so scoring and distillation, run apart, see the
//! same lists.

use super::teacher_scores::TeacherScores;
use super::voices::{Scored, Wanted};
use crate::adam::candidates::{Candidate, Sampling, sample};
use crate::adam::dark::SpecialTokens;
use crate::adam::dark::{DarkExample, DarkInput, DarkKind, fill_range, make_for};
use crate::adam::random::KeyedRandom;
use crate::config::Config;
use crate::data::TrainQuery;
use crate::data::tokens::TokenStore;
use crate::error::TrainError;
use std::collections::HashMap;

/// A query's candidates in an epoch, with the teacher's raw logits.
#[derive(Clone, Debug)]
pub(crate) struct QueryList {
    pub(crate) positive: (u32, f32),
    /// Further labelled positives.
    pub(crate) others: Vec<(u32, f32)>,
    /// Best teacher score first.
    pub(crate) natural: Vec<(u32, f32)>,
    pub(crate) dark: Vec<(DarkExample, f32)>,
}

impl QueryList {
    /// Its passages of the data: the positive, further positives, natural negatives.
    pub(crate) fn passages(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::once(self.positive.0).chain(self.others.iter().chain(&self.natural).map(|n| n.0))
    }

    /// Logits of the positive and the natural negatives.
    pub(crate) fn natural_logits(&self) -> (f32, Vec<f32>) {
        (self.positive.1, self.natural.iter().map(|n| n.1).collect())
    }
}

/// What lists are made from.
pub(crate) struct Lists<'a> {
    pub(crate) config: &'a Config,
    pub(crate) queries: &'a [TrainQuery],
    /// Content tokens of the queries, without prompt.
    pub(crate) query_tokens: &'a TokenStore,
    /// Content tokens of the passages, without prompt.
    pub(crate) passage_tokens: &'a TokenStore,
    /// Mined candidates of each query, by rank.
    pub(crate) pools: Vec<Vec<Candidate>>,
    pub(crate) special: &'a SpecialTokens,
    /// Most content tokens of a passage that both models read.
    pub(crate) cap: usize,
}

impl Lists<'_> {
    /// A passage's content tokens as both models read them.
    pub(crate) fn passage(&self, passage: u32) -> &[u32] {
        let tokens = self.passage_tokens.get(passage as usize);
        &tokens[..tokens.len().min(self.cap)]
    }

    /// The positive of an epoch: all of a query's take turns, from a drawn one on.
    pub(crate) fn positive(&self, query: usize, epoch: u32) -> u32 {
        positive_of(&self.queries[query], self.config.run.distil_seed(), epoch)
    }

    /// Passages of which the teacher's score must be known before the list can be made: with stratified sampling all that may be
    /// drawn, else what is drawn.
    pub(crate) fn needed(&self, query: usize, epoch: u32) -> Vec<u32> {
        let mut needed = vec![self.positive(query, epoch)];
        needed.extend(self.other_positives(query, epoch));
        let pool = &self.pools[query];
        if self.config.candidates.sampling == Sampling::Stratified {
            needed.extend(self.window(query));
        } else {
            needed.extend(self.draw(query, epoch, pool).into_iter().map(|place| pool[place].passage));
        }
        needed
    }

    /// Passages that may be drawn.
    fn window(&self, query: usize) -> impl Iterator<Item = u32> + '_ {
        let window = self.config.candidates.from_rank..=self.config.candidates.to_rank;
        self.pools[query].iter().filter(move |c| window.contains(&c.rank)).map(|c| c.passage)
    }

    /// Further labelled positives that join the list of an epoch.
    fn other_positives(&self, query: usize, epoch: u32) -> Vec<u32> {
        let first = self.positive(query, epoch);
        let others = self.queries[query].positives.iter().copied().filter(|&p| p != first);
        others.take(self.config.candidates.positives.saturating_sub(1)).collect()
    }

    fn draw(&self, query: usize, epoch: u32, pool: &[Candidate]) -> Vec<usize> {
        sample(&self.config.candidates, self.config.run.distil_seed(), epoch, &self.queries[query].id, pool)
    }

    /// A passage of the data as the teacher is asked for it.
    pub(crate) fn wanted(&self, query: usize, passage: u32) -> Wanted {
        Wanted { query, passage: Scored::Passage(passage), tokens: self.passage(passage).to_vec() }
    }

    /// A made passage as the teacher is asked for it.
    pub(crate) fn wanted_made(query: usize, tokens: &[u32]) -> Wanted {
        Wanted { query, passage: Scored::Made(tokens.to_vec()), tokens: tokens.to_vec() }
    }

    /// The mined candidates with what sampling has to know of the teacher.
    fn known_pool(&self, teacher: &TeacherScores<'_>, query: usize, positive: u32) -> Option<Vec<Candidate>> {
        let pool = &self.pools[query];
        if !teacher.is_fused() {
            let known = |c: &Candidate| teacher.logit(&self.wanted(query, c.passage));
            return Some(pool.iter().map(|c| Candidate { teacher: known(c), ..*c }).collect());
        }
        if self.config.candidates.sampling != Sampling::Stratified {
            return Some(pool.clone());
        }
        // Fused scores are relative to a list: here, all that may be drawn.
        let passages: Vec<u32> = std::iter::once(positive).chain(self.window(query)).collect();
        let wanted: Vec<Wanted> = passages.iter().map(|&p| self.wanted(query, p)).collect();
        let scores: HashMap<u32, f32> = passages.into_iter().zip(teacher.of(&wanted, &[])?.0).collect();
        Some(pool.iter().map(|c| Candidate { teacher: scores.get(&c.passage).copied(), ..*c }).collect())
    }

    /// The positives and the natural negatives, with scores; none where a score is missing.
    pub(crate) fn natural(&self, teacher: &TeacherScores<'_>, query: usize, epoch: u32) -> Option<QueryList> {
        let positive = self.positive(query, epoch);
        let others = self.other_positives(query, epoch);
        let pool = self.known_pool(teacher, query, positive)?;
        let drawn = self.draw(query, epoch, &pool).into_iter().map(|place| pool[place].passage);
        let passages: Vec<u32> = std::iter::once(positive).chain(others.iter().copied()).chain(drawn).collect();
        let wanted: Vec<Wanted> = passages.iter().map(|&p| self.wanted(query, p)).collect();
        let scored: Vec<(u32, f32)> = passages.into_iter().zip(teacher.of(&wanted, &[])?.0).collect();
        let mut natural = scored[1 + others.len()..].to_vec();
        if teacher.is_fused() {
            natural.sort_by(|a, b| b.1.total_cmp(&a.1));
        }
        Some(QueryList { positive: scored[0], others: scored[1..=others.len()].to_vec(), natural, dark: Vec::new() })
    }

    /// Makes the dark examples that go with a list, `oversample` times as many as wanted.
    pub(crate) fn make_dark(&self, query: usize, epoch: u32, list: &QueryList) -> Vec<DarkExample> {
        let negatives: Vec<&[u32]> = list.natural.iter().map(|n| self.passage(n.0)).collect();
        let others: Vec<&[u32]> =
            self.queries[query].positives.iter().filter(|&&p| p != list.positive.0).map(|&p| self.passage(p)).collect();
        let input = DarkInput {
            query_id: &self.queries[query].id,
            query: self.query_tokens.get(query),
            positive: self.passage(list.positive.0),
            negatives: &negatives,
            other_positives: &others,
            budget: self.cap,
        };
        make_for(&self.config.dark, self.special, self.config.run.distil_seed(), epoch, &input)
    }

    /// The whole list of a query; every score must be known.
    ///
    /// # Errors
    /// When a score is missing: the score stage has not run with these settings.
    pub(crate) fn full(&self, teacher: &TeacherScores<'_>, query: usize, epoch: u32) -> Result<QueryList, TrainError> {
        let missing = || {
            TrainError::internal(format!(
                "the teacher's score of a candidate of query {} is missing; run the score stage again",
                self.queries[query].id
            ))
        };
        let mut list = self.natural(teacher, query, epoch).ok_or_else(missing)?;
        let made = self.make_dark(query, epoch, &list);
        if !made.is_empty() {
            let natural: Vec<Wanted> = list.passages().map(|passage| self.wanted(query, passage)).collect();
            let wanted: Vec<Wanted> = made.iter().map(|example| Self::wanted_made(query, &example.tokens)).collect();
            let (_, scores) = teacher.of(&natural, &wanted).ok_or_else(missing)?;
            list.dark = self.keep(&list, made.into_iter().zip(scores).collect());
        }
        let dark = &self.config.dark;
        let kept = dark.natural_kept(list.natural.len(), list.dark.len());
        list.natural.truncate(kept);
        Ok(list)
    }

    /// With more dark examples than wanted, those that fill the gap between the best negative and the positive.
    fn keep(&self, list: &QueryList, made: Vec<(DarkExample, f32)>) -> Vec<(DarkExample, f32)> {
        let dark = &self.config.dark;
        if dark.oversample <= 1 {
            return made;
        }
        let low = list.natural.first().map_or(list.positive.1, |n| n.1);
        let mut kept = Vec::new();
        for (kind, wanted) in [(DarkKind::Reinforced, dark.reinforced), (DarkKind::Noisy, dark.noisy)] {
            let of_kind: Vec<&(DarkExample, f32)> = made.iter().filter(|d| d.0.kind == kind).collect();
            let scores: Vec<f32> = of_kind.iter().map(|d| d.1).collect();
            kept.extend(fill_range(&scores, low, list.positive.1, wanted).into_iter().map(|i| of_kind[i].clone()));
        }
        kept
    }
}

/// The positive of an epoch.
pub(crate) fn positive_of(query: &TrainQuery, seed: u64, epoch: u32) -> u32 {
    let count = query.positives.len().max(1);
    let first = KeyedRandom::new("positive", seed, &[query.id.as_bytes()]).below(count);
    query.positives.get((first + epoch as usize) % count).copied().unwrap_or_default()
}
