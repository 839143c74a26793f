//! `adam index`: a collection becomes an index with text and vectors.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{SentenceEncoder, TextEncoder};
use adam_plugin::engine::{Document, check_metadata, check_vector};
use adam_plugin::shards::{Part, Placement, Shards};
use adam_plugin::{Engine, Language, Manifest, OnFailure, PinnedModel, PluginError, WriterSettings};
use anyhow::{Context, Result, bail};
use beir_eval::{Collection, Record, Summary};
use clap::Args;

use crate::error::WrongCall;
use crate::model::{ChunkArgs, ComputeArgs};
use crate::reading::{ReadArgs, counted};
use crate::screen::{WriterProgress, one_line, tell};
use crate::signal::{Interruption, Stop};
use crate::values;
use crate::vectors::Vectors;

/// Index documents: their text for BM25, their vectors by a model, in one tantivy index.
///
/// Documents are kept by id: run again, it continues from the last commit, encodes only what is new or changed, and doubles
/// nothing. All lines are read and checked before the first is written. The model is pinned in the index.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam index --model student --data scifact.zip --index scifact-index
  adam index --model sentence-transformers/all-MiniLM-L6-v2 --data corpus.jsonl --index my-index --precision int8
  adam index --model student --data books.jsonl --index books-index --chunk-tokens 200 --chunk-overlap 40
  adam index --model e5-multilingual --data artikel.jsonl.gz --index artikel-index --language german
  adam index --model student --data 'shop-*.jsonl' --id-field sku --text-field description --keep brand,price --index shop-index
  zcat today.jsonl.gz | adam index --data - --index shop-index --prune")]
pub(crate) struct IndexArgs {
    /// Folder in sentence-transformers layout with ONNX, or a Hugging Face id. An index that is there knows its model: name it only
    /// if its folder has moved.
    #[arg(long, value_name = "STUDENT", env = "ADAM_MODEL")]
    model: Option<PathBuf>,
    /// Documents: .jsonl, a JSON array (.json), .parquet, a BEIR folder or .zip, packed or not (.gz, .bz2, .zst). Several, a pattern such
    /// as 'part-*.jsonl', or - for standard input. Each has _id, title, text and optionally metadata and vector; other names by
    /// --id-field, --title-field, --text-field and --keep.
    #[arg(long, value_name = "DATA", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Folder of the index; made if it is not there.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// Language of the text, used for stemming and stop words, by name or code (german, de). `any` for several languages, or for one
    /// that is not known. Words of Chinese, Japanese, Thai, Khmer, Lao and Burmese are found in any of them [default: english].
    #[arg(long, value_name = "LANGUAGE", value_parser = values::language())]
    language: Option<Language>,
    #[command(flatten)]
    reading: ReadArgs,
    /// Remove the documents of the index that are not in the data, once all of it was read and written. Never after Ctrl-C, and
    /// refused where lines were skipped, since their documents may be in the index. Without it they are counted.
    #[arg(long)]
    prune: bool,
    /// Documents between two commits.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    commit_every: u64,
    /// Documents that go to the model together.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// What happens to a document whose text cannot be encoded: the command fails, skips the document, or indexes its text only.
    #[arg(long, value_name = "POLICY", default_value = "fail", value_parser = values::on_failure())]
    on_failure: OnFailure,
    /// Vectors of documents that the same model has made (`adam encode`, or the trainer's evaluation), by document id; one file or
    /// the parts of several. They are read as they are needed. Other documents are encoded.
    #[arg(long, value_name = "FILE.npy", num_args = 1..)]
    vectors: Vec<PathBuf>,
    /// Memory of the index writer, in MB.
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(15..=65_536))]
    memory: u64,
    #[command(flatten)]
    chunks: ChunkArgs,
    #[command(flatten)]
    computing: ComputeArgs,
    /// The shard that `index` is, whose documents are written only.
    #[arg(skip)]
    part: Option<Part>,
}

pub(crate) fn run(args: &IndexArgs) -> Result<()> {
    match Shards::open(&args.index)? {
        Some(list) => run_shards(args, &list),
        None => run_one(args),
    }
}

/// Writes each document to the shard that its key belongs to, one shard after another.
fn run_shards(args: &IndexArgs, list: &Shards) -> Result<()> {
    let index = args.index.display();
    if list.placement != Placement::Hash {
        bail!(
            "the documents of {index} lie in its shards by their place in the input, so that single ones cannot be updated; make it again by `adam shard`"
        );
    }
    if args.data.iter().any(|path| path == Path::new("-")) {
        bail!(WrongCall(format!(
            "{index} has shards, and the data is read once for each of them: name a file in place of -"
        )));
    }
    let of = u32::try_from(list.shards.len())?;
    for (number, folder) in (0..of).zip(list.folders(&args.index)) {
        run_one(&IndexArgs { index: folder, part: Some(Part { number, of }), ..args.clone() })?;
    }
    Ok(())
}

