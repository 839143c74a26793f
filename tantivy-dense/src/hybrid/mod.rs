//! Several searches in one ranking.
//!
//! Every arm takes its own best documents (its window). Then the matrix is *completed*: each document that any arm found gets
//! the raw score of every arm, by seeking the text scorer to it and by one comparison of vectors, so that a document is
//! never held to have no similarity only because it fell out of a window. A pure function of the matrix, the
//! [`Fusion`], makes one score of it.
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
//! let mut writer: IndexWriter = index.writer(15_000_000)?;
//! for (text, values) in [("red fox", [1.0, 0.0]), ("grey wolf", [0.8, 0.6]), ("green fern", [0.0, 1.0])] {
//!     let mut document = doc!(title => text);
//!     vector.add(&mut document, &values)?;
//!     writer.add_document(document)?;
//! }
//! writer.commit()?;
//!
//! let searcher = dense.reader(&index)?.searcher();
//! let words = QueryParser::for_index(&index, vec![title]).parse_query("wolf").map_err(tantivy::TantivyError::from)?;
//! let meaning = KnnQuery::new(&dense, vector, vec![1.0, 0.2], 3);
//! let hits = Hybrid::new()
//!     .arm("words", Arm::text(words), 1.0)
//!     .arm("meaning", Arm::vector(meaning), 1.0)
//!     .search(&searcher, 3)?;
//! assert_eq!(hits[0].arms[0].rank, Some(1));
//! # Ok(())
//! # }
//! ```

mod arm;
mod fusion;
mod matrix;
mod query;
mod seek;

use std::sync::Arc;

use tantivy::query::{Explanation, Query};
use tantivy::{DocAddress, Searcher};

pub use arm::{Arm, Ranking};
pub use fusion::{Fusion, Normalise};
pub use matrix::{Column, Matrix};
pub use query::HybridQuery;

use crate::DenseError;

/// Documents that each arm takes, unless asked for otherwise.
pub const WINDOW: usize = 200;

/// A document, with what every arm thought of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedHit {
    /// Where it is, for the searcher that found it.
    pub address: DocAddress,
    /// The fused score, higher is better. Its scale is the fusion's.
    pub score: f32,
    /// One for each arm, in the order they were given.
    pub arms: Vec<ArmHit>,
    /// How many documents each arm took in the search that found it.
    pub(crate) window: usize,
}

/// What one arm thought of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmHit {
    /// The arm's name.
    pub name: String,
    /// Its place among the candidates by this arm's score, from 1; none where the arm has no score for it.
    pub rank: Option<usize>,
    /// The arm's own score: BM25, or the similarity of the vectors. None where the document does not match the text query,
    /// has no vector, or is left out by the vector query's own filter or least similarity.
    pub raw: Option<f32>,
    /// What the fusion made of it, before the weight.
    pub normalised: f32,
    /// The arm's weight.
    pub weight: f32,
}

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
}

impl Hybrid {
    /// Without arms yet, a window of [`WINDOW`], and [`Fusion::Convex`].
    pub fn new() -> Hybrid {
        Hybrid { arms: Vec::new(), window: WINDOW, fusion: Fusion::default(), filter: None }
    }

    /// Adds an arm. Its weight is multiplied into what the fusion makes of its scores; 0 leaves it in the explanation only.
    #[must_use]
    pub fn arm(mut self, name: impl Into<String>, arm: Arm, weight: f32) -> Hybrid {
        self.arms.push(NamedArm { name: name.into(), arm, weight });
        self
    }

    /// How many documents each arm takes; never fewer than are asked for.
    #[must_use]
    pub fn window(mut self, documents: usize) -> Hybrid {
        self.window = documents;
        self
    }

    /// How scores become one.
    #[must_use]
    pub fn fusion(mut self, fusion: Fusion) -> Hybrid {
        self.fusion = fusion;
        self
    }

    /// Only documents that match are considered, in every arm, before windows are cut.
    #[must_use]
    pub fn filter(mut self, filter: Box<dyn Query>) -> Hybrid {
        self.filter = Some(Arc::from(filter));
        self
    }

    /// The best `k` documents, best first; ties go to the lower address.
    ///
    /// # Errors
    /// Those of [`KnnQuery::search`](crate::KnnQuery::search), tantivy's, and [`DenseError::Fusion`] for a weight that is
    /// negative or no number.
    pub fn search(&self, searcher: &Searcher, k: usize) -> Result<Vec<FusedHit>, DenseError> {
        let matrix = self.matrix(searcher, k)?;
        let window = self.window_for(searcher, k);
        let weights: Vec<f32> = self.arms.iter().map(|arm| arm.weight).collect();
        let fused = self.fusion.fuse(&matrix, &weights);
        let ranks: Vec<Vec<Option<usize>>> = matrix.columns().iter().map(Column::ranks).collect();
        let mut order: Vec<usize> = (0..matrix.candidates().len()).collect();
        // Candidates are in the order of addresses, so a stable sort settles ties.
        order.sort_by(|&a, &b| fused.scores[b].total_cmp(&fused.scores[a]));
        order.truncate(k);
        let hit = |candidate: usize| FusedHit {
            address: matrix.candidates()[candidate],
            score: fused.scores[candidate],
            window,
            arms: self
                .arms
                .iter()
                .enumerate()
                .map(|(at, arm)| ArmHit {
                    name: arm.name.clone(),
                    rank: ranks[at][candidate],
                    raw: matrix.columns()[at].raw()[candidate],
                    normalised: fused.normalised[at][candidate],
                    weight: arm.weight,
                })
                .collect(),
        };
        Ok(order.into_iter().map(hit).collect())
    }

