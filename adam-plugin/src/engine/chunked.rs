//! Searches of an index whose documents are split into chunks: vectors by chunk, hits by document.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use tantivy::collector::DocSetCollector;
use tantivy::columnar::{Column, StrColumn};
use tantivy::query::{Bm25StatisticsProvider, BooleanQuery, Explanation, Query, TermQuery, TermSetQuery};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocAddress, Searcher, SegmentOrdinal, TantivyError, Term};
use tantivy_dense::hybrid::{Ranking, TextStatistics};
use tantivy_dense::{DenseError, KnnQuery, Metric};

use crate::chunk::ChunkFields;
use crate::lookup::documents_with;

/// Ranks documents by their nearest chunk.
#[derive(Clone, Debug)]
pub(super) struct NearestChunk {
    /// The query's vector and field, without a number of hits.
    pub(super) nearest: KnnQuery,
    pub(super) fields: ChunkFields,
    /// Chunks less similar are not found.
    pub(super) least: f32,
    /// Whether the filter looks at something that only documents have, and not their further chunks.
    pub(super) by_document: bool,
}

impl NearestChunk {
    /// The chunk of a document that is nearest to the query, with its similarity and its bytes of the embedded text.
    pub(super) fn of(
        &self,
        searcher: &Searcher,
        document: DocAddress,
    ) -> Result<Option<(f32, Range<usize>)>, DenseError> {
        let mut chunks = self.chunks(searcher, &ChunkColumns::new(searcher).key(document)?)?;
        chunks.sort_unstable();
        let similarities = self.nearest.similarities(searcher, &chunks)?;
        let best = chunks
            .iter()
            .zip(similarities)
            .filter_map(|(chunk, similarity)| Some((*chunk, similarity?)))
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((chunk, similarity)) = best else { return Ok(None) };
        Ok(Some((similarity, ChunkColumns::new(searcher).range(chunk)?)))
    }

    /// A document and its further chunks, in no order.
    fn chunks(&self, searcher: &Searcher, key: &str) -> Result<Vec<DocAddress>, DenseError> {
        Ok(documents_with(searcher, &self.fields.all_of(key))?)
    }

    /// A filter that further chunks pass where their document does.
    fn widened(&self, searcher: &Searcher, filter: &dyn Query) -> Result<Box<dyn Query>, DenseError> {
        if !self.by_document {
            return Ok(filter.box_clone());
        }
        // A filter with NOT would let further chunks pass for what they do not have.
        let documents: Box<dyn Query> = Box::new(TermQuery::new(self.fields.documents(), IndexRecordOption::Basic));
        let filter = BooleanQuery::intersection(vec![documents, filter.box_clone()]);
        let columns = ChunkColumns::new(searcher);
        let mut keys = HashSet::new();
        for document in searcher.search(&filter, &DocSetCollector)? {
            keys.insert(columns.key(document)?);
        }
        Ok(Box::new(TermSetQuery::new(keys.iter().map(|key| self.fields.all_of(key)))))
    }
}

impl Ranking for NearestChunk {
    fn top(
        &self,
        searcher: &Searcher,
        window: usize,
        filter: Option<&dyn Query>,
    ) -> Result<Vec<(DocAddress, f32)>, DenseError> {
        let mut nearest = self.nearest.clone();
        if let Some(filter) = filter {
            nearest = nearest.filter(self.widened(searcher, filter)?);
        }
        let columns = ChunkColumns::new(searcher);
        // Several of the nearest chunks may be of one document: ask for more until there are documents enough.
        let mut wanted = window.saturating_mul(2);
        loop {
            let hits = nearest.clone().with_k(wanted).search(searcher)?;
            let mut order = Vec::new();
            let mut seen = HashSet::new();
            for hit in &hits {
                let key = columns.key(hit.address)?;
                if seen.insert(key.clone()) {
                    order.push((key, hit.similarity));
                }
            }
            if order.len() < window && hits.len() == wanted {
                wanted = wanted.saturating_mul(2);
                continue;
            }
            let mut documents = Vec::with_capacity(window);
            for (key, similarity) in order {
                if documents.len() == window {
                    break;
                }
                // A chunk whose document was deleted by something it does not share is not found by its vector either.
                if let Some(document) = self.document(searcher, &columns, &key)? {
                    documents.push((document, similarity));
                }
            }
            return Ok(documents);
        }
    }

    fn scores(&self, searcher: &Searcher, documents: &[DocAddress]) -> Result<Vec<Option<f32>>, DenseError> {
        let columns = ChunkColumns::new(searcher);
        let mut owners: HashMap<DocAddress, usize> = HashMap::new();
        for (at, document) in documents.iter().enumerate() {
            for chunk in self.chunks(searcher, &columns.key(*document)?)? {
                owners.insert(chunk, at);
            }
        }
        let mut chunks: Vec<DocAddress> = owners.keys().copied().collect();
        chunks.sort_unstable();
        let mut best: Vec<Option<f32>> = vec![None; documents.len()];
        for (chunk, similarity) in chunks.iter().zip(self.nearest.similarities(searcher, &chunks)?) {
            let slot = &mut best[owners[chunk]];
            if let Some(similarity) = similarity.filter(|similarity| *similarity >= self.least) {
                *slot = Some(slot.map_or(similarity, |known| known.max(similarity)));
            }
        }
        Ok(best)
    }

