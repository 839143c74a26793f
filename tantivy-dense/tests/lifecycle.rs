//! From documents to segments and back: writing, committing, merging, reloading, searching.

mod support;

use support::{Fixture, assert_hits, brute_force, random, vector};
use tantivy::indexer::NoMergePolicy;
use tantivy::{IndexWriter, Term};
use tantivy_dense::{Dense, Element, KnnQuery, Metric, VectorOptions};

fn all_options(dimension: usize) -> Vec<VectorOptions> {
    let mut all = Vec::new();
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        for element in [Element::F32, Element::F16, Element::Int8] {
            for first_pass in [false, true] {
                let options = VectorOptions::new(metric, dimension).element(element);
                all.push(options.int8_first_pass(first_pass && element != Element::Int8));
            }
        }
    }
    all.dedup();
    all
}

#[test]
fn every_kind_of_field_finds_what_brute_force_finds_before_and_after_a_merge() {
    for options in all_options(19) {
        let fixture = Fixture::new(options.clone());
        let dense = Dense::new();
        let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let mut random = random(7);
        for id in 0..600 {
            let values = vector(&mut random, 19);
            // Every seventh has none.
            writer.add_document(fixture.document(id, (id % 7 != 0).then_some(&values))).unwrap();
            if id % 150 == 149 {
                writer.commit().unwrap();
            }
        }
        for id in (0..600).step_by(5) {
            writer.delete_term(Term::from_field_u64(fixture.id, id));
        }
        writer.commit().unwrap();
        let reader = dense.reader(&index).unwrap();
        let check = |segments: usize| {
            let searcher = reader.searcher();
            assert_eq!(searcher.segment_readers().len(), segments);
            let mut random = support::random(8);
            for k in [0, 1, 3, 10, 37, 1000] {
                let query = vector(&mut random, 19);
                let expected = brute_force(&fixture, &dense, &searcher, &query, |_| true);
                let hits = KnnQuery::new(&dense, fixture.vector.clone(), query, k).search(&searcher).unwrap();
                assert_hits(&fixture, &searcher, &hits, &expected, k, &format!("{options:?}, k {k}"));
            }
        };
        check(4);
        let ids = index.searchable_segment_ids().unwrap();
        writer.merge(&ids).wait().unwrap();
        reader.reload().unwrap();
        check(1);
        assert_eq!(index.validate_checksum().unwrap().len(), 0);
        dense.verify(&index).unwrap();
    }
}
