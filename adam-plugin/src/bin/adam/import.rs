//! `adam import` and `adam reembed`: an index becomes one with vectors, or with those of another model.

use std::path::PathBuf;

use adam_plugin::WriterSettings;
use adam_plugin::import::{ImportOptions, Imported, count, import, reembed};
use anyhow::Result;
use clap::Args;

use crate::model::{Chunks, Computing};
use crate::screen::{WriterProgress, tell};

/// Bring over a tantivy index that has no vectors, from its stored fields. Interrupted, it goes on when started again.
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
    /// Field that names a document, a stored text that is indexed as one term and not cut into words [default: made from the
    /// old index's own numbers].
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Folder of the new index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// Documents between two commits.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    commit_every: u64,
    #[command(flatten)]
    chunks: Chunks,
    #[command(flatten)]
    computing: Computing,
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
    computing: Computing,
}

/// Memory of the index writer, in bytes.
const MEMORY: usize = 128 << 20;

pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    let total = count(&args.old)?;
    let (encoder, pinned) = args.computing.open(&args.model)?;
    let options = ImportOptions {
        fields: args.fields.clone(),
        key: args.key.clone(),
        chunks: args.chunks.chunking(&encoder)?,
        commit_every: usize::try_from(args.commit_every)?,
        memory: MEMORY,
    };
    watched("import", total, |settings| Ok(import(&args.old, &args.index, encoder, pinned, &options, settings)?))
}

pub(crate) fn run_reembed(args: &ReembedArgs) -> Result<()> {
    let total = count_adam(&args.old)?;
    let (encoder, pinned) = args.computing.open(&args.model)?;
    let commit_every = usize::try_from(args.commit_every)?;
    watched("reembed", total, |settings| {
        Ok(reembed(&args.old, &args.index, encoder, pinned, commit_every, MEMORY, settings)?)
    })
}

fn count_adam(path: &std::path::Path) -> Result<u64> {
    Ok(adam_plugin::Engine::open(path)?.documents())
}

/// Does the work with a bar.
fn watched(name: &str, total: u64, work: impl FnOnce(WriterSettings) -> Result<Imported>) -> Result<()> {
    let watched = WriterProgress::new(name, total);
    let imported = work(watched.watch(WriterSettings::default()))?;
    let message = format!("{} documents ({} unchanged)", imported.documents, watched.unchanged());
    watched.finish(&message);
    if !imported.lost.is_empty() {
        tell(&format!("not stored in the old index, so empty in the new one: {}", imported.lost.join(", ")));
    }
    if imported.replaced > 0 {
        tell(&format!(
            "warning: {} documents of the old index share their key with another, and of each key only the last document is in the new one; import into another folder with a --key that names every document, or without --key",
            imported.replaced
        ));
    }
    Ok(())
}
