//! Searching on a device, with the processor in its place: the same answers as an exact search, to the last bit, whatever
//! is deleted, filtered, merged and reloaded, and a reason where the device was not used.
//!
//! DENSE_TEST_DEVICE=gpu:0 runs the same tests on a GPU, in a build with the feature `gpu`.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]
#![cfg(feature = "faiss")]

mod support;

use std::time::Duration;

use proptest::prelude::*;
use rand::RngExt;
use support::{Fixture, assert_hits, brute_force, clustered, random, vector};
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::{Field, INDEXED, IndexRecordOption};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, Term};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{
    Dense, DenseOptions, Device, DeviceOptions, Element, Found, KnnQuery, Metric, SearchPath, VectorOptions,
};

const DIMENSION: usize = 16;

struct Corpus {
    fixture: Fixture,
    /// Holds 2 for documents in one half, 10 in a tenth, and so on.
    class: Field,
    device: Device,
    dense: Dense,
    index: Index,
    writer: IndexWriter,
    reader: IndexReader,
    values: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
}

/// For every search, however small.
fn always() -> DeviceOptions {
    DeviceOptions::default().least_values(0)
}

/// The processor, or what DENSE_TEST_DEVICE names.
fn device(options: DeviceOptions) -> Device {
    let name = std::env::var("DENSE_TEST_DEVICE").unwrap_or_else(|_| "host".to_owned());
    let device = Device::named(&name, options).unwrap();
    assert_eq!(device.unavailable(), None);
    device
}

impl Corpus {
    fn new(options: VectorOptions, device: Device, policy: AnnPolicy) -> Corpus {
        let mut class = None;
        let fixture = Fixture::with(options, |schema| class = Some(schema.add_u64_field("class", INDEXED)));
        let dense = Dense::with_options(DenseOptions::default().device(device.clone()).ann(policy));
        let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
        let writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.set_merge_policy(Box::new(NoMergePolicy));
        // The first operation of a writer must be no deletion.
        writer.run([]).unwrap();
        let reader = dense.reader_builder(&index).reload_policy(ReloadPolicy::Manual).try_into().unwrap();
        let (values, queries) = (Vec::new(), Vec::new());
        Corpus { fixture, class: class.unwrap(), device, dense, index, writer, reader, values, queries }
    }

    /// Each in a segment of its own; every eleventh document has no vector.
    fn with_segments(mut self, sizes: &[usize]) -> Corpus {
        let total: usize = sizes.iter().sum();
        self.values = clustered(&mut random(1), total + 10, self.fixture.vector.options().dimension());
        self.queries = self.values.split_off(total);
        let mut id = 0;
        for &size in sizes {
            for _ in 0..size {
                self.add(id);
                id += 1;
            }
            self.writer.commit().unwrap();
        }
        self.reader.reload().unwrap();
        self
    }

    fn add(&self, id: u64) {
        let values = &self.values[id as usize % self.values.len()];
        let mut document = self.fixture.document(id, (!id.is_multiple_of(11)).then_some(values));
        for divisor in [2, 10, 100, 1000] {
            if id % divisor == 1 {
                document.add_u64(self.class, divisor);
            }
        }
        self.writer.add_document(document).unwrap();
    }

    fn delete(&self, id: u64) {
        self.writer.delete_term(Term::from_field_u64(self.fixture.id, id));
    }

    fn knn(&self, query: &[f32], k: usize) -> KnnQuery {
        KnnQuery::new(&self.dense, self.fixture.vector.clone(), query.to_vec(), k)
    }

    fn in_class(&self, divisor: u64) -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_u64(self.class, divisor), IndexRecordOption::Basic))
    }

    /// The query's answer, which must be that of the exact search on the processor to the last bit.
    fn same(&self, searcher: &Searcher, query: &KnnQuery) -> Found {
        let found = query.run(searcher).unwrap();
        let exact = query.clone().exact().on_device(false).run(searcher).unwrap();
        assert_eq!(found.hits, exact.hits, "{query:?}");
        let bits = |found: &Found| found.hits.iter().map(|hit| hit.similarity.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&exact), "{query:?}");
        found
    }
}

