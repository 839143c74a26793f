//! The `adam` command: text in, hybrid answers out.

mod encode;
mod eval;
mod import;
mod index;
mod model;
mod screen;
mod search;
mod serve;
mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Puts a sentence encoder into a tantivy index: index text with its vectors, search by words and meaning.
#[derive(Parser)]
#[command(name = "adam", version, max_term_width = 100, after_long_help = EXAMPLES)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  adam index --model student --data scifact.zip --index scifact-index
  adam search --index scifact-index \"does vitamin D protect against infections?\"
  adam search --index scifact-index --mode dense --top 3 --explain \"sleep and body weight\"
  adam eval --index scifact-index --data scifact.zip --split test
  adam serve --index scifact-index --listen 127.0.0.1:8080

Exit codes: 0 done, 1 the work failed, 2 the call was wrong.";

#[derive(Subcommand)]
enum Command {
    Index(index::IndexArgs),
    Search(search::SearchArgs),
    Eval(eval::EvalArgs),
    Encode(encode::EncodeArgs),
    Import(import::ImportArgs),
    Reembed(import::ReembedArgs),
    Serve(Box<serve::ServeArgs>),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

fn main() -> ExitCode {
    // Wrong calls end here with code 2, `--help` with 0.
    let line = Line::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .init();
    let done = match line.command {
        Command::Index(args) => index::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Encode(args) => encode::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Reembed(args) => import::run_reembed(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Completions(args) => {
            shell::completions::<Line>(&args);
            Ok(())
        }
        Command::Man(args) => shell::man::<Line>(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
