//! Bytes from anywhere: zips, records, judgements and runs are read or refused, without a panic, within bounds of time and memory.
//!
//! Each target runs for `ADAM_FUZZ_SECONDS` (default 1), with `ADAM_FUZZ_SEED` (default 1). What fails is written to a file
//! that the message names.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use beir_eval::{Collection, OnWrongLine, Qrels, ReadOptions, Run, elements};
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// No input of a few kilobytes may take longer.
const MOST: Duration = Duration::from_secs(10);

const CORPUS: &[&str] = &[
    "{\"_id\": \"d1\", \"title\": \"One\", \"text\": \"first\", \"metadata\": {\"year\": 2020, \"a\": [NaN, {\"b\": null}]}}\n",
    "{\"_id\": 12345678901234567890123, \"text\": \"\\ud83d\\ude00\", \"vector\": [0.5, -1e3], \"x\": -Infinity}\n",
    "{\"id\": \"d3\", \"title\": null, \"text\": \"é\\u0000\"}\r\n\n",
];
const QRELS: &[&str] = &[
    "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td 2\t1.0\n",
    "q1 0 d1 1\nq1\t0\td2\t-1\n",
    "{\"query-id\": 1, \"corpus-id\": \"d\", \"score\": 2.0}\n",
];
const RUNS: &[&str] = &["q1 Q0 d1 1 2.5 t\nq1\tQ0\td 2\t2\t1e-3\tt\n"];

/// Pieces that turn one thing into another.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"\n",
    b"\r",
    b"\t",
    b" ",
    b"\0",
    b"NaN",
    b"-Infinity",
    b"\\ud800",
    b"\xEF\xBB\xBF",
    b"\xFF\xFE",
    b"\xFE\xFF",
    b"\x1F\x8B",
    b"BZh9",
    b"\x28\xB5\x2F\xFD",
    b"PK\x03\x04",
    b"1e999",
    b"99999999999999999999",
    b"\xFF",
    b"\"_id\"",
    b"\"text\"",
    b"null",
    b"0.5",
];

fn seconds() -> f64 {
    std::env::var("ADAM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0)
}

fn rng() -> ChaCha8Rng {
    let seed = std::env::var("ADAM_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    ChaCha8Rng::seed_from_u64(seed)
}

/// Changes bytes here and there.
fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                let times = if rng.random_bool(0.02) { 5000 } else { 1 };
                bytes.splice(at..at, piece.repeat(times));
            }
            4 => {
                let end = (at + rng.random_range(0..40)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let end = (at + rng.random_range(0..20)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
}

fn text_of(parts: &[&str], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..rng.random_range(0..5) {
        text.extend(parts[rng.random_range(0..parts.len())].bytes());
    }
    text
}

/// Runs a target until the time is over, on inputs that `make` gives.
fn fuzz(name: &str, make: impl Fn(&mut ChaCha8Rng) -> Vec<u8>, read: impl Fn(&Path, &[u8])) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    let (mut rng, began, mut count) = (rng(), Instant::now(), 0u64);
    while began.elapsed().as_secs_f64() < seconds() {
        let bytes = make(&mut rng);
        fs::write(&file, &bytes).unwrap();
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&file, &bytes)));
        if outcome.is_err() || started.elapsed() > MOST {
            let kept = std::env::temp_dir().join(format!("fuzz-failed-{name}"));
            fs::write(&kept, &bytes).unwrap();
            panic!("input {count} of {name} panics or takes {:?}: {}", started.elapsed(), kept.display());
        }
        count += 1;
    }
    println!("{name}: {count} inputs in {:.1} s", began.elapsed().as_secs_f64());
    assert!(count > 0);
}

fn read_collection(path: &Path) {
    for policy in [OnWrongLine::Stop, OnWrongLine::Skip] {
        let Ok(collection) = Collection::open_with(&[path], &ReadOptions::new().on_wrong_line(policy)) else { return };
        let _ = collection.check();
        let read = collection.documents().map(|documents| documents.filter(Result::is_ok).count());
        if let (Ok(read), Ok(records)) = (read, collection.records()) {
            // A record is a document too; metadata may be wrong besides.
            assert!(records.filter(Result::is_ok).count() <= read);
        }
        if collection.has_queries() {
            let _ = collection.queries();
        }
        for split in collection.splits() {
            let _ = collection.qrels(&split);
        }
    }
}

#[test]
fn records() {
    let make = |rng: &mut ChaCha8Rng| {
        let mut text = text_of(CORPUS, rng);
        if rng.random_bool(0.3) {
            text = array_of(&text);
        }
        damage(&mut text, rng);
        match rng.random_range(0..8) {
            0 => {
                let units = String::from_utf8_lossy(&text).encode_utf16().collect::<Vec<u16>>();
                text = std::iter::once(0xFEFF).chain(units).flat_map(u16::to_le_bytes).collect();
            }
            1 => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&text).unwrap();
                text = encoder.finish().unwrap();
            }
            2 => text = ruzstd::encoding::compress_to_vec(&text[..], ruzstd::encoding::CompressionLevel::Fastest),
            3 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(&text).unwrap();
                text = encoder.finish().unwrap();
            }
            _ => return text,
        }
        damage(&mut text, rng);
        text
    };
    fuzz("records.jsonl", make, |path, bytes| {
        read_collection(path);
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = elements(text);
            // What is valid JSON in all its parts is never called invalid.
            if let Err(beir_eval::BeirError::Json { problem }) = ReadOptions::new().parse(text) {
                assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_err(), "{problem}");
            }
        }
    });
}

/// Objects on lines as the elements of an array.
fn array_of(lines: &[u8]) -> Vec<u8> {
    let lines = String::from_utf8_lossy(lines).trim().replace("}\n", "},\n").replace("}\r\n", "},\n");
    format!("[{lines}]").into_bytes()
}

#[test]
fn judgements() {
    let make = |rng: &mut ChaCha8Rng| {
        let mut text = text_of(QRELS, rng);
        damage(&mut text, rng);
        text
    };
    fuzz("judgements.tsv", make, |path, _| {
        let _ = Qrels::read(path);
    });
}

#[test]
fn runs() {
    let make = |rng: &mut ChaCha8Rng| {
        let mut text = text_of(RUNS, rng);
        damage(&mut text, rng);
        text
    };
    fuzz("runs.trec", make, |path, _| {
        if let Ok(run) = Run::read(path) {
            let again = path.with_extension("again");
            if run.write(&again, "t").is_ok() {
                assert_eq!(Run::read(&again).unwrap().len(), run.len());
            }
        }
    });
}

#[test]
fn zips() {
    let make = |rng: &mut ChaCha8Rng| {
        let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let methods = [CompressionMethod::Stored, CompressionMethod::Deflated, CompressionMethod::Bzip2];
        let names = ["s/corpus.jsonl", "s\\queries.jsonl", "s/qrels/test.tsv", "corpus.jsonl.gz", "__MACOSX/x", "s/"];
        for name in names {
            if rng.random_bool(0.6) {
                let method = methods[rng.random_range(0..methods.len())];
                zip.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
                let parts = if name.ends_with("tsv") { QRELS } else { CORPUS };
                let mut text = text_of(parts, rng);
                if rng.random_bool(0.3) {
                    damage(&mut text, rng);
                }
                zip.write_all(&text).unwrap();
            }
        }
        let mut bytes = zip.finish().unwrap().into_inner();
        damage(&mut bytes, rng);
        bytes
    };
    fuzz("zips.zip", make, |path, _| read_collection(path));
}
