//! Equal scores in the order of a column of text, such as the documents' keys.
//!
//! An address says where a document happens to lie: the same documents in other segments, or in several indexes, have others. With keys in
//! place of addresses the ranking depends on the documents alone. That needs two things: ties are ordered by key wherever scores are
//! sorted, and the window of every arm is cut by the same rule, so that it holds the same documents.
//!
//! tantivy's list of the best documents is only nearly in order: it sums up the scores of terms in an order that depends on what it can
//! skip, which moves the last bits. And what it skips by, the best score of a block, is an estimate made when the segment was written,
//! with the lengths of that segment. So more documents are asked for than the window has, and those whose place the last bits
//! decide are scored again, clause by clause.

use tantivy::schema::FieldType;
use tantivy::{DocAddress, Searcher};

use super::arm::{Arm, Top};
use crate::DenseError;

/// Asked for in addition to a window.
pub(super) const MARGIN: usize = 16;

/// Most documents that are asked for while the end of a window is equal scores; beyond, the addresses decide.
const MOST: usize = 20_000;

/// How far apart two sums of the same numbers may be, relative to the sum: some dozens of additions, each to half of f32's precision.
const ROUNDING: f32 = 1e-5;

/// The column that orders equal scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ties {
    column: String,
}

impl Ties {
    pub(super) fn new(column: String) -> Self {
        Ties { column }
    }

    /// Refuses a column that is none of text.
    pub(super) fn check(&self, searcher: &Searcher) -> Result<(), DenseError> {
        let schema = searcher.schema();
        let is_text = schema.get_field(&self.column).is_ok_and(|field| {
            let entry = schema.get_field_entry(field);
            entry.is_fast() && matches!(entry.field_type(), FieldType::Str(_))
        });
        if is_text {
            return Ok(());
        }
        let why = format!("equal scores cannot be ordered by `{}`, which is not a fast field of text", self.column);
        Err(DenseError::Fusion { why })
    }

    /// The keys of documents, in any order; none where a document has none.
    ///
    /// Keys lie in blocks of some hundreds, each of which is read from its start, so those of a segment are looked up together, in the
    /// order in which they lie.
    pub(super) fn keys(
        &self,
        searcher: &Searcher,
        documents: impl Iterator<Item = DocAddress>,
    ) -> Result<Vec<Option<String>>, DenseError> {
        let mut wanted: Vec<(DocAddress, usize)> = documents.zip(0..).collect();
        wanted.sort_unstable();
        let mut keys: Vec<Option<String>> = vec![None; wanted.len()];
        for segment in wanted.chunk_by(|a, b| a.0.segment_ord == b.0.segment_ord) {
            let columns = searcher.segment_reader(segment[0].0.segment_ord).fast_fields();
            let Some(column) = columns.str(&self.column)? else { continue };
            let ordinal = |&(document, at): &(DocAddress, usize)| Some((column.term_ords(document.doc_id).next()?, at));
            let mut ordinals: Vec<(u64, usize)> = segment.iter().filter_map(ordinal).collect();
            ordinals.sort_unstable();
            let (sorted, places): (Vec<u64>, Vec<usize>) = ordinals.into_iter().unzip();
            let mut places = places.into_iter();
            let found = column.dictionary().sorted_ords_to_term_cb(&sorted, |key| {
                if let Some(place) = places.next() {
                    keys[place] = Some(String::from_utf8_lossy(key).into_owned());
                }
            });
            found.map_err(tantivy::TantivyError::from)?;
        }
        Ok(keys)
    }

    /// Puts runs of equal scores into the order of their keys. The scores fall already.
    pub(super) fn order<T>(
        &self,
        searcher: &Searcher,
        items: &mut [T],
        of: impl Fn(&T) -> (DocAddress, f32),
    ) -> Result<(), DenseError>
    where
        T: Clone,
    {
        let mut from = 0;
        while from < items.len() {
            let score = of(&items[from]).1;
            let run = items[from..].iter().take_while(|item| of(item).1 == score).count();
            if run > 1 {
                let tied = &mut items[from..from + run];
                let keys = self.keys(searcher, tied.iter().map(|item| of(item).0))?;
                let mut keyed: Vec<(Option<String>, T)> = keys.into_iter().zip(tied.iter().cloned()).collect();
                keyed.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| of(&a.1).0.cmp(&of(&b.1).0)));
                tied.iter_mut().zip(keyed).for_each(|(place, (_, item))| *place = item);
            }
            from += run;
        }
        Ok(())
    }

    /// The best `window` documents of an arm, by score and then by key.
    pub(super) fn top(&self, arm: &Arm, searcher: &Searcher, window: usize) -> Result<Top, DenseError> {
        // What it skips by is exact where all is one segment.
        let estimated = arm.is_text() && searcher.segment_readers().len() > 1;
        let mut asked = window.saturating_add(if estimated { window.max(MARGIN) } else { MARGIN });
        loop {
            let top = arm.top(searcher, asked)?;
            match self.cut(arm, searcher, &top, window, asked)? {
                Some(cut) => return Ok(cut),
                None => asked = asked.saturating_mul(4),
            }
        }
    }

    /// The first `window` of what an arm found when it was asked for more; none where it should be asked for still more.
    pub(super) fn cut(
        &self,
        arm: &Arm,
        searcher: &Searcher,
        top: &Top,
        window: usize,
        asked: usize,
    ) -> Result<Option<Top>, DenseError> {
        let hits = &top.hits;
        let Some(&(_, cut)) = window.checked_sub(1).and_then(|last| hits.get(last)) else {
            return Ok(Some(top.clone()));
        };
        let slack = if arm.is_text() { cut.abs() * ROUNDING } else { 0.0 };
        let lowest = hits.last().map_or(cut, |hit| hit.1);
        if lowest >= cut - slack && hits.len() >= asked && asked < MOST {
            return Ok(None);
        }
        let (sure, open): (Vec<_>, Vec<_>) =
            hits.iter().copied().filter(|hit| hit.1 >= cut - slack).partition(|hit| hit.1 > cut + slack);
        let mut open = arm.rescored(searcher, open)?;
        open.sort_by(|a, b| b.1.total_cmp(&a.1));
        self.order(searcher, &mut open, |hit| *hit)?;
        let mut hits = sure;
        hits.extend(open);
        hits.truncate(window);
        Ok(Some(Top { hits, reports: top.reports.clone() }))
    }
}
