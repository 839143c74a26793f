//! One ranking of documents that are searched in several places: by other processes, or on other machines.
//!
//! Each place has a part of the documents in an index of its own, and gives [`Candidates`]: what its arms find, with the raw scores of
//! every arm and the documents' keys. A [`Gathering`] cuts the windows over all parts, fuses once, and orders equal scores by key. So it has
//! the ranking of one index with all documents, to the bit, under these conditions:
//!
//! - Text arms score by the sums of the parts' statistics, see [`Arm::text_with`](super::Arm::text_with).
//! - Vectors are compared exactly. Approximate indexes find what they find.
//! - Each document is in one part, and its key is a fast field of text, named to [`Hybrid::ties_by`].
//!
//! ```
//! # fn main() -> Result<(), tantivy_dense::DenseError> {
//! # use tantivy::query::AllQuery;
//! # use tantivy::schema::{FAST, STRING, Schema};
//! # use tantivy::{Index, IndexWriter, doc};
//! # use tantivy_dense::hybrid::{Arm, Fusion, Gathering, Hybrid};
//! # let mut schema = Schema::builder();
//! # let key = schema.add_text_field("key", STRING | FAST);
//! # let schema = schema.build();
//! # let part = |name: &str| -> tantivy::Result<_> {
//! #     let index = Index::create_in_ram(schema.clone());
//! #     let mut writer: IndexWriter = index.writer(15_000_000)?;
//! #     writer.add_document(doc!(key => name))?;
//! #     writer.commit()?;
//! #     Ok(index.reader()?.searcher())
//! # };
//! # let parts = [part("a")?, part("b")?];
//! # let hybrid = Hybrid::new().arm("all", Arm::text(Box::new(AllQuery)), 1.0).ties_by("key");
//! let documents = parts.iter().map(|searcher| searcher.num_docs()).sum();
//! let mut gathering = Gathering::new([("all", 1.0)], Fusion::Sum, 200, documents)?;
//! let mut hits = Vec::new();
//! while hits.len() < 10 && let Some(window) = gathering.window() {
//!     // In the processes that have the parts, all at once.
//!     let found = parts.iter().map(|searcher| hybrid.candidates(searcher, window)).collect::<Result<Vec<_>, _>>()?;
//!     hits.extend(gathering.add(&found)?);
//! }
//! assert_eq!(hits.iter().map(|hit| hit.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
//! # Ok(())
//! # }
//! ```

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tantivy::{DocAddress, Searcher};

use super::fusion::Fusion;
use super::hit::ArmHit;
use super::matrix::{Column, Matrix};
use super::ranking::{Arms, GROWTH, documents, lower};
use super::{Hybrid, check_weights};
use crate::DenseError;

/// What a part of the documents has for a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// How many documents each arm was asked for.
    pub window: usize,
    /// By arm: the least raw score possible, where there is one.
    pub lower_bounds: Vec<Option<f32>>,
    /// Every document that an arm found, in no order.
    pub documents: Vec<Candidate>,
}

/// A document of a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its key.
    pub key: String,
    /// By arm: its raw score; none where the arm has none.
    pub raw: Vec<Option<f32>>,
    /// By arm: whether the arm found it within the window.
    pub found: Vec<bool>,
}

/// A document of the ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct GatheredHit {
    /// Its key.
    pub key: String,
    /// The part that it came from, by the order in which parts are given.
    pub part: usize,
    /// The fused score, as in [`FusedHit::score`](super::FusedHit::score).
    pub score: f32,
    /// One for each arm, in the order they were given.
    pub arms: Vec<ArmHit>,
}

