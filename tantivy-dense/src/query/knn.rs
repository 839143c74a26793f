//! The k nearest documents to a vector.

use std::fmt;

use tantivy::query::{BooleanQuery, EnableScoring, Query, Weight};
use tantivy::{DocAddress, Searcher, Term};

use super::exists::VectorExistsQuery;
use super::filters::both;
use super::report::{Hit, KnnOutcome};
use super::search;
use super::settings::Settings;
use super::vector::QueryVector;
use super::weight::HitsWeight;
use crate::{Dense, DenseError, VectorField};

/// The `k` documents nearest to a vector, over all segments of the searcher, deleted documents left out.
///
/// It is a tantivy [`Query`] that matches exactly those `k` documents, so it combines with other queries and works
/// with every collector. Inside a `BooleanQuery`, other clauses narrow the `k` documents down; to find the nearest
/// among the documents that match something, give that as [`KnnQuery::filter`].
///
/// Counts, facets and aggregations are therefore of those `k` documents. Each call of [`Searcher::search`] runs the vector search
/// again; several collectors in one call, as a tuple or a [`MultiCollector`](tantivy::collector::MultiCollector), share one.
///
/// Ties go to the lower [`DocAddress`], which is stable for one searcher.
#[derive(Clone)]
pub struct KnnQuery {
    dense: Dense,
    field: VectorField,
    vector: Vec<f32>,
    settings: Settings,
}

impl KnnQuery {
    /// The `k` documents whose vector in `field` is nearest to `vector`. A wrong vector is an error of the search.
    pub fn new(dense: &Dense, field: VectorField, vector: Vec<f32>, k: usize) -> Self {
        KnnQuery { dense: dense.clone(), field, vector, settings: Settings::nearest(k) }
    }

    /// All documents with a vector in `field`, by similarity: for an [`Arm`](crate::Arm), which takes as many as its window.
    pub fn all(dense: &Dense, field: VectorField, vector: Vec<f32>) -> Self {
        Self::new(dense, field, vector, usize::MAX)
    }

    /// All documents at least as similar as `similarity`, however many they are. Always exact.
    pub fn within(dense: &Dense, field: VectorField, vector: Vec<f32>, similarity: f32) -> Self {
        KnnQuery::new(dense, field, vector, usize::MAX).min_similarity(similarity)
    }

    /// Only documents that match `filter` are considered. Its scores do not count. Given several times, all filters hold.
    ///
    /// A Boolean query that only excludes (`MustNot` alone) leaves everything else, although tantivy's own such query matches
    /// nothing: "more like this, but not this one" is a filter of one `MustNot`.
    #[must_use]
    pub fn filter(mut self, filter: Box<dyn Query>) -> Self {
        self.settings.filter = Some(both(self.settings.filter.as_deref(), filter));
        self
    }

    /// Another number of documents.
    #[must_use]
    pub fn with_k(mut self, k: usize) -> Self {
        self.settings.k = k;
        self
    }

