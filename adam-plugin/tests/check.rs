//! `adam check`: what is damaged is found and named, and what is whole is said to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_plugin::check::{CheckReport, Severity, check};
use adam_plugin::engine::Document;
use adam_plugin::{CARD_FILE, Engine, WriterSettings};
use common::Words;
use tempfile::TempDir;

const EXTENSIONS: [&str; 7] = ["term", "idx", "pos", "store", "fast", "fieldnorm", "vec"];

/// An index with two segments and a deletion.
fn index(home: &Path, name: &str, words: &[&str]) -> PathBuf {
    let path = home.join(name);
    let encoder = Arc::new(Words::new());
    let pinned = encoder.pinned();
    let engine = Engine::open_or_create(&path, encoder, pinned).unwrap();
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
    for (number, word) in words.iter().enumerate() {
        let text = format!("{word} everyone reads {word}");
        let document = Document { id: format!("d{number}"), text, ..Document::default() };
        writer.update_document(engine.document(document).unwrap()).unwrap();
        if number % 3 == 2 {
            writer.commit().unwrap();
        }
    }
    writer.delete_term(engine.key_term("d1")).unwrap();
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    path
}

const BIRDS: [&str; 6] = ["crow", "raven", "jay", "magpie", "rook", "jackdaw"];
const TREES: [&str; 6] = ["oak", "ash", "elm", "beech", "birch", "maple"];

fn damage(report: &CheckReport) -> Vec<String> {
    let damaged = report.findings.iter().filter(|finding| finding.severity == Severity::Damage);
    damaged.map(|finding| format!("{}: {}", finding.path.display(), finding.problem)).collect()
}

fn files(index: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(index).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_whole_index_is_said_to_be_whole() {
    let home = home();
    let path = index(home.path(), "index", &BIRDS);
    let report = check(&path).unwrap();
    assert_eq!(report.findings, vec![]);
    assert_eq!(report.documents, 5);
    assert!(report.files > 7 && report.bytes > 1000, "{report:?}");
    // What killed writers leave is no damage.
    std::fs::write(path.join(".tmpAb3dE6"), "").unwrap();
    std::fs::write(path.join("0123456789abcdef0123456789abcdef.vec"), "").unwrap();
    let report = check(&path).unwrap();
    assert_eq!((report.findings.len(), report.is_damaged()), (2, false));
}

#[test]
fn every_damaged_file_is_named() {
    let home = home();
    let path = index(home.path(), "index", &BIRDS);
    for extension in EXTENSIONS.into_iter().chain(["del"]) {
        let file = files(&path, extension).remove(0);
        let whole = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let mut flipped = whole.clone();
        flipped[0] ^= 1;
        let longer = [whole.as_slice(), b"more"].concat();
        for damaged in [flipped, vec![], whole[..6].to_vec(), whole[..whole.len() / 2].to_vec(), longer] {
            // Not over the file, which may be mapped.
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, &damaged).unwrap();
            let found = damage(&check(&path).unwrap());
            assert!(found.iter().any(|line| line.contains(name)), "{name} of {} bytes: {found:?}", damaged.len());
        }
        std::fs::remove_file(&file).unwrap();
        let found = damage(&check(&path).unwrap());
        assert!(found.iter().any(|line| line.contains(name) && line.contains("is missing")), "{name}: {found:?}");
        std::fs::write(&file, &whole).unwrap();
    }
    assert_eq!(damage(&check(&path).unwrap()), Vec::<String>::new());
}

