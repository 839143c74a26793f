//! Tokenizer files that are meant to take all time or memory, or to end the program: each is refused by name, or the text is.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::{Duration, Instant};

use adam_encoder::{EncoderError, EncoderOptions, SentenceEncoder, TextEncoder, TextKind};
use common::*;
use serde_json::{Value, json};

/// What becomes of a text with a tokenizer that was changed: its vector or what was said.
fn outcome(change: impl FnOnce(&mut Value), text: &str) -> Result<Vec<f32>, EncoderError> {
    let folder = copy_of("tiny-both");
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer = read_json(&path);
    change(&mut tokenizer);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let begun = Instant::now();
    let encoded = SentenceEncoder::open(folder.path(), &EncoderOptions::default())
        .and_then(|encoder| Ok(encoder.encode(&["crow", text], TextKind::Document)?.remove(1)));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    encoded
}

fn split(regex: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
}

#[test]
fn costly_expressions_fail_the_text_and_name_the_file() {
    if !has_runtime() {
        return;
    }
    let long = format!("{}!", "a".repeat(40));
    let repeated = format!("{}!", "a".repeat(20)).repeat(10_000);
    for (regex, text) in [("(a+)+$", &long), ("((a|aa)+)+[bc]", &long), ("(a+)+$|!", &repeated)] {
        let fault = outcome(|file| file["pre_tokenizer"] = split(regex), text).expect_err(regex);
        assert!(matches!(&fault, EncoderError::Text { position: 1, .. }), "{regex}: {fault}");
        let said = fault.to_string();
        assert!(said.contains("tokenizer.json") && said.contains("expression"), "{regex}: {said}");
        let normalizer = json!({"type": "Replace", "pattern": {"Regex": regex}, "content": "b"});
        let fault = outcome(|file| file["normalizer"] = normalizer, text).expect_err(&format!("normaliser {regex}"));
        assert!(matches!(&fault, EncoderError::Text { position: 1, .. }), "{regex}: {fault}");
    }
    let grows = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(1000)});
    let fault = outcome(|file| file["normalizer"] = json!({"type": "Sequence", "normalizers": vec![grows; 4]}), "aaaa");
    let said = fault.unwrap_err().to_string();
    assert!(said.contains("tokenizer.json") && said.contains("bytes and more of"), "{said}");
    for regex in ["(((", "((a{0,1000}){0,1000}){0,1000}", "[", r"\p{Nonsense}", "(?<=a*)b"] {
        let fault = outcome(|file| file["pre_tokenizer"] = split(regex), "a");
        if let Err(fault) = fault {
            assert!(fault.to_string().contains("tokenizer.json"), "{regex}: {fault}");
        }
    }
}

#[test]
fn files_that_cannot_work_are_refused_by_name() {
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let template = |single: Value, tokens: Value| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [sequence("A"), sequence("B")],
            "special_tokens": tokens})
    };
    let many = json!({"[CLS]": {"id": "[CLS]", "ids": vec![2; 1000], "tokens": vec!["[CLS]"; 1000]}});
    let cases: Vec<(Box<dyn FnOnce(&mut Value)>, &str)> = vec![
        (
            Box::new(|file| file["post_processor"] = template(json!([special("[NO]"), sequence("A")]), json!({}))),
            "`[NO]`",
        ),
        (
            Box::new(|file| file["post_processor"] = template(json!([sequence("A"), sequence("B")]), json!({}))),
            "text B",
        ),
        (
            Box::new(move |file| {
                file["post_processor"] = template(json!([special("[CLS]"), sequence("A")]), many);
            }),
            "1000 tokens",
        ),
        (Box::new(|file| file["model"]["vocab"]["crow"] = json!(-1)), "tokenizer"),
        (Box::new(|file| drop(file.as_object_mut().unwrap().remove("model"))), "Model missing"),
        (Box::new(|file| file["model"]["type"] = json!("Nonsense")), "tokenizer"),
        (Box::new(|file| file["model"] = json!({"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]]})), "tokenizer"),
        (
            Box::new(|file| {
                file["model"] = json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b".repeat(5000), 0.0]]});
            }),
            "piece",
        ),
        (
            Box::new(|file| {
                file["model"] = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": u64::MAX >> 1, "vocab": {"[UNK]": 0, "x": 1, "##x": 2}});
            }),
            "max_input_chars_per_word",
        ),
        (
            Box::new(|file| file["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="})),
            "charsmap",
        ),
        (Box::new(|file| file["truncation"] = json!({"direction": "Sideways"})), "tokenizer"),
    ];
    for (change, word) in cases {
        let said = outcome(change, "crow").unwrap_err().to_string();
        let named = said.contains("tokenizer.json") || said.contains("max_length") || said.contains("truncation_side");
        assert!(named && said.contains(word), "{word}: {said}");
    }
}

#[test]
fn ids_that_the_model_does_not_have_are_its_failure() {
    if !has_runtime() {
        return;
    }
    for id in [99_999u32, u32::MAX] {
        let said = outcome(
            |file| {
                file["added_tokens"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"id": id, "content": "zz", "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
            },
            "zz",
        );
        if let Err(fault) = said {
            assert!(
                fault.to_string().contains("model.onnx") || fault.to_string().contains("tokenizer.json"),
                "{fault}"
            );
        }
    }
    // A word as long as a book, which no piece is for.
    outcome(|_| {}, &"x".repeat(2 << 20)).unwrap();
}
