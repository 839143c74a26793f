//! What happens after the ranking and beside it: boosts, least score, groups, order, counts.

mod boost;
mod cursor;
mod duration;
mod examples;
mod facets;
mod fields;
mod grouping;
mod named;
mod refinement;
mod request;
mod sorting;

use tantivy::Searcher;
use tantivy_dense::hybrid::{Diversity, Hybrid, Sort};

use super::Engine;
use super::request::SearchRequest;
use crate::error::PluginError;

pub use boost::{Boost, BoostFunction, Combination, NumberOrText};
pub use cursor::MAX_DEEP_HITS;
pub(super) use cursor::{at_cursor, next};
pub use examples::Example;
pub(super) use examples::Guides;
pub use facets::Facet;
pub(super) use grouping::GroupPage;
pub use grouping::Grouping;
pub(super) use refinement::Refinement;
pub use sorting::{Direction, Sorting};

impl Engine {
    /// A search with the request's boosts and its least score.
    pub(super) fn refined(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
        hybrid: Hybrid,
    ) -> Result<Hybrid, PluginError> {
        let refinement = &request.refinement;
        let mut hybrid = hybrid.least_score(refinement.min_score);
        for boost in &refinement.boosts {
            hybrid = hybrid.boost(self.boost(searcher, boost, refinement.now)?);
        }
        if let Some(sorting) = &refinement.sorting {
            let field = self.value_field(searcher, &sorting.field, fields::Kind::Any)?;
            hybrid = hybrid.sort(Sort::new(field, sorting.order.into()));
        }
        if let Some(lambda) = refinement.diversity {
            hybrid = hybrid.diversity(Diversity::new(&self.dense, self.fields.vector.clone(), lambda));
        }
        Ok(hybrid)
    }

    /// What to say where a least score left nothing: the honest answer to a query that nothing fits.
    pub(super) fn warn_of_least_score(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
        hybrid: &Hybrid,
    ) -> Result<Option<String>, PluginError> {
        let Some(least) = request.refinement.min_score.filter(|_| request.offset == 0 && request.top > 0) else {
            return Ok(None);
        };
        let best = hybrid.clone().least_score(None).sort(None).diversity(None).search(searcher, 1)?;
        Ok(best.first().map(|best| format!("no document has a score of {least} or more; the best has {}", best.score)))
    }
}