#[test]
fn lists_and_card_are_checked() {
    for (name, content, expected) in [
        ("meta.json", "{", "meta.json"),
        ("meta.json", "", "meta.json"),
        (".managed.json", "[", ".managed.json"),
        (".managed.json", r#"["meta.json", "../victim"]"#, "\"../victim\""),
        (CARD_FILE, "{}", CARD_FILE),
    ] {
        let home = home();
        let path = index(home.path(), "index", &BIRDS);
        std::fs::write(path.join(name), content).unwrap();
        let found = damage(&check(&path).unwrap());
        assert!(found.iter().any(|line| line.contains(expected)), "{name} {content:?}: {found:?}");
    }
    // A segment that is listed twice doubles its documents.
    let home = home();
    let path = index(home.path(), "index", &BIRDS);
    let mut meta: serde_json::Value = serde_json::from_slice(&std::fs::read(path.join("meta.json")).unwrap()).unwrap();
    let segments = meta["segments"].as_array_mut().unwrap();
    segments.push(segments[0].clone());
    std::fs::write(path.join("meta.json"), meta.to_string()).unwrap();
    let found = damage(&check(&path).unwrap());
    assert!(found.iter().any(|line| line.contains("twice")), "{found:?}");
}

#[test]
fn files_of_another_index_are_found_out() {
    let home = home();
    let path = index(home.path(), "index", &BIRDS);
    let other = index(
        home.path(),
        "other",
        &TREES.map(|tree| [tree, " reads of ", tree].concat()).each_ref().map(String::as_str),
    );
    for extension in ["term", "store", "vec", "fieldnorm"] {
        for (file, from) in files(&path, extension).iter().zip(files(&other, extension)) {
            let whole = std::fs::read(file).unwrap();
            std::fs::remove_file(file).unwrap();
            std::fs::copy(from, file).unwrap();
            let found = damage(&check(&path).unwrap());
            assert!(!found.is_empty(), "{}", file.display());
            std::fs::remove_file(file).unwrap();
            std::fs::write(file, whole).unwrap();
        }
    }
    assert_eq!(damage(&check(&path).unwrap()), Vec::<String>::new());
}

#[test]
fn what_is_no_index_is_refused_and_exit_codes_say_what_was_found() {
    let home = home();
    let path = index(home.path(), "index", &BIRDS);
    let named = path.to_str().unwrap();
    let out = common::done(&["check", named]);
    assert!(out.contains("whole;") && out.contains("words of 5 documents"), "{out}");
    let report: serde_json::Value = serde_json::from_str(&common::done(&["check", "--json", named])).unwrap();
    assert_eq!(report["findings"], serde_json::json!([]));

    let file = files(&path, "store").remove(0);
    std::fs::remove_file(&file).unwrap();
    let (code, out, err) = common::run(&["check", named]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("is missing") && out.contains("what to do:") && err.contains("damaged"), "{out}{err}");

    let (code, _, err) = common::run(&["check", home.path().join("nothing").to_str().unwrap()]);
    assert!(code == 1 && err.contains("there is no such folder"), "{err}");
    std::fs::create_dir(home.path().join("empty")).unwrap();
    let (code, _, err) = common::run(&["check", home.path().join("empty").to_str().unwrap()]);
    assert!(code == 1 && err.contains("nothing to check it against"), "{err}");
}

/// Files that are whole and of another index: whatever a search makes of them, it ends with an error that names the index.
#[test]
fn a_search_over_mixed_files_never_panics() {
    let home = home();
    let path = index(home.path(), "index", &BIRDS);
    let other = index(home.path(), "other", &[TREES, BIRDS].concat());
    for extension in EXTENSIONS {
        let file = files(&path, extension).remove(0);
        let from = files(&other, extension).remove(0);
        let whole = std::fs::read(&file).unwrap();
        for content in [std::fs::read(from).unwrap(), whole[..6].to_vec()] {
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, content).unwrap();
            let (code, _, err) = common::told(
                common::adam()
                    .args(["search", "--index", path.to_str().unwrap(), "--mode", "bm25", "everyone crow"])
                    // With it, the place in the code is shown as well.
                    .env_remove("RUST_BACKTRACE")
                    .output()
                    .unwrap(),
            );
            assert!(matches!(code, 0 | 1) && !err.contains("panicked"), "{extension}: {code} {err}");
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &whole).unwrap();
    }
}
