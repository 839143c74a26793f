//! `adam info`: what an index is.

use std::path::PathBuf;

use adam_plugin::Engine;
use adam_plugin::engine::MetadataNames;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::screen::{one_line, say, say_json};

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
    let manifest = engine.manifest();
    let names = engine.metadata_names()?;
    if args.json {
        let report = json!({
            "documents": engine.num_docs(), "segments": metas.segments.len(), "deleted_rows": deleted, "bytes": bytes,
            "model": manifest.model, "layout": manifest.layout, "language": engine.language().map(|language| language.to_string()),
            "metadata": names.names, "more_metadata": names.has_more,
        });
        return say_json(&report);
    }
    let (model, layout) = (&manifest.model, &manifest.layout);
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
        engine.num_docs(),
        metas.segments.len(),
        bytes as f64 / 1e6,
        model.name,
        model.precision,
        model.dimension,
        model.fingerprint,
        layout.searched.join(", "),
        layout.template,
        described(&names),
    ))
}

/// Names of metadata that are shown to people; `--json` has all.
const SHOWN: usize = 100;

/// The names that filters can use, one a line, with the kinds of their values and the number of documents that have them.
fn described(names: &MetadataNames) -> String {
    if names.names.is_empty() {
        return "none".to_owned();
    }
    let shown = &names.names[..names.names.len().min(SHOWN)];
    let mut lines: Vec<String> = shown
        .iter()
        .map(|name| {
            let documents = match name.documents {
                Some(1) => ", 1 document".to_owned(),
                Some(count) => format!(", {count} documents"),
                None => String::new(),
            };
            format!("{} ({}{documents})", one_line(&name.name), name.kinds.join(", "))
        })
        .collect();
    if shown.len() < names.names.len() || names.has_more {
        let more = if names.has_more { "more than " } else { "" };
        lines.push(format!("and {more}{} more, see --json", names.names.len() - shown.len()));
    }
    lines.join("\n           ")
}
