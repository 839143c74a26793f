//! Collections as folder, zip and lone file, and what is said when they are broken.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use beir::{Collection, Document, Summary};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const CORPUS: &str =
    "{\"_id\": \"d1\", \"title\": \"One\", \"text\": \"first\"}\n{\"_id\": \"d2\", \"text\": \"second\"}\n";
const QUERIES: &str = "{\"_id\": \"q1\", \"text\": \"what is first?\"}\n";
const QRELS: &str = "query-id\tcorpus-id\tscore\nq1\td1\t1\n";

fn folder(corpus: &str, queries: &str, qrels: &str) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("small");
    fs::create_dir_all(path.join("qrels")).unwrap();
    fs::write(path.join("corpus.jsonl"), corpus).unwrap();
    fs::write(path.join("queries.jsonl"), queries).unwrap();
    fs::write(path.join("qrels/test.tsv"), qrels).unwrap();
    (home, path)
}

fn zipped(path: &Path, files: &[(&str, &[u8])]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

fn check(path: &Path) -> Result<Summary, String> {
    Collection::open(path).and_then(|collection| collection.check()).map_err(|error| error.to_string())
}

#[test]
fn folder_zip_and_lone_corpus_hold_the_same_documents() {
    let (home, path) = folder(CORPUS, QUERIES, QRELS);
    let whole = home.path().join("whole.zip");
    let files: [(&str, &[u8]); 4] = [
        ("small/corpus.jsonl", CORPUS.as_bytes()),
        ("small/queries.jsonl", QUERIES.as_bytes()),
        ("small/qrels/test.tsv", QRELS.as_bytes()),
        ("__MACOSX/small/corpus.jsonl", b"rubbish"),
    ];
    zipped(&whole, &files);
    let at_root = home.path().join("root.zip");
    zipped(&at_root, &[("corpus.jsonl", CORPUS.as_bytes()), ("queries.jsonl", QUERIES.as_bytes())]);
    let lone = path.join("corpus.jsonl");

    for opened in [&path, &whole, &at_root, &lone] {
        let collection = Collection::open(opened).unwrap();
        let documents: Vec<Document> = collection.documents().unwrap().map(Result::unwrap).collect();
        assert_eq!(documents.len(), 2, "{}", opened.display());
        assert_eq!(documents[0].full_text(), "One first");
        assert_eq!(documents[1].full_text(), "second");
    }
    for opened in [&path, &whole] {
        let collection = Collection::open(opened).unwrap();
        assert_eq!(collection.splits(), ["test"]);
        assert_eq!(collection.qrels("test").unwrap().judgements(), 1);
        assert_eq!(collection.queries().unwrap()[0].id, "q1");
        let summary = collection.check().unwrap();
        assert_eq!((summary.documents, summary.queries), (2, 1));
        assert_eq!(summary.judgements, [("test".to_owned(), 1)]);
    }
    assert_eq!(Collection::open(&path).unwrap().name(), "small");
    assert_eq!(Collection::open(&whole).unwrap().name(), "whole");
    assert!(!Collection::open(&lone).unwrap().has_queries());
    assert!(Collection::open(&at_root).unwrap().splits().is_empty());
}

#[test]
fn faults_in_files_are_named_by_file_and_line() {
    let said = |corpus: &str, queries: &str, qrels: &str| {
        let (_home, path) = folder(corpus, queries, qrels);
        let said = check(&path).unwrap_err();
        said.replace(&format!("{}/", path.display()), "")
    };
    assert!(said(&format!("{CORPUS}not json\n"), QUERIES, QRELS).starts_with("corpus.jsonl line 3: not a JSON object"));
    assert_eq!(
        said(&format!("{CORPUS}\n{{\"_id\": \"d1\", \"text\": \"again\"}}\n"), QUERIES, QRELS),
        "corpus.jsonl line 4: document id `d1` was already used on line 1; ids must be unique"
    );
    assert_eq!(said(CORPUS, "{\"_id\": \"q1\"}\n", QRELS), "queries.jsonl line 1: query `q1` has no text");
    assert_eq!(
        said(CORPUS, &QUERIES.repeat(2), QRELS),
        "queries.jsonl line 2: query id `q1` was already used on line 1; ids must be unique"
    );
    assert!(
        said(CORPUS, QUERIES, &format!("{QRELS}q1\td9\t1\n"))
            .starts_with("qrels/test.tsv line 3: judgement names document `d9`, which is not in ")
    );
    assert!(
        said(CORPUS, QUERIES, &format!("{QRELS}q9\td1\t1\n"))
            .starts_with("qrels/test.tsv line 3: judgement names query `q9`, which is not in ")
    );
    assert!(said(CORPUS, QUERIES, "qid\tdid\n").starts_with("qrels/test.tsv line 1: bad header"));
}

#[test]
fn what_is_no_collection_says_so() {
    let (home, path) = folder(CORPUS, QUERIES, QRELS);
    let said = |path: &Path| check(path).unwrap_err();
    assert!(said(&home.path().join("nowhere")).contains("nowhere does not exist"));
    assert!(said(home.path()).contains("has no corpus.jsonl"));
    let other = home.path().join("corpus.csv");
    fs::write(&other, CORPUS).unwrap();
    assert!(said(&other).contains("must end in .zip, .jsonl or .jsonl.gz"));
    let collection = Collection::open(&path).unwrap();
    assert!(collection.qrels("dev").unwrap_err().to_string().contains("no qrels/dev.tsv; its splits are test"));
    assert!(collection.qrels("../../secret").is_err());
    let lone = Collection::open(path.join("corpus.jsonl")).unwrap();
    assert!(lone.queries().unwrap_err().to_string().contains("has no queries.jsonl"));
}

#[test]
fn half_a_zip_is_named_wherever_it_is_cut() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("whole.zip");
    let long: String =
        (0..2000).map(|n| format!("{{\"_id\": \"d{n}\", \"text\": \"text number {}\"}}\n", n * 7919 % 10007)).collect();
    zipped(&path, &[("c/corpus.jsonl", long.as_bytes()), ("c/queries.jsonl", QUERIES.as_bytes())]);
    assert_eq!(check(&path).unwrap().documents, 2000);
    let whole = fs::read(&path).unwrap();
    let half = home.path().join("half.zip");
    for length in [5, whole.len() / 2, whole.len() - 30] {
        fs::write(&half, &whole[..length]).unwrap();
        let said = check(&half).unwrap_err();
        assert!(said.contains("half.zip: the zip archive breaks off or is damaged"), "{length}: {said}");
    }
    fs::write(&half, b"<html>not found</html>").unwrap();
    assert!(check(&half).unwrap_err().contains("half.zip: this is not a zip archive"));
    fs::write(&half, b"").unwrap();
    assert!(check(&half).unwrap_err().contains("half.zip: this is not a zip archive"));

    // A whole archive with damage inside: the file within is named.
    let mut damaged = whole.clone();
    for byte in &mut damaged[200..260] {
        *byte ^= 0x5A;
    }
    fs::write(&half, &damaged).unwrap();
    let said = check(&half).unwrap_err();
    assert!(said.contains("half.zip/c/corpus.jsonl"), "{said}");
}

