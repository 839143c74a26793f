//! How vectors are compared, and in which numbers they are kept.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The cosine of the angle, from -1 to 1. Vectors are normalised when they are added.
    Cosine,
    /// The inner product, any number.
    Dot,
    /// The squared Euclidean distance, as a similarity: its negative, 0 for equal vectors.
    L2,
}

impl Metric {
    /// The positive score that tantivy's collectors see for a similarity; it grows with the similarity.
    ///
    /// | metric | score of similarity s |
    /// |---|---|
    /// | cosine | (1 + s) / 2, from 0 to 1 |
    /// | L2 | 1 / (1 - s), from 0 to 1 |
    /// | dot | 1 + s for s >= 0, 1 / (1 - s) below |
    pub fn score(self, similarity: f32) -> f32 {
        match self {
            Metric::Cosine => ((1.0 + similarity) / 2.0).max(0.0),
            Metric::L2 => 1.0 / (1.0 - similarity.min(0.0)),
            Metric::Dot if similarity >= 0.0 => 1.0 + similarity,
            Metric::Dot => 1.0 / (1.0 - similarity),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
            Metric::L2 => "l2",
        })
    }
}

/// How the values of a row are kept. What is kept is the truth: searches compare with the values as they were rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 4 bytes a value, as given.
    F32,
    /// 2 bytes a value, about three decimal digits.
    F16,
    /// 1 byte a value: whole numbers from -127 to 127 and one scale per row.
    Int8,
}

impl Element {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
            Element::Int8 => 1,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::Int8 => "int8",
        })
    }
}
