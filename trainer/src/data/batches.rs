//! Batches of texts of similar length.
//!
//! Padding is work on tokens that do not exist. Texts are sorted by length and cut into batches such that in *each* batch at
//! most a set share of the padded tokens is padding; so it holds for any sum of batches too. What comes out depends on the
//! lengths alone.

use serde::{Deserialize, Serialize};

/// Bounds of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchLimits {
    /// Most tokens of a batch, padding included. A single text longer than that is a batch of its own.
    pub max_tokens: usize,
    /// Most texts of a batch.
    pub max_texts: usize,
    /// Largest share of a batch's padded tokens that is padding, in 0..1.
    pub max_padding: f64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_tokens: 16_384, max_texts: 1024, max_padding: 0.05 }
    }
}

/// Texts that go through the model together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Numbers of the texts, longest first.
    pub texts: Vec<usize>,
    /// Tokens of the longest.
    pub width: usize,
}

/// Tokens of batches, with and without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Tokens of texts.
    pub real: usize,
    /// Tokens of texts and padding.
    pub padded: usize,
}

impl Padding {
    /// The share of padding; 0 when there is nothing.
    pub fn share(&self) -> f64 {
        if self.padded == 0 { 0.0 } else { 1.0 - self.real as f64 / self.padded as f64 }
    }

    /// Counts the tokens of batches.
    pub fn of(batches: &[Batch], lengths: &[usize]) -> Self {
        let mut sum = Self::default();
        for batch in batches {
            sum.padded += batch.texts.len() * batch.width;
            sum.real += batch.texts.iter().map(|&t| lengths[t]).sum::<usize>();
        }
        sum
    }
}

/// Cuts texts of given lengths (in tokens, special ones included) into batches; every text is in exactly one. Longest first, so
/// that too large a budget shows at once.
pub fn pack(lengths: &[usize], limits: &BatchLimits) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by(|&a, &b| lengths[b].cmp(&lengths[a]));
    let mut batches: Vec<Batch> = Vec::new();
    let mut real = 0usize;
    for text in order {
        let length = lengths[text];
        if let Some(batch) = batches.last_mut() {
            let padded = (batch.texts.len() + 1).saturating_mul(batch.width);
            let padding = padded.saturating_sub(real + length);
            let fits = batch.texts.len() < limits.max_texts
                && padded <= limits.max_tokens
                && padding as f64 <= limits.max_padding * padded as f64;
            if fits {
                batch.texts.push(text);
                real += length;
                continue;
            }
        }
        batches.push(Batch { texts: vec![text], width: length });
        real = length;
    }
    batches
}

/// Cuts texts into batches that need no padding because texts lie one after the other: each holds at most `max_tokens` tokens and
/// `max_texts` texts, a single text longer than that alone. Longest first. The width is that of the longest text, as everywhere.
pub fn pack_tight(lengths: &[usize], limits: &BatchLimits) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by(|&a, &b| lengths[b].cmp(&lengths[a]));
    let mut batches: Vec<Batch> = Vec::new();
    let mut tokens = 0usize;
    for text in order {
        let length = lengths[text];
        match batches.last_mut() {
            Some(batch)
                if batch.texts.len() < limits.max_texts && tokens.saturating_add(length) <= limits.max_tokens =>
            {
                batch.texts.push(text);
                tokens += length;
            }
            _ => {
                batches.push(Batch { texts: vec![text], width: length });
                tokens = length;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adam::random::KeyedRandom;
    use proptest::prelude::*;

    #[test]
    fn a_small_case_by_hand() {
        let limits = BatchLimits { max_tokens: 40, max_texts: 8, max_padding: 0.05 };
        // 20 + 19 is one batch (39 of 40), the next 19s do not fit 40 tokens; 5s and the 4 differ by more than 5 %.
        let batches = pack(&[5, 20, 19, 4, 19, 5], &limits);
        let texts: Vec<Vec<usize>> = batches.iter().map(|b| b.texts.clone()).collect();
        assert_eq!(texts, vec![vec![1, 2], vec![4], vec![0, 5], vec![3]]);
        assert_eq!(batches[0].width, 20);
    }

    proptest! {
        #[test]
        fn every_text_once_and_no_more_padding_than_allowed(
            lengths in prop::collection::vec(0usize..300, 0..400), max_tokens in 1usize..4000, max_texts in 1usize..64,
            max_padding in 0.0f64..0.3,
        ) {
            let limits = BatchLimits { max_tokens, max_texts, max_padding };
            let batches = pack(&lengths, &limits);
            let mut all: Vec<usize> = batches.iter().flat_map(|b| b.texts.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert_eq!(batch.width, batch.texts.iter().map(|&t| lengths[t]).max().unwrap_or(0));
                prop_assert!(batch.texts.len() <= max_texts);
                prop_assert!(batch.texts.len() == 1 || batch.texts.len() * batch.width <= max_tokens);
                let padding = Padding::of(std::slice::from_ref(batch), &lengths);
                prop_assert!(padding.share() <= max_padding + 1e-9, "{}", padding.share());
            }
            prop_assert!(Padding::of(&batches, &lengths).share() <= max_padding + 1e-9);
        }

        #[test]
        fn tight_batches_hold_every_text_once_within_their_bounds(
            lengths in prop::collection::vec(1usize..300, 0..400), max_tokens in 1usize..4000, max_texts in 1usize..64,
        ) {
            let limits = BatchLimits { max_tokens, max_texts, max_padding: 0.0 };
            let batches = pack_tight(&lengths, &limits);
            let mut all: Vec<usize> = batches.iter().flat_map(|b| b.texts.clone()).collect();
            prop_assert!(all.windows(2).all(|w| lengths[w[0]] >= lengths[w[1]]));
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                let tokens: usize = batch.texts.iter().map(|&t| lengths[t]).sum();
                prop_assert!(batch.texts.len() == 1 || tokens <= max_tokens);
                prop_assert!(batch.texts.len() <= max_texts);
            }
            // Two neighbours never fit in one.
            for pair in batches.windows(2) {
                let tokens: usize = pair[0].texts.iter().map(|&t| lengths[t]).sum();
                prop_assert!(pair[0].texts.len() == max_texts || tokens + lengths[pair[1].texts[0]] > max_tokens);
            }
        }

        #[test]
        fn five_percent_still_makes_large_batches(seed in any::<u64>()) {
            // 3,200 texts spread over 20..=256 tokens, as passages are: the limit on padding must not cut them to crumbs.
            let mut random = KeyedRandom::new("lengths", seed, &[]);
            let lengths: Vec<usize> = (0..3200).map(|_| 20 + random.below(237)).collect();
            let limits = BatchLimits { max_tokens: 4096, ..BatchLimits::default() };
            let batches = pack(&lengths, &limits);
            let padding = Padding::of(&batches, &lengths);
            prop_assert!(padding.share() <= 0.05);
            let mean = padding.padded / batches.len();
            prop_assert!(mean > 3000, "mean padded tokens a batch: {mean}");
        }
    }
}
