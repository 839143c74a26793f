//! Builds of approximate indexes beside an index in use.
#![cfg(feature = "faiss")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tantivy::indexer::NoMergePolicy;
use tantivy::schema::Schema;
use tantivy::{Index, IndexWriter, TantivyDocument};

use super::build::Turn;
use crate::ann::AnnPolicy;
use crate::lock::lock;
use crate::{Dense, DenseOptions, KnnQuery, SearchPath, VectorField, VectorOptions};

/// These tests hold the one turn that there is.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

struct World {
    vector: VectorField,
    dense: Dense,
    index: Index,
    writer: IndexWriter,
    next: u32,
}

fn world(policy: AnnPolicy, dimension: usize) -> World {
    let mut schema = Schema::builder();
    let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::l2(dimension)).unwrap();
    let dense = Dense::with_options(DenseOptions::default().ann(policy));
    let index = dense.index_builder().schema(schema.build()).create_in_ram().unwrap();
    let writer = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    World { vector, dense, index, writer, next: 0 }
}

impl World {
    fn add(&mut self, documents: u32) {
        let dimension = self.vector.options().dimension();
        for _ in 0..documents {
            // Far from regular, and the same in every run.
            let values = (0..dimension as u32).map(|at| ((self.next * 7919 + at * 104_729) % 1013) as f32 / 1013.0);
            let mut document = TantivyDocument::new();
            self.vector.add(&mut document, &values.collect::<Vec<f32>>()).unwrap();
            self.writer.add_document(document).unwrap();
            self.next += 1;
        }
        self.writer.commit().unwrap();
    }

    fn is_indexed(&self) -> bool {
        let searcher = self.dense.reader(&self.index).unwrap().searcher();
        let vector = vec![0.5; self.vector.options().dimension()];
        let found = KnnQuery::new(&self.dense, self.vector.clone(), vector, 5).run(&searcher).unwrap();
        assert_eq!(found.hits.len(), 5);
        found.segments.iter().any(|segment| matches!(segment.path, SearchPath::Index(_)))
    }
}

#[test]
fn commits_and_searches_go_on_while_an_index_waits_to_be_built() {
    let _alone = lock(&ONE_AT_A_TIME);
    let mut world = world(AnnPolicy::always("HNSW8", 100), 8);
    world.add(200);
    world.add(200);
    let ids = world.index.searchable_segment_ids().unwrap();
    // As long as this is held, the merge's build cannot begin: it is as slow as can be.
    let turn = Turn::wait(&AtomicBool::new(false)).unwrap();
    let merge = world.writer.merge(&ids);
    for round in 0..10 {
        world.add(10);
        let searcher = world.dense.reader(&world.index).unwrap().searcher();
        assert_eq!(searcher.num_docs(), 410 + 10 * round);
        assert_eq!(searcher.segment_readers().len(), 3 + round as usize, "the merge is not done");
        assert!(!world.is_indexed());
    }
    drop(turn);
    merge.wait().unwrap();
    assert!(world.is_indexed());
    let searcher = world.dense.reader(&world.index).unwrap().searcher();
    assert_eq!((searcher.num_docs(), searcher.segment_readers().len()), (500, 11));
}

#[test]
fn cancelling_ends_a_merge_that_waits_and_one_that_builds() {
    let _alone = lock(&ONE_AT_A_TIME);
    // A build of some seconds at least: every row is compared with every other, more than once.
    let policy = AnnPolicy { ef_construction: 20_000, threads: 1, ..AnnPolicy::always("HNSW64", 100) };
    let mut world = world(policy, 64);
    world.add(4_000);
    world.add(4_000);
    let ids = world.index.searchable_segment_ids().unwrap();
    for waits in [true, false] {
        let turn = waits.then(|| Turn::wait(&AtomicBool::new(false)).unwrap());
        let merge = world.writer.merge(&ids);
        if !waits {
            // Until the build has its turn.
            let begun = Instant::now();
            while !super::build::is_busy() {
                assert!(begun.elapsed() < Duration::from_secs(120), "the build does not begin");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        world.dense.cancel();
        let error = merge.wait().unwrap_err();
        assert!(error.to_string().contains("stopped on request"), "{error}");
        drop(turn);
        world.dense.resume();
        assert_eq!(world.index.searchable_segment_ids().unwrap().len(), 2, "the sources stay");
        assert!(!world.is_indexed());
    }
    // What was left behind is collected, and nothing else.
    world.writer.garbage_collect_files().wait().unwrap();
    assert!(world.index.validate_checksum().unwrap().is_empty());
    world.dense.verify(&world.index).unwrap();
}

#[test]
fn turns_are_taken_one_after_another() {
    let _alone = lock(&ONE_AT_A_TIME);
    let inside = AtomicBool::new(false);
    let go_on = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let turn = Turn::wait(&go_on).unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two at once");
                    std::thread::yield_now();
                    inside.store(false, Ordering::SeqCst);
                    drop(turn);
                }
            });
        }
    });
}
