//! What is searched for, and how.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tantivy_dense::hybrid::Fusion;

use super::analysis::is_blank;
use super::expand::WordOptions;
use super::refine::Refinement;
use crate::error::{PluginError, UnknownName};
use crate::filter::Filter;
use crate::query::check_length;

/// Most hits of one search, `offset` included.
pub const MAX_HITS: usize = 10_000;

/// How a search ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Lexical: BM25.
    Bm25,
    /// By vectors.
    Dense,
    /// Both, fused.
    #[default]
    Hybrid,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bm25, Self::Dense, Self::Hybrid];

    const NAMES: [&str; 3] = ["bm25", "dense", "hybrid"];
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Mode {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        UnknownName::find("mode", text, &Self::NAMES).map(|position| Self::ALL[position])
    }
}

/// The name of a fusion, for requests and options; see [`Fusion`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

impl FusionName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Convex, Self::Rrf, Self::MinMax, Self::ZScore, Self::Dbsf];

    /// Their names, in the same order.
    pub const NAMES: [&str; 5] = ["convex", "rrf", "min-max", "z-score", "dbsf"];
}

impl fmt::Display for FusionName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for FusionName {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        UnknownName::find("fusion", text, &Self::NAMES).map(|position| Self::ALL[position])
    }
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

/// A search: a query, and how it is ranked and shown.
///
/// ```
/// use adam_plugin::{Mode, SearchRequest};
///
/// # fn main() -> Result<(), adam_plugin::PluginError> {
/// let request = SearchRequest::new("birds that use tools").mode(Mode::Dense).top(3).filter("year:2000..2010".parse()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SearchRequest {
    pub(super) query: String,
    /// The vector of the query's text, if it is known.
    pub(super) encoded: Option<Vec<f32>>,
    pub(super) mode: Mode,
    pub(super) top: usize,
    pub(super) offset: usize,
    pub(super) window: Option<usize>,
    pub(super) total: bool,
    pub(super) filters: Vec<Filter>,
    pub(super) weight: Option<f32>,
    pub(super) fusion: FusionName,
    pub(super) explain: bool,
    pub(super) snippets: bool,
    pub(super) rerank: Option<usize>,
    pub(super) refinement: Refinement,
    pub(super) words: WordOptions,
}

/// Weight of the vectors in a hybrid search that names none, of an index whose model brings none.
///
/// Chosen on training and development queries, with all-MiniLM-L6-v2 and convex fusion, by nDCG@10 at 0.5, 0.6 ... 0.9: SciFact
/// train 0.724, 0.732, 0.741, 0.738, 0.725; CLEF 2020 CheckThat dev 0.816, 0.834, 0.855, 0.872, 0.877.
pub const WEIGHT: f32 = 0.8;

/// Number of hits by default.
const TOP: usize = 10;

impl SearchRequest {
    /// The ten best hits of a hybrid search. A query of white space alone is refused.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            encoded: None,
            mode: Mode::Hybrid,
            top: TOP,
            offset: 0,
            window: None,
            total: false,
            filters: Vec::new(),
            weight: None,
            fusion: FusionName::default(),
            explain: false,
            snippets: false,
            rerank: None,
            refinement: Refinement::default(),
            words: WordOptions::default(),
        }
    }

    /// The vector of the query's text, made before by the index's model ([`Engine::encode_query`](super::Engine::encode_query)), so
    /// that it is not encoded again. Default: none.
    #[must_use]
    pub fn encoded(mut self, vector: impl Into<Option<Vec<f32>>>) -> Self {
        self.encoded = vector.into();
        self
    }

    /// How the search ranks. Default: hybrid.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Number of hits. Default: 10.
    #[must_use]
    pub fn top(mut self, hits: usize) -> Self {
        self.top = hits;
        self
    }

    /// Number of hits before the first that is shown: those of the pages before. Pages of one request, of whatever sizes, show every
    /// document once, as long as nothing is committed between them. Default: 0.
    #[must_use]
    pub fn offset(mut self, hits: usize) -> Self {
        self.offset = hits;
        self
    }

    /// How many candidates each arm brings to the fusion first, 1 to [`MAX_HITS`]; further ones follow behind, see
    /// [`tantivy_dense::hybrid`]. The ranking depends on it, so it must be the same for all pages. Default: 200 in a hybrid search, 50
    /// otherwise.
    #[must_use]
    pub fn window(mut self, candidates: impl Into<Option<usize>>) -> Self {
        self.window = candidates.into();
        self
    }

    /// Whether the response says how many documents there are on all pages. It takes as long as a second search. Default: false.
    #[must_use]
    pub fn total(mut self, total: bool) -> Self {
        self.total = total;
        self
    }

    /// A filter that documents must match, in addition to earlier ones.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Filters that documents must all match, in addition to earlier ones.
    #[must_use]
    pub fn filters(mut self, filters: impl IntoIterator<Item = Filter>) -> Self {
        self.filters.extend(filters);
        self
    }

    /// Weight of the vectors in a hybrid search, 0 to 1; the lexical score has the rest. Default:
    /// [`Engine::hybrid_weight`](super::Engine::hybrid_weight).
    #[must_use]
    pub fn weight(mut self, weight: impl Into<Option<f32>>) -> Self {
        self.weight = weight.into();
        self
    }

    /// How the two rankings become one. Default: convex.
    #[must_use]
    pub fn fusion(mut self, fusion: FusionName) -> Self {
        self.fusion = fusion;
        self
    }

    /// Whether hits come with a full explanation of their scores. Default: false.
    #[must_use]
    pub fn explain(mut self, explain: bool) -> Self {
        self.explain = explain;
        self
    }

    /// Whether hits come with a piece of their text. Default: false.
    #[must_use]
    pub fn snippets(mut self, snippets: bool) -> Self {
        self.snippets = snippets;
        self
    }

    /// How many of the best hits the engine's re-ranker puts in a new order. Default: none.
    ///
    /// It reads as much of a document's embedded text as fits its input, from the start. In an index with chunks it reads the
    /// chunk nearest to the query instead, unless the search is lexical, which knows no chunks.
    #[must_use]
    pub fn rerank(mut self, hits: impl Into<Option<usize>>) -> Self {
        self.rerank = hits.into();
        self
    }

    /// Refuses what is out of bounds.
    pub(super) fn check(&self) -> Result<(), PluginError> {
        let refuse = |problem: String| Err(PluginError::Query { problem });
        check_length(&self.query)?;
        self.words.check()?;
        if self.top.saturating_add(self.offset) > MAX_HITS {
            return refuse(format!("asks for more than {MAX_HITS} hits"));
        }
        if let Some(weight) = self.weight.filter(|weight| !(0.0..=1.0).contains(weight)) {
            return refuse(format!("the weight of the vectors must lie in 0..=1, and is {weight}"));
        }
        if is_blank(&self.query) && !self.refinement.examples.leads() {
            return refuse("is empty".to_owned());
        }
        match self.window {
            Some(window) if !(1..=MAX_HITS).contains(&window) => {
                refuse(format!("has a window of {window}; it can be 1 to {MAX_HITS}"))
            }
            _ => self.check_refinement(),
        }
    }
}
