//! `adam shard`: one part of a collection becomes one shard of an index.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{SentenceEncoder, TextEncoder};
use adam_plugin::shards::{Content, Part, Placement, ShardJob, ShardState, Shards};
use adam_plugin::{Chunking, Engine, Language, PinnedModel, WriterSettings};
use anyhow::{Context, Result, bail};
use beir_eval::Collection;
use clap::{Args, ValueEnum};

use crate::index::{document, fits};
use crate::model::{ChunkArgs, ComputeArgs};
use crate::reading::{ReadArgs, counted};
use crate::screen::{WriterProgress, tell};
use crate::signal::{Interruption, Stop};
use crate::values;

/// Index one part of the documents as one shard of an index: a unit of work for one of several processes or machines.
///
/// Every call reads all of the data, keeps the documents of its part, and makes them an index of its own below the folder of the whole.
/// Calls need no driver: run them in any order, at once or one after another, on whatever machines share the folder. A
/// shard that is whole is left as it is, and one that was interrupted goes on from its last commit, so a call that
/// failed is simply run again. Whoever finishes the last shard writes the file SHARDS, and from then on `adam search`, `eval`, `info` and `serve`
/// open the folder as one index and answer as one index would.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam shard --model student --data scifact.zip --index sharded --shards 4
  adam shard --model student --data 'part-*.jsonl' --index sharded --part 3/64
  seq 0 63 | xargs -P 2 -I {} adam shard --model student --data corpus.jsonl --index sharded --part {}/64
  adam search --index sharded \"does vitamin D protect against infections?\"")]
pub(crate) struct ShardArgs {
    /// The model: a folder in sentence-transformers layout with ONNX, or a Hugging Face id.
    #[arg(long, value_name = "STUDENT", env = "ADAM_MODEL")]
    model: PathBuf,
    /// Documents, as `adam index` reads them: the same for every part.
    #[arg(long, value_name = "DATA", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Folder of the whole index; made if it is not there.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// The shard to make and how many there are, counted from 0: 0/4, 1/4, 2/4 and 3/4 are a whole.
    #[arg(long, value_name = "N/OF", value_parser = values::part, required_unless_present = "shards", conflicts_with = "shards")]
    part: Option<Part>,
    /// Make this many shards, one after another.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    shards: Option<u32>,
    /// How documents are placed: by the `hash` of their key, so that they can be updated and deleted later, or by `range`, the first
    /// in the first shard, for bulk builds.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = By::Hash)]
    by: By,
    /// Language of the text [default: english].
    #[arg(long, value_name = "LANGUAGE", value_parser = values::language())]
    language: Option<Language>,
    #[command(flatten)]
    reading: ReadArgs,
    /// Documents between two commits.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    commit_every: u64,
    /// Documents that go to the model together.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Memory of the index writer, in MB.
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(15..=65_536))]
    memory: u64,
    #[command(flatten)]
    chunks: ChunkArgs,
    #[command(flatten)]
    computing: ComputeArgs,
}

/// How documents are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Hash,
    Range,
}

impl From<By> for Placement {
    fn from(by: By) -> Self {
        match by {
            By::Hash => Self::Hash,
            By::Range => Self::Range,
        }
    }
}

pub(crate) fn run(args: &ShardArgs) -> Result<()> {
    let parts: Vec<Part> = match (args.part, args.shards) {
        (Some(part), _) => vec![part],
        (None, Some(of)) => (0..of).map(|number| Part { number, of }).collect(),
        (None, None) => Vec::new(),
    };
    let of = parts.first().map_or(1, |part| part.of);
    check_place(&args.index)?;
    let collection = args.reading.open(&args.data)?;
    let (encoder, pinned) = args.computing.open(&args.model)?;
    let chunks = args.chunks.chunking(&encoder)?;
    let placement = Placement::from(args.by);
    // One reading finds every wrong line, and what all parts have to agree about.
    let mut all = Content::default();
    let dimension = encoder.dimension();
    let looked_at = |record: &beir_eval::Record| {
        fits(record, None, dimension)?;
        all.add(&document(record.clone(), None));
        Ok(())
    };
    let summary =
        collection.check_with(looked_at).with_context(|| format!("nothing was written to {}", args.index.display()))?;
    args.reading.report(&summary.wrong)?;
    if all.documents() == 0 {
        bail!("{} holds no documents; nothing was written", args.reading.described(&args.data));
    }
    let language = args.language.unwrap_or_default();
    let options = format!("{language} {chunks:?}");
    let job = ShardJob::new(&args.index, of, placement, &all, encoder.fingerprint(), &options);
    let work = Work {
        args,
        collection: &collection,
        job: &job,
        encoder,
        pinned,
        language,
        chunks,
        placement,
        rows: all.documents(),
    };
    for part in parts {
        work.make(part)?;
    }
    match job.seal()? {
        Some(list) => tell(&format!(
            "shard: {} in {}, generation {}: {}",
            counted(list.shards.len(), "shard", "shards"),
            args.index.display(),
            list.generation,
            counted(usize::try_from(all.documents())?, "document", "documents"),
        )),
        None => tell("shard: other parts are still missing; whoever makes the last one finishes the index"),
    }
    Ok(())
}

