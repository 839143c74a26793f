//! One hit, or several, for each value of a field.

use std::collections::{HashMap, HashSet};

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::DynamicColumn;
use tantivy::schema::{Facet, FieldType};
use tantivy::{DocId, Score, Searcher, SegmentOrdinal, SegmentReader, TantivyError};

use super::Hybrid;
use super::hit::FusedHit;
use super::ranking::Walk;
use super::values::{FieldValue, ValueField, first, open_columns, text_of};
use crate::DenseError;

/// Groups hits by the value of a field: [`Hybrid::groups`](super::Hybrid::groups).
///
/// Groups come in the order of their best hits, and a ranking has one list of groups, whatever part of it is asked for. A document without a
/// value is a group of its own. Of several values the first counts.
///
/// The further hits of a group are the best of those in the window in which its first hit was found (see the
/// [module](super) on windows): a larger window finds more of them.
#[derive(Clone, Debug)]
pub struct GroupBy {
    field: ValueField,
    size: usize,
}

/// Hits with one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The value; none for a document without one.
    pub value: Option<FieldValue>,
    /// Its hits, best first.
    pub hits: Vec<FusedHit>,
}

impl GroupBy {
    /// One hit for each value.
    pub fn new(field: ValueField) -> GroupBy {
        GroupBy { field, size: 1 }
    }

    /// Most hits of a group, 1 or more.
    #[must_use]
    pub fn size(mut self, hits: usize) -> GroupBy {
        self.size = hits;
        self
    }
}

impl Hybrid {
    /// The first documents of the ranking, one for each value of a field, or several: see [`GroupBy`]. `k` groups after the first `offset`, in
    /// the order of their best hits.
    ///
    /// # Errors
    /// As [`Hybrid::search`], and [`DenseError::UnknownField`] or [`DenseError::Query`] for a field whose values cannot be read.
    pub fn groups(&self, searcher: &Searcher, by: &GroupBy, offset: usize, k: usize) -> Result<Vec<Group>, DenseError> {
        if by.size == 0 {
            return Err(by.field.refuse("a group has one hit at least, and 0 were asked for"));
        }
        let reader = by.field.open(searcher)?;
        let wanted = offset.saturating_add(k);
        let mut walk = Walk::new(self, searcher, wanted)?;
        let mut groups: Vec<Group> = Vec::new();
        let mut known: HashMap<FieldValue, usize> = HashMap::new();
        while groups.len() < wanted && k > 0 {
            // Diversity may not order less of a block than groups are made of, so all of it is asked for.
            let Some(block) = walk.block(usize::MAX)? else { break };
            let earlier = groups.len();
            for hit in block {
                // With one hit of each, nothing that follows changes the groups that are wanted; values are texts to be read.
                if by.size == 1 && groups.len() >= wanted {
                    break;
                }
                let value = reader.value(hit.address)?;
                let Some(key) = value else {
                    groups.push(Group { value: None, hits: vec![hit] });
                    continue;
                };
                match known.get(&key) {
                    // A group of an earlier block is complete.
                    Some(&at) if at >= earlier && groups[at].hits.len() < by.size => groups[at].hits.push(hit),
                    Some(_) => {}
                    None => {
                        known.insert(key.clone(), groups.len());
                        groups.push(Group { value: Some(key), hits: vec![hit] });
                    }
                }
            }
        }
        groups.truncate(wanted);
        Ok(groups.split_off(offset.min(groups.len())))
    }
}

/// A collector that counts documents by the value of a field: how many there are of each of some values, and, where it is asked for, how
/// many different values there are. Search with [`Hybrid::matching`](super::Hybrid::matching) to count what groups are made of.
#[derive(Clone, Debug)]
pub struct GroupCounts {
    field: ValueField,
    wanted: Vec<FieldValue>,
    total: bool,
    is_facet: bool,
}

impl GroupCounts {
    /// Counts the documents that have one of some values as their first.
    ///
    /// # Errors
    /// [`DenseError::UnknownField`] or [`DenseError::Query`] for a field whose values cannot be read.
    pub fn new(searcher: &Searcher, by: &GroupBy, values: Vec<FieldValue>) -> Result<GroupCounts, DenseError> {
        let is_facet = matches!(by.field.check(searcher)?, FieldType::Facet(_));
        if by.field.reads_text() {
            return Err(by.field.refuse("values that are read from text cannot be counted"));
        }
        Ok(GroupCounts { field: by.field.clone(), wanted: values, total: false, is_facet })
    }