#[test]
fn harmful_archives_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evil.zip");
    for name in ["../corpus.jsonl", "/etc/corpus.jsonl", "a/../../corpus.jsonl", "C:/corpus.jsonl"] {
        zipped(&path, &[(name, CORPUS.as_bytes())]);
        let said = check(&path).unwrap_err();
        assert!(said.contains("leads out of the archive"), "{name}: {said}");
    }
    zipped(&path, &[("corpus.jsonl", &vec![b'\n'; 70 << 20])]);
    let said = check(&path).unwrap_err();
    assert!(said.contains("zip bomb"), "{said}");
    zipped(&path, &[("a/corpus.jsonl", CORPUS.as_bytes()), ("b/corpus.jsonl", CORPUS.as_bytes())]);
    assert!(check(&path).unwrap_err().contains("more than one corpus.jsonl, in `a/`, `b/`"));
    zipped(&path, &[("readme.txt", b"hello")]);
    assert!(check(&path).unwrap_err().contains("the archive has no corpus.jsonl"));
}

#[test]
fn metadata_comes_with_records() {
    let (_home, path) = folder(
        "{\"_id\": \"a\", \"text\": \"t\", \"metadata\": {\"year\": 2020}}\n{\"_id\": \"b\", \"text\": \"u\"}\n",
        QUERIES,
        QRELS,
    );
    let records: Vec<_> = Collection::open(&path).unwrap().records().unwrap().map(Result::unwrap).collect();
    assert_eq!(records[0].metadata["year"], 2020);
    assert_eq!(records[1].document.id, "b");
    assert!(records[1].metadata.is_empty());
}

