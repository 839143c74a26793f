//! One of the searches that a hybrid search joins.

use std::sync::Arc;

use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, ConstScoreQuery, Explanation, Occur, Query};
use tantivy::{DocAddress, Searcher, Term};

use super::matrix::Column;
use super::seek;
use super::statistics::{TextStatistics, with_scoring};
use crate::query::everything_but;
use crate::{DenseError, KnnQuery, Metric, SegmentReport};

/// One of the searches that a hybrid search joins.
#[derive(Clone, Debug)]
pub struct Arm(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The statistics are the searcher's unless others are given.
    Text(Arc<dyn Query>, Option<Arc<dyn TextStatistics>>),
    /// The filter is the whole search's, beside the query's own.
    Vector(Box<KnnQuery>, Option<Arc<dyn Query>>),
    Own(Arc<dyn Ranking>, Option<Arc<dyn Query>>),
}

/// A search of your own, for [`Arm::own`]: one that neither a query nor a single vector per document can express.
pub trait Ranking: std::fmt::Debug + Send + Sync {
    /// The best `window` documents with their raw scores, best first, only those that match the filter where there is one.
    ///
    /// Asked twice for one searcher, it gives the same. Deep pages ask for larger and larger windows; a window as large as the index
    /// brings every document that has a score.
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

    /// Every document that it has a score for, whatever the window, as a query; none where it cannot say. For counts and facets.
    fn matching(&self) -> Option<Box<dyn Query>> {
        None
    }

    /// The terms it searches for, as [`Query::query_terms`] names those of a query: snippets mark them.
    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        let _ = visitor;
    }
}

/// What one arm found for a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Top {
    /// Documents with raw scores, best first.
    pub(super) hits: Vec<(DocAddress, f32)>,
    /// How each segment was searched, by a vector arm.
    pub(super) reports: Option<Arc<[SegmentReport]>>,
}

impl Top {
    /// The first `window` of it.
    pub(super) fn head(&self, window: usize) -> Self {
        Top { hits: self.hits[..window.min(self.hits.len())].to_vec(), reports: self.reports.clone() }
    }
}

impl Arm {
    /// Any tantivy query with scores, such as what the query parser makes of the user's words.
    pub fn text(query: Box<dyn Query>) -> Self {
        Arm(Kind::Text(Arc::from(query), None))
    }

    /// As [`Arm::text`], scored by statistics of your own.
    pub fn text_with(query: Box<dyn Query>, statistics: Arc<dyn TextStatistics>) -> Self {
        Arm(Kind::Text(Arc::from(query), Some(statistics)))
    }

    /// A search by vector, for as many documents as the window: [`KnnQuery::all`] makes one without a number of its own.
    ///
    /// Its own filter and least similarity hold for documents that other arms found, too: one that it leaves out has no
    /// raw score in this arm.
    pub fn vector(query: KnnQuery) -> Self {
        Arm(Kind::Vector(Box::new(query), None))
    }

    /// A search of your own.
    pub fn own(ranking: Arc<dyn Ranking>) -> Self {
        Arm(Kind::Own(ranking, None))
    }

    /// This arm over documents that match a filter too. The filter adds nothing to scores.
    pub(super) fn filtered(&self, filter: Option<&dyn Query>) -> Self {
        let Some(filter) = filter else { return self.clone() };
        match &self.0 {
            Kind::Text(query, statistics) => {
                let silent = ConstScoreQuery::new(everything_but(filter.box_clone()), 0.0);
                let both: Vec<(Occur, Box<dyn Query>)> =
                    vec![(Occur::Must, query.box_clone()), (Occur::Must, Box::new(silent))];
                Arm(Kind::Text(Arc::new(BooleanQuery::new(both)), statistics.clone()))
            }
            Kind::Vector(query, _) => Arm(Kind::Vector(query.clone(), Some(Arc::from(filter.box_clone())))),
            Kind::Own(ranking, _) => Arm(Kind::Own(Arc::clone(ranking), Some(Arc::from(filter.box_clone())))),
        }
    }

    /// Every document that it has a score for; none where it cannot say.
    pub(super) fn matching(&self) -> Option<Box<dyn Query>> {
        match &self.0 {
            Kind::Text(query, _) => Some(query.box_clone()),
            Kind::Vector(query, _) => Some(query.candidates()),
            Kind::Own(ranking, _) => ranking.matching(),
        }
    }

    /// Whether it searches by vector, and may wait for a device.
    pub(super) fn is_vector(&self) -> bool {
        matches!(self.0, Kind::Vector(..))
    }

