//! Settings of training queries that nobody labelled: made from passages, from a query log, from clicks.

use crate::data::QuerySource;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Queries beside the labelled ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueriesConfig {
    /// At most this many are made from passages; 0: none.
    pub made: usize,
    /// What they are made from.
    pub from: Vec<QuerySource>,
    /// Questions that were made elsewhere, such as by a language model: rows `{"query", "passage"}` with the passage's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A query log: one query a line, with a tab and a count if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// Clicks: query, document id and count a line, with tabs between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clicks: Option<PathBuf>,
    /// A made query is kept where BM25 and the start model together rank its passage among the first so many.
    pub keep_rank: usize,
    /// A labelled query weighs this many times as much as another.
    pub labelled_weight: f64,
}

impl Default for QueriesConfig {
    fn default() -> Self {
        Self {
            made: 0,
            from: vec![QuerySource::Titles, QuerySource::Headings, QuerySource::Sentences],
            file: None,
            log: None,
            clicks: None,
            keep_rank: 10,
            labelled_weight: 4.0,
        }
    }
}

impl QueriesConfig {
    /// Whether there are any beside the labelled ones.
    pub fn is_active(&self) -> bool {
        (self.made > 0 && !self.from.is_empty()) || self.file.is_some() || self.log.is_some() || self.clicks.is_some()
    }

    pub(super) fn problem(&self) -> Option<String> {
        if self.keep_rank == 0 || self.keep_rank > 1000 {
            return Some(format!("`keep_rank` must lie in 1..=1000, and is {}", self.keep_rank));
        }
        if !(self.labelled_weight.is_finite() && self.labelled_weight > 0.0) {
            return Some(format!("`labelled_weight` must be above 0, and is {}", self.labelled_weight));
        }
        (self.made > 100_000_000).then(|| "`made` may be 100000000 at most".to_owned())
    }
}