    /// The completed matrix of every arm's best `max(window, k)` documents.
    ///
    /// # Errors
    /// As [`Hybrid::search`].
    pub fn matrix(&self, searcher: &Searcher, k: usize) -> Result<Matrix, DenseError> {
        if let Some(arm) = self.arms.iter().find(|arm| !(arm.weight.is_finite() && arm.weight >= 0.0)) {
            let (name, weight) = (arm.name.clone(), arm.weight);
            return Err(DenseError::Fusion {
                why: format!("the weight of the arm `{name}` must be 0 or more, and is {weight}"),
            });
        }
        let arms: Vec<Arm> = self.arms.iter().map(|arm| arm.arm.filtered(self.filter.as_deref())).collect();
        let window = self.window_for(searcher, k);
        let tops = in_parallel(&arms, |arm| arm.top(searcher, window))?;
        let mut candidates: Vec<DocAddress> = tops.iter().flatten().map(|&(address, _)| address).collect();
        candidates.sort_unstable();
        candidates.dedup();
        // Some hundred seeks: less work than waking a thread for.
        let columns = arms.iter().zip(&tops).map(|(arm, top)| arm.complete(searcher, &candidates, top));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(Matrix::new(candidates, columns))
    }

    /// Documents that each arm takes when `k` are wanted: no more than there are, since room is made for all of them.
    fn window_for(&self, searcher: &Searcher, k: usize) -> usize {
        let documents = usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX);
        self.window.max(k).min(documents).max(1)
    }

    /// Why a hit is where it is: the fused score, and for each arm its rank, raw and normalised score, its weight, and the
    /// arm's own explanation where it has one.
    ///
    /// # Errors
    /// tantivy's.
    pub fn explain(&self, searcher: &Searcher, hit: &FusedHit) -> Result<Explanation, DenseError> {
        let mut all = self.explain_all(searcher, std::slice::from_ref(hit))?;
        all.pop().ok_or_else(|| DenseError::Fusion { why: "a hit has no explanation".to_owned() })
    }

    /// As [`explain`](Self::explain), for several hits of one search, which costs a vector arm one further search for all of them.
    ///
    /// # Errors
    /// tantivy's.
    pub fn explain_all(&self, searcher: &Searcher, hits: &[FusedHit]) -> Result<Vec<Explanation>, DenseError> {
        let title = format!("hybrid score by {}, of", self.fusion);
        let mut trees: Vec<Explanation> =
            hits.iter().map(|hit| Explanation::new_with_string(title.clone(), hit.score)).collect();
        let window = hits.iter().map(|hit| hit.window).max().unwrap_or(1);
        for (at, arm) in self.arms.iter().enumerate() {
            let raw = |hit: &FusedHit| Some((hit.address, hit.arms.get(at)?.raw?));
            let scores: Vec<(DocAddress, f32)> = hits.iter().filter_map(raw).collect();
            let mut own = arm.arm.explain(searcher, &scores, (window, self.filter.as_deref()))?.into_iter();
            for (tree, hit) in trees.iter_mut().zip(hits) {
                let Some(part) = hit.arms.get(at) else { continue };
                let place = part.rank.map_or_else(|| "not found".to_owned(), |rank| format!("rank {rank}"));
                let title =
                    format!("arm `{}`: {place}, weight {} x normalised {}", part.name, part.weight, part.normalised);
                let mut detail = Explanation::new_with_string(title, part.weight * part.normalised);
                if part.raw.is_some()
                    && let Some(explanation) = own.next()
                {
                    detail.add_detail(explanation);
                }
                tree.add_detail(detail);
            }
        }
        Ok(trees)
    }
}

impl Default for Hybrid {
    fn default() -> Hybrid {
        Hybrid::new()
    }
}

/// Does the work for every item, each but the first in a thread of its own.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, DenseError> + Sync,
) -> Result<Vec<R>, DenseError> {
    let Some((first, rest)) = items.split_first() else { return Ok(Vec::new()) };
    let work = &work;
    std::thread::scope(|scope| {
        let spawn = |item| std::thread::Builder::new().spawn_scoped(scope, move || work(item));
        let others = rest.iter().map(spawn).collect::<Result<Vec<_>, _>>();
        let others = others.map_err(|why| DenseError::Fusion { why: format!("no thread for an arm: {why}") })?;
        let mut done = vec![work(first)?];
        for other in others {
            let failed = || DenseError::Fusion { why: "an arm's search ended without an answer".to_owned() };
            done.push(other.join().map_err(|_| failed())??);
        }
        Ok(done)
    })
}
