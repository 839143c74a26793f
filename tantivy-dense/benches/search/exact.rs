//! Exact search, one query at a time, beside faiss's flat index.

use std::hint::black_box;

use tantivy_dense::{KnnQuery, VectorOptions};

use crate::data::Data;
use crate::index::Built;
use crate::raw::Raw;
use crate::table::{floor, in_turns, mean, median, milliseconds, print, recall, speed};

const K: usize = 10;

pub fn run(data: &Data, rounds: usize) {
    println!("## Exact search, k {K}, one query at a time, one thread\n");
    let plain = Built::exact(data, VectorOptions::cosine(data.dimension));
    let rounded = Built::exact(data, VectorOptions::cosine(data.dimension).int8_first_pass(true));
    let flat = Raw::build("Flat", data.dimension, &data.rows, &[]);
    crate::raw::threads(1);
    let query = |built: &Built, at: usize| {
        built.search(KnnQuery::new(&built.dense, built.vector.clone(), data.queries[at].clone(), K))
    };
    let find = |way: usize, at: usize| -> Vec<u64> {
        match way {
            0 => flat.search(&data.queries[at], K).into_iter().map(|(row, _)| row as u64).collect(),
            1 => query(&plain, at),
            _ => query(&rounded, at),
        }
    };
    let truth: Vec<Vec<u64>> = (0..data.queries.len()).map(|at| find(0, at)).collect();
    let recalls: Vec<f64> =
        (0..3).map(|way| mean(truth.iter().enumerate().map(|(at, truth)| recall(&find(way, at), truth)))).collect();
    let times = in_turns(3, data.queries.len(), rounds, |way, at| {
        black_box(find(way, at));
    });
    let bytes = (data.rows.len() * 4) as f64;
    let names = ["faiss Flat", "tantivy-dense f32", "tantivy-dense int8 first pass"];
    let rows = names.iter().zip(&times).zip(&recalls).map(|((name, taken), recall)| {
        let [speed, speed_cpu] = speed(taken, &times[0]);
        vec![
            (*name).to_owned(),
            milliseconds(median(&taken.wall)),
            milliseconds(floor(&taken.wall)),
            milliseconds(median(&taken.cpu)),
            speed,
            speed_cpu,
            format!("{recall:.4}"),
        ]
    });
    let head = ["search", "p50 ms", "p10 ms", "CPU p50 ms", "speed, faiss Flat = 1", "speed by CPU time", "recall@10"];
    print(&head, &rows.collect::<Vec<_>>());
    let alone = crate::floor::read_seconds(bytemuck::cast_slice(&data.rows));
    println!(
        "Reading the f32 rows once and doing nothing with them takes {:.3} ms here ({:.1} GB/s), their int8 copy a quarter.\n",
        alone * 1e3,
        bytes / alone / 1e9
    );
}
