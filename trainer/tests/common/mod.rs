//! A tiny model, tiny data and a run over them, for tests that train for real in seconds.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A stored model of six thousand random weights; see `tests/parity/make.py`.
pub(crate) fn tiny_model(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(family)
}

/// Words of the tiny models' vocabulary, by topic.
const TOPICS: [&[&str]; 6] = [
    &["crow", "tool", "wire", "hook", "food", "bend"],
    &["iron", "blood", "lack", "pale", "skin", "breath"],
    &["aurora", "light", "sun", "north", "pole", "heat"],
    &["wing", "lift", "body", "speed", "plan", "water"],
    &["drug", "cell", "gene", "protein", "heart", "lung"],
    &["train", "boil", "bone", "sea", "the", "with"],
];

/// A number below `below` that depends on what it is asked for.
fn pick(a: usize, b: usize, c: usize, below: usize) -> usize {
    let mut x = (a as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (b as u64 + 7).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        ^ ((c as u64 + 3) << 32);
    x ^= x >> 29;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 32;
    (x % below as u64) as usize
}

fn words(kind: usize, number: usize, count: usize) -> String {
    let topic = number % TOPICS.len();
    (0..count)
        .map(|place| {
            // Two of three words are of the topic.
            let from = if place % 3 < 2 { topic } else { pick(kind, number, place, TOPICS.len()) };
            TOPICS[from][pick(kind + 9, number, place, TOPICS[from].len())]
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A BEIR folder: 48 passages, as many queries as asked (half of them for training), words of the tiny vocabulary.
pub(crate) fn write_data(folder: &Path, queries: usize) {
    std::fs::create_dir_all(folder.join("qrels")).unwrap();
    let corpus: String = (0..48)
        .map(|i| {
            format!(
                "{{\"_id\": \"d{i}\", \"title\": \"{}\", \"text\": \"{}\"}}\n",
                words(1, i, 2),
                words(2, i, 6 + i % 17)
            )
        })
        .collect();
    std::fs::write(folder.join("corpus.jsonl"), corpus).unwrap();
    let all: String =
        (0..queries).map(|i| format!("{{\"_id\": \"q{i}\", \"text\": \"{}\"}}\n", words(3, i, 3 + i % 3))).collect();
    std::fs::write(folder.join("queries.jsonl"), all).unwrap();
    for (split, rest) in [("train", 0), ("test", 1)] {
        let mut rows = "query-id\tcorpus-id\tscore\n".to_owned();
        for i in (0..queries).filter(|i| i % 2 == rest) {
            rows.push_str(&format!("q{i}\td{}\t1\n", (i % TOPICS.len() + TOPICS.len() * pick(5, i, 0, 8)) % 48));
        }
        std::fs::write(folder.join("qrels").join(format!("{split}.tsv")), rows).unwrap();
    }
}

/// A run's configuration over that data, without anything that needs ONNX Runtime. More settings may follow.
pub(crate) fn configuration(data: &Path, output: &Path, more: &str) -> String {
    format!(
        r#"
[run]
output = {output:?}
seed = 3
threads = 1
checkpoint_minutes = 1e-9

[data]
path = {data:?}
hold_out = 0.2

[student]
model = {model:?}
query_length = 10
passage_length = 24

[mine]
dense = false
to_rank = 20
keep = 20

[teacher]
length = 38
query_length = 8
negatives = 3
to_rank = 12
accept_weak = true

[teacher.training]
epochs = 2
queries_per_step = 4
learning_rate = 2e-3
dropout = 0.1
evaluations = 1

[candidates]
negatives = 4
to_rank = 16

[dark]
reinforced = 2
noisy = 2

[distil]
epochs = 4
queries_per_step = 4
learning_rate = 1e-3
dropout = 0.1
evaluations = 1

[eval]
enabled = false
{more}
"#,
        model = tiny_model("bert")
    )
}

/// Runs `adam-train` to its end.
pub(crate) fn adam_train(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adam-train")).args(arguments).output().unwrap()
}

/// As text, for messages.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{:?}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
