//! The ranking of a hybrid search, as far as it is asked for.
//!
//! Blocks are made by windows that grow, each from the same calls of the arms whatever part of the ranking is wanted, so that a page
//! is a function of the search and the searcher alone. A longer list of an arm cannot stand in for a shorter one: an approximate index
//! may leave out of a long list what it had in a short one, and words may be a rounding apart (see [`Arm::is_prefix_stable`]).

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tantivy::{DocAddress, Searcher};

use super::arm::{Arm, Top};
use super::fusion::Fusion;
use super::hit::{ArmHit, Block, FusedHit};
use super::matrix::{Column, Matrix};
use super::ties::{MARGIN, Ties};
use super::{Hybrid, check_weights, shaping};
use crate::DenseError;

/// How many times as large each window is as the one before.
pub(super) const GROWTH: usize = 4;

/// The arms of one search, with what is kept of them from block to block.
pub(super) struct Arms<'a> {
    searcher: &'a Searcher,
    arms: Vec<Finder>,
    /// The longest window that will be wanted.
    depth: usize,
    /// How equal scores are ordered, if not by address.
    ties: Option<&'a Ties>,
}

struct Finder {
    arm: Arm,
    /// Whether it finds documents: not with weight 0, unless all arms have that.
    finds: bool,
    /// Whether its shorter lists are beginnings of its longer ones.
    stable: bool,
    /// Whether its lists are ordered by its scores alone.
    exact: bool,
    /// The list of a long window, with the window, once a stable arm has given it.
    kept: Option<(usize, Top)>,
}

/// A ranking, block after block.
pub(super) struct Walk<'a> {
    hybrid: &'a Hybrid,
    arms: Arms<'a>,
    searcher: &'a Searcher,
    first: usize,
    /// The window of the next block; none after the last.
    next: Option<usize>,
    documents: usize,
    seen: HashSet<DocAddress>,
    /// By arm: its scores of the documents of earlier blocks.
    before: Vec<Vec<f32>>,
    /// The lowest score so far, and where its document is: what follows stands below.
    last: Option<(f32, DocAddress)>,
}

impl Hybrid {
    /// The first `wanted` documents of the ranking.
    pub(super) fn ranking(&self, searcher: &Searcher, wanted: usize) -> Result<Vec<FusedHit>, DenseError> {
        let mut walk = Walk::new(self, searcher, wanted)?;
        let mut hits = Vec::new();
        while hits.len() < wanted
            && let Some(block) = walk.block(wanted)?
        {
            hits.extend(block);
        }
        hits.truncate(wanted);
        Ok(hits)
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

    /// Whether a score says the same of a document whatever window it was found in, and documents of larger windows have no higher one:
    /// so it is for the raw scores of a single arm.
    fn scores_fall(&self) -> bool {
        let finding = self.arms.iter().filter(|arm| arm.weight > 0.0).count();
        matches!(self.fusion, Fusion::Sum) && finding <= 1 && self.boosts.is_empty()
    }
}

impl<'a> Walk<'a> {
    /// Begins a walk of which `wanted` documents will be asked for at least.
    pub(super) fn new(hybrid: &'a Hybrid, searcher: &'a Searcher, wanted: usize) -> Result<Walk<'a>, DenseError> {
        hybrid.check(searcher)?;
        let documents = documents(searcher);
        let first = hybrid.first_window(searcher);
        let arms = Arms::new(hybrid, searcher, depth(first, wanted, documents))?;
        let before = vec![Vec::new(); hybrid.arms.len()];
        let seen = HashSet::new();
        Ok(Walk { hybrid, arms, searcher, first, next: Some(first), documents, seen, before, last: None })
    }

    /// The hits of the next block, best first; none after the last. A block may be empty. `wanted` is how many of the ranking are
    /// wanted: of the first block, no more than these are put in an order that costs time.
    pub(super) fn block(&mut self, wanted: usize) -> Result<Option<Vec<FusedHit>>, DenseError> {
        let Some(window) = self.next else { return Ok(None) };
        let tops = self.arms.tops(window)?;
        let mut fresh: Vec<DocAddress> = tops.iter().flat_map(|top| &top.hits).map(|&(address, _)| address).collect();
        fresh.retain(|address| self.seen.insert(*address));
        fresh.sort_unstable();
        let mut hits = if fresh.is_empty() { Vec::new() } else { self.fuse(window, fresh, &tops)? };
        let found = hits.len();
        if let Some(least) = self.hybrid.least_score {
            hits.retain(|hit| hit.score + hit.block.lowered >= least);
        }
        let exhausted = tops.iter().all(|top| top.hits.len() < window) || window >= self.documents;
        let is_cut = self.hybrid.least_score.is_some() && (hits.len() < found || !self.hybrid.scores_fall());
        self.next = Some(window.saturating_mul(GROWTH).min(self.documents)).filter(|_| !exhausted && !is_cut);
        if window == self.first {
            if let Some(sort) = &self.hybrid.sort {
                hits = sort.order(self.searcher, hits)?;
                self.next = None;
            }
            if let Some(diversity) = &self.hybrid.diversity {
                hits = diversity.order(self.searcher, hits, wanted)?;
            }
        }
        Ok(Some(hits))
    }

