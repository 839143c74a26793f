//! Files of vectors as `adam encode` writes them, row after row: no file is held in memory.
//!
//! `FILE.npy` is a NumPy array, f32, one row a text. Beside it `FILE.npy.json` says whose rows they are:
//! `{"version": 1, "fingerprint": "...", "model": "...", "kind": "document", "dimension": 384, "texts": "...", "ids": [...]}`.
//! `FILE.parquet` has the columns `id` and `vector`, and the same description as metadata.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use adam_encoder::TextEncoder;
use anyhow::{Context, Result};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::{Deserialize, Serialize};

use crate::vectors::{Kind, beside};

/// What is in a file, apart from the rows.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Description {
    version: u32,
    fingerprint: String,
    model: String,
    kind: Kind,
    dimension: usize,
    /// SHA-256 of the ids and texts, of a part: whether it is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) texts: Option<String>,
}

impl Description {
    pub(crate) fn new(encoder: &dyn TextEncoder, kind: Kind) -> Self {
        Self {
            version: 1,
            fingerprint: encoder.fingerprint().to_owned(),
            model: encoder.name().to_owned(),
            kind,
            dimension: encoder.dimension(),
            texts: None,
        }
    }

    /// Whether a whole file of the same texts by the same model is there.
    pub(crate) fn is_that_of(&self, path: &Path) -> bool {
        let there = match Format::of(path) {
            Some(Format::Npy) => npy_description(path),
            Some(Format::Parquet) => parquet_description(path),
            None => None,
        };
        self.texts.is_some() && there.as_ref() == Some(self)
    }
}

/// The description beside an array, which is the last of the two to be written.
fn npy_description(path: &Path) -> Option<Description> {
    path.is_file().then_some(())?;
    let text = std::fs::read(beside(path, ".json")).ok()?;
    serde_json::from_slice(&text).ok()
}

fn parquet_description(path: &Path) -> Option<Description> {
    let reader = SerializedFileReader::new(std::fs::File::open(path).ok()?).ok()?;
    let pairs = reader.metadata().file_metadata().key_value_metadata()?;
    let value = pairs.iter().find(|pair| pair.key == DESCRIPTION)?.value.as_ref()?;
    serde_json::from_str(value).ok()
}

/// The key of the whole description in a Parquet file.
const DESCRIPTION: &str = "adam";

/// The formats of files, by their names' ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Npy,
    Parquet,
}

impl Format {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "npy" => Some(Self::Npy),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Some rows: their ids and, one after the other, their vectors.
pub(crate) struct Rows {
    pub(crate) ids: Vec<String>,
    pub(crate) vectors: Vec<f32>,
}

/// Writes a file of `count` rows, which come in pieces. It appears under its name when it is whole; after an error there is none.
pub(crate) fn write(
    path: &Path,
    format: Format,
    description: &Description,
    count: usize,
    next: &mut (dyn FnMut() -> Result<Option<Rows>> + Send),
) -> Result<()> {
    // An error of what makes the rows goes out as it is.
    let mut fault = None;
    let mut rows = || match next() {
        Ok(rows) => Ok(rows),
        Err(error) => {
            fault = Some(error);
            Err(io::Error::other("no rows"))
        }
    };
    let written = match format {
        Format::Npy => write_npy(path, description, count, &mut rows),
        Format::Parquet => {
            durable::write_output(path, |out| write_parquet(out, description, &mut rows).map_err(io::Error::from))
        }
    };
    if let Some(fault) = fault {
        return Err(fault);
    }
    written.with_context(|| format!("writing {}", path.display()))
}

type Next<'a> = dyn FnMut() -> io::Result<Option<Rows>> + Send + 'a;

/// The array comes last, so that one that is there has its names.
fn write_npy(path: &Path, description: &Description, count: usize, next: &mut Next<'_>) -> io::Result<()> {
    durable::write_output(path, |array| {
        array.write_all(&header(count, description.dimension))?;
        durable::write_output(beside(path, ".json"), |names| {
            let described = serde_json::to_string(description)?;
            // The object stays open for the ids.
            names.write_all(described.trim_end_matches('}').as_bytes())?;
            names.write_all(b",\"ids\":[")?;
            let mut written = 0;
            while let Some(Rows { ids, vectors }) = next()? {
                for id in ids {
                    if written > 0 {
                        names.write_all(b",")?;
                    }
                    serde_json::to_writer(&mut *names, &id)?;
                    written += 1;
                }
                let bytes: Vec<u8> = vectors.iter().flat_map(|value| value.to_le_bytes()).collect();
                array.write_all(&bytes)?;
            }
            if written != count {
                return Err(io::Error::other(format!(
                    "{written} rows came, and there were to be {count}: the input changed meanwhile"
                )));
            }
            names.write_all(b"]}")
        })
    })
}

/// The header of an array of f32, filled up so that the values begin at a multiple of 64 bytes.
fn header(rows: usize, width: usize) -> Vec<u8> {
    const BEFORE: usize = 10;
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let end = (BEFORE + text.len() + 1).next_multiple_of(64);
    while BEFORE + text.len() + 1 < end {
        text.push(' ');
    }
    text.push('\n');
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [b"\x93NUMPY\x01\x00".as_slice(), &length.to_le_bytes(), text.as_bytes()].concat()
}

/// The columns of a Parquet file of vectors.
const COLUMNS: &str = "message vectors {
    required binary id (STRING);
    required group vector (LIST) { repeated group list { required float element; } }
}";

