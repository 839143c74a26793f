//! The part of a search that a device does: exact answers out of a device that knows nothing of deletes and filters,
//! and computes with another rounding.
//!
//! The device is asked for more rows than are wanted. Those that the search may return are compared here, with the rows
//! as they are kept, so that a similarity has the same bits whichever way it was found. No row that the device left out
//! can be much better than the last one that it gave: by no more than what rounding does. Where the k-th best found is
//! better than that, nothing is missing; where it isn't, the device is asked for twice as many, as often as it can, and
//! then the processor searches instead.

use std::sync::Arc;

use rayon::prelude::*;

use super::approximate::{Traversal, TraversalPlan};
use super::exact::{Candidates, QueryState};
use super::report::{DeviceUse, IndexUse};
use super::top::{Best, Top};
use crate::Metric;
use crate::ann::AnnSearch;
use crate::device::{Answer, MOST, Source, rows_bytes};
use crate::warm::FieldVectors;

/// A device selects this many rows about as fast as one.
const FEWEST: usize = 16;
/// With fewer answers to compare, handing them to other threads costs more than it saves.
const IN_PARALLEL: usize = 8;

/// What a segment's device is going to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// All rows are compared; so many are asked for at first.
    Rows { first: usize, most: usize },
    /// Lists are searched.
    Lists { most: usize },
}

/// What a search wants of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentRequest {
    pub k: usize,
    pub selected: u32,
    pub queries: usize,
    pub exact: bool,
}

/// Whether and how the device searches a segment; else why not. `None` where there is nothing to decide.
pub(super) fn plan(
    vectors: &FieldVectors,
    wanted: SegmentRequest,
    traversal: Option<&TraversalPlan>,
) -> Option<Result<Plan, String>> {
    let slot = vectors.slot.as_ref()?;
    let SegmentRequest { k, selected, queries, exact } = wanted;
    if selected == 0 || queries == 0 || k == 0 {
        return None;
    }
    if k == usize::MAX {
        return Some(Err("it finds a number of rows, and all within a similarity were asked for".to_owned()));
    }
    let rows = vectors.rows.len() as usize;
    let values = (selected as usize).saturating_mul(vectors.rows.options().dimension()).saturating_mul(queries);
    let least = slot.device.options().least_values;
    if values < least {
        return Some(Err(format!("{values} values are sooner compared here, from {least} on it is asked")));
    }
    let ready = match slot.device.ready() {
        Ok(ready) => ready,
        Err(why) => return Some(Err(why)),
    };
    let most = ready.most.clamp(1, MOST);
    let lists = vectors.lists().is_some() && traversal.is_some() && !exact;
    if lists && (slot.device.options().lists || rows_bytes(vectors) > ready.limit) {
        return Some(reaches(k, selected as usize, rows, most).map(|()| Plan::Lists { most }));
    }
    Some(first_ask(k, selected as usize, rows, most).map(|first| Plan::Rows { first, most }))
}

/// How many rows to ask a device for, in the hope that `k` are among them of the `selected` of `rows`; or why there is no
/// hope.
fn first_ask(k: usize, selected: usize, rows: usize, most: usize) -> Result<usize, String> {
    if rows <= most {
        return Ok(class(rows, most));
    }
    reaches(k, selected, rows, most)?;
    let share = selected as f64 / rows.max(1) as f64;
    // Some more for what rounding leaves in doubt, and three times the spread that the number of selected rows has.
    let k = k as f64;
    let wanted = k + 4.0 + 3.0 * (k * (1.0 - share)).sqrt();
    Ok(class((wanted / share).ceil() as usize, most))
}

/// Whether there is hope that `k` of the `selected` of `rows` are among the `most` that a device gives; or why there is none.
fn reaches(k: usize, selected: usize, rows: usize, most: usize) -> Result<(), String> {
    let share = selected as f64 / rows.max(1) as f64;
    if rows <= most || (k as f64) <= share * most as f64 {
        return Ok(());
    }
    let left = if selected < rows { format!(", of which {selected} of {rows} may be hits") } else { String::new() };
    Err(format!("it gives {most} rows at most{left}, and {k} are wanted"))
}

/// Numbers are rounded up to a few, so that queries go together into one call.
fn class(rows: usize, most: usize) -> usize {
    rows.max(FEWEST).next_power_of_two().min(most)
}

/// What a query has from a device.
pub(super) enum DeviceAnswer {
    /// Its hits are among what was [added](QueryState::add) to it.
    Rows(DeviceUse),
    /// Rows from lists, as from an index on the processor.
    Lists(Traversal),
}

