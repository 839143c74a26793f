//! Exact search: every row that may be a hit is compared.
//!
//! Where rows have a rounded copy, that is scanned first. Rounding changes a similarity by no more than a bound that is
//! known for every row, so a row whose approximate similarity plus bound falls below the k-th best approximate
//! similarity minus bound cannot be a hit. What is left is compared in full: the hits are those of the plain scan.
//!
//! Several queries are searched for in one pass: rows are taken in blocks that stay in the cache for all queries.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use half::f16;
use tantivy::DocAddress;

use super::bounds::Bounds;
use super::rowset::RowSet;
use super::top::{Bar, Best, Top};
use super::vector::{QueryVector, halves};
use crate::kernels::{self, Scalar};
use crate::lock::lock;
use crate::rows::{FieldRows, RowSection};
use crate::{Element, Metric};

/// A task scans about so many bytes, enough to make handing it to a thread cheap.
const TASK_BYTES: usize = 4 << 20;
/// Rows are taken in blocks of about so many bytes, which stay in the cache for the next query.
const BLOCK_BYTES: usize = 128 << 10;
/// Ranges begin at multiples of this, the rows that one word of a set holds.
const WORD: u32 = 64;

/// One query of a search, with the best found for it so far.
pub(crate) struct QueryState {
    pub query: QueryVector,
    /// No search for this query needs to look below.
    pub bar: Bar,
    best: Mutex<Top>,
}

impl QueryState {
    /// For the best `k` of at least the similarity `least`.
    pub(crate) fn new(query: QueryVector, k: usize, least: f32) -> QueryState {
        QueryState { query, bar: Bar::new(least), best: Mutex::new(Top::new(k)) }
    }

    /// Hits that some way of searching has found, all of them compared in full.
    pub(crate) fn add(&self, found: Vec<Best>) {
        let mut best = lock(&self.best);
        best.extend(found);
        self.bar.raise(best.bar());
    }

    /// The best added so far, best first.
    pub(crate) fn scanned(&self) -> Vec<Best> {
        lock(&self.best).clone().into_sorted()
    }
}

/// The rows of a segment that may be hits.
pub(crate) struct Candidates<'a> {
    pub ordinal: u32,
    pub rows: &'a FieldRows,
    /// `None` for all.
    pub selected: Option<Arc<RowSet>>,
}

impl Candidates<'_> {
    pub(crate) fn count(&self) -> u32 {
        self.selected.as_ref().map_or(self.rows.len(), |set| set.len())
    }

    pub(crate) fn address(&self, row: u32) -> DocAddress {
        DocAddress::new(self.ordinal, self.rows.doc(row))
    }

    fn count_in(&self, rows: Range<u32>) -> usize {
        match &self.selected {
            None => rows.len(),
            Some(set) => set.count_in(rows),
        }
    }

    pub(crate) fn contains(&self, row: u32) -> bool {
        self.selected.as_ref().is_none_or(|set| set.contains(row))
    }

    /// Ranges of rows that are worth handing to a thread each.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        let (rows, count) = (self.rows.len(), self.count());
        let bytes = self.rows.options().row_bytes() * count as usize / (rows as usize).max(1);
        let step = u32::try_from(TASK_BYTES / bytes.max(1)).unwrap_or(u32::MAX).max(1);
        let step = step.checked_next_multiple_of(WORD).unwrap_or(u32::MAX / WORD * WORD);
        let end = if count == 0 { 0 } else { rows };
        (0..end).step_by(step as usize).map(move |first| first..end.min(first.saturating_add(step)))
    }
}

/// Compares the rows of `range`, as one of [`Candidates::tasks`], with every query; each keeps its best `k`.
pub(crate) fn scan(segment: &Candidates, range: Range<u32>, asked: &[&QueryState], k: usize) {
    let room = k.min(range.len());
    let mut scan = Scan {
        segment,
        asked,
        vectors: asked.iter().map(|asked| asked.query.vector.as_slice()).collect(),
        best: asked.iter().map(|_| Top::with_room(k, room)).collect(),
        values: Vec::new(),
        products: Vec::new(),
        scratch: Vec::new(),
    };
    scan.run(range);
    scan.best.into_iter().zip(asked).for_each(|(best, asked)| asked.add(best.into_sorted()));
}

struct Scan<'a> {
    segment: &'a Candidates<'a>,
    asked: &'a [&'a QueryState],
    vectors: Vec<&'a [f32]>,
    best: Vec<Top>,
    values: Vec<f32>,
    products: Vec<i32>,
    scratch: Vec<f32>,
}

