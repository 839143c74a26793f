//! 64 clients at once while indexing goes on, then a power cut.
//!
//! Five seconds in the test suite. At length, with a real model and its figures:
//!
//! ```text
//! ADAM_LOAD_SECONDS=60 ADAM_LOAD_MODEL=.native/minilm-onnx \
//!   cargo test --release -p adam-cli --test serve_load -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod program;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use program::{Client, Program, has_runtime, tiny};

const WRITERS: usize = 8;
const READERS: usize = 56;
/// Most memory the server may hold, in MB: the writer's 64, the model, the index's pages, and 64 answers under way.
const MOST_MEGABYTES: u64 = 1500;

const WORDS: [&str; 24] = [
    "crow", "wire", "hook", "glass", "crystal", "river", "stone", "vitamin", "tumour", "sleep", "weight", "bread",
    "yeast", "flower", "nectar", "signal", "neuron", "protein", "cell", "winter", "feather", "engine", "copper",
    "salt",
];

/// A text that a number decides.
fn text(number: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = String::new();
    for _ in 0..8 + number % 24 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.push_str(WORDS[(state >> 33) as usize % WORDS.len()]);
        out.push(' ');
    }
    out
}

/// What one writer was promised. An id is there (`true`) or deleted (`false`).
#[derive(Default)]
struct Promises {
    accepted: BTreeMap<String, bool>,
    /// As of this writer's last commit that was acknowledged.
    committed: BTreeMap<String, bool>,
    /// Ids touched by a request that was not answered, so that nothing is known of them.
    unknown: Vec<String>,
    commits: usize,
}

fn write(address: SocketAddr, writer: usize, phase: &str, shared: &Shared, must_succeed: bool) -> Promises {
    let mut client = Client::new(address);
    let mut promises = Promises::default();
    let mut round = 0u64;
    while !shared.stop.load(Ordering::SeqCst) {
        round += 1;
        let ids: Vec<String> = (0..5).map(|at| format!("{phase}-{writer}-{}", (round * 5 + at) % 2000)).collect();
        let commit = round % 10 == 3;
        let deletes = round.is_multiple_of(7);
        let path =
            format!("/{}{}", if deletes { "delete" } else { "documents" }, if commit { "?commit=true" } else { "" });
        let body = if deletes {
            json!({"ids": ids})
        } else {
            Value::from_iter(ids.iter().enumerate().map(|(at, id)| {
                let number = round * 1000 + at as u64;
                json!({"id": id, "title": format!("document {round}"), "text": text(number), "metadata": {"round": round}})
            }))
        };
        match client.send("POST", &path, Some("application/json"), body.to_string().as_bytes()) {
            Ok(answer) => {
                assert_eq!(answer.status, if commit { 200 } else { 202 }, "{path}: {}", answer.text());
                promises.accepted.extend(ids.into_iter().map(|id| (id, !deletes)));
                if commit {
                    promises.committed = promises.accepted.clone();
                    promises.commits += 1;
                    shared.commits.fetch_add(1, Ordering::SeqCst);
                }
            }
            Err(fault) => {
                assert!(!must_succeed, "writer {writer}: {fault}");
                promises.unknown.extend(ids);
                break;
            }
        }
    }
    promises
}

/// Asks until told to stop; the time each answer took, by kind of question.
fn read(address: SocketAddr, reader: usize, shared: &Shared, must_succeed: bool) -> Vec<(&'static str, Duration)> {
    let mut client = Client::new(address);
    let mut times = Vec::new();
    let mut round = reader as u64;
    while !shared.stop.load(Ordering::SeqCst) {
        round += 1;
        let question = text(round).split(' ').take(4).collect::<Vec<_>>().join(" ");
        let (kind, path, body) = match round % 6 {
            0 => ("bm25", "/search", json!({"query": question, "mode": "bm25", "snippets": true})),
            1 => ("dense", "/search", json!({"query": question, "mode": "dense"})),
            2 | 3 => (
                "hybrid",
                "/search",
                json!({"query": question, "explain": true, "snippets": true, "filters": ["round:1.."]}),
            ),
            4 => ("embed", "/embed", json!({"inputs": [question, text(round)], "truncate": true})),
            _ => ("openai", "/v1/embeddings", json!({"input": text(round), "encoding_format": "base64"})),
        };
        let began = Instant::now();
        match client.send("POST", path, Some("application/json"), body.to_string().as_bytes()) {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
                times.push((kind, began.elapsed()));
            }
            Err(fault) => {
                assert!(!must_succeed, "reader {reader}: {fault}");
                break;
            }
        }
    }
    times
}

/// What the clients and the one who started them share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    commits: AtomicUsize,
}

