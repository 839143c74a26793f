//! Self-paced selection: which queries learn from dark examples, and when.
//!
//! A share `k(e)` of the training queries, those about which the teacher is surest, trains on dark examples at epoch `e`; the
//! share grows until all do. What happens to the others is the mode.

use super::confidence::confidence;
use super::random::KeyedRandom;
use serde::{Deserialize, Serialize};

/// What a query's weight `v` in 0..=1 does to its loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PacingMode {
    /// The unselected distil on their natural candidates only.
    Natural,
    /// The unselected keep the contrastive loss alone.
    CeOnly,
    /// The unselected are left out of the step's loss.
    Drop,
    /// Nobody is unselected: each query's weight is its confidence, so the loss blends both distillations.
    Weight,
    /// Selected by `threshold` on the margin instead of a share; the unselected as in `natural`.
    Fixed,
}

/// By what the selected share is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PacingOrder {
    /// Highest margin first.
    Margin,
    /// A random order of the queries: as many selected as by margin, so a comparison shows what choosing by confidence is
    /// worth.
    Random,
}

/// Settings of self-paced selection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PacingConfig {
    /// Off means that every query is selected from the start.
    pub enabled: bool,
    /// What happens to the unselected.
    pub mode: PacingMode,
    /// By margin or at random.
    pub order: PacingOrder,
    /// `k0`, the share at the start, in 0..=1.
    pub start: f64,
    /// `E_g / epochs`, the part of training after which every query is selected, in 0..=1.
    pub full_after: f64,
    /// The margin from which on a query is selected in mode `fixed`, in logits.
    pub threshold: f64,
}

impl Default for PacingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: PacingMode::Natural,
            order: PacingOrder::Margin,
            start: 0.5,
            full_after: 0.5,
            threshold: 0.0,
        }
    }
}

/// Factors on the terms of one query's loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Treatment {
    /// On the contrastive term.
    pub contrastive: f32,
    /// On the distillation over natural candidates only.
    pub natural: f32,
    /// On the distillation over natural and dark candidates.
    pub dark: f32,
}

/// The outcome for all queries of an epoch (or of a step).
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// `v` of each query, in the order given.
    pub weights: Vec<f32>,
    /// Share of the queries with `v > 0`; in mode `weight` the mean of `v`.
    pub share: f64,
    /// Mean confidence of all queries.
    pub mean_confidence: f64,
    /// Mean confidence of the selected queries; 0 when there are none.
    pub selected_confidence: f64,
}

/// All queries of an epoch in the order in which they are selected.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    enabled: bool,
    /// Of each query.
    position: Vec<usize>,
    /// `sums[n]` is the confidence of the first `n`.
    sums: Vec<f64>,
    /// `v` of each query in mode `weight`.
    weights: Option<Vec<f32>>,
    /// How many are selected, whatever the share, in mode `fixed`.
    fixed: Option<usize>,
}

impl Ranking {
    /// How many queries are selected.
    fn count(&self, share: f64) -> usize {
        let all = self.position.len();
        match self.fixed {
            _ if !self.enabled || self.weights.is_some() => all,
            Some(count) => count,
            None => ((share.clamp(0.0, 1.0) * all as f64).round() as usize).min(all),
        }
    }

    /// `v` of a query.
    pub fn weight(&self, query: usize, share: f64) -> f32 {
        match &self.weights {
            Some(weights) => weights[query],
            None => f32::from(u8::from(self.position[query] < self.count(share))),
        }
    }

    /// Share selected (in mode `weight` the mean of `v`), mean confidence of all, mean confidence of the selected (0 for none).
    pub fn summary(&self, share: f64) -> (f64, f64, f64) {
        let all = self.position.len().max(1) as f64;
        let sum = self.sums.last().copied().unwrap_or_default();
        let count = self.count(share);
        let selected = if count == 0 { 0.0 } else { self.sums[count] / count as f64 };
        let share = if self.weights.is_some() { sum / all } else { count as f64 / all };
        (share, sum / all, selected)
    }

    fn select(&self, share: f64) -> Selection {
        let weights = (0..self.position.len()).map(|query| self.weight(query, share)).collect();
        let (share, mean_confidence, selected_confidence) = self.summary(share);
        Selection { weights, share, mean_confidence, selected_confidence }
    }
}

impl PacingConfig {
    /// What is wrong with these settings, as a sentence; nothing when all is well.
    pub fn problem(&self) -> Option<String> {
        for (name, value) in [("start", self.start), ("full_after", self.full_after)] {
            if !(0.0..=1.0).contains(&value) {
                return Some(format!("`{name}` must lie in 0..=1, and is {value}"));
            }
        }
        if self.threshold.is_nan() {
            return Some("`threshold` must be a number".to_owned());
        }
        None
    }

