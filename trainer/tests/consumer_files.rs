//! What the consumers of an exported folder read, checked file by file. `tests/consumers/check.py` loads it in those that PyPI has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use adam_train::export::onnx::messages::{Dimension, ModelProto, ValueInfoProto, data_type};
use adam_train::export::{ExportOptions, export};
use prost::Message;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn json(folder: &Path, name: &str) -> Value {
    let path = folder.join(name);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn shape(value: &ValueInfoProto) -> (String, i32, Vec<String>) {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    let dims = tensor.shape.as_ref().unwrap().dim.iter().map(|d| match d.value.as_ref().unwrap() {
        Dimension::Named(name) => name.clone(),
        Dimension::Fixed(size) => size.to_string(),
    });
    (value.name.clone().unwrap(), tensor.elem_type.unwrap(), dims.collect())
}

/// Everything the contract says of one folder. `typed`: whether the graph takes token types.
fn check(folder: &Path, typed: bool, width: usize) {
    // The graph: ONNX Runtime, optimum, Vespa, fastembed, EmbedAnything, OpenSearch.
    let model = ModelProto::decode(std::fs::read(folder.join("onnx/model.onnx")).unwrap().as_slice()).unwrap();
    let opset = &model.opset_import;
    assert_eq!(opset.len(), 1, "model.onnx uses standard operators only");
    assert!(opset[0].domain.as_deref().unwrap_or_default().is_empty() && opset[0].version.unwrap() <= 17);
    let graph = model.graph.unwrap();
    let texts = ["batch_size".to_owned(), "sequence_length".to_owned()];
    let names =
        if typed { &["input_ids", "attention_mask", "token_type_ids"][..] } else { &["input_ids", "attention_mask"] };
    // DJL in OpenSearch demands the exact count, Vespa takes three at most.
    let inputs: Vec<_> = graph.input.iter().map(shape).collect();
    let expected: Vec<_> = names.iter().map(|n| ((*n).to_owned(), data_type::INT64, texts.to_vec())).collect();
    assert_eq!(inputs, expected);
    let outputs: Vec<_> = graph.output.iter().map(shape).collect();
    let width = width.to_string();
    assert_eq!(
        outputs,
        [
            ("last_hidden_state".to_owned(), data_type::FLOAT, [texts.to_vec(), vec![width.clone()]].concat()),
            ("sentence_embedding".to_owned(), data_type::FLOAT, vec![texts[0].clone(), width.clone()]),
        ]
    );
    for file in ["onnx/model.onnx", "onnx/model_quantized.onnx"] {
        assert!(std::fs::metadata(folder.join(file)).unwrap().len() < 2 << 30, "{file}");
    }

    // One length everywhere: sentence-transformers, text-embeddings-inference, Infinity, fastembed.
    let sentence = json(folder, "sentence_bert_config.json");
    let length = sentence["max_seq_length"].as_u64().unwrap();
    assert_eq!(sentence["do_lower_case"], false);
    let tokenizer_config = json(folder, "tokenizer_config.json");
    assert_eq!(tokenizer_config["model_max_length"].as_u64(), Some(length));
    let pad = tokenizer_config["pad_token"].as_str().expect("pad_token is a plain string");
    let tokenizer = json(folder, "tokenizer.json");
    assert_eq!(tokenizer["padding"], Value::Null);
    assert_eq!(tokenizer["truncation"]["max_length"].as_u64(), Some(length));
    let reader = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    assert!(reader.token_to_id(pad).is_some());
    let config = json(folder, "config.json");
    let positions = config["max_position_embeddings"].as_u64().unwrap();
    assert!(length <= positions);

    // Text-embeddings-inference and Infinity tell encoders from classifiers by the name.
    let architecture = config["architectures"][0].as_str().unwrap();
    assert!(!architecture.ends_with("Classification"), "{architecture}");
    assert!(config["model_type"].is_string());

    // The older dialect: sentence-transformers before 5.4, text-embeddings-inference, candle, Meilisearch.
    let modules = json(folder, "modules.json");
    let types: Vec<&str> = modules.as_array().unwrap().iter().map(|m| m["type"].as_str().unwrap()).collect();
    let all = ["Transformer", "Pooling", "Normalize"].map(|kind| format!("sentence_transformers.models.{kind}"));
    assert!(types.len() >= 2 && types.iter().zip(&all).all(|(found, expected)| found == expected), "{types:?}");
    for module in modules.as_array().unwrap() {
        assert!(folder.join(module["path"].as_str().unwrap()).is_dir());
    }
    let pooling = json(folder, "1_Pooling/config.json");
    assert_eq!(pooling["word_embedding_dimension"].to_string(), width);
    let modes = [
        "pooling_mode_cls_token",
        "pooling_mode_mean_tokens",
        "pooling_mode_max_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens",
        "pooling_mode_lasttoken",
    ];
    assert_eq!(modes.iter().filter(|mode| pooling[**mode] == true).count(), 1, "{pooling}");
    assert!(modes.iter().all(|mode| pooling[*mode].is_boolean()) && pooling["include_prompt"].is_boolean());
    let prompts = json(folder, "config_sentence_transformers.json");
    assert!(prompts["prompts"]["query"].is_string() && prompts["prompts"]["document"].is_string());
    assert!(prompts["similarity_fn_name"].is_string());

    // Chroma reads these from one folder; Elasticsearch's eland names the tokenizers that it takes.
    for name in ["config.json", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    let special = json(folder, "special_tokens_map.json");
    assert_eq!(special["pad_token"], pad);
    assert!(tokenizer_config["tokenizer_class"].is_string());
    let vocabulary = std::fs::read_to_string(folder.join("vocab.txt")).unwrap();
    for (id, word) in vocabulary.lines().enumerate() {
        assert_eq!(reader.token_to_id(word), Some(id as u32), "line {} of vocab.txt", id + 1);
    }

    // OpenSearch registers a zip of one .onnx and tokenizer.json with size and hash, and takes config.json as a string.
    let report = json(folder, "adam_export.json");
    let entry = &report["files"]["onnx/model.onnx"];
    assert_eq!(entry["bytes"].as_u64(), Some(std::fs::metadata(folder.join("onnx/model.onnx")).unwrap().len()));
    assert_eq!(entry["sha256"].as_str().unwrap().len(), 64);
    assert!(entry["parity"]["max_difference"].as_f64().unwrap() <= 1e-4);
    assert!(!serde_json::to_string(&config).unwrap().is_empty());
    for name in ["model.safetensors", "README.md", "tokenizer.json"] {
        assert!(report["files"][name]["sha256"].is_string(), "{name}");
    }
    // Nothing of the machine it was made on.
    for name in ["config.json", "tokenizer_config.json", "adam_export.json", "README.md"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "{name} names a folder of this machine");
    }
}

fn exported(family: &str) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("student");
    export(&ExportOptions::new(common::tiny_model(family), &output)).unwrap();
    (place, output)
}

#[test]
fn the_files_of_an_export_are_what_each_consumer_reads() {
    let (_place, folder) = exported("bert");
    check(&folder, true, 16);
    // Elasticsearch's eland takes BertTokenizer and few others; a model without a class of its own gets BERT's.
    let (_place, folder) = exported("distilbert");
    check(&folder, false, 16);
}

#[test]
fn minilms_files_are_what_each_consumer_reads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/minilm-onnx");
    if !folder.join("adam_export.json").is_file() {
        println!("skipped: {} is not there (make test exports it)", folder.display());
        return;
    }
    check(&folder, true, 384);
    assert_eq!(json(&folder, "tokenizer_config.json")["tokenizer_class"], "BertTokenizer");
}
