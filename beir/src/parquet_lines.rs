//! Rows of a Parquet file as JSON lines, so that whatever reads lines reads them. Some rows are in memory at a time.

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::ConvertedType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value};

use crate::error::BeirError;

/// Opens a Parquet file: what is read from it is one JSON object a line, in the order of its rows.
pub(crate) fn open(name: &Arc<str>, path: &Path) -> Result<Box<dyn Read + Send>, BeirError> {
    let damaged = |fault: parquet::errors::ParquetError| {
        let problem = format!("its Parquet footer is damaged, or was cut off: {fault}");
        BeirError::io("read", name, io::Error::new(io::ErrorKind::InvalidData, problem))
    };
    let file = File::open(path).map_err(|source| BeirError::io("open", name, source))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let groups = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    let columns = reader.metadata().file_metadata().schema().get_fields();
    let json = columns.iter().filter(|column| column.get_basic_info().converted_type() == ConvertedType::JSON);
    let json = json.map(|column| column.name().to_owned()).collect();
    let rows = RowIter::from_file_into(Box::new(reader));
    Ok(Box::new(Lines { groups, rows, json, next: 0, line: Vec::new(), at: 0 }))
}

struct Lines {
    /// Rows of each group.
    groups: Vec<i64>,
    rows: RowIter<'static>,
    /// Columns whose text is JSON, by the file's schema.
    json: Vec<String>,
    /// The row that comes next.
    next: i64,
    line: Vec<u8>,
    at: usize,
}

impl Lines {
    /// The next line; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        // The library panics on some damage; nothing more is read then.
        let row = catch_unwind(AssertUnwindSafe(|| self.rows.next()))
            .map_err(|_| self.damaged("its values cannot be decoded"))?
            .transpose()
            .map_err(|fault| self.damaged(&fault.to_string()))?;
        let Some(row) = row else {
            return if self.next == self.groups.iter().sum::<i64>() {
                Ok(false)
            } else {
                Err(self.damaged("it ends too early"))
            };
        };
        self.next += 1;
        self.line.clear();
        self.at = 0;
        let mut object = object(&row);
        for name in &self.json {
            if let Some(Value::String(text)) = object.get(name) {
                let parsed = serde_json::from_str::<Value>(text);
                let problem = |fault| self.damaged(&format!("its column `{name}` holds no JSON: {fault}"));
                object[name] = parsed.map_err(problem)?;
            }
        }
        serde_json::to_writer(&mut self.line, &object)?;
        self.line.push(b'\n');
        Ok(true)
    }

    fn damaged(&self, problem: &str) -> io::Error {
        let mut first = 0;
        let mut place = String::new();
        for (group, count) in self.groups.iter().enumerate() {
            if self.next < first + count {
                place = format!("row group {group} (rows {} to {}) ", first + 1, first + count);
                break;
            }
            first += count;
        }
        io::Error::new(io::ErrorKind::InvalidData, format!("{place}of this Parquet file is damaged: {problem}"))
    }
}

impl Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.line.len() && !self.fill()? {
            return Ok(0);
        }
        let count = into.len().min(self.line.len() - self.at);
        into[..count].copy_from_slice(&self.line[self.at..][..count]);
        self.at += count;
        Ok(count)
    }
}

/// A row as an object, without what is null.
fn object(row: &Row) -> Value {
    let members = row.get_column_iter().filter(|(_, field)| !matches!(field, Field::Null));
    Value::Object(members.map(|(name, field)| (name.clone(), value(field))).collect::<Map<_, _>>())
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => number(f64::from(*value)),
        Field::Double(value) => number(*value),
        Field::Str(text) => Value::String(text.clone()),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let members =
                map.entries().iter().map(|(key, item)| (key.to_string().trim_matches('"').to_owned(), value(item)));
            Value::Object(members.collect())
        }
        // Dates, times, decimals and bytes, as the library prints them: days and times in ISO 8601.
        other => Value::String(other.to_string()),
    }
}

/// NaN and infinities, which JSON has not, are null as in lines of JSON.
fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use crate::{Collection, ReadOptions};

    /// Rows `d0`, `d1`, ... in groups of two.
    fn file(path: &std::path::Path, count: usize) {
        let schema = parse_message_type(
            "message rows { required binary _id (STRING); optional binary text (STRING); optional double price; }",
        );
        let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
        let out = std::fs::File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(out, schema.unwrap().into(), properties.into()).unwrap();
        for first in (0..count).step_by(2) {
            let rows: Vec<usize> = (first..count.min(first + 2)).collect();
            let texts = |begin: &str| -> Vec<ByteArray> {
                rows.iter().map(|row| format!("{begin}{row}").as_str().into()).collect()
            };
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts("d"), None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts("text "), Some(&vec![1; rows.len()]), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            // Only even rows have a price; that of row 2 is no number.
            let has: Vec<i16> = rows.iter().map(|row| i16::from(row % 2 == 0)).collect();
            let prices: Vec<f64> = rows
                .iter()
                .filter(|row| *row % 2 == 0)
                .map(|&row| if row == 2 { f64::NAN } else { row as f64 })
                .collect();
            column.typed::<DoubleType>().write_batch(&prices, Some(&has), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    fn read(path: &std::path::Path) -> Result<Vec<(String, String, Option<f64>)>, String> {
        let options = ReadOptions::new().keep("all".parse().unwrap());
        let collection = Collection::open_with(&[path], &options).map_err(|fault| fault.to_string())?;
        let records = collection.records().map_err(|fault| fault.to_string())?;
        records
            .map(|record| {
                let record = record.map_err(|fault| fault.to_string())?;
                let price = record.metadata.get("price").and_then(serde_json::Value::as_f64);
                Ok((record.document.id, record.document.text, price))
            })
            .collect()
    }

    #[test]
    fn rows_are_records() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["rows.parquet", "rows.bin"] {
            let path = folder.path().join(name);
            file(&path, 5);
            let rows = read(&path).unwrap();
            assert_eq!(rows.len(), 5);
            assert_eq!(rows[0], ("d0".to_owned(), "text 0".to_owned(), Some(0.0)));
            assert_eq!(rows[1], ("d1".to_owned(), "text 1".to_owned(), None));
            assert_eq!((rows[2].2, rows[4].2), (None, Some(4.0)));
        }
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        file(&path, 6);
        let whole = std::fs::read(&path).unwrap();
        // Every byte of the pages in turn: the values may be others, and nothing ends in a panic.
        for position in 4..whole.len().min(400) {
            let mut bytes = whole.clone();
            bytes[position] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
            if let Err(said) = read(&path) {
                assert!(said.contains("rows.parquet"), "{position}: {said}");
            }
        }
        for length in [4, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let said = read(&path).unwrap_err();
            assert!(said.contains("rows.parquet"), "{said}");
        }
        // The first page of the second group.
        let mut bytes = whole.clone();
        let second = bytes
            .windows(4)
            .rposition(|window| window == b"d2\x02\x00")
            .or(bytes.windows(2).position(|window| window == b"d2"))
            .unwrap();
        bytes[second - 24..second - 4].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let said = read(&path).unwrap_err();
        assert!(said.contains("row group 1 (rows 3 to 4)"), "{said}");
    }
}
