//! Files of rows, read one row at a time with its line: JSON lines, a JSON array, comma- or tab-separated values, Parquet; compressed
//! or not.
//!
//! A row that cannot be read does not end the file: it comes as a reason, and the next row follows. What ends a file is an
//! error of the file itself (it cannot be opened, it is no Parquet). Rows are bounded, so that a file without line breaks
//! cannot fill the memory.

use super::Limits;
use super::array::{ArrayCutter, ArrayState};
use super::rows::{Row, parse, shorten};
use crate::error::TrainError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as ParquetRow};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What a visitor of rows says: go on, or enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next row, please.
    Next,
    /// No more rows are needed.
    Stop,
}

/// Called with the line number (rows of Parquet files are counted from 1 as well) and the row or why it cannot be read.
pub(crate) type Visit<'a> = dyn FnMut(&Path, u64, Result<Row, String>) -> Result<Flow, TrainError> + 'a;

/// Ends of names that say how a file is packed.
const PACKED: [&str; 3] = ["gz", "bz2", "zst"];

/// A file's name without the end that says how it is packed.
pub(crate) fn unpacked_name(path: &Path) -> PathBuf {
    match path.extension().and_then(|e| e.to_str()) {
        Some(extension) if PACKED.iter().any(|known| extension.eq_ignore_ascii_case(known)) => path.with_extension(""),
        _ => path.to_owned(),
    }
}

/// The file of this name, or the same packed.
pub(crate) fn existing(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    PACKED.iter().find_map(|extension| {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        Some(PathBuf::from(name)).filter(|packed| packed.is_file())
    })
}

fn extension_of(path: &Path) -> String {
    unpacked_name(path).extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// The files of a table: the file itself, or those of a folder that hold rows, by name.
pub(crate) fn table_files(path: &Path) -> Result<Vec<PathBuf>, TrainError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|e| TrainError::io(path, e))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|e| TrainError::io(path, e))?.path();
        if file.is_file() && is_table(&file) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(TrainError::data(path, "the folder holds no .jsonl, .json, .csv, .tsv or .parquet file"));
    }
    Ok(files)
}

/// Whether a file's name says that it holds rows.
pub(crate) fn is_table(path: &Path) -> bool {
    matches!(extension_of(path).as_str(), "jsonl" | "json" | "ndjson" | "parquet" | "csv" | "tsv")
}

/// Visits the rows of a table, file by file.
pub(crate) fn for_each_row(path: &Path, limits: &Limits, visit: &mut Visit<'_>) -> Result<(), TrainError> {
    for file in table_files(path)? {
        let flow = match content(&file)? {
            Content::Parquet => parquet_rows(&file, limits, visit)?,
            Content::Array => array_rows(&file, limits, visit)?,
            Content::Separated(separator) => separated_rows(&file, separator, limits, visit)?,
            Content::Lines => jsonl_rows(&file, limits, visit)?,
        };
        if flow == Flow::Stop {
            break;
        }
    }
    Ok(())
}

/// How a file holds its rows.
enum Content {
    /// One JSON object or array a line.
    Lines,
    /// One JSON array of rows.
    Array,
    /// Values separated by this byte, their names in the first line.
    Separated(u8),
    Parquet,
}

/// Opens a text file, unpacked.
fn open(path: &Path) -> Result<BufReader<Box<dyn Read + Send>>, TrainError> {
    Ok(BufReader::with_capacity(1 << 20, beir_eval::read_text(path)?))
}