fn run_one(args: &IndexArgs) -> Result<()> {
    let exists = Engine::exists(&args.index)?;
    if args.model.is_none() && !exists {
        // Before standard input is read, which cannot be read again.
        return Err(no_model(args));
    }
    let collection = args.reading.open(&args.data)?;
    let (encoder, pinned) = model(args)?;
    let chunks = args.chunks.chunking(&encoder)?;
    let dimension = encoder.dimension();
    let open = || {
        let mut builder = Engine::builder(&args.index).encoder(encoder.clone()).pinned(pinned.clone());
        if let Some(language) = args.language {
            builder = builder.language(language);
        }
        if let Some(chunking) = chunks {
            builder = builder.chunks(chunking);
        }
        builder.open_or_create()
    };
    // An index that is there has a say in what a document may be.
    let there = if exists { Some(open()?) } else { None };
    // Reading the corpus once before anything is written finds every wrong line, and how much work there is.
    let untouched = || format!("nothing was written to {}", args.index.display());
    let has_types = |engine: &&Engine| engine.manifest().layout.metadata.is_none() || !engine.own_fields().is_empty();
    let typed = there.as_ref().filter(has_types);
    let fits = |record: &Record| fits(record, typed, dimension);
    let summary = collection.check_with(fits).with_context(untouched)?;
    let source = args.reading.described(&args.data);
    if summary.documents == 0 {
        args.reading.report(&summary.wrong)?;
        bail!("{source} holds no documents; nothing was written to {}", args.index.display());
    }
    args.reading.tell("index", &summary, true);
    args.reading.report(&summary.wrong)?;
    // The documents of repeated ids are known; those of other lines may be any.
    let unknown = summary.wrong.len() - summary.wrong.repeated();
    if args.prune && unknown > 0 {
        bail!(
            "--prune: {} left out, and the documents of the index that they are about would be removed; mend them, or leave --prune out. \
             Nothing was written to {}",
            counted(unknown, "line was", "lines were"),
            args.index.display()
        );
    }
    let vectors = match args.vectors.as_slice() {
        [] => None,
        paths => Some(Vectors::read(paths, encoder.as_ref())?),
    };
    let engine = match there {
        Some(engine) => engine,
        None => open()?,
    };
    let work = Work { args, collection: &collection, engine: &engine, summary: &summary };
    let done = work.run(vectors);
    if done.is_err()
        && let Err(fault) = engine.remove_if_new()
    {
        // What went wrong before is what matters.
        tell(&format!("index: warning: the empty index {} is left: {fault}", args.index.display()));
    }
    done
}

fn no_model(args: &IndexArgs) -> anyhow::Error {
    let occupied = args.index.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if let (true, Err(error)) = (occupied, Engine::open(&args.index)) {
        return error.into();
    }
    WrongCall(format!(
        "--model is missing: there is no index in {} that knows its model; name the model's folder or its Hugging Face id",
        args.index.display()
    ))
    .into()
}

/// The model that was named, or the one that the index knows.
fn model(args: &IndexArgs) -> Result<(Arc<SentenceEncoder>, PinnedModel)> {
    let named = args.model.as_deref();
    let manifest = if Engine::exists(&args.index)? { Manifest::read(&args.index)? } else { None };
    match (manifest, named) {
        (Some(manifest), named) if named.is_none() || !args.computing.is_set() => {
            let encoder = manifest.model.open(&args.index, named, &args.computing.running.options())?;
            args.computing.check_pinned(&args.index, &manifest.model, &encoder)?;
            Ok((Arc::new(encoder), manifest.model))
        }
        // What was asked for beside the model, such as a precision, may make it another; then the index says that.
        (_, Some(model)) => args.computing.open(model),
        (_, None) => Err(no_model(args)),
    }
}

/// Refuses a document that was read well and that the index cannot take: one with fields of its own wants metadata of their types.
pub(crate) fn fits(record: &Record, index: Option<&Engine>, dimension: usize) -> Result<(), String> {
    let id = &record.document.id;
    if let Some(vector) = &record.vector {
        check_vector(vector.iter().copied(), dimension).map_err(|problem| format!("the vector of `{id}` {problem}"))?;
    }
    match index {
        None => check_metadata(&record.metadata).map_err(|problem| format!("document `{id}`: {problem}")),
        // The vector was looked at above.
        Some(engine) => {
            let mut record = record.clone();
            record.vector = None;
            engine.document(document(record, None)).map(drop).map_err(|error| error.to_string())
        }
    }
}

