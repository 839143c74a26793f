//! From documents to segments and back: writing, committing, merging, reloading, searching.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;

use rand::RngExt;
use support::{Fixture, assert_hits, brute_force, random, vector};
use tantivy::directory::RamDirectory;
use tantivy::indexer::{NoMergePolicy, merge_indices};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, Term};
use tantivy_dense::{Dense, DenseError, Element, KnnQuery, Metric, VectorField, VectorOptions};

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

/// Where an index can be.
enum Place {
    Ram,
    Folder(tempfile::TempDir),
}

impl Place {
    fn all() -> [Place; 2] {
        [Place::Ram, Place::Folder(tempfile::tempdir().unwrap())]
    }

    fn create(&self, dense: &Dense, fixture: &Fixture) -> Index {
        let builder = dense.index_builder().schema(fixture.schema.clone());
        match self {
            Place::Ram => builder.create_in_ram().unwrap(),
            Place::Folder(folder) => builder.create_in_dir(folder.path()).unwrap(),
        }
    }
}

#[test]
fn many_threads_commits_rollbacks_updates_and_automatic_merges() {
    for place in Place::all() {
        let fixture = Fixture::new(VectorOptions::cosine(24));
        let dense = Dense::new();
        let index = place.create(&dense, &fixture);
        let mut writer: IndexWriter = index.writer_with_num_threads(4, 60_000_000).unwrap();
        writer.set_merge_policy(Box::new(dense.merge_policy(&index).unwrap().factor(3).small(50)));
        let reader = dense.reader_builder(&index).reload_policy(ReloadPolicy::Manual).try_into().unwrap();
        let reader: IndexReader = reader;
        let mut random = random(11);
        let mut model: BTreeMap<u64, Option<Vec<f32>>> = BTreeMap::new();
        for round in 0..12_u64 {
            let mut next = model.clone();
            for step in 0..60 {
                let id = random.random_range(0..400);
                writer.delete_term(Term::from_field_u64(fixture.id, id));
                if step % 6 == 5 {
                    next.remove(&id);
                    continue;
                }
                let values = (step % 9 != 0).then(|| vector(&mut random, 24));
                writer.add_document(fixture.document(id, values.as_deref())).unwrap();
                next.insert(id, values);
            }
            if round % 4 == 2 {
                writer.rollback().unwrap();
            } else {
                writer.commit().unwrap();
                model = next;
            }
            reader.reload().unwrap();
            let searcher = reader.searcher();
            let addresses = fixture.addresses(&searcher);
            assert!(addresses.keys().eq(model.keys()), "round {round}");
            for (id, address) in addresses {
                let kept = dense.vector(&searcher, &fixture.vector, address).unwrap();
                assert_eq!(kept.is_some(), model[&id].is_some());
                for (kept, given) in kept.iter().flatten().zip(model[&id].iter().flatten()) {
                    assert!((kept - given).abs() < 1e-6, "round {round}, document {id}");
                }
            }
            let query = vector(&mut random, 24);
            let truth = brute_force(&fixture, &dense, &searcher, &query, |_| true);
            let hits = KnnQuery::new(&dense, fixture.vector.clone(), query, 20).search(&searcher).unwrap();
            assert_hits(&fixture, &searcher, &hits, &truth, 20, &format!("round {round}"));
        }
        writer.wait_merging_threads().unwrap();
        dense.verify(&index).unwrap();
        assert!(index.validate_checksum().unwrap().is_empty());
    }
}

