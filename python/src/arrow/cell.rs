//! Single values of Arrow columns.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use serde_json::{Map, Value};

use crate::values::float;

/// A value as JSON; null where there is none. Dates and times become ISO 8601. The error follows the value's name.
pub(crate) fn cell(array: &dyn Array, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! number {
        ($kind:ty) => {
            Ok(Value::from(array.as_primitive::<$kind>().value(row)))
        };
    }
    macro_rules! time {
        ($kind:ty, $zone:expr) => {
            match array.as_primitive::<$kind>().value_as_datetime(row) {
                // Kept in UTC, whatever zone it is shown in.
                Some(time) => Ok(Value::String(format!("{time:?}{}", if $zone.is_some() { "Z" } else { "" }))),
                None => Err("is a time that no calendar has".to_owned()),
            }
        };
    }
    match array.data_type() {
        DataType::Null => Ok(Value::Null),
        DataType::Boolean => Ok(Value::Bool(array.as_boolean().value(row))),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Ok(array.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => Ok(array.as_string::<i64>().value(row).into()),
        DataType::Utf8View => Ok(array.as_string_view().value(row).into()),
        DataType::Date32 => date(array.as_primitive::<Date32Type>().value_as_date(row)),
        DataType::Date64 => date(array.as_primitive::<Date64Type>().value_as_date(row)),
        DataType::Timestamp(TimeUnit::Second, zone) => time!(TimestampSecondType, zone),
        DataType::Timestamp(TimeUnit::Millisecond, zone) => time!(TimestampMillisecondType, zone),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => time!(TimestampMicrosecondType, zone),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => time!(TimestampNanosecondType, zone),
        DataType::Struct(fields) => {
            let mut map = Map::new();
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                let value =
                    cell(column.as_ref(), row).map_err(|problem| format!("{problem} (in `{}`)", field.name()))?;
                if !value.is_null() {
                    map.insert(field.name().clone(), value);
                }
            }
            Ok(Value::Object(map))
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().unwrap_or_default();
            cell(dictionary.values().as_ref(), key)
        }
        other => match items(array, row) {
            Some(items) => (0..items.len())
                .map(|position| cell(items.as_ref(), position))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            None => {
                Err(format!("is of the Arrow type {other}, which is not taken; cast the column to text or numbers"))
            }
        },
    }
}

fn date(date: Option<impl std::fmt::Debug>) -> Result<Value, String> {
    date.map(|date| Value::String(format!("{date:?}"))).ok_or_else(|| "is a date that no calendar has".to_owned())
}

/// The list in a row of a column of lists.
fn items(array: &dyn Array, row: usize) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(_, _) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

/// The text in a row of a column of text; none where it is null.
pub(crate) fn text_of(array: &dyn Array, row: usize) -> Result<Option<String>, String> {
    match cell(array, row)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(format!("is of the Arrow type {}, and not text", array.data_type())),
    }
}

/// The vector in a row of a column of lists of numbers; none where it is null.
pub(crate) fn vector_of(array: &dyn Array, row: usize) -> Result<Option<Vec<f32>>, String> {
    if array.is_null(row) {
        return Ok(None);
    }
    let wrong = || format!("is of the Arrow type {}, and not a list of float32 or float64", array.data_type());
    let items = items(array, row).ok_or_else(wrong)?;
    if items.null_count() > 0 {
        return Err("holds a null".to_owned());
    }
    match items.data_type() {
        DataType::Float32 => Ok(Some(items.as_primitive::<Float32Type>().values().to_vec())),
        DataType::Float64 => {
            Ok(Some(items.as_primitive::<Float64Type>().values().iter().map(|value| *value as f32).collect()))
        }
        DataType::Float16 => {
            Ok(Some(items.as_primitive::<Float16Type>().values().iter().map(|value| value.to_f32()).collect()))
        }
        _ => Err(wrong()),
    }
}
