//! JSON as people's programs write it: objects field by field, with the `NaN` and `Infinity` of Python's `json.dumps`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Python's names of numbers that JSON does not have.
const NON_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// A text with `null` in place of every number that is not finite.
pub(crate) struct Finite<'a> {
    text: Cow<'a, str>,
    /// Where in the text these `null` stand, ascending.
    replaced: Vec<usize>,
}

impl<'a> Finite<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        // Few texts have such names, and a plain search is quick.
        if !text.contains("NaN") && !text.contains("Infinity") {
            return Self { text: Cow::Borrowed(text), replaced: Vec::new() };
        }
        let bytes = text.as_bytes();
        let (mut out, mut replaced) = (String::with_capacity(text.len()), Vec::new());
        let (mut from, mut at, mut in_string) = (0, 0, false);
        while at < bytes.len() {
            match bytes[at] {
                // The escaped byte is passed over. Of a longer character that is its first, which is neither `"` nor `\`.
                b'\\' if in_string => at += 1,
                b'"' => in_string = !in_string,
                b'N' | b'I' | b'-' if !in_string => {
                    if let Some(name) = NON_FINITE.iter().find(|name| bytes[at..].starts_with(name.as_bytes())) {
                        out.push_str(&text[from..at]);
                        replaced.push(out.len());
                        out.push_str("null");
                        at += name.len();
                        from = at;
                        continue;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        if replaced.is_empty() {
            return Self { text: Cow::Borrowed(text), replaced };
        }
        out.push_str(&text[from..]);
        Self { text: Cow::Owned(out), replaced }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// How many numbers were not finite.
    pub(crate) fn count(&self) -> usize {
        self.replaced.len()
    }

    /// Whether a value, which must be a part of [`text`](Self::text), was one of them.
    pub(crate) fn was_replaced(&self, value: &str) -> bool {
        let offset = (value.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        self.replaced.binary_search(&offset).is_ok()
    }
}

/// The fields of a JSON object in the order of the text, their values still text.
pub(crate) struct Object<'a>(pub(crate) Vec<(Cow<'a, str>, &'a str)>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(Cow<'de, str>, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    fields.push((name, value.get()));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Fields).map(Self)
    }
}

/// What a JSON value is, for messages.
pub(crate) fn kind(value: &str) -> &'static str {
    match value.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// serde_json's message, with the column and without its line, which counts within one record.
pub(crate) fn said(fault: &serde_json::Error) -> String {
    let said = fault.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    format!("{said} (column {})", fault.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_that_are_not_finite_become_null_and_words_do_not() {
        let text = r#"{"a": NaN, "NaN": "Infinity \" NaN", "b": [-Infinity, Infinity, -1], "c\\": "é\\", "d": NaN}"#;
        let finite = Finite::of(text);
        let expected = r#"{"a": null, "NaN": "Infinity \" NaN", "b": [null, null, -1], "c\\": "é\\", "d": null}"#;
        assert_eq!((finite.text(), finite.count()), (expected, 4));
        let Object(fields) = serde_json::from_str(finite.text()).unwrap();
        let replaced: Vec<bool> = fields.iter().map(|(_, value)| finite.was_replaced(value)).collect();
        assert_eq!(replaced, [true, false, false, false, true]);
        let plain = Finite::of(r#"{"a": null}"#);
        let Object(fields) = serde_json::from_str(plain.text()).unwrap();
        assert!(!plain.was_replaced(fields[0].1));
    }

    proptest! {
        /// JSON without such numbers is left as it is, whatever its strings say.
        #[test]
        fn json_is_left_alone(words in prop::collection::vec("(NaN|Infinity|-|\"|\\\\|é|x){0,6}", 0..6)) {
            let text = serde_json::to_string(&words).unwrap();
            let finite = Finite::of(&text);
            prop_assert_eq!((finite.text(), finite.count()), (text.as_str(), 0));
        }
    }
}
