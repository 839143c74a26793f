//! `adam encode`: texts become vectors in a file.
//!
//! `FILE.npy` is a NumPy array, f32, one row a text. Beside it `FILE.npy.json` says whose rows they are:
//! `{"version": 1, "fingerprint": "...", "model": "...", "dimension": 384, "ids": [...]}`.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{TextEncoder, TextKind};
use anyhow::{Context, Result, bail};
use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use beir::Collection;
use clap::{Args, ValueEnum};
use ndarray::Array2;
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use serde::{Deserialize, Serialize};

use crate::WrongCall;
use crate::model::Computing;
use crate::screen::{Progress, has_folder};

/// Encode texts: one vector for each, in a NumPy or Parquet file.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam encode --model student --input corpus.jsonl --output corpus.npy
  adam encode --model student --input questions.jsonl --output questions.parquet --kind query")]
pub(crate) struct EncodeArgs {
    /// Folder in sentence-transformers layout with ONNX, or a Hugging Face id.
    #[arg(long, value_name = "STUDENT", env = "ADAM_MODEL")]
    model: PathBuf,
    /// .jsonl (or .jsonl.gz) with _id, text and optionally title; or a BEIR folder or .zip, whose corpus is taken.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// File to write: .npy (with the ids in FILE.npy.json) or .parquet (columns id, vector).
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// What the texts are: the model may put another prompt before queries.
    #[arg(long, value_enum, default_value_t = Kind::Document)]
    kind: Kind,
    #[command(flatten)]
    computing: Computing,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Document,
    Query,
}

/// Whose rows the vectors are.
#[derive(Serialize, Deserialize)]
struct Rows {
    version: u32,
    fingerprint: String,
    model: String,
    dimension: usize,
    ids: Vec<String>,
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
    let collection = Collection::open(&args.input)?;
    let (encoder, _) = args.computing.open(&args.model)?;
    let (mut ids, mut texts) = (Vec::new(), Vec::new());
    for document in collection.documents()? {
        let document = document?;
        texts.push(document.full_text());
        ids.push(document.id);
    }
    let kind = match args.kind {
        Kind::Document => TextKind::Document,
        Kind::Query => TextKind::Query,
    };
    let mut bar = Progress::new("encode", texts.len() as u64);
    let mut vectors: Vec<f32> = Vec::with_capacity(texts.len() * encoder.dimension());
    for chunk in texts.chunks(CHUNK) {
        let done = (vectors.len() / encoder.dimension().max(1)) as u64;
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let made = encoder.encode_with_progress(&chunk, kind, &mut |count| bar.set(done + count as u64, ""))?;
        made.into_iter().for_each(|vector| vectors.extend(vector));
    }
    let rows = Rows {
        version: 1,
        fingerprint: encoder.fingerprint().to_owned(),
        model: encoder.name().to_owned(),
        dimension: encoder.dimension(),
        ids,
    };
    // Under another name first: a file that is there is whole.
    let part = beside(&args.output, ".part");
    let io = |path: &Path| format!("writing {}", path.display());
    if extension == "npy" {
        let array = Array2::from_shape_vec((rows.ids.len(), rows.dimension), vectors)?;
        array.write_npy(std::io::BufWriter::new(File::create(&part).with_context(|| io(&part))?))?;
        let names = beside(&args.output, ".json");
        std::fs::write(&names, serde_json::to_vec(&rows)?).with_context(|| io(&names))?;
    } else {
        write_parquet(&part, &rows, vectors).with_context(|| io(&part))?;
    }
    std::fs::rename(&part, &args.output).with_context(|| io(&args.output))?;
    bar.finish(&format!("{} vectors of {} values in {}", rows.ids.len(), rows.dimension, args.output.display()));
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_parquet(path: &Path, rows: &Rows, vectors: Vec<f32>) -> Result<()> {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let width = i32::try_from(rows.dimension)?;
    let list = FixedSizeListArray::try_new(Arc::clone(&item), width, Arc::new(Float32Array::from(vectors)), None)?;
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(&rows.ids));
    let metadata =
        HashMap::from([("fingerprint".to_owned(), rows.fingerprint.clone()), ("model".to_owned(), rows.model.clone())]);
    let fields = vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("vector", DataType::FixedSizeList(item, width), false),
    ];
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids, Arc::new(list)])?;
    let mut writer = parquet::arrow::ArrowWriter::try_new(File::create(path)?, schema, None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

/// Vectors by id from an .npy file with its .json beside, if the same model made them.
pub(crate) fn read_vectors(path: &Path, encoder: &dyn TextEncoder) -> Result<HashMap<String, Vec<f32>>> {
    let names = beside(path, ".json");
    let text = std::fs::read(&names)
        .with_context(|| format!("reading {}, which must say whose rows these are", names.display()))?;
    let rows: Rows =
        serde_json::from_slice(&text).with_context(|| format!("{} is no list of rows", names.display()))?;
    if rows.version != 1 {
        bail!("{} is of version {}; this program reads 1", names.display(), rows.version);
    }
    if rows.fingerprint != encoder.fingerprint() {
        bail!(
            "{}: made by the model `{}` ({:.12}), and the model given is `{}` ({:.12})",
            path.display(),
            rows.model,
            rows.fingerprint,
            encoder.name(),
            encoder.fingerprint()
        );
    }
    let file = std::io::BufReader::new(File::open(path).with_context(|| format!("reading {}", path.display()))?);
    let array = Array2::<f32>::read_npy(file).with_context(|| format!("{} is no array of f32", path.display()))?;
    if array.dim() != (rows.ids.len(), encoder.dimension()) {
        bail!(
            "{}: {:?} values, and {} names {} rows of {}",
            path.display(),
            array.dim(),
            names.display(),
            rows.ids.len(),
            encoder.dimension()
        );
    }
    Ok(rows.ids.into_iter().zip(array.outer_iter().map(|row| row.to_vec())).collect())
}