pub(crate) fn document(record: Record, vector: Option<Vec<f32>>) -> Document {
    let vector = record.vector.or(vector);
    let beir_eval::Document { id, title, text } = record.document;
    Document { id, title, text, metadata: (!record.metadata.is_empty()).then_some(record.metadata), vector }
}

/// Hashes of the ids that were read, 8 bytes each. A collision could only keep a document in the index.
struct SeenIds {
    keys: RandomState,
    ids: HashSet<u64>,
}

impl SeenIds {
    fn new() -> Self {
        Self { keys: RandomState::new(), ids: HashSet::new() }
    }

    fn insert(&mut self, id: &str) {
        self.ids.insert(self.keys.hash_one(id));
    }

    fn contains(&self, id: &str) -> bool {
        self.ids.contains(&self.keys.hash_one(id))
    }
}

struct Work<'a> {
    args: &'a IndexArgs,
    collection: &'a Collection,
    engine: &'a Engine,
    summary: &'a Summary,
}

impl Work<'_> {
    fn run(&self, mut vectors: Option<Vectors>) -> Result<()> {
        let Self { args, engine, .. } = self;
        let total = self.summary.documents as u64;
        let stop = Stop::new(
            "index: commits what it has, then stops; once more to stop at once",
            "index: stopped at once; what came after the last commit is encoded again by the same call",
        );
        let watched = WriterProgress::new("index", total);
        let batch = usize::try_from(args.batch)?;
        let settings =
            WriterSettings::default().batch(batch).queue(batch.saturating_mul(2)).on_failure(args.on_failure);
        let mut writer = engine.writer(usize::try_from(args.memory)? << 20, watched.watch(settings))?;
        // What is in the index now and not in the data is to be found at the end.
        let mut seen = (engine.num_docs() > 0).then(SeenIds::new);
        let mut stopped_at = None;
        let mut number = 0;
        for record in self.collection.records()? {
            let record = record?;
            let (id, place) = (record.document.id.clone(), record.place.clone());
            if args.part.is_some_and(|part| !part.holds(Placement::Hash, &id, 0, 0)) {
                continue;
            }
            let has_text = !(record.document.title.trim().is_empty() && record.document.text.trim().is_empty());
            let vector = match vectors.as_mut().filter(|_| has_text) {
                Some(vectors) => vectors.take(&id)?,
                None => None,
            };
            let document = match engine.document(document(record, vector)) {
                Ok(document) => document,
                // Counted already, when all was checked.
                Err(PluginError::Document { .. }) if args.reading.skips() => continue,
                Err(error) => return Err(error).with_context(|| place.to_string()),
            };
            number += 1;
            if let Some(seen) = &mut seen {
                seen.insert(&id);
            }
            writer.update_document(document)?;
            if number % args.commit_every == 0 {
                writer.commit()?;
            }
            // What left the corpus is never removed by a run that was to be stopped.
            if let Some(signal) = stop.signal().filter(|_| number < total || args.prune) {
                stopped_at = Some((number, signal));
                break;
            }
        }
        let mut removed = 0u64;
        let mut stale = 0u64;
        if let (Some(seen), None) = (&seen, stopped_at) {
            engine.for_each_id(|id| {
                if !seen.contains(id) {
                    stale += 1;
                    if args.prune {
                        writer.delete_term(engine.key_term(id))?;
                        removed += 1;
                    }
                }
                Ok(())
            })?;
        }
        writer.commit()?;
        let progress = writer.progress();
        for failure in writer.take_failures() {
            tell(&format!("left out: {}: {}", one_line(&failure.document), one_line(&failure.problem)));
        }
        // All is safe: merges can wait for another time.
        drop(stop);
        if let Some((number, signal)) = stopped_at {
            let message = format!(
                "stopped at record {number} of {total} by {}; what came before is committed, and the same command continues from there",
                signal.name
            );
            bail!(Interruption { signal, message });
        }
        writer.wait_merging_threads()?;
        engine.reload()?;
        let documents = engine.num_docs();
        watched.finish(&format!(
            "{} in {} ({} encoded, {} unchanged, {} failed)",
            counted(usize::try_from(documents)?, "document", "documents"),
            args.index.display(),
            progress.encoded,
            progress.unchanged,
            progress.failed
        ));
        if let Some((all, unused)) = vectors.map(|vectors| vectors.counts()).filter(|(_, unused)| *unused > 0) {
            tell(&format!("warning: {unused} of the {all} vectors were not used: no document has that id"));
        }
        if removed > 0 {
            let removed = usize::try_from(removed)?;
            tell(&format!(
                "index: {} that the data does not hold",
                counted(removed, "document removed", "documents removed")
            ));
        } else if stale > 0 {
            let stale = usize::try_from(stale)?;
            tell(&format!(
                "index: {} not in the data; --prune removes such",
                counted(stale, "document of the index is", "documents of the index are")
            ));
        }
        Ok(())
    }
}
