//! Every file of a model folder that changes a vector: kept in the export, or refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use adam_encoder::{EncoderOptions, SentenceEncoder, TextEncoder, TextKind};
use adam_train::export::{ExportOptions, export};
use adam_train::model::Student;
use adam_train::torch::Machine;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A copy of a model's folder, without what other programs read.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            if !path.ends_with("onnx") {
                copy(&path, &target);
            }
        } else if fs::hard_link(&path, &target).is_err() {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Puts a file in the place of another without writing through a link.
fn write(path: &Path, content: impl AsRef<[u8]>) {
    let _ = fs::remove_file(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn f32_only(model: &Path, output: &Path) -> ExportOptions {
    ExportOptions { int8: false, f16: false, ..ExportOptions::new(model, output) }
}

/// MiniLM where it is set up.
fn minilm() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/all-MiniLM-L6-v2");
    if folder.join("model.safetensors").is_file() {
        return Some(folder.canonicalize().unwrap());
    }
    println!("skipped: {} is not set up", folder.display());
    None
}

/// MiniLM with a tokenizer that keeps capitals.
fn cased(minilm: &Path, to: &Path) {
    copy(minilm, to);
    let tokenizer = fs::read_to_string(minilm.join("tokenizer.json")).unwrap();
    let without: String = tokenizer.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        without.contains("\"lowercase\":true") || without.contains("\"lowercase\": true"),
        "MiniLM makes letters small"
    );
    let changed = tokenizer
        .replace("\"lowercase\":true", "\"lowercase\":false")
        .replace("\"lowercase\": true", "\"lowercase\": false");
    write(&to.join("tokenizer.json"), changed);
    let mut config = json_of(&minilm.join("tokenizer_config.json"));
    config["do_lower_case"] = json!(false);
    write(&to.join("tokenizer_config.json"), config.to_string());
}

#[test]
fn small_letters_are_kept_wherever_the_folder_asks_for_them() {
    let Some(minilm) = minilm() else { return };
    let place = tempfile::tempdir().unwrap();
    let texts = ["Crows Bend WIRE", "crows bend wire"];
    let vectors = |model: &Path| {
        let output = place.path().join(format!("{}-onnx", model.file_name().unwrap().to_string_lossy()));
        export(&f32_only(model, &output)).unwrap();
        let encoder = SentenceEncoder::open(&output, &EncoderOptions::default()).unwrap();
        (output, encoder.encode(&texts, TextKind::Document).unwrap())
    };

    // Nobody asks: two vectors.
    let plain = place.path().join("plain");
    cased(&minilm, &plain);
    let (_, found) = vectors(&plain);
    assert_ne!(found[0], found[1]);

    // sentence-transformers' key, and its older file name.
    for name in ["sentence_bert_config.json", "sentence_roberta_config.json"] {
        let model = place.path().join(name.replace('.', "-"));
        cased(&minilm, &model);
        let _ = fs::remove_file(model.join("sentence_bert_config.json"));
        write(&model.join(name), r#"{"max_seq_length": 256, "do_lower_case": true}"#);
        let (output, found) = vectors(&model);
        assert_eq!(found[0], found[1], "{name}");
        assert_eq!(json_of(&output.join("sentence_bert_config.json"))["do_lower_case"], true);
        // Programs that read tokenizer.json alone do the same.
        let alone = tokenizers::Tokenizer::from_file(output.join("tokenizer.json")).unwrap();
        let ids = texts.map(|text| alone.encode(text, true).unwrap().get_ids().to_vec());
        assert_eq!(ids[0], ids[1]);
        // So does training.
        let student = Student::open(&model, Machine::CPU).unwrap();
        let ids = texts.map(|text| student.tokens.tokenizer().encode(text, true).unwrap().get_ids().to_vec());
        assert_eq!(ids[0], ids[1]);
    }

    // transformers' key overrules tokenizer.json.
    let model = place.path().join("overruled");
    cased(&minilm, &model);
    let mut config = json_of(&model.join("tokenizer_config.json"));
    config["do_lower_case"] = json!(true);
    write(&model.join("tokenizer_config.json"), config.to_string());
    let (_, found) = vectors(&model);
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_default_prompt_comes_before_queries_and_documents() {
    let Some(minilm) = minilm() else { return };
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("model");
    copy(&minilm, &model);
    write(
        &model.join("config_sentence_transformers.json"),
        r#"{"prompts": {"default": "represent this sentence: "}, "default_prompt_name": "default", "similarity_fn_name": "cosine"}"#,
    );
    let output = place.path().join("onnx");
    export(&f32_only(&model, &output)).unwrap();
    let written = json_of(&output.join("config_sentence_transformers.json"));
    for name in ["query", "document", "default"] {
        assert_eq!(written["prompts"][name], "represent this sentence: ", "{written}");
    }
    assert_eq!(written["default_prompt_name"], "default");
    let encoder = SentenceEncoder::open(&output, &EncoderOptions::default()).unwrap();
    let bare = EncoderOptions::default().query_prompt(String::new());
    let bare = SentenceEncoder::open(&output, &bare).unwrap();
    let text = "crows bend wire";
    let expected = bare.encode(&[&format!("represent this sentence: {text}")], TextKind::Query).unwrap();
    for kind in [TextKind::Query, TextKind::Document] {
        assert_eq!(encoder.prompt(kind), "represent this sentence: ");
        assert_eq!(encoder.encode(&[text], kind).unwrap(), expected);
    }
    assert_ne!(bare.encode(&[text], TextKind::Query).unwrap(), expected);
}

const LFS: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 90868376\n";

#[test]
fn what_changes_a_vector_and_is_not_done_is_refused_by_file_and_key() {
    let modules = |kind: &str| {
        json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_X", "type": format!("sentence_transformers.models.{kind}")},
        ])
        .to_string()
    };
    let mut cases: Vec<(&str, String, &str)> = vec![
        (
            "sentence_bert_config.json",
            r#"{"tokenizer_args": {"do_lower_case": true}}"#.into(),
            "tokenizer_args.do_lower_case",
        ),
        ("sentence_bert_config.json", r#"{"query_length": 32}"#.into(), "query_length"),
        ("sentence_bert_config.json", r#"{"do_lower_case": "yes"}"#.into(), "do_lower_case"),
        ("sentence_bert_config.json", r#"{"strip": true}"#.into(), "strip"),
        ("config_sentence_transformers.json", r#"{"truncate_dim": 8}"#.into(), "truncate_dim"),
        ("config_sentence_transformers.json", r#"{"model_type": "SparseEncoder"}"#.into(), "SparseEncoder"),
        (
            "config_sentence_transformers.json",
            r#"{"prompts": {}, "default_prompt_name": "x"}"#.into(),
            "default_prompt_name",
        ),
        ("config_sentence_transformers.json", r#"{"prompts": {"query": 3}}"#.into(), "prompts.query"),
        ("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#.into(), "pooling_mode_max"),
        ("1_Pooling/config.json", r#"{"pooling_mode": "mean", "include_prompt": false}"#.into(), "include_prompt"),
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#.into(),
            "pooling_mode",
        ),
        ("tokenizer_config.json", r#"{"truncation_side": "left"}"#.into(), "truncation_side"),
        ("model.safetensors", LFS.into(), "Git LFS pointer"),
        ("tokenizer.json", LFS.into(), "Git LFS pointer"),
        ("config.json", LFS.into(), "Git LFS pointer"),
        ("model.safetensors", "short".into(), "safetensors"),
        ("tokenizer.json", "{".into(), "tokenizer"),
    ];
    for kind in ["Dense", "LayerNorm", "CNN", "LSTM", "WeightedLayerPooling", "Router", "Asym", "StaticEmbedding"] {
        cases.push(("modules.json", modules(kind), kind));
    }
    let source = common::tiny_model("bert");
    for (name, content, named) in cases {
        let place = tempfile::tempdir().unwrap();
        let model = place.path().join("model");
        copy(&source, &model);
        write(&model.join(name), &content);
        let output = place.path().join("out");
        let error = export(&f32_only(&model, &output)).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains(name), "{name} {content}: {error}");
        assert!(!output.exists());
    }
}

#[test]
fn a_model_may_be_named_as_on_the_hub() {
    let place = tempfile::tempdir().unwrap();
    let repository = place.path().join("models--org--tiny");
    copy(&common::tiny_model("bert"), &repository.join("snapshots/abc123"));
    write(&repository.join("refs/main"), "abc123");
    let rows = place.path().join("rows.jsonl");
    write(&rows, "{\"query\": \"crow tool\", \"positive\": \"wire hook\"}\n");
    let run = |arguments: &[&str]| {
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_adam-train"))
            .args(arguments)
            .env("HF_HUB_CACHE", place.path())
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap();
        (ended.status.code(), common::said(&ended))
    };
    let rows = rows.to_str().unwrap();
    let (code, text) = run(&["check", "--data", rows, "--model", "org/tiny"]);
    assert!(code == Some(0) && text.contains("million parameters"), "{text}");
    // In a file, too, where paths are relative to it.
    let file = place.path().join("run.toml");
    write(&file, "[student]\nmodel = \"org/tiny\"\n");
    let (code, text) = run(&["check", file.to_str().unwrap(), "--data", rows]);
    assert!(code == Some(0) && text.contains("million parameters"), "{text}");
    let (code, text) = run(&["check", "--data", rows, "--model", "org/other"]);
    assert!(code == Some(1) && text.contains("org/other") && text.contains("HF_HUB_OFFLINE"), "{text}");
}
