//! `adam delete`: documents go out of an index.

use std::path::PathBuf;

use adam_plugin::{Engine, Filter};
use anyhow::{Result, bail};
use clap::Args;

use crate::error::WrongCall;
use crate::screen::{counted, tell};

/// Delete documents by id, or by what they match. Needs no model.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = concat!("\
Examples:
  adam delete --index scifact-index 4983 5836
  adam delete --index scifact-index --filter year:..1999
  adam delete --index scifact-index --filter lang:de --filter year:2001
  adam delete --index scifact-index --filter '-lang:* OR released < 2019-06'

",
    crate::filter::filter_help!()))]
pub(crate) struct DeleteArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// Documents that match: FIELD:VALUE, FIELD:FROM..TO, FIELD>=VALUE, FIELD:(A, B), FIELD:*, joined by AND, OR, NOT and brackets.
    /// Repeated, all must match. A filter that no document matches is no failure; a warning says so.
    #[arg(long = "filter", alias = "filters", value_name = "FILTER", allow_hyphen_values = true)]
    filters: Vec<Filter>,
    /// Ids of documents.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

pub(crate) fn run(args: &DeleteArgs) -> Result<()> {
    if args.ids.is_empty() && args.filters.is_empty() {
        bail!(WrongCall("name the documents to delete, by their ids or by --filter FIELD:VALUE".to_owned()));
    }
    let engine = Engine::open(&args.index)?;
    for warning in engine.filter_warnings(&args.filters)? {
        tell(&format!("delete: warning: {warning}"));
    }
    let deleted = engine.delete(&args.ids, &args.filters)?;
    let (deleted, left) = (counted(deleted, "document"), engine.num_docs());
    tell(&format!("delete: {deleted} deleted, {left} left in {}", args.index.display()));
    Ok(())
}