#[test]
fn merge_indices_keeps_vectors() {
    let fixture = Fixture::new(VectorOptions::l2(8).element(Element::F16));
    let dense = Dense::new();
    let mut random = random(12);
    let vectors: Vec<Vec<f32>> = (0..120).map(|_| vector(&mut random, 8)).collect();
    let indexes: Vec<Index> = (0..3)
        .map(|part| {
            let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
            let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
            for id in part * 40..(part + 1) * 40 {
                writer.add_document(fixture.document(id, Some(&vectors[id as usize]))).unwrap();
            }
            writer.commit().unwrap();
            writer.delete_term(Term::from_field_u64(fixture.id, part * 40 + 7));
            writer.commit().unwrap();
            index
        })
        .collect();
    let merged = merge_indices(&indexes, RamDirectory::create()).unwrap();
    let searcher = dense.reader(&merged).unwrap().searcher();
    assert_eq!((searcher.num_docs(), searcher.segment_readers().len()), (117, 1));
    for (id, address) in fixture.addresses(&searcher) {
        let kept = dense.vector(&searcher, &fixture.vector, address).unwrap().unwrap();
        assert!(kept.iter().zip(&vectors[id as usize]).all(|(kept, given)| (kept - given).abs() < 1e-3));
    }
    let query = vector(&mut random, 8);
    let truth = brute_force(&fixture, &dense, &searcher, &query, |_| true);
    let hits = KnnQuery::new(&dense, fixture.vector.clone(), query, 9).search(&searcher).unwrap();
    assert_hits(&fixture, &searcher, &hits, &truth, 9, "after merge_indices");
    // It can be written to and merged further.
    let mut writer: IndexWriter = merged.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.add_document(fixture.document(500, Some(&vectors[0]))).unwrap();
    writer.commit().unwrap();
    writer.merge(&merged.searchable_segment_ids().unwrap()).wait().unwrap();
    assert_eq!(dense.reader(&merged).unwrap().searcher().num_docs(), 118);
}

#[test]
fn an_old_searcher_answers_after_its_segments_were_merged_away() {
    for place in Place::all() {
        let fixture = Fixture::new(VectorOptions::dot(6));
        let dense = Dense::new();
        let index = place.create(&dense, &fixture);
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let mut random = random(13);
        for id in 0..90 {
            writer.add_document(fixture.document(id, Some(&vector(&mut random, 6)))).unwrap();
            if id % 30 == 29 {
                writer.commit().unwrap();
            }
        }
        let reader = dense.reader(&index).unwrap();
        let old = reader.searcher();
        writer.merge(&index.searchable_segment_ids().unwrap()).wait().unwrap();
        reader.reload().unwrap();
        writer.garbage_collect_files().wait().unwrap();
        let query = vector(&mut random, 6);
        for (searcher, segments) in [(old, 3), (reader.searcher(), 1)] {
            assert_eq!(searcher.segment_readers().len(), segments);
            let truth = brute_force(&fixture, &dense, &searcher, &query, |_| true);
            let hits = KnnQuery::new(&dense, fixture.vector.clone(), query.clone(), 12).search(&searcher).unwrap();
            assert_hits(&fixture, &searcher, &hits, &truth, 12, &format!("{segments} segments"));
        }
    }
}

#[test]
fn an_index_is_found_again_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(VectorOptions::cosine(5).index("HNSW16"));
    {
        let (dense, index) = Dense::create_in_dir(folder.path(), fixture.schema.clone()).unwrap();
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.add_document(fixture.document(1, Some(&[1.0, 2.0, 3.0, 4.0, 5.0]))).unwrap();
        writer.commit().unwrap();
        drop(dense);
    }
    let (dense, index) = Dense::open(folder.path()).unwrap();
    let vector = VectorField::from_schema(&index.schema(), "vector").unwrap();
    assert_eq!(vector, fixture.vector);
    let searcher = dense.reader(&index).unwrap().searcher();
    let hits = KnnQuery::new(&dense, vector.clone(), vec![1.0, 2.0, 3.0, 4.0, 5.0], 3).search(&searcher).unwrap();
    assert_eq!(hits.len(), 1);
    assert!((hits[0].similarity - 1.0).abs() < 1e-6);
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.add_document(fixture.document(2, Some(&[5.0, 2.0, 3.0, 4.0, 1.0]))).unwrap();
    writer.commit().unwrap();
    drop(writer);
    let (dense, index) = Dense::open_or_create(folder.path(), fixture.schema.clone()).unwrap();
    assert_eq!(dense.reader(&index).unwrap().searcher().num_docs(), 2);
    // Another dimension is another schema.
    let other = Fixture::new(VectorOptions::cosine(6));
    assert!(Dense::open_or_create(folder.path(), other.schema).unwrap_err().to_string().contains("schema"));
}