    /// Fuses the documents that a window adds.
    fn fuse(&mut self, window: usize, fresh: Vec<DocAddress>, tops: &[Top]) -> Result<Vec<FusedHit>, DenseError> {
        let hybrid = self.hybrid;
        let columns = self.arms.complete(&fresh, tops)?;
        let columns =
            columns.into_iter().zip(&self.before).map(|(column, before)| column.after(before.clone())).collect();
        let matrix = Matrix::new(fresh, columns);
        let weights: Vec<f32> = hybrid.arms.iter().map(|arm| arm.weight).collect();
        let mut fused = hybrid.fusion.fuse(&matrix, &weights)?;
        let unshaped = fused.scores.clone();
        let effects = shaping::shape(&hybrid.boosts, self.searcher, matrix.candidates(), &mut fused.scores)?;
        let lowered = lower(matrix.candidates(), &mut fused.scores, self.last, hybrid.ties.is_some());
        let ranks: Vec<Vec<Option<usize>>> = matrix.columns().iter().map(Column::ranks).collect();
        let found: Vec<HashSet<DocAddress>> =
            tops.iter().map(|top| top.hits.iter().map(|&(address, _)| address).collect()).collect();
        let reports = tops.iter().map(|top| top.reports.clone()).collect();
        let block = Arc::new(Block { window, first: self.first, lowered, reports });
        let mut order: Vec<usize> = (0..matrix.candidates().len()).collect();
        // Candidates are in the order of addresses, so a stable sort settles ties.
        order.sort_by(|&a, &b| fused.scores[b].total_cmp(&fused.scores[a]));
        if let Some(ties) = &hybrid.ties {
            ties.order(self.searcher, &mut order, |&at| (matrix.candidates()[at], fused.scores[at]))?;
        }
        let hit = |candidate: usize| {
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
                arms: hybrid.arms.iter().enumerate().map(arm).collect(),
                unshaped: unshaped[candidate],
                effects: effects.iter().map(|effects| effects[candidate]).collect(),
                placed: None,
                found: found.iter().map(|found| found.contains(&address)).collect(),
                block: Arc::clone(&block),
            }
        };
        let hits: Vec<FusedHit> = order.into_iter().map(hit).collect();
        self.last = hits.last().map(|hit| (hit.score, hit.address)).or(self.last);
        for (before, column) in self.before.iter_mut().zip(matrix.columns()) {
            before.extend(column.raw().iter().flatten());
        }
        Ok(hits)
    }
}

/// Lowers scores by one number, so that the best of them comes after the last hit before: below it, or, where addresses order ties, level
/// with it at a higher address. Gives that number, 0 where nothing had to be done.
pub(super) fn lower(
    candidates: &[DocAddress],
    scores: &mut [f32],
    last: Option<(f32, DocAddress)>,
    by_key: bool,
) -> f32 {
    let Some((lowest, last)) = last else { return 0.0 };
    let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let level = |(address, score): (&DocAddress, &f32)| *score == lowest && (by_key || *address < last);
    if best < lowest || (best == lowest && !candidates.iter().zip(scores.iter()).any(level)) {
        return 0.0;
    }
    let bound = lowest.next_down();
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
pub(super) fn documents(searcher: &Searcher) -> usize {
    usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX).max(1)
}

impl<'a> Arms<'a> {
    pub(super) fn new(hybrid: &'a Hybrid, searcher: &'a Searcher, depth: usize) -> Result<Arms<'a>, DenseError> {
        check_weights(hybrid.arms.iter().map(|arm| (arm.name.as_str(), arm.weight)))?;
        if let Some(ties) = &hybrid.ties {
            ties.check(searcher)?;
        }
        let weightless = hybrid.arms.iter().all(|arm| arm.weight == 0.0);
        let finder = |named: &super::NamedArm| -> Result<Finder, DenseError> {
            let arm = named.arm.filtered(hybrid.filter.as_deref());
            let stable = arm.is_prefix_stable(searcher)?;
            let exact = !arm.is_approximate(searcher)?;
            Ok(Finder { arm, finds: weightless || named.weight > 0.0, stable, exact, kept: None })
        };
        Ok(Arms {
            searcher,
            arms: hybrid.arms.iter().map(finder).collect::<Result<_, _>>()?,
            depth,
            ties: hybrid.ties.as_ref(),
        })
    }

    /// The best documents of every arm.
    pub(super) fn tops(&mut self, window: usize) -> Result<Vec<Top>, DenseError> {
        let (searcher, depth, ties) = (self.searcher, self.depth.max(window), self.ties);
        let waits = |finder: &Finder| finder.finds && finder.arm.is_vector();
        let has = |finder: &Finder| finder.kept.as_ref().is_some_and(|(long, _)| *long >= window);
        let mut tops = in_parallel(&self.arms, waits, |finder| match finder {
            Finder { finds: false, .. } => Ok(Top::default()),
            kept if has(kept) => Ok(Top::default()),
            Finder { arm, stable: true, .. } if ties.is_some() => arm.top(searcher, depth.saturating_add(MARGIN)),
            Finder { arm, stable: true, .. } => arm.top(searcher, depth),
            Finder { arm, exact: true, .. } if let Some(ties) = ties => ties.top(arm, searcher, window),
            Finder { arm, .. } => arm.top(searcher, window),
        })?;
        for (finder, top) in self.arms.iter_mut().zip(&mut tops) {
            if finder.stable && finder.finds {
                // Beginnings of a longer list are what a shorter one has, so that the longer takes its place.
                let kept = finder.kept.take().filter(|(long, _)| *long >= window);
                let kept = finder.kept.insert(kept.unwrap_or_else(|| (depth, std::mem::take(top))));
                *top = match ties {
                    None => kept.1.head(window),
                    Some(ties) => {
                        let asked = kept.0.saturating_add(MARGIN);
                        match ties.cut(&finder.arm, searcher, &kept.1, window, asked)? {
                            Some(cut) => cut,
                            None => ties.top(&finder.arm, searcher, window)?,
                        }
                    }
                };
            }
        }
        Ok(tops)
    }

    /// Every arm's raw scores of candidates. Some hundred seeks: less work than waking a thread for.
    pub(super) fn complete(&self, candidates: &[DocAddress], tops: &[Top]) -> Result<Vec<Column>, DenseError> {
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
