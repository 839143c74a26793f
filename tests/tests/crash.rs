//! `adam index` killed in the middle and run again: nothing lost that was committed, nothing doubled.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::time::Duration;

use adam_tests::{command, minilm, run_ok};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

const DOCUMENTS: usize = 600;

#[test]
fn killed_and_run_again() -> Result<()> {
    let Some(model) = minilm() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("corpus.jsonl");
    let mut file = fs::File::create(&data)?;
    for number in 0..DOCUMENTS {
        writeln!(file, r#"{{"_id": "d{number}", "title": "", "text": "everyone speaks of entry mark{number}"}}"#)?;
    }
    drop(file);
    let (data, index) = (data.display().to_string(), folder.path().join("index").display().to_string());
    let arguments = ["index", "--model", &model, "--data", &data, "--index", &index, "--commit-every", "50"];

    let mut interrupted = 0;
    for attempt in 0..12_u64 {
        let mut child = command("adam")?
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .context("starting adam")?;
        std::thread::sleep(Duration::from_millis(700 + 137 * attempt));
        if child.try_wait()?.is_none() {
            child.kill()?;
            interrupted += 1;
        }
        child.wait()?;
    }
    println!("{interrupted} of 12 runs were killed");
    ensure!(interrupted > 0, "no run lasted long enough to be killed");
    run_ok("adam", &arguments)?;

    let found = ids(&index, "bm25", "everyone speaks of entry")?;
    let distinct: HashSet<&String> = found.iter().collect();
    assert_eq!(found.len(), DOCUMENTS, "every document once by text");
    assert_eq!(distinct.len(), DOCUMENTS, "no document twice by text");
    let found = ids(&index, "dense", "everyone speaks of entry")?;
    let distinct: HashSet<&String> = found.iter().collect();
    assert_eq!((found.len(), distinct.len()), (DOCUMENTS, DOCUMENTS), "every document once by vector");
    Ok(())
}

fn ids(index: &str, mode: &str, query: &str) -> Result<Vec<String>> {
    let top = (DOCUMENTS * 2).to_string();
    let said = run_ok("adam", &["search", "--index", index, "--mode", mode, "--top", &top, "--json", query])?;
    let answer: Value = serde_json::from_str(&said.out)?;
    let hits = answer["hits"].as_array().context("hits")?;
    hits.iter().map(|hit| Ok(hit["id"].as_str().context("id")?.to_owned())).collect()
}
