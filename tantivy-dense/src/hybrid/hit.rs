//! Hits of a hybrid search, and what is known of how they were found.

use std::sync::Arc;

use tantivy::DocAddress;

use super::shaping::BoostEffect;
use crate::SegmentReport;

/// A document, with what every arm thought of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedHit {
    /// Where it is, for the searcher that found it.
    pub address: DocAddress,
    /// The fused score, higher is better. Its scale is the fusion's. Beyond the first window it is lowered, see the
    /// [module](super).
    pub score: f32,
    /// One for each arm, in the order they were given.
    pub arms: Vec<ArmHit>,
    /// The fused score before any boost.
    pub unshaped: f32,
    /// What every boost did, in the order they were given.
    pub effects: Vec<BoostEffect>,
    /// Why it stands here, where diversity put it here.
    pub(super) placed: Option<Placement>,
    /// By arm: whether it found the document itself, within the block's window.
    pub(super) found: Vec<bool>,
    pub(super) block: Arc<Block>,
}

/// What one arm thought of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmHit {
    /// The arm's name.
    pub name: String,
    /// Its place among the candidates by this arm's score, from 1; none where the arm has no score for it. Equal scores share a
    /// rank. Candidates are those of the document's window and of smaller ones.
    pub rank: Option<usize>,
    /// The arm's own score: BM25, or the similarity of the vectors. None where the document does not match the text query,
    /// has no vector, or is left out by the vector query's own filter or least similarity.
    pub raw: Option<f32>,
    /// What the fusion made of it, before the weight.
    pub normalised: f32,
    /// The arm's weight.
    pub weight: f32,
}

/// Why diversity put a hit where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placement {
    /// The score as a share of the best.
    pub(super) relevance: f32,
    /// The highest cosine to a hit before it.
    pub(super) similarity: f32,
}

/// Documents of the ranking that were fused together.
#[derive(Debug, PartialEq)]
pub(super) struct Block {
    /// How many documents each arm took for it, those of earlier blocks among them.
    pub(super) window: usize,
    /// How many each arm took for the first block.
    pub(super) first: usize,
    /// How much the fused scores were lowered.
    pub(super) lowered: f32,
    /// By arm, how each segment was searched.
    pub(super) reports: Vec<Option<Arc<[SegmentReport]>>>,
}

impl Block {
    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// How an arm searched a document's segment.
    pub(super) fn report(&self, arm: usize, address: DocAddress) -> Option<&SegmentReport> {
        self.reports.get(arm)?.as_ref()?.get(address.segment_ord as usize)
    }

    /// What there is to say of a block that is not the first.
    pub(super) fn note(&self) -> Option<String> {
        let Block { window, first, lowered, .. } = self;
        (window > first).then(|| {
            format!("beyond the {first} best of each arm: fused among their {window} best, less {lowered} to follow the hits before")
        })
    }
}
