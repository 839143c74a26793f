//! Everything that is promised about speed, measured side by side with faiss in one run:
//!
//! `cargo bench -p tantivy-dense --features faiss --bench search -- --rows 200000 --dimension 384`
//!
//! | argument | meaning | unless given |
//! |---|---|---|
//! | `--rows` | vectors | 50000 |
//! | `--dimension` | values per vector | 384 |
//! | `--queries` | different queries | 100 |
//! | `--rounds` | times that each is asked each way | 3 |
//! | `--parts` | of `exact,hnsw,ivf,hybrid,refine,indexing` | all |
#![allow(missing_docs, unreachable_pub, clippy::panic, reason = "a program that measures")]

mod ann;
mod data;
mod exact;
mod floor;
mod hybrid;
mod index;
mod indexing;
mod raw;
mod refine;
mod table;

use std::time::Instant;

use data::Data;

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

fn number(name: &str, otherwise: usize) -> usize {
    match argument(name).map(|text| text.parse()) {
        None => otherwise,
        Some(Ok(number)) => number,
        Some(Err(_)) => panic!("{name} takes a number"),
    }
}

fn main() {
    let (rows, dimension) = (number("--rows", 50_000), number("--dimension", 384));
    let (queries, rounds) = (number("--queries", 100), number("--rounds", 3));
    let parts = argument("--parts").unwrap_or_else(|| "exact,hnsw,ivf,hybrid,refine,indexing".to_owned());
    let wanted = |part: &str| parts.split(',').any(|wanted| wanted == part);
    println!("# {rows} vectors of {dimension} values\n");
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!(
        "{threads} hardware threads, kernels for {}. Data: {}\n",
        tantivy_dense::kernels::Instructions::best(),
        data::HOW
    );
    let start = Instant::now();
    let data = Data::new(rows, dimension, queries);
    eprintln!("made in {:?}", start.elapsed());
    if wanted("exact") {
        exact::run(&data, rounds);
    }
    if wanted("hnsw") {
        ann::run(&data, rounds, "HNSW32");
    }
    if wanted("ivf") {
        ann::run(&data, rounds, &format!("IVF{},SQ8", data::lists(rows)));
    }
    if wanted("hybrid") {
        hybrid::run(&data, rounds);
    }
    if wanted("refine") {
        refine::run(&data, rounds);
    }
    if wanted("indexing") {
        indexing::run(&data, rounds);
    }
    eprintln!("done in {:?}", start.elapsed());
}
