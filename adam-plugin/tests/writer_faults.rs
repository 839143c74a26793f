//! The embedding writer over a folder whose operations fail or panic, and with models that do: a writer that cannot go back is
//! replaced, whoever waits is answered, and what was acknowledged is there.
//!
//! Runs for a second or two; `ADAM_FUZZ_SECONDS=600` draws faults for ten minutes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use adam_encoder::{EncoderError, TextEncoder, TextKind};
use adam_plugin::{Embedding, EmbeddingWriter, OnFailure, PluginError, WriterSettings};
use common::Words;
use tantivy::collector::DocSetCollector;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, FileSlice, Lock, MmapDirectory, WatchCallback, WatchHandle, WritePtr,
};
use tantivy::query::AllQuery;
use tantivy::schema::{Field, STORED, STRING, Schema, TEXT, Value};
use tantivy::{Index, TantivyDocument};
use tantivy_dense::{Dense, VectorField, VectorOptions};

/// What happens to operations.
#[derive(Debug, Default)]
struct Faults {
    /// Reads of whole files, of which meta.json is one, fail.
    reads: AtomicBool,
    /// Files that are opened for writing fail.
    writes: AtomicBool,
    /// In place of failing, they panic: reads of whole files, and opening files for writing. tantivy holds a lock of its own during the
    /// other operations, and does not survive a panic there.
    panics: AtomicBool,
    /// Of a thousand operations of any kind, this many fail.
    share: AtomicU32,
    state: AtomicU64,
    hit: AtomicU64,
}

impl Faults {
    fn set(&self, reads: bool, writes: bool, panics: bool) {
        self.reads.store(reads, Ordering::SeqCst);
        self.writes.store(writes, Ordering::SeqCst);
        self.panics.store(panics, Ordering::SeqCst);
    }

    /// Whether this operation fails.
    fn strike(&self, always: &AtomicBool) -> io::Result<()> {
        let drawn = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        let mixed = (drawn ^ (drawn >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let unlucky = (mixed >> 33) % 1000 < u64::from(self.share.load(Ordering::SeqCst));
        if !always.load(Ordering::SeqCst) && !unlucky {
            return Ok(());
        }
        self.hit.fetch_add(1, Ordering::SeqCst);
        Err(io::Error::other("a fault was injected"))
    }
}

/// A folder with faults.
#[derive(Clone, Debug)]
struct Shaky {
    files: MmapDirectory,
    faults: Arc<Faults>,
}

impl Directory for Shaky {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.faults
            .strike(&AtomicBool::new(false))
            .map_err(|fault| OpenReadError::wrap_io_error(fault, path.into()))?;
        self.files.get_file_handle(path)
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        self.faults
            .strike(&AtomicBool::new(false))
            .map_err(|fault| OpenReadError::wrap_io_error(fault, path.into()))?;
        self.files.open_read(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.files.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let struck = self.faults.strike(&self.faults.writes);
        assert!(struck.is_ok() || !self.faults.panics.load(Ordering::SeqCst), "a fault was injected");
        struck.map_err(|fault| OpenWriteError::wrap_io_error(fault, path.into()))?;
        self.files.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let struck = self.faults.strike(&self.faults.reads);
        assert!(struck.is_ok() || !self.faults.panics.load(Ordering::SeqCst), "a fault was injected");
        struck.map_err(|fault| OpenReadError::wrap_io_error(fault, path.into()))?;
        self.files.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if !self.faults.panics.load(Ordering::SeqCst) {
            self.faults.strike(&self.faults.writes)?;
        }
        self.files.atomic_write(path, data)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.faults.strike(&AtomicBool::new(false))?;
        self.files.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.files.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.files.watch(callback)
    }
}

struct World {
    _home: tempfile::TempDir,
    faults: Arc<Faults>,
    dense: Dense,
    index: Index,
    id: Field,
    body: Field,
    vector: VectorField,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        let body = schema.add_text_field("body", TEXT | STORED);
        let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(48)).unwrap();
        let faults = Arc::new(Faults::default());
        let folder = Shaky { files: MmapDirectory::open(home.path()).unwrap(), faults: Arc::clone(&faults) };
        let dense = Dense::new();
        let index = dense.index_builder().schema(schema.build()).open_or_create(folder).unwrap();
        Self { _home: home, faults, dense, index, id, body, vector }
    }

    fn writer(&self, model: Arc<dyn TextEncoder>, settings: WriterSettings) -> EmbeddingWriter {
        let embedding = Embedding::new(self.vector.clone(), "{body}".parse().unwrap());
        let open = |index: &Index| index.writer_with_num_threads(1, 15_000_000);
        let writer = open(&self.index).unwrap();
        EmbeddingWriter::new(&self.dense, writer, model, vec![embedding], settings.key("id").reopen(open)).unwrap()
    }

