//! Rows on a device: whatever is deleted, filtered and reloaded, and what a device is not for.

use std::time::Duration;

use tantivy::query::BooleanQuery;
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{DeviceOptions, KnnQuery, SearchPath, VectorOptions};

use crate::corpus::{Corpus, DIMENSION, all_options, always, device, on_device, reasons, wait_for_blocks};
use crate::support::{assert_hits, brute_force};

#[test]
fn every_kind_of_field_finds_what_the_processor_finds() {
    for options in all_options() {
        let corpus = Corpus::new(options, device(always()), AnnPolicy::never()).with_segments(&[3000, 500]);
        let searcher = corpus.reader.searcher();
        for query in &corpus.queries {
            for k in [1, 10, 100] {
                let found = corpus.same(&searcher, &corpus.knn(query, k));
                assert_eq!((on_device(&found), reasons(&found)), (2, vec![]), "k {k}");
                let truth = brute_force(&corpus.fixture, &corpus.dense, &searcher, query, |_| true);
                assert_hits(&corpus.fixture, &searcher, &found.hits, &truth, k, "on the device");
            }
        }
        let usage = corpus.device.usage();
        assert_eq!((usage.blocks, usage.copied, usage.failed), (2, 2, 0));
    }
}

/// A GPU cuts long segments into slices, more of them for few queries than for many.
#[test]
fn a_long_segment_is_searched_for_few_and_for_many() {
    for options in [VectorOptions::cosine(DIMENSION), VectorOptions::l2(DIMENSION)] {
        let corpus = Corpus::new(options, device(always()), AnnPolicy::never()).with_segments(&[60_000]);
        let searcher = corpus.reader.searcher();
        let many: Vec<&[f32]> = corpus.values.iter().step_by(29).take(1100).map(Vec::as_slice).collect();
        for (queries, k) in [(1, 1), (3, 10), (40, 100), (2, 1500), (1100, 10)] {
            let knn = corpus.knn(many[0], k);
            let found = knn.run_batch(&searcher, &many[..queries]).unwrap();
            let exact = knn.exact().on_device(false).run_batch(&searcher, &many[..queries]).unwrap();
            for (found, exact) in found.iter().zip(&exact) {
                assert_eq!(found.hits, exact.hits, "{queries} queries, k {k}");
                let all = searcher.segment_readers().len();
                assert_eq!((on_device(found), reasons(found)), (all, vec![]), "{queries} queries, k {k}");
            }
        }
        assert_eq!(corpus.device.usage().failed, 0);
    }
}

#[test]
fn deletes_and_filters_of_every_share() {
    for options in [VectorOptions::cosine(DIMENSION), VectorOptions::l2(DIMENSION)] {
        let device = device(always());
        let corpus = Corpus::new(options, device, AnnPolicy::never()).with_segments(&[30_000]);
        for id in (0..30_000).filter(|id| id % 7 == 3) {
            corpus.delete(id);
        }
        // The nearest to the first query are deleted, too.
        let searcher = corpus.reader.searcher();
        for hit in corpus.knn(&corpus.queries[0], 40).search(&searcher).unwrap() {
            corpus.delete(corpus.fixture.id_at(&searcher, hit.address));
        }
        let mut corpus = corpus;
        corpus.writer.commit().unwrap();
        corpus.reader.reload().unwrap();
        let searcher = corpus.reader.searcher();
        for query in &corpus.queries {
            let found = corpus.same(&searcher, &corpus.knn(query, 10));
            assert_eq!(on_device(&found), 1, "{}", found.segments[0]);
            for (divisor, uses_device) in [(2, true), (10, true), (100, true), (1000, false)] {
                let found = corpus.same(&searcher, &corpus.knn(query, 10).filter(corpus.in_class(divisor)));
                assert!(found.hits.iter().all(|hit| corpus.fixture.id_at(&searcher, hit.address) % divisor == 1));
                assert_eq!(found.hits.len(), 10);
                if uses_device {
                    // Of one in a hundred, twenty are expected among the 2048 nearest, and ten are not always there.
                    assert!(divisor == 100 || on_device(&found) == 1, "1 in {divisor}: {}", found.segments[0]);
                } else {
                    let reasons = reasons(&found);
                    assert!(reasons[0].contains(" is not used: it gives 2048 rows at most, of which"), "{reasons:?}");
                }
            }
            let none = BooleanQuery::intersection(vec![corpus.in_class(1000), corpus.in_class(2), corpus.in_class(9)]);
            let found = corpus.same(&searcher, &corpus.knn(query, 10).filter(Box::new(none)));
            assert_eq!((found.hits.len(), &found.segments[0].path), (0, &SearchPath::Nothing));
        }
    }
}

