//! `adam encode`: texts become vectors in a file.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use adam_encoder::{SentenceEncoder, TextEncoder};
use anyhow::{Result, bail};
use beir_eval::Records;
use clap::Args;
use sha2::{Digest, Sha256};

use crate::error::WrongCall;
use crate::model::ComputeArgs;
use crate::reading::ReadArgs;
use crate::screen::{Progress, counted, has_folder, tell};
use crate::signal::{Interruption, Stop};
use crate::vector_output::{self, Description, Format, ROW_GROUP, Rows};
use crate::vectors::Kind;

/// Encode texts: one vector for each, in a NumPy or Parquet file.
///
/// All lines are read and checked before the first is encoded; then they are read again, and vectors are written as they are made, so
/// that memory does not grow with the input. Interrupted, it leaves no file, or whole parts. Vectors of documents can be given to
/// `adam index --vectors`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam encode --model student --input corpus.jsonl --output corpus.npy
  adam encode --model student --input questions.jsonl --output questions.parquet --kind query
  adam encode --model student --input 'part-*.jsonl.gz' --output vectors.parquet --part 100000
  adam encode --model student --input products.jsonl --id-field sku --text-field description --output products.npy")]
pub(crate) struct EncodeArgs {
    /// Folder in sentence-transformers layout with ONNX, or a Hugging Face id.
    #[arg(long, value_name = "STUDENT", env = "ADAM_MODEL")]
    model: PathBuf,
    /// What to encode: .jsonl, a JSON array, .parquet, or a BEIR folder or .zip, whose corpus is taken; packed or not, one or several, a
    /// pattern such as 'part-*.jsonl', or - for standard input.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// File to write: .npy (with the ids in FILE.npy.json) or .parquet (columns id, vector).
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Write parts of at most N vectors each: vectors-00000.npy, vectors-00001.npy, ... for --output vectors.npy. The same call
    /// continues after an interruption: parts of the same texts by the same model are kept. The texts of a part are in memory.
    #[arg(long, value_name = "N")]
    part: Option<NonZeroUsize>,
    /// What the texts are: the model may put another prompt before queries.
    #[arg(long, value_enum, default_value_t = Kind::Document)]
    kind: Kind,
    #[command(flatten)]
    reading: ReadArgs,
    #[command(flatten)]
    computing: ComputeArgs,
}

/// Texts that are in memory at a time.
const WINDOW: usize = ROW_GROUP;

pub(crate) fn run(args: &EncodeArgs) -> Result<()> {
    let Some(format) = Format::of(&args.output) else {
        let problem = format!("--output {}: name a file that ends in .npy or .parquet", args.output.display());
        bail!(WrongCall(problem));
    };
    has_folder(&args.output)?;
    let collection = args.reading.open(&args.input)?;
    let summary = args.reading.check("encode", &collection)?;
    if summary.documents == 0 {
        bail!("{} holds no texts", args.reading.described(&args.input));
    }
    let (encoder, _) = args.computing.open(&args.model)?;
    let description = Description::new(encoder.as_ref(), args.kind);
    let stop = Stop::new(
        "encode: stops after the batch at hand; once more to stop at once",
        "encode: stopped at once; an unfinished file that ends in .tmp may be left",
    );
    let bar = Progress::new("encode", summary.documents as u64);
    let work =
        Work { encoder: &encoder, kind: args.kind, stop: &stop, bar: Mutex::new(bar), done: AtomicUsize::new(0) };
    let mut texts = Texts(collection.records()?);
    let kept = match args.part {
        None => {
            let mut next = || texts.take(WINDOW)?.map(|texts| work.encode(&texts)).transpose();
            vector_output::write(&args.output, format, &description, summary.documents, &mut next)?;
            0
        }
        Some(part) => work.parts(args, format, &description, part.get(), &mut texts)?,
    };
    let rows = work.done.load(Ordering::Relaxed);
    let kept = if kept > 0 { format!(", {kept} of them in parts that were there") } else { String::new() };
    let (vectors, values) = (counted(rows, "vector"), counted(encoder.dimension(), "value"));
    let bar = work.bar.into_inner().unwrap_or_else(PoisonError::into_inner);
    bar.finish(&format!("{vectors} of {values} in {}{kept}", args.output.display()));
    Ok(())
}

/// Ids and texts.
type Pairs = Vec<(String, String)>;

/// The input, read a second time.
struct Texts(Records);

impl Texts {
    /// The next texts, at most so many; none at the end.
    fn take(&mut self, most: usize) -> Result<Option<Pairs>> {
        let mut pairs = Vec::new();
        for record in self.0.by_ref().take(most) {
            let document = record?.document;
            let text = document.full_text();
            pairs.push((document.id, text));
        }
        Ok((!pairs.is_empty()).then_some(pairs))
    }
}

struct Work<'a> {
    encoder: &'a SentenceEncoder,
    kind: Kind,
    stop: &'a Stop,
    bar: Mutex<Progress>,
    done: AtomicUsize,
}

impl Work<'_> {
    fn encode(&self, pairs: &[(String, String)]) -> Result<Rows> {
        let texts: Vec<&str> = pairs.iter().map(|(_, text)| text.as_str()).collect();
        let mut vectors = vec![0.0; texts.len() * self.encoder.dimension()];
        let before = self.done.load(Ordering::Relaxed);
        let made = self.encoder.encode_into(&texts, self.kind.into(), &mut vectors, &mut |finished| {
            self.show(before + finished);
            if self.stop.signal().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(signal) = self.stop.signal() {
            let message = format!("stopped by {}; files and parts that are whole are kept", signal.name);
            bail!(Interruption { signal, message });
        }
        made?;
        self.done.store(before + texts.len(), Ordering::Relaxed);
        Ok(Rows { ids: pairs.iter().map(|(id, _)| id.clone()).collect(), vectors })
    }

    fn show(&self, done: usize) {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).set(done as u64, "");
    }

    /// Writes parts, and says how many vectors of all were there.
    fn parts(
        &self,
        args: &EncodeArgs,
        format: Format,
        description: &Description,
        most: usize,
        texts: &mut Texts,
    ) -> Result<usize> {
        let mut kept = 0;
        let mut number = 0;
        while let Some(pairs) = texts.take(most)? {
            let path = part_of(&args.output, number);
            let mut description = description.clone();
            description.texts = Some(hash(&pairs));
            if description.is_that_of(&path) {
                kept += pairs.len();
                let done = self.done.fetch_add(pairs.len(), Ordering::Relaxed) + pairs.len();
                self.show(done);
            } else {
                let mut windows = pairs.chunks(WINDOW);
                let mut next = || windows.next().map(|pairs| self.encode(pairs)).transpose();
                vector_output::write(&path, format, &description, pairs.len(), &mut next)?;
            }
            number += 1;
        }
        let superfluous = part_of(&args.output, number);
        if superfluous.exists() {
            tell(&format!(
                "encode: warning: {} is of an earlier call with more parts, and is left as it is",
                superfluous.display()
            ));
        }
        Ok(kept)
    }
}

/// `vectors-00003.npy` of `vectors.npy`.
fn part_of(output: &Path, number: usize) -> PathBuf {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    let extension = output.extension().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!("{stem}-{number:05}.{extension}"))
}

/// SHA-256 of ids and texts, each behind its length.
fn hash(pairs: &[(String, String)]) -> String {
    let mut hasher = Sha256::new();
    for text in pairs.iter().flat_map(|(id, text)| [id, text]) {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
