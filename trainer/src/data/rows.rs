//! Rows of JSONL and Parquet files, one at a time, with their line numbers.
//!
//! A row that cannot be read does not end the file: it comes as a reason, and the next row follows. What ends a file is an
//! error of the file itself (it cannot be opened, it is no Parquet). Lines are bounded, so that a file without line breaks
//! cannot fill the memory.

use super::{Limits, list};
use crate::error::TrainError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as ParquetRow};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// One row: fields in the order of the file, since triplets are told apart by order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Names and values. A row that is a JSON array has the names "0", "1" and so on.
    pub fields: Vec<(String, Value)>,
}

impl Row {
    /// The first of the named fields that is there and not null.
    pub(super) fn get(&self, names: &[&str]) -> Option<&Value> {
        names.iter().find_map(|name| {
            let (_, value) = self.fields.iter().find(|(key, _)| key == name)?;
            (!value.is_null()).then_some(value)
        })
    }

    /// A text field, trimmed of nothing; `None` when it is absent or null.
    pub(super) fn text(&self, names: &[&str]) -> Result<Option<&str>, String> {
        match self.get(names) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("`{}` must be text, and is {}", names[0], kind(other))),
        }
    }

    /// An id: text or a whole number.
    pub(super) fn id(&self, names: &[&str]) -> Result<Option<String>, String> {
        self.get(names).map(|value| id_of(value, names[0])).transpose()
    }

    /// A list, also one written as a string; `None` when it is absent or null.
    pub(super) fn list(&self, names: &[&str], limits: &Limits) -> Result<Option<Vec<Value>>, String> {
        let items = match self.get(names) {
            None => return Ok(None),
            Some(Value::Array(items)) => items.clone(),
            Some(Value::String(text)) => list::parse(text).map_err(|reason| format!("`{}`: {reason}", names[0]))?,
            Some(other) => return Err(format!("`{}` must be a list, and is {}", names[0], kind(other))),
        };
        if items.len() > limits.list {
            return Err(format!(
                "`{}` has {} entries, more than the {} allowed (`max_list`)",
                names[0],
                items.len(),
                limits.list
            ));
        }
        Ok(Some(items))
    }

    /// A list of finite numbers.
    pub(super) fn numbers(&self, names: &[&str], limits: &Limits) -> Result<Option<Vec<f32>>, String> {
        let Some(items) = self.list(names, limits)? else {
            return Ok(None);
        };
        let number = |item: &Value| {
            let value = match item {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            value.map(|v| v as f32).filter(|v| v.is_finite()).ok_or_else(|| {
                format!("`{}` must hold finite numbers, and holds {}", names[0], shorten(&item.to_string()))
            })
        };
        items.iter().map(number).collect::<Result<Vec<f32>, String>>().map(Some)
    }

    /// The names of the fields, for messages.
    pub(super) fn names(&self) -> String {
        let names: Vec<String> = self.fields.iter().take(20).map(|(name, _)| shorten(name)).collect();
        names.join(", ")
    }
}

/// An id out of a value.
pub(super) fn id_of(value: &Value, name: &str) -> Result<String, String> {
    match value {
        Value::String(text) if text.trim().is_empty() => Err(format!("`{name}` is empty")),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        other => Err(format!("`{name}` must be text or a whole number, and is {}", kind(other))),
    }
}

/// What sort of value it is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Text short enough for a message.
pub(super) fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object or array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut fields: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(serde::de::Error::custom(format!("the key `{}` is there twice", shorten(&name))));
                    }
                    // A row with hundreds of keys is not one of the known formats, and looking each up again is quadratic.
                    if fields.len() >= 1024 {
                        return Err(serde::de::Error::custom("more than 1024 keys"));
                    }
                    fields.push((name, value));
                }
                Ok(Row { fields })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Row, A::Error> {
                let mut fields = Vec::new();
                while let Some(value) = seq.next_element::<Value>()? {
                    if fields.len() >= 1024 {
                        return Err(serde::de::Error::custom("more than 1024 entries"));
                    }
                    fields.push((fields.len().to_string(), value));
                }
                Ok(Row { fields })
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

/// What a visitor of rows says: go on, or enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The next row, please.
    Next,
    /// No more rows are needed.
    Stop,
}

/// Called with the line number (rows of Parquet files are counted from 1 as well) and the row or why it cannot be read.
pub(super) type Visit<'a> = dyn FnMut(&Path, u64, Result<Row, String>) -> Result<Flow, TrainError> + 'a;

/// The files of a table: the file itself, or the `.jsonl`, `.json`, `.ndjson` and `.parquet` files of a folder by name.
pub(super) fn table_files(path: &Path) -> Result<Vec<PathBuf>, TrainError> {
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
        return Err(TrainError::data(path, "the folder holds no .jsonl or .parquet file"));
    }
    Ok(files)
}

/// Whether a file's name says that it holds rows.
pub(super) fn is_table(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    matches!(extension.as_str(), "jsonl" | "json" | "ndjson" | "parquet")
}

/// Visits the rows of a table, file by file.
pub(super) fn for_each_row(path: &Path, limits: &Limits, visit: &mut Visit<'_>) -> Result<(), TrainError> {
    for file in table_files(path)? {
        let flow = if starts_as_parquet(&file)? {
            parquet_rows(&file, limits, visit)?
        } else {
            jsonl_rows(&file, limits, visit)?
        };
        if flow == Flow::Stop {
            break;
        }
    }
    Ok(())
}

fn starts_as_parquet(path: &Path) -> Result<bool, TrainError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| TrainError::io(path, e))?;
    file.take(4).read_to_end(&mut start).map_err(|e| TrainError::io(path, e))?;
    Ok(start == b"PAR1")
}

fn jsonl_rows(path: &Path, limits: &Limits, visit: &mut Visit<'_>) -> Result<Flow, TrainError> {
    for_each_line(path, limits, &mut |line, text| {
        let row = match text {
            Ok(text) if text.trim().is_empty() => return Ok(Flow::Next),
            Ok(text) => serde_json::from_str::<Row>(text).map_err(|e| format!("not a JSON row: {e}")),
            Err(reason) => Err(reason),
        };
        visit(path, line, row)
    })
}

/// Visits the lines of a text file, without their ends. A line that is too long or not UTF-8 comes as a reason.
pub(super) fn for_each_line(
    path: &Path,
    limits: &Limits,
    visit: &mut dyn FnMut(u64, Result<&str, String>) -> Result<Flow, TrainError>,
) -> Result<Flow, TrainError> {
    let file = File::open(path).map_err(|e| TrainError::io(path, e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut bytes = Vec::new();
    let mut line = 0u64;
    loop {
        bytes.clear();
        let most = limits.line_bytes as u64;
        // One more than allowed tells a line that is too long from one that just fits; the line's end comes on top.
        let read = (&mut reader)
            .take(most.saturating_add(2))
            .read_until(b'\n', &mut bytes)
            .map_err(|e| TrainError::io(path, e))?;
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
        let buffer = reader.fill_buf().map_err(|e| TrainError::io(path, e))?;
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
    Ok(Row { fields })
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
