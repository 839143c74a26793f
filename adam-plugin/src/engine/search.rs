//! Searching: by words, by meaning, by both.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use adam_encoder::{EncoderError, TextKind};
use serde::{Deserialize, Serialize};
use tantivy::collector::Count;
use tantivy::query::{BooleanQuery, Explanation, Query, TermQuery};
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::snippet::SnippetGenerator;
use tantivy::{DocAddress, Searcher, TantivyDocument};
use tantivy_dense::hybrid::{Arm, FusedHit, Fusion, Hybrid, WINDOW};
use tantivy_dense::{ArmHit, KnnQuery};
use utoipa::ToSchema;

use super::Engine;
use super::chunked::{NearestChunk, Words};
use super::warnings;
use crate::error::PluginError;
use crate::filter::{Filter, all_of};
use crate::query::{check_length, words};

/// Most hits of one search, `offset` included.
pub const MAX_HITS: usize = 10_000;
/// Documents taken at once in a search by words or vectors alone, whose ranking does not depend on it but for approximate indexes.
const WINDOW_ALONE: usize = 50;
/// Characters of a snippet.
const SNIPPET: usize = 240;

/// What is searched by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Words.
    Bm25,
    /// Vectors.
    Dense,
    /// Both, fused.
    #[default]
    Hybrid,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bm25, Self::Dense, Self::Hybrid];
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Bm25 => "bm25",
            Self::Dense => "dense",
            Self::Hybrid => "hybrid",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.to_string() == text)
            .ok_or_else(|| format!("`{text}` is no mode; there are bm25, dense and hybrid"))
    }
}

/// How two rankings become one; see [`Fusion`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FusionName {
    /// [`Fusion::Convex`].
    #[default]
    Convex,
    /// [`Fusion::Rrf`] with 60.
    Rrf,
    /// [`Fusion::MinMax`].
    MinMax,
    /// [`Fusion::ZScore`].
    ZScore,
    /// [`Fusion::Dbsf`].
    Dbsf,
}

impl From<FusionName> for Fusion {
    fn from(name: FusionName) -> Self {
        match name {
            FusionName::Convex => Fusion::Convex,
            FusionName::Rrf => Fusion::rrf(),
            FusionName::MinMax => Fusion::MinMax,
            FusionName::ZScore => Fusion::ZScore,
            FusionName::Dbsf => Fusion::Dbsf,
        }
    }
}

/// A search.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// What the user typed. A query of nothing but spaces is refused.
    pub query: String,
    /// What is searched by.
    pub mode: Mode,
    /// Hits wanted.
    pub top: usize,
    /// Hits passed over before the first: those of the pages before. Pages of one request, of whatever sizes, show every document once,
    /// as long as nothing is committed between them.
    pub offset: usize,
    /// How many documents words and vectors each bring to the fusion first, 1 to [`MAX_HITS`]; further ones follow behind, see
    /// [`tantivy_dense::hybrid`]. The ranking depends on it: the same for all pages. `None`: 200, and 50 in a search by one of the two.
    pub window: Option<usize>,
    /// Whether the response says how many documents there are, on all pages. Takes as long as a search again.
    pub total: bool,
    /// Only documents that match all of these.
    pub filters: Vec<Filter>,
    /// Weight of the vectors in a hybrid search, 0 to 1; the words have the rest.
    pub weight: f32,
    /// How the two become one.
    pub fusion: FusionName,
    /// Whether hits come with a full explanation.
    pub explain: bool,
    /// Whether hits come with a piece of their text.
    pub snippets: bool,
    /// How many of the best hits the engine's re-ranker puts in a new order; none: it is not asked.
    ///
    /// It reads as much of a document's embedded text as it has room for, from the start. In an index with chunks it reads the
    /// chunk nearest to the query instead, unless the search is by words alone, which know of no chunks.
    pub rerank: Option<usize>,
}

/// Weight of the vectors unless asked for otherwise.
///
/// Chosen on training and development queries, with all-MiniLM-L6-v2 and convex fusion, by nDCG@10 at 0.5, 0.6 ... 0.9: SciFact
/// train 0.724, 0.732, 0.741, 0.738, 0.725; CLEF 2020 CheckThat dev 0.816, 0.834, 0.855, 0.872, 0.877.
pub const WEIGHT: f32 = 0.8;

impl SearchRequest {
    /// The ten best hits of a query, hybrid.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            mode: Mode::Hybrid,
            top: 10,
            offset: 0,
            window: None,
            total: false,
            filters: Vec::new(),
            weight: WEIGHT,
            fusion: FusionName::default(),
            explain: false,
            snippets: false,
            rerank: None,
        }
    }
}

/// What a share leaves of a whole, as it is written: 0.2 of 0.8, and not 0.19999999.
fn rest_of(share: f32) -> f32 {
    ((1.0 - f64::from(share)) * 1e6).round() as f32 / 1e6
}

