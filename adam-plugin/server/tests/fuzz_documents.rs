//! Documents that nobody would write, for `ADAM_FUZZ_SECONDS` (2 by default): no panic, no answer of a failed server, and the same
//! documents taken from a file, over HTTP and by the library.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod http;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adam_encoder::{EncoderOptions, Precision, SentenceEncoder};
use adam_plugin::engine::Document;
use adam_plugin::{Engine, PinnedModel};
use adam_server::{Server, Service, ServiceOptions};
use beir_eval::{Collection, Keep, OnWrongLine, ReadOptions};

/// Numbers from a seed, the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const NAMES: [&str; 12] =
    ["_id", "id", "title", "text", "metadata", "vector", "docno", "a.b", "", "\\u0000", "ключ", "adam_parent"];
const LEAVES: [&str; 31] = [
    "null",
    "true",
    "NaN",
    "-Infinity",
    "Infinity",
    "0",
    "-0.0",
    "1.0",
    "1e22",
    "1e999",
    "12345678901234567890123",
    "-7",
    "18446744073709551616",
    "\"\"",
    "\" \"",
    "\"crow\"",
    "\"2024-05-31\"",
    "\"9999-12-31T23:59:59-05:00\"",
    "\"0000-01-01T00:00:00+05:00\"",
    "\"\\ud800\"",
    "\"\\u202e\"",
    "\"/a/b\"",
    "\"a\\u0000b\"",
    "[]",
    "{}",
    "[1,2]",
    "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]",
    "[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,NaN]",
    "[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]",
    "[1e39,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]",
    "tru",
];

fn value(random: &mut Random, depth: usize) -> String {
    match random.below(if depth > 3 { 1 } else { 5 }) {
        0..=2 => random.of(&LEAVES).to_owned(),
        3 => {
            let values: Vec<String> = (0..random.below(4)).map(|_| value(random, depth + 1)).collect();
            format!("[{}]", values.join(","))
        }
        _ => object(random, depth + 1),
    }
}

fn object(random: &mut Random, depth: usize) -> String {
    let count = random.below(6);
    let members: Vec<String> = (0..count)
        .map(|_| {
            let name = random.of(&NAMES);
            format!("\"{name}\":{}", value(random, depth))
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

/// A line: mostly an object with an id, now and then with a few bytes changed.
fn line(random: &mut Random) -> String {
    let mut text = object(random, 0);
    if random.below(3) > 0 && text.len() > 2 {
        text = format!("{{\"_id\":\"d{}\",\"text\":\"crows\",{}", random.below(1000), &text[1..]);
    }
    let mut bytes = text.into_bytes();
    for _ in 0..random.below(8).saturating_sub(5) {
        let at = random.below(bytes.len());
        let signs = b"{}[]\",:\\0aN-\x00\xff ";
        bytes[at] = signs[random.below(signs.len())];
    }
    // A line is a line: what would cut it in two is for other tests.
    String::from_utf8_lossy(&bytes).replace(['\n', '\r'], " ")
}

fn seconds() -> Duration {
    let seconds = std::env::var("ADAM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[test]
fn documents_of_any_kind_are_taken_everywhere_or_nowhere() {
    if !http::has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(SentenceEncoder::open(http::tiny(), &EncoderOptions::default()).unwrap());
    let pinned = PinnedModel::of_folder(&model, http::tiny(), Precision::F32, None);
    let index = |name: &str| {
        let builder = Engine::builder(folder.path().join(name)).encoder(model.clone()).pinned(pinned.clone());
        builder.open_or_create().unwrap()
    };
    let engine = index("library");
    let options = ServiceOptions::default().commit_every(None);
    let service = Service::new(index("server"), model.clone(), options).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(service, "127.0.0.1:0").await.unwrap();
            tell.send(server.address().unwrap()).unwrap();
            server.run(async { stopped.await.unwrap_or_default() }, Duration::from_secs(20)).await.unwrap()
        })
    });
    let mut client = http::Client::new(told.recv().unwrap());

    let mut random = Random(17);
    let (began, limit) = (Instant::now(), seconds());
    let (mut rounds, mut taken, mut refused) = (0u32, 0u32, 0u32);
    while began.elapsed() < limit || rounds == 0 {
        rounds += 1;
        let keep = if random.below(2) == 0 { Keep::All } else { Keep::Nothing };
        let query = if keep == Keep::All { "?keep=all" } else { "" };
        let options = ReadOptions::new().keep(keep).on_wrong_line(OnWrongLine::Skip);
        // By themselves, as one body each, and together as a file. The same id twice is no error over HTTP.
        let lines: Vec<String> = (0..20).map(|_| line(&mut random)).filter(|line| !line.trim().is_empty()).collect();
        let mut fit = Vec::new();
        for line in &lines {
            let read = options.parse(line).ok().and_then(|record| {
                let (id, title, text) = (record.document.id, record.document.title, record.document.text);
                let document =
                    Document { id: id.clone(), title, text, metadata: Some(record.metadata), vector: record.vector };
                engine.document(document).ok().map(|_| id)
            });
            let path = format!("/documents{query}");
            let answer = client.send("POST", &path, Some("application/x-ndjson"), line.as_bytes()).unwrap();
            let status = answer.status;
            assert!([202, 400, 422].contains(&status), "{line:?}: {status} {}", answer.text());
            assert_eq!(status == 202, read.is_some(), "{line:?}: {}", answer.text());
            match read {
                Some(id) => fit.push(id),
                None => refused += 1,
            }
        }
        taken += u32::try_from(fit.len()).unwrap();
        let path = folder.path().join("corpus.jsonl");
        // A file that begins with `[` is a JSON array, and one with zeros at its start may be UTF-16.
        std::fs::write(&path, format!("{}\n{}", r#"{"_id": "first", "text": "x"}"#, lines.join("\n"))).unwrap();
        let records = Collection::open_with(&[&path], &options).unwrap().records().unwrap();
        let mut from_file: Vec<String> = records
            .map(|record| record.unwrap())
            .filter_map(|record| {
                let id = record.document.id.clone();
                let document = Document {
                    id: id.clone(),
                    metadata: Some(record.metadata),
                    vector: record.vector,
                    ..Document::default()
                };
                engine.document(document).is_ok().then_some(id)
            })
            .collect();
        from_file.sort();
        from_file.dedup();
        // A file takes the first of an id and HTTP each, so that one may fit where the first does not.
        fit.push("first".to_owned());
        fit.sort();
        fit.dedup();
        let only_http: Vec<&String> = fit.iter().filter(|id| !from_file.contains(id)).collect();
        let read: Vec<String> = lines.iter().filter_map(|line| Some(options.parse(line).ok()?.document.id)).collect();
        let repeated = |id: &str| read.iter().filter(|other| *other == id).count() > 1;
        assert!(from_file.iter().all(|id| fit.contains(id)), "{from_file:?} {fit:?}");
        assert!(only_http.iter().all(|id| repeated(id)), "{only_http:?} {lines:?}");
    }
    assert!(taken > 0 && refused > 0, "both happen");
    println!("{rounds} rounds: {taken} documents taken, {refused} refused");
    assert_eq!(client.send("POST", "/commit", None, b"").unwrap().status, 200, "all that was taken can be written");
    stop.send(()).unwrap();
    server.join().unwrap();
}
