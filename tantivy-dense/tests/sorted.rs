//! Indexes sorted by a field: vectors move with their documents.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

mod support;

use support::{Fixture, assert_hits, brute_force, random, vector};
use tantivy::index::IndexSettings;
use tantivy::indexer::NoMergePolicy;
use tantivy::{Index, IndexSortByField, IndexWriter, Order, Searcher, Term};
use tantivy_dense::{Dense, Element, KnnQuery, VectorOptions};

const DIMENSION: usize = 9;

fn sorted(dense: &Dense, fixture: &Fixture, order: Order) -> Index {
    let by = IndexSortByField { field: "id".to_owned(), order };
    let settings = IndexSettings { sort_by_field: Some(by), ..IndexSettings::default() };
    dense.index_builder().settings(settings).schema(fixture.schema.clone()).create_in_ram().unwrap()
}

/// Every document has the vector that was made for its number, and searches agree with a plain loop.
fn check(fixture: &Fixture, dense: &Dense, searcher: &Searcher, vectors: &[Option<Vec<f32>>], what: &str) {
    let tolerance = match fixture.vector.options().element_type() {
        Element::F32 => 1e-6,
        Element::F16 => 1e-3,
        Element::Int8 => 1e-2,
    };
    for (id, address) in fixture.addresses(searcher) {
        let kept = dense.vector(searcher, &fixture.vector, address).unwrap();
        assert_eq!(kept.is_some(), vectors[id as usize].is_some(), "{what}, document {id}");
        for (kept, given) in kept.iter().flatten().zip(vectors[id as usize].iter().flatten()) {
            assert!((kept - given).abs() < tolerance, "{what}, document {id}: {kept} instead of {given}");
        }
    }
    let mut random = random(5);
    for k in [1, 7, 1000] {
        let query = vector(&mut random, DIMENSION);
        let truth = brute_force(fixture, dense, searcher, &query, |_| true);
        let hits = KnnQuery::new(dense, fixture.vector.clone(), query, k).search(searcher).unwrap();
        assert_hits(fixture, searcher, &hits, &truth, k, what);
    }
}

#[test]
fn vectors_stay_with_their_documents_through_writes_deletes_and_merges() {
    for order in [Order::Asc, Order::Desc] {
        for options in [
            VectorOptions::cosine(DIMENSION),
            VectorOptions::cosine(DIMENSION).element(Element::F16).int8_first_pass(true),
            VectorOptions::l2(DIMENSION).element(Element::Int8),
        ] {
            // All documents have vectors, or every fifth has none.
            for gaps in [false, true] {
                let what = format!("{order:?} {options:?} gaps {gaps}");
                let fixture = Fixture::new(options.clone());
                let dense = Dense::new();
                let index = sorted(&dense, &fixture, order);
                let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
                writer.set_merge_policy(Box::new(NoMergePolicy));
                let mut random = random(4);
                let vectors: Vec<Option<Vec<f32>>> =
                    (0..300).map(|id| (!gaps || id % 5 != 2).then(|| vector(&mut random, DIMENSION))).collect();
                for at in 0..300_u64 {
                    // A permutation of the numbers, so that segments overlap and every one has to be sorted.
                    let id = at * 131 % 300;
                    writer.add_document(fixture.document(id, vectors[id as usize].as_deref())).unwrap();
                    if at % 100 == 99 {
                        writer.commit().unwrap();
                    }
                }
                let reader = dense.reader(&index).unwrap();
                assert_eq!(reader.searcher().segment_readers().len(), 3);
                check(&fixture, &dense, &reader.searcher(), &vectors, &format!("{what}, written"));
                for id in (0..300).step_by(7) {
                    writer.delete_term(Term::from_field_u64(fixture.id, id));
                }
                writer.commit().unwrap();
                reader.reload().unwrap();
                check(&fixture, &dense, &reader.searcher(), &vectors, &format!("{what}, with deletes"));
                writer.merge(&index.searchable_segment_ids().unwrap()).wait().unwrap();
                reader.reload().unwrap();
                let searcher = reader.searcher();
                assert_eq!((searcher.segment_readers().len(), searcher.num_docs()), (1, 257));
                let ids = searcher.segment_reader(0).fast_fields().u64("id").unwrap();
                let ids: Vec<u64> = (0..257).map(|doc| ids.first(doc).unwrap()).collect();
                assert!(ids.is_sorted_by(|a, b| (a < b) == order.is_asc()), "the index is sorted");
                check(&fixture, &dense, &searcher, &vectors, &format!("{what}, merged"));
                dense.verify(&index).unwrap();
            }
        }
    }
}
