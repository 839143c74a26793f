//! Inverted files on a device.

use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{KnnOutcome, SearchPath, VectorOptions};

use crate::corpus::{Corpus, DIMENSION, always, device, on_device, reasons, wait_for_blocks};

#[test]
fn inverted_files_are_searched_on_the_device_with_deletes_and_filters() {
    let policy = AnnPolicy::always("IVF16,Flat", 100).nprobe(8);
    let device = device(always().lists(true));
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
    let policy = AnnPolicy::always("IVF16,Flat", 100).nprobe(8);
    let device = device(always().lists(true).most(64).batch(4));
    let mut corpus = Corpus::new(VectorOptions::cosine(DIMENSION), device, policy).with_segments(&[1500, 1500]);
    let segments = corpus.index.searchable_segment_ids().unwrap();
    corpus.writer.merge(&segments).wait().unwrap();
    corpus.reader.reload().unwrap();
    let searcher = corpus.reader.searcher();
    let used = |found: &KnnOutcome| match &found.segments[0].path {
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
