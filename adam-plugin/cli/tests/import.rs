//! `adam import`: killed in the middle, and documents that come later.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use adam_plugin::Engine;
use common::indexes::{old_index, shop};

/// Killed after its first commit, an import goes on from there: the documents of that commit are not encoded again.
#[test]
fn a_killed_import_goes_on() {
    if !common::has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    old_index(&old, 12_000);
    let model = common::tiny_model();
    let words = [
        "import",
        old.to_str().unwrap(),
        "--model",
        model.path().to_str().unwrap(),
        "--fields",
        "name,body",
        "--key",
        "sku",
        "--index",
        new.to_str().unwrap(),
        "--commit-every",
        "1000",
        "--threads",
        "1",
    ];
    let mut first = common::adam().args(words).stderr(std::process::Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    // Documents of a commit: the engine opens once the manifest and the index are there.
    let committed = || Engine::open(&new).map_or(0, |engine| engine.num_docs());
    while committed() == 0 {
        assert!(first.try_wait().unwrap().is_none(), "it ended before it could be killed");
        assert!(began.elapsed() < Duration::from_secs(120), "no commit in two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let kept = committed();
    assert!((1..11_999).contains(&kept), "{kept} documents were there when it was killed");

    let (code, _, err) = common::run(&words);
    assert_eq!(code, 0, "{err}");
    assert_eq!(committed(), 11_999);
    let unchanged: u64 = err
        .lines()
        .find_map(|line| {
            line.split_once(" unchanged")
                .and_then(|(before, _)| before.rsplit(' ').next()?.trim_start_matches('(').parse().ok())
        })
        .unwrap_or_else(|| panic!("it does not say how many were there already: {err}"));
    assert_eq!(unchanged, kept);
}

/// By the command line: losses are said before the work, and later documents fill the index's own fields.
#[test]
fn an_imported_index_takes_documents_by_the_command_line() {
    if !common::has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (old, new, model) = (path("old"), path("new"), common::tiny_model());
    shop(Path::new(&old));
    let model = model.path().to_str().unwrap();
    let import = ["import", &old, "--model", model, "--fields", "name", "--index", &new, "--key"];
    let (code, _, err) = common::run(&[&import[..], &["brand"]].concat());
    assert!(code == 1 && err.contains("STRING | STORED") && !Path::new(&new).exists(), "{code} {err}");
    let (code, _, err) = common::run(&[&import[..], &["sku"]].concat());
    assert_eq!(code, 0, "{err}");
    let (lost, done) = (err.find("hidden").unwrap(), err.find("7 documents").unwrap());
    assert!(err.contains("read from its columns: brand, stock") && lost < done, "{err}");

    let write = |name: &str, text: &str| {
        std::fs::write(path(name), text).unwrap();
        path(name)
    };
    let late = write(
        "late.jsonl",
        "{\"_id\":\"late\",\"text\":\"copper kettle\",\"metadata\":{\"price\":9.5,\"kind\":\"/shop/late\",\"day\":\"2024-05-31T10:00:00Z\"},\"stock\":3}\n",
    );
    common::done(&["index", "--data", &late, "--index", &new, "--keep", "stock"]);
    for filter in ["price:9.5", "kind:/shop/late", "stock:3..3", "day:2024-05-31T10:00:00Z.."] {
        let out =
            common::done(&["search", "--index", &new, "--mode", "bm25", "--filter", filter, "--json", "copper kettle"]);
        let found: serde_json::Value = serde_json::from_str(&out).unwrap();
        let hit = found["hits"].as_array().unwrap().iter().find(|hit| hit["id"] == "late").unwrap();
        assert_eq!(
            (&hit["metadata"]["price"], &hit["metadata"]["stock"]),
            (&serde_json::json!(9.5), &serde_json::json!(3))
        );
    }
    let wrong = write(
        "wrong.jsonl",
        "{\"_id\":\"fine\",\"text\":\"iron\"}\n{\"_id\":\"wrong\",\"text\":\"iron\",\"metadata\":{\"price\":\"cheap\"}}\n{\"_id\":\"colour\",\"text\":\"iron\",\"metadata\":{\"colour\":1}}\n",
    );
    let index = ["index", "--data", &wrong, "--index", &new];
    let (code, _, err) = common::run(&index);
    let words = ["wrong.jsonl line 2", "`price` is \"cheap\"", "takes numbers", "nothing was written"];
    assert!(code == 1 && words.iter().all(|words| err.contains(words)), "{code} {err}");
    let (code, _, err) = common::run(&[&index[..], &["--on-wrong-line", "skip"]].concat());
    assert!(code == 0 && err.contains("2 lines were left out") && err.contains("9 documents in"), "{code} {err}");
}
