//! The normaliser and the pre-tokenizer of a tokenizer's file, with limits: on how much a text may grow, how many steps there are, and
//! how long expressions take (see [`pattern`](super::pattern)). What they give within the limits is what `tokenizers` gives.

use base64::Engine;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pattern::Invert;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Result,
    SplitDelimiterBehavior,
};

use super::pattern::{Sought, in_time};

/// A text may grow to this many times its size, and ...
const GROWTH: usize = 16;
/// ... this many bytes more. The longest thing that a character stands for in Unicode is eleven times as long as it.
const MORE: usize = 64 << 10;

/// Most steps of a normaliser; the longest known has some forty.
const CHANGES: usize = 1024;
/// Most steps of a pre-tokenizer; the longest known has six.
const CUTS: usize = 32;
/// Longest replacement for a character in a table of characters, in bytes.
const REPLACEMENT: usize = 1024;

/// A text that has grown further than any honest tokenizer lets it.
fn grown(from: usize, to: usize) -> tokenizers::Error {
    format!("the tokenizer's file makes {to} bytes and more of {from}").into()
}

fn check_size(from: usize, to: usize) -> Result<()> {
    if to > from.saturating_mul(GROWTH).saturating_add(MORE) { Err(grown(from, to)) } else { Ok(()) }
}

/// What is done to a text before it is cut.
#[derive(Debug)]
pub(super) struct Changes(Vec<Change>);

#[derive(Debug)]
enum Change {
    Replace { sought: Sought, content: String },
    Other(Box<NormalizerWrapper>),
}

impl Changes {
    fn add(&mut self, normalizer: NormalizerWrapper) -> Result<()> {
        match normalizer {
            NormalizerWrapper::Sequence(sequence) => {
                sequence.into_iter().try_for_each(|normalizer| self.add(normalizer))?;
            }
            NormalizerWrapper::Replace(replace) => {
                // The pattern can be had in this way only.
                let value = serde_json::to_value(&replace)?;
                let sought = match (value.pointer("/pattern/String"), value.pointer("/pattern/Regex")) {
                    (Some(Value::String(letters)), _) => Sought::letters(letters)?,
                    (_, Some(Value::String(source))) => Sought::expression(source)?,
                    _ => return Err("a Replace has neither letters nor an expression to look for".into()),
                };
                self.0.push(Change::Replace { sought, content: replace.content });
            }
            other => self.0.push(Change::Other(Box::new(other))),
        }
        if self.0.len() > CHANGES { Err(format!("has more than {CHANGES} normalisers").into()) } else { Ok(()) }
    }
}

impl<'de> Deserialize<'de> for Changes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        check_tables(&value).map_err(D::Error::custom)?;
        let normalizer: NormalizerWrapper = serde_json::from_value(value).map_err(D::Error::custom)?;
        let mut changes = Self(Vec::new());
        changes.add(normalizer).map_err(D::Error::custom)?;
        Ok(changes)
    }
}

impl Normalizer for Changes {
    fn normalize(&self, text: &mut NormalizedString) -> Result<()> {
        let from = text.len();
        for change in &self.0 {
            in_time()?;
            match change {
                Change::Replace { sought, content } => {
                    let found = sought.found(text.get())?;
                    let gone: usize = found.iter().map(|(start, end)| end - start).sum();
                    check_size(from, text.len() - gone + found.len().saturating_mul(content.len()))?;
                    if !found.is_empty() {
                        text.replace(sought, content)?;
                    }
                }
                Change::Other(normalizer) => {
                    if let NormalizerWrapper::Prepend(prepend) = normalizer.as_ref() {
                        check_size(from, text.len() + prepend.prepend.len())?;
                    }
                    normalizer.normalize(text)?;
                    check_size(from, text.len())?;
                }
            }
        }
        Ok(())
    }
}

/// Looks at tables of characters (`Precompiled`) before they are read: how long they say that they are, and what one character may
/// become.
fn check_tables(value: &Value) -> std::result::Result<(), String> {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(table)) = map.get("precompiled_charsmap") {
                let table = base64::engine::general_purpose::STANDARD
                    .decode(table)
                    .map_err(|error| format!("precompiled_charsmap is not base64: {error}"))?;
                let Some((length, rest)) = table.split_first_chunk::<4>() else {
                    return Err("precompiled_charsmap is empty".to_owned());
                };
                let length = u32::from_le_bytes(*length) as usize;
                let Some(replacements) = rest.get(length..) else {
                    return Err(format!(
                        "precompiled_charsmap says that {length} bytes follow, and there are {}",
                        rest.len()
                    ));
                };
                if replacements.split(|byte| *byte == 0).any(|part| part.len() > REPLACEMENT) {
                    return Err(format!("precompiled_charsmap replaces a character by more than {REPLACEMENT} bytes"));
                }
            }
            map.values().try_for_each(check_tables)
        }
        Value::Array(items) => items.iter().try_for_each(check_tables),
        _ => Ok(()),
    }
}

/// How a text is cut into words.
#[derive(Debug)]
pub(super) struct Cuts(Vec<Cut>);

#[derive(Debug)]
enum Cut {
    Split { sought: Sought, behavior: SplitDelimiterBehavior, invert: bool },
    Other(Box<PreTokenizerWrapper>),
}

impl Cuts {
    fn add(&mut self, cut: PreTokenizerWrapper) -> Result<()> {
        match cut {
            PreTokenizerWrapper::Sequence(sequence) => sequence.into_iter().try_for_each(|cut| self.add(cut))?,
            PreTokenizerWrapper::Split(split) => {
                let sought = match &split.pattern {
                    SplitPattern::String(letters) => Sought::letters(letters)?,
                    SplitPattern::Regex(source) => Sought::expression(source)?,
                };
                self.0.push(Cut::Split { sought, behavior: split.behavior, invert: split.invert });
            }
            other => self.0.push(Cut::Other(Box::new(other))),
        }
        if self.0.len() > CUTS { Err(format!("has more than {CUTS} pre-tokenizers").into()) } else { Ok(()) }
    }
}

impl<'de> Deserialize<'de> for Cuts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let cut = PreTokenizerWrapper::deserialize(deserializer)?;
        let mut cuts = Self(Vec::new());
        cuts.add(cut).map_err(D::Error::custom)?;
        Ok(cuts)
    }
}

/// The size of a text in pieces.
fn size(text: &PreTokenizedString) -> usize {
    text.get_splits(OffsetReferential::Normalized, OffsetType::Byte).iter().map(|(part, _, _)| part.len()).sum()
}

impl PreTokenizer for Cuts {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> Result<()> {
        // One step alone at most triples a text.
        let from = if self.0.len() > 1 { Some(size(text)) } else { None };
        for cut in &self.0 {
            in_time()?;
            match cut {
                Cut::Split { sought, behavior, invert: false } => {
                    text.split(|_, part| part.split(sought, *behavior))?;
                }
                Cut::Split { sought, behavior, invert: true } => {
                    text.split(|_, part| part.split(Invert(sought), *behavior))?;
                }
                Cut::Other(cut) => {
                    cut.pre_tokenize(text)?;
                    if let Some(from) = from {
                        check_size(from, size(text))?;
                    }
                }
            }
        }
        Ok(())
    }
}
