//! Exact search: every row that may be a hit is compared.
//!
//! Where rows have a rounded copy, that is scanned first. Rounding changes a similarity by no more than a bound that is
//! known for every row, so a row whose approximate similarity plus bound falls below the k-th best approximate
//! similarity minus bound cannot be a hit. What is left is compared in full: the hits are those of the plain scan.

use std::ops::Range;
use std::sync::Arc;

use tantivy::{DocAddress, Executor};

use super::rowset::RowSet;
use super::top::{Bar, Found, Top};
use crate::kernels;
use crate::rows::{FieldRows, RoundedQuery, RowSection};
use crate::{DenseError, Element, Metric};

/// A task scans about so many bytes, enough to make handing it to a thread cheap.
const TASK_BYTES: usize = 4 << 20;
/// Half-precision rows are decoded in blocks of about so many values, which stay in the fastest cache.
const DECODE_VALUES: usize = 8 << 10;

/// A query as rows are compared with it.
pub(crate) struct Prepared {
    pub metric: Metric,
    pub vector: Vec<f32>,
    rounded: RoundedQuery,
}

impl Prepared {
    /// `vector` is checked, and normalised under cosine.
    pub(crate) fn new(metric: Metric, vector: Vec<f32>) -> Prepared {
        let rounded = RoundedQuery::new(&vector);
        Prepared { metric, vector, rounded }
    }

    /// Similarity to the values of a row.
    pub(crate) fn similarity(&self, row: &[f32]) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::Dot => kernels::dot(&self.vector, row),
            Metric::L2 => -kernels::l2_squared(&self.vector, row),
        }
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
}

/// The best `k` of several segments. `floor` is the least similarity of a hit.
pub(crate) fn nearest(
    executor: &Executor,
    segments: &[Candidates],
    query: &Prepared,
    k: usize,
    bar: &Bar,
) -> Result<Vec<Found>, DenseError> {
    let mut tasks = Vec::new();
    for segment in segments.iter().filter(|segment| segment.count() > 0) {
        let rows = segment.rows.len();
        let step = (TASK_BYTES / segment.rows.options().row_bytes().max(1)).max(64) as u32;
        tasks.extend((0..rows).step_by(step as usize).map(|first| (segment, first..rows.min(first + step))));
    }
    let scan = |(segment, range): (&Candidates, Range<u32>)| {
        let mut top = Top::new(k);
        Scan { segment, query, bar }.run(range, &mut top);
        bar.raise(top.bar());
        Ok(top.into_sorted())
    };
    let mut best = Top::new(k);
    if let [_] = tasks.as_slice() {
        // A thread pool would only cost time.
        for task in tasks {
            best.extend(scan(task)?);
        }
    } else {
        executor.map(scan, tasks.into_iter())?.into_iter().for_each(|found| best.extend(found));
    }
    Ok(best.into_sorted())
}

struct Scan<'a> {
    segment: &'a Candidates<'a>,
    query: &'a Prepared,
    bar: &'a Bar,
}