/// Searches a segment on its device for some queries. For each what it was given, or why the processor has to search.
pub(super) fn search(
    vectors: &Arc<FieldVectors>,
    segment: &Candidates,
    asked: &[&QueryState],
    (plan, traversal): (Plan, Option<&TraversalPlan>),
    k: usize,
) -> Vec<Result<DeviceAnswer, String>> {
    let mut given: Vec<Option<Result<DeviceAnswer, String>>> = asked.iter().map(|_| None).collect();
    match plan {
        Plan::Rows { first, most } => rows(vectors, segment, asked, (first, most), k, &mut given),
        Plan::Lists { most } => lists(vectors, segment, asked, (most, traversal), k, &mut given),
    }
    given.into_iter().map(|given| given.unwrap_or_else(|| Err("it gave no answer".to_owned()))).collect()
}

/// The most queries for one call: their answers lie in memory together.
fn batch(vectors: &FieldVectors) -> usize {
    vectors.slot.as_ref().map_or(1, |slot| slot.device.options().batch.max(1))
}

/// Asks for `count` rows for those queries of `asked` that have nothing yet.
fn ask(
    vectors: &Arc<FieldVectors>,
    asked: &[&QueryState],
    open: &[usize],
    (count, nprobe): (usize, usize),
) -> Result<Answer, String> {
    let slot = vectors.slot.as_ref().ok_or("there is none")?;
    let queries = open.iter().flat_map(|&at| asked[at].query.vector.iter().copied()).collect();
    slot.ask(Arc::clone(vectors) as Arc<dyn Source>, queries, (count, nprobe))
}

/// Does `work` for every query that is open, with its places in the answer.
fn each<T: Send>(
    answer: &Answer,
    open: &[usize],
    count: usize,
    work: impl Fn(usize, &[f32], &[i64]) -> T + Sync,
) -> Vec<T> {
    let places = |place: usize| {
        let range = place * count..(place + 1) * count;
        let similarities = answer.nearest.similarities.get(range.clone()).unwrap_or_default();
        (similarities, answer.nearest.rows.get(range).unwrap_or_default())
    };
    let one = |(place, &at): (usize, &usize)| {
        let (similarities, rows) = places(place);
        work(at, similarities, rows)
    };
    if open.len() < IN_PARALLEL {
        open.iter().enumerate().map(one).collect()
    } else {
        open.par_iter().enumerate().map(one).collect()
    }
}

fn rows(
    vectors: &Arc<FieldVectors>,
    segment: &Candidates,
    asked: &[&QueryState],
    (first, most): (usize, usize),
    k: usize,
    given: &mut [Option<Result<DeviceAnswer, String>>],
) {
    let device = vectors.slot.as_ref().map_or_else(String::new, |slot| slot.device.name().to_owned());
    let mut open: Vec<usize> = (0..asked.len()).collect();
    let mut count = first;
    let mut calls = 0;
    while !open.is_empty() {
        calls += 1;
        let mut left = Vec::new();
        for open in open.chunks(batch(vectors)) {
            let answer = match ask(vectors, asked, open, (count, 0)) {
                Ok(answer) => answer,
                Err(why) => {
                    open.iter().for_each(|&at| given[at] = Some(Err(why.clone())));
                    continue;
                }
            };
            let looked = each(&answer, open, count, |at, similarities, rows| {
                look(segment, asked[at], (similarities, rows), &answer, k)
            });
            for (&at, looked) in open.iter().zip(looked) {
                match looked {
                    Ok(DeviceHits { best, complete: true, .. }) => {
                        asked[at].add(best);
                        let (candidates, batch) = (count.min(answer.rows), answer.batch);
                        let how = DeviceUse { device: device.clone(), candidates, calls, batch };
                        given[at] = Some(Ok(DeviceAnswer::Rows(how)));
                    }
                    Ok(looked) if count >= most => given[at] = Some(Err(looked.short(k, count))),
                    Ok(_) => left.push(at),
                    Err(why) => given[at] = Some(Err(why)),
                }
            }
        }
        open = left;
        count = (count * 2).min(most);
    }
}

/// What a query's rows from a device came to.
struct DeviceHits {
    /// Compared in full, best first.
    best: Vec<Best>,
    /// Rows among them that the search may return.
    selected: usize,
    /// Whether no other row of the segment can be among the hits.
    complete: bool,
}

impl DeviceHits {
    /// Why `count` rows were not enough.
    fn short(&self, k: usize, count: usize) -> String {
        match self.selected {
            selected if selected < k => too_few(selected, k, count),
            _ => format!("the {count} rows it gave are too much alike to be told apart in single precision"),
        }
    }
}

