//! What a request says of what comes after the ranking and beside it.

use serde_json::Value;

use super::boost::Boost;
use super::examples::Examples;
use super::facets::Facet;
use super::grouping::Grouping;
use super::sorting::Sorting;

/// What refines a ranking.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Refinement {
    pub(in crate::engine) boosts: Vec<Boost>,
    pub(in crate::engine) min_score: Option<f32>,
    pub(in crate::engine) min_similarity: Option<f32>,
    pub(in crate::engine) grouping: Option<Grouping>,
    pub(in crate::engine) sorting: Option<Sorting>,
    pub(in crate::engine) diversity: Option<f32>,
    pub(in crate::engine) facets: Vec<Facet>,
    pub(in crate::engine) aggregations: Option<Value>,
    pub(in crate::engine) examples: Examples,
    pub(in crate::engine) highlight: bool,
    pub(in crate::engine) cursor: Option<String>,
    /// What `now` is, in seconds since 1970; the time of the search if not said.
    pub(in crate::engine) now: Option<i64>,
}

impl Refinement {
    /// Whether the ranking is as it is without.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.boosts.is_empty() && self.grouping.is_none() && self.sorting.is_none() && self.diversity.is_none()
    }
}
