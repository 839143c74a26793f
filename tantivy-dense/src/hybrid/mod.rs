//! Several searches in one ranking.
//!
//! Every arm takes its own best documents (its window). Then the matrix is *completed*: each document that any arm found gets
//! the raw score of every arm, by seeking the text scorer to it and by one comparison of vectors, so that a document is
//! never held to have no similarity only because it fell out of a window. A pure function of the matrix, the
//! [`Fusion`], makes one score of it.
//!
//! # Pages
//! A search has one ranking, whatever part of it is asked for: [`Hybrid::search`] gives its beginning, [`Hybrid::page`] any other part,
//! and pages of any sizes put together are the whole, without repeats and without gaps. It is made so:
//!
//! - First come the candidates of the window, in the order of their fused scores; ties go to the lower address, or by [a column](Hybrid::ties_by).
//! - When these are used up, the window is made four times as large, again and again. What is new in it is fused among itself and
//!   follows behind; its fused scores are lowered together, by as much as it takes for the first of them to stand below the last
//!   document before. So scores never rise along the ranking.
//! - The end is reached when the window is as large as the index: every document that any arm finds is somewhere in the ranking.
//!
//! Nothing of this depends on how much is asked for, so only pages beyond the window cost more. The window does matter for the ranking:
//! give the same for all pages. So does the searcher: after a commit a new one may rank otherwise, so keep one for the pages of a
//! reader who must not miss a document.
//!
//! ```
//! # fn main() -> Result<(), tantivy_dense::DenseError> {
//! use tantivy::query::QueryParser;
//! use tantivy::schema::{STORED, Schema, TEXT};
//! use tantivy::{Index, IndexWriter, doc};
//! use tantivy_dense::hybrid::{Arm, Hybrid};
//! use tantivy_dense::{Dense, KnnQuery, VectorField, VectorOptions};
//!
//! let mut schema = Schema::builder();
//! let title = schema.add_text_field("title", TEXT | STORED);
//! let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(2))?;
//! let dense = Dense::new();
//! let index: Index = dense.index_builder().schema(schema.build()).create_in_ram()?;
//! let mut writer: IndexWriter = dense.writer(&index, 15_000_000)?;
//! for (text, values) in [("red fox", [1.0, 0.0]), ("grey wolf", [0.8, 0.6]), ("green fern", [0.0, 1.0])] {
//!     let mut document = doc!(title => text);
//!     vector.add(&mut document, &values)?;
//!     writer.add_document(document)?;
//! }
//! writer.commit()?;
//!
//! let searcher = dense.reader(&index)?.searcher();
//! let words = QueryParser::for_index(&index, vec![title]).parse_query("wolf").map_err(tantivy::TantivyError::from)?;
//! let meaning = KnnQuery::all(&dense, vector, vec![1.0, 0.2]);
//! let hits = Hybrid::new()
//!     .arm("words", Arm::text(words), 1.0)
//!     .arm("meaning", Arm::vector(meaning), 1.0)
//!     .search(&searcher, 3)?;
//! assert_eq!(hits[0].arms[0].rank, Some(1));
//! # Ok(())
//! # }
//! ```

mod arm;
mod diversity;
mod fusion;
pub mod gather;
mod group;
mod hit;
mod matching;
mod matrix;
mod query;
mod ranking;
mod seek;
pub mod shaping;
mod sort;
mod statistics;
mod ties;
mod values;

use std::sync::Arc;

use tantivy::query::{Explanation, Query};
use tantivy::{Searcher, Term};

pub use arm::{Arm, Ranking};
pub use diversity::{DIVERSE, Diversity, MAX_DIVERSE};
pub use fusion::{Fusion, Normalise};
pub use gather::{Candidate, Candidates, GatheredHit, Gathering};
pub use group::{Group, GroupBy, GroupCounts, GroupTotals};
pub use hit::{ArmHit, FusedHit};
pub use matrix::{Column, Matrix};
pub use query::HybridQuery;
pub use shaping::{Boost, BoostEffect, Combine, Curve, Decay};
pub use sort::{Order, Sort};
pub use statistics::TextStatistics;
pub use values::{FieldValue, Number, ReadText, ValueField};

use crate::DenseError;
use crate::query::both;
use ties::Ties;

/// Documents that each arm takes, unless asked for otherwise.
pub const WINDOW: usize = 200;

#[derive(Clone, Debug)]
struct NamedArm {
    name: String,
    arm: Arm,
    weight: f32,
}

