//! One of the searches that a hybrid search joins.

use std::collections::HashSet;
use std::sync::Arc;

use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, ConstScoreQuery, Explanation, Occur, Query};
use tantivy::{DocAddress, Searcher};

use super::matrix::Column;
use super::seek;
use crate::{DenseError, KnnQuery, Metric};

/// One of the searches that a hybrid search joins.
#[derive(Clone, Debug)]
pub struct Arm(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Text(Arc<dyn Query>),
    /// The filter is the whole search's, beside the query's own.
    Vector(Box<KnnQuery>, Option<Arc<dyn Query>>),
    Own(Arc<dyn Ranking>, Option<Arc<dyn Query>>),
}

/// A search of your own, for [`Arm::own`]: one that neither a query nor a single vector per document can express.
pub trait Ranking: std::fmt::Debug + Send + Sync {
    /// The best `window` documents with their raw scores, best first, only those that match the filter where there is one.
    ///
    /// # Errors
    /// Its own, as a [`DenseError`].
    fn top(
        &self,
        searcher: &Searcher,
        window: usize,
        filter: Option<&dyn Query>,
    ) -> Result<Vec<(DocAddress, f32)>, DenseError>;

    /// Raw scores of documents that come in the order of their addresses; none where it has none.
    ///
    /// # Errors
    /// Its own, as a [`DenseError`].
    fn scores(&self, searcher: &Searcher, documents: &[DocAddress]) -> Result<Vec<Option<f32>>, DenseError>;

    /// The least raw score possible, where there is one.
    fn lower_bound(&self) -> Option<f32> {
        None
    }

    /// Why a document has its raw score.
    ///
    /// # Errors
    /// Its own, as a [`DenseError`].
    fn explain(&self, searcher: &Searcher, document: DocAddress, raw: f32) -> Result<Explanation, DenseError>;
}

impl Arm {
    /// Any tantivy query with scores, such as what the query parser makes of the user's words.
    pub fn text(query: Box<dyn Query>) -> Arm {
        Arm(Kind::Text(Arc::from(query)))
    }

    /// A search by vector. Its `k` is replaced by the window.
    ///
    /// Its own filter and least similarity hold for documents that other arms found, too: one that it leaves out has no
    /// raw score in this arm.
    pub fn vector(query: KnnQuery) -> Arm {
        Arm(Kind::Vector(Box::new(query), None))
    }

    /// A search of your own.
    pub fn own(ranking: Arc<dyn Ranking>) -> Arm {
        Arm(Kind::Own(ranking, None))
    }

    /// This arm over documents that match a filter too. The filter adds nothing to scores.
    pub(super) fn filtered(&self, filter: Option<&dyn Query>) -> Arm {
        let Some(filter) = filter else { return self.clone() };
        match &self.0 {
            Kind::Text(query) => {
                let silent = ConstScoreQuery::new(filter.box_clone(), 0.0);
                let both: Vec<(Occur, Box<dyn Query>)> =
                    vec![(Occur::Must, query.box_clone()), (Occur::Must, Box::new(silent))];
                Arm::text(Box::new(BooleanQuery::new(both)))
            }
            Kind::Vector(query, _) => Arm(Kind::Vector(query.clone(), Some(Arc::from(filter.box_clone())))),
            Kind::Own(ranking, _) => Arm(Kind::Own(Arc::clone(ranking), Some(Arc::from(filter.box_clone())))),
        }
    }

    /// The best documents with their raw scores.
    pub(super) fn top(&self, searcher: &Searcher, window: usize) -> Result<Vec<(DocAddress, f32)>, DenseError> {
        match &self.0 {
            Kind::Text(query) => {
                let found = searcher.search(query.as_ref(), &TopDocs::with_limit(window).order_by_score())?;
                Ok(found.into_iter().map(|(score, address)| (address, score)).collect())
            }
            Kind::Vector(query, filter) => {
                let hits = within(query, filter.as_deref()).with_k(window).search(searcher)?;
                Ok(hits.into_iter().map(|hit| (hit.address, hit.similarity)).collect())
            }
            Kind::Own(ranking, filter) => ranking.top(searcher, window, filter.as_deref()),
        }
    }

