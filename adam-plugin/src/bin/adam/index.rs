//! `adam index`: a collection becomes an index with text and vectors.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adam_plugin::engine::Document;
use adam_plugin::{Engine, IndexOptions, Language, OnFailure, WriterSettings};
use anyhow::{Context, Result, bail};
use beir::Collection;
use clap::Args;

use crate::encode::read_vectors;
use crate::model::{Chunks, Computing};
use crate::screen::{WriterProgress, one_line, tell};

/// Index a collection: its text for BM25, its vectors by a model, in one tantivy index.
///
/// Documents are kept by id: run again, it goes on from the last commit, encodes only what is new or changed, and doubles
/// nothing. The model is pinned in the index.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam index --model student --data scifact.zip --index scifact-index
  adam index --model sentence-transformers/all-MiniLM-L6-v2 --data corpus.jsonl --index my-index --precision int8
  adam index --model student --data books.jsonl --index books-index --chunk-tokens 200 --chunk-overlap 40
  adam index --model e5-multilingual --data artikel.jsonl.gz --index artikel-index --language german")]
pub(crate) struct IndexArgs {
    /// Folder in sentence-transformers layout with ONNX, or a Hugging Face id.
    #[arg(long, value_name = "STUDENT", env = "ADAM_MODEL")]
    model: PathBuf,
    /// BEIR folder, BEIR .zip, or .jsonl (or .jsonl.gz) with _id, title, text and optionally metadata. Other fields of a line
    /// are not kept.
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Folder of the index; made if it is not there.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// Language of the text, for the search by words: its forms of a word are found, its commonest words passed over. By name
    /// or code, as german or de; `any` for several, or for one that is not known [default: english].
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<Language>,
    /// Documents between two commits.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    commit_every: u64,
    /// Documents that go to the model together.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// What becomes of a document whose text cannot be encoded: fail, skip, text-only.
    #[arg(long, value_name = "POLICY", default_value = "fail")]
    on_failure: OnFailure,
    /// Vectors made before by the same model (`adam encode`, or the trainer's evaluation), by document id. What is not among
    /// them is encoded.
    #[arg(long, value_name = "FILE.npy")]
    vectors: Option<PathBuf>,
    /// Memory of the index writer, in MB.
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(15..=65_536))]
    memory: u64,
    #[command(flatten)]
    chunks: Chunks,
    #[command(flatten)]
    computing: Computing,
}

pub(crate) fn run(args: &IndexArgs) -> Result<()> {
    let collection = Collection::open(&args.data)?;
    let (encoder, pinned) = args.computing.open(&args.model)?;
    // Reading the corpus once before anything is written finds every wrong line, and how long the work is.
    let untouched = || format!("nothing was written to {}", args.index.display());
    let summary = collection.check().with_context(untouched)?;
    let total = summary.documents;
    if total == 0 {
        bail!("{} holds no documents", args.data.display());
    }
    if !summary.unread.is_empty() {
        let counted: Vec<String> =
            summary.unread.iter().map(|(name, documents)| format!("{} ({documents})", one_line(name))).collect();
        tell(&format!(
            "index: not kept, with how many documents have it: {}; what searches are to find or filter by belongs in `metadata`",
            counted.join(", ")
        ));
    }
    let mut vectors = match &args.vectors {
        Some(path) => read_vectors(path, encoder.as_ref())?,
        None => HashMap::new(),
    };
    let options = IndexOptions { language: args.language, chunks: args.chunks.chunking(&encoder)? };
    let engine = Engine::open_or_create_as(&args.index, encoder, pinned, options)?;
    let done = add(args, &collection, &engine, total as u64, &mut vectors);
    if done.is_err()
        && let Err(fault) = engine.remove_if_new()
    {
        // What went wrong before is what matters.
        tell(&format!("index: warning: the empty index {} is left: {fault}", args.index.display()));
    }
    done
}

/// Raised by Ctrl-C: what was encoded is committed first. A second one ends the program at once.
fn stopped_by_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        tell("index: commits what it has, then stops; once more to stop at once");
    })
    .context("Ctrl-C cannot be handled")?;
    Ok(stop)
}

fn add(
    args: &IndexArgs,
    collection: &Collection,
    engine: &Engine,
    total: u64,
    vectors: &mut HashMap<String, Vec<f32>>,
) -> Result<()> {
    let stop = stopped_by_ctrl_c()?;
    let watched = WriterProgress::new("index", total);
    let batch = usize::try_from(args.batch)?;
    let settings = WriterSettings::default().batch(batch).queue(batch.saturating_mul(2)).on_failure(args.on_failure);
    let mut writer = engine.writer(usize::try_from(args.memory)? << 20, watched.watch(settings))?;
    let mut stopped_at = None;
    for (number, record) in (1..).zip(collection.records()?) {
        let beir::Record { document, metadata, .. } = record?;
        let vector = vectors.remove(&document.id);
        writer.update_document(engine.document(Document {
            id: document.id,
            title: document.title,
            text: document.text,
            metadata: (!metadata.is_empty()).then_some(metadata),
            vector,
        })?)?;
        if number % args.commit_every == 0 {
            writer.commit()?;
        }
        if number < total && stop.load(Ordering::Relaxed) {
            stopped_at = Some(number);
            break;
        }
    }
    writer.commit()?;
    let progress = writer.progress();
    for failure in writer.take_failures() {
        tell(&format!("left out: {}: {}", failure.document, failure.problem));
    }
    if let Some(number) = stopped_at {
        bail!(
            "stopped at record {number} of {total}; what came before is committed, and the same call goes on from there"
        );
    }
    writer.wait_merging_threads()?;
    engine.reload()?;
    let documents = engine.documents();
    watched.finish(&format!(
        "{documents} documents in {} ({} encoded, {} unchanged, {} failed)",
        args.index.display(),
        progress.encoded,
        progress.unchanged,
        progress.failed
    ));
    Ok(())
}