/// Why `count` rows, of which so many may be hits, were not enough.
fn too_few(selected: usize, k: usize, count: usize) -> String {
    format!("of the {count} rows it gave, {selected} are left, and {k} are wanted")
}

/// Compares what a device gave for one query.
fn look(
    segment: &Candidates,
    asked: &QueryState,
    (similarities, rows): (&[f32], &[i64]),
    answer: &Answer,
    k: usize,
) -> Result<DeviceHits, String> {
    let rounding = Rounding::new(asked, answer.longest);
    let mut best = Top::with_room(k, k.min(rows.len()));
    best.raise(asked.bar.get());
    let (mut scratch, mut selected, mut found) = (Vec::new(), 0, 0);
    // No row that was not given is better, as the device sees it.
    let mut worst = f64::INFINITY;
    for (&row, &theirs) in rows.iter().zip(similarities) {
        if row < 0 {
            continue;
        }
        let row = u32::try_from(row).ok().filter(|&row| row < segment.rows.len());
        let Some(row) = row else { return Err("it gave a row that the segment does not have".to_owned()) };
        found += 1;
        worst = worst.min(f64::from(theirs));
        if !segment.contains(row) {
            continue;
        }
        selected += 1;
        // The device's own word that it is none of the hits, nor any after it, is as good here as for the rows it left out.
        let bar = best.bar();
        if bar > f32::NEG_INFINITY && f64::from(theirs) + rounding.bound_above(bar) < f64::from(bar) {
            continue;
        }
        let similarity = asked.query.similarity(segment.rows, row, &mut scratch);
        // The bound rests on single precision: a device that computes with less is found out.
        let off = (f64::from(theirs) - f64::from(similarity)).abs();
        let bound = rounding.bound(answer.longest);
        if off.is_nan() || off > bound {
            return Err(format!("it computes too coarsely: a similarity is off by {off:e}, with a bound of {bound:e}"));
        }
        if similarity >= best.bar() {
            best.push(Best { similarity, address: segment.address(row) });
        }
    }
    let all = found >= answer.rows;
    let bar = best.bar();
    let full = found == rows.len() && bar > f32::NEG_INFINITY;
    let complete = all || full && worst + rounding.bound_above(bar) < f64::from(bar);
    Ok(DeviceHits { best: best.into_sorted(), selected, complete })
}

/// How far two similarities of the same query and row can be apart, each computed in single precision with sums taken in
/// any order.
///
/// With u = 2^-24, a sum of n products is off by no more than about n u |q| |r|, whatever its order (Higham, Accuracy and
/// Stability of Numerical Algorithms, section 3.1). A squared distance is summed from squares of differences here, and
/// from |q|^2 - 2 q.r + |r|^2 on devices: off by no more than about n u (|q| + |r|)^2 either way. Both sides are counted,
/// and some more for roundings outside the sums.
struct Rounding {
    metric: Metric,
    unit: f64,
    /// Length of the query.
    length: f64,
    longest: f64,
}

impl Rounding {
    fn new(asked: &QueryState, longest: f32) -> Rounding {
        let query = &asked.query;
        let unit = 2.0 * (query.vector.len() as f64 + 16.0) * 2.0_f64.powi(-24);
        Rounding { metric: query.metric, unit, length: f64::from(query.rounded.norm), longest: f64::from(longest) }
    }

    /// For rows up to so long.
    fn bound(&self, length: f32) -> f64 {
        self.of(f64::from(length))
    }

    /// For rows that may reach a similarity: a row longer than the query by more than the distance is farther away.
    fn bound_above(&self, similarity: f32) -> f64 {
        match self.metric {
            Metric::Cosine | Metric::Dot => self.of(self.longest),
            Metric::L2 => {
                let reach = self.length + f64::from(-similarity).max(0.0).sqrt();
                self.of(self.longest.min(reach * (1.0 + 1e-6)))
            }
        }
    }

    fn of(&self, row: f64) -> f64 {
        let scale = match self.metric {
            Metric::Cosine | Metric::Dot => self.length * row,
            Metric::L2 => (self.length + row).powi(2),
        };
        self.unit * scale + f64::from(f32::MIN_POSITIVE)
    }
}

