//! The `adam` command: text in, hybrid answers out.

mod check;
mod configuration;
mod delete;
mod encode;
mod error;
mod eval;
mod export;
mod filter;
mod import;
mod index;
mod info;
mod mcp;
mod model;
mod panics;
mod reading;
mod refine;
mod screen;
mod search;
mod serve;
mod shard;
mod shell;
mod signal;
mod tip;
mod values;
mod vector_output;
mod vectors;
mod words;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use error::WrongCall;
use screen::tell;

/// Index text with BM25 and with vectors of a sentence encoder in one tantivy index, and search by either or by both.
///
/// An index is one folder: text for BM25, a vector for every document, and a manifest that names the model that made the vectors. A
/// lexical search needs that folder only; a search by vectors opens the model that the manifest names.
#[derive(Parser)]
#[command(name = "adam", version, max_term_width = 100, after_long_help = EXAMPLES)]
struct Line {
    #[command(subcommand)]
    command: Command,
    /// TOML file with options: `top = 5` for all commands that have --top, `[search]` and `top = 5` for one.
    #[arg(long, global = true, value_name = "FILE", env = "ADAM_CONFIG")]
    #[allow(dead_code, reason = "read before the command line is, since it holds defaults for it")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  adam index --model student --data scifact.zip --index scifact-index
  adam search --index scifact-index \"does vitamin D protect against infections?\"
  adam search --index scifact-index --mode dense --top 3 --explain \"sleep and body weight\"
  adam eval --index scifact-index --data scifact.zip --split test
  adam serve --index scifact-index --listen 127.0.0.1:8080

Every option can also be set in the environment (ADAM_SEARCH_TOP=5 sets --top of `adam search`) or in a file:

  # adam.toml, for `adam --config adam.toml ...` or ADAM_CONFIG=adam.toml
  index = \"scifact-index\"
  [search]
  mode = \"hybrid\"
  top = 5
  filter = [\"year:2015..\", \"lang:en\"]

The command line wins over the environment, and the environment over the file.

Exit codes:
  0               done
  1               the work failed
  2               the call was wrong: an option, its value, or the configuration file
  130, 143, 129   stopped by Ctrl-C (SIGINT), SIGTERM or SIGHUP. `adam index` commits what it has first. `adam serve`
                  finishes running requests, commits all that it accepted, and ends with 0

Errors and warnings are printed to standard error. RUST_LOG=info or debug prints more, RUST_LOG=error or off less.";

/// What is logged unless RUST_LOG says otherwise: errors, and the warnings of our own crates.
const LOG: &str = "error,adam=warn,adam_plugin=warn,adam_server=warn,adam_encoder=warn,tantivy_dense=warn";

#[derive(Subcommand)]
enum Command {
    Index(index::IndexArgs),
    Shard(Box<shard::ShardArgs>),
    Search(search::SearchArgs),
    Eval(eval::EvalArgs),
    Encode(encode::EncodeArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Reembed(import::ReembedArgs),
    Delete(delete::DeleteArgs),
    Info(info::InfoArgs),
    Check(check::CheckArgs),
    Serve(Box<serve::ServeArgs>),
    Mcp(mcp::McpArgs),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

/// Exit code of a call that was wrong, as clap has it.
const WRONG_CALL: u8 = 2;

fn main() -> ExitCode {
    if let Err(error) = signal::listen() {
        tell(&format!("adam: warning: {}", screen::with_causes(&error)));
    }
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let file = configuration::named(&words);
    let mut command = match configuration::apply(Line::command(), file.as_deref()) {
        Ok(command) => command,
        Err(error) => {
            tell(&format!("error: {}", screen::with_causes(&error)));
            return ExitCode::from(WRONG_CALL);
        }
    };
    // Wrong calls end here with code 2, `--help` with 0.
    let matches = command.clone().try_get_matches_from(&words).unwrap_or_else(|error| {
        let origin = configuration::origin(&command, &words, file.as_deref(), &error);
        screen::show(&error);
        if let Some(origin) = origin {
            tell(&format!("The value comes from {origin}."));
        }
        std::process::exit(error.exit_code());
    });
    let line = Line::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    tracing_subscriber::fmt()
        .with_writer(|| screen::Log)
        .with_ansi(std::io::stderr().is_terminal())
        // It would panic if the reader of standard error has left.
        .log_internal_errors(false)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| LOG.into()))
        .init();
    let index = matches.subcommand().and_then(|(_, words)| words.try_get_one::<PathBuf>("index").ok().flatten());
    let done = panics::caught(index.map(PathBuf::as_path), || match line.command {
        Command::Index(args) => index::run(&args),
        Command::Shard(args) => shard::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Encode(args) => encode::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Reembed(args) => import::run_reembed(&args),
        Command::Delete(args) => delete::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Mcp(args) => mcp::run(&args),
        Command::Completions(args) => shell::completions::<Line>(&args),
        Command::Man(args) => shell::man::<Line>(&args),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if screen::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {}", screen::with_causes(&error)));
            if let Some(tip) = tip::tip(&error) {
                tell(&format!("tip: {tip}"));
            }
            match error.downcast_ref::<signal::Interruption>() {
                Some(stopped) => ExitCode::from(stopped.signal.code()),
                None if error.is::<WrongCall>() => ExitCode::from(WRONG_CALL),
                None => ExitCode::FAILURE,
            }
        }
    }
}
