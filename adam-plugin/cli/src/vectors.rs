//! Files of vectors: written by `adam encode`, read by `adam index --vectors`.
//!
//! `FILE.npy` is a NumPy array, f32, one row a text. Beside it `FILE.npy.json` says whose rows they are:
//! `{"version": 1, "fingerprint": "...", "model": "...", "kind": "document", "dimension": 384, "ids": [...]}`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{TextEncoder, TextKind};
use adam_plugin::engine::check_vector;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use ndarray::Array2;
use ndarray_npy::npy::header::Header;
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::{Deserialize, Serialize};

use crate::screen::tell;

/// The kind of texts: a model may have a prompt for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Document,
    Query,
}

impl From<Kind> for TextKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Document => Self::Document,
            Kind::Query => Self::Query,
        }
    }
}

/// Whose rows the vectors are.
#[derive(Serialize, Deserialize)]
pub(crate) struct Rows {
    version: u32,
    fingerprint: String,
    model: String,
    /// Earlier versions did not write it.
    #[serde(default)]
    kind: Option<Kind>,
    dimension: usize,
    ids: Vec<String>,
}

impl Rows {
    pub(crate) fn new(encoder: &dyn TextEncoder, kind: Kind, ids: Vec<String>) -> Self {
        Self {
            version: 1,
            fingerprint: encoder.fingerprint().to_owned(),
            model: encoder.name().to_owned(),
            kind: Some(kind),
            dimension: encoder.dimension(),
            ids,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Writes a NumPy array and the file beside it. The array comes last, so that one that is there has its names.
    pub(crate) fn write_npy(&self, path: &Path, vectors: Vec<f32>) -> Result<()> {
        let array = Array2::from_shape_vec((self.ids.len(), self.dimension), vectors)?;
        let names = beside(path, ".json");
        let text = serde_json::to_vec(self)?;
        durable::write_output(&names, |out| out.write_all(&text))
            .with_context(|| format!("writing {}", names.display()))?;
        durable::write_output(path, |out| array.write_npy(out).map_err(std::io::Error::other))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Writes a Parquet file with the columns `id`, a string, and `vector`, a list of floats. What the vectors are of is in the
    /// file's metadata.
    pub(crate) fn write_parquet(&self, path: &Path, vectors: &[f32]) -> Result<()> {
        durable::write_output(path, |out| self.write_parquet_to(out, vectors).map_err(std::io::Error::from))
            .with_context(|| format!("writing {}", path.display()))
    }

    fn write_parquet_to(&self, out: &mut (dyn Write + Send), vectors: &[f32]) -> parquet::errors::Result<()> {
        let schema = Arc::new(parse_message_type(COLUMNS)?);
        let kind = if self.kind == Some(Kind::Query) { "query" } else { "document" };
        let metadata = [("fingerprint", self.fingerprint.as_str()), ("model", &self.model), ("kind", kind)]
            .map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()));
        let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata.to_vec())).build();
        let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        for (ids, vectors) in self.ids.chunks(ROW_GROUP).zip(vectors.chunks(ROW_GROUP * self.dimension)) {
            let mut group = writer.next_row_group()?;
            if let Some(mut column) = group.next_column()? {
                let ids: Vec<ByteArray> = ids.iter().map(|id| id.as_str().into()).collect();
                column.typed::<ByteArrayType>().write_batch(&ids, None, None)?;
                column.close()?;
            }
            if let Some(mut column) = group.next_column()? {
                // Every value is there (definition 1); the first of a vector begins a list (repetition 0).
                let definition = vec![1; self.dimension];
                let repetition: Vec<i16> = (0..self.dimension).map(|position| i16::from(position > 0)).collect();
                for vector in vectors.chunks(self.dimension) {
                    column.typed::<FloatType>().write_batch(vector, Some(&definition), Some(&repetition))?;
                }
                column.close()?;
            }
            group.close()?;
        }
        writer.close().map(drop)
    }
}

/// The columns of a Parquet file of vectors.
const COLUMNS: &str = "message vectors {
    required binary id (STRING);
    required group vector (LIST) { repeated group list { required float element; } }
}";

