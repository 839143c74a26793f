//! What happens after the ranking and beside it: boosts, least score, groups.

mod boost;
mod duration;
mod fields;
mod grouping;
mod request;

use tantivy::Searcher;
use tantivy_dense::hybrid::Hybrid;

use super::Engine;
use super::request::SearchRequest;
use crate::error::PluginError;

pub use boost::{Boost, BoostFunction, Combination, NumberOrText};
pub use grouping::Grouping;
pub(super) use request::Refinement;

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
            hybrid = hybrid.boost(self.boost(searcher, boost)?);
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
