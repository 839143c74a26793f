//! Many queries, threads and indexes at one device.

use rand::RngExt;
use tantivy::{Index, IndexWriter, Term};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{SearchPath, VectorOptions};

use crate::corpus::{Corpus, DIMENSION, all_options, always, device, wait_for_blocks};
use crate::support::{random, vector};

#[test]
fn no_call_has_more_queries_than_a_batch() {
    let device = device(always().batch(4));
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
    let device = device(always());
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
