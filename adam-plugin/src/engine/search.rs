//! Searching: by words, by meaning, by both.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use adam_encoder::TextKind;
use serde::{Deserialize, Serialize};
use tantivy::query::Query;
use tantivy::schema::Value;
use tantivy::snippet::SnippetGenerator;
use tantivy::{Searcher, TantivyDocument};
use tantivy_dense::hybrid::{Arm, Fusion, Hybrid};
use tantivy_dense::{ArmHit, KnnQuery};
use utoipa::ToSchema;

use super::Engine;
use crate::error::PluginError;
use crate::query::{Filter, Syntax, all_of, check_length, text_query};

/// Most hits of one search, `offset` included.
pub const MAX_HITS: usize = 10_000;
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
    /// What the user typed.
    pub query: String,
    /// What is searched by.
    pub mode: Mode,
    /// Hits wanted.
    pub top: usize,
    /// Hits passed over before the first.
    pub offset: usize,
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
}

/// Weight of the vectors unless asked for otherwise.
pub const WEIGHT: f32 = 0.5;

impl SearchRequest {
    /// The ten best hits of a query, hybrid.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            mode: Mode::Hybrid,
            top: 10,
            offset: 0,
            filters: Vec::new(),
            weight: WEIGHT,
            fusion: FusionName::default(),
            explain: false,
            snippets: false,
        }
    }
}

/// A document found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Hit {
    /// Its key.
    pub id: String,
    /// Its title, where the index has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Higher is better: BM25, cosine, or the fused score.
    pub score: f32,
    /// A piece of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<Snippet>,
    /// What words and vectors each thought of it.
    pub arms: Vec<ArmScore>,
    /// Where the score comes from, as a tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<serde_json::Value>,
}

/// What one arm thought of a document.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ArmScore {
    /// `bm25` or `dense`.
    pub name: String,
    /// Its place among the candidates by this arm, from 1.
    pub rank: Option<usize>,
    /// BM25 or cosine.
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
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SearchResponse {
    /// Milliseconds, encoding the query included.
    pub took_ms: f64,
    /// Best first.
    pub hits: Vec<Hit>,
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
        let searcher = self.reader.searcher();
        let words = text_query(&self.index, &self.fields.searched, &request.query, Syntax::Words)?;
        let wanted = request.offset + request.top;
        let mut hybrid = Hybrid::new();
        let (text_weight, vector_weight) = match request.mode {
            Mode::Bm25 => (Some(1.0), None),
            Mode::Dense => (None, Some(1.0)),
            Mode::Hybrid => (Some(1.0 - request.weight), Some(request.weight)),
        };
        if let Some(weight) = text_weight {
            hybrid = hybrid.arm("bm25", Arm::text(words.box_clone()), weight);
        }
        if let Some(weight) = vector_weight {
            let vector = self.query_vector(&request.query)?;
            let nearest = KnnQuery::new(&self.dense, self.fields.vector.clone(), vector, wanted.max(1));
            hybrid = hybrid.arm("dense", Arm::vector(nearest), weight);
        }
        // One arm alone keeps its own scores.
        hybrid = match request.mode {
            Mode::Hybrid => hybrid.fusion(request.fusion.into()),
            Mode::Bm25 | Mode::Dense => hybrid.fusion(Fusion::Sum).window(1),
        };
        if let Some(filter) = all_of(&request.filters, &self.index, self.card.layout.metadata.as_deref())? {
            hybrid = hybrid.filter(filter);
        }
        let found = hybrid.search(&searcher, wanted)?;
        let snippets = if request.snippets { self.snippets(&searcher, words.as_ref())? } else { Vec::new() };
        let mut hits = Vec::with_capacity(request.top);
        for hit in found.into_iter().skip(request.offset) {
            let document: TantivyDocument = searcher.doc(hit.address)?;
            let explanation = if request.explain {
                let tree = hybrid.explain(&searcher, &hit)?;
                Some(serde_json::to_value(&tree).map_err(|fault| refuse(fault.to_string()))?)
            } else {
                None
            };
            let text = |field| document.get_first(field).and_then(|value| value.as_str().map(str::to_owned));
            hits.push(Hit {
                id: text(self.fields.key).unwrap_or_default(),
                title: self.fields.title.and_then(text),
                score: hit.score,
                snippet: request.snippets.then(|| self.snippet(&snippets, &document)),
                arms: hit.arms.into_iter().map(ArmScore::from).collect(),
                explanation,
            });
        }
        Ok(SearchResponse { took_ms: began.elapsed().as_secs_f64() * 1e3, hits })
    }

    /// Ids and scores of the best `top` documents: what an evaluation needs, without reading documents.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub fn rank(&self, request: &SearchRequest) -> Result<Vec<(String, f64)>, PluginError> {
        let response = self.search(request)?;
        Ok(response.hits.into_iter().map(|hit| (hit.id, f64::from(hit.score))).collect())
    }

    fn query_vector(&self, query: &str) -> Result<Vec<f32>, PluginError> {
        let vectors = self.encoder("a search by vectors")?.encode(&[query], TextKind::Query)?;
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
                        highlights: snippet.highlighted().iter().map(|range| (range.start, range.end)).collect(),
                        text: snippet.fragment().to_owned(),
                    };
                }
            }
        }
        let text: String = texts.first().map(|text| text.chars().take(SNIPPET).collect()).unwrap_or_default();
        Snippet { text, highlights: Vec::new() }
    }
}