/// Rows that a Parquet file keeps together.
const ROW_GROUP: usize = 1 << 16;

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Vectors of documents, by id.
pub(crate) struct Vectors {
    rows: HashMap<String, usize>,
    array: Array2<f32>,
    all: usize,
}

impl Vectors {
    /// Reads an .npy file with its .json beside, if the same model made them of documents. Every row is checked.
    pub(crate) fn read(path: &Path, encoder: &dyn TextEncoder) -> Result<Self> {
        let shown = path.display();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            bail!(
                "--vectors {shown}: a Parquet file is for other programs; `adam encode --output FILE.npy` writes what this option reads"
            );
        }
        let names = beside(path, ".json");
        let text = durable::read(&names, MAX_NAMES)
            .with_context(|| format!("reading {}, which must say whose rows these are", names.display()))?;
        let rows: Rows =
            serde_json::from_slice(&text).with_context(|| format!("{} is no list of rows", names.display()))?;
        if rows.version != 1 {
            bail!("{} is of version {}; this program reads 1", names.display(), rows.version);
        }
        match rows.kind {
            Some(Kind::Document) => {}
            Some(Kind::Query) => bail!(
                "{shown} holds vectors of queries, and an index takes vectors of documents: `adam encode --kind document` makes them"
            ),
            None => tell(&format!(
                "warning: {} does not say whether {shown} holds vectors of documents or of queries; they are taken for documents' (`adam \
                 encode` writes it now)",
                names.display()
            )),
        }
        if rows.fingerprint != encoder.fingerprint() {
            bail!(
                "{shown}: made by the model `{}` ({:.12}), and the model of the index is `{}` ({:.12}); vectors of two models cannot be compared",
                rows.model,
                rows.fingerprint,
                encoder.name(),
                encoder.fingerprint()
            );
        }
        let array = read_array(path)?;
        if array.dim() != (rows.ids.len(), encoder.dimension()) {
            bail!(
                "{shown}: {} rows of {} values, and {} names {} rows of {}; both files must be of one call of `adam encode`",
                array.nrows(),
                array.ncols(),
                names.display(),
                rows.ids.len(),
                encoder.dimension()
            );
        }
        let mut found = HashMap::with_capacity(rows.ids.len());
        for ((row, id), vector) in rows.ids.into_iter().enumerate().zip(array.outer_iter()) {
            if let Err(problem) = check_vector(vector.iter().copied(), encoder.dimension()) {
                bail!("{shown}: row {row}, the vector of `{id}`, {problem}");
            }
            if let Some(first) = found.insert(id.clone(), row) {
                bail!("{}: `{id}` is named twice, for the rows {first} and {row}", names.display());
            }
        }
        Ok(Self { all: found.len(), rows: found, array })
    }

    /// Takes the vector of a document.
    pub(crate) fn take(&mut self, id: &str) -> Option<Vec<f32>> {
        let row = self.rows.remove(id)?;
        Some(self.array.row(row).to_vec())
    }

    /// The number of vectors, and how many of them no document has used.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.all, self.rows.len())
    }
}

/// Bytes of the longest list of ids read: a hundred million ids of 80 bytes.
const MAX_NAMES: u64 = 8 << 30;

/// Bytes of the longest header read: NumPy's own have 128.
const MAX_HEADER: u64 = 1024;

