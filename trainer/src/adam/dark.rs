//! Dark examples: passages of middling relevance, made in token space.
//!
//! Two families. A *reinforced negative* is a negative into which part of the positive was mixed; a *noisy positive* is the
//! positive with part of it hidden. A teacher that is almost certain about every mined passage spreads its probability over
//! these, and that spread is what the student learns from.
//!
//! Everything here works on content token ids, without `[CLS]`, `[SEP]` or padding; whoever encodes them adds those. Teacher
//! and student must read the same text: with two different tokenizers, the student's ids are written out and read by the teacher.
//!
//! The share, the operators and the counts are choices of this project, each a setting.

use super::random::KeyedRandom;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// How part of the positive enters a negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MixOperator {
    /// A contiguous span of the positive, inserted at a random boundary of the negative.
    Splice,
    /// A contiguous span of the positive, before or after the negative (a coin decides).
    Concat,
    /// Each position takes the positive's token with the drawn share as its probability.
    Token,
}

/// How part of the positive is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskOperator {
    /// Scattered tokens are replaced by the mask token.
    Mask,
    /// One contiguous stretch is replaced by mask tokens.
    Span,
    /// Scattered tokens are left out: for models without a mask token.
    Delete,
}

/// Whether dark examples come on top of the natural negatives or in place of some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// On top: the step costs more.
    Added,
    /// In place of the natural negatives with the lowest teacher score: the step costs the same.
    Swapped,
}

/// Which of the query's negatives are reinforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NegativeChoice {
    /// In the order given, which is the teacher's, best first.
    Teacher,
    /// Drawn without replacement.
    Random,
}

/// When dark examples are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Fresh ones each epoch.
    EachEpoch,
    /// The same ones in every epoch: cheaper, since the teacher scores them once.
    Once,
}

/// A share drawn uniformly from `low..high`; `low == high` fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRange {
    /// Smallest share, in 0..=1.
    pub low: f64,
    /// Largest share, in 0..=1, at least `low`.
    pub high: f64,
}

/// Settings of dark examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DarkConfig {
    /// Reinforced negatives per query, |R|.
    pub reinforced: usize,
    /// Noisy positives per query, |P|.
    pub noisy: usize,
    /// How a negative is reinforced.
    pub mix: MixOperator,
    /// Share of the positive that is mixed in.
    pub mix_share: ShareRange,
    /// How a positive is made noisy.
    pub mask: MaskOperator,
    /// Share of the positive that is hidden.
    pub mask_share: ShareRange,
    /// How much likelier a token that also occurs in the query is to be hidden: 0 is no difference, 1 twice as likely.
    /// `span` ignores it.
    pub query_bias: f64,
    /// Added to the natural negatives or swapped for some.
    pub placement: Placement,
    /// Which negatives are reinforced.
    pub negatives: NegativeChoice,
    /// Fresh each epoch or made once.
    pub refresh: Refresh,
    /// Adaptive construction: this many times the wanted number is made, and after the teacher scored them
    /// [`fill_range`] keeps those that fill the empty score range. 1 is off.
    pub oversample: usize,
}

impl Default for DarkConfig {
    fn default() -> Self {
        Self {
            reinforced: 4,
            noisy: 4,
            mix: MixOperator::Splice,
            mix_share: ShareRange { low: 0.3, high: 0.7 },
            mask: MaskOperator::Mask,
            mask_share: ShareRange { low: 0.2, high: 0.6 },
            query_bias: 0.0,
            placement: Placement::Added,
            negatives: NegativeChoice::Teacher,
            refresh: Refresh::EachEpoch,
            oversample: 1,
        }
    }
}

impl DarkConfig {
    /// What is wrong with these settings for a tokenizer, as a sentence that names the setting; nothing when all is well.
    pub fn problem(&self, special: &SpecialTokens) -> Option<String> {
        for (name, range) in [("mix_share", self.mix_share), ("mask_share", self.mask_share)] {
            let inside = (0.0..=1.0).contains(&range.low) && (0.0..=1.0).contains(&range.high);
            if !inside || range.low > range.high {
                return Some(format!(
                    "`{name}` must lie in 0..=1 with low <= high, and is low = {}, high = {}",
                    range.low, range.high
                ));
            }
        }
        if !self.query_bias.is_finite() || self.query_bias < 0.0 {
            return Some(format!("`query_bias` must be 0 or more, and is {}", self.query_bias));
        }
        if self.oversample == 0 || self.oversample > 64 {
            return Some(format!("`oversample` must be 1 to 64, and is {}", self.oversample));
        }
        if self.reinforced > 1024 || self.noisy > 1024 {
            return Some("`reinforced` and `noisy` may be 1024 at most".to_owned());
        }
        let needs_mask = matches!(self.mask, MaskOperator::Mask | MaskOperator::Span);
        if self.noisy > 0 && needs_mask && special.mask.is_none() {
            return Some(
                "the tokenizer has no mask token, which `mask = \"mask\"` and \"span\" need: use `mask = \"delete\"`"
                    .to_owned(),
            );
        }
        None
    }

