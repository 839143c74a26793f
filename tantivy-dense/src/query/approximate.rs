//! Whether and how widely to search a segment's approximate index, and the search itself.

use super::exact::{Candidates, QueryState};
use super::report::IndexUse;
use super::settings::Settings;
use super::top::{Best, Top};
use crate::DenseError;
use crate::ann::choose::{REFINED, refines};
use crate::ann::{AnnIndex, AnnKind, AnnPolicy, AnnSearch};
use crate::warm::OpenIndex;

/// A filter that leaves fewer rows than this share widens a search no further: the wider search would look at all rows.
const LEAST_SHARE: f64 = 0.001;

/// So many rounded rows are scanned in the time of one f32 row.
const FIRST_PASS_GAIN: usize = 3;

/// How one segment's index is going to be searched.
#[derive(Clone, Debug)]
pub(super) struct TraversalPlan {
    /// For the segment's share of the hits.
    pub search: AnnSearch,
    /// For all hits: where a segment turns out to hold more than its share, because documents of one kind came together.
    pub deep: AnnSearch,
    /// Candidates per wanted hit, where the index keeps rows rounded.
    pub oversample: f64,
}

/// The part of a search that falls to one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Rows that may be hits.
    pub selected: u32,
    /// Rows of the segment.
    pub rows: u32,
    /// Whether a scan compares rounded copies first.
    pub first_pass: bool,
    /// Share of the selected rows of all segments, from 0 to 1.
    pub share: f64,
}

/// A number that is wanted of all segments, as what to ask of one: its share, and three times the spread that the
/// number of good rows in it has by chance.
pub(super) fn part_of(whole: usize, share: f64) -> usize {
    let whole = whole as f64;
    let expected = whole * share;
    (expected + 3.0 * (expected * (1.0 - share)).max(0.0).sqrt()).ceil().min(whole) as usize
}

/// How to search the index, or why to scan the rows instead.
pub(super) fn plan(
    open: &OpenIndex,
    policy: &AnnPolicy,
    settings: &Settings,
    k: usize,
    part: Part,
) -> Result<TraversalPlan, String> {
    let index = &open.index;
    let selectivity = f64::from(part.selected) / f64::from(part.rows.max(1));
    let widen = 1.0 / selectivity.max(LEAST_SHARE);
    let defaults = open.entry.default_search();
    let oversample = settings.oversample.or(policy.oversample).map_or_else(|| default_oversample(open), f64::from);
    let (search, deep, cost) = match index.kind() {
        AnnKind::Graph => {
            let built = policy.ef.or(defaults.ef).unwrap_or(DEFAULT_EF);
            let ef = settings.ef.unwrap_or(built.max(k.saturating_mul(2)));
            // A graph search keeps rows that the filter leaves out among its candidates, so it needs more of them.
            let widened = |ef: usize| (ef as f64 * widen).ceil() as usize;
            let (all, ef) = (widened(ef), widened(part_of(ef, part.share)));
            let search = |ef: usize| AnnSearch { ef: Some(ef), ..AnnSearch::default() };
            (search(ef), search(all), ef.saturating_mul(policy.scan_per_ef))
        }
        AnnKind::Lists => {
            let lists = index.lists().max(1);
            let nprobe = settings.nprobe.or(policy.nprobe).or(defaults.nprobe).unwrap_or(1);
            // The nearest of the rows that are left lie in lists farther away, though not by as much.
            let nprobe = ((nprobe as f64 * widen.sqrt()).ceil() as usize).min(lists);
            let looked_at = f64::from(part.selected) * nprobe as f64 / lists as f64;
            let cost = if policy.scan_per_ef == 0 { 0.0 } else { looked_at + lists as f64 };
            let search = AnnSearch { nprobe: Some(nprobe), ..AnnSearch::default() };
            (search, search, cost as usize)
        }
        AnnKind::Flat | AnnKind::Other => (AnnSearch::default(), AnnSearch::default(), 0),
    };
    let selected = part.selected as usize;
    if selected <= k {
        return Err(format!("no more than the {k} wanted rows are left"));
    }
    let scan = if part.first_pass { selected / FIRST_PASS_GAIN } else { selected };
    if policy.scan_per_ef > 0 && scan <= cost {
        return Err(format!("scanning {selected} rows is sooner done than searching {}", open.entry.factory));
    }
    // The file of indexes does not keep the factor, so it follows from the factory string here as it does in the plan.
    let k_factor = (index.kind() == AnnKind::Other || refines(&open.entry.factory)).then_some(REFINED);
    Ok(TraversalPlan {
        search: AnnSearch { k_factor, ..search },
        deep: AnnSearch { k_factor, ..deep },
        oversample: oversample.max(1.0),
    })
}

/// Candidates of a graph whose file names no default.
const DEFAULT_EF: usize = 96;

/// Rows that an index keeps rounded are asked for more often than wanted, and cut after they were compared in full.
fn default_oversample(open: &OpenIndex) -> f64 {
    let factory = open.entry.factory.as_str();
    let last = factory.rsplit(',').next().unwrap_or(factory);
    let plain = open.entry.needs_rows || last == "Flat" || (last.starts_with("HNSW") && !last.contains('_'));
    match plain || refines(factory) {
        true => 1.0,
        // One byte a value and more keeps the order nearly; less does not.
        false if last.contains("SQ8") || last.contains("SQfp16") || last.contains("SQbf16") => 3.0,
        false => 10.0,
    }
}

/// What a graph search found.
pub(super) struct Traversal {
    /// Compared in full, best first, no more than were wanted.
    pub best: Vec<Best>,
    pub how: IndexUse,
    /// How many rows the index returned.
    pub returned: usize,
}

/// Searches an index for `want` rows and compares what it finds in full.
pub(super) fn traverse(
    open: &OpenIndex,
    plan: &TraversalPlan,
    segment: &Candidates,
    asked: &QueryState,
    (want, deep): (usize, bool),
) -> Result<Traversal, DenseError> {
    let index: &AnnIndex = &open.index;
    let candidates = ((want as f64 * plan.oversample).ceil() as usize).min(segment.count() as usize);
    let filter = segment.selected.as_ref().map(|set| set.words());
    let search = if deep { plan.deep } else { plan.search };
    let found = index.search_counted(&asked.query.vector, candidates, &search, filter)?;
    let mut best = Top::with_room(want, want.min(found.rows.len()));
    best.raise(asked.bar.get());
    let mut scratch = Vec::new();
    for &(row, _) in &found.rows {
        let similarity = asked.query.similarity(segment.rows, row, &mut scratch);
        if similarity >= best.bar() {
            best.push(Best { similarity, address: segment.address(row) });
        }
    }
    let how = IndexUse {
        factory: open.entry.factory.clone(),
        ef: search.ef.map(|ef| ef.max(candidates).min(index.rows())),
        nprobe: search.nprobe,
        candidates,
        distances: found.distances,
        device: None,
    };
    Ok(Traversal { best: best.into_sorted(), how, returned: found.rows.len() })
}

#[cfg(test)]
mod tests {
    use super::part_of;

    #[test]
    fn a_part_is_its_share_and_some_more_and_never_more_than_the_whole() {
        assert_eq!(part_of(96, 1.0), 96);
        assert_eq!(part_of(96, 0.0), 0);
        assert_eq!(part_of(10, 0.5), 10);
        assert_eq!(part_of(96, 0.125), 22);
        assert!((1..100).all(|percent| part_of(500, f64::from(percent) / 100.0) >= 5 * percent as usize));
    }
}
