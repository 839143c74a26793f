//! Collections as folder, zip and lone file, and what is said when they are broken.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use beir_eval::{BeirError, Collection, Document, Keep, OnWrongLine, ReadOptions, Summary};
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
        assert_eq!(collection.qrels("test").unwrap().num_judgements(), 1);
        assert_eq!(collection.queries().unwrap()[0].id, "q1");
        let summary = collection.check().unwrap();
        assert_eq!((summary.documents, summary.without_text), (2, 0));
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
        let said = read_all(&path).unwrap_err().to_string();
        said.replace(&format!("{}/", path.display()), "")
    };
    assert!(said(&format!("{CORPUS}not json\n"), QUERIES, QRELS).starts_with("corpus.jsonl line 3: not a JSON object"));
    assert_eq!(
        said(&format!("{CORPUS}\n{{\"_id\": \"d1\", \"text\": \"again\"}}\n"), QUERIES, QRELS),
        "corpus.jsonl line 4: document id `d1` was already used on line 1; ids must be unique"
    );
    assert_eq!(
        said(CORPUS, &QUERIES.repeat(2), QRELS),
        "queries.jsonl line 2: query id `q1` was already used on line 1; ids must be unique"
    );
    assert!(said(CORPUS, QUERIES, "qid\tdid\n").starts_with("qrels/test.tsv line 1: not a row of judgements"));
}

/// Everything that a collection has.
fn read_all(path: &Path) -> Result<(), BeirError> {
    let collection = Collection::open(path)?;
    collection.check()?;
    collection.queries()?;
    for split in collection.splits() {
        collection.qrels(&split)?;
    }
    Ok(())
}

/// What only an evaluation needs is no concern of who reads the corpus, and a query that cannot be asked none of who asks the
/// others.
#[test]
fn each_file_is_read_where_it_is_needed() {
    let queries = format!("{QUERIES}{{\"_id\": \"q2\", \"text\": \"\"}}\n");
    let (home, path) = folder(CORPUS, &queries, "query-id\tcorpus-id\tscore\nq1\td1\t1.0\nq9\td9\t0.0\n");
    let collection = Collection::open(&path).unwrap();
    let queries = collection.queries().unwrap();
    assert_eq!((queries.len(), queries.without_text().len()), (1, 1));
    assert!(queries.without_text()[0].to_string().ends_with("queries.jsonl line 2: query `q2` has no text"));
    let judged: Vec<_> = collection.judgements("test").unwrap().map(Result::unwrap).collect();
    assert_eq!((judged[1].place.line, judged[1].query.as_str(), judged[1].grade), (3, "q9", 0));

    fs::write(path.join("queries.jsonl"), "not json").unwrap();
    fs::write(path.join("qrels/test.tsv"), "not judgements").unwrap();
    assert_eq!(Collection::open(&path).unwrap().check().unwrap().documents, 2);

    fs::write(path.join("qrels/test.tsv"), QRELS).unwrap();
    fs::write(path.join("queries.jsonl"), QUERIES).unwrap();
    fs::remove_file(path.join("corpus.jsonl")).unwrap();
    let collection = Collection::open(&path).unwrap();
    assert!(!collection.has_corpus());
    assert_eq!((collection.queries().unwrap().len(), collection.qrels("test").unwrap().num_judgements()), (1, 1));
    assert!(collection.check().unwrap_err().to_string().ends_with("has no corpus.jsonl"));
    drop(home);
}

