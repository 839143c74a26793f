//! Power cuts: what was acknowledged is on disk. `POWER_CUTS=100` cuts more often than the three times of each kind.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;
use std::process::Command;

use tantivy::schema::{STORED, STRING, Schema, TEXT};
use tantivy::{Index, IndexWriter, doc};

/// An index without vectors, for `adam import`: the documents that the script looks for.
fn plain_index() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut schema = Schema::builder();
    let key = schema.add_text_field("key", STRING | STORED);
    let body = schema.add_text_field("body", TEXT | STORED);
    let index = Index::create_in_dir(folder.path(), schema.build()).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    for number in 0..120 {
        let text = format!("everyone reads of mark{number}");
        writer.add_document(doc!(key => format!("d{number}"), body => text)).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    folder
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    if !common::has_runtime() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/power_cut.py");
    let (model, other) = (common::tiny_model(), common::tiny_model());
    // The other model gives other vectors: its words have other tokens.
    let tokenizer = other.path().join("tokenizer.json");
    let mut words: serde_json::Value = serde_json::from_slice(&std::fs::read(&tokenizer).unwrap()).unwrap();
    let vocabulary = words["model"]["vocab"].as_object_mut().unwrap();
    let names: Vec<String> = vocabulary.keys().filter(|word| !word.starts_with('[')).cloned().collect();
    let (first, last) = (names[0].clone(), names[names.len() - 1].clone());
    let (one, two) = (vocabulary[&first].clone(), vocabulary[&last].clone());
    vocabulary.insert(first, two);
    vocabulary.insert(last, one);
    std::fs::write(&tokenizer, words.to_string()).unwrap();

    let plain = plain_index();

    // A mount namespace of its own: no mount is seen outside of it or outlives it.
    let done = common::unset(Command::new("unshare"))
        .args(["-m", "python3"])
        .arg(script)
        .args(["--adam", env!("CARGO_BIN_EXE_adam"), "--rounds", &std::env::var("POWER_CUTS").unwrap_or("3".into())])
        .arg("--model")
        .arg(model.path())
        .arg("--other")
        .arg(other.path())
        .arg("--plain")
        .arg(plain.path())
        .output();
    let done = match done {
        Ok(done) => done,
        Err(fault) => return println!("skipped: power cuts need unshare: {fault}"),
    };
    let (code, out, err) = common::told(done);
    // Without leave to make a namespace, the script does not even begin.
    if err.contains("unshare") && out.is_empty() {
        return println!("skipped: power cuts need a mount namespace: {err}");
    }
    print!("{out}");
    assert_eq!(code, 0, "{out}{err}");
}
