//! Searching: BM25, vectors, or both.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use adam_encoder::{EncoderError, TextKind};
use tantivy::collector::Count;
use tantivy::query::{BooleanQuery, Explanation, Query, TermQuery};
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::snippet::SnippetGenerator;
use tantivy::{Searcher, TantivyDocument};
use tantivy_dense::KnnQuery;
use tantivy_dense::hybrid::{Arm, FusedHit, Fusion, Hybrid, TextStatistics, WINDOW};

use super::Engine;
use super::analysis::is_blank;
use super::chunked::{DocumentStatistics, NearestChunk};
use super::order::RankedHit;
use super::refine::{GroupPage, Guides, at_cursor, next};
use super::request::{MAX_HITS, Mode, SearchRequest};
use super::response::{ArmScore, Hit, SearchResponse};
use super::vector::check_vector;
use super::warnings;
use crate::error::PluginError;
use crate::filter::{Filter, all_of};

/// Candidates taken at once in a lexical or dense search, whose ranking does not depend on it but for approximate indexes.
pub(super) const WINDOW_ALONE: usize = 50;

/// The rest of 1, as it is written: 0.2 of 0.8, and not 0.19999999.
fn rest_of(share: f32) -> f32 {
    ((1.0 - f64::from(share)) * 1e6).round() as f32 / 1e6
}

/// The arms of a search, and what later steps need of them.
pub(super) struct Arms {
    pub(super) hybrid: Hybrid,
    /// The vector arm of an index with chunks.
    pub(super) chunks: Option<NearestChunk>,
    /// The vector arm as a query.
    nearest: Option<KnnQuery>,
    filter: Option<Box<dyn Query>>,
}

/// Weight of the lexical arm and of the vector arm; without a weight, there is no such arm.
pub(super) fn weights(request: &SearchRequest, default: f32) -> (Option<f32>, Option<f32>) {
    match request.mode {
        Mode::Bm25 => (Some(1.0), None),
        Mode::Dense => (None, Some(1.0)),
        Mode::Hybrid => {
            let weight = request.weight.unwrap_or(default);
            (Some(rest_of(weight)), Some(weight))
        }
    }
}

