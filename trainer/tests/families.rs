//! Every family of encoders against transformers, by the values that `tests/parity/make.py` stored, and as ONNX.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use adam_encoder::{EncoderOptions, Precision, SentenceEncoder, TextEncoder, TextKind};
use adam_train::export::{ExportOptions, export};
use adam_train::model::{Encoder, Input, Layout, Mode, Pooling, Sequence, Student};
use adam_train::torch::Machine;
use common::tiny_model;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

#[derive(Deserialize)]
struct Stored {
    ids: Vec<Vec<u32>>,
    mean: Vec<Vec<f64>>,
    first: Vec<Vec<f64>>,
}

fn stored() -> BTreeMap<String, Stored> {
    let path = tiny_model("families.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    Vec::try_from(tensor.to_kind(Kind::Double)).unwrap()
}

fn largest(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn unit(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    rows.iter()
        .map(|row| {
            let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            row.iter().map(|v| v / length).collect()
        })
        .collect()
}

#[test]
fn every_family_computes_what_transformers_computes() {
    let all = stored();
    assert_eq!(all.len(), 5);
    for (family, stored) in &all {
        for packed in [false, true] {
            check_forward(family, stored, Machine { packed, ..Machine::CPU });
        }
    }
}

fn check_forward(family: &str, stored: &Stored, machine: Machine) {
    let encoder = Encoder::open(&tiny_model(family), machine).unwrap();
    let layout = encoder.layout();
    // A bias by distance cannot be packed: such a model is padded whatever is asked for.
    assert_eq!(layout.packed, machine.packed && family != "mpnet");
    let sequences: Vec<Sequence<'_>> =
        stored.ids.iter().map(|ids| Sequence { second: ids.len(), ids: Cow::Borrowed(ids.as_slice()) }).collect();
    let members: Vec<&Sequence<'_>> = sequences.iter().collect();
    let input = layout.input(&members).unwrap();
    let tokens = tch::no_grad(|| encoder.forward(&input, encoder.inference())).unwrap();
    for (pooling, expected) in [(Pooling::Mean, &stored.mean), (Pooling::Cls, &stored.first)] {
        let found = rows(&pooling.pool_batch(&tokens, &input).unwrap());
        let difference = largest(&found, expected);
        assert!(difference < 1e-4, "{family}, {pooling:?}: {difference}");
        println!("{family}, {}, {pooling:?}: {difference:.1e}", machine.describe());
    }
    // Company changes nothing: each text alone gives the same.
    for (sequence, expected) in sequences.iter().zip(&stored.mean) {
        let alone = layout.input(&[sequence]).unwrap();
        let tokens = tch::no_grad(|| encoder.forward(&alone, encoder.inference())).unwrap();
        let found = rows(&Pooling::Mean.pool_batch(&tokens, &alone).unwrap());
        assert!(largest(&found, std::slice::from_ref(expected)) < 1e-4, "{family} alone");
    }
    // bf16 is the same model in coarser numbers, and every weight gets a gradient in f32.
    let mode = Mode { compute: Kind::BFloat16, dropout: 0.0 };
    let tokens = encoder.forward(&input, mode).unwrap();
    let pooled = Pooling::Mean.pool_batch(&tokens, &input).unwrap();
    let (coarse, fine) = (unit(&rows(&pooled)), unit(&stored.mean));
    for (a, b) in coarse.iter().zip(&fine) {
        let cosine: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.99, "{family}, bf16: cosine {cosine}");
    }
    (pooled * Tensor::from_slice(&fine.concat()).view([4, 16]).to_kind(Kind::Float)).sum(Kind::Float).backward();
    for (name, tensor) in encoder.parameters.names().iter().zip(encoder.parameters.tensors()) {
        let gradient = tensor.grad();
        assert!(gradient.defined() && gradient.kind() == Kind::Float, "{family}: {name} has no f32 gradient");
        assert!(f64::try_from(gradient.abs().sum(Kind::Double)).unwrap().is_finite(), "{family}: {name}");
    }
}

/// Texts of one and of two parts, in any order of lengths, several of one length.
fn mixed_texts() -> Vec<Sequence<'static>> {
    [(9, 9), (3, 3), (14, 6), (9, 4), (1, 1), (14, 14), (9, 9)]
        .iter()
        .enumerate()
        .map(|(at, &(length, second))| {
            let ids: Vec<u32> = (0..length).map(|place| 5 + (at as u32 * 7 + place * 3) % 40).collect();
            Sequence { ids: ids.into(), second: second as usize }
        })
        .collect()
}

