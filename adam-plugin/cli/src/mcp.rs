//! `adam mcp`: an index for assistants.

use std::path::PathBuf;
use std::sync::Arc;

use adam_server::{Service, ServiceOptions, serve_stdio};
use anyhow::{Context, Result};
use clap::Args;

use crate::model::{DeviceArgs, RuntimeArgs};
use crate::words::SynonymArgs;

/// Let an assistant search an index, by the Model Context Protocol over standard input and output.
///
/// It has three tools that only read: search (by words, by meaning or by both, with filters), fetch (a whole document by id) and info.
/// `adam serve` offers the same at /mcp. Ends when the assistant closes standard input.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam mcp --index papers-index

In the configuration of an assistant that starts its servers itself:
  {\"mcpServers\": {\"papers\": {\"command\": \"adam\", \"args\": [\"mcp\", \"--index\", \"/data/papers-index\"]}}}")]
pub(crate) struct McpArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// The model's folder, if it has moved since the index was made.
    #[arg(long, value_name = "FOLDER", env = "ADAM_MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    running: RuntimeArgs,
    #[command(flatten)]
    searching: DeviceArgs,
    #[command(flatten)]
    synonyms: SynonymArgs,
}

pub(crate) fn run(args: &McpArgs) -> Result<()> {
    let engine = args.synonyms.apply(args.searching.builder(&args.index).open()?)?;
    let options = args.running.options();
    let encoder = Arc::new(engine.manifest().model.open(engine.path(), args.model.as_deref(), &options)?);
    let service = Service::new(engine, encoder, ServiceOptions::default().read_only(true))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let served = runtime.block_on(serve_stdio(service));
    // A search that is under way must not hold the end up.
    runtime.shutdown_background();
    Ok(served?)
}