/// An array of two dimensions, its header held against the file's length before memory is taken for it.
fn read_array(path: &Path) -> Result<Array2<f32>> {
    let shown = path.display();
    let mut file = BufReader::new(File::open(path).with_context(|| format!("reading {shown}"))?);
    let found = file.get_ref().metadata().with_context(|| format!("reading {shown}"))?;
    if !found.is_file() {
        bail!("{shown} is not a file");
    }
    let mut start = [0; 12];
    file.read_exact(&mut start).with_context(|| format!("{shown} is too short for a NumPy array"))?;
    let header = match start[6] {
        1 => 10 + u64::from(u16::from_le_bytes([start[8], start[9]])),
        _ => 12 + u64::from(u32::from_le_bytes([start[8], start[9], start[10], start[11]])),
    };
    if &start[..6] != b"\x93NUMPY" || header > MAX_HEADER {
        bail!("{shown} is no NumPy array (.npy) of vectors");
    }
    file.seek(SeekFrom::Start(0))?;
    let parsed = Header::from_reader(&mut file).with_context(|| format!("the header of {shown} cannot be read"))?;
    let kind = parsed.type_descriptor.as_string().map_or("", String::as_str);
    if !matches!(kind, "<f4" | ">f4") {
        bail!(
            "{shown} holds values of the type {}, and f32 is read (in NumPy: `array.astype(\"float32\")`)",
            parsed.type_descriptor
        );
    }
    let values = parsed.shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length as u64));
    let claimed = values.and_then(|values| values.checked_mul(4)?.checked_add(header));
    if claimed != Some(found.len()) {
        bail!(
            "{shown}: its header says {:?} values of 4 bytes, and the file has {} bytes: it was cut, or is damaged",
            parsed.shape,
            found.len()
        );
    }
    file.seek(SeekFrom::Start(0))?;
    Array2::<f32>::read_npy(file).with_context(|| format!("{shown} is no array of rows and columns"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, header: &str, body: &[u8]) -> PathBuf {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let padded = format!("{header:<117}\n");
        bytes.extend(u16::try_from(padded.len()).unwrap().to_le_bytes());
        bytes.extend(padded.as_bytes());
        bytes.extend(body);
        let path = folder.join("v.npy");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn described(kind: &str, shape: &str) -> String {
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")
    }

    #[test]
    fn a_header_that_claims_more_than_the_file_holds_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let body = [0u8; 32];
        for shape in
            ["(17179869184, 4)", "(1099511627776, 16)", "(18446744073709551615, 16)", "(3, 4)", "(1, 4)", "(8,)", "()"]
        {
            let said = read_array(&file(folder.path(), &described("<f4", shape), &body)).unwrap_err();
            assert!(format!("{said:#}").contains("v.npy"), "{shape}: {said:#}");
        }
        assert_eq!(read_array(&file(folder.path(), &described("<f4", "(2, 4)"), &body)).unwrap().dim(), (2, 4));
        for (header, words) in [
            (described("<f8", "(1, 4)"), "float32"),
            (described("|O", "(2, 4)"), "float32"),
            ("(".repeat(100), "header"),
            ("__import__('os')".to_owned(), "header"),
        ] {
            let said = format!("{:#}", read_array(&file(folder.path(), &header, &body)).unwrap_err());
            assert!(said.contains(words), "{header}: {said}");
        }
        for bytes in [&b""[..], b"\x93NUMPY", b"not an array at all", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}"] {
            let path = folder.path().join("v.npy");
            std::fs::write(&path, bytes).unwrap();
            assert!(format!("{:#}", read_array(&path).unwrap_err()).contains("v.npy"));
        }
    }

    #[test]
    fn a_parquet_file_gives_back_ids_and_vectors() {
        use parquet::file::reader::{FileReader, SerializedFileReader};
        use parquet::record::{ListAccessor, RowAccessor};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.parquet");
        let ids: Vec<String> = (0..ROW_GROUP + 2).map(|row| format!("d{row}")).collect();
        let vectors: Vec<f32> = (0..ids.len()).flat_map(|row| [row as f32, 0.5, -1.0]).collect();
        let rows = Rows {
            version: 1,
            fingerprint: "f".to_owned(),
            model: "m".to_owned(),
            kind: Some(Kind::Query),
            dimension: 3,
            ids,
        };
        rows.write_parquet(&path, &vectors).unwrap();

        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap();
        assert!(
            metadata.iter().any(|pair| pair.key == "kind" && pair.value.as_deref() == Some("query")),
            "{metadata:?}"
        );
        let mut count = 0;
        for (row, read) in reader.get_row_iter(None).unwrap().enumerate() {
            let read = read.unwrap();
            assert_eq!(read.get_string(0).unwrap(), &format!("d{row}"));
            let list = read.get_list(1).unwrap();
            let vector: Vec<f32> = (0..list.len()).map(|position| list.get_float(position).unwrap()).collect();
            assert_eq!(vector, [row as f32, 0.5, -1.0]);
            count += 1;
        }
        assert_eq!(count, ROW_GROUP + 2);
    }
}