    /// How many natural negatives a step keeps out of `natural`, given how many dark examples join them.
    pub fn natural_kept(&self, natural: usize, dark: usize) -> usize {
        match self.placement {
            Placement::Added => natural,
            // At least one stays: without a natural negative there is no contrast to soften.
            Placement::Swapped => natural.saturating_sub(dark).max(natural.min(1)),
        }
    }
}

/// The tokens that are not content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// The mask token, where the tokenizer has one.
    pub mask: Option<u32>,
    /// Tokens that are never hidden (`[CLS]`, `[SEP]`, padding, unknown), should they stand in a passage.
    pub protected: Vec<u32>,
}

/// Which family a dark example belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DarkKind {
    /// A negative with part of the positive mixed in.
    Reinforced,
    /// The positive with part of it hidden.
    Noisy,
}

/// One made passage.
#[derive(Clone, Debug, PartialEq)]
pub struct DarkExample {
    /// Its family.
    pub kind: DarkKind,
    /// Content token ids, never empty, at most the budget.
    pub tokens: Vec<u32>,
    /// The share that was drawn.
    pub share: f32,
    /// The share that came out after rounding and budgeting: of the positive's tokens, how many were mixed in or hidden.
    pub realised: f32,
    /// For a reinforced negative the place of its negative in the list given; none for a noisy positive.
    pub source: Option<usize>,
}

/// What dark examples of one query are made from.
#[derive(Clone, Copy, Debug)]
pub struct DarkInput<'a> {
    /// The query's id: part of the key of the random numbers.
    pub query_id: &'a str,
    /// The query's content tokens, for `query_bias`; may be empty.
    pub query: &'a [u32],
    /// The positive's content tokens.
    pub positive: &'a [u32],
    /// The sampled negatives' content tokens, highest teacher score first.
    pub negatives: &'a [&'a [u32]],
    /// Other labelled positives of the query: never used as negatives, never to be made again.
    pub other_positives: &'a [&'a [u32]],
    /// Most content tokens a passage may have: the cap of natural passages.
    pub budget: usize,
}

/// How often a draw that equals a known passage is repeated before it is given up.
const ATTEMPTS: u32 = 4;

/// Makes the dark examples of one query; see [`make_for`], of which this is the form without a query's tokens and other
/// positives.
#[allow(clippy::too_many_arguments)] // the parts of the key and of the input, one by one
pub fn make(
    config: &DarkConfig,
    special: &SpecialTokens,
    seed: u64,
    epoch: u32,
    query_id: &str,
    positive: &[u32],
    negatives: &[&[u32]],
    budget: usize,
) -> Vec<DarkExample> {
    let input = DarkInput { query_id, query: &[], positive, negatives, other_positives: &[], budget };
    make_for(config, special, seed, epoch, &input)
}