    /// `k(e)`: the share of queries selected at epoch `e` of `epochs` (fractions of an epoch are welcome), in 0..=1.
    pub fn share(&self, e: f64, epochs: f64) -> f64 {
        if !self.enabled {
            return 1.0;
        }
        let full = self.full_after * epochs;
        let progress = if full > 0.0 { (e / full).max(0.0) } else { 1.0 };
        (self.start + (1.0 - self.start) * progress).clamp(0.0, 1.0)
    }

    /// Ranks all training queries, once an epoch. `margins` are the teacher's, over natural candidates; ties go to the lower id, so
    /// the order in which queries are given does not matter.
    pub fn rank(&self, seed: u64, query_ids: &[&str], margins: &[f32]) -> Ranking {
        let n = query_ids.len().min(margins.len());
        let confidences: Vec<f32> = margins[..n].iter().map(|&m| confidence(m)).collect();
        let order = if self.enabled { self.ranking(seed, query_ids, margins, n) } else { (0..n).collect() };
        let mut position = vec![0; n];
        let mut sums = vec![0.0];
        for (at, &query) in order.iter().enumerate() {
            position[query] = at;
            sums.push(sums[at] + f64::from(confidences[query]));
        }
        let weights = match (self.enabled, self.mode, self.order) {
            (true, PacingMode::Weight, PacingOrder::Margin) => Some(confidences),
            (true, PacingMode::Weight, PacingOrder::Random) => {
                // The same weights, dealt to other queries.
                let mut sorted = confidences;
                sorted.sort_by(|a, b| b.total_cmp(a));
                Some(position.iter().map(|&at| sorted[at]).collect())
            }
            _ => None,
        };
        let above = margins[..n].iter().filter(|&&m| f64::from(m) >= self.threshold).count();
        let fixed = (self.enabled && self.mode == PacingMode::Fixed).then_some(above);
        Ranking { enabled: self.enabled, position, sums, weights, fixed }
    }

    /// Selects among all training queries; see [`PacingConfig::rank`]. With the same margins, who is selected stays selected.
    pub fn select(&self, seed: u64, share: f64, query_ids: &[&str], margins: &[f32]) -> Selection {
        self.rank(seed, query_ids, margins).select(share)
    }

    /// Places of the queries, the first to be selected first.
    fn ranking(&self, seed: u64, query_ids: &[&str], margins: &[f32], n: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (0..n).collect();
        match self.order {
            PacingOrder::Margin => {
                // A margin that is no number must come last, wherever `total_cmp` would put it.
                let value = |place: usize| if margins[place].is_nan() { f32::NEG_INFINITY } else { margins[place] };
                places.sort_by(|&a, &b| {
                    value(b).total_cmp(&value(a)).then_with(|| query_ids[a].cmp(query_ids[b])).then(a.cmp(&b))
                });
            }
            PacingOrder::Random => {
                // Keyed by the query alone: the subset grows with the share, as the one by margin does.
                places.sort_by_cached_key(|&place| {
                    let id = query_ids[place];
                    (KeyedRandom::new("pacing", seed, &[id.as_bytes()]).bits(), id, place)
                });
            }
        }
        places
    }

