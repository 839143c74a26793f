//! Hits that are known already, as a tantivy weight and scorer.

use std::collections::HashMap;
use std::sync::Arc;

use tantivy::index::SegmentId;
use tantivy::query::{EmptyScorer, Explanation, Scorer, Weight};
use tantivy::{DocId, DocSet, Score, Searcher, SegmentReader, TERMINATED, TantivyError};

use super::report::{Hit, SegmentReport};
use crate::Metric;

/// The hits of one segment, in the order of documents.
struct SegmentHits {
    hits: Arc<[(DocId, Score)]>,
    similarities: Vec<f32>,
    report: SegmentReport,
}

/// The hits of a search, by segment.
pub(crate) struct HitsWeight {
    title: String,
    metric: Metric,
    segments: HashMap<SegmentId, SegmentHits>,
}

impl HitsWeight {
    pub(crate) fn new(
        title: String,
        metric: Metric,
        searcher: &Searcher,
        hits: &[Hit],
        reports: &[SegmentReport],
    ) -> HitsWeight {
        let mut segments = HashMap::new();
        for (ordinal, (reader, report)) in searcher.segment_readers().iter().zip(reports).enumerate() {
            let here = hits.iter().filter(|hit| hit.address.segment_ord as usize == ordinal);
            let mut here: Vec<&Hit> = here.collect();
            here.sort_unstable_by_key(|hit| hit.address.doc_id);
            segments.insert(
                reader.segment_id(),
                SegmentHits {
                    hits: here.iter().map(|hit| (hit.address.doc_id, hit.score)).collect(),
                    similarities: here.iter().map(|hit| hit.similarity).collect(),
                    report: report.clone(),
                },
            );
        }
        HitsWeight { title, metric, segments }
    }
}

impl Weight for HitsWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        match self.segments.get(&reader.segment_id()) {
            Some(segment) if !segment.hits.is_empty() => {
                Ok(Box::new(HitsScorer::new(Arc::clone(&segment.hits), boost)))
            }
            _ => Ok(Box::new(EmptyScorer)),
        }
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        let found = self.segments.get(&reader.segment_id()).and_then(|segment| {
            let at = segment.hits.binary_search_by_key(&doc, |hit| hit.0).ok()?;
            Some((segment, at))
        });
        let Some((segment, at)) = found else {
            return Err(TantivyError::InvalidArgument(format!(
                "Document #({doc}) is not among the hits of {}",
                self.title
            )));
        };
        let mut explanation = Explanation::new_with_string(self.title.clone(), segment.hits[at].1);
        explanation.add_detail(Explanation::new_with_string(
            format!("similarity ({})", self.metric),
            segment.similarities[at],
        ));
        explanation.add_context(segment.report.to_string());
        Ok(explanation)
    }
}

/// Documents with scores, in their order.
pub(crate) struct HitsScorer {
    hits: Arc<[(DocId, Score)]>,
    at: usize,
    boost: Score,
}

impl HitsScorer {
    pub(crate) fn new(hits: Arc<[(DocId, Score)]>, boost: Score) -> HitsScorer {
        HitsScorer { hits, at: 0, boost }
    }
}

impl DocSet for HitsScorer {
    fn advance(&mut self) -> DocId {
        self.at += 1;
        self.doc()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        let rest = self.hits.get(self.at..).unwrap_or_default();
        self.at += rest.partition_point(|hit| hit.0 < target);
        self.doc()
    }

    fn doc(&self) -> DocId {
        self.hits.get(self.at).map_or(TERMINATED, |hit| hit.0)
    }

    fn size_hint(&self) -> u32 {
        self.hits.len() as u32
    }
}

impl Scorer for HitsScorer {
    fn score(&mut self) -> Score {
        self.hits.get(self.at).map_or(0.0, |hit| hit.1 * self.boost)
    }
}
