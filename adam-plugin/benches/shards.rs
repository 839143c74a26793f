//! What shards cost: the same documents as one index, as shards that are opened as one, and as shards in engines of their own whose
//! answers are put together. All four ways must give the same bits, so segments must be small enough to be compared exactly (below
//! 100,000 documents of 384 values with faiss).
//!
//! ```sh
//! cargo bench -p adam-plugin --bench shards -- [documents] [shards] [rounds]
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends where anything fails")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use adam_plugin::engine::Document;
use adam_plugin::engine::gather::{GatheredSearch, Statistics};
use adam_plugin::shards::{Content, Part, Placement, ShardJob, ShardState};
use adam_plugin::{Engine, Mode, SearchRequest, WriterSettings};
use common::Words;

const MEMORY: usize = 256_000_000;
const DIMENSION: usize = 384;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let documents = numbers.next().unwrap_or(40_000);
    let shards = u32::try_from(numbers.next().unwrap_or(4)).unwrap();
    let rounds = numbers.next().unwrap_or(5);
    let home = tempfile::tempdir().unwrap();
    let corpus: Vec<Document> = (0..documents).map(document).collect();
    let began = Instant::now();
    let plain = engine(&home.path().join("plain"), &corpus);
    println!("{documents} documents of 40 words, {DIMENSION} values, f32; one index in {:.0?}", began.elapsed());
    let began = Instant::now();
    let (index, apart) = sharded(&home.path().join("sharded"), &corpus, shards);
    println!("{shards} shards in {:.0?}", began.elapsed());
    drop(corpus);
    println!(
        "| mode | one index, p50 ms | shards opened as one | shards in engines of their own, in turn | ... side by side |"
    );
    println!("|---|---|---|---|---|");
    for mode in Mode::ALL {
        let mut times: [Vec<f64>; 4] = Default::default();
        for round in 0..rounds + 1 {
            for query in 0..40 {
                let text = words(query * 31 + 5, 4);
                let request = SearchRequest::new(text.as_str()).mode(mode);
                // Encoding is not what is measured.
                let request = request.encoded((mode != Mode::Bm25).then(|| plain.encode_query(&text).unwrap()));
                let mut answers = Vec::new();
                let ways: [&dyn Fn() -> Vec<(String, u32)>; 4] = [
                    &|| bits(&plain.search(&request).unwrap()),
                    &|| bits(&index.search(&request).unwrap()),
                    &|| gathered(&apart, &request, false),
                    &|| gathered(&apart, &request, true),
                ];
                for (way, times) in ways.iter().zip(&mut times) {
                    let began = Instant::now();
                    answers.push(way());
                    // The first round warms up.
                    if round > 0 {
                        times.push(began.elapsed().as_secs_f64() * 1e3);
                    }
                }
                assert!(answers.iter().all(|answer| *answer == answers[0]), "{text}: {answers:?}");
            }
        }
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let medians = times.each_mut().map(median);
        let cells = medians.map(|median| format!("{median:.2} ({:.2} x)", median / medians[0]));
        println!("| {mode} | {} |", cells.join(" | "));
    }
}

fn words(seed: usize, count: usize) -> String {
    let mut state = seed as u64 + 1;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Few words are frequent, as in any text.
        let share = (state >> 33) as f64 / f64::from(1u32 << 31);
        format!("w{}", (share.powi(3) * 30_000.0) as u32)
    };
    (0..count).map(|_| word()).collect::<Vec<_>>().join(" ")
}

fn document(number: usize) -> Document {
    Document {
        id: format!("d{number}"),
        title: String::new(),
        text: words(number * 7 + 1, 40),
        metadata: None,
        vector: None,
    }
}

fn encoder() -> Words {
    Words::of(DIMENSION, "words")
}

fn engine(path: &Path, documents: &[Document]) -> Engine {
    let engine =
        Engine::builder(path).encoder(Arc::new(encoder())).pinned(encoder().pinned()).open_or_create().unwrap();
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    for document in documents {
        writer.update_document(engine.document(document.clone()).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.merge_all(MEMORY).unwrap();
    engine
}

fn content(documents: &[Document]) -> Content {
    let mut content = Content::default();
    documents.iter().for_each(|document| content.add(document));
    content
}

/// All shards as one index, and each alone.
fn sharded(index: &Path, documents: &[Document], of: u32) -> (Engine, Vec<Engine>) {
    let job = ShardJob::new(index, of, Placement::Hash, &content(documents), &encoder().pinned().fingerprint, "");
    let mut apart = Vec::new();
    for number in 0..of {
        let part = Part { number, of };
        let held = |document: &&Document| part.holds(Placement::Hash, &document.id, 0, 0);
        let rows: Vec<Document> = documents.iter().filter(held).cloned().collect();
        let rows_content = content(&rows);
        let ShardState::Open(folder) = job.state(part, &rows_content).unwrap() else { continue };
        drop(engine(&folder, &rows));
        let folder = job.finish(part, &rows_content).unwrap();
        apart.push(Engine::builder(folder).encoder(Arc::new(encoder())).open().unwrap());
    }
    job.seal().unwrap().unwrap();
    (Engine::builder(index).encoder(Arc::new(encoder())).open().unwrap(), apart)
}

fn bits(response: &adam_plugin::SearchResponse) -> Vec<(String, u32)> {
    response.hits.iter().map(|hit| (hit.id.clone(), hit.score.to_bits())).collect()
}

fn gathered(shards: &[Engine], request: &SearchRequest, side_by_side: bool) -> Vec<(String, u32)> {
    let statistics = all(shards, side_by_side, |shard| shard.statistics(request).unwrap());
    let statistics = Statistics::sum(&statistics).unwrap();
    let mut search = GatheredSearch::new(request, &statistics).unwrap();
    while let Some(window) = search.window() {
        search
            .add(&all(shards, side_by_side, |shard| shard.candidates(request, &statistics, window).unwrap()))
            .unwrap();
    }
    let keys = search.keys(shards.len());
    let fetched = shards.iter().zip(&keys).map(|(shard, keys)| shard.fetch(request, keys).unwrap()).collect();
    bits(&search.response(fetched).unwrap())
}

fn all<T: Send>(shards: &[Engine], side_by_side: bool, work: impl Fn(&Engine) -> T + Sync) -> Vec<T> {
    if !side_by_side {
        return shards.iter().map(work).collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = shards.iter().map(|shard| scope.spawn(move || work(shard))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
