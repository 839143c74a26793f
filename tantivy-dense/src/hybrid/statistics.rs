//! Where a text arm takes BM25's statistics from.

use std::fmt::Debug;

use tantivy::Searcher;
use tantivy::query::{Bm25StatisticsProvider, EnableScoring};

use crate::DenseError;

/// Statistics for BM25 that are not the searcher's own, see [`Arm::text_with`](super::Arm::text_with).
///
/// Two cases need them: an index in which some documents do not count as documents (parts of others), and one of several indexes that
/// shall score as one index of all documents would, by the sums of their statistics.
pub trait TextStatistics: Debug + Send + Sync {
    /// The statistics for searches of a searcher.
    ///
    /// # Errors
    /// Its own, as [`DenseError::Other`] or tantivy's.
    fn provider<'a>(&'a self, searcher: &'a Searcher) -> Result<Box<dyn Bm25StatisticsProvider + 'a>, DenseError>;
}

/// Calls `work` with the scoring that an arm's queries have: by statistics of its own or by the searcher's.
pub(super) fn with_scoring<R>(
    statistics: Option<&dyn TextStatistics>,
    searcher: &Searcher,
    work: impl FnOnce(EnableScoring<'_>) -> Result<R, DenseError>,
) -> Result<R, DenseError> {
    match statistics {
        None => work(EnableScoring::enabled_from_searcher(searcher)),
        Some(statistics) => {
            let provider = statistics.provider(searcher)?;
            work(EnableScoring::enabled_from_statistics_provider(provider.as_ref(), searcher))
        }
    }
}
