//! Indexes to search.

use tantivy::columnar::Column;
use tantivy::indexer::NoMergePolicy;
use tantivy::schema::{FAST, INDEXED, Schema};
use tantivy::{IndexWriter, Searcher, TantivyDocument};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{Dense, DenseOptions, Hit, KnnQuery, VectorField, VectorOptions};

use crate::data::Data;

pub struct Built {
    pub dense: Dense,
    pub vector: VectorField,
    pub searcher: Searcher,
    /// Numbers of the documents, by segment.
    ids: Vec<Column<u64>>,
    _folder: tempfile::TempDir,
}

impl Built {
    /// An index over all rows in one segment, in a folder, without approximate index. A document's number is its row's.
    pub fn exact(data: &Data, options: VectorOptions) -> Built {
        Built::merged(data, options, DenseOptions::default().ann(AnnPolicy::never()), 1)
    }

    /// An index over all rows in a number of segments. Each is merged of two, since merges build approximate indexes.
    pub fn merged(data: &Data, options: VectorOptions, dense: DenseOptions, segments: usize) -> Built {
        let mut schema = Schema::builder();
        let id = schema.add_u64_field("id", FAST | INDEXED);
        let dimension = options.dimension();
        let Ok(vector) = VectorField::add_to(&mut schema, "vector", options) else {
            panic!("{dimension} is no dimension")
        };
        let folder = or_stop(tempfile::tempdir());
        let dense = Dense::with_options(dense);
        let index = or_stop(dense.index_builder().schema(schema.build()).create_in_dir(folder.path()));
        let mut writer: IndexWriter = or_stop(index.writer_with_num_threads(1, 1_000_000_000));
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let each = data.len().div_ceil(segments);
        let mut merged = Vec::new();
        for row in 0..data.len() {
            let mut document = TantivyDocument::new();
            document.add_u64(id, row as u64);
            or_stop(vector.add(&mut document, data.row(row)));
            or_stop(writer.add_document(document));
            let filled = (row + 1) % each == 0 || row + 1 == data.len();
            if filled || (row + 1) % each == each / 2 {
                or_stop(writer.commit());
            }
            if filled {
                let fresh = or_stop(index.searchable_segment_ids()).into_iter().filter(|id| !merged.contains(id));
                let fresh: Vec<_> = fresh.collect();
                merged.extend(or_stop(writer.merge(&fresh).wait()).map(|segment| segment.id()));
            }
        }
        or_stop(writer.wait_merging_threads());
        let searcher = or_stop(dense.reader(&index)).searcher();
        let readers = searcher.segment_readers();
        assert_eq!(readers.len(), segments);
        let ids = readers.iter().map(|reader| or_stop(reader.fast_fields().u64("id"))).collect();
        Built { dense, vector, searcher, ids, _folder: folder }
    }

    /// Numbers of the documents found. Reading them is part of the time, as it is for a user.
    pub fn search(&self, query: KnnQuery) -> Vec<u64> {
        let hits = or_stop(query.search(&self.searcher));
        let id = |hit: &Hit| self.ids[hit.address.segment_ord as usize].first(hit.address.doc_id);
        hits.iter().filter_map(id).collect()
    }
}

/// A benchmark has nobody to hand an error to.
pub fn or_stop<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