/// What a file holds, by its first bytes and its name.
fn content(path: &Path) -> Result<Content, TrainError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| TrainError::io(path, e))?;
    file.take(300).read_to_end(&mut start).map_err(|e| TrainError::io(path, e))?;
    if start.starts_with(b"PAR1") {
        return Ok(Content::Parquet);
    }
    for (magic, at, what) in [
        (
            &b"PK\x03\x04"[..],
            0,
            "a zip archive, and only a zip of a BEIR folder is read, by a name that ends in .zip; unpack it",
        ),
        (b"ARROW1", 0, "an Arrow file; save the data set as Parquet or JSON lines (`to_parquet`, `to_json`)"),
        (b"\x89HDF", 0, "an HDF5 file; save the rows as JSON lines or Parquet"),
        (b"SQLite format 3", 0, "an SQLite database; write its rows as JSON lines"),
        (b"ustar", 257, "a tar archive; unpack it"),
        (b"\x80\x04\x95", 0, "a Python pickle, which is a program; write the rows as JSON lines"),
    ] {
        if start.get(at..).is_some_and(|rest| rest.starts_with(magic)) {
            return Err(TrainError::data(path, format!("is {what}")));
        }
    }
    match extension_of(path).as_str() {
        "csv" => return Ok(Content::Separated(b',')),
        "tsv" => return Ok(Content::Separated(b'\t')),
        _ => {}
    }
    // An array of rows begins with two brackets; one row that is an array has a text after the first.
    let mut reader = open(path)?;
    let mut brackets = Vec::new();
    for _ in 0..1 << 16 {
        let buffer = reader.fill_buf().map_err(|e| unreadable(path, e))?;
        let Some(&byte) = buffer.first() else { break };
        reader.consume(1);
        if !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(&byte) {
            brackets.push(byte);
        }
        if brackets.len() == 2 || brackets.first().is_some_and(|&first| first != b'[') {
            break;
        }
    }
    Ok(if matches!(brackets[..], [b'[', b'{' | b'[' | b']']) { Content::Array } else { Content::Lines })
}

/// An error of reading: a stream that breaks off or is damaged is a fault of the file and not of the disk.
fn unreadable(path: &Path, error: std::io::Error) -> TrainError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof
        | std::io::ErrorKind::InvalidData
        | std::io::ErrorKind::InvalidInput
        | std::io::ErrorKind::Other => TrainError::data(path, error.to_string()),
        _ => TrainError::io(path, error),
    }
}

fn jsonl_rows(path: &Path, limits: &Limits, visit: &mut Visit<'_>) -> Result<Flow, TrainError> {
    for_each_line(path, limits, &mut |line, text| {
        let row = match text {
            Ok(text) if text.trim().is_empty() => return Ok(Flow::Next),
            Ok(text) => parse(text),
            Err(reason) => Err(reason),
        };
        visit(path, line, row)
    })
}

