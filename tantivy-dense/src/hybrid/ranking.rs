//! The ranking of a hybrid search, as far as it is asked for.
//!
//! Blocks are made by windows that grow, each from the same calls of the arms whatever part of the ranking is wanted, so that a page
//! is a function of the search and the searcher alone. A longer list of an arm cannot stand in for a shorter one: an approximate index
//! may leave out of a long list what it had in a short one, and words may be a rounding apart (see [`Arm::is_prefix_stable`]).

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tantivy::{DocAddress, Searcher};

use super::Hybrid;
use super::arm::{Arm, Top};
use super::hit::{ArmHit, Block, FusedHit};
use super::matrix::{Column, Matrix};
use crate::DenseError;

/// How many times as large each window is as the one before.
const GROWTH: usize = 4;

/// The arms of one search, with what is kept of them from block to block.
struct Arms<'a> {
    searcher: &'a Searcher,
    arms: Vec<Finder>,
    /// The longest window that will be wanted.
    depth: usize,
}

struct Finder {
    arm: Arm,
    /// Whether it finds documents: not with weight 0, unless all arms have that.
    finds: bool,
    /// Whether its shorter lists are beginnings of its longer ones.
    stable: bool,
    /// The list of the longest window, once a stable arm has given it.
    kept: Option<Top>,
}

impl Hybrid {
    /// The first `wanted` documents of the ranking.
    pub(super) fn ranking(&self, searcher: &Searcher, wanted: usize) -> Result<Vec<FusedHit>, DenseError> {
        let documents = documents(searcher);
        let first = self.first_window(searcher);
        let mut arms = Arms::new(self, searcher, depth(first, wanted, documents))?;
        let mut hits = Vec::new();
        if wanted == 0 {
            return Ok(hits);
        }
        let mut window = first;
        let mut seen = HashSet::new();
        let mut scores: Vec<Vec<f32>> = vec![Vec::new(); self.arms.len()];
        loop {
            let tops = arms.tops(window)?;
            let mut fresh: Vec<DocAddress> =
                tops.iter().flat_map(|top| &top.hits).map(|&(address, _)| address).collect();
            fresh.retain(|address| seen.insert(*address));
            fresh.sort_unstable();
            if !fresh.is_empty() {
                self.append(&arms, (first, window), fresh, &tops, &mut scores, &mut hits)?;
            }
            let exhausted = tops.iter().all(|top| top.hits.len() < window) || window >= documents;
            if hits.len() >= wanted || exhausted {
                hits.truncate(wanted);
                return Ok(hits);
            }
            window = window.saturating_mul(GROWTH).min(documents);
        }
    }

    /// The matrix of the first block.
    pub(super) fn first_matrix(&self, searcher: &Searcher) -> Result<Matrix, DenseError> {
        let window = self.first_window(searcher);
        let mut arms = Arms::new(self, searcher, window)?;
        let tops = arms.tops(window)?;
        let mut candidates: Vec<DocAddress> =
            tops.iter().flat_map(|top| &top.hits).map(|&(address, _)| address).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let columns = arms.complete(&candidates, &tops)?;
        Ok(Matrix::new(candidates, columns))
    }

    /// No more than there are, since memory is taken for all of them.
    fn first_window(&self, searcher: &Searcher) -> usize {
        self.window.clamp(1, documents(searcher))
    }

    /// Fuses the documents that a window adds and puts them behind the hits before.
    fn append(
        &self,
        arms: &Arms<'_>,
        (first, window): (usize, usize),
        fresh: Vec<DocAddress>,
        tops: &[Top],
        before: &mut [Vec<f32>],
        hits: &mut Vec<FusedHit>,
    ) -> Result<(), DenseError> {
        let columns = arms.complete(&fresh, tops)?;
        let columns =
            columns.into_iter().zip(before.iter()).map(|(column, before)| column.after(before.clone())).collect();
        let matrix = Matrix::new(fresh, columns);
        let weights: Vec<f32> = self.arms.iter().map(|arm| arm.weight).collect();
        let mut fused = self.fusion.fuse(&matrix, &weights)?;
        let lowered = lower(matrix.candidates(), &mut fused.scores, hits.last());
        let ranks: Vec<Vec<Option<usize>>> = matrix.columns().iter().map(Column::ranks).collect();
        let found: Vec<HashSet<DocAddress>> =
            tops.iter().map(|top| top.hits.iter().map(|&(address, _)| address).collect()).collect();
        let reports = tops.iter().map(|top| top.reports.clone()).collect();
        let block = Arc::new(Block { window, first, lowered, reports });
        let mut order: Vec<usize> = (0..matrix.candidates().len()).collect();
        // Candidates are in the order of addresses, so a stable sort settles ties.
        order.sort_by(|&a, &b| fused.scores[b].total_cmp(&fused.scores[a]));
        hits.extend(order.into_iter().map(|candidate| {
            let address = matrix.candidates()[candidate];
            let arm = |(at, arm): (usize, &super::NamedArm)| ArmHit {
                name: arm.name.clone(),
                rank: ranks[at][candidate],
                raw: matrix.columns()[at].raw()[candidate],
                normalised: fused.normalised[at][candidate],
                weight: arm.weight,
            };
            FusedHit {
                address,
                score: fused.scores[candidate],
                arms: self.arms.iter().enumerate().map(arm).collect(),
                found: found.iter().map(|found| found.contains(&address)).collect(),
                block: Arc::clone(&block),
            }
        }));
        for (before, column) in before.iter_mut().zip(matrix.columns()) {
            before.extend(column.raw().iter().flatten());
        }
        Ok(())
    }
}

