//! What `report.html` shows of a run, gathered from what its stages left.

use super::context::Stamp;
use super::dev::HeldOut;
use super::eval::{Measured, TestSet, Verdict};
use super::pipeline::Pipeline;
use super::score::ScoreOutcome;
use crate::error::TrainError;
use crate::report::{RunReport, Table, read_curves};
use std::path::Path;

/// Changed queries that are shown of each sort.
const SHOWN: usize = 12;

/// Writes the report of a run as far as it is done.
///
/// # Errors
/// When a run's rankings cannot be read or the file cannot be written.
pub(super) fn write_report(pipeline: &Pipeline<'_>, verdict: Option<&Verdict>) -> Result<(), TrainError> {
    let context = pipeline.context();
    let config = context.config;
    let mut report = RunReport {
        title: format!("adam-train: {}", config.run.output.display()),
        verdict: verdict.map_or_else(|| "not evaluated (yet)".to_owned(), Verdict::line),
        settings: toml::to_string_pretty(config).unwrap_or_default(),
        curves: read_curves(&pipeline.own_path(""))?,
        warnings: pipeline.warnings(),
        ..RunReport::default()
    };
    if !config.run.branch.as_os_str().is_empty() {
        // Stages that are shared with other runs of the output write their curves there.
        report.curves.extend(read_curves(&config.run.output)?);
    }
    let mut measured: Vec<(&str, Measured)> = Vec::new();
    for (name, before) in [("before", true), ("after", false)] {
        if let Ok(found) = pipeline.measured(before) {
            measured.push((name, found));
        }
    }
    if !measured.is_empty() {
        let metrics: Vec<String> = measured[0].1.metrics.keys().cloned().collect();
        let row = |name: String, found: &std::collections::BTreeMap<String, f64>| {
            let values = metrics.iter().map(|m| found.get(m).map_or(String::new(), |v| format!("{v:.4}")));
            std::iter::once(name).chain(values).collect()
        };
        let rows = measured.iter().flat_map(|(name, found)| {
            let hybrid = format!("{name}, hybrid (dense weight {:.2})", found.hybrid_weight);
            [row(format!("{name}, dense"), &found.metrics), row(hybrid, &found.hybrid)]
        });
        report.tables.push(Table {
            title: "Test queries".to_owned(),
            columns: std::iter::once(String::new()).chain(metrics.clone()).collect(),
            rows: rows.collect(),
        });
    }
    for (name, folder) in pipeline.stage_folders() {
        let Some(stamp) = read_stamp(&folder) else { continue };
        report.costs.push((name.clone(), stamp.seconds));
        if let Ok(outcome) = serde_json::from_value::<ScoreOutcome>(stamp.outcome.clone()) {
            report.tables.extend(outcome.held_out.as_ref().map(|held_out| voices(&name, held_out)));
            report.calibrations.push((name.clone(), outcome.calibration));
        }
        if let Some(kept) = stamp.outcome["kept_weights"].as_str().filter(|kept| !kept.is_empty()) {
            report.tables.push(Table {
                title: format!("What {name} kept"),
                columns: vec!["weights".to_owned()],
                rows: vec![vec![kept.to_owned()]],
            });
        }
    }
    if let (Some(test), Some(_)) = (pipeline.test(), verdict) {
        let (won, lost) = changed(test, pipeline, SHOWN)?;
        (report.won, report.lost) = (won, lost);
    }
    crate::files::write_whole(&pipeline.own_path("report.html"), report.to_html().as_bytes())
}

fn read_stamp(folder: &Path) -> Option<Stamp> {
    serde_json::from_slice(&std::fs::read(folder.join("stamp.json")).ok()?).ok()
}

/// How the teacher and its voices rank held-out queries.
fn voices(stage: &str, held_out: &HeldOut) -> Table {
    let row = |name: &str, ndcg: f64, weight: String| vec![name.to_owned(), format!("{ndcg:.4}"), weight];
    let mut rows: Vec<Vec<String>> =
        held_out.voices.iter().map(|voice| row(&voice.name, voice.ndcg, format!("{:.2}", voice.weight))).collect();
    let divided = held_out.temperature.map(|t| format!("temperature {t}")).unwrap_or_default();
    rows.push(row("teacher", held_out.teacher, divided));
    rows.push(row("its student", held_out.student, String::new()));
    Table {
        title: format!("The teacher's voices on {} held-out queries ({stage})", held_out.queries),
        columns: ["voice", "nDCG@10", "weight"].map(str::to_owned).to_vec(),
        rows,
    }
}

type Changed = Vec<crate::report::ChangedQuery>;

/// Test queries with the largest gains and losses.
fn changed(test: &TestSet, pipeline: &Pipeline<'_>, most: usize) -> Result<(Changed, Changed), TrainError> {
    let mut all =
        test.changed(pipeline.context(), &pipeline.context().shared_path("before"), &pipeline.own_path("after"))?;
    all.sort_by(|a, b| (b.after - b.before).total_cmp(&(a.after - a.before)));
    let lost = all.iter().rev().filter(|q| q.after < q.before).take(most).cloned().collect();
    let won = all.into_iter().filter(|q| q.after > q.before).take(most).collect();
    Ok((won, lost))
}