fn on_device(found: &Found) -> usize {
    found.segments.iter().filter(|segment| matches!(segment.path, SearchPath::ExactOnDevice(_))).count()
}

/// Waits until so many blocks are on the device: tantivy looks once a second for searchers that are gone.
fn wait_for_blocks(device: &Device, blocks: usize) {
    let begun = std::time::Instant::now();
    while device.usage().blocks != blocks {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?} instead of {blocks} blocks", device.usage());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Why the device was not used, for each segment that it was not used for.
fn reasons(found: &Found) -> Vec<String> {
    found.segments.iter().filter_map(|segment| segment.note.clone()).collect()
}

fn all_options() -> Vec<VectorOptions> {
    vec![
        VectorOptions::cosine(DIMENSION),
        VectorOptions::l2(DIMENSION),
        VectorOptions::dot(DIMENSION),
        VectorOptions::cosine(DIMENSION).int8_first_pass(true),
        VectorOptions::cosine(DIMENSION).element(Element::F16),
        VectorOptions::l2(DIMENSION).element(Element::F16),
        VectorOptions::dot(DIMENSION).element(Element::Int8),
        VectorOptions::l2(DIMENSION).element(Element::Int8),
    ]
}

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
        let device = self::device(always());
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
    let device = self::device(always().memory_bytes(700 * row));
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
    let device = self::device(always().memory_bytes(700 * row).keep(Duration::ZERO));
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

    let device = self::device(DeviceOptions::default());
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
    let gpu = Device::gpu_with(0, always());
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

#[test]
fn inverted_files_are_searched_on_the_device_with_deletes_and_filters() {
    let policy = AnnPolicy { nprobe: Some(8), ..AnnPolicy::always("IVF16,Flat", 100) };
    let device = self::device(always().lists(true));
    let corpus = Corpus::new(VectorOptions::cosine(DIMENSION), device, policy).with_segments(&[1500, 1500]);
    for id in (0..3000).filter(|id| id % 5 == 2) {
        corpus.delete(id);
    }
    let mut corpus = corpus;
    corpus.writer.commit().unwrap();
    let segments = corpus.index.searchable_segment_ids().unwrap();
    corpus.writer.merge(&segments).wait().unwrap();
    for id in (0..3000).filter(|id| id % 7 == 2) {
        corpus.delete(id);
    }
    corpus.writer.commit().unwrap();
    corpus.reader.reload().unwrap();
    let searcher = corpus.reader.searcher();
    for filter in [None, Some(2), Some(10)] {
        let mut recall = 0;
        for query in &corpus.queries {
            let knn = corpus.knn(query, 10);
            let knn = filter.map_or(knn.clone(), |divisor| knn.filter(corpus.in_class(divisor)));
            let found = knn.run(&searcher).unwrap();
            let SearchPath::Index(how) = &found.segments[0].path else { panic!("{}", found.segments[0]) };
            assert_eq!((how.device.as_deref(), found.segments[0].note.as_ref()), (Some(corpus.device.name()), None));
            let exact = knn.clone().exact().on_device(false).search(&searcher).unwrap();
            assert_eq!(found.hits.len(), exact.len());
            for hit in &found.hits {
                let similarity = knn.similarities(&searcher, &[hit.address]).unwrap()[0];
                assert_eq!(similarity, Some(hit.similarity));
            }
            recall += exact.iter().filter(|hit| found.hits.contains(hit)).count();
            // Asked to be exact, it is.
            assert_eq!(on_device(&corpus.same(&searcher, &knn.exact())), 1);
        }
        assert!(recall >= 90, "{recall} of 100, {filter:?}");
    }
    // The rows of two segments, and both the rows and the lists of that which they were merged to.
    assert_eq!(corpus.device.usage().copied, 4);
    wait_for_blocks(&corpus.device, 2);
}

#[test]
fn lists_that_cannot_give_enough_are_searched_on_the_processor() {
    let policy = AnnPolicy { nprobe: Some(8), ..AnnPolicy::always("IVF16,Flat", 100) };
    let device = self::device(always().lists(true).most(64).batch(4));
    let mut corpus = Corpus::new(VectorOptions::cosine(DIMENSION), device, policy).with_segments(&[1500, 1500]);
    let segments = corpus.index.searchable_segment_ids().unwrap();
    corpus.writer.merge(&segments).wait().unwrap();
    corpus.reader.reload().unwrap();
    let searcher = corpus.reader.searcher();
    let used = |found: &Found| match &found.segments[0].path {
        SearchPath::Index(how) => how.device.clone(),
        _ => panic!("{}", found.segments[0]),
    };
    let query = &corpus.queries[0];
    let in_a_tenth = corpus.knn(query, 10).filter(corpus.in_class(10));
    for (knn, why) in [(corpus.knn(query, 100), "most, and 100 are wanted"), (in_a_tenth, "most, of which")] {
        let found = knn.run(&searcher).unwrap();
        assert_eq!(used(&found), None);
        assert!(reasons(&found)[0].contains(&format!("it gives 64 rows at {why}")), "{}", found.segments[0]);
    }
    // What it can give it does, no more queries in a call than a batch holds.
    let before = corpus.device.usage();
    let all = corpus.knn(query, 10).run_batch(&searcher, &corpus.queries).unwrap();
    assert!(all.iter().all(|found| used(found).is_some()));
    let usage = corpus.device.usage();
    assert!(usage.calls - before.calls >= 3 && usage.queries - before.queries >= 10, "{usage:?}");
}

#[test]
fn no_call_has_more_queries_than_a_batch() {
    let device = self::device(always().batch(4));
    let corpus = Corpus::new(VectorOptions::cosine(DIMENSION), device, AnnPolicy::never()).with_segments(&[3000]);
    let searcher = corpus.reader.searcher();
    let knn = corpus.knn(&corpus.queries[0], 10);
    let all = knn.run_batch(&searcher, &corpus.queries).unwrap();
    let exact = knn.exact().on_device(false).run_batch(&searcher, &corpus.queries).unwrap();
    assert_eq!(all.len(), 10);
    for (found, exact) in all.iter().zip(&exact) {
        let SearchPath::ExactOnDevice(how) = &found.segments[0].path else { panic!("{}", found.segments[0]) };
        assert!(how.batch <= 4, "{how:?}");
        assert_eq!(found.hits, exact.hits);
    }
    assert!(corpus.device.usage().calls >= 3, "{:?}", corpus.device.usage());
}

#[test]
fn many_threads_search_while_documents_come_and_go() {
    let corpus = Corpus::new(VectorOptions::l2(DIMENSION), device(always()), AnnPolicy::never());
    let mut corpus = corpus.with_segments(&[2000, 1000]);
    let done = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    let mut writer = std::mem::replace(&mut corpus.writer, other_writer());
    std::thread::scope(|scope| {
        let (corpus, done) = (&corpus, &done);
        let searching: Vec<_> = (0..6)
            .map(|thread| {
                scope.spawn(move || {
                    let (mut random, mut searches) = (random(thread), 0);
                    while searches < 30 || !done.load(ordering) {
                        let searcher = corpus.reader.searcher();
                        let query = vector(&mut random, DIMENSION);
                        let knn = corpus.knn(&query, random.random_range(1..40));
                        let knn = if random.random() { knn } else { knn.filter(corpus.in_class(2)) };
                        corpus.same(&searcher, &knn);
                        searches += 1;
                    }
                    searches
                })
            })
            .collect();
        for round in 0..12_u64 {
            for id in 0..40 {
                let values = &corpus.values[(round * 40 + id) as usize];
                writer.add_document(corpus.fixture.document(10_000 + round * 40 + id, Some(values))).unwrap();
                writer.delete_term(Term::from_field_u64(corpus.fixture.id, round * 40 + id));
            }
            writer.commit().unwrap();
            if round % 3 == 2 {
                let segments = corpus.index.searchable_segment_ids().unwrap();
                writer.merge(&segments).wait().unwrap();
            }
            corpus.reader.reload().unwrap();
        }
        done.store(true, ordering);
        assert!(searching.into_iter().all(|thread| thread.join().unwrap() >= 30));
    });
    let usage = corpus.device.usage();
    assert_eq!((usage.failed, usage.waiting), (0, 0));
    assert!(usage.queries >= 180 && usage.calls <= usage.queries, "{usage:?}");
}

/// A writer of an index that nobody looks at.
fn other_writer() -> IndexWriter {
    Index::create_in_ram(tantivy::schema::Schema::builder().build()).writer_with_num_threads(1, 15_000_000).unwrap()
}

#[test]
fn several_indexes_share_a_device() {
    let device = self::device(always());
    let corpora: Vec<Corpus> = all_options()
        .into_iter()
        .take(3)
        .map(|options| Corpus::new(options, device.clone(), AnnPolicy::never()).with_segments(&[500]))
        .collect();
    for corpus in &corpora {
        corpus.same(&corpus.reader.searcher(), &corpus.knn(&corpus.queries[0], 10));
    }
    assert_eq!((device.usage().blocks, device.usage().copied), (3, 3));
    drop(corpora);
    let corpus = Corpus::new(VectorOptions::cosine(DIMENSION), device.clone(), AnnPolicy::never());
    let corpus = corpus.with_segments(&[100]);
    corpus.same(&corpus.reader.searcher(), &corpus.knn(&corpus.queries[0], 10));
    assert_eq!(device.usage().copied, 4);
    // An index that is closed leaves nothing.
    wait_for_blocks(&device, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the rows, the deletes, the filter and the device's limits: the answer is the exact one, and that of plain
    /// arithmetic.
    #[test]
    fn any_search_on_a_device_is_exact(
        seed in 0_u64..1000,
        kind in 0_usize..8,
        sizes in prop::collection::vec(1_usize..400, 1..4),
        most in prop::sample::select(vec![32_usize, 64, 256, 2048]),
        deleted in 0.0_f64..0.9,
        matching in prop::option::of(prop::sample::select(vec![2_u64, 10, 100])),
        k in 1_usize..60,
        copies in prop::bool::ANY,
        scale in prop::sample::select(vec![1.0_f32, 1e-3, 1e3]),
    ) {
        let device = self::device(always().most(most));
        let options = all_options().swap_remove(kind);
        let corpus = Corpus::new(options, device, AnnPolicy::never());
        let mut random = random(seed);
        let mut corpus = corpus.with_segments(&sizes);
        for values in &mut corpus.values {
            values.iter_mut().for_each(|value| *value *= scale);
        }
        // Once more, so that there are equal rows, in another segment.
        let total = corpus.values.len() as u64;
        if copies {
            (0..total / 2).for_each(|id| corpus.add(total + id));
            corpus.writer.commit().unwrap();
        }
        (0..total).filter(|_| random.random_bool(deleted)).for_each(|id| corpus.delete(id));
        corpus.writer.commit().unwrap();
        corpus.reader.reload().unwrap();
        let searcher = corpus.reader.searcher();
        for _ in 0..3 {
            let mut query = vector(&mut random, DIMENSION);
            query.iter_mut().for_each(|value| *value *= scale);
            let knn = corpus.knn(&query, k);
            let knn = matching.map_or(knn.clone(), |divisor| knn.filter(corpus.in_class(divisor)));
            let found = corpus.same(&searcher, &knn);
            let used = found.segments.iter().filter(|segment| segment.note.is_none()).count();
            let empty = found.segments.iter().filter(|segment| segment.path == SearchPath::Nothing).count();
            prop_assert_eq!(used, on_device(&found) + empty, "on the device, or a reason");
            if scale == 1.0 || corpus.fixture.vector.options().metric() == Metric::Cosine {
                let matches = |id: u64| matching.is_none_or(|divisor| id % divisor == 1);
                let truth = brute_force(&corpus.fixture, &corpus.dense, &searcher, &query, matches);
                assert_hits(&corpus.fixture, &searcher, &found.hits, &truth, k, "any search");
            }
        }
        let many: Vec<Vec<f32>> = (0..20).map(|_| vector(&mut random, DIMENSION)).collect();
        let knn = corpus.knn(&many[0], k);
        let together = knn.search_batch(&searcher, &many).unwrap();
        let exact = knn.exact().on_device(false).search_batch(&searcher, &many).unwrap();
        prop_assert_eq!(together, exact);
    }
}
