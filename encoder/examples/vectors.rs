//! The encoder's side of `tests/parity`: texts in, vectors and timings out.
//!
//!     vectors --model FOLDER [--precision f32|f16|int8] [--threads N] [--sessions N] [--batch-tokens N]
//!             [--query-prompt TEXT] [--document-prompt TEXT] [--max-length N] [--spinning]
//!             [--query] [--latency TEXT] < texts.json > vectors.json
//!     vectors --model FOLDER ... --stream < lists.jsonl
//!
//! Reads a JSON list of texts from standard input; writes `{"vectors": [..], "seconds": s, "p50_ms": ms, ..}`. With
//! `--latency` the text is also encoded alone 300 times; with `--no-vectors` only the timings are written. With `--stream`
//! every line is `[TIMES, PAUSE, [TEXT, ..]]`: the texts are encoded together, so many times, each after a pause in seconds, and
//! a line `{"seconds": [s, ..], "cpu_seconds": s}` answers before the next is read.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use adam_encoder::{EncoderOptions, SentenceEncoder, TextEncoder, TextKind};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vectors: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = EncoderOptions::default();
    let (mut model, mut latency, mut providers) = (None, None, Vec::new());
    let (mut kind, mut with_vectors, mut stream) = (TextKind::Document, true, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} wants a value"));
        match flag.as_str() {
            "--model" => model = Some(value()?),
            "--precision" => options = options.precision(value()?.parse()?),
            "--threads" => options = options.threads(value()?.parse()?),
            "--sessions" => options = options.sessions(value()?.parse()?),
            "--batch-tokens" => options = options.batch_tokens(value()?.parse()?),
            "--max-length" => options = options.max_length(value()?.parse::<usize>()?),
            "--query-prompt" => options = options.query_prompt(value()?),
            "--document-prompt" => options = options.document_prompt(value()?),
            "--provider" => providers.push(value()?.parse()?),
            "--latency" => latency = Some(value()?),
            "--spinning" => options = options.spinning(true),
            "--query" => kind = TextKind::Query,
            "--no-vectors" => with_vectors = false,
            "--stream" => stream = true,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let model = model.ok_or("--model is needed")?;
    let started = Instant::now();
    let encoder = SentenceEncoder::open(model, &options.providers(providers))?;
    let opened = started.elapsed();

    if stream {
        for line in std::io::stdin().lines() {
            let (times, pause, texts): (usize, f64, Vec<String>) = serde_json::from_str(&line?)?;
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let (used, mut seconds) = (cpu_seconds(), Vec::with_capacity(times));
            for _ in 0..times {
                std::thread::sleep(Duration::try_from_secs_f64(pause)?);
                let started = Instant::now();
                encoder.encode(&texts, kind)?;
                seconds.push(started.elapsed().as_secs_f64());
            }
            println!("{}", serde_json::json!({"seconds": seconds, "cpu_seconds": cpu_seconds() - used}));
        }
        return Ok(());
    }

    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let texts: Vec<String> = serde_json::from_slice(&input)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let started = Instant::now();
    let vectors = encoder.encode(&texts, kind)?;
    let seconds = started.elapsed().as_secs_f64();

    let (mut p50, mut p95) = (None, None);
    if let Some(text) = latency {
        let mut times = Vec::with_capacity(300);
        for round in 0..320 {
            let started = Instant::now();
            encoder.encode(&[&text], kind)?;
            // The first ones warm up.
            if round >= 20 {
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        p50 = times.get(times.len() / 2).copied();
        p95 = times.get(times.len() * 95 / 100).copied();
    }
    let report = serde_json::json!({
        "file": encoder.model_file(),
        "open_seconds": opened.as_secs_f64(),
        "seconds": seconds,
        "texts_per_second": texts.len() as f64 / seconds.max(1e-9),
        "p50_ms": p50,
        "p95_ms": p95,
        "vectors": if with_vectors { serde_json::to_value(&vectors)? } else { serde_json::Value::Null },
    });
    println!("{report}");
    Ok(())
}

/// CPU time of this process so far, all threads, in seconds; 0 where the system does not say it the way Linux does.
fn cpu_seconds() -> f64 {
    // Linux counts in hundredths of a second for user programs, whatever its own clock is.
    const TICK: f64 = 0.01;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the program's name, may hold spaces; it ends with the last bracket.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) * TICK
}
