//! The whole path on the small collection that ships with the project: train, export, index, search, evaluate.

use std::path::Path;

use adam_tests::{pocket, run_ok, workspace};
use anyhow::{Context, Result};
use serde_json::Value;

#[test]
fn train_export_index_and_ask() -> Result<()> {
    if !workspace().join(".native/all-MiniLM-L6-v2/model.safetensors").is_file() {
        println!("skipped: .native/all-MiniLM-L6-v2 is not there (make setup brings it)");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (work, index, report) = (at("work"), at("index"), at("eval.json"));
    let configuration = "trainer/configs/pocket.toml";

    let said = run_ok("adam-train", &["run", configuration, "--data", &pocket(), "--work", &work])?;
    let verdict = said.out.lines().last().context("adam-train said nothing")?.to_owned();
    assert!(verdict.starts_with("VERDICT: "), "the last line is {verdict:?}");
    let student = Path::new(&work).join("student").display().to_string();

    // A second run finds everything done.
    let again = run_ok("adam-train", &["run", configuration, "--data", &pocket(), "--work", &work])?;
    assert_eq!(again.out.lines().last(), Some(verdict.as_str()), "the verdict of a finished run is repeated");

    run_ok("adam", &["index", "--model", &student, "--data", &pocket(), "--index", &index])?;
    for mode in ["bm25", "dense", "hybrid"] {
        let said = run_ok(
            "adam",
            &["search", "--index", &index, "--mode", mode, "--top", "3", "--json", "why does glass have no crystals?"],
        )?;
        let answer: Value = serde_json::from_str(&said.out)?;
        assert_eq!(answer["hits"][0]["id"], "p28", "{mode}: {answer}");
    }
    run_ok(
        "adam",
        &[
            "eval",
            "--index",
            &index,
            "--data",
            &pocket(),
            "--split",
            "test",
            "--mode",
            "bm25,dense,hybrid",
            "--json",
            &report,
        ],
    )?;
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report)?)?;
    for mode in ["bm25", "dense", "hybrid"] {
        let figures = report[mode].as_object().with_context(|| format!("{mode} in {report}"))?;
        assert_eq!(figures["queries"], 60, "{mode}");
        let mut names: Vec<&str> = figures.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["map@100", "mrr@10", "ndcg@10", "queries", "recall@100"]);
    }
    let dense = report["dense"]["ndcg@10"].as_f64().context("dense")?;
    assert!(dense > 0.7, "60 easy questions, and dense nDCG@10 is {dense}");
    Ok(())
}