#[test]
fn a_filter_that_is_against_the_query_is_seen_through() {
    // All rows near the query are in the other half, so that what the device gives has to be doubled, and at last is
    // not enough.
    let corpus = Corpus::new(VectorOptions::l2(2), device(always().most(256)), AnnPolicy::never());
    for id in 0..4000_u64 {
        let mut document = corpus.fixture.document(id, Some(&[id as f32, 0.0]));
        if id >= 100 && id % 2 == 0 || id >= 2000 {
            document.add_u64(corpus.class, 2);
        }
        corpus.writer.add_document(document).unwrap();
    }
    let mut corpus = corpus;
    corpus.writer.commit().unwrap();
    corpus.reader.reload().unwrap();
    let searcher = corpus.reader.searcher();
    let found = corpus.same(&searcher, &corpus.knn(&[0.0, 0.0], 10).filter(corpus.in_class(2)));
    let SearchPath::ExactOnDevice(how) = &found.segments[0].path else { panic!("{}", found.segments[0]) };
    assert!(how.calls > 1 && how.candidates > 100, "{how:?}");
    // With 200 rows more in the way, the device has no answer.
    let found = corpus.same(&searcher, &corpus.knn(&[0.0, 0.0], 100).filter(corpus.in_class(2)));
    assert_eq!(found.segments[0].path, SearchPath::Exact);
    let reasons = reasons(&found);
    assert!(reasons[0].contains("of the 256 rows it gave, 78 are left, and 100 are wanted"), "{reasons:?}");
}

#[test]
fn rows_too_much_alike_to_be_told_apart_are_left_to_the_processor() {
    let corpus = Corpus::new(VectorOptions::cosine(4), device(always().most(64)), AnnPolicy::never());
    for id in 0..1000_u64 {
        let values = if id % 3 == 0 { [0.1, 0.2, 0.3, 0.4] } else { [1.0, 0.0, 0.0, id as f32 / 1000.0] };
        corpus.writer.add_document(corpus.fixture.document(id, Some(&values))).unwrap();
    }
    let mut corpus = corpus;
    corpus.writer.commit().unwrap();
    corpus.reader.reload().unwrap();
    let searcher = corpus.reader.searcher();
    // 334 rows are the very same.
    let found = corpus.same(&searcher, &corpus.knn(&[0.1, 0.2, 0.3, 0.4], 10));
    let reasons = reasons(&found);
    assert!(reasons[0].contains("too much alike to be told apart"), "{reasons:?}");
    // Where they do not matter, the device answers.
    let found = corpus.same(&searcher, &corpus.knn(&[1.0, 0.0, 0.0, 0.3], 5));
    assert_eq!(on_device(&found), 1, "{}", found.segments[0]);
}

#[test]
fn a_reload_keeps_what_is_on_the_device_and_a_merge_lets_it_go() {
    let corpus = Corpus::new(VectorOptions::cosine(DIMENSION), device(always()), AnnPolicy::never());
    let mut corpus = corpus.with_segments(&[400, 300, 200]);
    let copied = |corpus: &Corpus| {
        let found = corpus.same(&corpus.reader.searcher(), &corpus.knn(&corpus.queries[0], 10));
        assert_eq!(on_device(&found), found.segments.len());
        (corpus.device.usage().copied, corpus.device.usage().blocks)
    };
    assert_eq!(copied(&corpus), (3, 3), "copied when the reader opened them");
    corpus.reader.reload().unwrap();
    assert_eq!(copied(&corpus), (3, 3));
    corpus.delete(5);
    corpus.writer.commit().unwrap();
    corpus.reader.reload().unwrap();
    assert_eq!(copied(&corpus), (3, 3), "a deletion changes no row");
    corpus.add(901);
    corpus.writer.commit().unwrap();
    corpus.reader.reload().unwrap();
    assert_eq!(copied(&corpus), (4, 4));

    // A searcher from before the merge still answers from the old blocks.
    let before = corpus.reader.searcher();
    let segments = corpus.index.searchable_segment_ids().unwrap();
    corpus.writer.merge(&segments).wait().unwrap();
    corpus.reader.reload().unwrap();
    assert_eq!(copied(&corpus), (5, 5));
    assert_eq!(on_device(&corpus.same(&before, &corpus.knn(&corpus.queries[1], 10))), 4);
    drop(before);
    wait_for_blocks(&corpus.device, 1);
    assert_eq!(copied(&corpus), (5, 1));
    let usage = corpus.device.usage();
    assert_eq!((usage.evicted, usage.failed), (0, 0));
    let rows: u32 = corpus.dense.info(&corpus.reader.searcher()).unwrap().iter().map(|info| info.fields[0].rows).sum();
    assert_eq!(usage.bytes, u64::from(rows) * DIMENSION as u64 * 4);
}