#[test]
fn fields_without_a_place_are_counted() {
    let many: String = (0..30).map(|n| format!(", \"f{n:02}\": {n}")).collect();
    let corpus = format!(
        "{{\"_id\": \"a\", \"text\": \"t\", \"url\": \"u\"}}\n{{\"_id\": \"b\", \"text\": \"t\", \"url\": null{many}}}\n"
    );
    let (_home, path) = folder(&corpus, QUERIES, "query-id\tcorpus-id\tscore\nq1\ta\t1\n");
    let unread = check(&path).unwrap().unread;
    assert_eq!((unread["url"], unread["f00"], unread.len()), (2, 1, 20));
}

#[test]
fn a_gzipped_corpus_is_read_to_the_end_of_its_last_member() {
    let home = tempfile::tempdir().unwrap();
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let path = home.path().join("books.jsonl.gz");
    let whole = [gzip(CORPUS), gzip("{\"_id\": \"d3\", \"text\": \"third\"}\n")].concat();
    fs::write(&path, &whole).unwrap();
    let collection = Collection::open(&path).unwrap();
    assert_eq!((collection.name(), collection.has_queries()), ("books", false));
    let ids: Vec<String> = collection.documents().unwrap().map(|document| document.unwrap().id).collect();
    assert_eq!(ids, ["d1", "d2", "d3"]);

    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let said = check(&path).unwrap_err();
    assert!(said.contains("books.jsonl.gz"), "{said}");
    fs::write(&path, CORPUS).unwrap();
    let said = check(&path).unwrap_err();
    assert!(said.contains("books.jsonl.gz"), "{said}");
}

#[test]
fn a_stream_may_be_dropped_early() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("long.zip");
    let long: String = (0..50_000).map(|n| format!("{{\"_id\": \"d{n}\", \"text\": \"number {n}\"}}\n")).collect();
    zipped(&path, &[("corpus.jsonl", long.as_bytes())]);
    let collection = Collection::open(&path).unwrap();
    for _ in 0..20 {
        let first = collection.documents().unwrap().next().unwrap().unwrap();
        assert_eq!(first.id, "d0");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(texts in prop::collection::vec(("\\PC{0,20}", "\\PC{0,60}"), 1..20)) {
        let corpus: String = texts
            .iter()
            .enumerate()
            .map(|(n, (title, text))| serde_json::json!({"_id": format!("{n}"), "title": title, "text": text}).to_string() + "\n")
            .collect();
        let (_home, path) = folder(&corpus, QUERIES, QRELS);
        let read: Vec<Document> = Collection::open(&path).unwrap().documents().unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), texts.len());
        for (document, (title, text)) in read.iter().zip(&texts) {
            prop_assert_eq!((&document.title, &document.text), (title, text));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let home = tempfile::tempdir().unwrap();
        for name in ["corpus.jsonl", "corpus.jsonl.gz", "corpus.zip"] {
            let path = home.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let _ = check(&path);
        }
    }

    #[test]
    fn a_zip_with_any_byte_changed_is_read_or_refused(at in 0usize..500, flip in 1u8..) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.zip");
        zipped(&path, &[("s/corpus.jsonl", CORPUS.as_bytes()), ("s/queries.jsonl", QUERIES.as_bytes()), ("s/qrels/test.tsv", QRELS.as_bytes())]);
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        fs::write(&path, &bytes).unwrap();
        let _ = check(&path);
    }
}