#[test]
fn packed_batches_give_the_vectors_and_gradients_of_padded_ones() {
    for family in stored().keys().filter(|family| *family != "mpnet") {
        let encoder = Encoder::open(&tiny_model(family), Machine::CPU).unwrap();
        let texts = mixed_texts();
        let members: Vec<&Sequence<'_>> = texts.iter().collect();
        for pooling in [Pooling::Mean, Pooling::Cls] {
            let mut found = Vec::new();
            for packed in [false, true] {
                let input = Layout { packed, ..encoder.layout() }.input(&members).unwrap();
                assert_eq!(matches!(input, Input::Packed(_)), packed);
                assert_eq!(input.tokens(), if packed { 59 } else { 7 * 14 });
                let tokens = encoder.forward(&input, encoder.inference()).unwrap();
                let vectors = pooling.pool_batch(&tokens, &input).unwrap();
                let weight = Tensor::arange(7 * 16, (Kind::Float, Device::Cpu)).sin().view([7, 16]);
                (&vectors * weight).sum(Kind::Float).backward();
                let gradients: Vec<Tensor> = encoder
                    .parameters
                    .tensors()
                    .iter()
                    .map(|t| {
                        let gradient = t.grad().copy();
                        let _ = t.grad().zero_();
                        gradient
                    })
                    .collect();
                found.push((vectors.detach(), gradients));
            }
            let difference = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
            assert!(difference(&found[0].0, &found[1].0) < 1e-5, "{family}, {pooling:?}");
            for (at, name) in encoder.parameters.names().iter().enumerate() {
                let (padded, packed) = (&found[0].1[at], &found[1].1[at]);
                let scale = padded.abs().max().double_value(&[]).max(1.0);
                assert!(difference(padded, packed) < 1e-5 * scale, "{family}, {pooling:?}: gradient of {name}");
            }
        }
    }
}

#[test]
fn every_family_is_exported_and_the_files_give_what_transformers_gives() {
    for (family, stored) in &stored() {
        let place = tempfile::tempdir().unwrap();
        let output = place.path().join(family);
        // The export itself refuses a file that differs from the trainer's forward pass; here the reference is transformers.
        let exported = export(&ExportOptions::new(tiny_model(family), &output)).unwrap();
        let names: Vec<&str> = exported.files.iter().map(|file| file.name.as_str()).collect();
        assert!(names.contains(&"onnx/model.onnx") && names.contains(&"onnx/model_quantized.onnx"), "{names:?}");
        for (name, why) in &exported.left_out {
            println!("{family}: {name} left out: {why}");
        }
        let student = Student::open(&output, Machine::CPU).unwrap();
        let pooled = if student.pooling == Pooling::Cls { &stored.first } else { &stored.mean };
        let expected = if student.normalised { unit(pooled) } else { pooled.clone() };
        // As texts: the stored ids without the special tokens around them.
        let texts: Vec<String> = stored
            .ids
            .iter()
            .map(|ids| student.tokens.tokenizer().decode(&ids[1..ids.len() - 1], false).unwrap())
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoder = SentenceEncoder::open(&output, &EncoderOptions::default().precision(Precision::F32)).unwrap();
        let found: Vec<Vec<f64>> = encoder
            .encode(&texts, TextKind::Document)
            .unwrap()
            .into_iter()
            .map(|row| row.into_iter().map(f64::from).collect())
            .collect();
        let difference = largest(&found, &expected);
        assert!(difference < 1e-4, "{family}: {difference}");
        println!("{family}: ONNX differs from transformers by {difference:.1e}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let source = tiny_model("bert");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(source.join(name), place.path().join(name)).unwrap();
    }
    let config = std::fs::read_to_string(source.join("config.json")).unwrap();
    for (from, to, named) in [
        ("\"model_type\": \"bert\"", "\"model_type\": \"t5\"", "\"t5\""),
        ("\"model_type\": \"bert\"", "\"model_type\": \"deberta-v2\"", "\"deberta-v2\""),
        ("\"model_type\": \"bert\"", "\"model_type\": \"modernbert\"", "\"modernbert\""),
        ("\"absolute\"", "\"relative_key\"", "relative_key"),
        ("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"swish\"", "swish"),
        ("\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "num_attention_heads"),
    ] {
        assert!(config.contains(from), "{from}");
        std::fs::write(place.path().join("config.json"), config.replace(from, to)).unwrap();
        let error = Encoder::open(place.path(), Machine::CPU).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("config.json"), "{error}");
    }
}