    /// The factors for a query of weight `v`.
    pub fn treatment(&self, v: f32) -> Treatment {
        let v = v.clamp(0.0, 1.0);
        match self.mode {
            PacingMode::Natural | PacingMode::Weight | PacingMode::Fixed => {
                Treatment { contrastive: 1.0, natural: 1.0 - v, dark: v }
            }
            PacingMode::CeOnly => Treatment { contrastive: 1.0, natural: 0.0, dark: v },
            PacingMode::Drop => Treatment { contrastive: v, natural: 0.0, dark: v },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_share_grows_from_start_to_all_by_half_of_training() {
        let pacing = PacingConfig::default();
        assert_eq!(pacing.share(0.0, 4.0), 0.5);
        assert_eq!(pacing.share(1.0, 4.0), 0.75);
        assert_eq!(pacing.share(2.0, 4.0), 1.0);
        assert_eq!(pacing.share(4.0, 4.0), 1.0);
        let off = PacingConfig { enabled: false, ..PacingConfig::default() };
        assert_eq!(off.share(0.0, 4.0), 1.0);
        let at_once = PacingConfig { full_after: 0.0, ..PacingConfig::default() };
        assert_eq!(at_once.share(0.0, 4.0), 1.0);
    }

    #[test]
    fn the_surest_half_is_selected() {
        let pacing = PacingConfig::default();
        let chosen = pacing.select(1, 0.5, &["a", "b", "c", "d"], &[1.0, 3.0, f32::NAN, 2.0]);
        assert_eq!(chosen.weights, vec![0.0, 1.0, 0.0, 1.0]);
        assert_eq!(chosen.share, 0.5);
        assert!(chosen.selected_confidence > 0.85);
        let ties = pacing.select(1, 0.5, &["b", "a"], &[1.0, 1.0]);
        assert_eq!(ties.weights, vec![0.0, 1.0]);
    }

    #[test]
    fn modes_differ_in_what_becomes_of_the_unselected() {
        let with = |mode| PacingConfig { mode, ..PacingConfig::default() };
        let terms = |mode, v| {
            let t = with(mode).treatment(v);
            (t.contrastive, t.natural, t.dark)
        };
        assert_eq!(terms(PacingMode::Natural, 1.0), (1.0, 0.0, 1.0));
        assert_eq!(terms(PacingMode::Natural, 0.0), (1.0, 1.0, 0.0));
        assert_eq!(terms(PacingMode::CeOnly, 0.0), (1.0, 0.0, 0.0));
        assert_eq!(terms(PacingMode::Drop, 0.0), (0.0, 0.0, 0.0));
        assert_eq!(terms(PacingMode::Weight, 0.25), (1.0, 0.75, 0.25));
        let fixed = PacingConfig { mode: PacingMode::Fixed, threshold: 2.0, ..PacingConfig::default() };
        let chosen = fixed.select(1, 0.0, &["a", "b", "c"], &[1.0, 2.0, 3.0]);
        assert_eq!(chosen.weights, vec![0.0, 1.0, 1.0]);
    }

    #[test]
    fn wrong_settings_are_named_and_unknown_keys_refused() {
        let wrong = PacingConfig { start: 1.5, ..PacingConfig::default() };
        assert!(wrong.problem().is_some_and(|p| p.contains("start")));
        assert_eq!(PacingConfig::default().problem(), None);
        let read: PacingConfig = toml::from_str("mode = \"ce-only\"\norder = \"random\"").unwrap();
        assert_eq!(read.mode, PacingMode::CeOnly);
        assert!(toml::from_str::<PacingConfig>("k0 = 1").is_err());
    }

    proptest! {
        #[test]
        fn random_selects_as_many_as_margin_and_both_are_nested(
            margins in prop::collection::vec(-10f32..10.0, 0..60), seed in any::<u64>(), low in 0f64..1.0, more in 0f64..1.0
        ) {
            let ids: Vec<String> = (0..margins.len()).map(|i| format!("q{i}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let high = (low + more).min(1.0);
            for mode in [PacingMode::Natural, PacingMode::Fixed, PacingMode::Weight] {
                let by_margin = PacingConfig { mode, ..PacingConfig::default() };
                let random = PacingConfig { order: PacingOrder::Random, ..by_margin.clone() };
                let a = by_margin.select(seed, low, &ids, &margins);
                let b = random.select(seed, low, &ids, &margins);
                prop_assert!((a.share - b.share).abs() < 1e-9);
                for pacing in [by_margin, random] {
                    let few = pacing.select(seed, low, &ids, &margins);
                    let many = pacing.select(seed, high, &ids, &margins);
                    prop_assert!(few.weights.iter().zip(&many.weights).all(|(f, m)| f <= m));
                    prop_assert!(few.weights.iter().all(|v| (0.0..=1.0).contains(v)));
                }
            }
        }

        #[test]
        fn selection_does_not_depend_on_the_order_of_the_queries(
            margins in prop::collection::vec(-3i8..3, 1..40), seed in any::<u64>(), share in 0f64..1.0, random in any::<bool>()
        ) {
            let order = if random { PacingOrder::Random } else { PacingOrder::Margin };
            let pacing = PacingConfig { order, ..PacingConfig::default() };
            let margins: Vec<f32> = margins.into_iter().map(f32::from).collect();
            let ids: Vec<String> = (0..margins.len()).map(|i| format!("q{i}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let forward = pacing.select(seed, share, &ids, &margins).weights;
            let (mut back_ids, mut back_margins) = (ids.clone(), margins.clone());
            back_ids.reverse();
            back_margins.reverse();
            let mut backward = pacing.select(seed, share, &back_ids, &back_margins).weights;
            backward.reverse();
            prop_assert_eq!(forward, backward);
        }
    }
}
