//! The small files of an exported folder: configuration, tokenizer, modules.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::architecture::{Config, Family};
use super::error::ExportError;
use super::folder::Kind;
use super::head::{Head, Pooling};
use super::source::Source;
use super::tokenizer::{read_tokenizer, with_lower_case};

/// Files that are copied as they are, where the source has them.
const COPIED: [&str; 6] =
    ["teacher.json", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model"];

/// Keys of config.json that make sense for a classifier only.
const CLASSIFIER_KEYS: [&str; 5] = ["id2label", "label2id", "num_labels", "problem_type", "classifier_dropout"];

/// What the small files have to agree on.
pub(super) struct Settings<'a> {
    pub(super) source: &'a Source,
    pub(super) kind: Kind,
    pub(super) head: &'a Head,
    pub(super) max_length: usize,
    pub(super) query_prompt: &'a str,
    pub(super) document_prompt: &'a str,
    pub(super) similarity: &'a str,
}

impl Settings<'_> {
    /// Writes all of them.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ExportError> {
        self.config(folder)?;
        self.tokenizer(folder)?;
        if self.kind == Kind::Sentence {
            self.modules(folder)?;
        }
        let sentence = json!({"max_seq_length": self.max_length, "do_lower_case": self.source.lower_case});
        write_json(&folder.join("sentence_bert_config.json"), &sentence)
    }

    fn config(&self, folder: &Path) -> Result<(), ExportError> {
        let mut config = self.source.config.keys.clone();
        // Where the source once lay on somebody's disk.
        config.remove("_name_or_path");
        config.remove("dtype");
        config.insert("torch_dtype".to_owned(), json!("float32"));
        let stem = match (self.source.architecture.family, self.source.architecture.model_type.as_str()) {
            (_, "xlm-roberta") => "XLMRoberta",
            (_, "camembert") => "Camembert",
            (Family::Bert, _) => "Bert",
            (Family::Roberta, _) => "Roberta",
            (Family::DistilBert, _) => "DistilBert",
            (Family::MpNet, _) => "MPNet",
        };
        if self.kind == Kind::Sentence {
            CLASSIFIER_KEYS.iter().for_each(|key| {
                config.remove(*key);
            });
            // Some servers take every architecture whose name ends in "Classification" for a classifier.
            config.insert("architectures".to_owned(), json!([format!("{stem}Model")]));
        } else {
            config.insert("architectures".to_owned(), json!([format!("{stem}ForSequenceClassification")]));
            config.insert("num_labels".to_owned(), json!(1));
            config.insert("id2label".to_owned(), json!({"0": "LABEL_0"}));
            config.insert("label2id".to_owned(), json!({"LABEL_0": 0}));
        }
        write_json(&folder.join("config.json"), &Value::Object(config))
    }

    fn tokenizer(&self, folder: &Path) -> Result<(), ExportError> {
        let source = &self.source.root;
        let path = source.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).map_err(ExportError::io(&path))?;
        let fault = |error: &dyn std::fmt::Display| ExportError::model(&path, format!("is not a tokenizer: {error}"));
        let mut tokenizer = read_tokenizer(source)?;
        if self.source.lower_case {
            with_lower_case(&mut tokenizer).map_err(|e| fault(&e))?;
        }
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if largest >= self.source.architecture.vocabulary {
            return Err(ExportError::model(
                &path,
                format!(
                    "has token {largest}, and the model has {} word vectors; the two do not belong together",
                    self.source.architecture.vocabulary
                ),
            ));
        }
        let truncation = json!({
            "direction": "Right", "max_length": self.max_length, "strategy": "LongestFirst", "stride": 0,
        });
        let mut members = vec![("truncation", truncation.to_string()), ("padding", "null".to_owned())];
        // What other files say of the same is written into this one, as most readers look at no other.
        let normalizer = |tokenizer: &tokenizers::Tokenizer| serde_json::to_value(tokenizer.get_normalizer());
        let own = tokenizers::Tokenizer::from_bytes(text.as_bytes()).map_err(|e| fault(&e))?;
        let (before, after) =
            (normalizer(&own).map_err(|e| fault(&e))?, normalizer(&tokenizer).map_err(|e| fault(&e))?);
        if before != after {
            members.push(("normalizer", after.to_string()));
        }
        let changed = with_members(&text, &members).ok_or_else(|| ExportError::model(&path, "is not a JSON object"))?;
        write_text(&folder.join("tokenizer.json"), &changed)?;

        for name in COPIED {
            let from = source.join(name);
            if from.is_file() {
                let to = folder.join(name);
                std::fs::copy(&from, &to).map_err(ExportError::io(&to))?;
            }
        }
        let vocabulary = folder.join("vocab.txt");
        if !vocabulary.is_file()
            && let Some(text) = word_piece_vocabulary(&changed)
        {
            write_text(&vocabulary, &text)?;
        }
        self.tokenizer_config(folder, &tokenizer)
    }

    fn tokenizer_config(&self, folder: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<(), ExportError> {
        let source = &self.source.root;
        let read = |name: &str| -> Result<Map<String, Value>, ExportError> {
            Ok(Config::read_if_there(&source.join(name))?.map_or_else(Map::new, |config| config.keys))
        };
        let mut config = read("tokenizer_config.json")?;
        let mut special = read("special_tokens_map.json")?;
        for key in ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token"] {
            // Older readers take a plain string only, not the object with the token's properties.
            let text = [&config, &special].iter().find_map(|map| plain_token(map.get(key)?));
            if let Some(text) = text {
                config.insert(key.to_owned(), json!(text));
                special.insert(key.to_owned(), json!(text));
            }
        }
        if config.get("pad_token").is_none_or(|token| !token.is_string()) {
            let pad = u32::try_from(self.source.architecture.pad_id)
                .ok()
                .and_then(|id| tokenizer.id_to_token(id))
                .ok_or_else(|| {
                    ExportError::key(
                        &source.join("config.json"),
                        "pad_token_id",
                        "names no token of tokenizer.json, and tokenizer_config.json has no pad_token",
                    )
                })?;
            config.insert("pad_token".to_owned(), json!(pad));
            special.insert("pad_token".to_owned(), json!(pad));
        }
        for key in ["name_or_path", "tokenizer_file", "vocab_file", "special_tokens_map_file", "max_length"] {
            config.remove(key);
        }
        config.insert("model_max_length".to_owned(), json!(self.max_length));
        // Without it a tokenizer of no class of its own hands token types to models that take none.
        let mut inputs = vec!["input_ids", "attention_mask"];
        if self.source.architecture.takes_types() {
            inputs.push("token_type_ids");
        }
        config.insert("model_input_names".to_owned(), json!(inputs));
        config.entry("tokenizer_class").or_insert_with(|| {
            json!(match self.source.architecture.family {
                Family::Bert => "BertTokenizer",
                Family::DistilBert => "DistilBertTokenizer",
                Family::MpNet => "MPNetTokenizer",
                Family::Roberta if self.source.architecture.model_type == "xlm-roberta" => "XLMRobertaTokenizer",
                Family::Roberta => "RobertaTokenizer",
            })
        });
        write_json(&folder.join("tokenizer_config.json"), &Value::Object(config))?;
        write_json(&folder.join("special_tokens_map.json"), &Value::Object(special))
    }

    fn modules(&self, folder: &Path) -> Result<(), ExportError> {
        let Head::Sentence { pooling, normalised } = self.head else {
            return Ok(());
        };
        let module = |at: usize, path: &str, kind: &str| json!({"idx": at, "name": at.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")});
        let mut modules = vec![module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")];
        make_folder(&folder.join("1_Pooling"))?;
        let pooling = json!({
            "word_embedding_dimension": self.source.architecture.hidden,
            "pooling_mode_cls_token": *pooling == Pooling::Cls,
            "pooling_mode_mean_tokens": *pooling == Pooling::Mean,
            "pooling_mode_max_tokens": false,
            "pooling_mode_mean_sqrt_len_tokens": false,
            "pooling_mode_weightedmean_tokens": false,
            "pooling_mode_lasttoken": false,
            "include_prompt": true,
        });
        write_json(&folder.join("1_Pooling/config.json"), &pooling)?;
        if *normalised {
            make_folder(&folder.join("2_Normalize"))?;
            modules.push(module(2, "2_Normalize", "Normalize"));
        }
        write_json(&folder.join("modules.json"), &Value::Array(modules))?;
        let mut prompts = self.source.prompts.clone();
        prompts.insert("query".to_owned(), self.query_prompt.to_owned());
        prompts.insert("document".to_owned(), self.document_prompt.to_owned());
        let sentence = json!({
            "prompts": prompts,
            "default_prompt_name": self.source.default_prompt,
            "similarity_fn_name": self.similarity,
        });
        write_json(&folder.join("config_sentence_transformers.json"), &sentence)
    }
}

/// A special token's text, given as a string or as an object with its properties.
fn plain_token(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// `vocab.txt` from the WordPiece table in a tokenizer.json; `None` for tokenizers of other kinds, and for tables
/// with gaps, which lines cannot express.
fn word_piece_vocabulary(tokenizer: &str) -> Option<String> {
    let tokenizer: Value = serde_json::from_str(tokenizer).ok()?;
    let model = tokenizer.get("model")?;
    if model.get("type")?.as_str()? != "WordPiece" {
        return None;
    }
    let mut words: Vec<(u64, &str)> = model
        .get("vocab")?
        .as_object()?
        .iter()
        .map(|(word, id)| Some((id.as_u64()?, word.as_str())))
        .collect::<Option<_>>()?;
    words.sort_unstable();
    let whole = words.iter().enumerate().all(|(at, (id, word))| *id == at as u64 && !word.contains('\n'));
    whole.then(|| words.iter().flat_map(|(_, word)| [*word, "\n"]).collect())
}

/// A JSON object's text with some members' values replaced or added, and every other byte as it was: numbers keep
/// their digits, which reading and writing them again would not promise.
fn with_members(text: &str, members: &[(&str, String)]) -> Option<String> {
    let found = members_of(text)?;
    let mut out = String::with_capacity(text.len() + 200);
    let mut copied = 0;
    let mut missing: Vec<&(&str, String)> = members.iter().collect();
    for (key, range) in found {
        if let Some((_, value)) = members.iter().find(|(name, _)| *name == key) {
            out.push_str(&text[copied..range.start]);
            out.push_str(value);
            copied = range.end;
            missing.retain(|(name, _)| *name != key);
        }
    }
    out.push_str(&text[copied..]);
    if !missing.is_empty() {
        let end = out.rfind('}')?;
        let empty = out[..end].trim_end().ends_with('{');
        let added: Vec<String> = missing.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        out.insert_str(end, &format!("{}{}", if empty { "" } else { "," }, added.join(",")));
    }
    Some(out)
}

/// Keys of a JSON object and where their values lie. `None` where the text is no JSON object.
fn members_of(text: &str) -> Option<Vec<(String, std::ops::Range<usize>)>> {
    // The parser vouches for the grammar; what follows only finds the places.
    serde_json::from_str::<std::collections::BTreeMap<String, serde::de::IgnoredAny>>(text).ok()?;
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut depth, mut at, mut key, mut start) = (0usize, 0usize, None, None);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let open = at;
                at += 1;
                while bytes.get(at)? != &b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 1 && key.is_none() {
                    key = serde_json::from_str::<String>(text.get(open..=at)?).ok();
                }
            }
            b':' if depth == 1 && start.is_none() => start = Some(at + 1),
            b'{' | b'[' => depth += 1,
            close @ (b'}' | b']' | b',') => {
                if depth == 1
                    && close != b']'
                    && let (Some(key), Some(start)) = (key.take(), start.take())
                {
                    let value = text.get(start..at)?;
                    let lead = value.len() - value.trim_start().len();
                    found.push((key, start + lead..start + value.trim_end().len()));
                }
                if close != b',' {
                    depth = depth.checked_sub(1)?;
                }
            }
            _ => {}
        }
        at += 1;
    }
    Some(found)
}

