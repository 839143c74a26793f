//! `adam-train grid`: the runs that decide whether dark examples help, from one configuration.

use crate::commands::run::RunArgs;
use crate::error::TrainError;
use crate::report::Reporter;
use crate::stages::{GridOptions, Letter, grid};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// The call.
#[derive(Clone, Debug, Args)]
pub struct GridArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Seeds of distillation; each run is made once with each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3], value_name = "N,N,..")]
    seeds: Vec<u64>,
    /// Which runs [default: all].
    #[arg(long, value_delimiter = ',', value_enum, ignore_case = true, value_name = "A,B,..")]
    runs: Vec<LetterName>,
    /// Also write the table to this file.
    #[arg(long, value_name = "FILE.md")]
    table: Option<PathBuf>,
    /// Keep every run's student (some hundred megabytes each).
    #[arg(long)]
    keep_models: bool,
}

/// Runs of the grid, as the command line has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum LetterName {
    /// Contrastive only.
    A,
    /// A + distillation on natural candidates.
    B,
    /// B, candidates stratified over the teacher's scores.
    C,
    /// B + reinforced negatives.
    D,
    /// B + noisy positives.
    E,
    /// B + both.
    F,
    /// F + self-paced selection.
    G,
    /// F on a random subset of the same size.
    H,
}

/// Runs the grid as far as it is not done, and gives the table.
///
/// # Errors
/// As [`grid`].
pub fn run(args: &GridArgs, reporter: &Reporter, stop: &AtomicBool) -> Result<String, TrainError> {
    let config = args.run.read()?;
    let mut letters: Vec<Letter> = Letter::ALL.to_vec();
    if !args.runs.is_empty() {
        letters.retain(|letter| args.runs.iter().any(|name| *name as usize == *letter as usize));
    }
    let mut seeds = args.seeds.clone();
    seeds.sort_unstable();
    seeds.dedup();
    let options = GridOptions { letters, seeds, keep_models: args.keep_models };
    let report = grid(&config, &options, reporter, stop)?;
    let text = report.to_markdown();
    if let Some(path) = &args.table {
        crate::files::write_whole(path, text.as_bytes())?;
    }
    Ok(text)
}
