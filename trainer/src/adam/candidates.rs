//! Which of a query's mined passages a step sees.

use super::random::KeyedRandom;
use serde::{Deserialize, Serialize};

/// How natural negatives are drawn from the mined ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// The best-ranked of the window, the same in every epoch.
    Top,
    /// Uniformly from the window.
    Random,
    /// Spread over the teacher's score range: as many strata of equal width as negatives wanted, one from each, round and
    /// round. The strongest simple rival of dark examples, made of natural passages.
    Stratified,
}

/// Settings of candidate sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CandidateConfig {
    /// Natural negatives per query and step.
    pub negatives: usize,
    /// Labelled positives of a query that its list holds, the one that the contrastive term asks for included.
    #[serde(skip_serializing_if = "is_one")]
    pub positives: usize,
    /// How negatives are drawn.
    pub sampling: Sampling,
    /// First mined rank that may be drawn, counted from 1.
    pub from_rank: usize,
    /// Last mined rank that may be drawn.
    pub to_rank: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde asks for
fn is_one(count: &usize) -> bool {
    *count == 1
}

impl Default for CandidateConfig {
    fn default() -> Self {
        Self { negatives: 15, positives: 1, sampling: Sampling::Random, from_rank: 1, to_rank: 200 }
    }
}

impl CandidateConfig {
    /// What is wrong with these settings, as a sentence; nothing when all is well.
    pub fn problem(&self) -> Option<String> {
        if self.from_rank == 0 || self.from_rank > self.to_rank {
            return Some(format!(
                "the window of ranks must start at 1 or later and end no earlier, and is {}..={}",
                self.from_rank, self.to_rank
            ));
        }
        if self.positives == 0 || self.positives > 4096 {
            return Some(format!("`positives` must lie in 1..=4096, and is {}", self.positives));
        }
        (self.negatives > 4096).then(|| "`negatives` may be 4096 at most".to_owned())
    }
}

/// A mined negative of a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The passage's number.
    pub passage: u32,
    /// Its rank among the query's mined passages, counted from 1.
    pub rank: usize,
    /// The teacher's raw logit, where it is known.
    pub teacher: Option<f32>,
}

/// Draws the negatives of a query for an epoch: places in `pool`, highest teacher score first (by rank where there is no
/// score), no place twice, fewer than asked only where the window holds fewer.
///
/// A candidate without a finite score is drawn by `stratified` only when those that have one do not suffice.
pub fn sample(config: &CandidateConfig, seed: u64, epoch: u32, query_id: &str, pool: &[Candidate]) -> Vec<usize> {
    let mut window: Vec<usize> =
        (0..pool.len()).filter(|&place| (config.from_rank..=config.to_rank).contains(&pool[place].rank)).collect();
    window.sort_by_key(|&place| (pool[place].rank, pool[place].passage, place));
    let parts: [&[u8]; 2] = [query_id.as_bytes(), &epoch.to_le_bytes()];
    let mut random = KeyedRandom::new("candidates", seed, &parts);
    let mut drawn: Vec<usize> = match config.sampling {
        Sampling::Top => window.into_iter().take(config.negatives).collect(),
        Sampling::Random => random.distinct(window.len(), config.negatives).into_iter().map(|i| window[i]).collect(),
        Sampling::Stratified => stratified(config.negatives, pool, window, &mut random),
    };
    let score = |place: usize| pool[place].teacher.filter(|t| t.is_finite());
    drawn.sort_by(|&a, &b| {
        let by_score = match (score(a), score(b)) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        by_score.then(pool[a].rank.cmp(&pool[b].rank)).then(a.cmp(&b))
    });
    drawn
}

