//! The embedding writer: tantivy's meaning of add, commit, rollback and delete, with vectors made on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adam_plugin::{Embedding, EmbeddingWriter, Failure, HashFields, OnFailure, PluginError, WriterSettings};
use common::Words;
use tantivy::collector::DocSetCollector;
use tantivy::directory::Directory;
use tantivy::query::{AllQuery, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, STORED, STRING, Schema, TEXT, Value};
use tantivy::{Index, TantivyDocument, Term};
use tantivy_dense::{Dense, VectorField, VectorOptions};

struct World {
    dense: Dense,
    index: Index,
    id: Field,
    body: Field,
    note: Field,
    vector: VectorField,
    model: Arc<Words>,
}

impl World {
    fn new() -> Self {
        let model = Arc::new(Words::new());
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        let body = schema.add_text_field("body", TEXT | STORED);
        let note = schema.add_text_field("note", STRING | STORED);
        let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(48)).unwrap();
        HashFields::add_to(&mut schema);
        let dense = Dense::new();
        let index = dense.index_builder().schema(schema.build()).create_in_ram().unwrap();
        Self { dense, index, id, body, note, vector, model }
    }

    fn writer(&self, settings: WriterSettings) -> EmbeddingWriter {
        self.writer_of(self.model.clone(), settings).unwrap()
    }

    fn writer_of(&self, model: Arc<Words>, settings: WriterSettings) -> Result<EmbeddingWriter, PluginError> {
        let embedding = Embedding::new(self.vector.clone(), "{body}".parse().unwrap());
        let writer = self.index.writer_with_num_threads(1, 15_000_000).unwrap();
        EmbeddingWriter::new(&self.dense, writer, model, vec![embedding], settings.key("id"))
    }

    fn document(&self, id: &str, body: &str) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_text(self.id, id);
        document.add_text(self.body, body);
        document
    }

    /// Ids, texts and vectors that a new reader sees, by id.
    fn seen(&self) -> Vec<(String, String, Option<Vec<f32>>)> {
        let searcher = self.dense.reader(&self.index).unwrap().searcher();
        let mut seen: Vec<_> = searcher
            .search(&AllQuery, &DocSetCollector)
            .unwrap()
            .into_iter()
            .map(|address| {
                let document: TantivyDocument = searcher.doc(address).unwrap();
                let text = |field| document.get_first(field).unwrap().as_str().unwrap().to_owned();
                (text(self.id), text(self.body), self.dense.vector(&searcher, &self.vector, address).unwrap())
            })
            .collect();
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        seen
    }

    fn ids(&self) -> Vec<String> {
        self.seen().into_iter().map(|(id, _, _)| id).collect()
    }

    fn key(&self, id: &str) -> Term {
        Term::from_field_text(self.id, id)
    }
}

#[test]
fn vectors_are_those_of_the_texts() {
    let world = World::new();
    let mut writer = world.writer(WriterSettings::default().batch(3));
    for number in 0..10 {
        writer.add_document(world.document(&number.to_string(), &format!("crow number {number}"))).unwrap();
    }
    assert!(world.ids().is_empty(), "nothing is seen before the commit");
    writer.commit().unwrap();
    let seen = world.seen();
    assert_eq!(seen.len(), 10);
    for (_, body, vector) in seen {
        assert!(common::cosine(&vector.unwrap(), &world.model.vector(&body)) > 0.9999, "{body}");
    }
}

#[test]
fn rollback_goes_back_to_the_commit_whatever_was_on_its_way() {
    let world = World::new();
    let mut writer = world.writer(WriterSettings::default().batch(2));
    writer.add_document(world.document("a", "kept")).unwrap();
    writer.commit().unwrap();
    for number in 0..7 {
        writer.add_document(world.document(&number.to_string(), "gone")).unwrap();
    }
    writer.delete_term(world.key("a")).unwrap();
    writer.rollback().unwrap();
    writer.add_document(world.document("b", "kept too")).unwrap();
    writer.commit().unwrap();
    assert_eq!(world.ids(), ["a", "b"]);
}

#[test]
fn a_dropped_writer_commits_nothing() {
    let world = World::new();
    let writer = world.writer(WriterSettings::default());
    writer.add_document(world.document("a", "gone")).unwrap();
    drop(writer);
    assert!(world.ids().is_empty());
    // And lets go of the index.
    world.writer(WriterSettings::default()).commit().unwrap();
}

