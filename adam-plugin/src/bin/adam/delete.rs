//! `adam delete`: documents go out of an index.

use std::path::PathBuf;

use adam_plugin::{Engine, Filter};
use anyhow::Result;
use clap::Args;

use crate::screen::tell;

/// Delete documents by id, or by what they match. Needs no model.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam delete --index scifact-index 4983 5836
  adam delete --index scifact-index --filter year:..1999
  adam delete --index scifact-index --filter lang:de --filter year:2001")]
pub(crate) struct DeleteArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// Documents that match: FIELD:VALUE, or FIELD:FROM..TO for numbers and dates. Repeated, all must match.
    #[arg(long = "filter", value_name = "FIELD:VALUE")]
    filters: Vec<Filter>,
    /// Ids of documents.
    #[arg(value_name = "ID", required_unless_present = "filters")]
    ids: Vec<String>,
}

pub(crate) fn run(args: &DeleteArgs) -> Result<()> {
    let engine = Engine::open(&args.index)?;
    let deleted = engine.delete(&args.ids, &args.filters)?;
    tell(&format!("delete: {deleted} documents deleted, {} are left in {}", engine.documents(), args.index.display()));
    Ok(())
}
