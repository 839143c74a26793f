//! `adam export`: an index as a file that other engines load.

use std::path::PathBuf;
use std::sync::Arc;

use adam_plugin::engine::ExportedRow;
use adam_plugin::{Engine, PluginError};
use anyhow::{Context, Result};
use clap::Args;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::error::WrongCall;
use crate::screen::{Progress, counted};
use crate::vector_output::{Format, ROW_GROUP};

/// Write all documents of an index with their vectors as a Parquet file, for other engines.
///
/// Columns: `_id`, `title`, `text`, `metadata` (a JSON object), `vector` (f32), and `chunk` where the index has chunks: then there is a row for
/// each chunk, with its own text. What the file's own metadata says of the model and the fusion, docs/export.md explains, with what
/// OpenSearch, Vespa, Qdrant and LanceDB make of it.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "Examples:
  adam export --index scifact-index --output scifact.parquet
  adam index  --model student --data scifact.parquet --index again      # and back")]
pub(crate) struct ExportArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// File to write; one that is there is replaced.
    #[arg(long, value_name = "FILE.parquet")]
    output: PathBuf,
}

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    if Format::of(&args.output) != Some(Format::Parquet) {
        return Err(WrongCall(format!(
            "{} does not end in .parquet, the format that is written",
            args.output.display()
        ))
        .into());
    }
    let engine = Engine::open(&args.index)?;
    let mut bar = Progress::new("export", engine.num_docs());
    let mut fault = None;
    let mut rows = 0;
    let written = durable::write_output(&args.output, |out| {
        let mut writer = Writer::new(&engine, out, &mut bar)?;
        match engine.export(|row| writer.add(row)) {
            Ok(count) => rows = count,
            Err(Failure::Index(error)) => {
                fault = Some(error);
                return Err(std::io::Error::other("the index could not be read"));
            }
            Err(Failure::Output(error)) => return Err(error.into()),
        }
        Ok(writer.finish()?)
    });
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    written.with_context(|| format!("writing {}", args.output.display()))?;
    bar.finish(&format!("{} in {}", counted(rows, "row"), args.output.display()));
    Ok(())
}

/// Why an export ended.
enum Failure {
    Index(PluginError),
    Output(ParquetError),
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        Self::Index(error)
    }
}

/// Writes rows, some thousand at a time.
struct Writer<'a> {
    file: SerializedFileWriter<&'a mut (dyn std::io::Write + Send)>,
    has_chunks: bool,
    waiting: Vec<ExportedRow>,
    bar: &'a mut Progress,
    documents: u64,
}

impl<'a> Writer<'a> {
    fn new(
        engine: &Engine,
        out: &'a mut (dyn std::io::Write + Send),
        bar: &'a mut Progress,
    ) -> Result<Self, ParquetError> {
        let manifest = engine.manifest();
        let has_chunks = manifest.layout.chunks.is_some();
        let chunk = if has_chunks { "required int64 chunk;" } else { "" };
        let schema = parse_message_type(&format!(
            "message documents {{
                required binary _id (STRING);
                {chunk}
                required binary title (STRING);
                required binary text (STRING);
                optional binary metadata (JSON);
                optional group vector (LIST) {{ repeated group list {{ required float element; }} }}
            }}"
        ))?;
        let said = [
            ("model", manifest.model.name.clone()),
            ("fingerprint", manifest.model.fingerprint.clone()),
            ("dimension", manifest.model.dimension.to_string()),
            ("similarity", "cosine".to_owned()),
            ("language", engine.language().map_or_else(String::new, |language| language.to_string())),
            ("embedded", manifest.layout.template.to_string()),
            ("fusion", "convex".to_owned()),
            ("weight_of_vectors", engine.hybrid_weight().to_string()),
        ];
        let said = said.into_iter().map(|(key, value)| KeyValue::new(format!("adam.{key}"), value)).collect();
        let properties = WriterProperties::builder()
            .set_compression(parquet::basic::Compression::ZSTD(parquet::basic::ZstdLevel::default()))
            .set_key_value_metadata(Some(said))
            .build();
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { file, has_chunks, waiting: Vec::new(), bar, documents: 0 })
    }

    fn add(&mut self, row: ExportedRow) -> Result<(), Failure> {
        if row.chunk.unwrap_or(0) == 0 {
            self.documents += 1;
            self.bar.set(self.documents, "documents");
        }
        self.waiting.push(row);
        if self.waiting.len() == ROW_GROUP { self.group().map_err(Failure::Output) } else { Ok(()) }
    }

    fn finish(mut self) -> Result<(), ParquetError> {
        self.group()?;
        self.file.close().map(drop)
    }

    /// Writes what waits as a group of rows.
    fn group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.waiting);
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        let text = |value: &str| ByteArray::from(value);
        column::<ByteArrayType>(&mut group, rows.iter().map(|row| Some(text(&row.document.id))), true)?;
        if self.has_chunks {
            let numbers = rows.iter().map(|row| Some(i64::try_from(row.chunk.unwrap_or(0)).unwrap_or(i64::MAX)));
            column::<Int64Type>(&mut group, numbers, true)?;
        }
        column::<ByteArrayType>(&mut group, rows.iter().map(|row| Some(text(&row.document.title))), true)?;
        column::<ByteArrayType>(&mut group, rows.iter().map(|row| Some(text(&row.document.text))), true)?;
        let metadata = |row: &ExportedRow| {
            let object = row.document.metadata.as_ref()?;
            serde_json::to_string(object).ok().map(|object| ByteArray::from(object.into_bytes()))
        };
        column::<ByteArrayType>(&mut group, rows.iter().map(metadata), false)?;
        if let Some(mut column) = group.next_column()? {
            for row in &rows {
                // Definition: 0 no vector, 1 an empty one, 2 a value. Repetition: 0 for the first of a row.
                let values = row.document.vector.as_deref().unwrap_or_default();
                let level = if row.document.vector.is_some() { 1 } else { 0 };
                let definition = if values.is_empty() { vec![level] } else { vec![2; values.len()] };
                let repetition: Vec<i16> = (0..definition.len()).map(|at| i16::from(at > 0)).collect();
                column.typed::<FloatType>().write_batch(values, Some(&definition), Some(&repetition))?;
            }
            column.close()?;
        }
        group.close().map(drop)
    }
}

/// Writes a column of values, of which some may be absent unless it is required.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut (dyn std::io::Write + Send)>,
    values: impl Iterator<Item = Option<T::T>>,
    required: bool,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    let (mut present, mut definition) = (Vec::new(), Vec::new());
    for value in values {
        definition.push(i16::from(value.is_some()));
        present.extend(value);
    }
    column.typed::<T>().write_batch(&present, (!required).then_some(definition.as_slice()), None)?;
    column.close()
}