impl Scan<'_> {
    fn run(&mut self, range: Range<u32>) {
        let rows = self.segment.rows;
        let step = (BLOCK_BYTES / rows.options().row_bytes().max(1)) as u32 / WORD * WORD;
        let mut first = range.start;
        while first < range.end {
            let block = first..range.end.min(first + step.max(WORD));
            first = block.end;
            let count = self.segment.count_in(block.clone());
            if count == 0 {
                continue;
            }
            // Most rows of a block are compared sooner with all of its rows than one by one.
            let whole = count * 2 >= block.len();
            for at in 0..self.asked.len() {
                self.best[at].raise(self.asked[at].bar.get());
                match rows.first_pass() {
                    // With few rows and nothing to hold them against, rounding excludes none.
                    Some(codes) if count > self.best[at].k().saturating_mul(2) || self.best[at].is_barred() => {
                        self.in_two_passes(at, codes, block.clone(), whole);
                    }
                    Some(_) => self.one_by_one(at, block.clone()),
                    None if whole => {}
                    None => self.one_by_one(at, block.clone()),
                }
            }
            if whole && rows.first_pass().is_none() {
                self.whole(block);
            }
            for (best, asked) in self.best.iter().zip(self.asked) {
                asked.bar.raise(best.bar());
            }
        }
    }

    /// Compares the selected rows one at a time.
    fn one_by_one(&mut self, at: usize, block: Range<u32>) {
        let (segment, query) = (self.segment, &self.asked[at].query);
        let best = &mut self.best[at];
        let mut compare = |row: u32| {
            let similarity = query.similarity(segment.rows, row, &mut self.scratch);
            if similarity >= best.bar() {
                best.push(Best { similarity, address: segment.address(row) });
            }
        };
        match &segment.selected {
            Some(selected) => selected.rows_in(block).for_each(compare),
            None => block.for_each(&mut compare),
        }
    }

    /// Compares all rows of a block with all queries, and keeps the selected ones.
    fn whole(&mut self, block: Range<u32>) {
        let rows = self.segment.rows;
        rows.values().for_each(block, |first, count, bytes| match rows.options().element_type() {
            Element::F32 => self.compare::<f32>(first, count, bytemuck::try_cast_slice(bytes).unwrap_or_default()),
            Element::F16 => self.compare::<f16>(first, count, halves(bytes)),
            Element::Int8 => {} // has a first pass
        });
    }

    fn compare<T: Scalar>(&mut self, first: u32, count: u32, rows: &[T]) {
        let l2 = self.segment.rows.options().metric() == Metric::L2;
        let values = &mut self.values;
        match (self.vectors.as_slice(), l2) {
            ([query], false) => kernels::dot_rows(query, rows, values),
            ([query], true) => kernels::l2_squared_rows(query, rows, values),
            (queries, false) => kernels::dot_batch(queries, rows, values),
            (queries, true) => kernels::l2_squared_batch(queries, rows, values),
        }
        let scales = self.segment.rows.scales().get(first as usize..).unwrap_or_default();
        for (values, best) in values.chunks_exact_mut(count as usize).zip(&mut self.best) {
            if l2 {
                values.iter_mut().for_each(|value| *value = -*value);
            }
            values.iter_mut().zip(scales).for_each(|(value, scale)| *value *= scale);
            let mut bar = best.bar();
            for (row, &similarity) in (first..).zip(values.iter()) {
                if similarity >= bar && self.segment.contains(row) {
                    best.push(Best { similarity, address: self.segment.address(row) });
                    bar = best.bar();
                }
            }
        }
    }

    fn in_two_passes(&mut self, at: usize, codes: &RowSection, block: Range<u32>, whole: bool) {
        let (segment, query, best) = (self.segment, &self.asked[at].query, &mut self.best[at]);
        let bounds = Bounds::new(segment.rows, query);
        // The best lower bounds of this block; what cannot reach the least of them is no hit.
        let mut lower = Top::with_room(best.k(), best.k().min(block.len()));
        lower.raise(best.bar());
        let mut doubtful: Vec<(f32, u32)> = Vec::new();
        // Returns the bar for the next rows.
        let mut look = |row: u32, product: i32| {
            let (approximate, bound) = bounds.of(row, product);
            if approximate + bound >= lower.bar() {
                doubtful.push((approximate + bound, row));
                // Rows are told apart here only by number.
                lower.push(Best { similarity: approximate - bound, address: DocAddress::new(0, row) });
            }
            lower.bar()
        };
        let wanted = query.rounded.codes.as_slice();
        match &segment.selected {
            Some(selected) if !whole => {
                for row in selected.rows_in(block) {
                    look(row, kernels::dot_i8(wanted, bytemuck::cast_slice(codes.row(row))));
                }
            }
            _ => {
                let mut bar = best.bar();
                codes.for_each(block, |first, _, bytes| {
                    kernels::dot_rows_i8(wanted, bytemuck::cast_slice(bytes), &mut self.products);
                    bounds.uppers(first, &self.products, &mut self.values);
                    for ((row, &product), &upper) in (first..).zip(&self.products).zip(&self.values) {
                        if upper >= bar && segment.contains(row) {
                            bar = look(row, product);
                        }
                    }
                });
            }
        }
        let bar = lower.bar();
        doubtful.retain(|&(upper, _)| upper >= bar);
        doubtful.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        for (upper, row) in doubtful {
            if upper < best.bar() {
                break;
            }
            let similarity = query.similarity(segment.rows, row, &mut self.scratch);
            if similarity >= best.bar() {
                best.push(Best { similarity, address: segment.address(row) });
            }
        }
    }
}
