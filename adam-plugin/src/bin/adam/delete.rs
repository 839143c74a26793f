//! `adam delete`: documents go out of an index.

use std::path::PathBuf;

use adam_plugin::{Engine, Filter};
use anyhow::Result;
use clap::Args;

use crate::screen::tell;

/// Delete documents by id, or by what they match. Needs no model.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = concat!("\
Examples:
  adam delete --index scifact-index 4983 5836
  adam delete --index scifact-index --filter year:..1999
  adam delete --index scifact-index --filter lang:de --filter year:2001
  adam delete --index scifact-index --filter '-lang:* OR released < 2019-06'

",
    crate::filter_help!()))]
pub(crate) struct DeleteArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// Documents that match: FIELD:VALUE, FIELD:FROM..TO, FIELD>=VALUE, FIELD:(A, B), FIELD:*, joined by AND, OR, NOT and brackets.
    /// Repeated, all must match. A filter that no document matches is no failure; a warning says so.
    #[arg(long = "filter", alias = "filters", value_name = "FILTER", allow_hyphen_values = true)]
    filters: Vec<Filter>,
    /// Ids of documents.
    #[arg(value_name = "ID", required_unless_present = "filters")]
    ids: Vec<String>,
}

pub(crate) fn run(args: &DeleteArgs) -> Result<()> {
    let engine = Engine::open(&args.index)?;
    for warning in engine.filter_warnings(&args.filters)? {
        tell(&format!("delete: warning: {warning}"));
    }
    let deleted = engine.delete(&args.ids, &args.filters)?;
    tell(&format!("delete: {deleted} documents deleted, {} are left in {}", engine.documents(), args.index.display()));
    Ok(())
}
