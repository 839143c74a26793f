//! How long one short query and a batch of passages take.
//!
//!     cargo bench -p adam-encoder
//!
//! On `.native/minilm-onnx` where it is there, else on the tiny model of the tests.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use adam_encoder::{EncoderOptions, Precision, SentenceEncoder, TextEncoder, TextKind};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn model() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let minilm = here.join("../.native/minilm-onnx");
    if minilm.join("onnx").is_dir() { minilm } else { here.join("tests/fixtures/tiny-both") }
}

fn encode(criterion: &mut Criterion) {
    let passage = "Crows bend wire into hooks and keep the best of them for later use. ";
    let passages: Vec<String> = (1..=64).map(|number| passage.repeat(1 + number * 7 % 12)).collect();
    let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
    for precision in [Precision::F32, Precision::Int8] {
        let options = EncoderOptions::default().precision(precision);
        let encoder = match SentenceEncoder::open(model(), &options) {
            Ok(encoder) => encoder,
            Err(error) => {
                println!("skipped {precision}: {error}");
                continue;
            }
        };
        criterion.bench_function(&format!("one short query, {precision}"), |bench| {
            bench.iter(|| encoder.encode(black_box(&["can crows bend wire into hooks"]), TextKind::Query));
        });
        let mut group = criterion.benchmark_group(format!("64 passages, {precision}"));
        group.sample_size(10).throughput(Throughput::Elements(passages.len() as u64));
        for batch_tokens in [512, 1024, 2048, 4096, 8192] {
            let options = options.clone().batch_tokens(batch_tokens);
            let Ok(encoder) = SentenceEncoder::open(model(), &options) else { continue };
            group.bench_function(format!("batches of {batch_tokens} tokens"), |bench| {
                bench.iter(|| encoder.encode(black_box(&passages), TextKind::Document));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, encode);
criterion_main!(benches);
