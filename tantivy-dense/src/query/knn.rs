//! The k nearest documents to a vector.

use std::fmt;
use std::sync::Arc;

use tantivy::query::{BooleanQuery, EnableScoring, Query, Weight};
use tantivy::{DocAddress, Searcher};

use super::exact::{self, Candidates, Prepared};
use super::rowset::matching;
use super::top::Bar;
use super::weight::HitsWeight;
use crate::{Dense, DenseError, VectorField};

/// A document found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Where it is, for the searcher that found it.
    pub address: DocAddress,
    /// How similar its vector is: cosine, inner product, or the negative of the squared distance.
    pub similarity: f32,
    /// The positive number that tantivy's collectors see, see [`Metric::score`](crate::Metric::score).
    pub score: f32,
}

/// How one segment was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Rows of the field in the segment.
    pub rows: u32,
    /// Rows left by deletes and the filter.
    pub selected: u32,
    /// How they were searched.
    pub path: SearchPath,
}

/// A way to search a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchPath {
    /// There was nothing to search.
    Nothing,
    /// Every row was compared.
    Exact,
    /// Every row's rounded copy was compared, and in full where that left a doubt.
    ExactInTwoPasses,
}

impl fmt::Display for SegmentReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentReport { rows, selected, path } = self;
        match path {
            SearchPath::Nothing => write!(out, "nothing to search: none of {rows} rows is left"),
            SearchPath::Exact => write!(out, "exact: {selected} of {rows} rows compared"),
            SearchPath::ExactInTwoPasses => {
                write!(out, "exact: {selected} of {rows} rows compared as int8, the doubtful ones in full")
            }
        }
    }
}

/// What a search found, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Best first.
    pub hits: Vec<Hit>,
    /// One for each of the searcher's segments.
    pub segments: Vec<SegmentReport>,
}

/// The `k` documents nearest to a vector, over all segments of the searcher, deleted documents left out.
///
/// It is a tantivy [`Query`] that matches exactly those `k` documents, so it combines with other queries and works
/// with every collector. Inside a `BooleanQuery`, other clauses narrow the `k` documents down; to find the nearest
/// among the documents that match something, give that as [`KnnQuery::filter`].
///
/// Ties go to the lower [`DocAddress`], which is stable for one searcher.
#[derive(Clone)]
pub struct KnnQuery {
    dense: Dense,
    field: VectorField,
    vector: Vec<f32>,
    k: usize,
    filter: Option<Arc<dyn Query>>,
    exact: bool,
    min_similarity: Option<f32>,
}

impl KnnQuery {
    /// The `k` documents whose vector in `field` is nearest to `vector`. A wrong vector is an error of the search.
    pub fn new(dense: &Dense, field: VectorField, vector: Vec<f32>, k: usize) -> KnnQuery {
        KnnQuery { dense: dense.clone(), field, vector, k, filter: None, exact: false, min_similarity: None }
    }

    /// Only documents that match `filter` are considered. Its scores do not count.
    #[must_use]
    pub fn filter(mut self, filter: Box<dyn Query>) -> KnnQuery {
        self.filter = Some(Arc::from(filter));
        self
    }

    /// Another number of documents.
    #[must_use]
    pub fn with_k(mut self, k: usize) -> KnnQuery {
        self.k = k;
        self
    }

    /// Only documents that match this filter, and the one before where there was one.
    #[must_use]
    pub fn and_filter(self, filter: Box<dyn Query>) -> KnnQuery {
        match self.filter.clone() {
            Some(before) => self.filter(Box::new(BooleanQuery::intersection(vec![before.box_clone(), filter]))),
            None => self.filter(filter),
        }
    }

    /// Compares every row, even where there is an approximate index.
    #[must_use]
    pub fn exact(mut self) -> KnnQuery {
        self.exact = true;
        self
    }

    /// Leaves out documents less similar than this.
    #[must_use]
    pub fn min_similarity(mut self, similarity: f32) -> KnnQuery {
        self.min_similarity = Some(similarity);
        self
    }

    /// The vector field that is searched.
    pub fn field(&self) -> &VectorField {
        &self.field
    }

    /// The hits, best first.
    ///
    /// # Errors
    /// Those of [`VectorField::add`] for the query's vector, [`DenseError::ForeignField`] for a searcher of another
    /// index, and errors about files.
    pub fn search(&self, searcher: &Searcher) -> Result<Vec<Hit>, DenseError> {
        Ok(self.run(searcher)?.hits)
    }