    /// Raw scores of all candidates, which are in the order of addresses; those of `top` are known already.
    pub(super) fn complete(
        &self,
        searcher: &Searcher,
        candidates: &[DocAddress],
        top: &[(DocAddress, f32)],
    ) -> Result<Column, DenseError> {
        let mut raw = vec![None; candidates.len()];
        for (address, score) in top {
            if let Ok(at) = candidates.binary_search(address) {
                raw[at] = Some(*score);
            }
        }
        let missing: Vec<usize> = (0..candidates.len()).filter(|&at| raw[at].is_none()).collect();
        let addresses: Vec<DocAddress> = missing.iter().map(|&at| candidates[at]).collect();
        let scores = match &self.0 {
            Kind::Text(query) => seek::scores(query.as_ref(), searcher, &addresses)?,
            Kind::Vector(query, _) => similarities(query, searcher, &addresses)?,
            Kind::Own(ranking, _) => ranking.scores(searcher, &addresses)?,
        };
        for (at, score) in missing.into_iter().zip(scores) {
            raw[at] = score;
        }
        Ok(Column::new(raw, self.lower_bound()))
    }

    /// The least raw score possible.
    fn lower_bound(&self) -> Option<f32> {
        match &self.0 {
            Kind::Text(_) => Some(0.0),
            Kind::Vector(query, _) => (query.field().options().metric() == Metric::Cosine).then_some(-1.0),
            Kind::Own(ranking, _) => ranking.lower_bound(),
        }
    }

    /// The arm's own explanations of documents' raw scores. A vector arm searches once more, for all of them, to say how their
    /// segments were searched.
    pub(super) fn explain(
        &self,
        searcher: &Searcher,
        scores: &[(DocAddress, f32)],
        (window, filter): (usize, Option<&dyn Query>),
    ) -> Result<Vec<Explanation>, DenseError> {
        let each = |explain: &dyn Fn(DocAddress, f32) -> Result<Explanation, DenseError>| {
            scores.iter().map(|&(address, raw)| explain(address, raw)).collect()
        };
        match &self.0 {
            Kind::Text(query) => each(&|address, _| Ok(query.explain(searcher, address)?)),
            Kind::Vector(_, _) if scores.is_empty() => Ok(Vec::new()),
            Kind::Vector(query, _) => {
                let found = within(query, filter).with_k(window).run(searcher)?;
                let nearest: HashSet<DocAddress> = found.hits.iter().map(|hit| hit.address).collect();
                each(&|address, raw| {
                    let title = format!("similarity of the vectors in `{}`", query.field().name());
                    let mut explanation = Explanation::new_with_string(title, raw);
                    explanation.add_context(match found.segments.get(address.segment_ord as usize) {
                        Some(report) if nearest.contains(&address) => report.to_string(),
                        _ => format!("not among the {window} nearest, compared because another arm found it"),
                    });
                    Ok(explanation)
                })
            }
            Kind::Own(ranking, _) => each(&|address, raw| ranking.explain(searcher, address, raw)),
        }
    }
}

/// The query over documents that match a filter, too.
fn within(query: &KnnQuery, filter: Option<&dyn Query>) -> KnnQuery {
    match filter {
        Some(filter) => query.clone().and_filter(filter.box_clone()),
        None => query.clone(),
    }
}

/// Similarities of documents that come in the order of their addresses; none for one that the query's own filter or its
/// least similarity leaves out, so that it makes no difference whether another arm found it.
fn similarities(
    query: &KnnQuery,
    searcher: &Searcher,
    documents: &[DocAddress],
) -> Result<Vec<Option<f32>>, DenseError> {
    let mut similarities = query.similarities(searcher, documents)?;
    let least = query.least_similarity();
    for similarity in &mut similarities {
        *similarity = similarity.filter(|&similarity| similarity >= least);
    }
    if let Some(filter) = query.own_filter() {
        for (similarity, matches) in similarities.iter_mut().zip(seek::matches(filter, searcher, documents)?) {
            *similarity = similarity.filter(|_| matches);
        }
    }
    Ok(similarities)
}
