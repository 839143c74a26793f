//! Batches by length: texts of similar length share a batch, so that little of it is padding.

use std::ops::Range;

use crate::tokenize::Tokens;

/// Which texts go into which batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Indices of the texts, longest text first; texts without tokens are left out.
    order: Vec<usize>,
    /// Parts of `order`, one a batch.
    batches: Vec<Range<usize>>,
}

impl Plan {
    /// Makes batches of at most `most` tokens each, padding included; a text longer than that is a batch of its own.
    ///
    /// The longest come first: the first batch shows whether memory suffices, and the last ones, which even out the
    /// work among sessions, are quick.
    pub(crate) fn by_length(lengths: &[usize], most: usize) -> Self {
        let mut order: Vec<usize> = (0..lengths.len()).filter(|index| lengths[*index] > 0).collect();
        order.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
        let mut batches = Vec::new();
        let mut start = 0;
        while start < order.len() {
            let width = lengths[order[start]];
            let rows = (most / width).clamp(1, order.len() - start);
            batches.push(start..start + rows);
            start += rows;
        }
        Self { order, batches }
    }

    /// Number of batches.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Indices of the texts of one batch.
    pub(crate) fn batch(&self, index: usize) -> &[usize] {
        self.batches.get(index).map_or(&[], |range| &self.order[range.clone()])
    }
}

/// A batch as the model takes it: row-major `[rows, width]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Padded {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) ids: Vec<i64>,
    pub(crate) mask: Vec<i64>,
    pub(crate) types: Vec<i64>,
}

impl Padded {
    pub(crate) fn new<'a>(texts: impl ExactSizeIterator<Item = &'a Tokens> + Clone, pad_id: u32) -> Self {
        let rows = texts.len();
        let width = texts.clone().map(|tokens| tokens.ids.len()).max().unwrap_or(0);
        let mut padded = Self {
            rows,
            width,
            ids: vec![i64::from(pad_id); rows * width],
            mask: vec![0; rows * width],
            types: vec![0; rows * width],
        };
        for (row, tokens) in texts.enumerate() {
            let start = row * width;
            for (slot, id) in padded.ids[start..].iter_mut().zip(&tokens.ids) {
                *slot = i64::from(*id);
            }
            padded.mask[start..start + tokens.ids.len()].fill(1);
            for (slot, kind) in padded.types[start..].iter_mut().zip(&tokens.types) {
                *slot = i64::from(*kind);
            }
        }
        padded
    }

    /// Position of each token in its row, as decoder exports want it.
    pub(crate) fn positions(&self) -> Vec<i64> {
        (0..self.rows).flat_map(|_| 0..self.width as i64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn padding(lengths: &[usize], plan: &Plan) -> f64 {
        let padded: usize = (0..plan.len())
            .map(|batch| {
                let texts = plan.batch(batch);
                texts.len() * texts.iter().map(|index| lengths[*index]).max().unwrap()
            })
            .sum();
        padded as f64 / lengths.iter().sum::<usize>() as f64
    }

    proptest! {
        #[test]
        fn every_text_is_in_exactly_one_batch(
            lengths in proptest::collection::vec(0usize..600, 0..300),
            most in 1usize..5000,
        ) {
            let plan = Plan::by_length(&lengths, most);
            let mut seen = vec![0; lengths.len()];
            for batch in 0..plan.len() {
                let texts = plan.batch(batch);
                prop_assert!(!texts.is_empty());
                let width = texts.iter().map(|index| lengths[*index]).max().unwrap();
                prop_assert!(texts.len() == 1 || texts.len() * width <= most);
                for index in texts {
                    seen[*index] += 1;
                }
            }
            for (count, length) in seen.iter().zip(&lengths) {
                prop_assert_eq!(*count, usize::from(*length > 0));
            }
        }

        #[test]
        fn padding_is_bounded_by_the_spread(lengths in proptest::collection::vec(1usize..300, 1..400)) {
            // Within a batch no text is shorter than the next batch's longest, so all padding together is at most one
            // batch's height times the whole spread of lengths.
            let plan = Plan::by_length(&lengths, 2048);
            let most_rows = (0..plan.len()).map(|batch| plan.batch(batch).len()).max().unwrap();
            let spread = lengths.iter().max().unwrap() - lengths.iter().min().unwrap();
            let total: usize = lengths.iter().sum();
            let bound = 1.0 + (most_rows * spread) as f64 / total as f64;
            prop_assert!(padding(&lengths, &plan) <= bound + 1e-9);
        }
    }

    #[test]
    fn padding_of_many_texts_is_small() {
        // Lengths as abstracts have them: most around 200, some short, some at the limit.
        let lengths: Vec<usize> = (0..5000).map(|i| 20 + (i * 7919) % 237).collect();
        let plan = Plan::by_length(&lengths, 2048);
        assert!(padding(&lengths, &plan) < 1.02, "{}", padding(&lengths, &plan));
    }

    #[test]
    fn rows_are_filled_up_to_the_longest() {
        let texts = [
            Tokens { ids: vec![5, 6, 7], types: vec![0, 0, 1], prompt: 0 },
            Tokens { ids: vec![8], ..Tokens::default() },
        ];
        let padded = Padded::new(texts.iter(), 1);
        assert_eq!((padded.rows, padded.width), (2, 3));
        assert_eq!(padded.ids, [5, 6, 7, 8, 1, 1]);
        assert_eq!(padded.mask, [1, 1, 1, 1, 0, 0]);
        assert_eq!(padded.types, [0, 0, 1, 0, 0, 0]);
        assert_eq!(padded.positions(), [0, 1, 2, 0, 1, 2]);
    }
}
