//! How an index compares vectors.

use crate::Metric;

/// How two vectors are compared. Cosine is the inner product of rows and queries that were normalised before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Similarity {
    /// Inner product, higher is nearer.
    InnerProduct,
    /// The negative of the squared Euclidean distance, higher is nearer, 0 for equal vectors.
    SquaredL2,
}

impl From<Metric> for Similarity {
    fn from(metric: Metric) -> Similarity {
        match metric {
            Metric::Cosine | Metric::Dot => Similarity::InnerProduct,
            Metric::L2 => Similarity::SquaredL2,
        }
    }
}

impl Similarity {
    pub(super) fn tag(self) -> u8 {
        match self {
            Similarity::InnerProduct => 0,
            Similarity::SquaredL2 => 1,
        }
    }

    pub(super) fn from_tag(tag: u8) -> Option<Similarity> {
        match tag {
            0 => Some(Similarity::InnerProduct),
            1 => Some(Similarity::SquaredL2),
            _ => None,
        }
    }
}
