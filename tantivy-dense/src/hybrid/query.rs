//! A hybrid search as a tantivy query.

use std::collections::HashMap;
use std::sync::Arc;

use tantivy::index::SegmentId;
use tantivy::query::{EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{DocId, Score, Searcher, SegmentReader, TantivyError};

use super::{FusedHit, Hybrid};
use crate::DenseError;
use crate::query::HitsScorer;

/// The best `k` documents of a [`Hybrid`] search as a query: matches exactly those, with the fused score. It combines with
/// other queries and works with every collector.
#[derive(Clone, Debug)]
pub struct HybridQuery {
    hybrid: Hybrid,
    k: usize,
}

impl HybridQuery {
    /// The best `k` documents of a search.
    pub fn new(hybrid: Hybrid, k: usize) -> HybridQuery {
        HybridQuery { hybrid, k }
    }
}

impl Query for HybridQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let searcher = scoring.searcher().ok_or(DenseError::NoSearcher)?;
        let mut hits = self.hybrid.search(searcher, self.k)?;
        hits.sort_unstable_by_key(|hit| hit.address);
        let segments = hits
            .chunk_by(|a, b| a.address.segment_ord == b.address.segment_ord)
            .map(|hits| {
                let scores = hits.iter().map(|hit| (hit.address.doc_id, hit.score)).collect();
                let segment = searcher.segment_reader(hits[0].address.segment_ord).segment_id();
                (segment, SegmentHits { hits: hits.to_vec(), scores })
            })
            .collect();
        Ok(Box::new(HybridWeight { hybrid: self.hybrid.clone(), searcher: searcher.clone(), segments }))
    }
}

struct SegmentHits {
    hits: Vec<FusedHit>,
    scores: Arc<[(DocId, Score)]>,
}

struct HybridWeight {
    hybrid: Hybrid,
    searcher: Searcher,
    segments: HashMap<SegmentId, SegmentHits>,
}

impl Weight for HybridWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(match self.segments.get(&reader.segment_id()) {
            Some(segment) => Box::new(HitsScorer::new(Arc::clone(&segment.scores), boost)),
            None => Box::new(EmptyScorer),
        })
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        let found = self.segments.get(&reader.segment_id()).and_then(|segment| {
            let at = segment.hits.binary_search_by_key(&doc, |hit| hit.address.doc_id).ok()?;
            segment.hits.get(at)
        });
        let hit = found.ok_or_else(|| {
            TantivyError::InvalidArgument(format!("Document #({doc}) is not among the hits of the hybrid search"))
        })?;
        Ok(self.hybrid.explain(&self.searcher, hit)?)
    }
}