impl Engine {
    /// Searches.
    ///
    /// # Errors
    /// When the request is out of bounds, a filter fits no field, or the model that the mode needs was not opened.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchResponse, PluginError> {
        let began = Instant::now();
        request.check()?;
        self.check_folder()?;
        let searcher = self.reader.searcher();
        let placed = at_cursor(&searcher, request)?;
        let request = placed.as_ref();
        let (words, fields) = self.words(&searcher, request)?;
        let mut warnings = Vec::new();
        if request.mode != Mode::Dense && !is_blank(&request.query) {
            warnings = warnings::of_words(&self.index, &fields, &request.query, &words, request.mode);
        }
        let guides = self.guides(&searcher, &request.refinement.examples)?;
        let words = self.words_of_guides(&searcher, words.query, &request.query, &guides)?;
        let mut arms = self.arms(&searcher, request, words.as_ref(), &guides, None)?;
        arms.hybrid = self.refined(&searcher, request, arms.hybrid)?;
        let total = request.total.then(|| self.total(&searcher, request, words.as_ref(), &arms)).transpose()?;
        // Pages behind the re-ranked hits are as they are without re-ranking.
        let depth = request.rerank.filter(|depth| request.offset < *depth).unwrap_or(0).min(MAX_HITS);
        let (mut groups, mut group_total) = (Vec::new(), None);
        let found = match &request.refinement.grouping {
            Some(grouping) => {
                let has_least = request.refinement.min_score.is_some();
                let page = GroupPage { offset: request.offset, top: request.top, total: request.total, has_least };
                let grouped = self.grouped(&searcher, grouping, &arms.hybrid, &page)?;
                (groups, group_total) = (grouped.groups, grouped.total);
                grouped.hits
            }
            None => arms.hybrid.search(&searcher, (request.offset + request.top).max(depth))?,
        };
        let refinement = &request.refinement;
        let counts = self.counts(&searcher, &refinement.facets, refinement.aggregations.as_ref(), &arms.hybrid)?;
        if found.is_empty() {
            warnings.extend(self.warn_of_least_score(&searcher, request, &arms.hybrid)?);
        }
        let order = self.reranked(&searcher, request, arms.chunks.as_ref(), &found)?;
        // Groups are those of the page already.
        let shown = if request.refinement.grouping.is_some() {
            0..found.len()
        } else {
            request.offset..request.offset + request.top
        };
        let shown: Vec<RankedHit<'_>> = order.into_iter().skip(shown.start).take(shown.len()).collect();
        let mut hits = self.hits(&searcher, request, words.as_ref(), &arms, shown)?;
        hits.iter_mut().zip(groups).for_each(|(hit, group)| hit.group = Some(group));
        warnings.extend(self.filter_warnings(&request.filters)?.iter().map(ToString::to_string));
        let shown =
            hits.last().and_then(|hit| hit.group.as_ref()).map_or(hits.len(), |group| group.rank - request.offset);
        let cursor = next(&searcher, request, shown);
        let did_you_mean = match request.words.suggest && request.mode != Mode::Dense {
            true => self.suggestion(&searcher, &request.query)?,
            false => None,
        };
        Ok(SearchResponse {
            took_ms: began.elapsed().as_secs_f64() * 1e3,
            hits,
            total,
            groups: group_total,
            cursor,
            facets: counts.facets,
            aggregations: counts.aggregations,
            did_you_mean,
            warnings,
        })
    }

    /// The arms of a search. Words are scored by the index's own statistics unless others are given.
    pub(super) fn arms(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
        words: &dyn Query,
        guides: &Guides,
        statistics: Option<Arc<dyn TextStatistics>>,
    ) -> Result<Arms, PluginError> {
        let (text_weight, vector_weight) = weights(request, self.hybrid_weight());
        let mut hybrid = Hybrid::new();
        if let Some(weight) = text_weight {
            let query = words.box_clone();
            let arm = match (statistics, self.fields.chunks) {
                (Some(statistics), _) => Arm::text_with(query, statistics),
                (None, Some(fields)) => Arm::text_with(query, Arc::new(DocumentStatistics(fields))),
                (None, None) => Arm::text(query),
            };
            hybrid = hybrid.arm("bm25", arm, weight);
        }
        let mut chunks = None;
        let mut nearest = None;
        if let Some(weight) = vector_weight {
            let vector = self.vector_of_request(searcher, request, guides)?;
            let mut knn = KnnQuery::all(&self.dense, self.fields.vector.clone(), vector);
            if let Some(similarity) = request.refinement.min_similarity {
                knn = knn.min_similarity(similarity);
            }
            let knn = nearest.insert(knn).clone();
            let arm = match self.fields.chunks {
                Some(fields) => {
                    let schema = self.index.schema();
                    let of_documents = |filter: &Filter| filter.is_of_documents(&schema, &self.manifest.layout.key);
                    let least = request.refinement.min_similarity.unwrap_or(f32::NEG_INFINITY);
                    let by_document = request.filters.iter().any(of_documents);
                    let by_chunk = chunks.insert(NearestChunk { nearest: knn, fields, least, by_document });
                    Arm::own(Arc::new(by_chunk.clone()))
                }
                None => Arm::vector(knn),
            };
            hybrid = hybrid.arm("dense", arm, weight);
        }
        // One arm alone keeps its own scores.
        hybrid = match request.mode {
            Mode::Hybrid => hybrid.fusion(request.fusion.into()).window(request.window.unwrap_or(WINDOW)),
            Mode::Bm25 | Mode::Dense => {
                // Boosts and groups need something to choose from.
                let window = if request.refinement.is_empty() { WINDOW_ALONE } else { WINDOW };
                hybrid.fusion(Fusion::Sum).window(request.window.unwrap_or(window))
            }
        };
        // Then neither merges nor shards change the order of equal hits.
        if self.fields.key_is_column {
            hybrid = hybrid.ties_by(&self.manifest.layout.key);
        }
        let filter = all_of(&request.filters, &self.index, self.manifest.layout.metadata.as_deref())?;
        let filter: Option<Box<dyn Query>> = match (filter, guides.exclusion(self)) {
            (Some(filter), Some(exclusion)) => Some(Box::new(BooleanQuery::intersection(vec![filter, exclusion]))),
            (filter, exclusion) => filter.or(exclusion),
        };
        if let Some(filter) = &filter {
            hybrid = hybrid.filter(filter.box_clone());
        }
        Ok(Arms { hybrid, chunks, nearest, filter })
    }

    /// The hits of a page, with all that the request asks for.
    fn hits(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
        words: &dyn Query,
        arms: &Arms,
        shown: Vec<RankedHit<'_>>,
    ) -> Result<Vec<Hit>, PluginError> {
        let snippets =
            if request.snippets || request.refinement.highlight { self.snippets(searcher, words)? } else { Vec::new() };
        let explained: Vec<FusedHit> =
            shown.iter().filter(|_| request.explain).map(|ranked| ranked.hit.clone()).collect();
        let mut explanations = arms.hybrid.explain_all(searcher, &explained)?.into_iter();
        let mut hits = Vec::with_capacity(shown.len());
        for RankedHit { hit, logit, read } in shown {
            let (mut document, mut chunk) = match read {
                Some(read) => (read.document, read.chunk),
                None => (searcher.doc::<TantivyDocument>(hit.address)?, None),
            };
            if let (Some(chunks), None, true) = (&arms.chunks, &chunk, request.snippets) {
                chunk = chunks.of(searcher, hit.address)?.map(|(_, range)| range);
            }
            self.add_columns(searcher, hit.address, &mut document)?;
            let explanation = explanations.next().map(|tree| self.explanation(tree, logit)).transpose()?;
            let mut arms: Vec<ArmScore> = hit.arms.iter().cloned().map(ArmScore::from).collect();
            arms.extend(logit.map(|(rank, logit)| ArmScore {
                name: "rerank".to_owned(),
                rank: Some(rank),
                raw: Some(logit),
                normalised: logit,
                weight: 1.0,
            }));
            let score = logit.map_or(hit.score, |(_, logit)| logit);
            hits.push(Hit { score, arms, explanation, ..self.shown(request, &snippets, &document, chunk) });
        }
        Ok(hits)
    }

    /// What is shown of a document, without scores. The chunk is the one nearest to the query, as bytes of the embedded text.
    pub(super) fn shown(
        &self,
        request: &SearchRequest,
        snippets: &[SnippetGenerator],
        document: &TantivyDocument,
        chunk: Option<Range<usize>>,
    ) -> Hit {
        let by_chunk = self.fields.chunks.is_some() && request.mode != Mode::Bm25;
        let snippet = match (by_chunk, request.snippets) {
            (_, false) => None,
            (true, true) => Some(self.chunk_snippet(document, chunk)),
            (false, true) => Some(self.snippet(snippets, document)),
        };
        let text = |field| document.get_first(field).and_then(|value| value.as_str().map(str::to_owned));
        Hit {
            id: text(self.fields.key).unwrap_or_default(),
            title: self.fields.title.and_then(text),
            score: 0.0,
            snippet,
            highlights: request.refinement.highlight.then(|| self.highlights(snippets, document)),
            metadata: self.metadata(document),
            arms: Vec::new(),
            group: None,
            explanation: None,
        }
    }

    /// The explanation of a hit as JSON, below that of the re-ranker where that read it.
    fn explanation(&self, tree: Explanation, logit: Option<(usize, f32)>) -> Result<serde_json::Value, PluginError> {
        let tree = match (logit, &self.reranker) {
            (Some((_, logit)), Some(reranker)) => {
                let mut above = Explanation::new_with_string(format!("logit of `{}`", reranker.name()), logit);
                above.add_detail(tree);
                above
            }
            _ => tree,
        };
        serde_json::to_value(&tree).map_err(|fault| PluginError::Internal {
            problem: format!("an explanation cannot be written as JSON: {fault}"),
        })
    }

    /// How many documents a search can reach: those that match the words, those with a vector, or both, where the filter holds.
    pub(super) fn total(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
        words: &dyn Query,
        arms: &Arms,
    ) -> Result<u64, PluginError> {
        if request.refinement.min_score.is_some() {
            return Ok(arms.hybrid.search(searcher, usize::MAX)?.len() as u64);
        }
        if request.refinement.min_similarity.is_some() {
            return Ok(searcher.search(self.matching(&arms.hybrid)?.as_ref(), &Count)? as u64);
        }
        let (text_weight, vector_weight) = weights(request, self.hybrid_weight());
        let counts = |weight: Option<f32>| weight.is_some_and(|weight| weight > 0.0);
        let words = counts(text_weight).then_some(words);
        let nearest = arms.nearest.clone().filter(|_| counts(vector_weight));
        let filter = arms.filter.as_deref();
        let by_words = match (words, filter) {
            (None, _) => 0,
            (Some(words), None) => searcher.search(words, &Count)?,
            (Some(words), Some(filter)) => {
                searcher.search(&BooleanQuery::intersection(vec![words.box_clone(), filter.box_clone()]), &Count)?
            }
        } as u64;
        let Some(mut nearest) = nearest else { return Ok(by_words) };
        if let Some(filter) = filter {
            nearest = nearest.filter(filter.box_clone());
        }
        if let Some(chunks) = self.fields.chunks {
            // A document is its first chunk.
            nearest = nearest.filter(Box::new(TermQuery::new(chunks.documents(), IndexRecordOption::Basic)));
        }
        let by_vectors = nearest.num_candidates(searcher)?;
        let by_both = match words {
            Some(words) => nearest.filter(words.box_clone()).num_candidates(searcher)?,
            None => 0,
        };
        Ok(by_words + by_vectors - by_both)
    }

    /// Ids and scores of the best `top` documents: what an evaluation needs. An empty query finds nothing.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub fn rank(&self, request: &SearchRequest) -> Result<Vec<(String, f64)>, PluginError> {
        if is_blank(&request.query) && !request.refinement.examples.leads() {
            return Ok(Vec::new());
        }
        let mut request = request.clone();
        if request.mode != Mode::Hybrid && request.top > 0 {
            // All at once: there is no next page.
            request.window = request.window.or(Some(request.offset + request.top)).map(|window| window.min(MAX_HITS));
        }
        let hits = self.search(&request)?.hits;
        let last = hits.len();
        // A run file is read by score, so behind a re-ranker's logits the scores of the search would be out of order.
        let score = |position: usize, hit: &Hit| match request.rerank {
            Some(_) => (last - position) as f64,
            None => f64::from(hit.score),
        };
        Ok((0..)
            .zip(hits)
            .map(|(position, hit)| (score(position, &hit), hit))
            .map(|(score, hit)| (hit.id, score))
            .collect())
    }

    /// The vector of a request's text.
    pub(super) fn vector_of_text(&self, request: &SearchRequest) -> Result<Vec<f32>, PluginError> {
        let Some(vector) = &request.encoded else { return self.query_vector(&request.query) };
        check_vector(vector.iter().copied(), self.fields.vector.options().dimension())
            .map_err(|problem| PluginError::Query { problem: format!("has a vector that {problem}") })?;
        Ok(vector.clone())
    }

    pub(super) fn query_vector(&self, query: &str) -> Result<Vec<f32>, PluginError> {
        let encoded = self.need_encoder("a search by vectors")?.encode_checked(&[query], TextKind::Query);
        // There is only one text, so that its position says nothing.
        let vectors = encoded.map_err(|fault| match fault {
            EncoderError::Text { cause, .. } => *cause,
            fault => fault,
        })?;
        vectors
            .into_iter()
            .next()
            .ok_or_else(|| PluginError::Internal { problem: "the model gave no vector for the query".to_owned() })
    }
}
