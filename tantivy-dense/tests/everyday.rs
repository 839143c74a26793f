//! What a program does with an index day by day: opens it with its schema, writes, changes documents, warms its readers.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tantivy::collector::{Count, TopDocs};
use tantivy::query::{AllQuery, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, STORED, STRING, Schema, SchemaBuilder, TEXT, Value};
use tantivy::{
    DocAddress, Index, IndexReader, IndexWriter, Searcher, SearcherGeneration, TantivyDocument, Term, Warmer,
};
use tantivy_dense::{Dense, DenseError, Element, KnnQuery, Metric, VectorField, VectorOptions};

fn schema(options: VectorOptions) -> (Field, VectorField, Schema) {
    let mut schema = Schema::builder();
    let id = schema.add_text_field("id", STRING | STORED);
    let vector = VectorField::add_to(&mut schema, "vector", options).unwrap();
    (id, vector, schema.build())
}

fn document(id: Field, name: &str, vector: &VectorField, values: &[f32]) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_text(id, name);
    vector.add(&mut document, values).unwrap();
    document
}

#[test]
fn another_schema_is_refused_by_field_and_difference() {
    let folder = tempfile::tempdir().unwrap();
    let given = |more: &dyn Fn(&mut SchemaBuilder)| {
        let mut schema = Schema::builder();
        schema.add_text_field("title", TEXT | STORED);
        more(&mut schema);
        schema.build()
    };
    let vector = |schema: &mut SchemaBuilder, options: VectorOptions| {
        VectorField::add_to(schema, "vector", options).unwrap();
    };
    let here = given(&|schema| vector(schema, VectorOptions::cosine(128)));
    Dense::open_or_create(folder.path(), here.clone()).unwrap();
    Dense::open_or_create(folder.path(), here).unwrap();
    let cases: [(Schema, &[&str]); 9] = [
        (given(&|schema| vector(schema, VectorOptions::cosine(64))), &["`vector` has dimension 128", "64"]),
        (given(&|schema| vector(schema, VectorOptions::dot(128))), &["`vector` has metric cosine", "dot"]),
        (
            given(&|schema| vector(schema, VectorOptions::new(Metric::L2, 64).element(Element::F16))),
            &["dimension 128 in the index and 64", "element f32", "f16", "metric cosine", "l2"],
        ),
        (
            given(&|schema| vector(schema, VectorOptions::cosine(128).int8_first_pass(true))),
            &["int8_first_pass false", "true"],
        ),
        (given(&|schema| vector(schema, VectorOptions::cosine(128).index("none"))), &["index not set", "none"]),
        (given(&|_| ()), &["`vector` is in the index, and not in the schema"]),
        (
            given(&|schema| {
                vector(schema, VectorOptions::cosine(128));
                schema.add_u64_field("price", STORED);
            }),
            &["`price` is not in the index"],
        ),
        (
            {
                let mut schema = Schema::builder();
                schema.add_text_field("title", TEXT);
                vector(&mut schema, VectorOptions::cosine(128));
                schema.build()
            },
            &["`title` has stored true", "false"],
        ),
        (
            {
                let mut schema = Schema::builder();
                vector(&mut schema, VectorOptions::cosine(128));
                schema.add_text_field("title", TEXT | STORED);
                schema.build()
            },
            &["number 1 in the index and number 0", "same order"],
        ),
    ];
    for (other, said) in cases {
        let Err(error) = Dense::open_or_create(folder.path(), other) else { panic!("opened: {said:?}") };
        assert!(matches!(error, DenseError::OtherSchema { .. }), "{error:?}");
        let error = error.to_string();
        assert!(said.iter().all(|said| error.contains(said)), "{error} does not say {said:?}");
    }
}