/// Lowers scores by one number, so that the best of them comes after the last hit before: below it, or level with it at a higher
/// address. Gives that number, 0 where nothing had to be done.
fn lower(candidates: &[DocAddress], scores: &mut [f32], last: Option<&FusedHit>) -> f32 {
    let Some(last) = last else { return 0.0 };
    let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let level = |(address, score): (&DocAddress, &f32)| *score == last.score && *address < last.address;
    if best < last.score || (best == last.score && !candidates.iter().zip(scores.iter()).any(level)) {
        return 0.0;
    }
    let bound = last.score.next_down();
    let lowered = best - bound;
    // Rounding may leave the best a little above the bound. Numbers beyond f32 end at its least.
    scores.iter_mut().for_each(|score| *score = (*score - lowered).min(bound).max(f32::MIN));
    lowered
}

/// The window of the block in which `wanted` documents are reached at the latest: an arm that fills it has found as many.
fn depth(first: usize, wanted: usize, documents: usize) -> usize {
    let mut window = first;
    while window < wanted && window < documents {
        window = window.saturating_mul(GROWTH).min(documents);
    }
    window
}

/// Documents of the searcher, and 1 where there is none.
fn documents(searcher: &Searcher) -> usize {
    usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX).max(1)
}

impl<'a> Arms<'a> {
    fn new(hybrid: &Hybrid, searcher: &'a Searcher, depth: usize) -> Result<Arms<'a>, DenseError> {
        if let Some(arm) = hybrid.arms.iter().find(|arm| !(arm.weight.is_finite() && arm.weight >= 0.0)) {
            let (name, weight) = (arm.name.clone(), arm.weight);
            return Err(DenseError::Fusion {
                why: format!("the weight of the arm `{name}` must be 0 or more, and is {weight}"),
            });
        }
        let weightless = hybrid.arms.iter().all(|arm| arm.weight == 0.0);
        let finder = |named: &super::NamedArm| -> Result<Finder, DenseError> {
            let arm = named.arm.filtered(hybrid.filter.as_deref());
            let stable = arm.is_prefix_stable(searcher)?;
            Ok(Finder { arm, finds: weightless || named.weight > 0.0, stable, kept: None })
        };
        Ok(Arms { searcher, arms: hybrid.arms.iter().map(finder).collect::<Result<_, _>>()?, depth })
    }

    /// The best documents of every arm.
    fn tops(&mut self, window: usize) -> Result<Vec<Top>, DenseError> {
        let (searcher, depth) = (self.searcher, self.depth.max(window));
        let waits = |finder: &Finder| finder.finds && finder.arm.is_vector();
        let mut tops = in_parallel(&self.arms, waits, |finder| match finder {
            Finder { finds: false, .. } | Finder { kept: Some(_), .. } => Ok(Top::default()),
            Finder { arm, stable: true, .. } => arm.top(searcher, depth),
            Finder { arm, .. } => arm.top(searcher, window),
        })?;
        for (finder, top) in self.arms.iter_mut().zip(&mut tops) {
            if finder.stable && finder.finds {
                *top = finder.kept.get_or_insert_with(|| std::mem::take(top)).head(window);
            }
        }
        Ok(tops)
    }

    /// Every arm's raw scores of candidates. Some hundred seeks: less work than waking a thread for.
    fn complete(&self, candidates: &[DocAddress], tops: &[Top]) -> Result<Vec<Column>, DenseError> {
        let arms = self.arms.iter().zip(tops);
        arms.map(|(finder, top)| finder.arm.complete(self.searcher, candidates, top)).collect()
    }
}

/// Does the work for every item at once: one on the calling thread, the others on rayon's.
///
/// The last item that `waits` stays on the calling thread: it may wait for a device, and rayon has few threads.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    waits: impl Fn(&T) -> bool,
    work: impl Fn(&T) -> Result<R, DenseError> + Sync,
) -> Result<Vec<R>, DenseError> {
    if let [only] = items {
        return Ok(vec![work(only)?]);
    }
    let here = items.iter().rposition(waits).unwrap_or(0);
    let mut outcomes: Vec<Option<Result<R, DenseError>>> = items.iter().map(|_| None).collect();
    let guarded = |item: &T| {
        catch_unwind(AssertUnwindSafe(|| work(item)))
            .unwrap_or_else(|_| Err(DenseError::Fusion { why: "the search of an arm panicked".to_owned() }))
    };
    rayon::in_place_scope(|scope| {
        let mut own = None;
        for (at, (item, outcome)) in items.iter().zip(&mut outcomes).enumerate() {
            if at == here {
                own = Some((item, outcome));
            } else {
                scope.spawn(|_| *outcome = Some(guarded(item)));
            }
        }
        if let Some((item, outcome)) = own {
            *outcome = Some(guarded(item));
        }
    });
    let missing = || Err(DenseError::Fusion { why: "the search of an arm ended without an answer".to_owned() });
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
}
