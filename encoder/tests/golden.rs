//! Vectors and scores against those of sentence-transformers and transformers themselves (tests/fixtures/make.py).
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use adam_encoder::{EncoderOptions, PairScorer, Precision, Provider, SentenceEncoder, TextEncoder, TextKind};
use common::*;

fn open(folder: &std::path::Path) -> SentenceEncoder {
    SentenceEncoder::open(folder, &EncoderOptions::default()).unwrap()
}

#[test]
fn every_pooling_mode() {
    if !has_runtime() {
        return;
    }
    let golden = golden();
    let texts = texts(&golden["texts"]);
    for (name, expected) in golden["pooling"].as_object().unwrap() {
        let folder = copy_of("tiny");
        write_modules(folder.path(), false);
        let modes: Vec<&str> = name.split('+').collect();
        write_pooling(folder.path(), &modes, true);
        let encoder = open(folder.path());
        assert_eq!(encoder.dimension(), 16 * modes.len());
        let vectors = encoder.encode(&texts, TextKind::Document).unwrap();
        let off = difference(&vectors, &rows(expected));
        assert!(off < 1e-5, "{name}: {off}");
    }
}

#[test]
fn normalised_with_prompts_from_the_folder() {
    if !has_runtime() {
        return;
    }
    let golden = golden();
    let texts = texts(&golden["texts"]);
    let folder = copy_of("tiny");
    write_modules(folder.path(), true);
    write_pooling(folder.path(), &["mean"], true);
    let prompts = serde_json::json!({"prompts": {"query": golden["prompt"], "document": ""}});
    write(folder.path(), "config_sentence_transformers.json", &prompts.to_string());
    let encoder = open(folder.path());
    let documents = encoder.encode(&texts, TextKind::Document).unwrap();
    assert!(difference(&documents, &rows(&golden["normalize"])) < 1e-5);
    let queries = encoder.encode(&texts, TextKind::Query).unwrap();
    assert!(difference(&queries, &rows(&golden["prompted"])) < 1e-5);

    // The same prompt as an option, over a folder without one.
    std::fs::remove_file(folder.path().join("config_sentence_transformers.json")).unwrap();
    let options = EncoderOptions::default().query_prompt(golden["prompt"].as_str().map(str::to_owned));
    let by_option = SentenceEncoder::open(folder.path(), &options).unwrap();
    let queries = by_option.encode(&texts, TextKind::Query).unwrap();
    assert!(difference(&queries, &rows(&golden["prompted"])) < 1e-5);
    assert_eq!(by_option.fingerprint(), encoder.fingerprint());
    assert_ne!(by_option.fingerprint(), open(folder.path()).fingerprint());
}

#[test]
fn prompt_left_out_of_the_pooling() {
    if !has_runtime() {
        return;
    }
    let golden = golden();
    let folder = copy_of("tiny-both");
    write_modules(folder.path(), false);
    write_pooling(folder.path(), &["mean"], false);
    let prompts = serde_json::json!({"prompts": {"p": golden["prompt"]}, "default_prompt_name": "p"});
    write(folder.path(), "config_sentence_transformers.json", &prompts.to_string());
    let vectors = open(folder.path()).encode(&texts(&golden["texts"]), TextKind::Document).unwrap();
    let off = difference(&vectors, &rows(&golden["prompt_left_out"]));
    assert!(off < 1e-5, "{off}");
}

/// Dense layers, a residual, a layer normalisation: the folder as a recent sentence-transformers saved it.
#[test]
fn layers_in_the_newer_dialect() {
    if !has_runtime() {
        return;
    }
    let golden = golden();
    let folder = copy_of("tiny");
    copy_into(&fixture("newer"), folder.path());
    let encoder = open(folder.path());
    assert_eq!(encoder.dimension(), 8);
    let vectors = encoder.encode(&texts(&golden["texts"]), TextKind::Document).unwrap();
    let off = difference(&vectors, &rows(&golden["layers"]));
    assert!(off < 1e-5, "{off}");
}

/// The graph's own sentence vector is used where it agrees with the folder, and left aside where it does not.
#[test]
fn the_folder_decides_over_the_graph() {
    if !has_runtime() {
        return;
    }
    let golden = golden();
    let texts = texts(&golden["texts"]);
    let folder = copy_of("tiny-both");
    write_modules(folder.path(), true);
    write_pooling(folder.path(), &["mean"], true);
    let vectors = open(folder.path()).encode(&texts, TextKind::Document).unwrap();
    assert!(difference(&vectors, &rows(&golden["normalize"])) < 1e-5);

    // The graph normalises; asked not to, the token vectors are pooled here.
    let options = EncoderOptions::default().normalize(false);
    let plain = SentenceEncoder::open(folder.path(), &options).unwrap();
    let vectors = plain.encode(&texts, TextKind::Document).unwrap();
    assert!(difference(&vectors, &rows(&golden["pooling"]["mean"])) < 1e-5);

    write_modules(folder.path(), false);
    write_pooling(folder.path(), &["cls"], true);
    let vectors = open(folder.path()).encode(&texts, TextKind::Document).unwrap();
    assert!(difference(&vectors, &rows(&golden["pooling"]["cls"])) < 1e-5);
}

