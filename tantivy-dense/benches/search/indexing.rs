//! Indexing documents with vectors, beside tantivy alone that stores the same bytes.

use std::time::Instant;

use tantivy::schema::{FAST, Field, INDEXED, STORED, Schema, TEXT};
use tantivy::{Index, IndexWriter, TantivyDocument};
use tantivy_dense::{Dense, Element, VectorField, VectorOptions};

use crate::data::{Data, words};
use crate::index::or_stop;
use crate::table::print;

enum Bytes {
    Stored(Field),
    Vector(VectorField),
}

/// Seconds from the first document to the end of the commit.
fn index(data: &Data, options: Option<VectorOptions>, texts: &[String], threads: usize) -> f64 {
    let mut schema = Schema::builder();
    let id = schema.add_u64_field("id", FAST | INDEXED);
    let text = schema.add_text_field("text", TEXT);
    let bytes = match options {
        None => Bytes::Stored(schema.add_bytes_field("vector", STORED)),
        Some(options) => Bytes::Vector(or_stop(VectorField::add_to(&mut schema, "vector", options))),
    };
    let folder = or_stop(tempfile::tempdir());
    let dense = Dense::new();
    let builder = match &bytes {
        Bytes::Stored(_) => Index::builder(),
        Bytes::Vector(_) => dense.index_builder(),
    };
    let index = or_stop(builder.schema(schema.build()).create_in_dir(folder.path()));
    let mut writer: IndexWriter = or_stop(index.writer_with_num_threads(threads, 500_000_000 * threads));
    let start = Instant::now();
    for row in 0..data.len() {
        let mut document = TantivyDocument::new();
        document.add_u64(id, row as u64);
        if let Some(words) = texts.get(row % texts.len().max(1)) {
            document.add_text(text, words);
        }
        match &bytes {
            Bytes::Stored(field) => document.add_bytes(*field, bytemuck::cast_slice(data.row(row))),
            Bytes::Vector(field) => or_stop(field.add(&mut document, data.row(row))),
        }
        or_stop(writer.add_document(document));
    }
    or_stop(writer.commit());
    let seconds = start.elapsed().as_secs_f64();
    or_stop(writer.wait_merging_threads());
    seconds
}

pub fn run(data: &Data, rounds: usize) {
    println!("## Indexing, no approximate index, up to the end of the commit\n");
    let mut make = words(40, 5);
    let texts: Vec<String> = (0..data.len().min(20_000)).map(|_| make()).collect();
    let cosine = || VectorOptions::cosine(data.dimension);
    let ways: [(&str, Option<VectorOptions>); 5] = [
        ("tantivy, bytes stored", None),
        ("f32 rows", Some(cosine())),
        ("f32 rows, int8 first pass", Some(cosine().int8_first_pass(true))),
        ("f16 rows", Some(cosine().element(Element::F16))),
        ("int8 rows", Some(cosine().element(Element::Int8))),
    ];
    let mut rows = Vec::new();
    for (documents, texts) in [("40 words and a vector", texts.as_slice()), ("a vector only", &[])] {
        for threads in [1, 2] {
            let mut seconds = vec![Vec::new(); ways.len()];
            for round in 0..rounds {
                for turn in 0..ways.len() {
                    let way = (turn + round) % ways.len();
                    seconds[way].push(index(data, ways[way].1.clone(), texts, threads));
                }
            }
            let middle = |seconds: &[f64]| {
                let mut sorted = seconds.to_vec();
                sorted.sort_by(f64::total_cmp);
                sorted[(sorted.len() - 1) / 2]
            };
            let alone = middle(&seconds[0]);
            for ((name, _), seconds) in ways.iter().zip(&seconds) {
                let time = middle(seconds);
                rows.push(vec![
                    documents.to_owned(),
                    threads.to_string(),
                    (*name).to_owned(),
                    format!("{time:.2}"),
                    format!("{:.0}", data.len() as f64 / time),
                    format!("{:.2} x", alone / time),
                ]);
            }
        }
    }
    print(&["documents", "threads", "index", "s", "documents/s", "speed, bytes stored = 1"], &rows);
}
