//! Values of fields that are not stored, read back from their columns.

use tantivy::columnar::{BytesColumn, Column, StrColumn};
use tantivy::schema::{Facet, Field, FieldEntry, FieldType, Schema};
use tantivy::{DateTime, DocId, SegmentReader, TantivyDocument};

/// The text that a fast field keeps is the text itself only with this tokenizer.
const WHOLE: &str = "raw";

/// Whether the values of a field can be read back although they are not stored. Of a JSON field, the columns do not tell which
/// values stood in the same object.
pub(crate) fn is_recoverable(entry: &FieldEntry) -> bool {
    if entry.is_stored() || !entry.is_fast() {
        return false;
    }
    match entry.field_type() {
        FieldType::Str(options) => options.get_fast_field_tokenizer_name() == Some(WHOLE),
        FieldType::JsonObject(_) | FieldType::TieBreaker | FieldType::Custom(_) => false,
        _ => true,
    }
}

/// One segment's columns of the fields that are not stored.
pub(crate) struct Columns(Vec<(Field, Values)>);

enum Values {
    U64(Column<u64>),
    I64(Column<i64>),
    F64(Column<f64>),
    Bool(Column<bool>),
    Date(Column<DateTime>),
    Ip(Column<std::net::Ipv6Addr>),
    Text(StrColumn),
    Facet(StrColumn),
    Bytes(BytesColumn),
}

impl Columns {
    /// The columns of a segment for the fields of a schema that [`is_recoverable`] and for which `wanted` says yes.
    pub(crate) fn open(
        reader: &SegmentReader,
        schema: &Schema,
        wanted: impl Fn(Field) -> bool,
    ) -> tantivy::Result<Self> {
        let mut columns = Vec::new();
        for (field, entry) in schema.fields().filter(|(field, entry)| is_recoverable(entry) && wanted(*field)) {
            columns.extend(open(reader, entry)?.map(|values| (field, values)));
        }
        Ok(Self(columns))
    }

    /// Adds what the columns know of a document to it.
    pub(crate) fn add_to(&self, document: &mut TantivyDocument, doc: DocId) -> tantivy::Result<()> {
        for (field, values) in &self.0 {
            let field = *field;
            match values {
                Values::U64(column) => column.values_for_doc(doc).for_each(|value| document.add_u64(field, value)),
                Values::I64(column) => column.values_for_doc(doc).for_each(|value| document.add_i64(field, value)),
                Values::F64(column) => column.values_for_doc(doc).for_each(|value| document.add_f64(field, value)),
                Values::Bool(column) => column.values_for_doc(doc).for_each(|value| document.add_bool(field, value)),
                Values::Date(column) => column.values_for_doc(doc).for_each(|value| document.add_date(field, value)),
                Values::Ip(column) => column.values_for_doc(doc).for_each(|value| document.add_ip_addr(field, value)),
                Values::Text(column) => {
                    for text in texts(column, doc)? {
                        document.add_text(field, text);
                    }
                }
                Values::Facet(column) => {
                    for text in texts(column, doc)? {
                        // The column holds facets as tantivy encodes them, which is always text.
                        if let Ok(facet) = Facet::from_encoded(text.into_bytes()) {
                            document.add_facet(field, facet);
                        }
                    }
                }
                Values::Bytes(column) => {
                    let mut bytes = Vec::new();
                    for ordinal in column.ords().values_for_doc(doc) {
                        if column.ord_to_bytes(ordinal, &mut bytes)? {
                            document.add_bytes(field, &bytes);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The column of a field; `None` where no document of the segment has a value.
fn open(reader: &SegmentReader, entry: &FieldEntry) -> tantivy::Result<Option<Values>> {
    let (columns, name) = (reader.fast_fields(), entry.name());
    Ok(match entry.field_type() {
        FieldType::U64(_) => columns.column_opt(name)?.map(Values::U64),
        FieldType::I64(_) => columns.column_opt(name)?.map(Values::I64),
        FieldType::F64(_) => columns.column_opt(name)?.map(Values::F64),
        FieldType::Bool(_) => columns.column_opt(name)?.map(Values::Bool),
        FieldType::Date(_) => columns.column_opt(name)?.map(Values::Date),
        FieldType::IpAddr(_) => columns.column_opt(name)?.map(Values::Ip),
        FieldType::Str(_) => columns.str(name)?.map(Values::Text),
        FieldType::Facet(_) => columns.str(name)?.map(Values::Facet),
        FieldType::Bytes(_) => columns.bytes(name)?.map(Values::Bytes),
        FieldType::JsonObject(_) | FieldType::TieBreaker | FieldType::Custom(_) => None,
    })
}

fn texts(column: &StrColumn, doc: DocId) -> tantivy::Result<Vec<String>> {
    let mut texts = Vec::new();
    for ordinal in column.ords().values_for_doc(doc) {
        let mut text = String::new();
        if column.ord_to_str(ordinal, &mut text)? {
            texts.push(text);
        }
    }
    Ok(texts)
}
