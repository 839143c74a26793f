//! Files of vectors, as `adam index --vectors` reads them; the module `vector_output` writes them.
//!
//! `FILE.npy` is a NumPy array, f32, one row a text. Beside it `FILE.npy.json` says whose rows they are:
//! `{"version": 1, "fingerprint": "...", "model": "...", "kind": "document", "dimension": 384, "ids": [...]}`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use adam_encoder::{TextEncoder, TextKind};
use adam_plugin::engine::check_vector;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use ndarray_npy::npy::header::Header;
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

/// Whose rows the vectors of an .npy file are, as the .json beside it says.
#[derive(Deserialize)]
struct Rows {
    version: u32,
    fingerprint: String,
    model: String,
    /// Earlier versions did not write it.
    #[serde(default)]
    kind: Option<Kind>,
    ids: Vec<String>,
}

/// The file with another suffix behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Vectors of documents, by id.
///
/// The arrays stay in their files; of the vectors that no document has used, the ids are in memory.
pub(crate) struct Vectors {
    /// File and row.
    rows: HashMap<String, (usize, usize)>,
    files: Vec<ArrayFile>,
    all: usize,
}

impl Vectors {
    /// Reads .npy files, each with its .json beside, if the same model made them of documents. Every row is checked.
    pub(crate) fn read(paths: &[PathBuf], encoder: &dyn TextEncoder) -> Result<Self> {
        let mut vectors = Self { rows: HashMap::new(), files: Vec::new(), all: 0 };
        for path in paths {
            vectors.add(path, encoder)?;
        }
        vectors.all = vectors.rows.len();
        Ok(vectors)
    }

    fn add(&mut self, path: &Path, encoder: &dyn TextEncoder) -> Result<()> {
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
        let mut array = ArrayFile::open(path)?;
        if (array.rows, array.width) != (rows.ids.len(), encoder.dimension()) {
            bail!(
                "{shown}: {} rows of {} values, and {} names {} rows of {}; both files must be of one call of `adam encode`",
                array.rows,
                array.width,
                names.display(),
                rows.ids.len(),
                encoder.dimension()
            );
        }
        self.rows.reserve(rows.ids.len());
        let number = self.files.len();
        for (row, id) in rows.ids.into_iter().enumerate() {
            if let Err(problem) = check_vector(array.row(row)?.into_iter(), encoder.dimension()) {
                bail!("{shown}: row {row}, the vector of `{id}`, {problem}");
            }
            match self.rows.insert(id.clone(), (number, row)) {
                None => {}
                Some((file, first)) if file == number => {
                    bail!("{}: `{id}` is named twice, for the rows {first} and {row}", names.display());
                }
                Some((file, first)) => {
                    let other = self.files[file].path.display();
                    bail!("{}: `{id}` of row {row} is named in {other} as well, for row {first}", names.display());
                }
            }
        }
        self.files.push(array);
        Ok(())
    }

    /// Takes the vector of a document; it is read from the file now.
    pub(crate) fn take(&mut self, id: &str) -> Result<Option<Vec<f32>>> {
        self.rows.remove(id).map(|(file, row)| self.files[file].row(row)).transpose()
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

/// An array of two dimensions that stays in its file.
struct ArrayFile {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the first value is.
    start: u64,
    rows: usize,
    width: usize,
    /// Whether it is stored column after column; then a row takes as many reads as it has values.
    by_column: bool,
    is_big_endian: bool,
}

impl ArrayFile {
    /// Its header is held against the file's length before memory is taken for it.
    fn open(path: &Path) -> Result<Self> {
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
        let &[rows, width] = parsed.shape.as_slice() else {
            bail!("{shown} is no array of rows and columns: its header says {:?}", parsed.shape);
        };
        let (by_column, is_big_endian) = (parsed.layout.is_fortran(), kind == ">f4");
        Ok(Self { path: path.to_path_buf(), file, start: header, rows, width, by_column, is_big_endian })
    }

    /// The values of a row. Rows that follow each other are read from one buffer.
    fn row(&mut self, row: usize) -> Result<Vec<f32>> {
        let mut bytes = vec![0; self.width * 4];
        let (pieces, length) = if self.by_column { (self.width, 4) } else { (1, self.width * 4) };
        let mut read = || -> std::io::Result<()> {
            for (piece, bytes) in (0..pieces).zip(bytes.chunks_mut(length.max(1))) {
                let wanted = self.start + (piece * self.rows * 4 + row * length) as u64;
                let now = self.file.stream_position()?;
                self.file.seek_relative(wanted as i64 - now as i64)?;
                self.file.read_exact(bytes)?;
            }
            Ok(())
        };
        read().with_context(|| format!("reading row {row} of {}", self.path.display()))?;
        let value = |four: &[u8]| {
            let four = [four[0], four[1], four[2], four[3]];
            if self.is_big_endian { f32::from_be_bytes(four) } else { f32::from_le_bytes(four) }
        };
        Ok(bytes.chunks_exact(4).map(value).collect())
    }
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
            let said = ArrayFile::open(&file(folder.path(), &described("<f4", shape), &body)).err().unwrap();
            assert!(format!("{said:#}").contains("v.npy"), "{shape}: {said:#}");
        }
        let array = ArrayFile::open(&file(folder.path(), &described("<f4", "(2, 4)"), &body)).unwrap();
        assert_eq!((array.rows, array.width), (2, 4));
        for (header, words) in [
            (described("<f8", "(1, 4)"), "float32"),
            (described("|O", "(2, 4)"), "float32"),
            ("(".repeat(100), "header"),
            ("__import__('os')".to_owned(), "header"),
        ] {
            let said = format!("{:#}", ArrayFile::open(&file(folder.path(), &header, &body)).err().unwrap());
            assert!(said.contains(words), "{header}: {said}");
        }
        for bytes in [&b""[..], b"\x93NUMPY", b"not an array at all", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}"] {
            let path = folder.path().join("v.npy");
            std::fs::write(&path, bytes).unwrap();
            assert!(format!("{:#}", ArrayFile::open(&path).err().unwrap()).contains("v.npy"));
        }
    }

    #[test]
    fn rows_are_read_in_any_order_and_either_byte_order() {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..40_000).map(|value| value as f32 / 3.0).collect();
        for (kind, bytes) in [
            ("<f4", values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()),
            (">f4", values.iter().flat_map(|value| value.to_be_bytes()).collect()),
        ] {
            let mut array = ArrayFile::open(&file(folder.path(), &described(kind, "(10000, 4)"), &bytes)).unwrap();
            for row in [0, 1, 2, 9_999, 3, 9_998, 5_000, 5_001, 0] {
                assert_eq!(array.row(row).unwrap(), values[row * 4..][..4], "{kind} {row}");
            }
        }
        let by_column = described("<f4", "(2, 4)").replace("False", "True");
        let bytes: Vec<u8> = [0, 4, 1, 5, 2, 6, 3, 7].iter().flat_map(|&value| (value as f32).to_le_bytes()).collect();
        let mut array = ArrayFile::open(&file(folder.path(), &by_column, &bytes)).unwrap();
        assert_eq!(array.row(1).unwrap(), [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(array.row(0).unwrap(), [0.0, 1.0, 2.0, 3.0]);
    }
}