    fn document(&self, id: &str) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_text(self.id, id);
        document.add_text(self.body, format!("body of {id}"));
        document
    }

    fn ids(&self) -> BTreeSet<String> {
        let searcher = self.dense.reader(&self.index).unwrap().searcher();
        let found = searcher.search(&AllQuery, &DocSetCollector).unwrap();
        let ids = found.into_iter().map(|address| {
            let document: TantivyDocument = searcher.doc(address).unwrap();
            document.get_first(self.id).unwrap().as_str().unwrap().to_owned()
        });
        let (all, ids) = (searcher.num_docs() as usize, ids.collect::<BTreeSet<String>>());
        assert_eq!(ids.len(), all, "a document is there twice");
        ids
    }
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn again(writer: &mut EmbeddingWriter) -> Result<u64, PluginError> {
    // A writer that failed a moment ago only says so again.
    std::thread::sleep(Duration::from_millis(120));
    writer.rollback()
}

#[test]
fn a_writer_that_cannot_go_back_is_replaced() {
    let world = World::new();
    let mut writer = world.writer(Arc::new(Words::new()), WriterSettings::default());
    writer.add_document(world.document("kept")).unwrap();
    writer.commit().unwrap();
    let committed = writer.rollback().unwrap();

    // First the commit fails, then twice the way back.
    writer.add_document(world.document("gone")).unwrap();
    world.faults.set(true, true, false);
    let said = writer.commit().unwrap_err().to_string();
    assert!(said.contains("a fault was injected"), "the cause is said: {said}");
    for _ in 0..2 {
        let said = again(&mut writer).unwrap_err().to_string();
        assert!(said.contains("a fault was injected"), "{said}");
        assert!(writer.stopped().is_some_and(|said| said.contains("a fault was injected")));
        // Until then nothing is taken, and whoever asks is told why.
        let refused = writer.add_document(world.document("refused")).unwrap_err();
        assert!(matches!(&refused, PluginError::WriterStopped { .. }), "{refused}");
        assert!(writer.commit().is_err());
    }
    // Somebody who was quicker is not disturbed: the writer comes back only with the lock.
    world.faults.set(false, false, false);
    let other: tantivy::IndexWriter = world.index.writer_with_num_threads(1, 15_000_000).unwrap();
    assert!(matches!(again(&mut writer), Err(PluginError::Locked { .. })));
    drop(other);
    assert_eq!(again(&mut writer).unwrap(), committed);
    assert!(writer.stopped().is_none());
    let locked = world.index.writer_with_num_threads::<TantivyDocument>(1, 15_000_000);
    assert!(locked.is_err(), "the writer holds the lock again");
    writer.add_document(world.document("later")).unwrap();
    writer.commit().unwrap();
    assert_eq!(world.ids(), set(&["kept", "later"]));
    writer.wait_merging_threads().unwrap();
}

#[test]
fn panics_of_the_folder_stop_nothing_for_good() {
    let world = World::new();
    let mut writer = world.writer(Arc::new(Words::new()), WriterSettings::default());
    for round in 0..3 {
        writer.add_document(world.document("lost")).unwrap();
        world.faults.set(true, true, true);
        writer.commit().unwrap_err();
        again(&mut writer).unwrap_err();
        world.faults.set(false, false, false);
        again(&mut writer).unwrap();
        writer.add_document(world.document(&format!("kept {round}"))).unwrap();
        writer.commit().unwrap();
    }
    assert!(!writer.pulse().is_dead());
    assert_eq!(world.ids(), set(&["kept 0", "kept 1", "kept 2"]));
}

/// Panics at `poison`; the first text makes it wait for the gate.
struct Poisoned {
    words: Words,
    gate: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl TextEncoder for Poisoned {
    fn dimension(&self) -> usize {
        self.words.dimension()
    }

    fn fingerprint(&self) -> &str {
        self.words.fingerprint()
    }

    fn name(&self) -> &str {
        self.words.name()
    }

    fn encode(&self, texts: &[&str], kind: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        if texts.iter().any(|text| text.contains("poison")) {
            let _ = self.gate.lock().unwrap().recv_timeout(Duration::from_secs(10));
            panic!("poisoned");
        }
        self.words.encode(texts, kind)
    }
}

#[test]
fn commits_that_wait_behind_a_panic_are_answered() {
    for policy in [OnFailure::Fail, OnFailure::Skip, OnFailure::TextOnly] {
        let world = World::new();
        let (open, gate) = mpsc::channel();
        let model = Poisoned { words: Words::new(), gate: std::sync::Mutex::new(gate) };
        let mut writer = world.writer(Arc::new(model), WriterSettings::default().on_failure(policy));
        writer.add_document(world.document("good")).unwrap();
        writer.add_document(world.document("poison one")).unwrap();
        writer.add_document(world.document("poison two")).unwrap();
        // These stand in the queue while the model panics.
        let waiting: Vec<_> = (0..4).map(|_| writer.start_commit().unwrap()).collect();
        drop(open);
        let (done, answers) = mpsc::channel();
        for commit in waiting {
            let done = done.clone();
            std::thread::spawn(move || done.send(commit.wait().map_err(|error| error.to_string())));
        }
        let answers: Vec<_> =
            (0..4).map(|_| answers.recv_timeout(Duration::from_secs(60)).expect("every commit is answered")).collect();
        if policy == OnFailure::Fail {
            let said = answers[0].as_ref().unwrap_err();
            assert!(said.contains("poison one") && said.contains("panic: poisoned"), "{said}");
            assert!(answers.iter().all(Result::is_err));
            writer.rollback().unwrap();
            assert_eq!(world.ids(), set(&[]));
        } else {
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            let failed: Vec<String> = writer.take_failures().into_iter().map(|failure| failure.document).collect();
            assert_eq!(failed, ["poison one", "poison two"]);
            let there: &[&str] =
                if policy == OnFailure::Skip { &["good"] } else { &["good", "poison one", "poison two"] };
            assert_eq!(world.ids(), set(there));
        }
        writer.add_document(world.document("later")).unwrap();
        writer.commit().unwrap();
        assert!(world.ids().contains("later"));
    }
}

/// Gives what no model should.
struct Odd(fn(&[&str]) -> Vec<Vec<f32>>);

impl TextEncoder for Odd {
    fn dimension(&self) -> usize {
        48
    }