/// Makes the dark examples of one query: first the reinforced negatives, then the noisy positives, `oversample` times as
/// many of each as configured.
///
/// Fewer come back where there is nothing to make them from (no negatives, an empty positive, no budget) or where what is
/// made equals a natural candidate, a labelled positive or an earlier dark example and stays so in several attempts.
pub fn make_for(
    config: &DarkConfig,
    special: &SpecialTokens,
    seed: u64,
    epoch: u32,
    input: &DarkInput<'_>,
) -> Vec<DarkExample> {
    let mut made = Vec::new();
    if input.positive.is_empty() || input.budget == 0 {
        return made;
    }
    let epoch = match config.refresh {
        Refresh::EachEpoch => epoch,
        Refresh::Once => 0,
    };
    let cut = |tokens: &'_ [u32]| -> Vec<u32> { tokens[..tokens.len().min(input.budget)].to_vec() };
    // What the student would see of every known passage: the first `budget` tokens.
    let mut known: HashSet<Vec<u32>> = HashSet::new();
    known.insert(cut(input.positive));
    known.extend(input.negatives.iter().map(|tokens| cut(tokens)));
    known.extend(input.other_positives.iter().map(|tokens| cut(tokens)));

    let key = |kind: DarkKind, k: usize, attempt: u32| {
        let parts: [&[u8]; 5] = [
            input.query_id.as_bytes(),
            &epoch.to_le_bytes(),
            &[kind as u8],
            &(k as u64).to_le_bytes(),
            &attempt.to_le_bytes(),
        ];
        KeyedRandom::new("dark", seed, &parts)
    };

    let sources = usable_negatives(config, seed, epoch, input);
    for k in 0..config.reinforced.saturating_mul(config.oversample) {
        let Some(&source) = sources.get(k % sources.len().max(1)) else {
            break;
        };
        for attempt in 0..ATTEMPTS {
            let mut random = key(DarkKind::Reinforced, k, attempt);
            let share = random.uniform(config.mix_share.low, config.mix_share.high);
            let (tokens, mixed) =
                reinforce(config.mix, share, input.positive, input.negatives[source], input.budget, &mut random);
            if mixed > 0 && !tokens.is_empty() && known.insert(tokens.clone()) {
                made.push(DarkExample {
                    kind: DarkKind::Reinforced,
                    tokens,
                    share: share as f32,
                    realised: mixed as f32 / input.positive.len() as f32,
                    source: Some(source),
                });
                break;
            }
        }
    }

    let positive = &input.positive[..input.positive.len().min(input.budget)];
    let weights = hiding_weights(config, special, positive, input.query);
    for k in 0..config.noisy.saturating_mul(config.oversample) {
        for attempt in 0..ATTEMPTS {
            let mut random = key(DarkKind::Noisy, k, attempt);
            let share = random.uniform(config.mask_share.low, config.mask_share.high);
            let (tokens, hidden) = obscure(config.mask, share, positive, &weights, special, &mut random);
            if hidden > 0 && !tokens.is_empty() && known.insert(tokens.clone()) {
                made.push(DarkExample {
                    kind: DarkKind::Noisy,
                    tokens,
                    share: share as f32,
                    realised: hidden as f32 / positive.len() as f32,
                    source: None,
                });
                break;
            }
        }
    }
    made
}

/// Places of the negatives that may be reinforced, in the order in which they are used.
fn usable_negatives(config: &DarkConfig, seed: u64, epoch: u32, input: &DarkInput<'_>) -> Vec<usize> {
    let labelled = |tokens: &[u32]| tokens == input.positive || input.other_positives.contains(&tokens);
    let mut places: Vec<usize> = (0..input.negatives.len())
        .filter(|&place| !input.negatives[place].is_empty() && !labelled(input.negatives[place]))
        .collect();
    if config.negatives == NegativeChoice::Random {
        let parts: [&[u8]; 2] = [input.query_id.as_bytes(), &epoch.to_le_bytes()];
        KeyedRandom::new("dark-negatives", seed, &parts).shuffle(&mut places);
    }
    places
}

/// A share of `len` tokens: rounded, at least one, at most all.
fn share_of(share: f64, len: usize) -> usize {
    ((share * len as f64).round() as usize).clamp(usize::from(len > 0), len)
}

/// Mixes part of `positive` into `negative`; gives the tokens and how many of them came from the positive.
///
/// Both parts get their budget before they are joined, in proportion to what each would bring: cutting the joined
/// sequence at the cap would silently destroy whichever part came last.
fn reinforce(
    mix: MixOperator,
    share: f64,
    positive: &[u32],
    negative: &[u32],
    budget: usize,
    random: &mut KeyedRandom,
) -> (Vec<u32>, usize) {
    if mix == MixOperator::Token {
        let mut tokens = negative[..negative.len().min(budget)].to_vec();
        let mut mixed = 0;
        for (slot, &token) in tokens.iter_mut().zip(positive) {
            if random.chance(share) {
                *slot = token;
                mixed += 1;
            }
        }
        return (tokens, mixed);
    }
    let (span, kept) = joint_budget(share_of(share, positive.len()), negative.len(), budget);
    let start = random.below(positive.len() - span + 1);
    let span = &positive[start..start + span];
    let negative = &negative[..kept];
    let boundary = match mix {
        MixOperator::Concat => {
            if random.chance(0.5) {
                0
            } else {
                kept
            }
        }
        _ => random.below(kept + 1),
    };
    let mut tokens = Vec::with_capacity(span.len() + kept);
    tokens.extend_from_slice(&negative[..boundary]);
    tokens.extend_from_slice(span);
    tokens.extend_from_slice(&negative[boundary..]);
    (tokens, span.len())
}

