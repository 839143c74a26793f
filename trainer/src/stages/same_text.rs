//! Passages of the same text, which must not be each other's negatives.

use super::context::Context;
use std::collections::HashSet;

/// Which passages have the same text: case and white space make no difference.
pub(crate) struct SameText(Vec<u64>);

impl SameText {
    pub(crate) fn of(context: &Context<'_>) -> Self {
        let passages = &context.data.passages;
        Self(
            (0..passages.len() as u32)
                .map(|p| {
                    let text = passages.full_text(p).unwrap_or_default().to_lowercase();
                    let words: Vec<&str> = text.split_whitespace().collect();
                    crate::adam::random::KeyedRandom::new("same-text", 0, &[words.join(" ").as_bytes()]).bits()
                })
                .collect(),
        )
    }

    fn get(&self, passage: u32) -> u64 {
        self.0.get(passage as usize).copied().unwrap_or_default()
    }

    /// For each query and natural passage of a step: may the contrastive term compare them? A query's own candidates always;
    /// other queries' unless known as a positive of this one or of the same text as one.
    pub(crate) fn allowed(
        &self,
        positives: &[&[u32]],
        own: &[HashSet<u32>],
        target: &[u32],
        passages: &[u32],
        in_batch: bool,
    ) -> Vec<Vec<bool>> {
        positives
            .iter()
            .zip(own)
            .zip(target)
            .map(|((positives, own), &target)| {
                let texts: HashSet<u64> = positives.iter().map(|&p| self.get(p)).collect();
                passages
                    .iter()
                    .map(|&p| {
                        p == target
                            || ((in_batch || own.contains(&p))
                                && !positives.contains(&p)
                                && !texts.contains(&self.get(p)))
                    })
                    .collect()
            })
            .collect()
    }
}