/// A search by several arms. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hybrid {
    arms: Vec<NamedArm>,
    window: usize,
    fusion: Fusion,
    filter: Option<Arc<dyn Query>>,
    boosts: Vec<Boost>,
    least_score: Option<f32>,
    sort: Option<Sort>,
    diversity: Option<Diversity>,
    ties: Option<Ties>,
}

impl Hybrid {
    /// Without arms yet, a window of [`WINDOW`], and [`Fusion::Convex`].
    pub fn new() -> Self {
        Hybrid {
            arms: Vec::new(),
            window: WINDOW,
            fusion: Fusion::default(),
            filter: None,
            boosts: Vec::new(),
            least_score: None,
            sort: None,
            diversity: None,
            ties: None,
        }
    }

    /// Adds an arm. Its weight is multiplied into what the fusion makes of its scores. One of weight 0 is shown with each hit, but neither
    /// finds documents nor moves them, unless all arms have weight 0.
    #[must_use]
    pub fn arm(mut self, name: impl Into<String>, arm: Arm, weight: f32) -> Self {
        self.arms.push(NamedArm { name: name.into(), arm, weight });
        self
    }

    /// How many documents each arm takes first, 1 or more; [`WINDOW`] if not said. Give the same for all pages of a search.
    #[must_use]
    pub fn window(mut self, documents: usize) -> Self {
        self.window = documents;
        self
    }