    /// A document is counted by its first chunk, whose own similarity says nothing of the nearest one's.
    fn matching(&self) -> Option<Box<dyn Query>> {
        self.least.is_infinite().then(|| {
            let documents = TermQuery::new(self.fields.documents(), IndexRecordOption::Basic);
            let matching: Box<dyn Query> =
                Box::new(BooleanQuery::intersection(vec![self.nearest.candidates(), Box::new(documents)]));
            matching
        })
    }

    fn lower_bound(&self) -> Option<f32> {
        (self.nearest.field().options().metric() == Metric::Cosine).then_some(-1.0)
    }

    fn explain(&self, searcher: &Searcher, document: DocAddress, raw: f32) -> Result<Explanation, DenseError> {
        let chunk = self.of(searcher, document)?;
        let bytes = chunk.map_or_else(String::new, |(_, range)| format!(", bytes {} to {}", range.start, range.end));
        let title = format!("similarity of the nearest chunk in `{}`{bytes}", self.nearest.field().name());
        Ok(Explanation::new_with_string(title, raw))
    }
}

impl NearestChunk {
    fn document(
        &self,
        searcher: &Searcher,
        columns: &ChunkColumns<'_>,
        key: &str,
    ) -> Result<Option<DocAddress>, DenseError> {
        for address in self.chunks(searcher, key)? {
            if columns.part(address)? == 0 {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }
}

/// Which document a chunk belongs to, and which part of it the chunk is. The columns of a segment are opened once.
pub(super) struct ChunkColumns<'a> {
    searcher: &'a Searcher,
    segments: Vec<OnceCell<SegmentColumns>>,
}

struct SegmentColumns {
    parent: Option<StrColumn>,
    part: Column<u64>,
}

impl<'a> ChunkColumns<'a> {
    pub(super) fn new(searcher: &'a Searcher) -> Self {
        Self { searcher, segments: searcher.segment_readers().iter().map(|_| OnceCell::new()).collect() }
    }

    fn segment(&self, ordinal: SegmentOrdinal) -> Result<&SegmentColumns, DenseError> {
        let cell = &self.segments[ordinal as usize];
        if let Some(columns) = cell.get() {
            return Ok(columns);
        }
        let [parent, part, ..] = ChunkFields::columns();
        let columns = self.searcher.segment_reader(ordinal).fast_fields();
        let opened = SegmentColumns { parent: columns.str(parent)?, part: columns.u64(part)? };
        Ok(cell.get_or_init(|| opened))
    }

    /// The key of the document that a chunk, or a document, belongs to.
    fn key(&self, address: DocAddress) -> Result<String, DenseError> {
        let mut key = String::new();
        if let Some(column) = &self.segment(address.segment_ord)?.parent
            && let Some(ordinal) = column.ords().first(address.doc_id)
        {
            column.ord_to_str(ordinal, &mut key).map_err(TantivyError::from)?;
        }
        Ok(key)
    }

    /// The bytes of the embedded text that a chunk spans.
    pub(super) fn range(&self, chunk: DocAddress) -> Result<Range<usize>, DenseError> {
        let [_, _, start, end] = ChunkFields::columns();
        let columns = self.searcher.segment_reader(chunk.segment_ord).fast_fields();
        let bound = |name: &str| -> Result<usize, DenseError> {
            let value = columns.u64(name)?.first(chunk.doc_id).unwrap_or(0);
            Ok(usize::try_from(value).unwrap_or(usize::MAX))
        };
        Ok(bound(start)?..bound(end)?)
    }

    /// 0 for a document, from 1 for its further chunks.
    pub(super) fn part(&self, address: DocAddress) -> Result<u64, DenseError> {
        Ok(self.segment(address.segment_ord)?.part.first(address.doc_id).unwrap_or(0))
    }
}

/// BM25's statistics of an index with chunks, as those of one without: only first chunks count as documents.
#[derive(Debug)]
pub(super) struct DocumentStatistics(pub(super) ChunkFields);

/// The statistics without further chunks. These have no text, so the counts of tokens and terms are right as they are.
struct Documents<'a> {
    searcher: &'a Searcher,
    count: u64,
}

impl Bm25StatisticsProvider for Documents<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.searcher.total_num_tokens(field)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.count)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        Bm25StatisticsProvider::doc_freq(self.searcher, term)
    }
}

impl TextStatistics for DocumentStatistics {
    fn provider<'a>(&'a self, searcher: &'a Searcher) -> Result<Box<dyn Bm25StatisticsProvider + 'a>, DenseError> {
        Ok(Box::new(Documents { searcher, count: searcher.doc_freq(&self.0.documents())? }))
    }
}
