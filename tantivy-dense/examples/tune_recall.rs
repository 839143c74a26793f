//! How much to search for how much to find: approximate indexes, their one number, and how to choose it.
//!
//! `cargo run --release -p tantivy-dense --features faiss --example tune_recall [VECTORS]`

use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use tantivy::schema::Schema;
use tantivy::{IndexWriter, Searcher, TantivyDocument};
use tantivy_dense::ann::{AnnIndex, AnnPolicy};
use tantivy_dense::{Dense, DenseError, DenseOptions, KnnQuery, VectorField, VectorOptions};

const DIMENSION: usize = 64;
const QUERIES: usize = 100;

/// Vectors around centres, as those of texts are around topics.
fn vector(random: &mut impl Rng, centres: &[Vec<f32>]) -> Vec<f32> {
    let centre = &centres[random.random_range(0..centres.len())];
    centre.iter().map(|value| value + random.random_range(-0.9..0.9)).collect()
}

/// Recall@10 against an exact search, and the middle of the times of one query.
fn measure(
    searcher: &Searcher,
    truth: &[Vec<tantivy::DocAddress>],
    query: impl Fn(usize) -> KnnQuery,
) -> Result<(f64, Duration), DenseError> {
    let mut times = Vec::new();
    let mut found = 0;
    for (at, truth) in truth.iter().enumerate() {
        let start = Instant::now();
        let hits = query(at).search(searcher)?;
        times.push(start.elapsed());
        found += truth.iter().filter(|address| hits.iter().any(|hit| hit.address == **address)).count();
    }
    times.sort_unstable();
    Ok((found as f64 / (truth.len() * 10) as f64, times[times.len() / 2]))
}

fn main() -> Result<(), DenseError> {
    if !AnnIndex::available() {
        println!("built without faiss: all searches are exact. Run it with `--features faiss`.");
        return Ok(());
    }
    let count: usize = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let centres: Vec<Vec<f32>> =
        (0..200).map(|_| (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect()).collect();

    // Two kinds of index over the same vectors. By default, segments as small as these get none: a scan is quick enough.
    for factory in ["HNSW32", "IVF256,SQ8"] {
        let mut schema = Schema::builder();
        let field = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(DIMENSION))?;
        let dense = Dense::with_options(DenseOptions::default().ann(AnnPolicy::always(factory, 1000)));
        let index = dense.index_builder().schema(schema.build()).create_in_ram()?;
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 200_000_000)?;
        dense.prepare(&writer)?;
        for _ in 0..count {
            let mut document = TantivyDocument::new();
            field.add(&mut document, &vector(&mut random, &centres))?;
            writer.add_document(document)?;
        }
        writer.commit()?;
        // Merges build indexes, never commits. Here one is asked for; a merge policy does it otherwise.
        let start = Instant::now();
        writer.merge(&index.searchable_segment_ids()?).wait()?;
        println!(
            "{factory} over {count} vectors of {DIMENSION} values, built in {:.1} s",
            start.elapsed().as_secs_f32()
        );

        let searcher = dense.reader(&index)?.searcher();
        let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| vector(&mut random, &centres)).collect();
        let query = |at: usize| KnnQuery::new(&dense, field.clone(), queries[at].clone(), 10);
        // The truth is one call away: the same query, exact.
        let truth = (0..QUERIES)
            .map(|at| Ok(query(at).exact().search(&searcher)?.iter().map(|hit| hit.address).collect()))
            .collect::<Result<Vec<Vec<_>>, DenseError>>()?;
        let (recall, time) = measure(&searcher, &truth, |at| query(at).exact())?;
        println!("  exact          recall {recall:.3}  {time:>9.1?}");
        for breadth in [4, 8, 16, 32, 64, 128, 256] {
            // A graph keeps `ef` candidates while it walks; an inverted file looks into `nprobe` lists. Only one of them
            // means something to each index.
            let (recall, time) = measure(&searcher, &truth, |at| query(at).ef(breadth).nprobe(breadth))?;
            println!("  breadth {breadth:>4}   recall {recall:.3}  {time:>9.1?}");
        }
    }
    println!("Choose the least breadth with the recall that you need, on queries and vectors of your own,");
    println!("and put it into `AnnPolicy::ef` or `nprobe`.");
    Ok(())
}
