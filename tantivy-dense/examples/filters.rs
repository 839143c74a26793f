//! The nearest among documents that match something, and why that is not the same as what matches among the nearest.
//!
//! `cargo run --release -p tantivy-dense --example filters`

use std::ops::Bound;

use rand::{RngExt, SeedableRng};
use tantivy::collector::{Count, TopDocs};
use tantivy::query::{BooleanQuery, Occur, Query, RangeQuery};
use tantivy::schema::{FAST, Field, INDEXED, Schema};
use tantivy::{IndexWriter, TantivyDocument, Term};
use tantivy_dense::{Dense, DenseError, KnnQuery, VectorField, VectorOptions};

const DOCUMENTS: u64 = 20_000;
const DIMENSION: usize = 64;

/// Documents whose price is below `limit`.
fn cheaper_than(price: Field, limit: u64) -> Box<dyn Query> {
    Box::new(RangeQuery::new(Bound::Unbounded, Bound::Excluded(Term::from_field_u64(price, limit))))
}

fn main() -> Result<(), DenseError> {
    let mut schema = Schema::builder();
    let price = schema.add_u64_field("price", INDEXED | FAST);
    let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(DIMENSION).int8_first_pass(true))?;
    let dense = Dense::new();
    let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 50_000_000)?; // one thread makes one segment
    dense.prepare(&writer)?;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut make = || -> Vec<f32> { (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect() };
    for number in 0..DOCUMENTS {
        let mut document = TantivyDocument::new();
        document.add_u64(price, number % 1000);
        vector.add(&mut document, &make())?;
        writer.add_document(document)?;
    }
    writer.commit()?;
    let searcher = dense.reader(&index)?.searcher();
    let query = make();
    let nearest = KnnQuery::new(&dense, vector, query, 10);

    // A filter is any tantivy query. It is applied before the k are counted: there are always k, if so many match.
    println!("10 nearest, documents filtered before counting:");
    for limit in [1000, 500, 100, 10, 1] {
        let filtered = nearest.clone().filter(cheaper_than(price, limit));
        let found = filtered.run(&searcher)?;
        let worst = found.hits.last().map_or(f32::NAN, |hit| hit.similarity);
        println!(
            "  {:>5.1} % match: {:>2} hits, the last at {worst:.3}; segment: {}",
            limit as f32 / 10.0,
            found.hits.len(),
            found.segments[0]
        );
    }

    // A clause beside the query narrows the k down afterwards. That is right for "is it among the ten nearest", and a common
    // mistake otherwise: of ten nearest, one in a hundred is cheap.
    let beside: Vec<(Occur, Box<dyn Query>)> =
        vec![(Occur::Must, Box::new(nearest.clone())), (Occur::Must, cheaper_than(price, 100))];
    let left = searcher.search(&BooleanQuery::new(beside), &Count)?;
    println!("10 nearest, then those among them that are cheap (10 % are): {left} left");

    // Everything of tantivy's goes with it. Here: the hundred nearest, cheapest first.
    let by_price = TopDocs::with_limit(3).order_by_fast_field::<u64>("price", tantivy::index::Order::Asc);
    let cheapest = searcher.search(&nearest.with_k(100), &by_price)?;
    println!("cheapest of the 100 nearest: {:?}", cheapest.iter().map(|(price, _)| price).collect::<Vec<_>>());
    Ok(())
}
