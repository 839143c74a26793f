//! Candidates and every arm's raw score of each.

use tantivy::DocAddress;

/// One arm's raw scores of all candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    raw: Vec<Option<f32>>,
    lower_bound: Option<f32>,
}

impl Column {
    /// Raw scores, one for each candidate, none where the arm has none; and the least that the arm could ever give, where there
    /// is such a bound: 0 for BM25, -1 for a cosine.
    pub fn new(raw: Vec<Option<f32>>, lower_bound: Option<f32>) -> Column {
        Column { raw, lower_bound }
    }

    /// Raw scores by candidate.
    pub fn raw(&self) -> &[Option<f32>] {
        &self.raw
    }

    /// The least score possible.
    pub fn lower_bound(&self) -> Option<f32> {
        self.lower_bound
    }

    /// Ranks by candidate, from 1, equal scores in the order of candidates.
    pub fn ranks(&self) -> Vec<Option<usize>> {
        let mut order: Vec<(usize, f32)> =
            self.raw.iter().enumerate().filter_map(|(at, raw)| raw.map(|raw| (at, raw))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut ranks = vec![None; self.raw.len()];
        for (place, (candidate, _)) in order.into_iter().enumerate() {
            ranks[candidate] = Some(place + 1);
        }
        ranks
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