pub(super) fn make_folder(path: &Path) -> Result<(), ExportError> {
    std::fs::create_dir_all(path).map_err(ExportError::io(path))
}

pub(super) fn write_text(path: &Path, text: &str) -> Result<(), ExportError> {
    std::fs::write(path, text).map_err(ExportError::io(path))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), ExportError> {
    write_text(path, &format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_replaced_and_the_rest_keeps_its_bytes() {
        let text = r#"{"a": [1.50, {"padding": 1}], "padding" : {"x":"}\""} ,"truncation":null}"#;
        let changed = with_members(text, &[("padding", "null".to_owned()), ("truncation", "{}".to_owned())]).unwrap();
        assert_eq!(changed, r#"{"a": [1.50, {"padding": 1}], "padding" : null ,"truncation":{}}"#);
    }

    #[test]
    fn members_that_are_not_there_are_added() {
        assert_eq!(with_members("{ }", &[("a", "1".to_owned())]).unwrap(), r#"{ "a":1}"#);
        assert_eq!(with_members(r#"{"b":2}"#, &[("a", "1".to_owned())]).unwrap(), r#"{"b":2,"a":1}"#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[1]", "{", "{\"a\":1,}", "3"] {
            assert_eq!(with_members(text, &[("a", "1".to_owned())]), None, "{text}");
        }
    }

    #[test]
    fn a_word_piece_table_becomes_lines() {
        let text = r###"{"model":{"type":"WordPiece","vocab":{"b":1,"##c":2,"[PAD]":0}}}"###;
        assert_eq!(word_piece_vocabulary(text).as_deref(), Some("[PAD]\nb\n##c\n"));
        assert_eq!(word_piece_vocabulary(r#"{"model":{"type":"WordPiece","vocab":{"b":1}}}"#), None);
        assert_eq!(word_piece_vocabulary(r#"{"model":{"type":"BPE","vocab":{"b":0}}}"#), None);
    }
}
