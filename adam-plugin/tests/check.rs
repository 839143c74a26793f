//! `adam check`: what is damaged is found and named, and what is whole is said to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use adam_plugin::check::{CheckReport, Severity, check};
use adam_plugin::engine::Document;
use adam_plugin::{Engine, MANIFEST_FILE, PluginError, WriterSettings};
use common::Words;
use common::indexes::{BIRDS, EXTENSIONS, TREES, files, index};
use tempfile::TempDir;

fn damage(report: &CheckReport) -> Vec<String> {
    let damaged = report.findings.iter().filter(|finding| finding.severity == Severity::Damage);
    damaged.map(|finding| format!("{}: {}", finding.path.display(), finding.problem)).collect()
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

/// A search would answer from such a file, in a wrong order if it is `.fieldnorm`, and say nothing.
#[test]
fn an_engine_names_a_damaged_file_and_does_not_answer_from_it() {
    let home = home();
    let path = index(home.path(), "index", &BIRDS);
    for extension in EXTENSIONS.into_iter().chain(["del"]) {
        for file in files(&path, extension) {
            let whole = std::fs::read(&file).unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            // Behind the content is tantivy's footer, with the checksum and its own length.
            let footer =
                whole.last_chunk::<8>().map(|end| u32::from_le_bytes([end[0], end[1], end[2], end[3]])).unwrap();
            let content = whole.len() - 8 - footer as usize;
            for at in [0, content / 2, content - 1] {
                let mut flipped = whole.clone();
                flipped[at] ^= 4;
                std::fs::remove_file(&file).unwrap();
                std::fs::write(&file, &flipped).unwrap();
                let fault = Engine::open(&path).err().unwrap_or_else(|| panic!("byte {at} of {name} is believed"));
                assert!(fault.to_string().contains(name), "{name}: {fault}");
            }
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, &whole).unwrap();
        }
    }
    assert_eq!(Engine::open(&path).unwrap().num_docs(), 5);
}

/// An engine that only reads sees what others commit, and compares that too.
#[test]
fn segments_that_come_later_are_compared_too() {
    let home = home();
    let path = index(home.path(), "index", &BIRDS);
    let engine = Engine::open(&path).unwrap();
    let before = files(&path, "fieldnorm");
    let writing = Engine::builder(&path).encoder(Arc::new(Words::new())).open().unwrap();
    let mut writer = writing.writer(15_000_000, WriterSettings::default()).unwrap();
    let document = Document { id: "late".to_owned(), text: "an owl reads".to_owned(), ..Document::default() };
    writer.update_document(writing.document(document).unwrap()).unwrap();
    writer.commit().unwrap();
    let new = files(&path, "fieldnorm").into_iter().find(|file| !before.contains(file)).unwrap();
    let mut content = std::fs::read(&new).unwrap();
    content[0] ^= 1;
    std::fs::remove_file(&new).unwrap();
    std::fs::write(&new, content).unwrap();
    let fault = engine.reload().unwrap_err();
    assert!(matches!(fault, PluginError::Damaged { .. }), "{fault}");
}

#[test]
fn lists_and_the_manifest_are_checked() {
    for (name, content, expected) in [
        ("meta.json", "{", "meta.json"),
        ("meta.json", "", "meta.json"),
        (".managed.json", "[", ".managed.json"),
        (".managed.json", r#"["meta.json", "../victim"]"#, "\"../victim\""),
        (MANIFEST_FILE, "{}", MANIFEST_FILE),
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