/// Refuses the folder of an index in one piece, in which shards would lie beside it.
fn check_place(index: &Path) -> Result<()> {
    if Shards::open(index)?.is_none() && Engine::exists(index)? {
        bail!("{} is an index in one piece; name another folder for shards", index.display());
    }
    Ok(())
}

struct Work<'a> {
    args: &'a ShardArgs,
    collection: &'a Collection,
    job: &'a ShardJob,
    encoder: Arc<SentenceEncoder>,
    pinned: PinnedModel,
    language: Language,
    chunks: Option<Chunking>,
    placement: Placement,
    rows: u64,
}

impl Work<'_> {
    /// Does something with every document of a part.
    fn each(&self, part: Part, mut take: impl FnMut(adam_plugin::engine::Document) -> Result<()>) -> Result<()> {
        let mut row = 0;
        for record in self.collection.records()? {
            let record = record?;
            // Left out and counted when all was looked at.
            if self.args.reading.skips() && fits(&record, None, self.encoder.dimension()).is_err() {
                continue;
            }
            if part.holds(self.placement, &record.document.id, row, self.rows) {
                take(document(record, None))?;
            }
            row += 1;
        }
        Ok(())
    }

    fn make(&self, part: Part) -> Result<()> {
        let mut content = Content::default();
        let mut keys = HashSet::new();
        self.each(part, |document| {
            content.add(&document);
            keys.insert(document.id);
            Ok(())
        })?;
        let folder = match self.job.state(part, &content)? {
            ShardState::Done(folder) => {
                tell(&format!("shard {part}: done before, in {}", folder.display()));
                return Ok(());
            }
            ShardState::Open(folder) => folder,
        };
        let mut builder = Engine::builder(&folder)
            .encoder(Arc::clone(&self.encoder) as Arc<dyn TextEncoder>)
            .pinned(self.pinned.clone())
            .language(self.language);
        if let Some(chunking) = self.chunks {
            builder = builder.chunks(chunking);
        }
        let engine = builder.open_or_create()?;
        self.write(part, &engine, &content, &keys)?;
        engine.merge_all(self.memory()?)?;
        drop(engine);
        let folder = self.job.finish(part, &content)?;
        tell(&format!(
            "shard {part}: {} in {}",
            counted(usize::try_from(content.documents())?, "document", "documents"),
            folder.display()
        ));
        Ok(())
    }

    fn memory(&self) -> Result<usize> {
        Ok(usize::try_from(self.args.memory)? << 20)
    }

    fn write(&self, part: Part, engine: &Engine, content: &Content, keys: &HashSet<String>) -> Result<()> {
        let stop = Stop::new(
            "shard: commits what it has, then stops; once more to stop at once",
            "shard: stopped at once; what came after the last commit is encoded again by the same call",
        );
        let watched = WriterProgress::new("shard", content.documents());
        let batch = usize::try_from(self.args.batch)?;
        let settings = WriterSettings::default().batch(batch).queue(batch.saturating_mul(2));
        let mut writer = engine.writer(self.memory()?, watched.watch(settings))?;
        let mut number = 0;
        self.each(part, |document| {
            if let Some(signal) = stop.signal() {
                writer.commit()?;
                let message =
                    format!("stopped in shard {part} by {}; the same command continues from there", signal.name);
                bail!(Interruption { signal, message });
            }
            writer.update_document(engine.document(document)?)?;
            number += 1;
            if number % self.args.commit_every == 0 {
                writer.commit()?;
            }
            Ok(())
        })?;
        // An interrupted run may have begun with other rows only if the job were another; it costs little to be sure.
        engine.for_each_id(|id| {
            if !keys.contains(id) {
                writer.delete_term(engine.key_term(id))?;
            }
            Ok(())
        })?;
        writer.commit()?;
        if let Some(failure) = writer.take_failures().into_iter().next() {
            bail!("document `{}`: {}", failure.document, failure.problem);
        }
        writer.wait_merging_threads()?;
        engine.reload()?;
        watched
            .finish(&format!("shard {part}: {} written", counted(usize::try_from(number)?, "document", "documents")));
        Ok(())
    }
}
