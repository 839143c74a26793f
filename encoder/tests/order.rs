//! What must hold whatever the texts: order, number, independence of batches and sessions, no NaN.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::OnceLock;

use adam_encoder::{EncoderOptions, SentenceEncoder, TextEncoder, TextKind};
use common::*;
use proptest::prelude::*;

fn folder() -> tempfile::TempDir {
    let folder = copy_of("tiny-both");
    write_modules(folder.path(), true);
    write_pooling(folder.path(), &["mean"], true);
    folder
}

fn encoder(batch_tokens: usize, sessions: usize) -> Option<SentenceEncoder> {
    has_runtime().then(|| {
        let options = EncoderOptions::default().batch_tokens(batch_tokens).sessions(sessions);
        SentenceEncoder::open(folder().path(), &options).unwrap()
    })
}

/// One encoder with small batches and two sessions, one with a batch for each text.
fn encoders() -> Option<&'static (SentenceEncoder, SentenceEncoder)> {
    static BOTH: OnceLock<Option<(SentenceEncoder, SentenceEncoder)>> = OnceLock::new();
    BOTH.get_or_init(|| Some((encoder(64, 2)?, encoder(1, 1)?))).as_ref()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn vectors_come_in_the_order_of_the_texts(texts in proptest::collection::vec("\\PC{0,60}", 0..40)) {
        if let Some((batched, single)) = encoders() {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut seen = Vec::new();
            let vectors = batched
                .encode_with_progress(&texts, TextKind::Document, &mut |done| seen.push(done))
                .unwrap();
            prop_assert_eq!(vectors.len(), texts.len());
            prop_assert!(seen.is_sorted());
            prop_assert_eq!(seen.last().copied().unwrap_or(0), texts.len());
            let alone: Vec<Vec<f32>> = texts
                .iter()
                .map(|text| single.encode(&[text], TextKind::Document).unwrap().remove(0))
                .collect();
            prop_assert!(difference(&vectors, &alone) < 1e-5);
        }
    }
}

#[test]
fn empty_texts_are_finite_vectors() {
    let Some((batched, _)) = encoders() else { return };
    for texts in [&[][..], &[""], &["", " ", "\n\t", "\u{200b}", "\0"]] {
        let vectors = batched.encode(texts, TextKind::Query).unwrap();
        assert_eq!(vectors.len(), texts.len());
        assert!(vectors.iter().flatten().all(|value| value.is_finite()));
    }
}

/// Many callers at once on few sessions: each gets its own answer.
#[test]
fn callers_do_not_mix() {
    let Some((batched, single)) = encoders() else { return };
    std::thread::scope(|scope| {
        for caller in 0..8 {
            scope.spawn(move || {
                for round in 0..20 {
                    let text = format!("crow number {caller} in round {round}");
                    let ours = batched.encode(&[&text], TextKind::Document).unwrap();
                    let alone = single.encode(&[&text], TextKind::Document).unwrap();
                    assert!(difference(&ours, &alone) < 1e-5);
                }
            });
        }
    });
}

/// A text far above the model's length costs little, and gives what its beginning gives.
#[test]
fn very_long_texts() {
    let Some((_, single)) = encoders() else { return };
    let line = "crows bend wire into hooks and plants grow from light ";
    let long = line.repeat(200_000);
    assert!(long.len() > 10_000_000);
    let started = std::time::Instant::now();
    let vectors = single.encode(&[&long, &line.repeat(50)], TextKind::Document).unwrap();
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    assert!(difference(&vectors[..1], &vectors[1..]) < 1e-6);
    // No white space at all: still bounded.
    let word = "x".repeat(10_000_000);
    let started = std::time::Instant::now();
    let vectors = single.encode(&[&word], TextKind::Document).unwrap();
    assert!(vectors[0].iter().all(|value| value.is_finite()));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn a_shorter_length_cuts_texts() {
    if !has_runtime() {
        return;
    }
    let folder = folder();
    let options = |tokens: Option<usize>| EncoderOptions::default().max_length(tokens);
    let short = SentenceEncoder::open(folder.path(), &options(Some(6))).unwrap();
    let vectors = short.encode(&["crows bend wire into hooks", "crows bend wire in"], TextKind::Document).unwrap();
    assert_eq!(short.max_length(), 6);
    // [CLS] crows bend wire in [SEP]: the first text splits "into" to "in" + "##t" ..., so both are cut to the same.
    assert!(difference(&vectors[..1], &vectors[1..]) < 1e-6);
    // [CLS] and [SEP] take two.
    assert_eq!(short.room(TextKind::Document), 4);
    let prompted = options(Some(20)).query_prompt("what is ".to_owned());
    let prompted = SentenceEncoder::open(folder.path(), &prompted).unwrap();
    assert_eq!((prompted.room(TextKind::Query), prompted.room(TextKind::Document)), (16, 18));
    let tokenizer = short.tokenizer();
    assert_eq!(short.token_ranges("crows bend wire into hooks").unwrap().len(), 8);
    assert!(tokenizer.count("crows bend wire into hooks").unwrap() > 6);
    let text = "crows bend wire into hooks";
    let ranges = tokenizer.offsets(text).unwrap();
    assert_eq!(&text[ranges[0].clone()], "crows");
    assert_eq!(ranges.last().unwrap().end, text.len());
    assert!(ranges.is_sorted_by_key(|range| range.start));

    let message = SentenceEncoder::open(folder.path(), &options(Some(41))).unwrap_err().to_string();
    assert!(message.contains("40 positions"), "{message}");
}
