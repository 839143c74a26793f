//! Values of fields, read for documents whose addresses are known.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv6Addr;

use tantivy::columnar::{DynamicColumn, StrColumn};
use tantivy::schema::{Facet, FieldType};
use tantivy::time::OffsetDateTime;
use tantivy::time::format_description::well_known::Rfc3339;
use tantivy::{DateTime, DocAddress, DocId, Searcher, SegmentOrdinal, TantivyError};

use crate::DenseError;

/// A number as a value: `5` and `5.0` are the same.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Whole(i128),
    /// Any other.
    Real(f64),
}

impl Number {
    /// A number without a fraction becomes a whole one. `None` for what is no number.
    pub fn of(value: f64) -> Option<Number> {
        const MOST: f64 = 1e30;
        if value.is_nan() {
            return None;
        }
        let is_whole = value.fract() == 0.0 && value.abs() <= MOST;
        Some(if is_whole { Number::Whole(value as i128) } else { Number::Real(value) })
    }

    /// As a float, rounded where it has more digits.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (self, other) {
            (Number::Whole(a), Number::Whole(b)) => a.cmp(b),
            (a, b) => a.as_f64().total_cmp(&b.as_f64()),
        }
    }
}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Number::Whole(whole) => whole.hash(state),
            Number::Real(real) => real.to_bits().hash(state),
        }
    }
}

/// A value of a fast field. Values of different types are ordered by type, as they stand here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FieldValue {
    /// True or false.
    Bool(bool),
    /// A number of any type.
    Number(Number),
    /// A date.
    Date(DateTime),
    /// An IP address, version 4 mapped into 6.
    Ip(Ipv6Addr),
    /// A text, or a facet as its path.
    Text(String),
}

impl fmt::Display for FieldValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::Bool(truth) => write!(out, "{truth}"),
            FieldValue::Number(Number::Whole(whole)) => write!(out, "{whole}"),
            FieldValue::Number(Number::Real(real)) => write!(out, "{real}"),
            FieldValue::Date(date) => {
                let nanoseconds = i128::from(date.into_timestamp_nanos());
                let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
                match time.and_then(|time| time.format(&Rfc3339).ok()) {
                    Some(text) => out.write_str(&text),
                    None => write!(out, "{date:?}"),
                }
            }
            FieldValue::Ip(address) => match address.to_ipv4_mapped() {
                Some(v4) => write!(out, "{v4}"),
                None => write!(out, "{address}"),
            },
            FieldValue::Text(text) => out.write_str(text),
        }
    }
}

/// Makes a value of another type of a text, such as a date; `None` where it is none.
pub type ReadText = fn(&str) -> Option<FieldValue>;

/// Where values are read: a fast field, or a name below a fast JSON field.
#[derive(Clone, Debug)]
pub struct ValueField {
    name: String,
    columns: Vec<String>,
    read_text: Option<ReadText>,
}

impl ValueField {
    /// A field of the schema, or a path below a JSON field, as tantivy names its column: `price`, `metadata.year`. It must be FAST.
    pub fn new(name: impl Into<String>) -> ValueField {
        let name = name.into();
        ValueField { columns: vec![name.clone()], name, read_text: None }
    }

    /// Several columns under one name, which stands in messages. A document's value is the first that one of them has, in their order.
    pub fn columns(name: impl Into<String>, columns: impl IntoIterator<Item = String>) -> ValueField {
        ValueField { name: name.into(), columns: columns.into_iter().collect(), read_text: None }
    }

    /// Reads texts as values of another type, such as dates that JSON holds as text. A text that it cannot read counts as no value.
    #[must_use]
    pub fn read_text(mut self, read: ReadText) -> ValueField {
        self.read_text = Some(read);
        self
    }

    /// The name that stands in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a text may become another value.
    pub(super) fn reads_text(&self) -> bool {
        self.read_text.is_some()
    }

    pub(super) fn refuse(&self, why: impl Into<String>) -> DenseError {
        DenseError::Query { field: self.name.clone(), why: why.into() }
    }

    /// The type of the schema's field, once it was seen that its values can be read.
    pub(super) fn check<'a>(&self, searcher: &'a Searcher) -> Result<&'a FieldType, DenseError> {
        let schema = searcher.schema();
        let mut of = None;
        for column in &self.columns {
            let Some((field, _)) = schema.find_field(column) else {
                return Err(DenseError::UnknownField { name: self.name.clone() });
            };
            let entry = schema.get_field_entry(field);
            if matches!(entry.field_type(), FieldType::Bytes(_) | FieldType::Custom(_)) {
                return Err(self.refuse("it holds bytes or vectors, which have no value to compare"));
            }
            if !entry.is_fast() {
                return Err(self.refuse("it is not FAST, so that the values of single documents cannot be read"));
            }
            of.get_or_insert(entry.field_type());
        }
        of.ok_or_else(|| self.refuse("it names no column"))
    }

    /// A reader of its values, in the segments of a searcher.
    pub(super) fn open<'a>(&'a self, searcher: &'a Searcher) -> Result<ValueReader<'a>, DenseError> {
        let is_facet = matches!(self.check(searcher)?, FieldType::Facet(_));
        let segments = searcher.segment_readers().iter().map(|_| OnceCell::new()).collect();
        Ok(ValueReader { field: self, searcher, is_facet, segments })
    }
}