/// By whichever way it was opened, at the latest when something is to be read or written.
#[test]
fn an_index_made_without_the_plugin_is_refused_before_a_vector_is_lost() {
    let (_, _, schema) = schema(VectorOptions::cosine(2));
    let folder = tempfile::tempdir().unwrap();
    drop(Index::create_in_dir(folder.path(), schema.clone()).unwrap());
    let without = |error: DenseError| assert!(matches!(error, DenseError::MadeWithoutPlugin), "{error}");
    without(Dense::open(folder.path()).map(|_| ()).unwrap_err());
    without(Dense::open_or_create(folder.path(), schema.clone()).map(|_| ()).unwrap_err());
    let dense = Dense::new();
    let directory = tantivy::directory::MmapDirectory::open(folder.path()).unwrap();
    let index = dense.index_builder().schema(schema).open_or_create(directory).unwrap();
    without(dense.reader(&index).map(|_| ()).unwrap_err());
    without(dense.writer(&index, 15_000_000).map(|_| ()).unwrap_err());
    // A program that never registers it, and a writer that it has already.
    let plain = Index::open_in_dir(folder.path()).unwrap();
    without(dense.reader(&plain).map(|_| ()).unwrap_err());
    let writer: IndexWriter = plain.writer(15_000_000).unwrap();
    without(dense.prepare(&writer).unwrap_err());
}

#[test]
fn a_document_that_is_read_and_changed_keeps_its_vectors() {
    for element in [Element::F32, Element::F16, Element::Int8] {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let mut builder = Schema::builder();
            let id = builder.add_text_field("id", STRING | STORED);
            let price = builder.add_u64_field("price", STORED);
            let one = VectorField::add_to(&mut builder, "one", VectorOptions::new(metric, 3).element(element)).unwrap();
            let two = VectorField::add_to(&mut builder, "two", VectorOptions::cosine(2)).unwrap();
            let dense = Dense::new();
            let index = dense.index_builder().schema(builder.build()).create_in_ram().unwrap();
            let mut writer = dense.writer(&index, 15_000_000).unwrap();
            let mut first = document(id, "kettle", &one, &[0.5, -2.0, 1.25]);
            two.add(&mut first, &[0.6, 0.8]).unwrap();
            writer.add_document(first).unwrap();
            writer.add_document(document(id, "pot", &one, &[1.0, 1.0, 1.0])).unwrap();
            writer.commit().unwrap();
            let reader = dense.reader(&index).unwrap();
            let find = |searcher: &Searcher, name: &str| {
                let query = TermQuery::new(Term::from_field_text(id, name), IndexRecordOption::Basic);
                searcher.search(&query, &TopDocs::with_limit(2).order_by_score()).unwrap()[0].1
            };
            let searcher = reader.searcher();
            for name in ["kettle", "pot"] {
                let mut changed = dense.document(&searcher, find(&searcher, name)).unwrap();
                assert_eq!(changed.get_first(id).unwrap().as_str(), Some(name));
                changed.add_u64(price, 7);
                writer.delete_term(Term::from_field_text(id, name));
                writer.add_document(changed).unwrap();
            }
            writer.commit().unwrap();
            reader.reload().unwrap();
            let after = reader.searcher();
            for name in ["kettle", "pot"] {
                let (old, new) = (find(&searcher, name), find(&after, name));
                let stored: TantivyDocument = after.doc(new).unwrap();
                assert_eq!(stored.get_first(price).unwrap().as_u64(), Some(7));
                for field in [&one, &two] {
                    let before = dense.vector(&searcher, field, old).unwrap();
                    let now = dense.vector(&after, field, new).unwrap();
                    assert_eq!(before.is_some(), now.is_some());
                    for (before, now) in before.iter().flatten().zip(now.iter().flatten()) {
                        assert!(
                            (before - now).abs() <= 1e-6 * before.abs().max(1.0),
                            "{element} {metric}: {before} {now}"
                        );
                    }
                }
            }
            assert!(dense.document(&after, DocAddress::new(9, 0)).is_err());
        }
    }
}

/// Counts what it is shown, and searches by vector when it is: everything is open by then.
struct Own {
    dense: Dense,
    vector: VectorField,
    warmed: AtomicUsize,
}

impl Warmer for Own {
    fn warm(&self, searcher: &Searcher) -> tantivy::Result<()> {
        let query = KnnQuery::new(&self.dense, self.vector.clone(), vec![1.0, 0.0], 10);
        self.warmed.fetch_add(query.search(searcher)?.len(), Ordering::SeqCst);
        Ok(())
    }

    fn garbage_collect(&self, _: &[&SearcherGeneration]) {}
}