#[test]
fn what_is_no_collection_says_so() {
    let (home, path) = folder(CORPUS, QUERIES, QRELS);
    let said = |path: &Path| check(path).unwrap_err();
    assert!(said(&home.path().join("nowhere")).contains("nowhere does not exist"));
    assert!(said(home.path()).contains("has no corpus.jsonl; there is one in `small`: name that folder"));
    assert!(said(&path.join("qrels")).contains("has no corpus.jsonl; it holds `test.tsv`"));
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(said(&empty).ends_with("the folder has no corpus.jsonl"));
    let other = home.path().join("corpus.csv");
    fs::write(&other, CORPUS).unwrap();
    assert!(said(&other).contains("a table (.csv) is not read; write one JSON object a line"));
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
    assert!(said.contains("books.jsonl.gz line 3: the gzip data breaks off here; fetch the file again"), "{said}");
    // What a browser unpacked and named as it was.
    fs::write(&path, CORPUS).unwrap();
    assert_eq!(check(&path).unwrap().documents, 2);
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn ids(collection: &Collection) -> Vec<String> {
    collection.documents().unwrap().map(|document| document.unwrap().id).collect()
}

/// The same documents, as people keep them.
#[test]
fn a_corpus_may_be_written_in_many_ways() {
    let home = tempfile::tempdir().unwrap();
    let array = format!("[\n{}]\n", CORPUS.trim().replace('\n', ",\n"));
    let dos = format!("\u{FEFF}{}", CORPUS.replace('\n', "\r\n"));
    let utf16: Vec<u8> =
        std::iter::once(0xFEFF).chain(CORPUS.encode_utf16()).flat_map(|unit: u16| unit.to_le_bytes()).collect();
    let write = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let zip = write("as.jsonl", b"");
    zipped(&zip, &[("books.jsonl", CORPUS.as_bytes())]);
    for path in [
        write("a.JSONL", CORPUS.as_bytes()),
        write("a.json", array.as_bytes()),
        write("a.json.gz", &gzip(array.as_bytes())),
        write("a.ndjson", dos.as_bytes()),
        write("utf16.jsonl", &utf16),
        write("packed.jsonl", &gzip(CORPUS.as_bytes())),
        write("unpacked.jsonl.gz", CORPUS.as_bytes()),
        write("a.txt", CORPUS.as_bytes()),
        write("plain", array.as_bytes()),
        zip,
    ] {
        assert_eq!(ids(&Collection::open(&path).unwrap()), ["d1", "d2"], "{}", path.display());
    }
    let empty = Collection::open(write("empty.jsonl", b" \n\n")).unwrap();
    assert_eq!(empty.check().unwrap().documents, 0);
}

#[test]
fn a_folder_may_hold_packed_files() {
    let (_home, path) = folder(CORPUS, QUERIES, QRELS);
    for file in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"] {
        let plain = path.join(file);
        fs::write(path.join(format!("{file}.gz")), gzip(&fs::read(&plain).unwrap())).unwrap();
        fs::remove_file(plain).unwrap();
    }
    let collection = Collection::open(&path).unwrap();
    assert_eq!((ids(&collection).len(), collection.queries().unwrap().len()), (2, 1));
    assert_eq!((collection.splits(), collection.qrels("test").unwrap().num_judgements()), (vec!["test".to_owned()], 1));
    // Of a file and its packed form, the plain one.
    fs::write(path.join("corpus.jsonl"), "{\"_id\": \"plain\", \"text\": \"t\"}").unwrap();
    assert_eq!(ids(&Collection::open(&path).unwrap()), ["plain"]);
    #[cfg(unix)]
    {
        let link = path.parent().unwrap().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(ids(&Collection::open(&link).unwrap()), ["plain"]);
    }
}

