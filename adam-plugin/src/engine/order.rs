//! The final order of hits: the best as the re-ranker orders them, the others as they were found.

use std::ops::Range;

use tantivy::{Searcher, TantivyDocument};
use tantivy_dense::hybrid::FusedHit;

use super::Engine;
use super::chunked::NearestChunk;
use super::request::SearchRequest;
use crate::error::PluginError;

/// A hit in the final order.
pub(super) struct RankedHit<'a> {
    pub(super) hit: &'a FusedHit,
    /// Rank and logit by the re-ranker, if that read it.
    pub(super) logit: Option<(usize, f32)>,
    /// What the re-ranker read of it, so that nothing is read twice.
    pub(super) read: Option<ScoredDocument>,
}

/// A document as the re-ranker read it.
pub(super) struct ScoredDocument {
    pub(super) document: TantivyDocument,
    /// The nearest chunk as bytes of the embedded text, in a search that looks at chunks.
    pub(super) chunk: Option<Range<usize>>,
}

impl Engine {
    /// The hits in their final order: the first as many as asked for by the re-ranker's logits, the others as they were.
    pub(super) fn reranked<'a>(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
        chunks: Option<&NearestChunk>,
        found: &'a [FusedHit],
    ) -> Result<Vec<RankedHit<'a>>, PluginError> {
        let as_found = |hit: &'a FusedHit| RankedHit { hit, logit: None, read: None };
        let Some(depth) = request.rerank else { return Ok(found.iter().map(as_found).collect()) };
        let Some(reranker) = &self.reranker else {
            let problem = format!("asks to re-rank {depth} hits, and no re-ranker was opened");
            return Err(PluginError::Query { problem });
        };
        // A page behind the re-ranked hits shows none of them.
        if request.offset >= depth {
            return Ok(found.iter().map(as_found).collect());
        }
        let (first, rest) = found.split_at(depth.min(found.len()));
        let mut texts = Vec::with_capacity(first.len());
        let mut read = Vec::with_capacity(first.len());
        for hit in first {
            let document: TantivyDocument = searcher.doc(hit.address)?;
            let text = self.fields.template.render(&document).unwrap_or_default();
            let chunk = match chunks {
                Some(chunks) => chunks.of(searcher, hit.address)?.map(|(_, range)| range),
                None => None,
            };
            // A document that could not be embedded has no nearest chunk.
            let piece = chunk.clone().and_then(|range| text.get(range)).filter(|piece| !piece.is_empty());
            texts.push(piece.map(str::to_owned).unwrap_or(text));
            read.push(ScoredDocument { document, chunk });
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let logits = reranker.score(&request.query, &texts)?;
        let mut scored: Vec<(&FusedHit, ScoredDocument, f32)> =
            first.iter().zip(read).zip(logits).map(|((hit, read), logit)| (hit, read, logit)).collect();
        // Stable: of equal logits, the better hit stays in front.
        scored.sort_by(|a, b| b.2.total_cmp(&a.2));
        let ranked = (1..).zip(scored).map(|(rank, (hit, read, logit))| RankedHit {
            hit,
            logit: Some((rank, logit)),
            read: Some(read),
        });
        Ok(ranked.chain(rest.iter().map(as_found)).collect())
    }
}
