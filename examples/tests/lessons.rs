//! The lessons run, and say what they are meant to say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that differ at most, taken out and put in together.
const MOST: usize = 19;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lines of two texts that are not in their longest common sequence.
fn changed(a: &str, b: &str) -> usize {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let mut longest = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, one) in a.iter().enumerate() {
        for (j, other) in b.iter().enumerate() {
            longest[i + 1][j + 1] =
                if one == other { longest[i][j] + 1 } else { longest[i][j + 1].max(longest[i + 1][j]) };
        }
    }
    a.len() + b.len() - 2 * longest[a.len()][b.len()]
}

#[test]
fn dense_search_takes_under_twenty_lines() {
    assert_eq!(changed("a\nb\nc", "a\nx\nc\nd"), 3);
    let read = |name: &str| std::fs::read_to_string(here().join("add_dense_search").join(name)).unwrap();
    let lines = changed(&read("before.rs"), &read("after.rs"));
    assert!((1..=MOST).contains(&lines), "the diff of before.rs and after.rs has {lines} lines");
}

/// What a lesson prints. Cargo builds examples before it runs tests, beside the folder of the tests.
fn lesson(name: &str, words: &[&str]) -> String {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    let output = Command::new(program).args(words).output().unwrap_or_else(|error| {
        panic!("{name}: {error}; `cargo build --release -p adam-examples --examples` makes it")
    });
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// False, with a line that says why, where the lessons have no model.
fn has_model() -> bool {
    match adam_examples::model().and_then(|_| Ok(adam_encoder::runtime::init()?)) {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

#[test]
fn before_finds_words_and_after_finds_meaning() {
    let question = ["influence", "of", "the", "moon", "on", "the", "ocean"];
    assert!(lesson("before", &question).contains("Tides"));
    if has_model() {
        assert!(lesson("after", &question).contains("Tides"));
        // Not one word of it is in the text that answers it.
        let question = ["ocean", "level", "cycles"];
        assert!(!lesson("before", &question).contains("Tides"));
        assert!(lesson("after", &question).contains("Tides"));
    }
}

#[test]
fn a_custom_encoder_forgives_typing_errors() {
    let out = lesson("custom_encoder", &["invertd", "indx"]);
    let dense = out.split_once("dense\n").unwrap().1.split_once("hybrid\n").unwrap().0;
    assert!(dense.lines().next().unwrap().contains("Inverted index"), "{out}");
    let bm25 = out.split_once("dense\n").unwrap().0;
    assert!(!bm25.contains("Inverted index"), "{out}");
}

#[test]
fn a_cross_encoder_decides_the_order() {
    if !has_model() {
        return;
    }
    let pair: PathBuf = here().join("../encoder/tests/fixtures/tiny-pair");
    let out = lesson("rerank", &[pair.to_str().unwrap()]);
    let logits: Vec<f32> = out.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
    assert_eq!(logits.len(), 5);
    assert!(logits.is_sorted_by(|a, b| a >= b), "{out}");
    assert!(out.lines().next().unwrap().ends_with("rerank #1"), "{out}");
}