struct Load {
    shared: Arc<Shared>,
    writers: Vec<std::thread::JoinHandle<Promises>>,
    readers: Vec<std::thread::JoinHandle<Vec<(&'static str, Duration)>>>,
}

impl Load {
    fn start(address: SocketAddr, phase: &'static str, must_succeed: bool) -> Self {
        let shared = Arc::new(Shared::default());
        let writers = (0..WRITERS).map(|at| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || write(address, at, phase, &shared, must_succeed))
        });
        let writers = writers.collect();
        let readers = (0..READERS).map(|at| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || read(address, at, &shared, must_succeed))
        });
        Self { writers, readers: readers.collect(), shared }
    }

    /// Waits so long, and where the machine is busy with other things, until something was committed.
    fn run(&self, time: Duration) {
        std::thread::sleep(time);
        let began = Instant::now();
        while self.shared.commits.load(Ordering::SeqCst) < WRITERS / 2 {
            assert!(began.elapsed() < Duration::from_secs(120), "no commit came to an end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(self) -> (Vec<Promises>, Vec<(&'static str, Duration)>) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let promises = self.writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (promises, self.readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect())
    }
}

fn report(times: &[(&'static str, Duration)]) {
    let mut kinds: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for &(kind, time) in times {
        kinds.entry(kind).or_default().push(time);
    }
    for (kind, mut times) in kinds {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_millis();
        println!(
            "{kind:>8} {:>7} answers, p50 {} ms, p99 {} ms, longest {} ms",
            times.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

/// Whether everything is as promised, asked of a running server.
fn check(address: SocketAddr, promised: &BTreeMap<String, bool>) {
    let mut client = Client::new(address);
    for (id, there) in promised {
        let answer = client.get(&format!("/documents/{id}"));
        assert_eq!(answer.status, if *there { 200 } else { 404 }, "{id}: {}", answer.text());
    }
}

#[test]
fn sixty_four_clients_and_a_power_cut() {
    if !has_runtime() {
        return;
    }
    let seconds: f64 = std::env::var("ADAM_LOAD_SECONDS").map_or(5.0, |text| text.parse().unwrap());
    let model = std::env::var("ADAM_LOAD_MODEL").map_or_else(
        |_| tiny(),
        |name| {
            let path = PathBuf::from(name);
            // Cargo runs tests in the package's folder; people name things from the workspace's.
            if path.is_dir() { path } else { PathBuf::from("..").join(path) }
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index");
    let arguments = [
        "--index",
        index.to_str().unwrap(),
        "--model",
        model.to_str().unwrap(),
        "--commit-every",
        "1",
        "--memory",
        "64",
    ];

    let program = Program::start(&arguments);
    let memory = |program: &Program, when: &str| {
        if let Some(megabytes) = program.megabytes() {
            println!("memory at the {when}: {megabytes} MB");
            assert!(megabytes < MOST_MEGABYTES, "{megabytes} MB");
        }
    };
    memory(&program, "start");
    let load = Load::start(program.address, "a", true);
    load.run(Duration::from_secs_f64(seconds / 2.0));
    memory(&program, "middle");
    load.run(Duration::from_secs_f64(seconds / 2.0));
    let (promises, times) = load.end();
    memory(&program, "end");
    let commits: usize = promises.iter().map(|promises| promises.commits).sum();
    let all: BTreeMap<String, bool> = promises.into_iter().flat_map(|promises| promises.accepted).collect();
    let alive = all.values().filter(|there| **there).count();
    println!(
        "{seconds} s, {} clients, no error; {alive} documents of {} ids, {commits} commits asked for",
        WRITERS + READERS,
        all.len()
    );
    report(&times);
    assert!(!times.is_empty() && alive > 0 && commits > 0);
    let mut client = Client::new(program.address);
    let commit = client.send("POST", "/commit", None, b"").unwrap();
    assert_eq!((commit.status, &commit.json()["documents"]), (200, &json!(alive)));
    check(program.address, &all);

    // The cut: in the middle of the same load, with a second generation of ids.
    let load = Load::start(program.address, "b", false);
    load.run(Duration::from_secs_f64((seconds / 4.0).min(10.0)));
    program.signal("KILL");
    let (promises, _) = load.end();
    assert_eq!(program.wait().0, None);

    let program = Program::start(&arguments);
    check(program.address, &all);
    let mut kept = 0;
    for writer in promises {
        // What was written after the commit may or may not have made it into a later one.
        let later: Vec<&String> = writer
            .accepted
            .iter()
            .filter(|(id, there)| writer.committed.get(*id) != Some(there))
            .map(|(id, _)| id)
            .chain(&writer.unknown)
            .collect();
        let certain: BTreeMap<String, bool> = writer
            .committed
            .iter()
            .filter(|(id, _)| !later.contains(id))
            .map(|(id, there)| (id.clone(), *there))
            .collect();
        kept += certain.len();
        check(program.address, &certain);
    }
    println!(
        "killed and started again: the {} ids before and {kept} of the cut's own are as they were acknowledged",
        all.len()
    );
    assert!(kept > 0, "nothing had been committed when the cut came");
    program.signal("TERM");
    let (code, said) = program.wait();
    assert_eq!(code, Some(0), "{said}");
}
