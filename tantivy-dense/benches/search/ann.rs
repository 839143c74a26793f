//! HNSW and IVF through tantivy, beside the same indexes of faiss itself: in one segment beside one, in eight beside eight
//! whose answers are joined.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{DenseOptions, KnnQuery, VectorOptions};

use crate::data::Data;
use crate::index::Built;
use crate::raw::Raw;
use crate::table::{in_turns, mean, median, milliseconds, print, recall};

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
    let (mut rows, mut equal) = (Vec::new(), Vec::new());
    for segments in [1, 8] {
        let policy = AnnPolicy::always(factory, 1).ef_construction(EF_CONSTRUCTION as usize);
        let start = Instant::now();
        let options = DenseOptions::default().ann(policy);
        let built = Built::merged(data, VectorOptions::cosine(data.dimension), options, segments);
        eprintln!("{factory}, {segments} segments: indexed and merged in {:?}", start.elapsed());
        let start = Instant::now();
        let raw = Raws::build(data, factory, segments);
        eprintln!("{factory}, {segments} of faiss: built in {:?}", start.elapsed());
        let mut curves: [Vec<Point>; 2] = Default::default();
        // Ours is for all segments together, faiss's for each of its indexes.
        let ours_for_one = if graph && segments > 1 { 4 } else { 1 };
        for breadth in if graph { [8, 16, 32, 64, 128, 256] } else { [2, 4, 8, 16, 32, 64] } {
            raw.set(name, breadth);
            let ours = breadth * ours_for_one;
            let query = |at: usize| {
                let query = KnnQuery::new(&built.dense, built.vector.clone(), data.queries[at].clone(), K);
                built.search(if graph { query.ef(ours) } else { query.nprobe(ours) })
            };
            let find = |way: usize, at: usize| if way == 0 { raw.search(&data.queries[at]) } else { query(at) };
            let recalls: Vec<f64> = (0..2)
                .map(|way| mean(truth.iter().enumerate().map(|(at, truth)| recall(&find(way, at), truth))))
                .collect();
            let times = in_turns(2, data.queries.len(), rounds, |way, at| {
                black_box(find(way, at));
            });
            for (way, who) in ["faiss", "tantivy-dense"].into_iter().enumerate() {
                let (wall, cpu) = (median(&times[way].wall), median(&times[way].cpu));
                curves[way].push(Point { recall: recalls[way], wall, cpu });
                rows.push(vec![
                    segments.to_string(),
                    who.to_owned(),
                    format!("{name} {}", if way == 0 { breadth } else { ours }),
                    format!("{:.4}", recalls[way]),
                    milliseconds(wall),
                    milliseconds(cpu),
                ]);
            }
        }
        for wanted in [0.9, 0.95, 0.97, 0.98, 0.99] {
            if let (Some(faiss), Some(ours)) = (at_recall(&curves[0], wanted), at_recall(&curves[1], wanted)) {
                equal.push(vec![
                    segments.to_string(),
                    wanted.to_string(),
                    format!("{:.3}", faiss.0 * 1e3),
                    format!("{:.3}", ours.0 * 1e3),
                    format!("{:.2} x", faiss.0 / ours.0),
                    format!("{:.2} x", faiss.1 / ours.1),
                ]);
            }
        }
    }
    print(&["segments", "search", "breadth", "recall@10", "p50 ms", "CPU p50 ms"], &rows);
    println!("At equal recall, between the measured points:\n");
    let head =
        ["segments", "recall@10", "faiss p50 ms", "tantivy-dense p50 ms", "speed, faiss = 1", "speed by CPU time"];
    print(&head, &equal);
}

/// One breadth of one search.
struct Point {
    recall: f64,
    wall: Duration,
    cpu: Duration,
}

/// Seconds (medians, on the clock and of CPU time) that a recall takes, on the straight line in log(time) between the two points around it.
fn at_recall(curve: &[Point], wanted: f64) -> Option<(f64, f64)> {
    curve.windows(2).find(|two| two[0].recall <= wanted && wanted <= two[1].recall).map(|two| {
        let part = (wanted - two[0].recall) / (two[1].recall - two[0].recall).max(1e-9);
        let between =
            |a: Duration, b: Duration| (a.as_secs_f64().ln() * (1.0 - part) + b.as_secs_f64().ln() * part).exp();
        (between(two[0].wall, two[1].wall), between(two[0].cpu, two[1].cpu))
    })
}
