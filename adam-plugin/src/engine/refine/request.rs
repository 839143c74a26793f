//! The part of a request that refines its ranking.

use serde_json::Value;

use super::boost::Boost;
use super::examples::Example;
use super::facets::{Facet, MAX_VALUES};
use super::grouping::Grouping;
use super::sorting::Sorting;
use crate::engine::analysis::is_blank;
use crate::engine::request::{MAX_HITS, SearchRequest};
use crate::error::PluginError;

/// Most boosts of a request.
const MAX_BOOSTS: usize = 32;
/// Most facets of a request.
const MAX_FACETS: usize = 64;

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

    /// Orders the documents of the [window](Self::window) by a field; the ranking ends with them. Default: by score.
    #[must_use]
    pub fn sort(mut self, sorting: impl Into<Option<Sorting>>) -> Self {
        self.refinement.sorting = sorting.into();
        self
    }

    /// Puts hits forward that differ from those before them, by maximal marginal relevance over the vectors: see
    /// [`tantivy_dense::hybrid::Diversity`]. 0 to 1: with 1 the order is that of the scores. In an index with chunks, documents are compared by
    /// their first chunks. Default: none.
    #[must_use]
    pub fn diversity(mut self, lambda: impl Into<Option<f32>>) -> Self {
        self.refinement.diversity = lambda.into();
        self
    }

    /// Counts the most frequent values of a field among all documents that the search can reach: those that have one of the words, or a
    /// vector, or either, by the mode, and match the filters. A least score does not count. Several facets are counted at once.
    #[must_use]
    pub fn facet(mut self, facet: Facet) -> Self {
        self.refinement.facets.push(facet);
        self
    }

    /// As [`facet`](Self::facet), for several.
    #[must_use]
    pub fn facets(mut self, facets: impl IntoIterator<Item = Facet>) -> Self {
        self.refinement.facets.extend(facets);
        self
    }

    /// Aggregations as [tantivy](tantivy::aggregation) reads them from JSON, which is as Elasticsearch does, over the same documents as
    /// [facets](Self::facet). Where it says `field`, a name in metadata may stand as a filter has it.
    ///
    /// ```
    /// use adam_plugin::SearchRequest;
    ///
    /// let request = SearchRequest::new("kettle").aggregations(serde_json::json!({
    ///     "price": {"stats": {"field": "price"}},
    ///     "years": {"histogram": {"field": "year", "interval": 10}},
    /// }));
    /// ```
    #[must_use]
    pub fn aggregations(mut self, aggregations: impl Into<Option<Value>>) -> Self {
        self.refinement.aggregations = aggregations.into();
        self
    }

    /// More like documents of the index: a request without a query, led by them. They are no hits themselves, and each counts by its weight. By
    /// vectors the weighted mean of theirs is searched for, by words those of theirs that tell most, in a hybrid search both.
    ///
    /// ```
    /// use adam_plugin::SearchRequest;
    /// use adam_plugin::engine::Example;
    ///
    /// let request = SearchRequest::more_like([Example::new("crow"), Example::new("raven").weight(0.5)]).unlike(["glass"]);
    /// ```
    pub fn more_like(examples: impl IntoIterator<Item = Example>) -> Self {
        Self::new("").like(examples)
    }

    /// Hits like documents of the index, in addition to the query: see [`more_like`](Self::more_like).
    #[must_use]
    pub fn like(mut self, examples: impl IntoIterator<Item = Example>) -> Self {
        self.refinement.examples.like.extend(examples);
        self
    }

    /// Away from documents of the index, which are no hits themselves: half the mean of their vectors is taken from what is searched for, and
    /// words of [examples](Self::more_like) that they have as well count less.
    #[must_use]
    pub fn unlike<Id: Into<String>>(mut self, ids: impl IntoIterator<Item = Id>) -> Self {
        self.refinement.examples.unlike.extend(ids.into_iter().map(Into::into));
        self
    }

    /// A vector of the index's own model to search for, alone or with a query and examples. Words are not found by it.
    #[must_use]
    pub fn vector(mut self, vector: impl Into<Option<Vec<f32>>>) -> Self {
        self.refinement.examples.vector = vector.into();
        self
    }

    /// Whether hits come with the matching words marked in each of their stored fields of text. Default: false.
    #[must_use]
    pub fn highlight(mut self, highlight: bool) -> Self {
        self.refinement.highlight = highlight;
        self
    }

    /// Goes over pages by a cursor: `*` for the first, then the cursor of the response before. It takes the place of [`offset`](Self::offset), reaches
    /// 100,000 hits, and is refused once the index has changed or with another request, where pages would not fit together.
    #[must_use]
    pub fn cursor(mut self, cursor: impl Into<Option<String>>) -> Self {
        self.refinement.cursor = cursor.into();
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
        if let Some(grouping) = &refinement.grouping
            && (grouping.size == 0 || self.top.saturating_add(self.offset).saturating_mul(grouping.size) > MAX_HITS)
        {
            return refuse(format!(
                "asks for groups of {} hits; groups and hits of each, multiplied, can be 1 to {MAX_HITS}",
                grouping.size
            ));
        }
        let orders = [
            ("groups hits", refinement.grouping.is_some()),
            ("sorts hits by a field", refinement.sorting.is_some()),
            ("makes hits diverse", refinement.diversity.is_some()),
        ];
        if let Some((what, _)) = orders.iter().find(|(_, is_there)| *is_there && self.rerank.is_some()) {
            return refuse(format!("{what} and re-ranks them; do one of the two"));
        }
        if refinement.sorting.is_some() && refinement.diversity.is_some() {
            return refuse("sorts hits by a field and makes them diverse; do one of the two".to_owned());
        }
        if let Some(lambda) = refinement.diversity.filter(|lambda| !(0.0..=1.0).contains(lambda)) {
            return refuse(format!("the lambda of diversity must lie in 0..=1, and is {lambda}"));
        }
        refinement.examples.check().or_else(refuse)?;
        if refinement.cursor.is_some() && self.offset > 0 {
            return refuse("has an offset and a cursor; the cursor says where the page begins".to_owned());
        }
        if self.rerank.is_some() && is_blank(&self.query) {
            return refuse("re-ranks hits, which needs the text of a query".to_owned());
        }
        if refinement.facets.len() > MAX_FACETS {
            return refuse(format!("has {} facets; it can have {MAX_FACETS}", refinement.facets.len()));
        }
        for (at, facet) in refinement.facets.iter().enumerate() {
            if !(1..=MAX_VALUES).contains(&facet.size) {
                return refuse(format!(
                    "the facet `{}` has {} values; it can have 1 to {MAX_VALUES}",
                    facet.field, facet.size
                ));
            }
            if refinement.facets[..at].iter().any(|earlier| earlier.field == facet.field) {
                return refuse(format!("has the facet `{}` twice", facet.field));
            }
        }
        Ok(())
    }
}
