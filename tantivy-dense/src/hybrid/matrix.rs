//! Candidates and every arm's raw score of each.

use tantivy::DocAddress;

/// One arm's raw scores of all candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    raw: Vec<Option<f32>>,
    lower_bound: Option<f32>,
    /// The arm's scores of documents ranked before these candidates; they count in ranks only.
    before: Vec<f32>,
}

impl Column {
    /// Raw scores, one for each candidate, none where the arm has none; and the least that the arm could ever give, where there
    /// is such a bound: 0 for BM25, -1 for a cosine.
    pub fn new(raw: Vec<Option<f32>>, lower_bound: Option<f32>) -> Column {
        Column { raw, lower_bound, before: Vec::new() }
    }

    /// With the arm's scores of documents that were ranked before these candidates, from an earlier window.
    pub(super) fn after(mut self, before: Vec<f32>) -> Column {
        self.before = before;
        self
    }

    /// Raw scores by candidate.
    pub fn raw(&self) -> &[Option<f32>] {
        &self.raw
    }

    /// The least score possible.
    pub fn lower_bound(&self) -> Option<f32> {
        self.lower_bound
    }

    /// Ranks by candidate, from 1. Equal scores share a rank, and the next lower score comes as many ranks later as there are
    /// documents with the shared one: 1, 2, 2, 4. Scores are equal where their f32 values are.
    pub fn ranks(&self) -> Vec<Option<usize>> {
        let mut scores: Vec<f32> = self.raw.iter().flatten().chain(&self.before).copied().collect();
        scores.sort_unstable_by(|a, b| b.total_cmp(a));
        // 0 and -0 are equal, and `total_cmp` puts them beside each other.
        let rank = |raw: f32| scores.partition_point(|&score| score > raw) + 1;
        self.raw.iter().map(|raw| raw.map(rank)).collect()
    }
}

/// Candidates in the order of their addresses, and a column for each arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    candidates: Vec<DocAddress>,
    columns: Vec<Column>,
}

impl Matrix {
    /// From candidates in the order of their addresses. A column that is too short is filled up with no scores.
    pub fn new(candidates: Vec<DocAddress>, mut columns: Vec<Column>) -> Matrix {
        columns.iter_mut().for_each(|column| column.raw.resize(candidates.len(), None));
        Matrix { candidates, columns }
    }

    /// The candidates.
    pub fn candidates(&self) -> &[DocAddress] {
        &self.candidates
    }

    /// One column for each arm.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }
}
