//! The names that metadata has, and their values, from the dictionary of its terms.
//!
//! A term in a JSON field is the path of its name, a zero, a letter for the type, and the value. So all terms of a name are
//! neighbours, and the next name is found without reading them.

use std::collections::BTreeMap;

use tantivy::columnar::DynamicColumn;
use tantivy::schema::{Field, JsonObjectOptions};
use tantivy::{Searcher, SegmentReader, Term};

use super::compile::column;
use super::date::Period;
use super::expression::Path;
use super::number::Number;

/// Most names that are listed.
pub(crate) const MAX_NAMES: usize = 1000;
/// Most texts of a name that are looked at in each segment.
const MAX_TEXTS: usize = 1000;
/// Longest text that is kept of those, in bytes.
const MAX_TEXT: usize = 256;
/// Between the keys of a path.
const SEPARATOR: u8 = 1;

/// Which types the values under a name have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Types {
    pub(crate) texts: bool,
    pub(crate) numbers: bool,
    pub(crate) dates: bool,
    pub(crate) truths: bool,
}

impl Types {
    /// Adds the type that tantivy has this letter for.
    fn add(&mut self, letter: u8) {
        match letter {
            b's' => self.texts = true,
            b'u' | b'i' | b'f' => self.numbers = true,
            b'd' => self.dates = true,
            b'o' => self.truths = true,
            _ => {}
        }
    }
}

/// Names as their keys, with the types of their values: at most [`MAX_NAMES`], and whether there are more.
pub(crate) fn names(searcher: &Searcher, field: Field) -> tantivy::Result<(BTreeMap<Vec<String>, Types>, bool)> {
    let mut names: BTreeMap<Vec<String>, Types> = BTreeMap::new();
    for reader in searcher.segment_readers() {
        let index = reader.inverted_index(field)?;
        let mut from = Vec::new();
        loop {
            let mut stream = index.terms().range().ge(&from).into_stream()?;
            if !stream.advance() {
                break;
            }
            let key = stream.key();
            let Some(end) = key.iter().position(|byte| *byte == 0).filter(|end| end + 1 < key.len()) else { break };
            let path = String::from_utf8_lossy(&key[..end]).into_owned();
            let keys: Vec<String> = path.split(char::from(SEPARATOR)).map(str::to_owned).collect();
            if names.len() >= MAX_NAMES && !names.contains_key(&keys) {
                return Ok((names, true));
            }
            let types = names.entry(keys).or_default();
            let kind = key[end + 1];
            types.add(kind);
            from = key[..=end].to_vec();
            from.push(kind + 1);
        }
    }
    Ok((names, false))
}

/// What a name in metadata holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Whether there are values or names below it.
    pub(crate) is_there: bool,
    pub(crate) types: Types,
    /// Some of its texts.
    pub(crate) texts: Vec<String>,
    /// Whether it has more texts than these.
    pub(crate) has_more: bool,
    /// The least and the greatest number and date, deleted documents included.
    pub(crate) numbers: Option<(f64, f64)>,
}

impl Contents {
    /// Reads what there is under a name.
    pub(crate) fn read(
        searcher: &Searcher,
        field: Field,
        name: &str,
        options: &JsonObjectOptions,
        keys: &[Vec<String>],
    ) -> tantivy::Result<Self> {
        let mut contents = Self::default();
        for keys in keys {
            let path = keys.iter().map(|key| super::compile::escaped(key)).collect::<Vec<_>>().join(".");
            let term = Term::from_field_json_path(field, &path, options.is_expand_dots_enabled());
            for reader in searcher.segment_readers() {
                contents.add(reader, field, &column(name, keys), term.serialized_value_bytes(), options)?;
            }
        }
        contents.texts.sort();
        contents.texts.dedup();
        Ok(contents)
    }

    fn add(
        &mut self,
        reader: &SegmentReader,
        field: Field,
        column: &str,
        path: &[u8],
        options: &JsonObjectOptions,
    ) -> tantivy::Result<()> {
        let index = reader.inverted_index(field)?;
        let terms = index.terms();
        // The path ends with a zero; below an object, the separator is in its place.
        let mut below = path.to_vec();
        below.pop();
        below.push(SEPARATOR);
        let mut stream = terms.range().ge(&below).into_stream()?;
        self.is_there |= stream.advance() && stream.key().starts_with(&below);
        for kind in *b"suifdo" {
            let mut prefix = path.to_vec();
            prefix.push(kind);
            let mut stream = terms.range().ge(&prefix).into_stream()?;
            let mut count = 0;
            while stream.advance() && stream.key().starts_with(&prefix) {
                self.types.add(kind);
                self.is_there = true;
                if kind != b's' {
                    break;
                }
                if count == MAX_TEXTS {
                    self.has_more = true;
                    break;
                }
                count += 1;
                match std::str::from_utf8(&stream.key()[prefix.len()..]) {
                    Ok(text) if text.len() <= MAX_TEXT => self.texts.push(text.to_owned()),
                    _ => self.has_more = true,
                }
            }
        }
        if options.is_fast() && self.types.numbers {
            for handle in reader.fast_fields().dynamic_column_handles(column)? {
                let (least, most) = match handle.open()? {
                    DynamicColumn::I64(column) => (column.min_value() as f64, column.max_value() as f64),
                    DynamicColumn::U64(column) => (column.min_value() as f64, column.max_value() as f64),
                    DynamicColumn::F64(column) => (column.min_value(), column.max_value()),
                    _ => continue,
                };
                let (low, high) = self.numbers.unwrap_or((least, most));
                self.numbers = Some((low.min(least), high.max(most)));
            }
        }
        Ok(())
    }

    /// The kinds of its values, as `numbers, texts`.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        kinds(self.types, &self.texts)
    }
}

/// The kinds of values. If all of the known texts are dates or numbers, the kind says so.
pub(crate) fn kinds(types: Types, texts: &[String]) -> Vec<&'static str> {
    let all = |is_one: &dyn Fn(&str) -> bool| !texts.is_empty() && texts.iter().all(|text| is_one(text));
    let mut kinds = Vec::new();
    if types.texts {
        kinds.push(if all(&|text| Number::parse(text).is_some()) {
            "numbers in text"
        } else if all(&|text| Period::parse(text).is_some()) {
            "dates"
        } else {
            "text"
        });
    }
    if types.numbers {
        kinds.push("numbers");
    }
    if types.dates && !kinds.contains(&"dates") {
        kinds.push("dates");
    }
    if types.truths {
        kinds.push("true or false");
    }
    kinds
}

/// A name as a filter has it: plain where that leads to it, else in quotes.
pub(crate) fn written(keys: &[String]) -> String {
    let plain = keys.join(".");
    let is_plain = super::Filter::parse(&format!("{plain}:x")).is_ok_and(|filter| {
        let super::Expression::Condition(condition) = filter.expression() else { return false };
        condition.readings().any(|reading| {
            reading.comparison == super::Comparison::Equal("x".to_owned())
                && reading.path.keys().iter().any(|one| one == keys)
        })
    });
    if is_plain { plain } else { Path::of_keys(keys.iter().cloned()).to_string() }
}