    /// Compares every row, even where there is an approximate index.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.settings.exact = true;
        self
    }

    /// Whether the [`Device`](crate::Device) of the index may be used, if it has one. Default: true.
    ///
    /// A device answers exactly, so [`KnnQuery::exact`] needs not be said for it; `on_device(false)` gives the
    /// processor's approximate indexes back to a query that wants its answer from them.
    #[must_use]
    pub fn on_device(mut self, allowed: bool) -> Self {
        self.settings.on_device = allowed;
        self
    }

    /// Leaves out documents less similar than this.
    #[must_use]
    pub fn min_similarity(mut self, similarity: f32) -> Self {
        self.settings.min_similarity = Some(similarity);
        self
    }

    /// Candidates that a graph search (HNSW) keeps: more find more of the true neighbours and take longer.
    ///
    /// It is meant for all rows together: every segment gets its share and some more, and more again where a filter
    /// leaves out rows. Default: what the index was built with or [`AnnPolicy::ef`](crate::ann::AnnPolicy::ef), and
    /// no less than twice k. Segments without a graph ignore it.
    #[must_use]
    pub fn ef(mut self, ef: usize) -> Self {
        self.settings.ef = Some(ef);
        self
    }

    /// Lists of an inverted file (IVF) to look into, in every segment; more where a filter leaves out rows. Segments
    /// without lists ignore it.
    #[must_use]
    pub fn nprobe(mut self, nprobe: usize) -> Self {
        self.settings.nprobe = Some(nprobe);
        self
    }

    /// Candidates per hit to take from an index that keeps rows rounded, before they are compared in full; 1 or more.
    #[must_use]
    pub fn oversample(mut self, factor: f32) -> Self {
        self.settings.oversample = Some(factor);
        self
    }

    /// The vector field that is searched.
    pub fn field(&self) -> &VectorField {
        &self.field
    }

    /// The filter, where there is one.
    pub(crate) fn own_filter(&self) -> Option<&dyn Query> {
        self.settings.filter.as_deref()
    }

    /// Documents less similar than this are left out.
    pub(crate) fn least_similarity(&self) -> f32 {
        self.settings.min_similarity.unwrap_or(f32::NEG_INFINITY)
    }

    /// Whether every search with this query is exact, whatever its `k`: it was asked for, or no segment has an approximate index
    /// that could be used.
    pub(crate) fn is_exact(&self, searcher: &Searcher) -> Result<bool, DenseError> {
        if self.settings.exact {
            return Ok(true);
        }
        for reader in searcher.segment_readers() {
            if self.dense.segment(searcher, reader)?.field(&self.field)?.index.is_ok() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many documents the query chooses from: those with a vector in the field that are not deleted and match the filter. `k`
    /// and the least similarity do not count.
    ///
    /// # Errors
    /// As [`KnnQuery::search`].
    pub fn num_candidates(&self, searcher: &Searcher) -> Result<u64, DenseError> {
        search::num_candidates(&self.dense, &self.field, &self.settings, searcher)
    }

    /// Every document that the query can find, whatever its `k`, as a query: those with a vector in the field, that match the filter, and
    /// are as similar as the least similarity where there is one. For counts and facets; its scores mean nothing.
    pub fn candidates(&self) -> Box<dyn Query> {
        if self.settings.min_similarity.is_some() {
            return Box::new(self.clone().with_k(usize::MAX));
        }
        let exists = VectorExistsQuery { dense: self.dense.clone(), field: self.field.clone() };
        match &self.settings.filter {
            Some(filter) => Box::new(BooleanQuery::intersection(vec![Box::new(exists), filter.box_clone()])),
            None => Box::new(exists),
        }
    }

    /// The hits, best first.
    ///
    /// # Errors
    /// Those of [`VectorField::add`] for the query's vector, [`DenseError::ForeignField`] for a searcher of another
    /// index, and errors about files.
    pub fn search(&self, searcher: &Searcher) -> Result<Vec<Hit>, DenseError> {
        Ok(self.run(searcher)?.hits)
    }

    /// How similar the vectors of some documents are, whether they are among the nearest or not, and whatever the query's
    /// filter and least similarity are; none for a document without a vector.
    ///
    /// # Errors
    /// As [`KnnQuery::search`], and [`DenseError::Query`] for an address beyond the searcher's documents.
    pub fn similarities(&self, searcher: &Searcher, addresses: &[DocAddress]) -> Result<Vec<Option<f32>>, DenseError> {
        let query = QueryVector::new(self.field.options().metric(), self.field.prepare(&self.vector)?);
        let mut scratch = Vec::new();
        let mut similarities = Vec::with_capacity(addresses.len());
        for segment in addresses.chunk_by(|a, b| a.segment_ord == b.segment_ord) {
            let ordinal = segment[0].segment_ord as usize;
            let Some(reader) = searcher.segment_readers().get(ordinal) else {
                let why = format!("the searcher has no segment {ordinal}");
                return Err(DenseError::Query { field: self.field.name().to_owned(), why });
            };
            let vectors = self.dense.segment(searcher, reader)?;
            let rows = &vectors.field(&self.field)?.rows;
            for address in segment {
                if address.doc_id >= reader.max_doc() {
                    let why = format!("the searcher has no document {address:?}");
                    return Err(DenseError::Query { field: self.field.name().to_owned(), why });
                }
                let row = rows.row_of(address.doc_id);
                similarities.push(row.map(|row| query.similarity(rows, row, &mut scratch)));
            }
        }
        Ok(similarities)
    }

    /// The hits, and how they were found.
    ///
    /// # Errors
    /// As [`KnnQuery::search`].
    pub fn run(&self, searcher: &Searcher) -> Result<KnnOutcome, DenseError> {
        let mut found = search::search(&self.dense, &self.field, &self.settings, searcher, &[&self.vector])?;
        Ok(found.pop().unwrap_or(KnnOutcome { hits: Vec::new(), segments: Vec::new() }))
    }

    /// Searches for many vectors at once, with the settings of this query; its own vector is not among them. One answer
    /// for each vector, in their order.
    ///
    /// Several times the throughput of one search after another where rows are scanned, since each is read from memory
    /// once for all vectors. Indexes are searched for one vector after another; a device is given all at once. Uses the index's search threads
    /// ([`Index::set_multithread_executor`](tantivy::Index::set_multithread_executor)), as single searches do.
    ///
    /// # Errors
    /// As [`KnnQuery::search`], for the first vector that is wrong.
    pub fn search_batch<V: AsRef<[f32]>>(
        &self,
        searcher: &Searcher,
        vectors: &[V],
    ) -> Result<Vec<Vec<Hit>>, DenseError> {
        Ok(self.run_batch(searcher, vectors)?.into_iter().map(|found| found.hits).collect())
    }

    /// As [`KnnQuery::search_batch`], with how each was found.
    ///
    /// # Errors
    /// As [`KnnQuery::search_batch`].
    pub fn run_batch<V: AsRef<[f32]>>(
        &self,
        searcher: &Searcher,
        vectors: &[V],
    ) -> Result<Vec<KnnOutcome>, DenseError> {
        let vectors: Vec<&[f32]> = vectors.iter().map(AsRef::as_ref).collect();
        search::search(&self.dense, &self.field, &self.settings, searcher, &vectors)
    }

    /// What the query looks for, in words.
    fn title(&self) -> String {
        let (field, Settings { k, min_similarity, .. }) = (self.field.name(), &self.settings);
        match min_similarity {
            Some(least) if *k == usize::MAX => format!("all within similarity {least} in `{field}`"),
            Some(least) => format!("the {k} nearest in `{field}`, within similarity {least}"),
            None if *k == usize::MAX => format!("all by similarity in `{field}`"),
            None => format!("the {k} nearest in `{field}`"),
        }
    }
}

impl Query for KnnQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let searcher = scoring.searcher().ok_or(DenseError::NoSearcher)?;
        let found = self.run(searcher)?;
        let metric = self.field.options().metric();
        Ok(Box::new(HitsWeight::new(self.title(), metric, searcher, &found.hits, &found.segments)))
    }

    /// The filter's terms: a vector has none.
    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        if let Some(filter) = &self.settings.filter {
            filter.query_terms(visitor);
        }
    }
}

impl fmt::Debug for KnnQuery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { k, filter, exact, on_device, min_similarity, ef, nprobe, oversample } = &self.settings;
        let mut out = out.debug_struct("KnnQuery");
        out.field("field", &self.field.name()).field("k", k).field("dimension", &self.vector.len());
        if let Some(filter) = filter {
            out.field("filter", filter);
        }
        if let Some(similarity) = min_similarity {
            out.field("min_similarity", similarity);
        }
        for (name, breadth) in [("ef", ef), ("nprobe", nprobe)] {
            if let Some(breadth) = breadth {
                out.field(name, breadth);
            }
        }
        if let Some(oversample) = oversample {
            out.field("oversample", oversample);
        }
        if !on_device {
            out.field("on_device", on_device);
        }
        out.field("exact", exact).finish()
    }
}
