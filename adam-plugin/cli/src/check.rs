//! `adam check`: whether every file is what was written.

use std::path::PathBuf;

use adam_plugin::check::{CheckReport, Kind, Severity, check};
use anyhow::{Result, bail};
use clap::Args;

use crate::screen::{one_line, say};

/// Verify every file of an index, of an exported model or of a training run: what is damaged, and what to do.
///
/// Reads everything once. Exit code 1 where something is damaged. A writer may be at work on the index meanwhile.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam check scifact-index
  adam check student
  adam check --json scifact-index | jq .findings")]
pub(crate) struct CheckArgs {
    /// Folder of the index, of the model, or of the run.
    #[arg(value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    let report = check(&args.index)?;
    if args.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        say(&described(args, &report))?;
    }
    let damaged = report.findings.iter().filter(|finding| finding.severity == Severity::Damage).count();
    if damaged > 0 {
        bail!("{}: {damaged} of what was checked is damaged", args.index.display());
    }
    Ok(())
}

fn described(args: &CheckArgs, report: &CheckReport) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Damage => "damaged",
            Severity::Note => "note",
        };
        out.push_str(&format!(
            "{severity}: {}: {}\n  what to do: {}\n",
            finding.path.display(),
            one_line(&finding.problem),
            finding.remedy
        ));
    }
    let documents = match report.kind {
        Kind::Index => format!(", words of {} documents looked up", report.documents),
        Kind::Listed => String::new(),
    };
    let megabytes = report.bytes as f64 / 1e6;
    let outcome = if report.is_damaged() { "damaged" } else { "whole" };
    out + &format!("{}: {outcome}; {} files, {megabytes:.1} MB{documents}\n", args.index.display(), report.files)
}
