//! BEIR SciFact through the real programs: the figures that the README states.

use adam_tests::{collection, minilm, run_ok};
use anyhow::{Context, Result};
use serde_json::Value;

fn figure(report: &Value, mode: &str, metric: &str) -> Result<f64> {
    report[mode][metric].as_f64().with_context(|| format!("{mode} {metric} in {report}"))
}

#[test]
fn bm25_minilm_and_hybrid_reach_their_figures() -> Result<()> {
    let Some(data) = collection("scifact") else { return Ok(()) };
    let Some(model) = minilm() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let index = folder.path().join("index").display().to_string();
    let json = folder.path().join("eval.json");
    let json_text = json.display().to_string();

    run_ok("adam", &["index", "--model", &model, "--data", &data, "--index", &index])?;
    let said = run_ok(
        "adam",
        &[
            "eval",
            "--index",
            &index,
            "--data",
            &data,
            "--split",
            "test",
            "--mode",
            "bm25,dense,hybrid",
            "--json",
            &json_text,
        ],
    )?;
    println!("{}", said.out);

    let report: Value = serde_json::from_str(&std::fs::read_to_string(json)?)?;
    for mode in ["bm25", "dense", "hybrid"] {
        assert_eq!(report[mode]["queries"].as_u64(), Some(300), "{mode}");
    }
    let (bm25, dense, hybrid) = (
        figure(&report, "bm25", "ndcg@10")?,
        figure(&report, "dense", "ndcg@10")?,
        figure(&report, "hybrid", "ndcg@10")?,
    );
    assert!(bm25 >= 0.66, "BM25 nDCG@10 is {bm25}");
    assert!((dense - 0.645).abs() <= 0.01, "MiniLM nDCG@10 is {dense}; sentence-transformers gives 0.645");
    assert!(hybrid > bm25.max(dense), "hybrid {hybrid} does not beat BM25 {bm25} and dense {dense}");
    Ok(())
}