#[test]
fn deletes_take_what_was_added_before_them() {
    let world = World::new();
    let mut writer = world.writer(WriterSettings::default().batch(100));
    for id in ["a", "b", "c", "d"] {
        writer.add_document(world.document(id, id)).unwrap();
    }
    writer.delete_term(world.key("b")).unwrap();
    writer.add_document(world.document("b", "again")).unwrap();
    let query = TermQuery::new(Term::from_field_text(world.body, "c"), IndexRecordOption::Basic);
    writer.delete_query(Box::new(query)).unwrap();
    writer.commit().unwrap();
    let seen = world.seen();
    assert_eq!(
        seen.iter().map(|(id, body, _)| (id.as_str(), body.as_str())).collect::<Vec<_>>(),
        [("a", "a"), ("b", "again"), ("d", "d")]
    );
    writer.delete_all_documents().unwrap();
    writer.commit().unwrap();
    assert!(world.ids().is_empty());
}

#[test]
fn what_has_not_changed_is_not_encoded_again() {
    let world = World::new();
    let settings = || WriterSettings::default().skip_unchanged(true);
    let mut writer = world.writer(settings());
    for id in ["a", "b", "c"] {
        writer.update_document(world.document(id, &format!("text of {id}"))).unwrap();
    }
    writer.commit().unwrap();
    assert_eq!(world.model.count(), 3);
    drop(writer);

    let mut writer = world.writer(settings());
    writer.update_document(world.document("a", "text of a")).unwrap();
    // Another field: written anew, with the vector it had.
    let mut noted = world.document("b", "text of b");
    noted.add_text(world.note, "read");
    writer.update_document(noted).unwrap();
    writer.update_document(world.document("c", "another text")).unwrap();
    writer.commit().unwrap();
    let progress = writer.progress();
    assert_eq!((progress.documents, progress.unchanged, progress.reused, progress.encoded), (3, 1, 1, 1));
    assert_eq!(world.model.count(), 4);
    let seen = world.seen();
    assert_eq!(seen.len(), 3);
    for (_, body, vector) in &seen {
        assert!(common::cosine(vector.as_ref().unwrap(), &world.model.vector(body)) > 0.9999, "{body}");
    }

    // Deleted and added again since the commit: not unchanged.
    writer.delete_term(world.key("a")).unwrap();
    writer.update_document(world.document("a", "text of a")).unwrap();
    writer.commit().unwrap();
    assert_eq!(world.ids(), ["a", "b", "c"]);
}

#[test]
fn another_model_encodes_everything_again() {
    let world = World::new();
    let mut writer = world.writer(WriterSettings::default().skip_unchanged(true));
    writer.update_document(world.document("a", "text")).unwrap();
    writer.commit().unwrap();
    drop(writer);
    let other = Arc::new(Words::of(48, "words 2"));
    let mut writer = world.writer_of(other.clone(), WriterSettings::default().skip_unchanged(true)).unwrap();
    writer.update_document(world.document("a", "text")).unwrap();
    writer.commit().unwrap();
    assert_eq!(other.count(), 1);
    drop(writer);
    let wide = world.writer_of(Arc::new(Words::of(64, "words 3")), WriterSettings::default());
    let message = wide.err().unwrap().to_string();
    assert!(message.contains("48") && message.contains("64") && message.contains("words 3"), "{message}");
}

#[test]
fn failures_follow_the_policy() {
    let world = World::new();
    let bodies = [("a", "good"), ("b", "an UNREADABLE one"), ("c", "good too")];
    let mut failing = world.writer(WriterSettings::default());
    for (id, body) in bodies {
        failing.add_document(world.document(id, body)).unwrap();
    }
    let message = failing.commit().unwrap_err().to_string();
    assert!(message.contains("`b`") && message.contains("roll back"), "{message}");
    assert!(failing.add_document(world.document("d", "good")).is_err(), "it has stopped");
    assert!(world.ids().is_empty());
    failing.rollback().unwrap();
    failing.add_document(world.document("d", "good")).unwrap();
    failing.commit().unwrap();
    assert_eq!(world.ids(), ["d"]);
    drop(failing);

    for (policy, ids) in [(OnFailure::Skip, &["a", "c", "d"][..]), (OnFailure::TextOnly, &["a", "b", "c", "d"])] {
        let world = World::new();
        let mut writer = world.writer(WriterSettings::default().on_failure(policy));
        for (id, body) in bodies.into_iter().chain([("d", "good")]) {
            writer.add_document(world.document(id, body)).unwrap();
        }
        writer.commit().unwrap();
        assert_eq!(world.ids(), ids);
        for (id, _, vector) in world.seen() {
            assert_eq!(vector.is_some(), id != "b", "{policy:?} {id}");
        }
        let [Failure { document, problem }] = &writer.take_failures()[..] else { panic!("one failure") };
        assert!(document == "b" && problem.contains("unreadable"));
        assert_eq!(writer.progress().failed, 1);
        assert!(writer.take_failures().is_empty());
    }
}