/// A folder as optimum exports it says nothing of pooling; the graph, whose own vectors are normalised, does.
#[test]
fn the_graph_decides_where_the_folder_says_nothing() {
    if !has_runtime() {
        return;
    }
    let golden = golden();
    let texts = texts(&golden["texts"]);
    let folder = copy_of("tiny-both");
    let exported = open(folder.path());
    let vectors = exported.encode(&texts, TextKind::Document).unwrap();
    assert!(difference(&vectors, &rows(&golden["normalize"])) < 1e-5);

    // Where the folder asks for the mean it is the mean, and another function with another fingerprint.
    write_pooling(folder.path(), &["mean"], true);
    let asked = open(folder.path());
    let vectors = asked.encode(&texts, TextKind::Document).unwrap();
    assert!(difference(&vectors, &rows(&golden["pooling"]["mean"])) < 1e-5);
    assert_ne!(exported.fingerprint(), asked.fingerprint());

    // Without a sentence output the guess is all there is.
    let vectors = open(&fixture("tiny")).encode(&texts, TextKind::Document).unwrap();
    assert!(difference(&vectors, &rows(&golden["pooling"]["mean"])) < 1e-5);
}

#[test]
fn pairs_are_scored_as_transformers_does() {
    if !has_runtime() {
        return;
    }
    let golden = golden();
    let pairs: Vec<(String, String)> = serde_json::from_value(golden["pairs"].clone()).unwrap();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let expected: Vec<f32> = serde_json::from_value(golden["scores"].clone()).unwrap();
    for sessions in [1, 3] {
        let options = EncoderOptions::default().sessions(sessions).batch_tokens(50);
        let scorer = PairScorer::open(fixture("tiny-pair"), &options).unwrap();
        let mut last = 0;
        let scores = scorer.score_with_progress(&pairs, &mut |done| last = done).unwrap();
        assert_eq!(last, pairs.len());
        let off = difference(&[scores], std::slice::from_ref(&expected));
        assert!(off < 1e-5, "{off}");
    }
    assert!(PairScorer::open(fixture("tiny"), &EncoderOptions::default()).is_err());
    // Nor does one that scores pairs make vectors.
    let refused = SentenceEncoder::open(fixture("tiny-pair"), &EncoderOptions::default()).err().unwrap().to_string();
    assert!(refused.contains("a cross-encoder"), "{refused}");
}

/// Nothing falls back to the CPU in silence; what is wanting is said.
#[test]
fn a_provider_that_is_not_there_is_refused_with_what_to_do() {
    if !has_runtime() {
        return;
    }
    let options = EncoderOptions::default().providers([Provider::Cuda(0)]);
    match SentenceEncoder::open(fixture("tiny"), &options) {
        Ok(_) => println!("skipped: this machine has CUDA"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("model.onnx") && text.contains("onnxruntime-gpu"), "{text}");
        }
    }
}

/// all-MiniLM-L6-v2, exported to ONNX by `make`, against sentence-transformers' own vectors.
#[test]
fn minilm() {
    let folder = native("minilm-onnx");
    if !folder.join("modules.json").is_file() {
        println!(
            "skipped: .native/minilm-onnx is not there; `adam-train export --model .native/all-MiniLM-L6-v2 --output .native/minilm-onnx` makes it"
        );
        return;
    }
    if !has_runtime() {
        return;
    }
    let golden = read_json(&fixture("minilm.json"));
    let texts = texts(&golden["texts"]);
    let options = EncoderOptions::default()
        .query_prompt(golden["prompt"].as_str().map(str::to_owned))
        .document_prompt(String::new());
    let encoder = SentenceEncoder::open(&folder, &options).unwrap();
    let head = |vectors: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
        vectors
            .into_iter()
            .map(|vector| {
                let length: f32 = vector.iter().map(|value| value * value).sum();
                assert!((length - 1.0).abs() < 1e-5);
                vector[..24].to_vec()
            })
            .collect()
    };
    let documents = head(encoder.encode(&texts, TextKind::Document).unwrap());
    let off = difference(&documents, &rows(&golden["vectors"]));
    assert!(off < 1e-4, "{off}");
    let queries = head(encoder.encode(&texts, TextKind::Query).unwrap());
    let off = difference(&queries, &rows(&golden["prompted"]));
    assert!(off < 1e-4, "{off}");

    let half = options.clone().precision(Precision::F16);
    let half = SentenceEncoder::open(&folder, &half).unwrap();
    assert_ne!(half.fingerprint(), encoder.fingerprint());
    let exact = encoder.encode(&texts, TextKind::Document).unwrap();
    let off = difference(&half.encode(&texts, TextKind::Document).unwrap(), &exact);
    println!("f16 against f32: {off:.1e}");
    assert!(off < 2e-3, "f16 against f32: {off}");

    let int8 = options.precision(Precision::Int8);
    let small = SentenceEncoder::open(&folder, &int8).unwrap();
    assert_ne!(small.fingerprint(), encoder.fingerprint());
    let rough = small.encode(&texts, TextKind::Document).unwrap();
    for (a, b) in exact.iter().zip(&rough) {
        let cosine: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
        assert!(cosine > 0.95, "int8 against f32: cosine {cosine}");
    }
}
