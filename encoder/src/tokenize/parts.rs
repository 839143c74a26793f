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

use super::pattern::{PatternKind, in_time, noted};

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
    Replace { sought: PatternKind, content: String },
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
                    (Some(Value::String(letters)), _) => PatternKind::letters(letters)?,
                    (_, Some(Value::String(source))) => PatternKind::expression(source)?,
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
        noted(|| self.change(text))
    }
}

impl Changes {
    fn change(&self, text: &mut NormalizedString) -> Result<()> {
        let from = text.len();
        for change in &self.0 {
            in_time()?;
            match change {
                Change::Replace { sought, content } => {
                    let found = sought.found(text.get())?;
                    let gone: usize = found.iter().map(|(start, end)| end - start).sum();
                    check_size(from, (text.len() - gone).saturating_add(found.len().saturating_mul(content.len())))?;
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
pub(super) struct Splits(Vec<Step>);

#[derive(Debug)]
enum Step {
    Split { sought: PatternKind, behavior: SplitDelimiterBehavior, invert: bool },
    Other(Box<PreTokenizerWrapper>),
}

impl Splits {
    fn add(&mut self, cut: PreTokenizerWrapper) -> Result<()> {
        match cut {
            PreTokenizerWrapper::Sequence(sequence) => sequence.into_iter().try_for_each(|cut| self.add(cut))?,
            PreTokenizerWrapper::Split(split) => {
                let sought = match &split.pattern {
                    SplitPattern::String(letters) => PatternKind::letters(letters)?,
                    SplitPattern::Regex(source) => PatternKind::expression(source)?,
                };
                self.0.push(Step::Split { sought, behavior: split.behavior, invert: split.invert });
            }
            other => self.0.push(Step::Other(Box::new(other))),
        }
        if self.0.len() > CUTS { Err(format!("has more than {CUTS} pre-tokenizers").into()) } else { Ok(()) }
    }
}

impl<'de> Deserialize<'de> for Splits {
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

impl PreTokenizer for Splits {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> Result<()> {
        // One step alone at most triples a text.
        let from = if self.0.len() > 1 { Some(size(text)) } else { None };
        for cut in &self.0 {
            in_time()?;
            match cut {
                Step::Split { sought, behavior, invert: false } => {
                    text.split(|_, part| part.split(sought, *behavior))?;
                }
                Step::Split { sought, behavior, invert: true } => {
                    text.split(|_, part| part.split(Invert(sought), *behavior))?;
                }
                Step::Other(cut) => {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::tokenize::Tokenizer;
    use crate::tokenize::pattern::{TIME, within};

    fn file(normalizer: &Value, pre_tokenizer: &Value) -> Vec<u8> {
        let letters = "abcdefghijklmnopqrstuvwxyz0123456789'!. ▁Ġé";
        let mut vocab = serde_json::Map::new();
        vocab.insert("[UNK]".to_owned(), json!(0));
        for (at, letter) in letters.chars().enumerate() {
            vocab.insert(letter.to_string(), json!(at + 1));
        }
        let model = json!({"type": "BPE", "dropout": null, "unk_token": "[UNK]", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []});
        let added = json!([{"id": 900, "content": "ab!", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": true, "special": false}]);
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null, "model": model})
        .to_string()
        .into_bytes()
    }

    fn ours(normalizer: &Value, pre_tokenizer: &Value) -> Result<Tokenizer> {
        Tokenizer::from_bytes(file(normalizer, pre_tokenizer))
    }

    fn replace(pattern: &Value, content: &str) -> Value {
        json!({"type": "Replace", "pattern": pattern, "content": content})
    }

    fn sequence(normalizers: &[Value]) -> Value {
        json!({"type": "Sequence", "normalizers": normalizers})
    }

    fn split(pattern: &Value, behavior: &str, invert: bool) -> Value {
        json!({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert})
    }

    #[test]
    fn within_the_limits_nothing_is_different() {
        let gpt = r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        let normalizers = [
            Value::Null,
            json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}),
            sequence(&[
                replace(&json!({"String": "``"}), "\""),
                json!({"type": "NFKC"}),
                replace(&json!({"Regex": " {2,}"}), " "),
                replace(&json!({"String": " "}), "▁"),
                json!({"type": "Prepend", "prepend": "▁"}),
                sequence(&[json!({"type": "Lowercase"}), replace(&json!({"Regex": "a*"}), "x")]),
            ]),
            replace(&json!({"String": ""}), "."),
            replace(&json!({"Regex": "[ab]$"}), ""),
        ];
        let cuts = [
            Value::Null,
            split(&json!({"Regex": gpt}), "Isolated", false),
            split(&json!({"Regex": gpt}), "Removed", true),
            split(&json!({"String": "."}), "MergedWithPrevious", false),
            json!({"type": "Sequence", "pretokenizers": [
                split(&json!({"Regex": r"\p{N}{1,3}"}), "Isolated", false),
                split(&json!({"String": " "}), "MergedWithNext", false),
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false}]}),
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
        ];
        let texts =
            ["", " ", "ab! aab!b", "It's 12345 ``crows''   é ﷺ ﬁ 日本 😀\n\n x", "a", "aaaa.bbbb. .c", "Ab! AB! ba"];
        let mut compared = 0;
        for normalizer in &normalizers {
            for cut in &cuts {
                let theirs = tokenizers::Tokenizer::from_bytes(file(normalizer, cut)).unwrap();
                let ours = ours(normalizer, cut).unwrap();
                for text in texts {
                    // Some of these make the library panic, whoever calls it.
                    let expected = quietly(|| theirs.encode(text, false).unwrap());
                    let found = quietly(|| ours.encode(text, false).unwrap());
                    assert_eq!(found.is_some(), expected.is_some(), "{normalizer} {cut} {text:?}");
                    let (Some(expected), Some(found)) = (expected, found) else { continue };
                    compared += 1;
                    assert_eq!(found.get_ids(), expected.get_ids(), "{normalizer} {cut} {text:?}");
                    assert_eq!(found.get_offsets(), expected.get_offsets(), "{normalizer} {cut} {text:?}");
                }
            }
        }
        assert!(compared > 180, "{compared}");
    }

    fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
    }

    proptest! {
        #[test]
        fn nor_for_other_texts(text in "[ab c'é1!.\u{fdfa}\n]{0,40}") {
            let normalizer = sequence(&[json!({"type": "NFKD"}), replace(&json!({"Regex": r"\s+|b"}), "▁▁")]);
            let cut = split(&json!({"Regex": r"▁+|\p{L}+|[^▁]"}), "MergedWithNext", false);
            let theirs = tokenizers::Tokenizer::from_bytes(file(&normalizer, &cut)).unwrap();
            let expected = theirs.encode(text.as_str(), false).unwrap();
            let found = ours(&normalizer, &cut).unwrap().encode(text.as_str(), false).unwrap();
            prop_assert_eq!(found.get_ids(), expected.get_ids());
            prop_assert_eq!(found.get_offsets(), expected.get_offsets());
        }
    }

    #[test]
    fn texts_that_grow_without_end_are_stopped() {
        let letters = json!({"String": "a"});
        let grows = replace(&letters, &"a".repeat(1000));
        let empty = json!({"String": ""});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let nothing = Value::Null;
        for (normalizer, cut, text) in [
            (sequence(&[grows.clone(), grows.clone(), grows.clone(), grows]), nothing.clone(), "a".repeat(10)),
            (replace(&letters, &"b".repeat(1 << 20)), nothing.clone(), "a".repeat(100_000)),
            (sequence(&vec![replace(&empty, "a"); 40]), nothing.clone(), "a".repeat(10)),
            (json!({"type": "Prepend", "prepend": "a".repeat(1 << 22)}), nothing.clone(), "a".to_owned()),
            (nothing, json!({"type": "Sequence", "pretokenizers": vec![bytes; 31]}), "é".repeat(1000)),
        ] {
            // A tokenizer whose added tokens grow without end is none; else the text is refused.
            let said = match ours(&normalizer, &cut) {
                Ok(tokenizer) => within(TIME, || tokenizer.encode(text, false)).unwrap_err().to_string(),
                Err(refused) => refused.to_string(),
            };
            assert!(said.contains("bytes and more of"), "{said}");
        }
        // What the normaliser says is not lost, though the library does not pass it on, and the next text begins anew.
        let tokenizer = ours(&replace(&json!({"String": "z"}), &"b".repeat(1 << 20)), &Value::Null).unwrap();
        let said = within(TIME, || tokenizer.encode("z", false)).unwrap_err().to_string();
        assert!(said.contains("bytes and more of 1"), "{said}");
        within(TIME, || tokenizer.encode("y", false)).unwrap();
    }

    #[test]
    fn steps_and_tables_are_counted_before_they_are_used() {
        let lower = json!({"type": "Lowercase"});
        let said = ours(&sequence(&vec![lower; CHANGES + 1]), &Value::Null).err().unwrap().to_string();
        assert!(said.contains("normalisers"), "{said}");
        let digits = json!({"type": "Digits", "individual_digits": true});
        let cuts = json!({"type": "Sequence", "pretokenizers": vec![digits; CUTS + 1]});
        let said = ours(&Value::Null, &cuts).err().unwrap().to_string();
        assert!(said.contains("pre-tokenizers"), "{said}");
        let table = |bytes: &[u8]| {
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            let normalizer = sequence(&[json!({"type": "Precompiled", "precompiled_charsmap": text})]);
            ours(&normalizer, &Value::Null).err().unwrap().to_string()
        };
        assert!(table(&[0xff, 0xff, 0xff, 0xff, 1, 2]).contains("4294967295 bytes follow"));
        assert!(table(&[1]).contains("is empty"));
        let long = [&[0u8; 4][..], &[b'a'; 2000]].concat();
        assert!(table(&long).contains("more than 1024 bytes"));
    }
}
