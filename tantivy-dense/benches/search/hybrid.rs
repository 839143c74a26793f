//! Hybrid search, beside its arms alone.

use std::hint::black_box;

use tantivy::collector::TopDocs;
use tantivy::query::{Query, QueryParser};
use tantivy::schema::{FAST, INDEXED, Schema, TEXT};
use tantivy::{IndexWriter, TantivyDocument};
use tantivy_dense::{Arm, Dense, Hybrid, KnnQuery, VectorField, VectorOptions};

use crate::data::{Data, words};
use crate::index::or_stop;
use crate::table::{floor, in_turns, median, milliseconds, print};

const K: usize = 10;

pub fn run(data: &Data, rounds: usize) {
    println!("## Hybrid search, k {K}, one query at a time, arms in parallel\n");
    let mut schema = Schema::builder();
    let id = schema.add_u64_field("id", FAST | INDEXED);
    let text = schema.add_text_field("text", TEXT);
    let options = VectorOptions::cosine(data.dimension).int8_first_pass(true);
    let vector = or_stop(VectorField::add_to(&mut schema, "vector", options));
    let folder = or_stop(tempfile::tempdir());
    let dense = Dense::new();
    let index = or_stop(dense.index_builder().schema(schema.build()).create_in_dir(folder.path()));
    let mut writer: IndexWriter = or_stop(index.writer_with_num_threads(1, 1_000_000_000));
    let mut make = words(80, 6);
    for row in 0..data.len() {
        let mut document = TantivyDocument::new();
        document.add_u64(id, row as u64);
        document.add_text(text, make());
        or_stop(vector.add(&mut document, data.row(row)));
        or_stop(writer.add_document(document));
    }
    or_stop(writer.commit());
    or_stop(writer.wait_merging_threads());
    let searcher = or_stop(dense.reader(&index)).searcher();
    let parser = QueryParser::for_index(&index, vec![text]);
    let mut ask = words(8, 7);
    let queries: Vec<Box<dyn Query>> = data.queries.iter().map(|_| or_stop(parser.parse_query(&ask()))).collect();
    let nearest = |at: usize, k: usize| KnnQuery::new(&dense, vector.clone(), data.queries[at].clone(), k);
    let mut rows = Vec::new();
    for window in [100, 200] {
        let taken = in_turns(3, queries.len(), rounds, |way, at| match way {
            0 => {
                let top = TopDocs::with_limit(window).order_by_score();
                black_box(or_stop(searcher.search(queries[at].as_ref(), &top)));
            }
            1 => {
                black_box(or_stop(nearest(at, window).search(&searcher)));
            }
            _ => {
                let hybrid = Hybrid::new()
                    .arm("text", Arm::text(queries[at].box_clone()), 1.0)
                    .arm("vector", Arm::vector(nearest(at, K)), 1.0)
                    .window(window);
                black_box(or_stop(hybrid.search(&searcher, K)));
            }
        });
        let times: Vec<_> = taken.into_iter().map(|taken| taken.wall).collect();
        let slower = median(&times[0]).max(median(&times[1]));
        let slower_floor = floor(&times[0]).max(floor(&times[1]));
        for (name, times) in
            ["text alone (BM25, 8 words)", "vector alone (exact, int8 first pass)", "hybrid"].iter().zip(&times)
        {
            rows.push(vec![
                window.to_string(),
                (*name).to_owned(),
                milliseconds(median(times)),
                milliseconds(floor(times)),
                format!("{:.2} x", median(times).as_secs_f64() / slower.as_secs_f64()),
                format!("{:.2} x", floor(times).as_secs_f64() / slower_floor.as_secs_f64()),
            ]);
        }
    }
    print(&["window", "search", "p50 ms", "p10 ms", "time, slower arm = 1", "time by p10"], &rows);
}
