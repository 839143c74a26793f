//! A set of a segment's rows.

use tantivy::query::Weight;
use tantivy::{DocId, SegmentReader};

use crate::DenseError;
use crate::rows::FieldRows;

/// A set of row numbers, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowSet {
    words: Vec<u64>,
    count: u32,
}

impl RowSet {
    /// No row of `rows`.
    pub(crate) fn empty(rows: u32) -> RowSet {
        RowSet { words: vec![0; (rows as usize).div_ceil(64)], count: 0 }
    }

    /// The rows for which `member` holds.
    pub(crate) fn from_rows(rows: u32, member: impl Fn(u32) -> bool) -> RowSet {
        let mut set = RowSet::empty(rows);
        (0..rows).filter(|&row| member(row)).for_each(|row| set.insert(row));
        set
    }

    pub(crate) fn insert(&mut self, row: u32) {
        if let Some(word) = self.words.get_mut(row as usize / 64) {
            let bit = 1 << (row % 64);
            self.count += u32::from(*word & bit == 0);
            *word |= bit;
        }
    }

    pub(crate) fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// How many rows are in the set.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Bit `row % 64` of word `row / 64`.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many rows of a range are in the set.
    pub(crate) fn count_in(&self, range: std::ops::Range<u32>) -> usize {
        if !range.start.is_multiple_of(64) {
            return self.rows_in(range).count();
        }
        let words = range.start as usize / 64..(range.end as usize / 64).min(self.words.len());
        let whole: u32 = self.words.get(words).unwrap_or_default().iter().map(|word| word.count_ones()).sum();
        let rest = self.words.get(range.end as usize / 64).map_or(0, |word| word & ((1 << (range.end % 64)) - 1));
        whole as usize + rest.count_ones() as usize
    }

    /// The set's rows within a range, in ascending order.
    pub(crate) fn rows_in(&self, range: std::ops::Range<u32>) -> impl Iterator<Item = u32> + '_ {
        let words = (range.start as usize / 64)..(range.end as usize).div_ceil(64).min(self.words.len());
        words
            .flat_map(move |at| {
                let mut word = self.words[at];
                std::iter::from_fn(move || {
                    let bit = (word != 0).then(|| word.trailing_zeros())?;
                    word &= word - 1;
                    Some(at as u32 * 64 + bit)
                })
            })
            .skip_while(move |&row| row < range.start)
            .take_while(move |&row| row < range.end)
    }
}

/// The rows whose documents match a filter and are in `alive`.
pub(crate) fn matching(
    filter: &dyn Weight,
    reader: &SegmentReader,
    rows: &FieldRows,
    alive: Option<&RowSet>,
) -> Result<RowSet, DenseError> {
    let mut set = RowSet::empty(rows.len());
    filter.for_each_no_score(reader, &mut |docs: &[DocId]| {
        for &doc in docs {
            if let Some(row) = rows.row_of(doc)
                && alive.is_none_or(|alive| alive.contains(row))
            {
                set.insert(row);
            }
        }
    })?;
    Ok(set)
}