#[test]
fn an_index_opened_without_the_plugin_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(VectorOptions::cosine(2));
    let (dense, index) = Dense::create_in_dir(folder.path(), fixture.schema.clone()).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.add_document(fixture.document(1, Some(&[1.0, 0.0]))).unwrap();
    writer.commit().unwrap();
    drop(writer);

    let plain = Index::open_in_dir(folder.path()).unwrap();
    let error = plain.writer_with_num_threads::<TantivyDocument>(1, 15_000_000).err().unwrap();
    let error = DenseError::from(error);
    assert!(matches!(error, DenseError::PluginMissing { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("vec") && text.contains("Dense::open(folder)"), "{text}");
    // It can be read, though, vectors included.
    let searcher = dense.reader(&plain).unwrap().searcher();
    let hits = KnnQuery::new(&dense, fixture.vector.clone(), vec![1.0, 1.0], 3).search(&searcher).unwrap();
    assert_eq!(hits.len(), 1);
}

#[test]
fn an_index_made_without_the_plugin_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(VectorOptions::cosine(2));
    let plain = Index::create_in_dir(folder.path(), fixture.schema.clone()).unwrap();
    for error in [
        Dense::open(folder.path()).unwrap_err(),
        Dense::open_or_create(folder.path(), fixture.schema.clone()).unwrap_err(),
    ] {
        assert!(matches!(error, DenseError::MadeWithoutPlugin), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("made without vectors") && text.contains("Dense::create_in_dir"), "{text}");
    }
    // Registered by hand, it is tantivy that finds out, when a writer is opened.
    let dense = Dense::new();
    let mut registered = plain;
    registered.register_plugin(dense.plugin());
    let error = registered.writer_with_num_threads::<TantivyDocument>(1, 15_000_000).err().unwrap();
    assert!(matches!(DenseError::from(error), DenseError::MadeWithoutPlugin));
    // Without the plugin, documents can be written; their vectors are lost, and a search says why.
    let plain = Index::open_in_dir(folder.path()).unwrap();
    let mut writer: IndexWriter = plain.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.add_document(fixture.document(1, Some(&[1.0, 0.0]))).unwrap();
    writer.commit().unwrap();
    let searcher = plain.reader().unwrap().searcher();
    let error = KnnQuery::new(&dense, fixture.vector.clone(), vec![1.0, 1.0], 3).search(&searcher).unwrap_err();
    assert!(matches!(error, DenseError::NoRows { .. }), "{error:?}");
    assert!(error.to_string().contains("written without the plugin"), "{error}");
    let twice = dense.index_builder().register_plugin(dense.plugin()).schema(fixture.schema.clone());
    let twice = twice.create_in_ram().unwrap();
    let error = twice.writer_with_num_threads::<TantivyDocument>(1, 15_000_000).err().unwrap();
    assert!(matches!(DenseError::from(error), DenseError::PluginConflict { .. }));
}

#[test]
fn a_field_of_another_index_is_refused() {
    let fixture = Fixture::new(VectorOptions::cosine(2));
    let dense = Dense::new();
    let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.add_document(fixture.document(1, Some(&[1.0, 0.0]))).unwrap();
    writer.commit().unwrap();
    let searcher = dense.reader(&index).unwrap().searcher();
    let other = Fixture::new(VectorOptions::l2(2));
    let error = KnnQuery::new(&dense, other.vector, vec![1.0, 1.0], 3).search(&searcher).unwrap_err();
    assert!(matches!(error, DenseError::ForeignField { .. }), "{error:?}");
}
