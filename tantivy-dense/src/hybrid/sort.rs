//! The window's documents in the order of a field.

use std::cmp::Ordering;
use std::fmt;

use tantivy::Searcher;

use super::hit::FusedHit;
use super::values::{FieldValue, ValueField};
use crate::DenseError;

/// A direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Small numbers, early dates and the letter A first.
    #[default]
    Ascending,
    /// Large numbers, late dates and the letter Z first.
    Descending,
}

impl fmt::Display for Order {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Order::Ascending => "ascending",
            Order::Descending => "descending",
        })
    }
}

/// Orders the documents of a search's window by a field: [`Hybrid::sort`](super::Hybrid::sort).
///
/// Equal values are ordered by score. Documents without a value come last, in both directions. Of several values of a document the first
/// counts. Texts are compared by their bytes.
#[derive(Clone, Debug)]
pub struct Sort {
    field: ValueField,
    order: Order,
}

impl Sort {
    /// By a field.
    pub fn new(field: ValueField, order: Order) -> Sort {
        Sort { field, order }
    }

    pub(super) fn check(&self, searcher: &Searcher) -> Result<(), DenseError> {
        self.field.check(searcher).map(|_| ())
    }

    /// Hits that come by score, by the field.
    pub(super) fn order(&self, searcher: &Searcher, hits: Vec<FusedHit>) -> Result<Vec<FusedHit>, DenseError> {
        let reader = self.field.open(searcher)?;
        let mut keyed: Vec<(Option<FieldValue>, FusedHit)> =
            hits.into_iter().map(|hit| Ok((reader.value(hit.address)?, hit))).collect::<Result<_, DenseError>>()?;
        keyed.sort_by(|(a, _), (b, _)| match (a, b) {
            (Some(a), Some(b)) if self.order == Order::Descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        });
        Ok(keyed.into_iter().map(|(_, hit)| hit).collect())
    }
}
