//! The documents that have a vector.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tantivy::index::SegmentId;
use tantivy::query::{AllScorer, EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError};

use crate::warm::FieldVectors;
use crate::{Dense, DenseError, VectorField};

/// The documents that have a vector.
#[derive(Clone)]
pub(super) struct VectorExistsQuery {
    pub(super) dense: Dense,
    pub(super) field: VectorField,
}

impl fmt::Debug for VectorExistsQuery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("VectorExistsQuery").field("field", &self.field.name()).finish()
    }
}

impl Query for VectorExistsQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let searcher = scoring.searcher().ok_or(DenseError::NoSearcher)?;
        let mut segments = HashMap::new();
        for reader in searcher.segment_readers() {
            let vectors = self.dense.segment(searcher, reader)?;
            segments.insert(reader.segment_id(), Arc::clone(vectors.field(&self.field)?));
        }
        Ok(Box::new(VectorExistsWeight(segments)))
    }
}

struct VectorExistsWeight(HashMap<SegmentId, Arc<FieldVectors>>);

impl Weight for VectorExistsWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(match self.0.get(&reader.segment_id()) {
            // tantivy leaves out the other clauses of a union beside this one.
            Some(vectors) if vectors.rows.len() == reader.max_doc() => Box::new(AllScorer::new(reader.max_doc())),
            Some(vectors) => Box::new(VectorDocs::new(Arc::clone(vectors), reader.max_doc(), boost)),
            None => Box::new(EmptyScorer),
        })
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        match self.0.get(&reader.segment_id()).and_then(|vectors| vectors.rows.row_of(doc)) {
            Some(_) => Ok(Explanation::new("has a vector", 1.0)),
            None => Err(TantivyError::InvalidArgument(format!("document {doc} has no vector"))),
        }
    }
}

/// The documents of a segment that have a vector, in their order.
struct VectorDocs {
    vectors: Arc<FieldVectors>,
    max_doc: DocId,
    doc: DocId,
    boost: Score,
}

impl VectorDocs {
    fn new(vectors: Arc<FieldVectors>, max_doc: DocId, boost: Score) -> VectorDocs {
        let mut docs = VectorDocs { vectors, max_doc, doc: 0, boost };
        docs.go_to(0);
        docs
    }

    /// The first document with a vector from `doc` on.
    fn go_to(&mut self, doc: DocId) -> DocId {
        let rows = &self.vectors.rows;
        let found = (doc..self.max_doc).find(|&doc| rows.row_of(doc).is_some());
        self.doc = found.unwrap_or(TERMINATED);
        self.doc
    }
}

impl DocSet for VectorDocs {
    fn advance(&mut self) -> DocId {
        if self.doc == TERMINATED {
            return TERMINATED;
        }
        self.go_to(self.doc + 1)
    }

    fn seek(&mut self, target: DocId) -> DocId {
        if target <= self.doc {
            return self.doc;
        }
        self.go_to(target)
    }

    fn doc(&self) -> DocId {
        self.doc
    }

    fn size_hint(&self) -> u32 {
        self.vectors.rows.len()
    }
}

impl Scorer for VectorDocs {
    fn score(&mut self) -> Score {
        self.boost
    }
}