impl Scan<'_> {
    fn run(&self, range: Range<u32>, top: &mut Top) {
        let count = match &self.segment.selected {
            None => range.len(),
            Some(set) => set.rows_in(range.clone()).count(),
        };
        match self.segment.rows.first_pass() {
            // With fewer rows than hits, rounding excludes none.
            Some(codes) if count > top.k().saturating_mul(2) => self.in_two_passes(codes, range, top),
            _ => self.in_full(range, top),
        }
    }

    fn offer(&self, top: &mut Top, row: u32, similarity: f32) {
        if similarity >= top.bar().max(self.bar.get()) {
            let address = DocAddress::new(self.segment.ordinal, self.segment.rows.doc(row));
            top.push(Found { similarity, address });
        }
    }

    fn in_full(&self, range: Range<u32>, top: &mut Top) {
        let rows = self.segment.rows;
        let mut scratch = Vec::new();
        if let Some(selected) = &self.segment.selected {
            for row in selected.rows_in(range) {
                let similarity = self.query.similarity(rows.row(row, &mut scratch));
                self.offer(top, row, similarity);
            }
            return;
        }
        let dimension = rows.options().dimension();
        let compare = |first: u32, values: &[f32], top: &mut Top| {
            for (row, values) in (first..).zip(values.chunks_exact(dimension)) {
                self.offer(top, row, self.query.similarity(values));
            }
        };
        rows.values().for_each(range, |first, count, bytes| match rows.options().element_type() {
            Element::F32 => compare(first, bytemuck::try_cast_slice(bytes).unwrap_or_default(), top),
            Element::F16 => {
                let step = (DECODE_VALUES / dimension).max(1);
                for (block, bytes) in bytes.chunks(step * dimension * 2).enumerate() {
                    let first = first + (block * step) as u32;
                    rows.decode_f16(first, bytes, &mut scratch);
                    compare(first, &scratch, top);
                }
            }
            Element::Int8 => {
                for row in first..first + count {
                    let similarity = self.query.similarity(rows.row(row, &mut scratch));
                    self.offer(top, row, similarity);
                }
            }
        });
    }

    fn in_two_passes(&self, codes: &RowSection, range: Range<u32>, top: &mut Top) {
        let rows = self.segment.rows;
        let bounds = Bounds::new(rows, self.query);
        // The k best lower bounds so far; what cannot reach the least of them is no hit.
        let mut lower = Top::new(top.k());
        let mut doubtful: Vec<(f32, u32)> = Vec::new();
        let mut look = |row: u32, product: i32| {
            let (approximate, bound) = bounds.of(row, product);
            let bar = lower.bar().max(self.bar.get());
            if approximate + bound >= bar {
                doubtful.push((approximate + bound, row));
                // Rows are told apart here only by number.
                lower.push(Found { similarity: approximate - bound, address: DocAddress::new(0, row) });
            }
        };
        let query = &self.query.rounded.codes;
        match &self.segment.selected {
            Some(selected) => {
                for row in selected.rows_in(range) {
                    look(row, kernels::dot_i8(query, bytemuck::cast_slice(codes.row(row))));
                }
            }
            None => codes.for_each(range, |first, _, bytes| {
                let codes: &[i8] = bytemuck::cast_slice(bytes);
                for (row, codes) in (first..).zip(codes.chunks_exact(query.len())) {
                    look(row, kernels::dot_i8(query, codes));
                }
            }),
        }
        let bar = lower.bar().max(self.bar.get());
        doubtful.retain(|&(upper, _)| upper >= bar);
        doubtful.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut scratch = Vec::new();
        for (upper, row) in doubtful {
            if upper < top.bar().max(self.bar.get()) {
                break;
            }
            let similarity = self.query.similarity(rows.row(row, &mut scratch));
            self.offer(top, row, similarity);
        }
    }
}

/// How far a similarity computed from rounded rows and a rounded query can be from that of the rows as they are kept.
///
/// For a row r, its rounded copy r', a query q and its rounded copy q': |q.r - q'.r'| = |q.(r - r') + (q - q').r'|
/// <= |q| |r - r'| + |q - q'| |r'|. A little is added for the rounding of sums in f32.
struct Bounds<'a> {
    metric: Metric,
    query: &'a RoundedQuery,
    scales: &'a [f32],
    errors: &'a [f32],
    norms: &'a [f32],
    /// Relative error of a sum of products in f32, generously.
    slack: f32,
}

impl<'a> Bounds<'a> {
    fn new(rows: &'a FieldRows, query: &'a Prepared) -> Bounds<'a> {
        let dimension = rows.options().dimension() as f32;
        Bounds {
            metric: query.metric,
            query: &query.rounded,
            scales: rows.code_scales(),
            errors: rows.code_errors(),
            norms: rows.norms(),
            slack: dimension * 2e-8 + 1e-6,
        }
    }

    /// The approximate similarity of a row, and how far off it can be.
    #[inline]
    fn of(&self, row: u32, product: i32) -> (f32, f32) {
        let row = row as usize;
        let at = |values: &[f32]| values.get(row).copied().unwrap_or(0.0);
        let (scale, error) = (at(self.scales), at(self.errors));
        let norm = match self.metric {
            Metric::Cosine => 1.000_01,
            Metric::Dot | Metric::L2 => at(self.norms) * 1.000_01,
        };
        let query = self.query;
        let dot = product as f32 * (query.scale * scale);
        let bound = query.norm * error + query.error * (norm + error) + self.slack * query.norm * norm;
        match self.metric {
            Metric::Cosine | Metric::Dot => (dot, bound),
            Metric::L2 => {
                let squares = query.norm * query.norm + norm * norm;
                // The factors above make `squares` too large by up to 4e-5 of itself.
                (2.0 * dot - squares, 2.0 * bound + squares * (6e-5 + self.slack))
            }
        }
    }
}
