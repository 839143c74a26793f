//! Ranges and dates in metadata, looked up in its columns.
//!
//! A name in metadata has a column for each type that its values have: numbers, dates, texts. A range of numbers is looked for among
//! numbers and among texts that are numbers (`"2021"`); a range of dates among dates and among texts that are dates. A column of
//! texts has a sorted dictionary, and dates that begin with the year sort as time goes by: so only the part of it that can hold
//! what is looked for is read.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::columnar::{Column, ColumnType, DynamicColumn, StrColumn};
use tantivy::index::SegmentId;
use tantivy::query::{BitSetDocSet, ConstScorer, EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{BitSet, DateTime, DocId, Score, SegmentReader, TantivyError};

use super::date::{Period, WEEKDAYS, day_of};
use super::number::{Interval, Number};

/// Ranges of which a value must lie in one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ValueRange {
    pub(super) numbers: Option<Interval<Number>>,
    /// Nanoseconds since 1970 in UTC: the first is included, the second is not.
    pub(super) dates: Option<(i128, i128)>,
}

impl ValueRange {
    /// Whether a text is such a number or date.
    pub(super) fn has_text(&self, text: &str) -> bool {
        self.numbers.is_some_and(|numbers| Number::parse(text).is_some_and(|number| numbers.contains(number)))
            || self.dates.is_some_and(|(from, to)| {
                Period::parse(text).is_some_and(|period| from <= period.start && period.start < to)
            })
    }
}

/// Documents with a value in one of some columns that lies between two ends.
#[derive(Clone)]
pub(super) struct ColumnQuery {
    /// Full names of the columns, as tantivy resolves them.
    names: Vec<String>,
    range: ValueRange,
    /// Whether columns of texts hold the texts as they were given.
    has_whole_texts: bool,
    /// What was found, by segment: a search asks more than once, and each document is in one list only.
    found: Arc<Mutex<Vec<(SegmentId, Option<Arc<BitSet>>)>>>,
}

impl fmt::Debug for ColumnQuery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ColumnQuery").field("names", &self.names).field("range", &self.range).finish()
    }
}

impl ColumnQuery {
    pub(super) fn new(names: Vec<String>, range: ValueRange, has_whole_texts: bool) -> Self {
        Self { names, range, has_whole_texts, found: Arc::default() }
    }

    /// The documents of a segment, deleted ones among them; `None` where there are none.
    fn documents(&self, reader: &SegmentReader) -> tantivy::Result<Option<Arc<BitSet>>> {
        let mut known = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.iter().find(|(segment, _)| *segment == reader.segment_id()) {
            return Ok(found.clone());
        }
        let found = self.look_up(reader)?.map(Arc::new);
        known.push((reader.segment_id(), found.clone()));
        Ok(found)
    }

    fn look_up(&self, reader: &SegmentReader) -> tantivy::Result<Option<BitSet>> {
        let mut documents = Vec::new();
        let all = 0..reader.max_doc();
        for name in &self.names {
            for handle in reader.fast_fields().dynamic_column_handles(name)? {
                match handle.column_type() {
                    ColumnType::I64 | ColumnType::U64 | ColumnType::F64 if self.range.numbers.is_some() => {}
                    ColumnType::DateTime if self.range.dates.is_some() => {}
                    ColumnType::Str if self.has_whole_texts => {}
                    _ => continue,
                }
                match (handle.open()?, self.range.numbers, self.range.dates) {
                    (DynamicColumn::I64(column), Some(numbers), _) => {
                        if let Some((from, to)) = numbers.whole(i64::MIN.into(), i64::MAX.into()) {
                            add(&column, from as i64, to as i64, all.clone(), &mut documents);
                        }
                    }
                    (DynamicColumn::U64(column), Some(numbers), _) => {
                        if let Some((from, to)) = numbers.whole(0, u64::MAX.into()) {
                            add(&column, from as u64, to as u64, all.clone(), &mut documents);
                        }
                    }
                    (DynamicColumn::F64(column), Some(numbers), _) => {
                        if let Some((from, to)) = numbers.real() {
                            add(&column, from, to, all.clone(), &mut documents);
                        }
                    }
                    (DynamicColumn::DateTime(column), _, Some((from, to))) => {
                        let (from, to) = (from.max(i64::MIN.into()), (to - 1).min(i64::MAX.into()));
                        if from <= to {
                            let [from, to] = [from, to].map(|end| DateTime::from_timestamp_nanos(end as i64));
                            add(&column, from, to, all.clone(), &mut documents);
                        }
                    }
                    (DynamicColumn::Str(column), _, _) => self.add_texts(&column, all.clone(), &mut documents)?,
                    _ => {}
                }
            }
        }
        if documents.is_empty() {
            return Ok(None);
        }
        let mut set = BitSet::with_max_value(reader.max_doc());
        for document in documents {
            set.insert(document);
        }
        Ok(Some(set))
    }

