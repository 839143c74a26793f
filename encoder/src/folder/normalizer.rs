//! What the model's other files change about its tokenizer: transformers and sentence-transformers let them overrule `tokenizer.json`.

use serde_json::{Value, json};

use super::json::JsonFile;
use crate::error::EncoderError;

/// Classes whose options say nothing: `tokenizer.json` alone counts.
const PLAIN_CLASSES: [&str; 3] = ["PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"];

/// Options of `tokenizer_config.json` that overrule BERT's normaliser in `tokenizer.json`, and what they are called there.
const OF_BERT: [(&str, &str); 3] = [
    ("do_lower_case", "lowercase"),
    ("strip_accents", "strip_accents"),
    ("tokenize_chinese_chars", "handle_chinese_chars"),
];

/// What the other files change.
#[derive(Debug, Default)]
pub(crate) struct Adjustment {
    /// In place of the file's normaliser, where it is another.
    pub(crate) normalizer: Option<Value>,
    /// In place of the file's pre-tokenizer, where it is another.
    pub(crate) pre_tokenizer: Option<Value>,
    /// What overrules the tokenizer's own file, for the model's fingerprint; `None` where the files agree.
    pub(crate) overruled: Option<String>,
}

/// Makes a tokenizer read texts as sentence-transformers has it read them. `normalizer` and `pre_tokenizer` are those of
/// `tokenizer.json`, `config` is `tokenizer_config.json`, `lower_case` what `sentence_bert_config.json` says.
pub(crate) fn adjust(
    normalizer: &Value,
    pre_tokenizer: &Value,
    config: Option<&JsonFile>,
    lower_case: bool,
) -> Result<Adjustment, EncoderError> {
    let (mut changed, mut split) = (normalizer.clone(), pre_tokenizer.clone());
    if let Some(config) = config
        && !config.text("tokenizer_class")?.is_some_and(|class| PLAIN_CLASSES.contains(&class))
    {
        for (option, name) in OF_BERT {
            if let Some(value) = config.flag(option)? {
                each(&mut changed, "normalizers", "BertNormalizer", &mut |part| part[name] = value.into());
            }
        }
        if let Some(value) = config.flag("add_prefix_space")? {
            each(&mut split, "pretokenizers", "ByteLevel", &mut |part| part["add_prefix_space"] = value.into());
        }
    }
    let overruled = (changed != *normalizer || split != *pre_tokenizer).then(|| format!("{changed} {split}"));
    if lower_case && !has_lower_case(&changed) {
        let mut parts = vec![json!({"type": "Lowercase"})];
        match changed.take() {
            Value::Null => {}
            mut sequence if sequence["type"] == "Sequence" => {
                if let Some(all) = sequence["normalizers"].as_array_mut() {
                    parts.append(all);
                }
            }
            one => parts.push(one),
        }
        changed = json!({"type": "Sequence", "normalizers": parts});
    }
    Ok(Adjustment {
        normalizer: Some(changed).filter(|changed| changed != normalizer),
        pre_tokenizer: Some(split).filter(|split| split != pre_tokenizer),
        overruled,
    })
}

/// Changes every part of this type, alone or in a sequence.
fn each(part: &mut Value, list: &str, kind: &str, change: &mut dyn FnMut(&mut Value)) {
    if part["type"] == kind {
        change(part);
    }
    if let Some(parts) = part.get_mut(list).and_then(Value::as_array_mut) {
        parts.iter_mut().for_each(|part| each(part, list, kind, change));
    }
}

/// Whether letters become small ones already.
fn has_lower_case(normalizer: &Value) -> bool {
    normalizer["type"] == "Lowercase"
        || normalizer["type"] == "BertNormalizer" && normalizer["lowercase"] == true
        || normalizer["normalizers"].as_array().is_some_and(|parts| parts.iter().any(has_lower_case))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(normalizer: Value, config: Value, lower_case: bool) -> (Vec<String>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer_config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let config = JsonFile::read_if_there(&path).unwrap();
        let adjusted = adjust(&normalizer, &json!({"type": "Whitespace"}), config.as_ref(), lower_case).unwrap();
        assert!(adjusted.pre_tokenizer.is_none());
        let made = adjusted.normalizer.unwrap_or(normalizer);
        let made: Option<tokenizers::NormalizerWrapper> = serde_json::from_value(made).unwrap();
        let seen = ["École WIRE", "ΣΑΣ"].map(|text| {
            let mut text = tokenizers::NormalizedString::from(text);
            if let Some(made) = &made {
                tokenizers::Normalizer::normalize(made, &mut text).unwrap();
            }
            text.get().to_owned()
        });
        (seen.to_vec(), adjusted.overruled.is_some())
    }

    #[test]
    fn other_files_overrule_the_tokenizers() {
        let bert = |lowercase: bool, strip: Option<bool>| json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": strip, "lowercase": lowercase});
        let first = |normalizer, config, lower_case| adjusted(normalizer, config, lower_case).0[0].clone();
        assert_eq!(first(bert(false, None), json!({}), false), "École WIRE");
        assert_eq!(first(bert(false, None), json!({"do_lower_case": true}), false), "ecole wire");
        assert_eq!(first(bert(true, None), json!({"do_lower_case": false}), false), "École WIRE");
        assert_eq!(first(bert(true, None), json!({"strip_accents": false}), false), "école wire");
        // What says that it has no class of its own has no options of one.
        let plain = json!({"do_lower_case": true, "tokenizer_class": "PreTrainedTokenizerFast"});
        assert_eq!(first(bert(false, None), plain, false), "École WIRE");
        // sentence-transformers puts small letters before all else, so that accents stay with a cased model.
        assert_eq!(first(bert(false, None), json!({}), true), "école wire");
        assert_eq!(first(Value::Null, json!({}), true), "école wire");
        let sequence = json!({"type": "Sequence", "normalizers": [bert(false, Some(true))]});
        assert_eq!(first(sequence, json!({}), true), "ecole wire");
        // Letter by letter: no final sigma.
        assert_eq!(adjusted(Value::Null, json!({}), true), (vec!["école wire".to_owned(), "σασ".to_owned()], false));
        assert!(!adjusted(bert(true, None), json!({"do_lower_case": true}), true).1);
        assert!(adjusted(bert(false, None), json!({"do_lower_case": true}), false).1);
    }
}