/// Reads the values of a field. The columns of a segment are opened once.
pub(super) struct ValueReader<'a> {
    field: &'a ValueField,
    searcher: &'a Searcher,
    is_facet: bool,
    segments: Vec<OnceCell<Vec<DynamicColumn>>>,
}

impl ValueReader<'_> {
    /// The columns of a segment, in the order in which they are looked into.
    pub(super) fn columns(&self, segment: SegmentOrdinal) -> Result<&[DynamicColumn], DenseError> {
        let Some(cell) = self.segments.get(segment as usize) else {
            return Err(self.field.refuse(format!("the searcher has no segment {segment}")));
        };
        if let Some(columns) = cell.get() {
            return Ok(columns);
        }
        let columns = open_columns(self.field, self.searcher.segment_reader(segment))?;
        Ok(cell.get_or_init(|| columns))
    }

    /// A document's value: the first that one of the columns has.
    pub(super) fn value(&self, address: DocAddress) -> Result<Option<FieldValue>, DenseError> {
        for column in self.columns(address.segment_ord)? {
            if let Some(value) = first(column, address.doc_id, self.is_facet)? {
                return Ok(match (&value, self.field.read_text) {
                    (FieldValue::Text(text), Some(read)) => read(text),
                    _ => Some(value),
                });
            }
        }
        Ok(None)
    }
}

/// The columns of a field in a segment.
pub(super) fn open_columns(
    field: &ValueField,
    reader: &tantivy::SegmentReader,
) -> Result<Vec<DynamicColumn>, DenseError> {
    let mut columns = Vec::new();
    for name in &field.columns {
        for handle in reader.fast_fields().dynamic_column_handles(name)? {
            columns.push(handle.open()?);
        }
    }
    Ok(columns)
}

/// The first value that a column has for a document.
pub(super) fn first(column: &DynamicColumn, doc: DocId, is_facet: bool) -> Result<Option<FieldValue>, DenseError> {
    Ok(match column {
        DynamicColumn::Bool(column) => column.first(doc).map(FieldValue::Bool),
        DynamicColumn::I64(column) => column.first(doc).map(|value| FieldValue::Number(Number::Whole(value.into()))),
        DynamicColumn::U64(column) => column.first(doc).map(|value| FieldValue::Number(Number::Whole(value.into()))),
        DynamicColumn::F64(column) => column.first(doc).and_then(Number::of).map(FieldValue::Number),
        DynamicColumn::IpAddr(column) => column.first(doc).map(FieldValue::Ip),
        DynamicColumn::DateTime(column) => column.first(doc).map(FieldValue::Date),
        DynamicColumn::Bytes(_) => None,
        DynamicColumn::Str(column) => match column.ords().first(doc) {
            Some(ordinal) => Some(FieldValue::Text(text_of(column, ordinal, is_facet)?)),
            None => None,
        },
    })
}

/// The text of an ordinal; a facet as its path.
pub(super) fn text_of(column: &StrColumn, ordinal: u64, is_facet: bool) -> Result<String, DenseError> {
    let mut text = String::new();
    column.ord_to_str(ordinal, &mut text).map_err(TantivyError::from)?;
    if is_facet {
        // The column holds facets as tantivy encodes them, which is always text.
        let facet = Facet::from_encoded(text.into_bytes()).map_err(|_| TantivyError::InternalError("facet".into()))?;
        text = facet.to_path_string();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_however_they_are_kept() {
        let number = |value| Number::of(value).unwrap();
        assert_eq!(number(5.0), Number::Whole(5));
        assert_eq!(number(-0.0), Number::Whole(0));
        assert!(number(5.5) > Number::Whole(5) && number(5.5) < Number::Whole(6));
        assert!(number(f64::INFINITY) > Number::Whole(i128::MAX));
        assert!(number(f64::NEG_INFINITY) < Number::Whole(i128::MIN));
        assert!(Number::of(f64::NAN).is_none());
        assert!(Number::Whole(9_007_199_254_740_993) > Number::Whole(9_007_199_254_740_992));
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        let date = FieldValue::Date(DateTime::from_timestamp_secs(1_717_149_600));
        assert_eq!(date.to_string(), "2024-05-31T10:00:00Z");
        assert_eq!(FieldValue::Number(Number::Real(2.5)).to_string(), "2.5");
        assert_eq!(
            FieldValue::Ip("10.0.0.1".parse::<std::net::Ipv4Addr>().unwrap().to_ipv6_mapped()).to_string(),
            "10.0.0.1"
        );
    }
}
