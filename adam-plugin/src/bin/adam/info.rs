//! `adam info`: what an index is.

use std::path::PathBuf;

use adam_plugin::Engine;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::screen::say;

/// Say what an index holds: documents, segments, size, its model and its fields.
#[derive(Clone, Debug, Args)]
pub(crate) struct InfoArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &InfoArgs) -> Result<()> {
    let engine = Engine::open(&args.index)?;
    let metas = engine.index().load_metas()?;
    let deleted: u64 = metas.segments.iter().map(|segment| u64::from(segment.num_deleted_docs())).sum();
    // A writer may take files away meanwhile.
    let files = std::fs::read_dir(&args.index).with_context(|| format!("reading {}", args.index.display()))?;
    let bytes: u64 = files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    let card = engine.card();
    if args.json {
        let report = json!({
            "documents": engine.documents(), "segments": metas.segments.len(), "deleted_rows": deleted, "bytes": bytes,
            "model": card.model, "layout": card.layout, "language": engine.language().map(|language| language.to_string()),
        });
        return say(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    let (model, layout) = (&card.model, &card.layout);
    let folder = model.folder.as_ref().map_or_else(|| "not noted".to_owned(), |folder| folder.display().to_string());
    let chunks = layout.chunks.map_or_else(
        || "none: one vector a document".to_owned(),
        |chunks| format!("{} tokens, overlapping by {}", chunks.tokens, chunks.overlap),
    );
    let language = engine.language().map_or_else(String::new, |language| format!(" ({language})"));
    say(&format!(
        "documents  {}\nsegments   {} ({deleted} rows deleted and not yet merged away)\nsize       {:.1} MB\n\
         model      {} ({}, {} values, fingerprint {:.12})\n           {folder}\n\
         searched   {}{language}\nembedded   {}\nmetadata   {}\nchunks     {chunks}\n",
        engine.documents(),
        metas.segments.len(),
        bytes as f64 / 1e6,
        model.name,
        model.precision,
        model.dimension,
        model.fingerprint,
        layout.searched.join(", "),
        layout.template,
        layout.metadata.as_deref().unwrap_or("none"),
    ))
}