/// Lengths `(a, b)` cut to a joint budget, in proportion, each at least one where the budget has room for both.
fn joint_budget(a: usize, b: usize, budget: usize) -> (usize, usize) {
    if a + b <= budget {
        return (a, b);
    }
    if budget < 2 {
        return (budget.min(a), budget.saturating_sub(a).min(b));
    }
    let part = (budget as f64 * a as f64 / (a + b) as f64).round() as usize;
    let part = part.clamp(1, budget - 1).min(a);
    (part, (budget - part).min(b))
}

/// How likely each position is to be hidden: 0 for protected tokens, more for tokens of the query.
fn hiding_weights(config: &DarkConfig, special: &SpecialTokens, positive: &[u32], query: &[u32]) -> Vec<f64> {
    let in_query: HashSet<u32> = query.iter().copied().collect();
    positive
        .iter()
        .map(|token| {
            if special.protected.contains(token) || special.mask == Some(*token) {
                0.0
            } else if in_query.contains(token) {
                1.0 + config.query_bias.max(0.0)
            } else {
                1.0
            }
        })
        .collect()
}

/// Hides part of the positive; gives the tokens and how many were hidden.
fn obscure(
    mask: MaskOperator,
    share: f64,
    positive: &[u32],
    weights: &[f64],
    special: &SpecialTokens,
    random: &mut KeyedRandom,
) -> (Vec<u32>, usize) {
    let hideable = weights.iter().filter(|&&weight| weight > 0.0).count();
    let wanted = share_of(share, hideable);
    if wanted == 0 {
        return (Vec::new(), 0);
    }
    let mut tokens = positive.to_vec();
    match (mask, special.mask) {
        (MaskOperator::Mask, Some(mask)) => {
            let places = random.distinct_weighted(weights, wanted);
            for &place in &places {
                tokens[place] = mask;
            }
            (tokens, places.len())
        }
        (MaskOperator::Span, Some(mask)) => {
            let wanted = share_of(share, positive.len());
            let start = random.below(positive.len() - wanted + 1);
            let mut hidden = 0;
            for place in start..start + wanted {
                if weights[place] > 0.0 {
                    tokens[place] = mask;
                    hidden += 1;
                }
            }
            (tokens, hidden)
        }
        // Also where a mask is asked for and the tokenizer has none: `DarkConfig::problem` reports that before a run.
        _ => {
            // Something must stay.
            let wanted = wanted.min(positive.len().saturating_sub(1));
            let gone: HashSet<usize> = random.distinct_weighted(weights, wanted).into_iter().collect();
            let mut place = 0;
            tokens.retain(|_| {
                place += 1;
                !gone.contains(&(place - 1))
            });
            (tokens, gone.len())
        }
    }
}

/// Adaptive construction: out of `scores`, the places of the `keep` examples that best fill the range between `low` (the
/// best natural negative) and `high` (the positive), in ascending place.
///
/// Each pick is the one farthest from its nearest neighbour among the two ends and the earlier picks; when none inside the
/// range is left, the nearest outside follows. Ties go to the lower place; scores that are not finite come last.
pub fn fill_range(scores: &[f32], low: f32, high: f32, keep: usize) -> Vec<usize> {
    let (low, high) = if low <= high { (low, high) } else { (high, low) };
    let mut taken = vec![low, high];
    let mut left: Vec<usize> = (0..scores.len()).collect();
    let mut kept = Vec::with_capacity(keep.min(scores.len()));
    while kept.len() < keep && !left.is_empty() {
        // Inside: distance to the nearest taken score, never negative. Outside: minus the distance to the range.
        let value = |&place: &usize| -> f32 {
            let score = scores[place];
            if !score.is_finite() {
                f32::NEG_INFINITY
            } else if score < low {
                score - low
            } else if score > high {
                high - score
            } else {
                taken.iter().map(|t| (t - score).abs()).fold(f32::INFINITY, f32::min)
            }
        };
        let mut best = 0;
        for i in 1..left.len() {
            if value(&left[i]) > value(&left[best]) {
                best = i;
            }
        }
        let place = left.remove(best);
        taken.push(scores[place]);
        kept.push(place);
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
#[path = "dark_tests.rs"]
mod tests;