    fn fingerprint(&self) -> &str {
        "odd 1"
    }

    fn name(&self) -> &str {
        "odd"
    }

    fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        Ok((self.0)(texts))
    }
}

#[test]
fn wrong_vectors_are_the_failure_of_their_document() {
    type Model = fn(&[&str]) -> Vec<Vec<f32>>;
    let models: [(&str, Model); 4] = [
        ("finite", |texts| {
            texts.iter().map(|text| if text.contains("bad") { vec![f32::NAN; 48] } else { vec![0.5; 48] }).collect()
        }),
        ("values", |texts| texts.iter().map(|text| vec![0.5; if text.contains("bad") { 47 } else { 48 }]).collect()),
        ("vectors for", |texts| texts.iter().filter(|text| !text.contains("bad")).map(|_| vec![0.5; 48]).collect()),
        ("zero", |texts| texts.iter().map(|text| vec![if text.contains("bad") { 0.0 } else { 0.5 }; 48]).collect()),
    ];
    for (word, model) in models {
        let world = World::new();
        let mut writer = world.writer(Arc::new(Odd(model)), WriterSettings::default().on_failure(OnFailure::Skip));
        for id in ["a", "bad 1", "b", "bad 2", "c"] {
            writer.add_document(world.document(id)).unwrap();
        }
        writer.commit().unwrap();
        assert_eq!(world.ids(), set(&["a", "b", "c"]), "{word}");
        let failures = writer.take_failures();
        assert!(failures.len() == 2 && failures.iter().all(|failure| failure.problem.contains(word)), "{failures:?}");
    }
}

/// How long to draw faults.
fn time() -> Duration {
    let seconds = std::env::var("ADAM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[test]
fn after_any_fault_the_writer_goes_on_and_nothing_acknowledged_is_lost() {
    let end = Instant::now() + time();
    let mut seed = 1u64;
    let (mut rounds, mut hits) = (0, 0);
    while rounds < 4 || Instant::now() < end {
        let world = World::new();
        world.faults.state.store(seed.wrapping_mul(0x2545_f491_4f6c_dd1d), Ordering::SeqCst);
        let settings = WriterSettings::default().batch(4).linger(Duration::from_millis(1));
        let mut writer = world.writer(Arc::new(Words::new()), settings);
        let mut acknowledged = BTreeSet::new();
        for number in 0..40 {
            // For the middle of the time, one of twenty operations fails.
            let shaky = (10..30).contains(&number);
            world.faults.share.store(if shaky { 50 } else { 0 }, Ordering::SeqCst);
            let ids: Vec<String> = (0..3).map(|part| format!("{number} {part}")).collect();
            let added = ids.iter().try_for_each(|id| writer.add_document(world.document(id)));
            match added.and_then(|()| writer.commit().map(|_| ())) {
                Ok(()) => acknowledged.extend(ids),
                Err(error) => {
                    assert!(shaky || number >= 30, "without a fault: {error}");
                    let mut back = writer.rollback();
                    let mut tries = 0;
                    while number >= 30 && back.is_err() {
                        tries += 1;
                        assert!(tries < 5, "it does not come back: {back:?}");
                        back = again(&mut writer);
                    }
                }
            }
        }
        world.faults.share.store(0, Ordering::SeqCst);
        assert!(writer.stopped().is_none(), "seed {seed}: {:?}", writer.stopped());
        let there = world.ids();
        let lost: Vec<&String> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?} of {} are lost", acknowledged.len());
        assert!(there.contains("39 2"), "seed {seed}: the writer went on");
        hits += world.faults.hit.load(Ordering::SeqCst);
        drop(writer);
        seed += 1;
        rounds += 1;
    }
    println!("{rounds} writers, {hits} faults");
    assert!(hits > 5, "faults were met: {hits}");
}