fn stratified(wanted: usize, pool: &[Candidate], window: Vec<usize>, random: &mut KeyedRandom) -> Vec<usize> {
    let score = |place: usize| pool[place].teacher.filter(|t| t.is_finite());
    let (scored, unscored): (Vec<usize>, Vec<usize>) = window.into_iter().partition(|&place| score(place).is_some());
    let values = || scored.iter().filter_map(|&place| score(place)).map(f64::from);
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    let count = wanted.max(1);
    let mut strata: Vec<Vec<usize>> = vec![Vec::new(); count];
    for &place in &scored {
        let position =
            if high > low { (f64::from(score(place).unwrap_or_default()) - low) / (high - low) } else { 0.0 };
        strata[((position * count as f64) as usize).min(count - 1)].push(place);
    }
    // The order inside a stratum is drawn; the highest stratum is visited first in each round.
    for stratum in &mut strata {
        random.shuffle(stratum);
    }
    let mut drawn = Vec::with_capacity(wanted.min(scored.len()));
    while drawn.len() < wanted && strata.iter().any(|s| !s.is_empty()) {
        for stratum in strata.iter_mut().rev() {
            if drawn.len() < wanted
                && let Some(place) = stratum.pop()
            {
                drawn.push(place);
            }
        }
    }
    let missing = wanted.saturating_sub(drawn.len());
    drawn.extend(random.distinct(unscored.len(), missing).into_iter().map(|i| unscored[i]));
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(scores: &[f32]) -> Vec<Candidate> {
        scores
            .iter()
            .enumerate()
            .map(|(i, &teacher)| Candidate { passage: i as u32 * 10, rank: i + 1, teacher: Some(teacher) })
            .collect()
    }

    fn config(sampling: Sampling, negatives: usize) -> CandidateConfig {
        CandidateConfig { negatives, sampling, ..CandidateConfig::default() }
    }

    #[test]
    fn top_takes_the_best_ranks_of_the_window() {
        let settings = CandidateConfig { from_rank: 2, to_rank: 4, ..config(Sampling::Top, 2) };
        // Ranks 2 and 3, the higher teacher score first.
        assert_eq!(sample(&settings, 0, 0, "q", &pool(&[9.0, 1.0, 2.0, 3.0, 4.0])), vec![2, 1]);
    }

    #[test]
    fn strata_cover_the_range_where_random_draws_crowd() {
        // 97 scores near 0 and one each at 3, 6, 9.
        let mut scores: Vec<f32> = (0..97).map(|i| i as f32 * 0.001).collect();
        scores.extend([3.0, 6.0, 9.0]);
        for epoch in 0..20 {
            let drawn = sample(&config(Sampling::Stratified, 4), 0, epoch, "q", &pool(&scores));
            assert_eq!(&drawn[..3], &[99, 98, 97]);
        }
    }

    #[test]
    fn candidates_without_a_score_fill_up() {
        let mut pool = pool(&[1.0, 2.0, f32::NAN]);
        pool.push(Candidate { passage: 7, rank: 4, teacher: None });
        assert_eq!(sample(&config(Sampling::Stratified, 4), 0, 0, "q", &pool), vec![1, 0, 2, 3]);
    }

    #[test]
    fn a_window_that_is_none_is_named() {
        let wrong = CandidateConfig { from_rank: 5, to_rank: 4, ..CandidateConfig::default() };
        assert!(wrong.problem().is_some_and(|p| p.contains("5..=4")));
        assert_eq!(CandidateConfig::default().problem(), None);
    }

    proptest! {
        #[test]
        fn draws_are_distinct_complete_sorted_and_deterministic(
            scores in prop::collection::vec(prop::option::of(-20f32..20.0), 0..60),
            sampling in prop::sample::select(vec![Sampling::Top, Sampling::Random, Sampling::Stratified]),
            negatives in 0usize..30, from_rank in 1usize..20, width in 0usize..60, seed in any::<u64>(), epoch in 0u32..4,
        ) {
            let pool: Vec<Candidate> = scores
                .iter()
                .enumerate()
                .map(|(i, &teacher)| Candidate { passage: i as u32, rank: i + 1, teacher })
                .collect();
            let settings = CandidateConfig { negatives, positives: 1, sampling, from_rank, to_rank: from_rank + width };
            let drawn = sample(&settings, seed, epoch, "q", &pool);
            prop_assert_eq!(&drawn, &sample(&settings, seed, epoch, "q", &pool));
            let window = pool.iter().filter(|c| c.rank >= from_rank && c.rank <= from_rank + width).count();
            prop_assert_eq!(drawn.len(), negatives.min(window));
            let mut places = drawn.clone();
            places.sort_unstable();
            places.dedup();
            prop_assert_eq!(places.len(), drawn.len());
            let value = |place: usize| pool[place].teacher.unwrap_or(f32::NEG_INFINITY);
            prop_assert!(drawn.windows(2).all(|w| value(w[0]) >= value(w[1])));
        }
    }
}