#[test]
fn several_corpora_are_one() {
    let home = tempfile::tempdir().unwrap();
    let line = |id: &str| format!("{{\"_id\": \"{id}\", \"text\": \"t\"}}\n");
    for (name, id) in [("part-1.jsonl", "a"), ("part-2.jsonl", "b"), ("other.json", "c")] {
        fs::write(home.path().join(name), line(id)).unwrap();
    }
    let pattern = home.path().join("part-*.jsonl");
    let open = |paths: &[PathBuf]| Collection::open_with(paths, &ReadOptions::default());
    assert_eq!(ids(&open(&[pattern.clone(), home.path().join("other.json")]).unwrap()), ["a", "b", "c"]);
    let missing = open(&[home.path().join("none-*.jsonl")]).unwrap_err().to_string();
    assert!(missing.contains("no file matches this pattern"), "{missing}");
    let twice = open(&[pattern, home.path().join("part-1.jsonl")]).unwrap().check().unwrap_err().to_string();
    assert!(twice.contains("part-1.jsonl line 1: document id `a` was already used in "), "{twice}");
    let said = Collection::open(home.path()).unwrap_err().to_string();
    assert!(
        said.contains("it holds `other.json`, `part-1.jsonl`, `part-2.jsonl`: name the files, or a pattern"),
        "{said}"
    );

    // A pattern that finds a corpus and its queries.
    let (_home, path) = folder(CORPUS, QUERIES, QRELS);
    let both = open(&[path.join("*.jsonl")]).unwrap();
    assert_eq!((ids(&both).len(), both.queries().unwrap().len()), (2, 1));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_as_often_as_needed() {
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for bytes in [CORPUS.as_bytes().to_vec(), gzip(CORPUS.as_bytes())] {
        let into = pipe.clone();
        let writer = std::thread::spawn(move || fs::write(into, bytes).unwrap());
        let collection = Collection::open(&pipe).unwrap();
        writer.join().unwrap();
        assert_eq!((ids(&collection).len(), collection.check().unwrap().documents), (2, 2));
    }
    assert!(Collection::open("/dev/null").unwrap_err().to_string().contains("neither a folder nor a file"));
}

#[test]
fn wrong_lines_may_be_left_out() {
    let corpus = format!(
        "{CORPUS}not json\n{{\"_id\": \"d1\", \"text\": \"again\"}}\n{{\"_id\": 1.5, \"text\": \"t\"}}\n{{\"_id\": \"d3\", \"text\": \"t\"}}\n"
    );
    let (home, path) = folder(&corpus, QUERIES, "q1\td1\t1\nq1\td2\tyes\nq1\td1\t2\n");
    let options = ReadOptions::new().on_wrong_line(OnWrongLine::Skip);
    let collection = Collection::open_with(&[&path], &options).unwrap();
    assert_eq!(ids(&collection), ["d1", "d2", "d3"]);
    let wrong = collection.check().unwrap().wrong;
    assert_eq!((wrong.len(), wrong.repeated(), wrong.listed()[0].place.line), (3, 1, 3));
    let list = home.path().join("wrong.txt");
    wrong.write(&list).unwrap();
    let list = fs::read_to_string(list).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].ends_with("corpus.jsonl line 3: not a JSON object"), "{list}");
    assert!(lines[1].ends_with("corpus.jsonl line 4: document id `d1` was already used on line 1"), "{list}");
    assert!(lines[2].ends_with("line 5: `_id` must be a string or a whole number, found the number 1.5"), "{list}");
    assert_eq!(collection.qrels("test").unwrap().get("q1").unwrap()["d1"], 1);

    // What breaks off is never left out.
    fs::write(path.join("corpus.jsonl"), format!("[{}, 5,\n{{}}", CORPUS.lines().next().unwrap())).unwrap();
    let said = Collection::open_with(&[&path], &options).unwrap().check().unwrap_err().to_string();
    assert!(said.ends_with("corpus.jsonl line 2: the JSON array breaks off here"), "{said}");
}

#[test]
fn fields_by_other_names_are_asked_for() {
    let corpus = "{\"sku\": 1, \"body\": \"kettle\", \"price\": NaN}\n{\"sku\": 2, \"body\": \"pot\", \"price\": 3}\n";
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("shop.jsonl");
    fs::write(&path, corpus).unwrap();
    let open = |options: ReadOptions| Collection::open_with(&[&path], &options).unwrap();
    let said = open(ReadOptions::new().id_field("sku")).check().unwrap_err().to_string();
    assert!(
        said.contains("none of its 2 documents has a `text` or a `title`; its records have the fields body, price"),
        "{said}"
    );
    let keep = Keep::Fields(vec!["price".to_owned(), "brand".to_owned()]);
    let summary = open(ReadOptions::new().id_field("sku").text_field("body").keep(keep)).check().unwrap();
    assert_eq!((summary.documents, summary.non_finite, summary.kept["price"], summary.kept["brand"]), (2, 1, 2, 0));
}

