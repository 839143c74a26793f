//! The kernels by themselves, in bytes a second: in the cache, and over more than the cache holds.
//!
//! `cargo bench -p tantivy-dense --bench kernels`
#![allow(missing_docs, reason = "macros of criterion")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tantivy_dense::kernels::{Instructions, f16};

const DIMENSION: usize = 384;

fn kernels(criterion: &mut Criterion) {
    let query: Vec<f32> = (0..DIMENSION).map(|at| (at as f32).sin()).collect();
    let codes: Vec<i8> = query.iter().map(|value| (value * 127.0) as i8).collect();
    for (place, rows) in [("cache", 64), ("memory", 100_000)] {
        let values: Vec<f32> = (0..rows * DIMENSION).map(|at| (at as f32).cos()).collect();
        let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        let bytes: Vec<i8> = values.iter().map(|value| (value * 127.0) as i8).collect();
        let mut group = criterion.benchmark_group(format!("{rows} rows of {DIMENSION}, in {place}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
        let (mut out, mut wholes) = (Vec::new(), Vec::new());
        for set in Instructions::available() {
            group.throughput(Throughput::Bytes((values.len() * 4) as u64));
            group.bench_function(format!("dot_rows f32, {set}"), |bencher| {
                bencher.iter(|| set.dot_rows(black_box(&query), black_box(&values), &mut out));
            });
            group.bench_function(format!("l2_squared_rows f32, {set}"), |bencher| {
                bencher.iter(|| set.l2_squared_rows(black_box(&query), black_box(&values), &mut out));
            });
            group.bench_function(format!("dot one by one f32, {set}"), |bencher| {
                bencher.iter(|| values.chunks_exact(DIMENSION).map(|row| set.dot(&query, row)).sum::<f32>());
            });
            group.throughput(Throughput::Bytes((halves.len() * 2) as u64));
            group.bench_function(format!("dot_rows f16, {set}"), |bencher| {
                bencher.iter(|| set.dot_rows(black_box(&query), black_box(&halves), &mut out));
            });
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(format!("dot_rows_i8, {set}"), |bencher| {
                bencher.iter(|| set.dot_rows_i8(black_box(&codes), black_box(&bytes), &mut wholes));
            });
        }
        group.throughput(Throughput::Bytes((values.len() * 4) as u64));
        group.bench_function("reading alone", |bencher| {
            let words: &[u64] = bytemuck::try_cast_slice(&values).unwrap_or_default();
            bencher.iter(|| {
                let mut sums = [0_u64; 32];
                for words in black_box(words).chunks_exact(32) {
                    sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
                }
                sums
            });
        });
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