    fn add_texts(&self, column: &StrColumn, all: Range<DocId>, documents: &mut Vec<DocId>) -> tantivy::Result<()> {
        let terms = self.terms(column)?;
        let (Some(&first), Some(&last)) = (terms.first(), terms.last()) else { return Ok(()) };
        let ordinals = column.ords();
        if last - first + 1 == terms.len() as u64 {
            add(ordinals, first, last, all, documents);
            return Ok(());
        }
        let mut is_wanted = vec![false; usize::try_from(last - first + 1).unwrap_or(usize::MAX)];
        for term in terms {
            is_wanted[(term - first) as usize] = true;
        }
        for document in all {
            let mut values = ordinals.values_for_doc(document);
            if values.any(|term| (first..=last).contains(&term) && is_wanted[(term - first) as usize]) {
                documents.push(document);
            }
        }
        Ok(())
    }

    /// The ordinals of the texts that are such numbers or dates, in order.
    fn terms(&self, column: &StrColumn) -> tantivy::Result<Vec<u64>> {
        let mut terms = Vec::new();
        for (from, to) in windows(&self.range) {
            let mut stream = column.dictionary().range().ge(from).lt(to).into_stream()?;
            while stream.advance() {
                if std::str::from_utf8(stream.key()).is_ok_and(|text| self.range.has_text(text)) {
                    terms.push(stream.term_ord());
                }
            }
        }
        terms.sort_unstable();
        Ok(terms)
    }
}

/// Where in a sorted dictionary such numbers and dates can be: from the first text to before the second.
fn windows(range: &ValueRange) -> Vec<(String, String)> {
    // Signs, points and digits, and what follows the nines.
    let (first, last) = ("+".to_owned(), ":".to_owned());
    let Some((from, to)) = range.dates else { return vec![(first, last)] };
    let mut windows = match range.numbers {
        Some(_) => vec![(first, last)],
        // A zone moves a date by less than a day. `2024` and `2024-05` sort before all the days that they start with.
        None => vec![(day_of(from, -1).unwrap_or(first), day_of(to, 2).unwrap_or(last))],
    };
    windows.extend(WEEKDAYS.map(|day| (format!("{day}, "), format!("{day},!"))));
    windows
}

fn add<T>(column: &Column<T>, from: T, to: T, all: Range<DocId>, documents: &mut Vec<DocId>)
where
    T: PartialOrd + Copy + fmt::Debug + Send + Sync + 'static,
{
    // tantivy's columns expect ends within what they hold.
    let (least, most) = (column.min_value(), column.max_value());
    let (from, to) = (if from <= least { least } else { from }, if to >= most { most } else { to });
    if from > to {
        return;
    }
    let mut found = Vec::new();
    column.get_docids_for_value_range(from..=to, all, &mut found);
    documents.append(&mut found);
}

impl Query for ColumnQuery {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for ColumnQuery {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(match self.documents(reader)? {
            Some(found) => Box::new(ConstScorer::new(BitSetDocSet::from(BitSet::clone(&found)), boost)),
            None => Box::new(EmptyScorer),
        })
    }

    fn explain(&self, reader: &SegmentReader, document: DocId) -> tantivy::Result<Explanation> {
        match self.documents(reader)? {
            Some(found) if found.contains(document) => Ok(Explanation::new("value in range", 1.0)),
            _ => Err(TantivyError::InvalidArgument(format!("document {document} does not match"))),
        }
    }
}
