//! One search over the shards of an index that are open in several processes, or on several machines.
//!
//! Three rounds, each a call of every shard's engine, with data that can be sent ([`Statistics`] and [`Candidates`] are serde's):
//!
//! 1. [`Engine::statistics`]: what BM25 needs to know of the query's words. Their sum is that of one index.
//! 2. [`Engine::candidates`]: what the arms find in a shard, scored by these sums. A [`GatheredSearch`] makes one ranking of them.
//! 3. [`Engine::fetch`]: what is shown of the hits of a page.
//!
//! Ids, order and score bits are those of [`Engine::search`] on an index with all documents, where vectors are compared exactly and deleted
//! documents are merged away. An index without chunks is needed for the order of equal scores.
//!
//! ```no_run
//! use adam_plugin::engine::gather::{GatheredSearch, Statistics};
//! use adam_plugin::{Engine, SearchRequest};
//!
//! # fn main() -> Result<(), adam_plugin::PluginError> {
//! # let (first, second): (Engine, Engine) = todo!();
//! let shards = [first, second];
//! let request = SearchRequest::new("crows use tools");
//! // Encoded once, for all shards.
//! let request = request.clone().encoded(shards[0].encode_query("crows use tools")?);
//! let parts = shards.iter().map(|shard| shard.statistics(&request)).collect::<Result<Vec<_>, _>>()?;
//! let statistics = Statistics::sum(&parts)?;
//! let mut search = GatheredSearch::new(&request, &statistics)?;
//! while let Some(window) = search.window() {
//!     let found = shards.iter().map(|shard| shard.candidates(&request, &statistics, window));
//!     search.add(&found.collect::<Result<Vec<_>, _>>()?)?;
//! }
//! let keys = search.keys(shards.len());
//! let fetched = shards.iter().zip(&keys).map(|(shard, keys)| shard.fetch(&request, keys));
//! let response = search.response(fetched.collect::<Result<Vec<_>, _>>()?)?;
//! # Ok(())
//! # }
//! ```

mod part;
mod root;
mod statistics;

pub use root::GatheredSearch;
pub use statistics::Statistics;
pub use tantivy_dense::hybrid::{Candidate, Candidates};

use super::Engine;
use super::request::SearchRequest;
use crate::error::PluginError;

/// Refuses what one shard cannot know, or what is not put together yet.
fn check(request: &SearchRequest) -> Result<(), PluginError> {
    request.check()?;
    let refinement = &request.refinement;
    let asked = [
        ("looks past typing errors", request.words.has_typos()),
        ("asks what may have been meant", request.words.suggest),
        ("explains its hits", request.explain),
        ("re-ranks its hits", request.rerank.is_some()),
        ("has boosts", !refinement.boosts.is_empty()),
        ("has a least score", refinement.min_score.is_some()),
        ("groups its hits", refinement.grouping.is_some()),
        ("sorts its hits by a field", refinement.sorting.is_some()),
        ("makes its hits diverse", refinement.diversity.is_some()),
        ("counts facets", !refinement.facets.is_empty()),
        ("aggregates", refinement.aggregations.is_some()),
        ("goes on from a cursor", refinement.cursor.is_some()),
        ("is led by documents", refinement.examples.needs_documents()),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(PluginError::Query {
            problem: format!("{what}, which a search over several processes cannot do; open the whole index in one"),
        }),
        None => Ok(()),
    }
}