/// A document found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Hit {
    /// Its key.
    pub id: String,
    /// Its title, where the index has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Higher is better: BM25, cosine, the fused score, or the re-ranker's logit. Hits that were re-ranked stand before those
    /// that were not, and their scores cannot be compared.
    pub score: f32,
    /// A piece of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<Snippet>,
    /// What else is known of it, where the index keeps metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// Rank and score by words and by vectors.
    pub arms: Vec<ArmScore>,
    /// Where the score comes from, as a tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<serde_json::Value>,
}

/// A document's rank and score by one arm.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ArmScore {
    /// `bm25`, `dense` or `rerank`.
    pub name: String,
    /// Its place among the candidates by this arm, from 1. Equal scores share a rank.
    pub rank: Option<usize>,
    /// BM25, cosine, or the re-ranker's logit.
    pub raw: Option<f32>,
    /// What the fusion made of it.
    pub normalised: f32,
    /// Its weight in the sum.
    pub weight: f32,
}

impl From<ArmHit> for ArmScore {
    fn from(arm: ArmHit) -> Self {
        Self { name: arm.name, rank: arm.rank, raw: arm.raw, normalised: arm.normalised, weight: arm.weight }
    }
}

/// A piece of a document's text.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Snippet {
    /// The text.
    pub text: String,
    /// Byte ranges in it that match the query's words.
    #[schema(value_type = Vec<Vec<usize>>)]
    pub highlights: Vec<(usize, usize)>,
    /// Where it is the document's nearest chunk: the bytes of the embedded text (the index's template filled in) it spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<(usize, usize)>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SearchResponse {
    /// Milliseconds, encoding the query included.
    pub took_ms: f64,
    /// Best first.
    pub hits: Vec<Hit>,
    /// Documents on all pages together, if asked for: those that have one of the words, or a vector, or either, by the mode, and match the
    /// filters. Of these, the first 10,000 can be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What was noticed: of the query and its filters, what finds nothing, and why.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Searches.
    ///
    /// # Errors
    /// When the request is out of bounds, a filter fits no field, or the model that the mode needs was not opened.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchResponse, PluginError> {
        let began = Instant::now();
        let refuse = |problem: String| PluginError::Query { problem };
        check_length(&request.query)?;
        if request.top.saturating_add(request.offset) > MAX_HITS {
            return Err(refuse(format!("asks for more than {MAX_HITS} hits")));
        }
        if !(0.0..=1.0).contains(&request.weight) {
            return Err(refuse(format!("the weight of the vectors must lie in 0..=1, and is {}", request.weight)));
        }
        if warnings::is_blank(&request.query) {
            return Err(refuse("is empty".to_owned()));
        }
        if request.window.is_some_and(|window| !(1..=MAX_HITS).contains(&window)) {
            return Err(refuse(format!("has a window of {}; it can be 1 to {MAX_HITS}", request.window.unwrap_or(0))));
        }
        self.check_folder()?;
        let searcher = self.reader.searcher();
        let words = words(&self.index, &self.fields.searched, &request.query)?;
        let mut warnings = Vec::new();
        if request.mode != Mode::Dense {
            warnings = warnings::of_words(&self.index, &self.fields.searched, &request.query, &words, request.mode);
        }
        let words = words.query;
        let wanted = request.offset + request.top;
        let mut hybrid = Hybrid::new();
        let (text_weight, vector_weight) = match request.mode {
            Mode::Bm25 => (Some(1.0), None),
            Mode::Dense => (None, Some(1.0)),
            Mode::Hybrid => (Some(rest_of(request.weight)), Some(request.weight)),
        };
        if let Some(weight) = text_weight {
            let query = words.box_clone();
            let arm = match self.fields.chunks {
                Some(fields) => Arm::own(Arc::new(Words { query, fields })),
                None => Arm::text(query),
            };
            hybrid = hybrid.arm("bm25", arm, weight);
        }
        let mut chunks = None;
        let mut nearest = None;
        if let Some(weight) = vector_weight {
            let vector = self.query_vector(&request.query)?;
            let knn = KnnQuery::new(&self.dense, self.fields.vector.clone(), vector, 1);
            let knn = nearest.insert(knn).clone();
            let arm = match self.fields.chunks {
                Some(fields) => {
                    let schema = self.index.schema();
                    let of_documents = |filter: &Filter| filter.is_of_documents(&schema, &self.card.layout.key);
                    let by_document = request.filters.iter().any(of_documents);
                    let by_chunk = chunks.insert(NearestChunk { nearest: knn, fields, by_document });
                    Arm::own(Arc::new(by_chunk.clone()))
                }
                None => Arm::vector(knn),
            };
            hybrid = hybrid.arm("dense", arm, weight);
        }
        // One arm alone keeps its own scores.
        hybrid = match request.mode {
            Mode::Hybrid => hybrid.fusion(request.fusion.into()).window(request.window.unwrap_or(WINDOW)),
            Mode::Bm25 | Mode::Dense => hybrid.fusion(Fusion::Sum).window(request.window.unwrap_or(WINDOW_ALONE)),
        };
        let filter = all_of(&request.filters, &self.index, self.card.layout.metadata.as_deref())?;
        if let Some(filter) = &filter {
            hybrid = hybrid.filter(filter.box_clone());
        }
        let total = if request.total {
            let words = text_weight.filter(|weight| *weight > 0.0).map(|_| words.as_ref());
            let nearest = nearest.filter(|_| vector_weight.is_some_and(|weight| weight > 0.0));
            Some(self.total(&searcher, words, nearest, filter.as_deref())?)
        } else {
            None
        };
        // Pages behind the re-ranked hits are as they are without.
        let depth = request.rerank.filter(|depth| request.offset < *depth).unwrap_or(0).min(MAX_HITS);
        let looked_at = wanted.max(depth);
        let found = hybrid.search(&searcher, looked_at)?;
        let order = self.reranked(&searcher, request, chunks.as_ref(), &found)?;
        let snippets = if request.snippets { self.snippets(&searcher, words.as_ref())? } else { Vec::new() };
        let mut hits = Vec::with_capacity(request.top);
        let shown: Vec<Placed<'_>> = order.into_iter().skip(request.offset).take(request.top).collect();
        let explained: Vec<FusedHit> =
            shown.iter().filter(|_| request.explain).map(|placed| placed.hit.clone()).collect();
        let mut explanations = hybrid.explain_all(&searcher, &explained)?.into_iter();
        for Placed { hit, logit } in shown {
            let mut document: TantivyDocument = searcher.doc(hit.address)?;
            self.add_columns(&searcher, hit.address, &mut document)?;
            let explanation = if let Some(mut tree) = explanations.next() {
                if let (Some((_, logit)), Some(reranker)) = (logit, &self.reranker) {
                    let below = tree;
                    tree = Explanation::new_with_string(format!("logit of `{}`", reranker.name()), logit);
                    tree.add_detail(below);
                }
                Some(serde_json::to_value(&tree).map_err(|fault| refuse(fault.to_string()))?)
            } else {
                None
            };
            let snippet = match (&chunks, request.snippets) {
                (_, false) => None,
                (Some(chunks), true) => Some(self.nearest_chunk(chunks, &searcher, hit.address, &document)?),
                (None, true) => Some(self.snippet(&snippets, &document)),
            };
            let text = |field| document.get_first(field).and_then(|value| value.as_str().map(str::to_owned));
            let mut arms: Vec<ArmScore> = hit.arms.iter().cloned().map(ArmScore::from).collect();
            arms.extend(logit.map(|(place, logit)| ArmScore {
                name: "rerank".to_owned(),
                rank: Some(place),
                raw: Some(logit),
                normalised: logit,
                weight: 1.0,
            }));
            hits.push(Hit {
                id: text(self.fields.key).unwrap_or_default(),
                title: self.fields.title.and_then(text),
                score: logit.map_or(hit.score, |(_, logit)| logit),
                snippet,
                metadata: self.metadata(&document),
                arms,
                explanation,
            });
        }
        warnings.extend(self.filter_warnings(&request.filters)?.iter().map(ToString::to_string));
        Ok(SearchResponse { took_ms: began.elapsed().as_secs_f64() * 1e3, hits, total, warnings })
    }

    /// How many documents a search can reach: those that match the words, those with a vector, or both, where the filter holds.
    fn total(
        &self,
        searcher: &Searcher,
        words: Option<&dyn Query>,
        nearest: Option<KnnQuery>,
        filter: Option<&dyn Query>,
    ) -> Result<u64, PluginError> {
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

    /// The hits in their final order: the first as many as asked for by the re-ranker's logits, the others as they were.
    fn reranked<'a>(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
        chunks: Option<&NearestChunk>,
        found: &'a [FusedHit],
    ) -> Result<Vec<Placed<'a>>, PluginError> {
        let depth = request.rerank.unwrap_or(0);
        let (first, rest) = found.split_at(depth.min(found.len()));
        let mut order = Vec::with_capacity(found.len());
        if request.rerank.is_some() && self.reranker.is_none() {
            let problem = format!("asks to re-rank {depth} hits, and no re-ranker was opened");
            return Err(PluginError::Query { problem });
        }
        // A page behind these shows none of them.
        if let Some(reranker) = self.reranker.as_ref().filter(|_| request.offset < depth) {
            let texts = first
                .iter()
                .map(|hit| self.text_to_score(searcher, chunks, hit.address))
                .collect::<Result<Vec<String>, PluginError>>()?;
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut scored: Vec<(&FusedHit, f32)> = first.iter().zip(reranker.score(&request.query, &texts)?).collect();
            // Stable: of equal logits, the better hit stays in front.
            scored.sort_by(|a, b| b.1.total_cmp(&a.1));
            order.extend((1..).zip(scored).map(|(place, (hit, logit))| Placed { hit, logit: Some((place, logit)) }));
        }
        let unread = if order.is_empty() { found } else { rest };
        order.extend(unread.iter().map(|hit| Placed { hit, logit: None }));
        Ok(order)
    }

    /// What the re-ranker reads of a document: the chunk nearest to the query where chunks were searched, else all of it.
    fn text_to_score(
        &self,
        searcher: &Searcher,
        chunks: Option<&NearestChunk>,
        address: DocAddress,
    ) -> Result<String, PluginError> {
        let text = self.fields.template.render(&searcher.doc(address)?).unwrap_or_default();
        let nearest = match chunks {
            Some(chunks) => chunks.of(searcher, address)?,
            None => None,
        };
        // One that could not be embedded has no nearest chunk.
        let piece = nearest.and_then(|(_, range)| text.get(range)).filter(|piece| !piece.is_empty());
        Ok(piece.map(str::to_owned).unwrap_or(text))
    }

    /// The chunk of a document that is nearest to the query.
    fn nearest_chunk(
        &self,
        chunks: &NearestChunk,
        searcher: &Searcher,
        address: DocAddress,
        document: &TantivyDocument,
    ) -> Result<Snippet, PluginError> {
        let text = self.fields.template.render(document).unwrap_or_default();
        let chunk = chunks.of(searcher, address)?.map(|(_, range)| range);
        let piece = chunk.clone().and_then(|range| text.get(range)).unwrap_or_default();
        Ok(Snippet {
            text: piece.to_owned(),
            highlights: Vec::new(),
            chunk: chunk.map(|range| (range.start, range.end)),
        })
    }

    /// Ids and scores of the best `top` documents: what an evaluation needs. An empty query finds nothing.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub fn rank(&self, request: &SearchRequest) -> Result<Vec<(String, f64)>, PluginError> {
        if warnings::is_blank(&request.query) {
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
        let score = |place: usize, hit: &Hit| match request.rerank {
            Some(_) => (last - place) as f64,
            None => f64::from(hit.score),
        };
        Ok((0..).zip(hits).map(|(place, hit)| (score(place, &hit), hit)).map(|(score, hit)| (hit.id, score)).collect())
    }

    fn query_vector(&self, query: &str) -> Result<Vec<f32>, PluginError> {
        let encoded = self.encoder("a search by vectors")?.encode_checked(&[query], TextKind::Query);
        // There is only one text, so that its place says nothing.
        let vectors = encoded.map_err(|fault| match fault {
            EncoderError::Text { source, .. } => *source,
            fault => fault,
        })?;
        vectors
            .into_iter()
            .next()
            .ok_or_else(|| PluginError::Query { problem: "the model gave no vector for it".to_owned() })
    }

    fn snippets(&self, searcher: &Searcher, words: &dyn Query) -> Result<Vec<SnippetGenerator>, PluginError> {
        let mut generators = Vec::new();
        for &field in &self.fields.searched {
            let mut generator = SnippetGenerator::create(searcher, words, field)?;
            generator.set_max_num_chars(SNIPPET);
            generators.push(generator);
        }
        Ok(generators)
    }

    fn snippet(&self, generators: &[SnippetGenerator], document: &TantivyDocument) -> Snippet {
        let texts: Vec<&str> = self
            .fields
            .shown
            .iter()
            .filter(|&&field| Some(field) != self.fields.title)
            .flat_map(|&field| document.get_all(field))
            .filter_map(|value| value.as_str())
            .collect();
        for text in &texts {
            for generator in generators {
                let snippet = generator.snippet(text);
                if !snippet.highlighted().is_empty() {
                    return Snippet {
                        highlights: joined(snippet.highlighted()),
                        text: snippet.fragment().to_owned(),
                        chunk: None,
                    };
                }
            }
        }
        let text: String = texts.first().map(|text| text.chars().take(SNIPPET).collect()).unwrap_or_default();
        Snippet { text, highlights: Vec::new(), chunk: None }
    }
}

/// Ranges in order, those joined that overlap or touch: pairs of letters share one.
fn joined(ranges: &[Range<usize>]) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = ranges.iter().map(|range| (range.start, range.end)).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(usize, usize)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// A hit in its final place, with its place and logit by the re-ranker.
struct Placed<'a> {
    hit: &'a FusedHit,
    logit: Option<(usize, f32)>,
}
