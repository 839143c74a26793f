//! HNSW and IVF through tantivy, beside the same indexes of faiss itself: in one segment beside one, in eight beside eight
//! whose answers are joined.

use std::hint::black_box;
use std::time::Instant;

use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{DenseOptions, KnnQuery, VectorOptions};

use crate::data::Data;
use crate::index::Built;
use crate::raw::Raw;
use crate::table::{in_turns, mean, median, milliseconds, print, quantile, recall};

const K: usize = 10;
const EF_CONSTRUCTION: f64 = 100.0;

/// faiss's own indexes over the stretches of rows that the segments hold.
struct Raws {
    parts: Vec<(i64, Raw)>,
}

impl Raws {
    fn build(data: &Data, factory: &str, segments: usize) -> Raws {
        let each = data.len().div_ceil(segments);
        crate::raw::threads(std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
        let graph = factory.starts_with("HNSW");
        let settings: &[(&str, f64)] = if graph { &[("efConstruction", EF_CONSTRUCTION)] } else { &[] };
        let parts = data
            .rows
            .chunks(each * data.dimension)
            .enumerate()
            .map(|(at, rows)| ((at * each) as i64, Raw::build(factory, data.dimension, rows, settings)))
            .collect();
        crate::raw::threads(1);
        Raws { parts }
    }

    fn set(&self, name: &str, value: usize) {
        self.parts.iter().for_each(|(_, raw)| raw.set(name, value as f64));
    }

    fn search(&self, query: &[f32]) -> Vec<u64> {
        let mut all: Vec<(i64, f32)> = Vec::with_capacity(self.parts.len() * K);
        for (first, raw) in &self.parts {
            all.extend(raw.search(query, K).into_iter().map(|(row, similarity)| (first + row, similarity)));
        }
        all.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(K);
        all.into_iter().map(|(row, _)| row as u64).collect()
    }
}

pub fn run(data: &Data, rounds: usize, factory: &str) {
    println!("## {factory}, k {K}, one query at a time, one thread\n");
    let graph = factory.starts_with("HNSW");
    let name = if graph { "efSearch" } else { "nprobe" };
    let exact = Raw::build("Flat", data.dimension, &data.rows, &[]);
    let ids = |query: &Vec<f32>| exact.search(query, K).into_iter().map(|(row, _)| row as u64).collect();
    let truth: Vec<Vec<u64>> = data.queries.iter().map(ids).collect();
    drop(exact);
    let mut rows = Vec::new();
    for segments in [1, 8] {
        let policy = AnnPolicy { ef_construction: EF_CONSTRUCTION as usize, ..AnnPolicy::always(factory, 1) };
        let start = Instant::now();
        let options = DenseOptions::default().ann(policy);
        let built = Built::merged(data, VectorOptions::cosine(data.dimension), options, segments);
        eprintln!("{factory}, {segments} segments: indexed and merged in {:?}", start.elapsed());
        let start = Instant::now();
        let raw = Raws::build(data, factory, segments);
        eprintln!("{factory}, {segments} of faiss: built in {:?}", start.elapsed());
        for breadth in if graph { [16, 32, 64, 128] } else { [4, 8, 16, 32] } {
            raw.set(name, breadth);
            let query = |at: usize| {
                let query = KnnQuery::new(&built.dense, built.vector.clone(), data.queries[at].clone(), K);
                built.search(if graph { query.ef(breadth) } else { query.nprobe(breadth) })
            };
            let find = |way: usize, at: usize| if way == 0 { raw.search(&data.queries[at]) } else { query(at) };
            let recalls: Vec<f64> = (0..2)
                .map(|way| mean(truth.iter().enumerate().map(|(at, truth)| recall(&find(way, at), truth))))
                .collect();
            let times = in_turns(2, data.queries.len(), rounds, |way, at| {
                black_box(find(way, at));
            });
            let faiss = median(&times[0]);
            for (way, who) in ["faiss", "tantivy-dense"].into_iter().enumerate() {
                let time = median(&times[way]);
                rows.push(vec![
                    segments.to_string(),
                    format!("{name} {breadth}"),
                    who.to_owned(),
                    format!("{:.4}", recalls[way]),
                    milliseconds(time),
                    milliseconds(quantile(&times[way], 0.95)),
                    format!("{:.2} x", faiss.as_secs_f64() / time.as_secs_f64()),
                ]);
            }
        }
    }
    print(&["segments", "breadth", "search", "recall@10", "p50 ms", "p95 ms", "speed, faiss = 1"], &rows);
}
