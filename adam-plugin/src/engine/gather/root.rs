//! One ranking of what all shards found.

use std::collections::HashMap;
use std::time::Instant;

use tantivy_dense::hybrid::{Candidates, Fusion, GatheredHit, Gathering, WINDOW};

use super::check;
use super::statistics::Statistics;
use crate::engine::request::{Mode, SearchRequest};
use crate::engine::response::{ArmScore, Hit, SearchResponse};
use crate::engine::search::{WINDOW_ALONE, weights};
use crate::error::PluginError;

/// A search over several shards, as far as it has come.
#[derive(Debug)]
pub struct GatheredSearch {
    began: Instant,
    gathering: Gathering,
    hits: Vec<GatheredHit>,
    offset: usize,
    top: usize,
    total: Option<u64>,
    warnings: Vec<String>,
}

impl GatheredSearch {
    /// Begins a search with the [sum](Statistics::sum) of all shards' statistics.
    ///
    /// # Errors
    /// [`PluginError::Query`] where the request is out of bounds, or asks for what only the whole index can do.
    pub fn new(request: &SearchRequest, statistics: &Statistics) -> Result<Self, PluginError> {
        check(request)?;
        let (text, vector) = weights(request, statistics.hybrid_weight);
        let arms = [("bm25", text), ("dense", vector)].into_iter().filter_map(|(name, weight)| Some((name, weight?)));
        let (fusion, window) = match request.mode {
            Mode::Hybrid => (request.fusion.into(), WINDOW),
            Mode::Bm25 | Mode::Dense => (Fusion::Sum, WINDOW_ALONE),
        };
        let gathering = Gathering::new(arms, fusion, request.window.unwrap_or(window), statistics.living)?;
        Ok(Self {
            began: Instant::now(),
            gathering,
            hits: Vec::new(),
            offset: request.offset,
            top: request.top,
            total: statistics.total,
            warnings: statistics.warnings.clone(),
        })
    }

    /// How many candidates every shard is asked for next; none once the page is complete.
    pub fn window(&self) -> Option<usize> {
        self.gathering.window().filter(|_| self.hits.len() < self.offset + self.top)
    }

    /// Takes the candidates of all shards, always in the same order.
    ///
    /// # Errors
    /// When they do not fit the search.
    pub fn add(&mut self, shards: &[Candidates]) -> Result<(), PluginError> {
        self.hits.extend(self.gathering.add(shards)?);
        Ok(())
    }

    /// The hits of the page, best first.
    pub fn page(&self) -> &[GatheredHit] {
        let from = self.offset.min(self.hits.len());
        &self.hits[from..(self.offset + self.top).min(self.hits.len())]
    }

    /// By shard, the keys of the page's hits.
    pub fn keys(&self, shards: usize) -> Vec<Vec<String>> {
        let mut keys = vec![Vec::new(); shards];
        for hit in self.page() {
            if let Some(keys) = keys.get_mut(hit.part) {
                keys.push(hit.key.clone());
            }
        }
        keys
    }

    /// The page, with what every shard [fetched](super::Engine::fetch).
    ///
    /// # Errors
    /// [`PluginError::Query`] where a shard has a hit no more: it was changed while it was searched.
    pub fn response(&self, fetched: Vec<Vec<Hit>>) -> Result<SearchResponse, PluginError> {
        let mut shown: Vec<HashMap<String, Hit>> =
            fetched.into_iter().map(|hits| hits.into_iter().map(|hit| (hit.id.clone(), hit)).collect()).collect();
        let hit = |found: &GatheredHit| {
            let shown = shown.get_mut(found.part).and_then(|shown| shown.remove(&found.key));
            let mut hit = shown.ok_or_else(|| PluginError::Query {
                problem: format!(
                    "found the document `{}`, and it was deleted before it was shown; search again",
                    found.key
                ),
            })?;
            hit.score = found.score;
            hit.arms = found.arms.iter().cloned().map(ArmScore::from).collect();
            Ok(hit)
        };
        let hits = self.page().iter().map(hit).collect::<Result<Vec<_>, PluginError>>()?;
        Ok(SearchResponse {
            took_ms: self.began.elapsed().as_secs_f64() * 1e3,
            hits,
            total: self.total,
            groups: None,
            cursor: None,
            facets: None,
            aggregations: None,
            did_you_mean: None,
            warnings: self.warnings.clone(),
        })
    }
}
