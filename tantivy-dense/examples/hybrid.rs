//! Words and meaning in one ranking, and the reason for each place in it.
//!
//! `cargo run --release -p tantivy-dense --example hybrid`

#[path = "trigrams/mod.rs"]
mod trigrams;

use tantivy::query::QueryParser;
use tantivy::schema::{STORED, Schema, TEXT, Value};
use tantivy::{TantivyDocument, TantivyError};
use tantivy_dense::{Arm, Dense, DenseError, Fusion, Hybrid, KnnQuery, VectorField, VectorOptions};
use trigrams::{DIMENSION, embed};

const TEXTS: [&str; 6] = [
    "The cat sat on the mat",
    "Cats and other small carnivores",
    "Concatenating strings in many languages",
    "A mat made of reed",
    "Feeding a kitten",
    "Carnivorous plants of the bog",
];

fn main() -> Result<(), DenseError> {
    let mut schema = Schema::builder();
    let text = schema.add_text_field("text", TEXT | STORED);
    let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(DIMENSION))?;
    let dense = Dense::new();
    let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
    let mut writer = dense.writer(&index, 50_000_000)?;
    for words in TEXTS {
        let mut document = TantivyDocument::new();
        document.add_text(text, words);
        vector.add(&mut document, &embed(words))?;
        writer.add_document(document)?;
    }
    writer.commit()?;
    let searcher = dense.reader(&index)?.searcher();

    let question = "cat carnivore";
    // BM25 knows the words as they are written: `cat` and `carnivore`, but not `cats` or `carnivorous`.
    let words = QueryParser::for_index(&index, vec![text]).parse_query(question).map_err(TantivyError::from)?;
    let meaning = KnnQuery::all(&dense, vector, embed(question));

    // Each arm brings its best documents, and each document then gets the score of every arm, also of those that did not
    // bring it. Fusions differ in what they make of these scores.
    for fusion in [Fusion::Convex, Fusion::rrf()] {
        let hybrid = Hybrid::new()
            .arm("words", Arm::text(words.box_clone()), 0.5)
            .arm("meaning", Arm::vector(meaning.clone()), 0.5)
            .fusion(fusion.clone());
        println!("`{question}` by {fusion}:");
        let hits = hybrid.search(&searcher, 4)?;
        for hit in &hits {
            let document: TantivyDocument = searcher.doc(hit.address)?;
            let title = document.get_first(text).and_then(|value| value.as_str()).unwrap_or_default();
            println!("  {:.3}  {title}", hit.score);
            for arm in &hit.arms {
                let rank = arm.rank.map_or("-".to_owned(), |rank| rank.to_string());
                println!("           {:<8} rank {rank:<2} raw {:?}", arm.name, arm.raw);
            }
        }
        // The whole story of the first hit, down to BM25's own factors.
        if let (Fusion::Convex, Some(first)) = (&fusion, hits.first()) {
            let story = hybrid.explain(&searcher, first)?.to_pretty_json();
            println!("  the first, explained (head): {}", story.lines().take(12).collect::<Vec<_>>().join("\n  "));
        }
    }
    Ok(())
}