#[test]
fn what_does_not_fit_is_left_to_the_processor() {
    let row = (DIMENSION * 4) as u64;
    let device = device(always().memory_bytes(700 * row));
    let corpus = Corpus::new(VectorOptions::dot(DIMENSION), device, AnnPolicy::never());
    let corpus = corpus.with_segments(&[1000, 600, 500]);
    let searcher = corpus.reader.searcher();
    for query in &corpus.queries {
        let found = corpus.same(&searcher, &corpus.knn(query, 10));
        assert_eq!(on_device(&found), 1);
        let reasons = reasons(&found);
        assert!(reasons.iter().any(|why| why.contains("are more than the")), "{reasons:?}");
        assert!(reasons.iter().any(|why| why.contains("do not fit beside")), "{reasons:?}");
        assert!(
            reasons.iter().all(|why| why.starts_with(&format!("{} is not used: ", corpus.device.name()))),
            "{reasons:?}"
        );
    }
    assert_eq!((corpus.device.usage().blocks, corpus.device.usage().copied), (1, 1));
    // Where nothing has to stay, they take turns.
    let device = crate::corpus::device(always().memory_bytes(700 * row).keep(Duration::ZERO));
    let corpus = Corpus::new(VectorOptions::dot(DIMENSION), device, AnnPolicy::never());
    let corpus = corpus.with_segments(&[1000, 600, 500]);
    let found = corpus.same(&corpus.reader.searcher(), &corpus.knn(&corpus.queries[0], 10));
    assert_eq!(on_device(&found), 2);
    assert!(corpus.device.usage().evicted >= 1 && corpus.device.usage().bytes <= 700 * row);
}

#[test]
fn what_a_device_is_not_for_is_said() {
    let corpus = Corpus::new(VectorOptions::cosine(DIMENSION), device(always()), AnnPolicy::never());
    let corpus = corpus.with_segments(&[3000]);
    let searcher = corpus.reader.searcher();
    let why = |query: KnnQuery| reasons(&corpus.same(&searcher, &query)).join("; ");
    let query = &corpus.queries[0];
    let all = KnnQuery::within(&corpus.dense, corpus.fixture.vector.clone(), query.clone(), 0.9);
    assert!(why(all).contains("all within a similarity were asked for"));
    assert!(why(corpus.knn(query, 2500)).contains("it gives 2048 rows at most, and 2500 are wanted"));
    assert_eq!(why(corpus.knn(query, 10).on_device(false)), "", "not asked, so nothing to say");
    let found = corpus.same(&searcher, &corpus.knn(query, 10).min_similarity(0.95));
    assert_eq!(on_device(&found), 1);
    assert!(found.hits.iter().all(|hit| hit.similarity >= 0.95));

    let device = device(DeviceOptions::default());
    let corpus = Corpus::new(VectorOptions::cosine(DIMENSION), device, AnnPolicy::never()).with_segments(&[3000]);
    let searcher = corpus.reader.searcher();
    let found = corpus.same(&searcher, &corpus.knn(&corpus.queries[0], 10));
    assert!(reasons(&found)[0].contains("values are sooner compared here"), "{:?}", reasons(&found));
    // Together, queries are worth it.
    let many: Vec<&Vec<f32>> = corpus.queries.iter().cycle().take(40).collect();
    let all = corpus.knn(&corpus.queries[0], 10).run_batch(&searcher, &many).unwrap();
    assert!(all.iter().all(|found| on_device(found) == 1));
}

#[cfg(not(feature = "gpu"))]
#[test]
fn a_gpu_that_cannot_be_had_is_named_in_every_report() {
    use tantivy::query::Query;

    let gpu = tantivy_dense::Device::gpu_with(0, always());
    let why = gpu.unavailable().unwrap();
    assert!(why.contains("without the feature `gpu`"), "{why}");
    let corpus = Corpus::new(VectorOptions::cosine(DIMENSION), gpu, AnnPolicy::always("HNSW8", 100));
    let mut corpus = corpus.with_segments(&[2000, 1000]);
    let searcher = corpus.reader.searcher();
    let found = corpus.same(&searcher, &corpus.knn(&corpus.queries[0], 10));
    assert_eq!(found.segments[0].path, SearchPath::Exact);
    assert_eq!(found.segments[0].note.as_deref(), Some(format!("gpu:0 is not used: {why}").as_str()));
    let explanation = corpus.knn(&corpus.queries[0], 10).explain(&searcher, found.hits[0].address).unwrap();
    assert!(explanation.to_pretty_json().contains("gpu:0 is not used"));

    // The processor's index is used in its place.
    let segments = corpus.index.searchable_segment_ids().unwrap();
    corpus.writer.merge(&segments).wait().unwrap();
    corpus.reader.reload().unwrap();
    let found = corpus.knn(&corpus.queries[0], 10).run(&corpus.reader.searcher()).unwrap();
    assert!(matches!(found.segments[0].path, SearchPath::Index(_)), "{}", found.segments[0]);
    assert!(found.segments[0].to_string().contains("gpu:0 is not used"), "{}", found.segments[0]);
}
