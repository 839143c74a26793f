//! Vectors from somewhere else: a file with a line of JSON for each document.
//!
//! `cargo run --release -p tantivy-dense --example bring_your_own_vectors [FILE]`, where each line of FILE is
//! `{"id": "a", "vector": [0.1, -0.2, ..]}`. Without a file, a small one is made, with mistakes in it.

use std::io::{BufRead, BufReader};

use serde::Deserialize;
use tantivy::schema::{STORED, STRING, Schema, Value};
use tantivy::{TantivyDocument, Term};
use tantivy_dense::{Dense, DenseError, KnnQuery, VectorField, VectorOptions};

#[derive(Deserialize)]
struct Line {
    id: String,
    vector: Vec<f32>,
}

const EXAMPLE: &str = r#"{"id": "north", "vector": [0.0, 1.0]}
{"id": "east", "vector": [1.0, 0.0]}
{"id": "up", "vector": [0.0, 0.0, 1.0]}
{"id": "nowhere", "vector": [0.0, 0.0]}
{"id": "north-east", "vector": [3.0, 3.0]}
{"id": "east", "vector": [0.9, 0.1]}
"#;

fn main() -> Result<(), DenseError> {
    let lines: Box<dyn BufRead> = match std::env::args().nth(1) {
        Some(file) => Box::new(BufReader::new(std::fs::File::open(file)?)),
        None => Box::new(EXAMPLE.as_bytes()),
    };
    let mut lines = lines.lines().map(|line| {
        let line: Line = serde_json::from_str(&line?).map_err(std::io::Error::from)?;
        Ok::<Line, DenseError>(line)
    });
    let Some(first) = lines.next().transpose()? else {
        println!("no vectors");
        return Ok(());
    };

    // The first vector says how long they are. The metric is the model's: it should be what the model was trained with, and most text models
    // were trained with the cosine.
    let mut schema = Schema::builder();
    let id = schema.add_text_field("id", STRING | STORED);
    let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(first.vector.len()))?;
    let dense = Dense::new();
    let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
    let mut writer = dense.writer(&index, 50_000_000)?;
    let (mut added, mut query) = (0, first.vector.clone());
    for line in std::iter::once(Ok(first)).chain(lines) {
        let line = line?;
        let mut document = TantivyDocument::new();
        document.add_text(id, &line.id);
        // A vector that cannot be compared is refused before it can do harm; the message says why.
        if let Err(error) = vector.add(&mut document, &line.vector) {
            println!("left out `{}`: {error}", line.id);
            continue;
        }
        // An update is what it always is in tantivy: delete by a term, add anew.
        writer.delete_term(Term::from_field_text(id, &line.id));
        writer.add_document(document)?;
        query = line.vector;
        added += 1;
    }
    writer.commit()?;

    let searcher = dense.reader(&index)?.searcher();
    println!("{added} vectors added, {} documents. Nearest to the last one, {query:?}:", searcher.num_docs());
    for hit in KnnQuery::new(&dense, vector, query, 3).search(&searcher)? {
        let document: TantivyDocument = searcher.doc(hit.address)?;
        let id = document.get_first(id).and_then(|value| value.as_str()).unwrap_or_default();
        println!("  {:.4}  {id}", hit.similarity);
    }
    Ok(())
}