    /// How similar the vectors of some documents are, whether they are among the nearest or not; none for a document
    /// without a vector.
    ///
    /// # Errors
    /// As [`KnnQuery::search`], and [`DenseError::Query`] for an address beyond the searcher's documents.
    pub fn similarities(&self, searcher: &Searcher, addresses: &[DocAddress]) -> Result<Vec<Option<f32>>, DenseError> {
        let query = Prepared::new(self.field.options().metric(), self.field.prepare(&self.vector)?);
        let mut scratch = Vec::new();
        let mut similarities = Vec::with_capacity(addresses.len());
        for segment in addresses.chunk_by(|a, b| a.segment_ord == b.segment_ord) {
            let ordinal = segment[0].segment_ord as usize;
            let Some(reader) = searcher.segment_readers().get(ordinal) else {
                let why = format!("the searcher has no segment {ordinal}");
                return Err(DenseError::Query { field: self.field.name().to_owned(), why });
            };
            let vectors = self.dense.segment(searcher, reader)?;
            let rows = vectors.field(&self.field)?;
            for address in segment {
                let row = rows.row_of(address.doc_id);
                similarities.push(row.map(|row| query.similarity(rows.row(row, &mut scratch))));
            }
        }
        Ok(similarities)
    }

    /// The hits, and how they were found.
    ///
    /// # Errors
    /// As [`KnnQuery::search`].
    pub fn run(&self, searcher: &Searcher) -> Result<Found, DenseError> {
        let metric = self.field.options().metric();
        let query = Prepared::new(metric, self.field.prepare(&self.vector)?);
        if self.min_similarity.is_some_and(f32::is_nan) {
            let why = "the least similarity is not a number".to_owned();
            return Err(DenseError::Query { field: self.field.name().to_owned(), why });
        }
        let filter = self.filter.as_ref();
        let filter = filter.map(|filter| filter.weight(EnableScoring::disabled_from_searcher(searcher))).transpose()?;
        let segments = searcher
            .segment_readers()
            .iter()
            .map(|reader| self.dense.segment(searcher, reader))
            .collect::<Result<Vec<_>, _>>()?;
        let mut candidates = Vec::with_capacity(segments.len());
        for ((ordinal, reader), segment) in (0..).zip(searcher.segment_readers()).zip(&segments) {
            let rows = segment.field(&self.field)?;
            let mut selected = segment.alive(rows, reader);
            if let Some(filter) = &filter {
                selected = Some(Arc::new(matching(filter.as_ref(), reader, rows, selected.as_deref())?));
            }
            candidates.push(Candidates { ordinal, rows, selected });
        }
        let total: u64 = candidates.iter().map(|candidates| u64::from(candidates.count())).sum();
        let k = self.k.min(usize::try_from(total).unwrap_or(usize::MAX));
        let reports = candidates.iter().map(report).collect();
        if k == 0 {
            return Ok(Found { hits: Vec::new(), segments: reports });
        }
        let bar = Bar::new(self.min_similarity.unwrap_or(f32::NEG_INFINITY));
        let executor = searcher.index().search_executor();
        let found = exact::nearest(executor, &candidates, &query, k, &bar)?;
        let hits = found.into_iter().map(|found| Hit {
            address: found.address,
            similarity: found.similarity,
            score: metric.score(found.similarity),
        });
        Ok(Found { hits: hits.collect(), segments: reports })
    }
}

fn report(candidates: &Candidates) -> SegmentReport {
    let path = match (candidates.count(), candidates.rows.first_pass()) {
        (0, _) => SearchPath::Nothing,
        (_, None) => SearchPath::Exact,
        (_, Some(_)) => SearchPath::ExactInTwoPasses,
    };
    SegmentReport { rows: candidates.rows.len(), selected: candidates.count(), path }
}

impl Query for KnnQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let searcher = scoring.searcher().ok_or(DenseError::NoSearcher)?;
        let found = self.run(searcher)?;
        let metric = self.field.options().metric();
        let title = format!("the {} nearest in `{}`", self.k, self.field.name());
        Ok(Box::new(HitsWeight::new(title, metric, searcher, &found.hits, &found.segments)))
    }
}

impl fmt::Debug for KnnQuery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = out.debug_struct("KnnQuery");
        out.field("field", &self.field.name()).field("k", &self.k).field("dimension", &self.vector.len());
        if let Some(filter) = &self.filter {
            out.field("filter", filter);
        }
        if let Some(similarity) = self.min_similarity {
            out.field("min_similarity", &similarity);
        }
        out.field("exact", &self.exact).finish()
    }
}