    /// Counts all groups as well: different values, and documents without one. It reads every value that there is.
    #[must_use]
    pub fn total(mut self, total: bool) -> GroupCounts {
        self.total = total;
        self
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub struct GroupTotals {
    /// Documents by value.
    pub documents: HashMap<FieldValue, u64>,
    /// Groups, if they were to be counted: different values, and documents without one.
    pub groups: Option<u64>,
}

#[doc(hidden)]
#[derive(Debug, Default)]
pub struct SegmentTotals {
    counts: HashMap<FieldValue, u64>,
    all: HashSet<FieldValue>,
    without: u64,
    error: Option<TantivyError>,
}

#[doc(hidden)]
pub struct SegmentCounter {
    columns: Vec<DynamicColumn>,
    /// By column of texts, by ordinal: the wanted value.
    ordinals: Vec<Vec<Option<u32>>>,
    /// By column of texts: which ordinals were seen.
    seen: Vec<Vec<bool>>,
    wanted: Vec<FieldValue>,
    by_value: HashMap<FieldValue, usize>,
    counts: Vec<u64>,
    /// Ordinals of a block of documents.
    block: Vec<Option<u64>>,
    total: bool,
    is_facet: bool,
    all: HashSet<FieldValue>,
    without: u64,
    error: Option<TantivyError>,
}

impl SegmentCounter {
    /// Counts a document; says whether one of the columns has a value of it.
    fn count(&mut self, doc: DocId) -> Result<(), DenseError> {
        for (at, column) in self.columns.iter().enumerate() {
            let value = match column {
                DynamicColumn::Str(texts) => {
                    let Some(ordinal) = texts.ords().first(doc) else { continue };
                    if let Some(Some(wanted)) = self.ordinals[at].get(ordinal as usize) {
                        self.counts[*wanted as usize] += 1;
                    }
                    if self.total
                        && let Some(seen) = self.seen[at].get_mut(ordinal as usize)
                    {
                        *seen = true;
                    }
                    return Ok(());
                }
                column => first(column, doc, self.is_facet)?,
            };
            let Some(value) = value else { continue };
            if let Some(wanted) = self.by_value.get(&value) {
                self.counts[*wanted] += 1;
            }
            if self.total {
                self.all.insert(value);
            }
            return Ok(());
        }
        self.without += 1;
        Ok(())
    }

    /// Counts a block of documents where the values are texts of one column.
    fn count_block(&mut self, docs: &[DocId]) -> bool {
        let [DynamicColumn::Str(texts)] = self.columns.as_slice() else { return false };
        self.block.clear();
        self.block.resize(docs.len(), None);
        texts.ords().first_vals(docs, &mut self.block);
        let ordinals = &self.ordinals[0];
        for ordinal in &self.block {
            match ordinal {
                Some(ordinal) => {
                    if let Some(Some(wanted)) = ordinals.get(*ordinal as usize) {
                        self.counts[*wanted as usize] += 1;
                    }
                    if let Some(seen) = self.seen[0].get_mut(*ordinal as usize) {
                        *seen = true;
                    }
                }
                None => self.without += 1,
            }
        }
        true
    }

    fn all_texts(&mut self) -> Result<(), DenseError> {
        for (column, seen) in self.columns.iter().zip(&self.seen) {
            let DynamicColumn::Str(texts) = column else { continue };
            for ordinal in (0u64..).zip(seen).filter(|(_, seen)| **seen).map(|(ordinal, _)| ordinal) {
                self.all.insert(FieldValue::Text(text_of(texts, ordinal, self.is_facet)?));
            }
        }
        Ok(())
    }
}

impl Collector for GroupCounts {
    type Fruit = GroupTotals;
    type Child = SegmentCounter;

    fn for_segment(&self, _: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentCounter> {
        let columns = open_columns(&self.field, reader)?;
        let mut ordinals = Vec::with_capacity(columns.len());
        let mut seen = Vec::with_capacity(columns.len());
        for column in &columns {
            let mut wanted = Vec::new();
            let mut marks = Vec::new();
            if let DynamicColumn::Str(texts) = column {
                for (at, value) in (0u32..).zip(&self.wanted) {
                    let FieldValue::Text(text) = value else { continue };
                    let ordinal = match self.is_facet {
                        true => match Facet::from_text(text) {
                            Ok(facet) => texts.dictionary().term_ord(facet.encoded_str())?,
                            Err(_) => None,
                        },
                        false => texts.dictionary().term_ord(text)?,
                    };
                    if let Some(ordinal) = ordinal {
                        // No longer than the highest wanted ordinal.
                        let ordinal = ordinal as usize;
                        wanted.resize(wanted.len().max(ordinal + 1), None);
                        wanted[ordinal] = Some(at);
                    }
                }
                if self.total {
                    marks = vec![false; texts.num_terms()];
                }
            }
            ordinals.push(wanted);
            seen.push(marks);
        }
        Ok(SegmentCounter {
            columns,
            ordinals,
            seen,
            by_value: self.wanted.iter().cloned().zip(0..).collect(),
            counts: vec![0; self.wanted.len()],
            block: Vec::new(),
            wanted: self.wanted.clone(),
            total: self.total,
            is_facet: self.is_facet,
            all: HashSet::new(),
            without: 0,
            error: None,
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<SegmentTotals>) -> tantivy::Result<GroupTotals> {
        let mut totals = GroupTotals::default();
        let mut all: HashSet<FieldValue> = HashSet::new();
        let mut without = 0;
        for segment in segments {
            if let Some(error) = segment.error {
                return Err(error);
            }
            for (value, count) in segment.counts {
                *totals.documents.entry(value).or_default() += count;
            }
            all.extend(segment.all);
            without += segment.without;
        }
        totals.groups = self.total.then_some(all.len() as u64 + without);
        Ok(totals)
    }
}

impl SegmentCollector for SegmentCounter {
    type Fruit = SegmentTotals;

    fn collect(&mut self, doc: DocId, _: Score) {
        if self.error.is_none() {
            self.error = self.count(doc).err().map(TantivyError::from);
        }
    }

    fn collect_block(&mut self, docs: &[DocId]) {
        if !self.count_block(docs) {
            docs.iter().for_each(|doc| self.collect(*doc, 0.0));
        }
    }

    fn harvest(mut self) -> SegmentTotals {
        if self.total && self.error.is_none() {
            self.error = self.all_texts().err().map(TantivyError::from);
        }
        let counts = self.wanted.into_iter().zip(self.counts).collect();
        SegmentTotals { counts, all: self.all, without: self.without, error: self.error }
    }
}
