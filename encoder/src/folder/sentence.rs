//! `sentence_bert_config.json`: how sentence-transformers feeds the transformer.

use std::path::Path;

use serde_json::Value;

use super::json::JsonFile;
use crate::error::EncoderError;

/// What the file says that is done here.
#[derive(Debug, Default)]
pub(super) struct SentenceSettings {
    /// Longest sequence in tokens.
    pub(super) max_length: Option<usize>,
    /// Whether texts become small letters before all else.
    pub(super) lower_case: bool,
}

/// Names that the file had for other models before, sought in sentence-transformers' order.
const MODELS: [&str; 7] = ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"];

/// Keys that say nothing about vectors.
const HARMLESS: [&str; 2] = ["unpad_inputs", "__version__"];

/// Arguments of loading that say nothing about vectors.
const HARMLESS_ARGUMENTS: [&str; 17] = [
    "trust_remote_code",
    "attn_implementation",
    "torch_dtype",
    "dtype",
    "device_map",
    "low_cpu_mem_usage",
    "use_safetensors",
    "cache_dir",
    "token",
    "revision",
    "local_files_only",
    "use_fast",
    "add_pooling_layer",
    "backend",
    "export",
    "provider",
    "padding",
];

pub(super) fn read(transformer: &Path) -> Result<SentenceSettings, EncoderError> {
    for model in MODELS {
        let path = transformer.join(format!("sentence_{model}_config.json"));
        if let Some(file) = JsonFile::read_if_there(&path)? {
            return understand(&file);
        }
    }
    Ok(SentenceSettings::default())
}

fn understand(file: &JsonFile) -> Result<SentenceSettings, EncoderError> {
    let refuse = |key: &str, problem: String| Err(EncoderError::key(file.path(), key, problem));
    let mut settings = SentenceSettings::default();
    for (key, value) in file.present() {
        match key {
            "max_seq_length" => settings.max_length = file.length(key)?,
            "do_lower_case" => settings.lower_case = file.flag(key)?.unwrap_or(false),
            "query_length" | "document_length" | "query_expansion" => {
                return refuse(
                    key,
                    "belongs to a multi-vector model; only models with one vector for a text are supported".to_owned(),
                );
            }
            "transformer_task" => {
                let task = file.text(key)?.unwrap_or_default();
                if !matches!(task, "feature-extraction" | "sequence-classification") {
                    return refuse(
                        key,
                        format!(
                            "is \"{task}\"; supported are \"feature-extraction\" and, for re-rankers, \"sequence-classification\""
                        ),
                    );
                }
            }
            "model_args" | "model_kwargs" | "config_args" | "config_kwargs" | "tokenizer_args" | "processor_kwargs" => {
                arguments(file, key, key)?;
            }
            "processing_kwargs" => processing(file)?,
            "modality_config" => modality(file, value)?,
            "module_output_name" => {
                let name = file.text(key)?.unwrap_or_default();
                if !matches!(name, "token_embeddings" | "scores" | "logits") {
                    return refuse(key, format!("is \"{name}\"; supported is \"token_embeddings\""));
                }
            }
            "tokenizer_name_or_path" => {
                return refuse(key, "names a tokenizer elsewhere; put its files beside the model's".to_owned());
            }
            _ if HARMLESS.contains(&key) => {}
            _ => {
                return refuse(
                    key,
                    "is not known, and may change what a vector is; take it out if it does not".to_owned(),
                );
            }
        }
    }
    Ok(settings)
}

/// Arguments that are handed on to transformers.
fn arguments(file: &JsonFile, key: &str, name: &str) -> Result<(), EncoderError> {
    let Some(all) = file.object(key)? else { return Ok(()) };
    match all.iter().find(|(argument, value)| !value.is_null() && !HARMLESS_ARGUMENTS.contains(&argument.as_str())) {
        None => Ok(()),
        Some((argument, _)) => Err(EncoderError::key(
            file.path(),
            format!("{name}.{argument}"),
            "is not supported, and may change what a vector is",
        )),
    }
}

/// Options of a call to the tokenizer: only text goes in, and only options that padding is about.
fn processing(file: &JsonFile) -> Result<(), EncoderError> {
    const PADDING: [&str; 4] = ["padding", "return_tensors", "pad_to_multiple_of", "return_attention_mask"];
    let Some(options) = file.object("processing_kwargs")? else { return Ok(()) };
    for (part, value) in options {
        let key = format!("processing_kwargs.{part}");
        if part != "common" && part != "text" {
            return Err(EncoderError::key(file.path(), key, "is not supported; only plain text goes in"));
        }
        let inner = value.as_object().into_iter().flatten();
        // `truncation: true` is what is done anyway.
        let other = |(name, value): &(&String, &Value)| {
            !value.is_null()
                && !PADDING.contains(&name.as_str())
                && (*name != "truncation" || **value != Value::Bool(true))
        };
        if let Some((name, _)) = inner.into_iter().find(other) {
            return Err(EncoderError::key(
                file.path(),
                format!("{key}.{name}"),
                "is not supported, and may change what a vector is",
            ));
        }
    }
    Ok(())
}

/// Which output of the transformer is taken.
fn modality(file: &JsonFile, value: &Value) -> Result<(), EncoderError> {
    let text = &value["text"];
    let output = &text["method_output_name"];
    let is_usual = text["method"] == "forward"
        && (output.is_null() || ["last_hidden_state", "logits", "token_embeddings"].iter().any(|name| output == name));
    if text.is_null() || is_usual {
        return Ok(());
    }
    Err(EncoderError::key(
        file.path(),
        "modality_config.text",
        format!("takes {output} of {}; supported is \"last_hidden_state\" of \"forward\"", text["method"]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<SentenceSettings, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sentence_bert_config.json"), text).unwrap();
        read(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_honoured_or_refused_by_name() {
        let read =
            read_text(r#"{"max_seq_length": 256, "do_lower_case": true, "unpad_inputs": false, "query_length": null}"#)
                .unwrap();
        assert_eq!((read.max_length, read.lower_case), (Some(256), true));
        read_text(r#"{"model_args": {"torch_dtype": "float16"}, "tokenizer_args": {}, "processing_kwargs": {"text": {"padding": true}}}"#)
            .unwrap();
        for (text, named) in [
            (r#"{"tokenizer_args": {"do_lower_case": true}}"#, "tokenizer_args.do_lower_case"),
            (r#"{"processor_kwargs": {"add_eos_token": true}}"#, "processor_kwargs.add_eos_token"),
            (r#"{"model_kwargs": {"hidden_act": "relu"}}"#, "model_kwargs.hidden_act"),
            (
                r#"{"processing_kwargs": {"text": {"add_special_tokens": false}}}"#,
                "processing_kwargs.text.add_special_tokens",
            ),
            (r#"{"processing_kwargs": {"image": {}}}"#, "processing_kwargs.image"),
            (
                r#"{"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}"#,
                "pooler_output",
            ),
            (r#"{"module_output_name": "sentence_embedding"}"#, "module_output_name"),
            (r#"{"tokenizer_name_or_path": "x/y"}"#, "tokenizer_name_or_path"),
            (r#"{"query_expansion": {"length": 3}}"#, "query_expansion"),
            (r#"{"reverse_texts": true}"#, "reverse_texts"),
            (r#"{"do_lower_case": "yes"}"#, "do_lower_case"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains("sentence_bert_config.json") && error.contains(named), "{text}: {error}");
        }
    }
}