/// However large the batch, the model is given so many texts at once, and each document gets its own vector.
#[test]
fn large_batches_are_encoded_in_parts() {
    let world = World::new();
    let settings = WriterSettings::default().batch(2_600).linger(Duration::from_secs(30));
    let mut writer = world.writer(settings.on_failure(OnFailure::TextOnly));
    for number in 0..2_600 {
        let body = if number == 1_500 { "UNREADABLE".to_owned() } else { format!("crow number {number}") };
        writer.add_document(world.document(&number.to_string(), &body)).unwrap();
    }
    writer.commit().unwrap();
    assert_eq!(world.model.largest.load(Ordering::SeqCst), 256);
    assert_eq!((writer.progress().encoded, writer.progress().failed), (2_599, 1));
    for (id, body, vector) in world.seen() {
        match vector {
            Some(vector) => assert!(common::cosine(&vector, &world.model.vector(&body)) > 0.9999, "{body}"),
            None => assert_eq!(id, "1500"),
        }
    }
}

/// A caller that is faster than the model waits: no more documents are on their way than fit the queue and two batches.
#[test]
fn the_queue_is_bounded() {
    let world = World::new();
    let writer = world.writer(WriterSettings::default().batch(2).queue(4));
    let closed = world.model.gate.lock().unwrap();
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..50 {
                writer.add_document(world.document(&number.to_string(), "crow")).unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
        let began = Instant::now();
        let mut last = 0;
        // Until nothing has moved for a while.
        while began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(200));
            let now = sent.load(Ordering::SeqCst);
            if now == last && now > 0 {
                break;
            }
            last = now;
        }
        assert!((4..=4 + 2 * 2 + 1).contains(&last), "{last} were taken");
        drop(closed);
    });
    let mut writer = writer;
    writer.commit().unwrap();
    assert_eq!(world.ids().len(), 50);
}

#[test]
fn progress_is_told_after_each_batch() {
    let world = World::new();
    let told = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&told);
    let settings = WriterSettings::default().batch(4).progress(move |progress| {
        assert!(progress.documents >= seen.load(Ordering::SeqCst));
        seen.store(progress.documents, Ordering::SeqCst);
    });
    let mut writer = world.writer(settings);
    for number in 0..10 {
        writer.add_document(world.document(&number.to_string(), "crow")).unwrap();
    }
    writer.commit().unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 10);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let world = World::new();
    let refused = |settings: WriterSettings, embeddings: Vec<Embedding>| {
        let writer = world.index.writer_with_num_threads(1, 15_000_000).unwrap();
        EmbeddingWriter::new(&world.dense, writer, world.model.clone(), embeddings, settings).err().unwrap().to_string()
    };
    let embedding = || Embedding::new(world.vector.clone(), "{body}".parse().unwrap());
    assert!(refused(WriterSettings::default().batch(0), vec![embedding()]).contains("batch"));
    assert!(refused(WriterSettings::default(), vec![]).contains("embeddings"));
    assert!(refused(WriterSettings::default().key("body"), vec![embedding()]).contains("body"));
    assert!(refused(WriterSettings::default().key("nowhere"), vec![embedding()]).contains("nowhere"));
    assert!(refused(WriterSettings::default().skip_unchanged(true), vec![embedding()]).contains("key"));
    let chunked = embedding().chunks(adam_plugin::Chunking::new(64));
    assert!(refused(WriterSettings::default().key("id"), vec![chunked]).contains("adam_parent"));
    let elsewhere = Embedding::new(world.vector.clone(), "{abstract}".parse().unwrap());
    assert!(refused(WriterSettings::default(), vec![elsewhere]).contains("abstract"));
}

/// A commit whose process is killed just before `meta.json` names its files leaves them there, and the same commit, done again by
/// the next process, wants the same names.
#[test]
fn a_commit_that_was_killed_can_be_done_again() {
    let world = World::new();
    let mut writer = world.writer(WriterSettings::default());
    for id in ["a", "b"] {
        writer.update_document(world.document(id, "light and water")).unwrap();
    }
    writer.commit().unwrap();
    drop(writer);
    let meta = Path::new("meta.json");
    let before = world.index.directory().atomic_read(meta).unwrap();
    let delete = || {
        let mut writer = world.writer(WriterSettings::default());
        writer.delete_term(Term::from_field_text(world.id, "a")).unwrap();
        writer.commit().unwrap();
    };
    delete();
    world.index.directory().atomic_write(meta, &before).unwrap();
    assert_eq!(world.seen().len(), 2);
    delete();
    assert_eq!(world.seen().len(), 1);
}