impl Hybrid {
    /// What this index has for a ranking that is made of several; `window` is that of the [`Gathering`], however few documents are here.
    ///
    /// Boosts, a least score, sorting and diversity are of the whole ranking and are not looked at.
    ///
    /// # Errors
    /// As [`Hybrid::search`], and [`DenseError::Fusion`] without [`Hybrid::ties_by`] or for a document without a key.
    pub fn candidates(&self, searcher: &Searcher, window: usize) -> Result<Candidates, DenseError> {
        let refuse = |why: &str| DenseError::Fusion { why: why.to_owned() };
        let ties =
            self.ties.as_ref().ok_or_else(|| refuse("candidates of one part of an index need `Hybrid::ties_by`"))?;
        // No more than there are here, since memory is taken for all of them.
        let asked = window.clamp(1, documents(searcher));
        let mut arms = Arms::new(self, searcher, asked)?;
        let tops = arms.tops(asked)?;
        let mut addresses: Vec<DocAddress> =
            tops.iter().flat_map(|top| &top.hits).map(|&(address, _)| address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let columns = arms.complete(&addresses, &tops)?;
        let found: Vec<HashSet<DocAddress>> =
            tops.iter().map(|top| top.hits.iter().map(|&(address, _)| address).collect()).collect();
        let keys = ties.keys(searcher, addresses.iter().copied())?;
        let documents = addresses.iter().zip(keys).enumerate().map(|(at, (address, key))| {
            Ok(Candidate {
                key: key.ok_or_else(|| refuse("a document has no key, by which parts of an index name it"))?,
                raw: columns.iter().map(|column| column.raw().get(at).copied().flatten()).collect(),
                found: found.iter().map(|found| found.contains(address)).collect(),
            })
        });
        Ok(Candidates {
            window,
            lower_bounds: columns.iter().map(Column::lower_bound).collect(),
            documents: documents.collect::<Result<_, DenseError>>()?,
        })
    }
}

/// Makes one ranking of the candidates of several parts, block after block, as the [module of hybrid searches](super) describes it.
#[derive(Clone, Debug)]
pub struct Gathering {
    names: Vec<String>,
    weights: Vec<f32>,
    fusion: Fusion,
    documents: usize,
    /// The window of the next block; none after the last.
    next: Option<usize>,
    seen: HashSet<(usize, String)>,
    /// By arm: its scores of the documents of earlier blocks.
    before: Vec<Vec<f32>>,
    /// The lowest score so far.
    last: Option<f32>,
}

impl Gathering {
    /// For arms with their names and weights, in the order in which every part has them; a first window; and the number of documents in
    /// all parts.
    ///
    /// # Errors
    /// [`DenseError::Fusion`] for a weight that is negative or no number.
    pub fn new<N: Into<String>>(
        arms: impl IntoIterator<Item = (N, f32)>,
        fusion: Fusion,
        window: usize,
        documents: u64,
    ) -> Result<Gathering, DenseError> {
        let (names, weights): (Vec<String>, Vec<f32>) =
            arms.into_iter().map(|(name, weight)| (name.into(), weight)).unzip();
        check_weights(names.iter().map(String::as_str).zip(weights.iter().copied()))?;
        let documents = usize::try_from(documents).unwrap_or(usize::MAX).max(1);
        let before = vec![Vec::new(); names.len()];
        let next = Some(window.clamp(1, documents));
        Ok(Gathering { names, weights, fusion, documents, next, seen: HashSet::new(), before, last: None })
    }

    /// The window that [`Hybrid::candidates`] of every part is asked for next; none at the end of the ranking.
    pub fn window(&self) -> Option<usize> {
        self.next
    }

    /// The next block of the ranking, best first, of what all parts found in the last [window](Gathering::window). It may be empty.
    /// Parts come in the same order each time.
    ///
    /// # Errors
    /// [`DenseError::Fusion`] where candidates are of another window or other arms.
    pub fn add(&mut self, parts: &[Candidates]) -> Result<Vec<GatheredHit>, DenseError> {
        let Some(window) = self.next else { return Ok(Vec::new()) };
        let arms = self.names.len();
        for (at, part) in parts.iter().enumerate() {
            let fits = part.lower_bounds.len() == arms
                && part.documents.iter().all(|row| row.raw.len() == arms && row.found.len() == arms);
            if part.window != window || !fits {
                let why = format!(
                    "part {at} gave candidates for {} documents of {} arms",
                    part.window,
                    part.lower_bounds.len()
                );
                return Err(DenseError::Fusion { why: format!("{why}; {window} of {arms} were asked for") });
            }
            let scores = part.documents.iter().flat_map(|row| &row.raw).flatten();
            if let Some(score) = scores.copied().find(|score| !score.is_finite()) {
                return Err(DenseError::Fusion { why: format!("part {at} gave a document the score {score}") });
            }
        }
        let (chosen, is_full) = cut(parts, arms, window);
        self.next =
            Some(window.saturating_mul(GROWTH).min(self.documents)).filter(|_| is_full && window < self.documents);
        let mut fresh: Vec<(usize, &Candidate)> =
            chosen.into_iter().filter(|(part, row)| self.seen.insert((*part, row.key.clone()))).collect();
        fresh.sort_by(|a, b| (&a.1.key, a.0).cmp(&(&b.1.key, b.0)));
        if fresh.is_empty() { Ok(Vec::new()) } else { self.fuse(parts, &fresh) }
    }

