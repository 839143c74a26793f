//! Vectors and scores in memory of the caller.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::ops::ControlFlow;

use adam_encoder::{EncoderError, EncoderOptions, PairScorer, SentenceEncoder, TextEncoder, TextKind};
use common::*;

/// Texts of several batches.
fn texts() -> Vec<String> {
    (0..200).map(|number| format!("crows bend wire {}", "into hooks ".repeat(number % 7))).collect()
}

#[test]
fn rows_are_those_of_encode() {
    if !has_runtime() {
        return;
    }
    let folder = copy_of("tiny");
    write_modules(folder.path(), true);
    write_pooling(folder.path(), &["mean"], true);
    let encoder = SentenceEncoder::open(folder.path(), &EncoderOptions::default().batch_tokens(64)).unwrap();
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut rows = vec![f32::NAN; texts.len() * encoder.dimension()];
    let address = rows.as_ptr();
    let mut heard = Vec::new();
    encoder
        .encode_into(&texts, TextKind::Document, &mut rows, &mut |done| {
            heard.push(done);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(rows.as_ptr(), address);
    assert_eq!(rows, encoder.encode(&texts, TextKind::Document).unwrap().concat());
    assert!(heard.len() > 10 && heard.is_sorted() && heard.last() == Some(&texts.len()), "{heard:?}");

    let short = encoder.encode_into(&texts, TextKind::Document, &mut rows[1..], &mut |_| ControlFlow::Continue(()));
    assert!(matches!(short, Err(EncoderError::Rows { .. })), "{short:?}");
    let mut batches = 0;
    let stopped = encoder.encode_into(&texts, TextKind::Document, &mut rows, &mut |_| {
        batches += 1;
        if batches == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(EncoderError::Stopped)) && batches == 3, "{stopped:?} {batches}");
    encoder.encode_into(&[], TextKind::Query, &mut [], &mut |_| ControlFlow::Break(())).unwrap();
}

#[test]
fn scores_are_those_of_score() {
    if !has_runtime() {
        return;
    }
    let folder = copy_of("tiny-pair");
    let scorer = PairScorer::open(folder.path(), &EncoderOptions::default().batch_tokens(64)).unwrap();
    let texts = texts();
    let pairs: Vec<(&str, &str)> = texts.iter().map(|text| ("do crows use tools", text.as_str())).collect();
    let mut scores = vec![f32::NAN; pairs.len()];
    scorer.score_into(&pairs, &mut scores, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(scores, scorer.score(&pairs).unwrap());
    let short = scorer.score_into(&pairs, &mut scores[1..], &mut |_| ControlFlow::Continue(()));
    assert!(matches!(short, Err(EncoderError::Rows { .. })), "{short:?}");
    let stopped = scorer.score_into(&pairs, &mut scores, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(EncoderError::Stopped)), "{stopped:?}");
}