/// Rows that a Parquet file keeps together, and that are in memory at a time.
pub(crate) const ROW_GROUP: usize = 1 << 13;

fn write_parquet(
    out: &mut (dyn Write + Send),
    description: &Description,
    next: &mut Next<'_>,
) -> parquet::errors::Result<()> {
    let schema = Arc::new(parse_message_type(COLUMNS)?);
    let kind = if description.kind == Kind::Query { "query" } else { "document" };
    let whole =
        serde_json::to_string(description).map_err(|fault| parquet::errors::ParquetError::External(Box::new(fault)))?;
    let metadata = [
        ("fingerprint", description.fingerprint.as_str()),
        ("model", &description.model),
        ("kind", kind),
        (DESCRIPTION, &whole),
    ]
    .map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()));
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata.to_vec())).build();
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    let width = description.dimension;
    // Every value is there (definition 1); the first of a vector begins a list (repetition 0).
    let definition = vec![1; width];
    let repetition: Vec<i16> = (0..width).map(|position| i16::from(position > 0)).collect();
    while let Some(Rows { ids, vectors }) = next()? {
        let mut group = writer.next_row_group()?;
        if let Some(mut column) = group.next_column()? {
            let ids: Vec<ByteArray> = ids.iter().map(|id| id.as_str().into()).collect();
            column.typed::<ByteArrayType>().write_batch(&ids, None, None)?;
            column.close()?;
        }
        if let Some(mut column) = group.next_column()? {
            for vector in vectors.chunks(width) {
                column.typed::<FloatType>().write_batch(vector, Some(&definition), Some(&repetition))?;
            }
            column.close()?;
        }
        group.close()?;
    }
    writer.close().map(drop)
}

#[cfg(test)]
mod tests {
    use parquet::record::{ListAccessor, RowAccessor};

    use super::*;

    const COUNT: usize = 5;

    fn description(texts: Option<&str>) -> Description {
        Description {
            version: 1,
            fingerprint: "f".to_owned(),
            model: "m".to_owned(),
            kind: Kind::Query,
            dimension: 3,
            texts: texts.map(str::to_owned),
        }
    }

    /// Rows in pieces of two.
    fn rows() -> impl FnMut() -> Result<Option<Rows>> + Send {
        let mut at = 0;
        move || {
            let numbers: Vec<usize> = (at..COUNT.min(at + 2)).collect();
            at += numbers.len();
            let vectors = numbers.iter().flat_map(|&row| [row as f32, 0.5, -1.0]).collect();
            let ids = numbers.iter().map(|row| format!("d\"{row}")).collect();
            Ok((!numbers.is_empty()).then_some(Rows { ids, vectors }))
        }
    }

    #[test]
    fn a_parquet_file_gives_back_ids_and_vectors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.parquet");
        write(&path, Format::Parquet, &description(Some("t")), COUNT, &mut rows()).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap();
        assert!(
            metadata.iter().any(|pair| pair.key == "kind" && pair.value.as_deref() == Some("query")),
            "{metadata:?}"
        );
        let mut count = 0;
        for (row, read) in reader.get_row_iter(None).unwrap().enumerate() {
            let read = read.unwrap();
            assert_eq!(read.get_string(0).unwrap(), &format!("d\"{row}"));
            let list = read.get_list(1).unwrap();
            let vector: Vec<f32> = (0..list.len()).map(|position| list.get_float(position).unwrap()).collect();
            assert_eq!(vector, [row as f32, 0.5, -1.0]);
            count += 1;
        }
        assert_eq!(count, COUNT);
    }

    #[test]
    fn an_array_has_its_names_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.npy");
        write(&path, Format::Npy, &description(None), COUNT, &mut rows()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let start = bytes.len() - COUNT * 12;
        assert!(start.is_multiple_of(64) && bytes.starts_with(b"\x93NUMPY"));
        assert_eq!(bytes[start + 12..start + 16], 1.0f32.to_le_bytes());
        let names: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("vectors.npy.json")).unwrap()).unwrap();
        assert_eq!((names["ids"][4].as_str(), names["dimension"].as_u64()), (Some("d\"4"), Some(3)));
    }

    #[test]
    fn a_part_is_known_by_its_texts_and_a_broken_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for (name, format) in [("v.npy", Format::Npy), ("v.parquet", Format::Parquet)] {
            let path = folder.path().join(name);
            assert!(!description(Some("t")).is_that_of(&path));
            let mut fail = || anyhow::bail!("the model failed");
            let said = write(&path, format, &description(Some("t")), COUNT, &mut fail).unwrap_err();
            assert_eq!(said.to_string(), "the model failed");
            assert_eq!(
                folder.path().read_dir().unwrap().filter(|entry| entry.as_ref().unwrap().path() == path).count(),
                0
            );
            write(&path, format, &description(Some("t")), COUNT, &mut rows()).unwrap();
            assert!(description(Some("t")).is_that_of(&path));
            assert!(!description(Some("other")).is_that_of(&path) && !description(None).is_that_of(&path));
        }
        let said =
            write(&folder.path().join("w.npy"), Format::Npy, &description(None), COUNT + 1, &mut rows()).unwrap_err();
        assert!(format!("{said:#}").contains("the input changed"), "{said:#}");
        assert!(!folder.path().join("w.npy").exists() && !folder.path().join("w.npy.json").exists());
    }
}
