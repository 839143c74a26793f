//! A hybrid search as a tantivy query.

use std::collections::HashMap;
use std::sync::Arc;

use tantivy::index::SegmentId;
use tantivy::query::{EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{DocId, Score, Searcher, SegmentReader, TantivyError, Term};

use super::{FusedHit, Hybrid};
use crate::DenseError;
use crate::query::HitsScorer;

/// The best `k` documents of a [`Hybrid`] search as a query: matches exactly those, with the fused score. It combines with
/// other queries and works with every collector.
///
/// Counts, facets and aggregations are of those `k` documents, not of all that match the words. To count those, search with the text
/// query alone. Each call of [`Searcher::search`] runs the whole hybrid search again; several collectors in one call share one:
///
/// ```
/// # fn main() -> Result<(), tantivy_dense::DenseError> {
/// # use tantivy::collector::{Count, TopDocs};
/// # use tantivy::query::AllQuery;
/// # use tantivy::schema::Schema;
/// # use tantivy_dense::{Arm, Dense, Hybrid, HybridQuery, VectorField, VectorOptions};
/// # let mut schema = Schema::builder();
/// # VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
/// # let dense = Dense::new();
/// # let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
/// # let searcher = dense.reader(&index)?.searcher();
/// # let hybrid = Hybrid::new().arm("words", Arm::text(Box::new(AllQuery)), 1.0);
/// let query = HybridQuery::new(hybrid, 100);
/// let (page, count) = searcher.search(&query, &(TopDocs::with_limit(10).order_by_score(), Count))?;
/// # assert_eq!((page.len(), count), (0, 0));
/// # Ok(())
/// # }
/// ```
///
/// Sorting and diversity decide which `k` documents these are, and not the order in which a collector by score gives them.
///
/// Snippets are of the arms' and the filters' terms ([`Query::query_terms`]), as with a query of words alone.
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

    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        self.hybrid.query_terms(visitor);
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
