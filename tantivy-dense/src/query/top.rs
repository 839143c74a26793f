//! The k best of many.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU32, Ordering as Memory};

use tantivy::DocAddress;

/// A document found, with its similarity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Best {
    pub similarity: f32,
    pub address: DocAddress,
}

impl Eq for Best {}

impl PartialOrd for Best {
    fn partial_cmp(&self, other: &Best) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Best {
    /// Less is better: more similar first, then the lower address. Similarities are never NaN.
    fn cmp(&self, other: &Best) -> Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.address.cmp(&other.address))
    }
}

/// Collects the `k` best, by similarity and then address, whatever order they come in.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    k: usize,
    heap: BinaryHeap<Best>,
    least: f32,
}

impl Top {
    pub(crate) fn new(k: usize) -> Top {
        Top::with_room(k, 0)
    }

    /// With memory for so many at once.
    pub(crate) fn with_room(k: usize, room: usize) -> Top {
        Top { k, heap: BinaryHeap::with_capacity(room.min(1 << 12)), least: f32::NEG_INFINITY }
    }

    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// The least similarity that may still come in; equal ones may, by their address.
    #[inline]
    pub(crate) fn bar(&self) -> f32 {
        if self.heap.len() < self.k {
            return self.least;
        }
        self.heap.peek().map_or(f32::INFINITY, |worst| worst.similarity.max(self.least))
    }

    /// Lets nothing below `least` in from now on; it is the caller who looks at [`Top::bar`].
    pub(crate) fn raise(&mut self, least: f32) {
        self.least = self.least.max(least);
    }

    /// Whether there is a bar at all.
    pub(crate) fn is_barred(&self) -> bool {
        self.bar() > f32::NEG_INFINITY
    }

    pub(crate) fn push(&mut self, found: Best) {
        // -0 and 0 are one similarity.
        let found = Best { similarity: found.similarity + 0.0, ..found };
        if self.heap.len() < self.k {
            self.heap.push(found);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && found < *worst
        {
            *worst = found;
        }
    }

    pub(crate) fn extend(&mut self, other: impl IntoIterator<Item = Best>) {
        other.into_iter().for_each(|found| self.push(found));
    }

    /// Best first.
    pub(crate) fn into_sorted(self) -> Vec<Best> {
        self.heap.into_sorted_vec()
    }
}

/// The best k-th similarity that any of several searches has reached: none needs to look below it.
#[derive(Debug)]
pub(crate) struct Bar(AtomicU32);

impl Bar {
    pub(crate) fn new(least: f32) -> Bar {
        Bar(AtomicU32::new(ordered(least)))
    }

    pub(crate) fn get(&self) -> f32 {
        unordered(self.0.load(Memory::Relaxed))
    }

    pub(crate) fn raise(&self, bar: f32) {
        self.0.fetch_max(ordered(bar), Memory::Relaxed);
    }
}

/// Floats as integers in the same order.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn unordered(value: u32) -> f32 {
    f32::from_bits(if value >> 31 == 1 { value & !(1 << 31) } else { !value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_keep_their_order_as_integers() {
        let values = [f32::NEG_INFINITY, -3.5, -1e-30, 0.0, 1e-30, 2.0, f32::INFINITY];
        assert!(values.is_sorted_by(|a, b| ordered(*a) < ordered(*b)));
        assert!(values.iter().all(|&value| unordered(ordered(value)) == value));
    }

    #[test]
    fn ties_go_to_the_lower_address_whatever_the_order() {
        for docs in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut top = Top::new(2);
            top.extend(docs.map(|doc| Best { similarity: 0.5, address: DocAddress::new(0, doc) }));
            let docs: Vec<u32> = top.into_sorted().iter().map(|found| found.address.doc_id).collect();
            assert_eq!(docs, [0, 1]);
        }
    }
}
