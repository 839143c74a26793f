//! Settings of mining.

use serde::{Deserialize, Serialize};

/// Settings of mining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MineConfig {
    /// Whether BM25 takes part.
    pub bm25: bool,
    /// Whether the student's vectors take part.
    pub dense: bool,
    /// First rank that is kept of each arm, counted from 1 after known positives have left the ranking.
    pub from_rank: usize,
    /// Last rank that is kept of each arm.
    pub to_rank: usize,
    /// A candidate must be at least this much less similar to the query than the query's best positive is.
    pub margin: Option<f32>,
    /// A candidate may be this similar to the query at most.
    pub ceiling: Option<f32>,
    /// A candidate may have at most this share of the best positive's similarity, such as 0.95.
    pub relative_ceiling: Option<f32>,
    /// Most candidates of a query, the best-ranked first.
    pub keep: usize,
    /// What the order of candidates is.
    pub order: MineOrder,
    /// Memory of the index writer, in MB.
    pub writer_mb: usize,
    /// Queries searched between two flushes of the product.
    pub chunk: usize,
}

/// The order of a query's candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MineOrder {
    /// By the better of both ranks.
    #[default]
    BestRank,
    /// By the sum of z-scores, 0.7 of the similarity and 0.3 of BM25: what a hybrid search ranks high and is not known to be relevant.
    Fused,
}

impl Default for MineConfig {
    fn default() -> Self {
        Self {
            bm25: true,
            dense: true,
            from_rank: 1,
            to_rank: 200,
            margin: None,
            ceiling: None,
            relative_ceiling: None,
            keep: 400,
            order: MineOrder::BestRank,
            writer_mb: 128,
            chunk: 256,
        }
    }
}

impl MineConfig {
    /// What is wrong with these settings, as a sentence; nothing when all is well.
    pub fn problem(&self) -> Option<String> {
        if !self.bm25 && !self.dense {
            return Some("with `bm25 = false` and `dense = false` there is nothing to mine with".to_owned());
        }
        if self.from_rank == 0 || self.from_rank > self.to_rank || self.to_rank > 100_000 {
            return Some(format!(
                "the window of ranks must lie in 1..=100000 with `from_rank` <= `to_rank`, and is {}..={}",
                self.from_rank, self.to_rank
            ));
        }
        let filters = [("margin", self.margin), ("ceiling", self.ceiling), ("relative_ceiling", self.relative_ceiling)];
        for (name, value) in filters {
            if value.is_some_and(|v| !v.is_finite()) {
                return Some(format!("`{name}` must be a finite number"));
            }
            if value.is_some() && !self.dense {
                return Some(format!("`{name}` compares similarities of vectors and needs `dense = true`"));
            }
        }
        if self.keep == 0 || self.chunk == 0 {
            return Some("`keep` and `chunk` must be at least 1".to_owned());
        }
        if !(16..=65_536).contains(&self.writer_mb) {
            return Some(format!("`writer_mb` must lie in 16..=65536, and is {}", self.writer_mb));
        }
        None
    }
}