    /// Fuses the documents that a window adds. They come in the order of their keys.
    fn fuse(&mut self, parts: &[Candidates], fresh: &[(usize, &Candidate)]) -> Result<Vec<GatheredHit>, DenseError> {
        let columns: Vec<Column> = self
            .before
            .iter()
            .enumerate()
            .map(|(arm, before)| {
                let bound = parts.iter().find_map(|part| part.lower_bounds[arm]);
                Column::new(fresh.iter().map(|(_, row)| row.raw[arm]).collect(), bound).after(before.clone())
            })
            .collect();
        // Stands for addresses, whose order here is that of the keys.
        let numbers: Vec<DocAddress> = (0u32..).take(fresh.len()).map(|number| DocAddress::new(0, number)).collect();
        let matrix = Matrix::new(numbers, columns);
        let mut fused = self.fusion.fuse(&matrix, &self.weights)?;
        let last = self.last.map(|score| (score, DocAddress::new(0, 0)));
        lower(matrix.candidates(), &mut fused.scores, last, true);
        let ranks: Vec<Vec<Option<usize>>> = matrix.columns().iter().map(Column::ranks).collect();
        let mut order: Vec<usize> = (0..fresh.len()).collect();
        // Stable, so that keys settle ties.
        order.sort_by(|&a, &b| fused.scores[b].total_cmp(&fused.scores[a]));
        let hit = |at: usize| GatheredHit {
            key: fresh[at].1.key.clone(),
            part: fresh[at].0,
            score: fused.scores[at],
            arms: (0..self.names.len())
                .map(|arm| ArmHit {
                    name: self.names[arm].clone(),
                    rank: ranks[arm][at],
                    raw: fresh[at].1.raw[arm],
                    normalised: fused.normalised[arm][at],
                    weight: self.weights[arm],
                })
                .collect(),
        };
        let hits: Vec<GatheredHit> = order.into_iter().map(hit).collect();
        self.last = hits.last().map(|hit| hit.score).or(self.last);
        for (before, column) in self.before.iter_mut().zip(matrix.columns()) {
            before.extend(column.raw().iter().flatten());
        }
        Ok(hits)
    }
}

/// The documents that are in the window of any arm, cut over all parts, with the number of their part; and whether an arm fills it.
fn cut(parts: &[Candidates], arms: usize, window: usize) -> (Vec<(usize, &Candidate)>, bool) {
    let rows: Vec<(usize, &Candidate)> =
        parts.iter().enumerate().flat_map(|(part, found)| found.documents.iter().map(move |row| (part, row))).collect();
    let mut chosen = vec![false; rows.len()];
    let mut is_full = false;
    for arm in 0..arms {
        let mut found: Vec<(f32, usize)> = rows
            .iter()
            .enumerate()
            .filter_map(|(at, (_, row))| Some((row.raw[arm].filter(|_| row.found[arm])?, at)))
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| rows[a.1].1.key.cmp(&rows[b.1].1.key)));
        is_full |= found.len() >= window;
        found.iter().take(window).for_each(|(_, at)| chosen[*at] = true);
    }
    (rows.into_iter().zip(chosen).filter_map(|(row, chosen)| chosen.then_some(row)).collect(), is_full)
}
