//! The `adam-train` command.

mod allocator;

use adam_train::TrainError;
use adam_train::commands::export::ExportTarget;
use adam_train::commands::{export, grid, run};
use adam_train::config::DEFAULTS;
use adam_train::data::FORMATS;
use adam_train::report::{Reporter, tell};
use adam_train::stages::Stage;
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Distils a cross-encoder teacher into a small sentence encoder, and exports it as ONNX.
///
/// One TOML file describes a run: where the data is, which model to start from, how each stage works. Every key but the
/// paths has a default. A run that was stopped, by Ctrl-C, SIGTERM or otherwise, goes on where it was when the same command is given
/// again; what a change of settings does not touch is not done twice.
#[derive(Parser)]
#[command(name = "adam-train", version, max_term_width = 100, after_long_help = EXAMPLES)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  adam-train config > run.toml
      Every setting with its default, to begin a configuration of your own with.
  adam-train check --data rows.jsonl
      Whether training rows are understood: the first ones as they were read. `adam-train formats` tells which are.
  adam-train check trainer/configs/scifact.toml --data scifact.zip
      What is in the data, how long texts are, how many steps each stage takes.
  adam-train run --data corpus.jsonl
      Adapts all-MiniLM-L6-v2 to a corpus without any judgements: queries are made from its passages. With a query log:
      --set queries.log=queries.tsv. The student is adam-run/student.
  adam-train run trainer/configs/scifact.toml --data scifact.zip --work runs/scifact
      The whole run. The student is runs/scifact/student, the last line the verdict.
  adam-train run trainer/configs/scifact.toml --data scifact.zip --work runs/scifact --set distil.epochs=3
      Distils again for longer; mining, teacher and scores are reused.
  adam-train run FILE.toml --device cuda --memory-limit 40GB
      On a GPU: set LIBTORCH to a libtorch 2.11 with CUDA, such as the PyTorch package's folder.
  adam-train export --model all-MiniLM-L6-v2 --output minilm-onnx
      Any BERT-family sentence encoder as a folder with ONNX.

Exit codes: 0 done; 1 the work failed; 2 the call or the configuration is wrong; 130 stopped by Ctrl-C, 143 by SIGTERM:
what was done is kept, and the same command goes on.";

#[derive(Subcommand)]
enum Command {
    /// The whole run: every stage below, as far as it is not finished. Ends with the line `VERDICT: ...`.
    Run(run::RunArgs),
    /// Contrastive training of the student before mining, where the configuration asks for it.
    WarmUp(run::RunArgs),
    /// Candidates for every training query, by BM25 and by the student's vectors.
    Mine(run::RunArgs),
    /// Training of the cross-encoder teacher, and what it needs.
    Teacher(run::RunArgs),
    /// The teacher's scores of candidates and dark examples, and what they need; resumable.
    Score(run::RunArgs),
    /// Distillation of the student, and what it needs.
    Distil(run::RunArgs),
    /// A model folder as ONNX, in a folder that every consumer of sentence encoders loads.
    Export(export::ExportCommand),
    /// The student against the model before training, on whole passages; and what it needs.
    Eval(run::RunArgs),
    /// Runs A to H of the method from one configuration: contrastive only, distillation on natural candidates, with dark examples,
    /// self-paced; equal steps and passages, several seeds, one teacher. Prints a table with p-values.
    Grid(grid::GridArgs),
    /// Reads configuration and data and says what a run would do. Trains nothing.
    Check {
        #[command(flatten)]
        args: run::RunArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints a configuration file with every setting, its default and what it is.
    Config,
    /// Prints which training data is read: every form of rows with an example, the names of fields, what is refused.
    Formats,
}

fn main() -> ExitCode {
    // Wrong calls end here with code 2, `--help` with 0.
    let line = Line::parse();
    show_messages();
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return ended(&error, 0),
    };
    match carry_out(line.command, &stop.asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ended(&error, stop.signal.load(Ordering::SeqCst)),
    }
}

/// Says why it ended, and gives the exit code: 128 and the signal for a run that was asked to stop, 2 where the call or its
/// configuration is wrong, 1 for all else.
fn ended(error: &TrainError, signal: i32) -> ExitCode {
    tell(&format!("error: {error}"));
    match error {
        TrainError::Interrupted => ExitCode::from(u8::try_from(128 + signal).unwrap_or(130)),
        TrainError::Config(_) => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}

/// Messages go to standard error, coloured on a terminal only, and get lost without complaint where its reader has left.
fn show_messages() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_env_filter(messages())
        .init();
}

/// Prints to standard output. It is no fault that the reader has seen enough and left (`adam-train check ... | head -1`).
fn show(text: &str) -> Result<(), TrainError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(TrainError::io("standard output", e)),
        _ => Ok(()),
    }
}

/// Which messages are shown beside the run's own lines: warnings, or what RUST_LOG asks for.
fn messages() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "error,adam_train=warn,adam_encoder=warn,tantivy_dense=warn".into())
}

fn carry_out(command: Command, stop: &AtomicBool) -> Result<(), TrainError> {
    let reporter = Reporter::new();
    let (args, last) = match command {
        Command::Run(args) => (args, Stage::Eval),
        Command::WarmUp(args) => (args, Stage::WarmUp),
        Command::Mine(args) => (args, Stage::Mine),
        Command::Teacher(args) => (args, Stage::Teacher),
        Command::Score(args) => (args, Stage::Score),
        Command::Distil(args) => (args, Stage::Distil),
        Command::Eval(args) => (args, Stage::Eval),
        Command::Export(command) => match command.target() {
            ExportTarget::Run(args) => (args, Stage::Export),
            ExportTarget::Folder(args) => return show(&export::run(&args)?),
        },
        Command::Grid(args) => return show(&grid::run(&args, &reporter, stop)?),
        Command::Config => return show(DEFAULTS),
        Command::Formats => return show(FORMATS),
        Command::Check { args, json } => return show(&format!("{}\n", run::check(&args, json)?.trim_end())),
    };
    if let Some(line) = run::run(&args, last, &reporter, stop)? {
        show(&format!("{line}\n"))?;
    }
    Ok(())
}

/// What a signal asked for.
#[derive(Clone, Default)]
struct Stop {
    /// Looked at between steps.
    asked: Arc<AtomicBool>,
    /// Number of the signal; 0 while none has come.
    signal: Arc<AtomicI32>,
}

/// The first Ctrl-C or SIGTERM asks the stage to write a checkpoint and end; the second ends at once. A handler of our own, as the first
/// process of a container has none otherwise. SIGHUP is left as it is: under `nohup` it is to be ignored.
fn stop_on_signals() -> Result<Stop, TrainError> {
    let stop = Stop::default();
    let told = stop.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| TrainError::io("signals", e))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if told.asked.swap(true, Ordering::SeqCst) {
                std::process::exit(128 + signal);
            }
            told.signal.store(signal, Ordering::SeqCst);
            tell("stopping after this step; once more to stop at once");
        }
    });
    Ok(stop)
}