/// Visits the lines of a text file, without their ends. A line that is too long or not UTF-8 comes as a reason.
pub(crate) fn for_each_line(
    path: &Path,
    limits: &Limits,
    visit: &mut dyn FnMut(u64, Result<&str, String>) -> Result<Flow, TrainError>,
) -> Result<Flow, TrainError> {
    let mut reader = open(path)?;
    let mut bytes = Vec::new();
    let mut line = 0u64;
    loop {
        bytes.clear();
        let most = limits.line_bytes as u64;
        // One more than allowed tells a line that is too long from one that just fits; the line's end comes on top.
        let read = (&mut reader)
            .take(most.saturating_add(2))
            .read_until(b'\n', &mut bytes)
            .map_err(|e| unreadable(path, e))?;
        if read == 0 {
            return Ok(Flow::Next);
        }
        line += 1;
        let ended = bytes.last() == Some(&b'\n');
        if ended {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let text = if bytes.len() as u64 > most {
            if !ended {
                skip_line(path, &mut reader)?;
            }
            Err(format!("the line is longer than {} bytes (`max_line_bytes`)", limits.line_bytes))
        } else {
            let start = if line == 1 && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            std::str::from_utf8(&bytes[start..]).map_err(|e| format!("not UTF-8 after byte {}", e.valid_up_to()))
        };
        if visit(line, text)? == Flow::Stop {
            return Ok(Flow::Stop);
        }
        if line >= limits.rows {
            return Err(TrainError::data(path, format!("more than {} lines (`max_rows`)", limits.rows)));
        }
    }
}

fn skip_line(path: &Path, reader: &mut impl BufRead) -> Result<(), TrainError> {
    loop {
        let buffer = reader.fill_buf().map_err(|e| unreadable(path, e))?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|&b| b == b'\n');
        let used = end.map_or(buffer.len(), |place| place + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Cuts a JSON array into its elements and visits each, with the line on which it begins.
fn array_rows(path: &Path, limits: &Limits, visit: &mut Visit<'_>) -> Result<Flow, TrainError> {
    let mut reader = open(path)?;
    let mut cutter = ArrayCutter::default();
    let mut rows = 0u64;
    loop {
        let buffer = reader.fill_buf().map_err(|e| unreadable(path, e))?;
        if buffer.is_empty() {
            return match cutter.state {
                ArrayState::After => Ok(Flow::Next),
                _ => Err(TrainError::data(path, format!("the JSON array breaks off in line {}", cutter.line + 1))),
            };
        }
        let mut used = 0;
        let mut ended = false;
        while used < buffer.len() && !ended {
            ended = cutter
                .take(buffer[used], limits.line_bytes)
                .map_err(|why| TrainError::data(path, format!("line {}: {why}", cutter.line + 1)))?;
            used += 1;
        }
        reader.consume(used);
        if !ended {
            continue;
        }
        rows += 1;
        if rows > limits.rows {
            return Err(TrainError::data(path, format!("more than {} rows (`max_rows`)", limits.rows)));
        }
        let row = if cutter.too_long {
            Err(format!("the row is longer than {} bytes (`max_line_bytes`)", limits.line_bytes))
        } else {
            match std::str::from_utf8(&cutter.element) {
                Ok(text) => parse(text),
                Err(e) => Err(format!("not UTF-8 after byte {}", e.valid_up_to())),
            }
        };
        if visit(path, cutter.began + 1, row)? == Flow::Stop {
            return Ok(Flow::Stop);
        }
        cutter.element.clear();
        cutter.too_long = false;
    }
}

/// Rows of separated values. Commas: quoted as RFC 4180 has it. Tabs: a line is a row, and quotes around a whole value are taken off.
fn separated_rows(path: &Path, separator: u8, limits: &Limits, visit: &mut Visit<'_>) -> Result<Flow, TrainError> {
    let is_tabs = separator == b'\t';
    let bounded = Bounded { inner: open(path)?, left: limits.line_bytes, most: limits.line_bytes };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .quoting(!is_tabs)
        .has_headers(false)
        .flexible(true)
        .from_reader(bounded);
    let fault = |e: csv::Error| match e.into_kind() {
        csv::ErrorKind::Io(e) => unreadable(path, e),
        other => TrainError::data(path, format!("{other:?}")),
    };
    let text_of = |bytes: &[u8]| -> Result<String, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 after byte {}", e.valid_up_to()))?;
        let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Ok(match inner {
            Some(inner) if is_tabs => inner.replace("\"\"", "\""),
            _ => text.to_owned(),
        })
    };
    let mut record = csv::ByteRecord::new();
    let mut names: Vec<String> = Vec::new();
    let mut rows = 0u64;
    while reader.read_byte_record(&mut record).map_err(fault)? {
        reader.get_mut().left = limits.line_bytes;
        if record.iter().all(<[u8]>::is_empty) {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        if names.is_empty() {
            if record.len() > 1024 {
                return Err(TrainError::data(path, "more than 1024 columns"));
            }
            names = record
                .iter()
                .map(|bytes| text_of(bytes).map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()))
                .collect::<Result<_, _>>()
                .map_err(|why| TrainError::data(path, format!("line 1, the names of the columns: {why}")))?;
            if let Some(twice) =
                names.iter().enumerate().find_map(|(at, name)| names[..at].contains(name).then_some(name))
            {
                return Err(TrainError::data(path, format!("line 1: two columns are called `{}`", shorten(twice))));
            }
            continue;
        }
        rows += 1;
        if rows > limits.rows {
            return Err(TrainError::data(path, format!("more than {} rows (`max_rows`)", limits.rows)));
        }
        let row = if record.len() == names.len() {
            let fields = names.iter().zip(record.iter()).map(|(name, bytes)| {
                // What is empty is absent: a table has no other word for it.
                let value = if bytes.is_empty() { Value::Null } else { Value::String(text_of(bytes)?) };
                Ok((name.clone(), value))
            });
            fields.collect::<Result<_, String>>().map(|fields| Row { fields, positional: false })
        } else {
            Err(format!(
                "it has {} columns, and the first line names {}: {}",
                record.len(),
                names.len(),
                names.iter().take(10).map(|name| shorten(name)).collect::<Vec<_>>().join(", ")
            ))
        };
        if visit(path, line, row)? == Flow::Stop {
            return Ok(Flow::Stop);
        }
    }
    Ok(Flow::Next)
}

/// A reader that gives so many bytes a row and no more: a quote that never closes must not read a whole file into one value.
struct Bounded<R> {
    inner: R,
    left: usize,
    most: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        if self.left == 0 && read > 0 {
            let why = format!("a row is longer than {} bytes (`max_line_bytes`); is a quote left open?", self.most);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
        }
        self.left = self.left.saturating_sub(read);
        Ok(read)
    }
}

fn parquet_rows(path: &Path, limits: &Limits, visit: &mut Visit<'_>) -> Result<Flow, TrainError> {
    let file = File::open(path).map_err(|e| TrainError::io(path, e))?;
    // The Parquet reader asserts in places what a damaged file does not keep; such a file must be an error here.
    let guarded = |what: &str| TrainError::data(path, format!("damaged Parquet file: {what}"));
    let reader = catch_unwind(AssertUnwindSafe(|| SerializedFileReader::new(file)))
        .map_err(|_| guarded("its footer contradicts itself"))?
        .map_err(|e| TrainError::data(path, format!("not a Parquet file that can be read: {e}")))?;
    let mut rows = catch_unwind(AssertUnwindSafe(|| reader.get_row_iter(None)))
        .map_err(|_| guarded("its schema contradicts itself"))?
        .map_err(|e| TrainError::data(path, format!("its rows cannot be read: {e}")))?;
    let mut line = 0u64;
    loop {
        let next = catch_unwind(AssertUnwindSafe(|| rows.next()))
            .map_err(|_| guarded(&format!("row {} contradicts the schema", line + 1)))?;
        line += 1;
        if line > limits.rows {
            return Err(TrainError::data(path, format!("more than {} rows (`max_rows`)", limits.rows)));
        }
        match next {
            None => return Ok(Flow::Next),
            Some(Ok(row)) => {
                if visit(path, line, row_of(row))? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            // Columns are read in step: after an error in one of them the next row would be made of several.
            Some(Err(e)) => return Err(TrainError::data(path, format!("row {line} cannot be read: {e}"))),
        }
    }
}

fn row_of(row: ParquetRow) -> Result<Row, String> {
    let mut fields = Vec::new();
    for (name, field) in row.into_columns() {
        fields.push((name, value_of(field, 0)?));
    }
    Ok(Row { fields, positional: false })
}

fn value_of(field: Field, depth: usize) -> Result<Value, String> {
    if depth > 16 {
        return Err("nested more than 16 deep".to_owned());
    }
    let float = |v: f64| serde_json::Number::from_f64(v).map_or_else(|| Value::String(v.to_string()), Value::Number);
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(v) => Value::Bool(v),
        Field::Byte(v) => v.into(),
        Field::Short(v) => v.into(),
        Field::Int(v) => v.into(),
        Field::Long(v) => v.into(),
        Field::UByte(v) => v.into(),
        Field::UShort(v) => v.into(),
        Field::UInt(v) => v.into(),
        Field::ULong(v) => v.into(),
        Field::Float16(v) => float(f64::from(f32::from(v))),
        Field::Float(v) => float(f64::from(v)),
        Field::Double(v) => float(v),
        Field::Str(v) => Value::String(v),
        Field::Bytes(v) => match v.as_utf8() {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => return Err("a column of bytes is not UTF-8".to_owned()),
        },
        Field::Group(row) => {
            let mut object = serde_json::Map::new();
            for (name, field) in row.into_columns() {
                object.insert(name, value_of(field, depth + 1)?);
            }
            Value::Object(object)
        }
        Field::ListInternal(items) => {
            let items = items.elements().iter().cloned().map(|item| value_of(item, depth + 1));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        // Dates, decimals and maps occur in none of the formats; as text they do no harm in columns nobody asks for.
        other => Value::String(other.to_string()),
    })
}
