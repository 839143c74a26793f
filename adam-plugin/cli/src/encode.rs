//! `adam encode`: texts become vectors in a file.

use std::path::PathBuf;

use adam_encoder::TextEncoder;
use anyhow::{Result, bail};
use clap::Args;

use crate::error::WrongCall;
use crate::model::ComputeArgs;
use crate::reading::ReadArgs;
use crate::screen::{Progress, counted, has_folder};
use crate::vectors::{Kind, Rows};

/// Encode texts: one vector for each, in a NumPy or Parquet file.
///
/// Interrupted, it leaves no file. Vectors of documents can be given to `adam index --vectors`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam encode --model student --input corpus.jsonl --output corpus.npy
  adam encode --model student --input questions.jsonl --output questions.parquet --kind query
  adam encode --model student --input products.jsonl --id-field sku --text-field description --output products.npy")]
pub(crate) struct EncodeArgs {
    /// Folder in sentence-transformers layout with ONNX, or a Hugging Face id.
    #[arg(long, value_name = "STUDENT", env = "ADAM_MODEL")]
    model: PathBuf,
    /// What to encode: .jsonl, a JSON array, or a BEIR folder or .zip, whose corpus is taken; packed or not, one or several, a
    /// pattern such as 'part-*.jsonl', or - for standard input.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// File to write: .npy (with the ids in FILE.npy.json) or .parquet (columns id, vector).
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// What the texts are: the model may put another prompt before queries.
    #[arg(long, value_enum, default_value_t = Kind::Document)]
    kind: Kind,
    #[command(flatten)]
    reading: ReadArgs,
    #[command(flatten)]
    computing: ComputeArgs,
}

/// Texts that are encoded between two looks at the bar.
const CHUNK: usize = 1024;

pub(crate) fn run(args: &EncodeArgs) -> Result<()> {
    let extension = args.output.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !matches!(extension, "npy" | "parquet") {
        let problem = format!("--output {}: name a file that ends in .npy or .parquet", args.output.display());
        bail!(WrongCall(problem));
    }
    has_folder(&args.output)?;
    let collection = args.reading.open(&args.input)?;
    let summary = args.reading.check("encode", &collection)?;
    if summary.documents == 0 {
        bail!("{} holds no texts", args.reading.described(&args.input));
    }
    let (encoder, _) = args.computing.open(&args.model)?;
    let (mut ids, mut texts) = (Vec::with_capacity(summary.documents), Vec::with_capacity(summary.documents));
    for record in collection.records()? {
        let document = record?.document;
        texts.push(document.full_text());
        ids.push(document.id);
    }
    let mut bar = Progress::new("encode", texts.len() as u64);
    let mut vectors: Vec<f32> = Vec::with_capacity(texts.len() * encoder.dimension());
    for chunk in texts.chunks(CHUNK) {
        let done = (vectors.len() / encoder.dimension().max(1)) as u64;
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let made =
            encoder.encode_with_progress(&chunk, args.kind.into(), &mut |count| bar.set(done + count as u64, ""))?;
        made.into_iter().for_each(|vector| vectors.extend(vector));
    }
    let rows = Rows::new(encoder.as_ref(), args.kind, ids);
    match extension {
        "npy" => rows.write_npy(&args.output, vectors)?,
        _ => rows.write_parquet(&args.output, &vectors)?,
    }
    let vectors = counted(rows.len(), "vector");
    bar.finish(&format!("{vectors} of {} in {}", counted(rows.dimension(), "value"), args.output.display()));
    Ok(())
}