#[test]
fn own_warmers_stand_beside_ours() {
    let (id, vector, schema) = schema(VectorOptions::cosine(2));
    let folder = tempfile::tempdir().unwrap();
    let (dense, index) = Dense::create_in_dir(folder.path(), schema).unwrap();
    let mut writer = dense.writer(&index, 15_000_000).unwrap();
    let own = Arc::new(Own { dense: dense.clone(), vector: vector.clone(), warmed: AtomicUsize::new(0) });
    let theirs: Arc<dyn Warmer> = own.clone();
    let reader: IndexReader =
        dense.reader_builder(&index).warmers(vec![dense.warmer(), Arc::downgrade(&theirs)]).try_into().unwrap();
    for number in 0..4 {
        writer.add_document(document(id, &number.to_string(), &vector, &[1.0, number as f32])).unwrap();
        writer.commit().unwrap();
        reader.reload().unwrap();
    }
    assert!(own.warmed.load(Ordering::SeqCst) >= 4);
    // A searcher whose vectors are open outlives the files of its segments.
    let searcher = reader.searcher();
    let segments = index.searchable_segment_ids().unwrap();
    writer.merge(&segments).wait().unwrap();
    writer.garbage_collect_files().wait().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if segments.iter().any(|segment| segment.uuid_string() == name) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let found = KnnQuery::new(&dense, vector, vec![1.0, 0.0], 10).search(&searcher).unwrap();
    assert_eq!(found.len(), 4);
}

/// tantivy stamps a writer's first operation like the last commit. Deletions that come first, with a merge under way, then a rollback:
/// what was not committed is not there, what was is.
#[test]
fn a_writer_of_ours_applies_a_first_deletion_when_it_is_committed() {
    let (id, vector, schema) = schema(VectorOptions::cosine(2));
    let dense = Dense::new();
    let index = dense.index_builder().schema(schema).create_in_ram().unwrap();
    let count = |index: &Index| dense.reader(index).unwrap().searcher().search(&AllQuery, &Count).unwrap();
    {
        let mut writer = dense.writer(&index, 15_000_000).unwrap();
        assert!(format!("{:?}", writer.get_merge_policy()).contains("DenseMergePolicy"));
        for number in 0..4 {
            writer.add_document(document(id, &number.to_string(), &vector, &[1.0, number as f32])).unwrap();
            writer.commit().unwrap();
        }
    }
    let mut writer = dense.writer(&index, 15_000_000).unwrap();
    for _ in 0..2 {
        // The very first operation, and a merge before any commit of it.
        writer.delete_term(Term::from_field_text(id, "1"));
        writer.merge(&index.searchable_segment_ids().unwrap()).wait().unwrap();
        assert_eq!(count(&index), 4, "a deletion was applied before it was committed");
        dense.rollback(&mut writer).unwrap();
        assert!(format!("{:?}", writer.get_merge_policy()).contains("DenseMergePolicy"));
        assert_eq!(count(&index), 4);
    }
    writer.delete_term(Term::from_field_text(id, "1"));
    writer.commit().unwrap();
    assert_eq!(count(&index), 3, "a deletion was lost");
}

/// A file of deletions that a killed commit left bears the name that the same commit, done again, wants.
#[test]
fn a_writer_of_ours_can_do_again_what_was_killed() {
    let (id, vector, schema) = schema(VectorOptions::cosine(2));
    let folder = tempfile::tempdir().unwrap();
    let (dense, index) = Dense::create_in_dir(folder.path(), schema).unwrap();
    let mut writer = dense.writer(&index, 15_000_000).unwrap();
    for number in 0..3 {
        writer.add_document(document(id, &number.to_string(), &vector, &[1.0, number as f32])).unwrap();
    }
    writer.commit().unwrap();
    drop(writer);
    let meta = std::fs::read(folder.path().join("meta.json")).unwrap();
    for _ in 0..2 {
        let index = dense.open_index(tantivy::directory::MmapDirectory::open(folder.path()).unwrap()).unwrap();
        let mut writer = dense.writer(&index, 15_000_000).unwrap();
        writer.delete_term(Term::from_field_text(id, "1"));
        writer.commit().unwrap();
        drop(writer);
        // As if it had been killed before the last step: the files are there, the list of segments is the one before.
        std::fs::write(folder.path().join("meta.json"), &meta).unwrap();
    }
}