    /// Whether it scores words.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.0, Kind::Text(..))
    }

    /// Whether its list depends on more than the scores: one from a graph or from inverted lists.
    pub(super) fn is_approximate(&self, searcher: &Searcher) -> Result<bool, DenseError> {
        match &self.0 {
            Kind::Vector(query, _) => Ok(!query.is_exact(searcher)?),
            Kind::Text(..) | Kind::Own(..) => Ok(false),
        }
    }

    /// Hits with the scores that [`complete`](Self::complete) gives them.
    pub(super) fn rescored(
        &self,
        searcher: &Searcher,
        mut hits: Vec<(DocAddress, f32)>,
    ) -> Result<Vec<(DocAddress, f32)>, DenseError> {
        let Kind::Text(query, statistics) = &self.0 else { return Ok(hits) };
        hits.sort_unstable_by_key(|hit| hit.0);
        let documents: Vec<DocAddress> = hits.iter().map(|hit| hit.0).collect();
        let scores = with_scoring(statistics.as_deref(), searcher, |scoring| {
            seek::scores(query.as_ref(), searcher, scoring, &documents)
        })?;
        for (hit, score) in hits.iter_mut().zip(scores) {
            hit.1 = score.unwrap_or(hit.1);
        }
        Ok(hits)
    }

    /// Whether a larger window always begins with what a smaller one gives, bit for bit. Of words that is not so: tantivy sums up the
    /// scores of terms in an order that depends on what it can skip, so nearly equal documents may change places.
    pub(super) fn is_prefix_stable(&self, searcher: &Searcher) -> Result<bool, DenseError> {
        match &self.0 {
            Kind::Vector(query, _) => query.is_exact(searcher),
            Kind::Text(..) | Kind::Own(..) => Ok(false),
        }
    }

    /// The best documents with their raw scores.
    pub(super) fn top(&self, searcher: &Searcher, window: usize) -> Result<Top, DenseError> {
        match &self.0 {
            Kind::Text(query, statistics) => {
                let best = TopDocs::with_limit(window).order_by_score();
                let found = match statistics {
                    None => searcher.search(query.as_ref(), &best)?,
                    Some(statistics) => {
                        let provider = statistics.provider(searcher)?;
                        searcher.search_with_statistics_provider(query.as_ref(), &best, provider.as_ref())?
                    }
                };
                let hits = found.into_iter().map(|(score, address)| (address, score)).collect();
                Ok(Top { hits, reports: None })
            }
            Kind::Vector(query, filter) => {
                let found = within(query, filter.as_deref()).with_k(window).run(searcher)?;
                let hits = found.hits.into_iter().map(|hit| (hit.address, hit.similarity)).collect();
                Ok(Top { hits, reports: Some(found.segments.into()) })
            }
            Kind::Own(ranking, filter) => {
                let mut hits = ranking.top(searcher, window, filter.as_deref())?;
                hits.truncate(window);
                Ok(Top { hits, reports: None })
            }
        }
    }

    /// Raw scores of all candidates, which are in the order of addresses.
    ///
    /// Words are scored again here, by a sum in the order of the clauses: equal documents get equal scores, bit for bit, whatever
    /// the window. A vector's similarity has the same bits in every search, and is compared again because that is cheap.
    pub(super) fn complete(
        &self,
        searcher: &Searcher,
        candidates: &[DocAddress],
        top: &Top,
    ) -> Result<Column, DenseError> {
        let raw = match &self.0 {
            Kind::Text(query, statistics) => with_scoring(statistics.as_deref(), searcher, |scoring| {
                seek::scores(query.as_ref(), searcher, scoring, candidates)
            })?,
            Kind::Vector(query, _) => similarities(query, searcher, candidates)?,
            Kind::Own(ranking, _) => {
                let mut raw = vec![None; candidates.len()];
                for (address, score) in &top.hits {
                    if let Ok(at) = candidates.binary_search(address) {
                        raw[at] = Some(*score);
                    }
                }
                let missing: Vec<usize> = (0..candidates.len()).filter(|&at| raw[at].is_none()).collect();
                let addresses: Vec<DocAddress> = missing.iter().map(|&at| candidates[at]).collect();
                let scores = ranking.scores(searcher, &addresses)?;
                if scores.len() != addresses.len() {
                    let why = format!("a ranking gave {} scores for {} documents", scores.len(), addresses.len());
                    return Err(DenseError::Fusion { why });
                }
                for (at, score) in missing.into_iter().zip(scores) {
                    raw[at] = score;
                }
                raw
            }
        };
        match raw.iter().flatten().find(|score| !score.is_finite()) {
            Some(score) => Err(DenseError::Fusion { why: format!("an arm gave a document the score {score}") }),
            None => Ok(Column::new(raw, self.lower_bound())),
        }
    }

    /// The terms of its query and filter.
    pub(super) fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        match &self.0 {
            Kind::Text(query, _) => query.query_terms(visitor),
            Kind::Vector(query, _) => query.query_terms(visitor),
            Kind::Own(ranking, _) => ranking.query_terms(visitor),
        }
    }

    /// The least raw score possible.
    fn lower_bound(&self) -> Option<f32> {
        match &self.0 {
            Kind::Text(..) => Some(0.0),
            Kind::Vector(query, _) => (query.field().options().metric() == Metric::Cosine).then_some(-1.0),
            Kind::Own(ranking, _) => ranking.lower_bound(),
        }
    }

    /// The arm's own explanation of a document's raw score. `report` says how its segment was searched, where the arm found the
    /// document itself and not only compared it.
    pub(super) fn explain(
        &self,
        searcher: &Searcher,
        (address, raw): (DocAddress, f32),
        window: usize,
        report: Option<&SegmentReport>,
    ) -> Result<Explanation, DenseError> {
        match &self.0 {
            Kind::Text(query, statistics) => with_scoring(statistics.as_deref(), searcher, |scoring| {
                let weight = query.weight(scoring)?;
                Ok(weight.explain(searcher.segment_reader(address.segment_ord), address.doc_id)?)
            }),
            Kind::Vector(query, _) => {
                let title = format!("similarity of the vectors in `{}`", query.field().name());
                let mut explanation = Explanation::new_with_string(title, raw);
                explanation.add_context(match report {
                    Some(report) => report.to_string(),
                    None => format!("not among the {window} nearest, compared because another arm found it"),
                });
                Ok(explanation)
            }
            Kind::Own(ranking, _) => ranking.explain(searcher, address, raw),
        }
    }
}

/// The query over documents that match a filter, too.
fn within(query: &KnnQuery, filter: Option<&dyn Query>) -> KnnQuery {
    match filter {
        Some(filter) => query.clone().filter(filter.box_clone()),
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
