//! `adam import` and `adam reembed`: an index becomes one with vectors, or with those of another model.

use std::path::PathBuf;

use adam_plugin::import::{ImportOptions, ImportReport, Plan, ReembedOptions, losses, reembed};
use adam_plugin::{Engine, WriterSettings};
use anyhow::Result;
use clap::Args;

use crate::model::{ChunkArgs, ComputeArgs};
use crate::screen::{WriterProgress, counted, tell};

/// Bring over a tantivy index that has no vectors, from its stored fields and its columns.
///
/// Fields that are neither stored nor fast are empty in the new index; they are named before the work begins. Documents that are added
/// later fill the index's own fields by their metadata. Interrupted, it goes on when started again.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam import shop-index --model student --fields title,description --key sku --index shop-index-dense")]
pub(crate) struct ImportArgs {
    /// Folder of the index to read. It is left as it is.
    old: PathBuf,
    /// Folder in sentence-transformers layout with ONNX, or a Hugging Face id.
    #[arg(long, value_name = "STUDENT", env = "ADAM_MODEL")]
    model: PathBuf,
    /// Stored text fields to embed and to search by words.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', required = true)]
    fields: Vec<String>,
    /// Field that names a document, a stored text that is indexed as one term and not cut into words, with another value for each
    /// document [default: made from the old index's own numbers].
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Folder of the new index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// Documents between two commits.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    commit_every: u64,
    #[command(flatten)]
    chunks: ChunkArgs,
    #[command(flatten)]
    computing: ComputeArgs,
}

/// Make an index of adam anew with the vectors of another model. Interrupted, it goes on when started again.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam reembed scifact-index --model better-student --index scifact-index-2")]
pub(crate) struct ReembedArgs {
    /// Folder of the index to read. It is left as it is.
    old: PathBuf,
    /// The other model: a folder in sentence-transformers layout with ONNX, or a Hugging Face id.
    #[arg(long, value_name = "STUDENT")]
    model: PathBuf,
    /// Folder of the new index.
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    /// Documents between two commits.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    commit_every: u64,
    #[command(flatten)]
    computing: ComputeArgs,
}

pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    let (encoder, pinned) = args.computing.open(&args.model)?;
    let mut options = ImportOptions::new(&args.fields).commit_every(usize::try_from(args.commit_every)?);
    if let Some(key) = &args.key {
        options = options.key(key);
    }
    if let Some(chunking) = args.chunks.chunking(&encoder)? {
        options = options.chunks(chunking);
    }
    let plan = Plan::new(&args.old, &options)?;
    if !plan.recovered().is_empty() {
        tell(&format!(
            "import: not stored in the old index, and read from its columns: {}",
            plan.recovered().join(", ")
        ));
    }
    warn_of(plan.lost());
    watched("import", plan.num_docs(), |settings| Ok(plan.run(&args.index, encoder, pinned, settings)?))
}

/// Names what will be lost, before the work.
fn warn_of(lost: &[String]) {
    if !lost.is_empty() {
        tell(&format!(
            "warning: neither stored nor fast in the old index, so empty in the new one: {} (to keep them, make the new index from the \
             documents themselves)",
            lost.join(", ")
        ));
    }
}

pub(crate) fn run_reembed(args: &ReembedArgs) -> Result<()> {
    let total = Engine::open(&args.old)?.num_docs();
    warn_of(&losses(&args.old)?);
    let (encoder, pinned) = args.computing.open(&args.model)?;
    let options = ReembedOptions::default().commit_every(usize::try_from(args.commit_every)?);
    watched("reembed", total, |settings| Ok(reembed(&args.old, &args.index, encoder, pinned, &options, settings)?))
}

/// Does the work with a bar.
fn watched(name: &str, total: u64, work: impl FnOnce(WriterSettings) -> Result<ImportReport>) -> Result<()> {
    let watched = WriterProgress::new(name, total);
    let report = work(watched.watch(WriterSettings::default()))?;
    let message = format!("{} ({} unchanged)", counted(report.num_docs, "document"), watched.unchanged());
    watched.finish(&message);
    Ok(())
}
