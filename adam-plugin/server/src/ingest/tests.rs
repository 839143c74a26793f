use adam_encoder::{EncoderError, TextEncoder, TextKind};
use adam_plugin::OnFailure;
use adam_plugin::engine::Document;

use super::*;

/// A model that fails at some texts.
struct Moody;

impl TextEncoder for Moody {
    fn dimension(&self) -> usize {
        2
    }

    fn fingerprint(&self) -> &str {
        "moody 1"
    }

    fn name(&self) -> &str {
        "moody"
    }

    fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        if texts.iter().any(|text| text.contains("bad")) {
            return Err(EncoderError::Tokenize { path: "moody".into(), problem: "bad".to_owned() });
        }
        Ok(texts.iter().map(|_| vec![1.0, 0.0]).collect())
    }
}

fn open(folder: &std::path::Path, on_failure: OnFailure) -> Arc<Ingest> {
    let engine = Engine::builder(folder).encoder(Arc::new(Moody)).open_or_create().unwrap();
    let failed = IntCounter::new("failed", "not embedded").unwrap();
    Ingest::open(Arc::new(engine), 15_000_000, WriterSettings::default().on_failure(on_failure), None, failed).unwrap()
}

fn add(ingest: &Ingest, id: &str) -> u64 {
    let document = Document { id: id.to_owned(), text: format!("{id} text"), ..Document::default() };
    ingest.add(vec![ingest.engine.document(document).unwrap()]).unwrap()
}

#[test]
fn whoever_lost_documents_in_a_rollback_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = open(folder.path(), OnFailure::Fail);
    let first = add(&ingest, "kept");
    assert!(ingest.commit(Some(first)).unwrap().fresh);

    // The clock meets the failure, which tells nobody.
    let since = add(&ingest, "good");
    add(&ingest, "bad");
    assert!(ingest.commit_for(CommitCaller::Clock).is_err());
    assert!(ingest.commit_for(CommitCaller::Clock).is_ok(), "the clock goes on");
    for _ in 0..2 {
        let told = ingest.commit(Some(since)).unwrap_err();
        assert!(told.message().contains("sent again"), "{}", told.message());
    }
    let told = ingest.commit(None).unwrap_err();
    assert!(told.message().contains("(2)"), "{}", told.message());
    assert!(!ingest.commit(None).unwrap().fresh, "said once");
    assert_eq!(ingest.engine.num_docs(), 1);

    // What is written from here on is safe.
    let since = add(&ingest, "good");
    assert!(ingest.commit(Some(since)).unwrap().fresh);
    assert_eq!(ingest.engine.num_docs(), 2);

    // A client who asks for a commit and meets the failure itself need not hear of it twice.
    add(&ingest, "bad");
    assert!(ingest.commit(None).is_err());
    assert!(ingest.commit(None).is_ok());
}

#[test]
fn a_shared_commit_names_what_it_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = open(folder.path(), OnFailure::Skip);
    add(&ingest, "kept");
    let since = add(&ingest, "bad");
    for fresh in [true, false] {
        let done = ingest.commit(Some(since)).unwrap();
        assert_eq!((done.fresh, done.failures.len()), (fresh, 1));
        assert_eq!(done.failures[0].document, "bad");
    }
    assert_eq!(ingest.failed.get(), 1, "counted once, however many hear of it");
    add(&ingest, "worse than bad");
    ingest.close().unwrap();
    assert_eq!(ingest.failed.get(), 2);
}

/// A model that gets no further until the test lets it.
struct Stuck(Mutex<std::sync::mpsc::Receiver<()>>);

impl TextEncoder for Stuck {
    fn dimension(&self) -> usize {
        2
    }

    fn fingerprint(&self) -> &str {
        "stuck 1"
    }

    fn name(&self) -> &str {
        "stuck"
    }

    fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        let _ = self.0.lock().unwrap().recv();
        Ok(texts.iter().map(|_| vec![1.0, 0.0]).collect())
    }
}

#[test]
fn a_writer_that_hangs_does_not_keep_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (go_on, gate) = std::sync::mpsc::channel::<()>();
    let model = Arc::new(Stuck(Mutex::new(gate)));
    let engine = Arc::new(Engine::builder(folder.path()).encoder(model).open_or_create().unwrap());
    let failed = IntCounter::new("failed", "not embedded").unwrap();
    let ingest = Ingest::open(engine, 15_000_000, WriterSettings::default(), None, failed).unwrap();
    add(&ingest, "a");
    // Somebody waits for a commit, and so holds the writer.
    let waiting = {
        let ingest = Arc::clone(&ingest);
        std::thread::spawn(move || ingest.commit(None).map(|done| done.fresh))
    };
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ingest.state(), WriterState::Writing, "for a while that is all right");
    let told = Instant::now();
    let fault = ingest.close_within(told, Duration::from_millis(400)).unwrap_err();
    assert!(matches!(fault, ServeError::WriterStuck { waiting: 1, .. }), "{fault}");
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    assert_eq!(ingest.state(), WriterState::Closed);
    drop(go_on);
    assert!(waiting.join().unwrap().unwrap());
}

#[test]
fn an_idle_writer_and_one_at_work_are_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = open(folder.path(), OnFailure::Fail);
    for number in 0..100 {
        add(&ingest, &format!("d{number}"));
    }
    assert_eq!(ingest.close_within(Instant::now(), Duration::from_secs(30)).unwrap(), 100);
    assert_eq!(ingest.engine.num_docs(), 100);
    assert_eq!(ingest.close_within(Instant::now(), Duration::from_secs(30)).unwrap(), 0, "closed already");
}
