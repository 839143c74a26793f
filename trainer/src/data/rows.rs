//! One row of a table: its fields in order, taken out by name and kind.

use super::{Limits, list};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// One row: fields in the order of the file, since triplets are told apart by order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Names and values. A row that is a JSON array has the names "0", "1" and so on.
    pub(crate) fields: Vec<(String, Value)>,
    /// Whether it came without names, as a JSON array.
    pub(crate) positional: bool,
}

impl Row {
    /// The first of the named fields that is there and not null.
    pub(crate) fn get(&self, names: &[&str]) -> Option<&Value> {
        names.iter().find_map(|name| {
            let (_, value) = self.fields.iter().find(|(key, _)| key == name)?;
            (!value.is_null()).then_some(value)
        })
    }

    /// A text field, trimmed of nothing; `None` when it is absent or null.
    pub(crate) fn text(&self, names: &[&str]) -> Result<Option<&str>, String> {
        match self.get(names) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("`{}` must be text, and is {}", names[0], kind(other))),
        }
    }

    /// An id: text or a whole number.
    pub(crate) fn id(&self, names: &[&str]) -> Result<Option<String>, String> {
        self.get(names).map(|value| id_of(value, names[0])).transpose()
    }

    /// A list, also one written as a string; `None` when it is absent or null.
    pub(crate) fn list(&self, names: &[&str], limits: &Limits) -> Result<Option<Vec<Value>>, String> {
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
    pub(crate) fn numbers(&self, names: &[&str], limits: &Limits) -> Result<Option<Vec<f32>>, String> {
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

    /// A finite number, also one written as text; `None` when it is absent or null.
    pub(crate) fn number(&self, names: &[&str]) -> Result<Option<f32>, String> {
        let Some(value) = self.get(names) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let finite = number.map(|v| v as f32).filter(|v| v.is_finite());
        let wrong = || format!("`{}` must be a finite number, and is {}", names[0], shorten(&value.to_string()));
        finite.map(Some).ok_or_else(wrong)
    }

    /// The names of the fields, for messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> = self.fields.iter().take(20).map(|(name, _)| shorten(name)).collect();
        names.join(", ")
    }
}

/// An id out of a value.
pub(crate) fn id_of(value: &Value, name: &str) -> Result<String, String> {
    match value {
        Value::String(text) if text.trim().is_empty() => Err(format!("`{name}` is empty")),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        other => Err(format!("`{name}` must be text or a whole number, and is {}", kind(other))),
    }
}

/// What sort of value it is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
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
pub(crate) fn shorten(text: &str) -> String {
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
                Ok(Row { fields, positional: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Row, A::Error> {
                let mut fields = Vec::new();
                while let Some(value) = seq.next_element::<Value>()? {
                    if fields.len() >= 1024 {
                        return Err(serde::de::Error::custom("more than 1024 entries"));
                    }
                    fields.push((fields.len().to_string(), value));
                }
                Ok(Row { fields, positional: true })
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

/// Reads a row of JSON. `NaN`, `Infinity` and `-Infinity`, which Python writes, become texts: no harm in fields that nobody reads, and
/// refused by name where a number is needed.
pub(crate) fn parse(text: &str) -> Result<Row, String> {
    serde_json::from_str::<Row>(text).or_else(|fault| {
        let said = || {
            let hint = if fault.is_eof() { " (one object a line, or one JSON array of objects)" } else { "" };
            format!("not a JSON row: {fault}{hint}")
        };
        let quoted = with_quoted_numbers(text).ok_or_else(said)?;
        serde_json::from_str(&quoted).map_err(|_| said())
    })
}

/// JSON with Python's three words for numbers that are none in quotes; `None` where none of them stands outside of texts.
fn with_quoted_numbers(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_text, mut escaped, mut changed) = (false, false, false);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let word = if in_text { None } else { WORDS.iter().find(|word| rest.starts_with(**word)) };
        if let Some(word) = word {
            out.extend(["\"", word, "\""]);
            changed = true;
            rest = &rest[word.len()..];
            continue;
        }
        (in_text, escaped) = match next {
            _ if escaped => (in_text, false),
            '\\' => (in_text, in_text),
            '"' => (!in_text, false),
            _ => (in_text, false),
        };
        out.push(next);
        rest = &rest[next.len_utf8()..];
    }
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_numbers_that_are_none_are_texts() {
        let row = parse(r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "a NaN \" NaN", "d": 1}"#).unwrap();
        assert_eq!(row.get(&["a"]), Some(&Value::from("NaN")));
        assert_eq!(row.get(&["b"]), Some(&serde_json::json!(["-Infinity", "Infinity"])));
        assert_eq!(row.get(&["c"]), Some(&Value::from("a NaN \" NaN")));
        assert!(row.numbers(&["b"], &crate::data::DataConfig::default().limits()).unwrap_err().contains("finite"));
        assert!(parse("{\"a\": NaN").is_err() && parse("nonsense").is_err());
        assert!(parse("{").unwrap_err().contains("one object a line"));
    }
}