    /// How scores become one.
    #[must_use]
    pub fn fusion(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Only documents that match are considered, in every arm, before windows are cut. Given several times, all filters hold. A filter
    /// that only excludes leaves everything else, as with [`KnnQuery::filter`](crate::KnnQuery::filter).
    #[must_use]
    pub fn filter(mut self, filter: Box<dyn Query>) -> Self {
        self.filter = Some(both(self.filter.as_deref(), filter));
        self
    }

    /// Shapes the fused score by what is known of a document, after earlier boosts; see [`shaping`].
    #[must_use]
    pub fn boost(mut self, boost: Boost) -> Self {
        self.boosts.push(boost);
        self
    }

    /// Leaves out documents whose score, after the boosts, is lower than this. The ranking then ends with the first window, since scores of
    /// different windows cannot be compared; only that of a single arm under [`Fusion::Sum`] without boosts, whose scores say the same in all
    /// windows, ends where they fall below it.
    ///
    /// A convex or min-max fusion gives the best hit of an arm 1, however bad it is: to get no hits where nothing fits, give the vector arm
    /// a [`KnnQuery::min_similarity`](crate::KnnQuery::min_similarity) as well, or add raw scores ([`Fusion::Sum`]).
    #[must_use]
    pub fn least_score(mut self, score: impl Into<Option<f32>>) -> Self {
        self.least_score = score.into();
        self
    }

    /// Orders the documents of the first window by a field; the ranking ends with them.
    #[must_use]
    pub fn sort(mut self, sort: impl Into<Option<Sort>>) -> Self {
        self.sort = sort.into();
        self
    }

    /// Puts hits forward that differ from those before them; see [`Diversity`].
    #[must_use]
    pub fn diversity(mut self, diversity: impl Into<Option<Diversity>>) -> Self {
        self.diversity = diversity.into();
        self
    }

    /// Refuses what cannot be searched, before anything is.
    fn check(&self, searcher: &Searcher) -> Result<(), DenseError> {
        self.boosts.iter().try_for_each(|boost| boost.check(searcher))?;
        if let Some(least) = self.least_score.filter(|least| least.is_nan()) {
            return Err(DenseError::Fusion { why: format!("the least score is {least}") });
        }
        match (&self.sort, &self.diversity) {
            (Some(_), Some(_)) => Err(DenseError::Fusion {
                why: "a ranking is either sorted by a field or made diverse, not both".to_owned(),
            }),
            (Some(sort), None) => sort.check(searcher),
            (None, Some(diversity)) => diversity.check(),
            (None, None) => Ok(()),
        }
    }

    /// Orders equal scores by a fast field of text that is different for every document, such as its key, and cuts the windows by the same
    /// rule. Then the ranking depends on the documents alone, and not on the segments they lie in: the same documents in other segments,
    /// or spread over several indexes that are searched with the sums of their statistics, give the same scores, to the bit, in
    /// the same order. Not where a vector arm is approximate. Without it, ties go to the lower address.
    #[must_use]
    pub fn ties_by(mut self, column: impl Into<String>) -> Self {
        self.ties = Some(Ties::new(column.into()));
        self
    }

    /// The best `k` documents, best first; ties go to the lower address, unless a [column](Self::ties_by)
    /// orders them. The first `k` of the ranking that the [module](self)
    /// describes.
    ///
    /// # Errors
    /// Those of [`KnnQuery::search`](crate::KnnQuery::search), tantivy's, and [`DenseError::Fusion`] for a weight that is
    /// negative or no number, and for a score that is none.
    pub fn search(&self, searcher: &Searcher, k: usize) -> Result<Vec<FusedHit>, DenseError> {
        self.ranking(searcher, k)
    }

    /// `k` documents of the ranking after the first `offset`: a page. Empty beyond the last document.
    ///
    /// # Errors
    /// As [`Hybrid::search`].
    pub fn page(&self, searcher: &Searcher, offset: usize, k: usize) -> Result<Vec<FusedHit>, DenseError> {
        if k == 0 {
            return self.ranking(searcher, 0);
        }
        let mut hits = self.ranking(searcher, offset.saturating_add(k))?;
        Ok(hits.split_off(offset.min(hits.len())))
    }

    /// The completed matrix of the candidates of the first window.
    ///
    /// # Errors
    /// As [`Hybrid::search`].
    pub fn matrix(&self, searcher: &Searcher) -> Result<Matrix, DenseError> {
        self.first_matrix(searcher)
    }

    /// Why a hit is where it is: the fused score, and for each arm its rank, raw and normalised score, its weight, and the
    /// arm's own explanation where it has one.
    ///
    /// # Errors
    /// tantivy's.
    pub fn explain(&self, searcher: &Searcher, hit: &FusedHit) -> Result<Explanation, DenseError> {
        let mut tree = self.explain_fusion(searcher, hit)?;
        if !self.boosts.is_empty() {
            let mut shaped =
                Explanation::new_with_string(format!("score after {} boosts, of", self.boosts.len()), hit.score);
            shaped.add_detail(tree);
            shaping::explain(&self.boosts, &hit.effects).into_iter().for_each(|effect| shaped.add_detail(effect));
            tree = shaped;
        }
        if let Some(note) = hit.block.note() {
            tree.add_context(note);
        }
        if let (Some(placed), Some(diversity)) = (&hit.placed, &self.diversity) {
            tree.add_detail(diversity.explain(placed));
        }
        Ok(tree)
    }

    fn explain_fusion(&self, searcher: &Searcher, hit: &FusedHit) -> Result<Explanation, DenseError> {
        let score = if self.boosts.is_empty() { hit.score } else { hit.unshaped };
        let mut tree = Explanation::new_with_string(format!("hybrid score by {}, of", self.fusion), score);
        for (at, (arm, part)) in self.arms.iter().zip(&hit.arms).enumerate() {
            let place = part.rank.map_or_else(|| "not found".to_owned(), |rank| format!("rank {rank}"));
            let title =
                format!("arm `{}`: {place}, weight {} x normalised {}", part.name, part.weight, part.normalised);
            let mut detail = Explanation::new_with_string(title, part.weight * part.normalised);
            if let Some(raw) = part.raw {
                let found = hit.found.get(at).is_some_and(|found| *found);
                let report = hit.block.report(at, hit.address).filter(|_| found);
                detail.add_detail(arm.arm.explain(searcher, (hit.address, raw), hit.block.window(), report)?);
            }
            tree.add_detail(detail);
        }
        Ok(tree)
    }

    /// As [`explain`](Self::explain), for several hits.
    ///
    /// # Errors
    /// tantivy's.
    pub fn explain_all(&self, searcher: &Searcher, hits: &[FusedHit]) -> Result<Vec<Explanation>, DenseError> {
        hits.iter().map(|hit| self.explain(searcher, hit)).collect()
    }

    /// The terms of the arms' queries and of all filters.
    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        for arm in &self.arms {
            arm.arm.query_terms(visitor);
        }
        if let Some(filter) = &self.filter {
            filter.query_terms(visitor);
        }
    }
}

/// Refuses weights that are negative or no numbers.
fn check_weights<'a>(mut arms: impl Iterator<Item = (&'a str, f32)>) -> Result<(), DenseError> {
    match arms.find(|(_, weight)| !(weight.is_finite() && *weight >= 0.0)) {
        Some((name, weight)) => Err(DenseError::Fusion {
            why: format!("the weight of the arm `{name}` must be 0 or more, and is {weight}"),
        }),
        None => Ok(()),
    }
}

impl Default for Hybrid {
    fn default() -> Self {
        Hybrid::new()
    }
}
