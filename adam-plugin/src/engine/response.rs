//! What a search found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tantivy_dense::ArmHit;

/// A hit of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hit {
    /// Its key.
    pub id: String,
    /// Its title, where the index has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Higher is better: BM25, cosine, the fused score, or the re-ranker's logit. Hits that were re-ranked stand before those
    /// that were not, and their scores cannot be compared.
    pub score: f32,
    /// A piece of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<Snippet>,
    /// Its fields of text in which the query's words come, with these marked, by name, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highlights: Option<BTreeMap<String, Vec<Snippet>>>,
    /// What else is known of it, where the index keeps metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// Rank and score by each arm: `bm25`, `dense`.
    pub arms: Vec<ArmScore>,
    /// Its group, where hits are grouped. The hits of a group stand together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<HitGroup>,
    /// Where the score comes from, as a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<serde_json::Value>,
}

/// The group of a hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HitGroup {
    /// Its place among the groups, from 1.
    pub rank: usize,
    /// The value that its documents have in common; absent for a document without one, which is a group of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    /// Documents of the group that the search can reach, on all pages.
    pub documents: u64,
}

/// The most frequent values of a field.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FacetCounts {
    /// The most frequent first.
    pub values: Vec<FacetValue>,
    /// How often other values came, together.
    pub others: u64,
}

/// A value, and how many documents have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FacetValue {
    /// A text, number or truth value; a date or facet as text.
    pub value: serde_json::Value,
    /// Documents.
    pub documents: u64,
}

/// A document's rank and score by one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Snippet {
    /// The text.
    pub text: String,
    /// Byte ranges in it that match the query's words.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<usize>>))]
    pub highlights: Vec<(usize, usize)>,
    /// Where it is the document's nearest chunk: the bytes of the embedded text (the index's template filled in) it spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<(usize, usize)>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchResponse {
    /// Milliseconds, encoding the query included.
    pub took_ms: f64,
    /// Best first.
    pub hits: Vec<Hit>,
    /// Documents on all pages together, if asked for: those that have one of the words, or a vector, or either, by the mode, and match the
    /// filters. Of these, the first 10,000 can be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Groups on all pages together, where hits are grouped and the total was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
    /// The cursor of the next page, where the request has one and there may be another page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The facets that were asked for, by the names they were asked by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facets: Option<BTreeMap<String, FacetCounts>>,
    /// The aggregations that were asked for, as tantivy writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub aggregations: Option<serde_json::Value>,
    /// The query with words that the index has in place of those it lacks, if asked for and if there are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
    /// Warnings: which parts of the query and its filters find nothing, and why.
    pub warnings: Vec<String>,
}
