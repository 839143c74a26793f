//! The part of a request that refines its ranking.

use super::boost::Boost;
use super::grouping::Grouping;
use crate::engine::request::{MAX_HITS, SearchRequest};
use crate::error::PluginError;

/// Most boosts of a request.
const MAX_BOOSTS: usize = 32;

/// What refines a ranking.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Refinement {
    pub(in crate::engine) boosts: Vec<Boost>,
    pub(in crate::engine) min_score: Option<f32>,
    pub(in crate::engine) min_similarity: Option<f32>,
    pub(in crate::engine) grouping: Option<Grouping>,
}

impl Refinement {
    /// Whether the ranking is as it is without.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        let Self { boosts, min_score: _, min_similarity: _, grouping } = self;
        boosts.is_empty() && grouping.is_none()
    }
}

impl SearchRequest {
    /// Shapes the score by what is known of a document, after earlier boosts: see [`Boost`]. It acts on the documents of the
    /// [window](Self::window), so a boost that shall bring documents forward from far behind needs a large one.
    #[must_use]
    pub fn boost(mut self, boost: Boost) -> Self {
        self.refinement.boosts.push(boost);
        self
    }

    /// As [`boost`](Self::boost), for several.
    #[must_use]
    pub fn boosts(mut self, boosts: impl IntoIterator<Item = Boost>) -> Self {
        self.refinement.boosts.extend(boosts);
        self
    }

    /// Leaves out documents with a lower score, after the boosts. The ranking ends with the [window](Self::window) then, but in a search by
    /// words or by vectors alone without boosts, whose scores say the same of every document.
    ///
    /// In a hybrid search the scores are shares of the best hit's, and the best hit of an arm has all of its weight however bad it is. To get
    /// no hits where nothing fits, give [`min_similarity`](Self::min_similarity). Default: none.
    #[must_use]
    pub fn min_score(mut self, score: impl Into<Option<f32>>) -> Self {
        self.refinement.min_score = score.into();
        self
    }

    /// The least similarity by which the vectors find a document: a cosine, -1 to 1, in an index that `adam` makes. Which one divides what fits from
    /// what does not depends on the model. Default: none.
    #[must_use]
    pub fn min_similarity(mut self, similarity: impl Into<Option<f32>>) -> Self {
        self.refinement.min_similarity = similarity.into();
        self
    }

    /// Groups hits by the value of a field; [`top`](Self::top) and [`offset`](Self::offset) then count groups. Default: no groups.
    #[must_use]
    pub fn group(mut self, grouping: impl Into<Option<Grouping>>) -> Self {
        self.refinement.grouping = grouping.into();
        self
    }

    /// Refuses what is out of bounds or does not go together.
    pub(in crate::engine) fn check_refinement(&self) -> Result<(), PluginError> {
        let refuse = |problem: String| Err(PluginError::Query { problem });
        let refinement = &self.refinement;
        if refinement.boosts.len() > MAX_BOOSTS {
            return refuse(format!("has {} boosts; it can have {MAX_BOOSTS}", refinement.boosts.len()));
        }
        for (name, least) in [("least score", refinement.min_score), ("least similarity", refinement.min_similarity)] {
            if let Some(least) = least.filter(|least| !least.is_finite()) {
                return refuse(format!("the {name} must be a number, and is {least}"));
            }
        }
        if let Some(grouping) = &refinement.grouping {
            if grouping.size == 0 || self.top.saturating_add(self.offset).saturating_mul(grouping.size) > MAX_HITS {
                return refuse(format!(
                    "asks for groups of {} hits; groups and hits of each, multiplied, can be 1 to {MAX_HITS}",
                    grouping.size
                ));
            }
            if self.rerank.is_some() {
                return refuse("groups hits and re-ranks them; do one of the two".to_owned());
            }
        }
        Ok(())
    }
}