#[test]
fn zips_of_many_programs_are_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.zip");
    let open = |files: &[(&str, &[u8])]| {
        zipped(&path, files);
        Collection::open(&path)
    };
    for (corpus, queries, qrels) in [
        ("set\\corpus.jsonl", "set\\queries.jsonl", "set\\qrels\\test.tsv"),
        ("./a/b/corpus.jsonl", "a/b/queries.jsonl", "a/b/qrels/test.tsv"),
    ] {
        let files = [
            (corpus, CORPUS.as_bytes()),
            (queries, QUERIES.as_bytes()),
            (qrels, QRELS.as_bytes()),
            ("__MACOSX/._corpus.jsonl", b"x"),
        ];
        let collection = open(&files).unwrap();
        assert_eq!((ids(&collection).len(), collection.qrels("test").unwrap().num_judgements()), (2, 1), "{corpus}");
    }
    assert_eq!(ids(&open(&[("a/corpus.jsonl.gz", &gzip(CORPUS.as_bytes()))]).unwrap()), ["d1", "d2"]);
    assert_eq!(ids(&open(&[("a/books.jsonl", CORPUS.as_bytes()), ("readme.txt", b"x")]).unwrap()), ["d1", "d2"]);
    let judged = open(&[("a/queries.jsonl", QUERIES.as_bytes()), ("a/qrels/test.tsv", QRELS.as_bytes())]).unwrap();
    assert_eq!((judged.has_corpus(), judged.splits()), (false, vec!["test".to_owned()]));
    for name in ["..\\corpus.jsonl", "a\\..\\..\\corpus.jsonl", "\\corpus.jsonl", "C:\\corpus.jsonl"] {
        let said = open(&[(name, CORPUS.as_bytes())]).unwrap_err().to_string();
        assert!(said.contains("leads out of the archive"), "{name}: {said}");
    }
    for method in [CompressionMethod::Bzip2, CompressionMethod::Stored] {
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        zip.start_file("corpus.jsonl", SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(CORPUS.as_bytes()).unwrap();
        zip.finish().unwrap();
        assert_eq!(ids(&Collection::open(&path).unwrap()), ["d1", "d2"]);
    }

    // Methods that are not read, by their number in both tables of the archive; and a password.
    let stored = fs::read(&path).unwrap();
    let patched = |at_local: usize, at_central: usize, value: [u8; 2]| {
        let mut bytes = stored.clone();
        let central = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        bytes[at_local..at_local + 2].copy_from_slice(&value);
        bytes[central + at_central..central + at_central + 2].copy_from_slice(&value);
        fs::write(&path, bytes).unwrap();
        check(&path).unwrap_err()
    };
    for (method, name) in
        [(14, "LZMA"), (93, "Zstandard"), (95, "XZ"), (98, "PPMd"), (77, "a method of old or rare programs")]
    {
        let said = patched(8, 10, [method, 0]);
        assert!(
            said.contains(&format!("`corpus.jsonl` is compressed with {name}, which is not read; unpack it")),
            "{said}"
        );
    }
    let said = patched(6, 8, [1, 0]);
    assert!(said.contains("is encrypted; unpack it with its password"), "{said}");
}

#[test]
fn git_lfs_pointers_and_other_packings_are_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    let (home, path) = folder(CORPUS, QUERIES, QRELS);
    let xz = home.path().join("a.jsonl.xz");
    fs::write(&xz, b"\xFD7zXZ\0 and more").unwrap();
    assert!(check(&xz).unwrap_err().contains("it is an xz file, which is not read; unpack or convert it first"));
    for name in ["a.jsonl", "a.zip", "a.json.gz", "corpus"] {
        let file = home.path().join(name);
        fs::write(&file, pointer).unwrap();
        let said = check(&file).unwrap_err();
        assert!(said.contains(name) && said.contains("is a Git LFS pointer"), "{said}");
    }
    fs::write(path.join("corpus.jsonl"), pointer).unwrap();
    let said = check(&path).unwrap_err();
    assert!(said.contains("corpus.jsonl line 1: is a Git LFS pointer"), "{said}");
}