fn lists(
    vectors: &Arc<FieldVectors>,
    segment: &Candidates,
    asked: &[&QueryState],
    (most, traversal): (usize, Option<&TraversalPlan>),
    k: usize,
    given: &mut [Option<Result<DeviceAnswer, String>>],
) {
    let (Ok(index), Some(traversal)) = (&vectors.index, traversal) else { return };
    let device = vectors.slot.as_ref().map(|slot| slot.device.name().to_owned());
    // All that are wanted of all segments: unlike on the processor, more rows cost a device next to nothing.
    let AnnSearch { nprobe, .. } = traversal.deep;
    let nprobe = nprobe.unwrap_or(1).min(index.index.lists().max(1)).min(MOST);
    let selected = segment.count() as usize;
    let candidates = ((k as f64 * traversal.oversample).ceil() as usize).min(selected);
    let share = selected as f64 / f64::from(segment.rows.len().max(1));
    let mut count = class((candidates as f64 / share).ceil() as usize, most);
    let mut open: Vec<usize> = (0..asked.len()).collect();
    while !open.is_empty() {
        let mut left = Vec::new();
        for open in open.chunks(batch(vectors)) {
            let answer = match ask(vectors, asked, open, (count, nprobe)) {
                Ok(answer) => answer,
                Err(why) => {
                    open.iter().for_each(|&at| given[at] = Some(Err(why.clone())));
                    continue;
                }
            };
            let traversal = each(&answer, open, count, |at, _, rows| {
                let found = rows.iter().filter(|&&row| row >= 0).count();
                let allowed = rows.iter().filter_map(|&row| u32::try_from(row).ok());
                let allowed: Vec<u32> =
                    allowed.filter(|&row| row < segment.rows.len() && segment.contains(row)).collect();
                // Not enough, with more in the lists: where the device cannot give it, the index on the processor can.
                if allowed.len() < candidates && found >= count {
                    if count < most {
                        return None;
                    }
                    if allowed.len() < k.min(selected) {
                        return Some(Err(too_few(allowed.len(), k, count)));
                    }
                }
                let (query, mut best) = (&asked[at].query, Top::with_room(k, k.min(allowed.len())));
                best.raise(asked[at].bar.get());
                let mut scratch = Vec::new();
                for &row in &allowed {
                    let similarity = query.similarity(segment.rows, row, &mut scratch);
                    if similarity >= best.bar() {
                        best.push(Best { similarity, address: segment.address(row) });
                    }
                }
                let how = IndexUse {
                    factory: index.entry.factory.clone(),
                    ef: None,
                    nprobe: Some(nprobe),
                    candidates: count,
                    distances: 0,
                    device: device.clone(),
                };
                Some(Ok(Traversal { best: best.into_sorted(), how, returned: allowed.len() }))
            });
            for (&at, traversal) in open.iter().zip(traversal) {
                match traversal {
                    Some(traversal) => given[at] = Some(traversal.map(DeviceAnswer::Lists)),
                    None => left.push(at),
                }
            }
        }
        open = left;
        count = (count * 2).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_asked_for_as_many_rows_as_the_filter_makes_likely_to_do() {
        assert_eq!(first_ask(10, 1000, 1000, MOST), Ok(1024), "all rows, where they are few");
        assert_eq!(first_ask(10, 1_000_000, 1_000_000, MOST), Ok(16));
        assert_eq!(first_ask(100, 1_000_000, 1_000_000, MOST), Ok(128));
        assert_eq!(first_ask(10, 500_000, 1_000_000, MOST), Ok(64));
        assert_eq!(first_ask(10, 100_000, 1_000_000, MOST), Ok(256));
        assert_eq!(first_ask(10, 10_000, 1_000_000, MOST), Ok(2048));
        let why = first_ask(10, 1_000, 1_000_000, MOST).unwrap_err();
        assert_eq!(why, "it gives 2048 rows at most, of which 1000 of 1000000 may be hits, and 10 are wanted");
        let why = first_ask(3000, 1_000_000, 1_000_000, MOST).unwrap_err();
        assert_eq!(why, "it gives 2048 rows at most, and 3000 are wanted");
        assert_eq!(first_ask(10, 100, 100, 64), Ok(16));
        assert_eq!(first_ask(10, 100, 100, 128), Ok(128));
    }

    #[test]
    fn lists_are_asked_only_where_enough_of_what_they_give_may_be_left() {
        assert_eq!(reaches(2048, 1_000_000, 1_000_000, MOST), Ok(()));
        assert!(reaches(2049, 1_000_000, 1_000_000, MOST).is_err());
        assert_eq!(reaches(10, 5_000, 1_000_000, MOST), Ok(()));
        assert!(reaches(11, 5_000, 1_000_000, MOST).is_err());
        assert_eq!(reaches(100, 200, 2_000, MOST), Ok(()), "all rows of a short segment");
    }
}
