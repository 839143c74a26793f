//! What approximate indexes find at their default settings, by how much a filter leaves: at least 0.95 of the ten nearest.
//!
//! Prints the table of the chapter on choosing an index; `ADAM_RECALL_ROWS=40000 ADAM_RECALL_DIMENSION=96` makes the one that is
//! printed there.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]
#![cfg(feature = "faiss")]

mod support;

use std::ops::Bound;
use std::time::{Duration, Instant};

use tantivy::indexer::NoMergePolicy;
use tantivy::query::RangeQuery;
use tantivy::schema::{FAST, Field, INDEXED};
use tantivy::{IndexWriter, Term};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{Dense, DenseOptions, Element, KnnQuery, Metric, VectorOptions};

use support::Fixture;

const QUERIES: usize = 100;
const K: usize = 10;
/// Thousandths of the documents that a filter leaves.
const SELECTED: [u64; 5] = [1000, 500, 100, 10, 1];

fn size(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|size| size.parse().ok()).unwrap_or(otherwise)
}

/// Measures one kind of index over a field, in one segment or several. Returns the least recall.
fn measure(name: &str, policy: AnnPolicy, options: VectorOptions, segments: usize, deleted: bool) -> f64 {
    let (rows, dimension) = (size("ADAM_RECALL_ROWS", 12_000), options.dimension());
    let mut mark: Option<Field> = None;
    let fixture = Fixture::with(options, |schema| mark = Some(schema.add_u64_field("mark", INDEXED | FAST)));
    let mark = mark.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dense = Dense::with_options(DenseOptions::default().ann(policy));
    let index = dense.index_builder().schema(fixture.schema.clone()).create_in_dir(folder.path()).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 200_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut clusters = support::Clusters::new(5, dimension);
    let half = rows.div_ceil(segments * 2);
    let mut merged = Vec::new();
    for id in 0..rows as u64 {
        let mut document = fixture.document(id, Some(&clusters.vector()));
        // No relation to the order of documents or to the vector.
        document.add_u64(mark, id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32);
        writer.add_document(document).unwrap();
        if (id as usize + 1).is_multiple_of(half) || id as usize + 1 == rows {
            writer.commit().unwrap();
            // Two halves make a segment: indexes are built by merges.
            let fresh = index.searchable_segment_ids().unwrap().into_iter().filter(|id| !merged.contains(id));
            let fresh: Vec<_> = fresh.collect();
            if fresh.len() == 2 {
                merged.extend(writer.merge(&fresh).wait().unwrap().map(|meta| meta.id()));
            }
        }
    }
    if deleted {
        // A tenth, as long as no merge has taken them out.
        for id in (0..rows as u64).step_by(10) {
            writer.delete_term(Term::from_field_u64(fixture.id, id));
        }
        writer.commit().unwrap();
    }
    let searcher = dense.reader(&index).unwrap().searcher();
    assert_eq!(searcher.segment_readers().len(), segments);
    let info = dense.info(&searcher).unwrap();
    assert!(info.iter().all(|segment| segment.fields[0].index.is_some()), "{info:?}");
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| clusters.vector()).collect();
    let mut least: f64 = 1.0;
    for selected in SELECTED {
        let (mut found, mut due, mut by_index, mut distances) = (0, 0, 0, 0);
        let (mut times, mut exact_times) = (Vec::new(), Vec::new());
        for query in &queries {
            let mut knn = KnnQuery::new(&dense, fixture.vector.clone(), query.clone(), K);
            if selected < 1000 {
                let limit = (u64::from(u32::MAX) + 1) / 1000 * selected;
                let below = Bound::Excluded(Term::from_field_u64(mark, limit));
                knn = knn.filter(Box::new(RangeQuery::new(Bound::Unbounded, below)));
            }
            let start = Instant::now();
            let answer = knn.run(&searcher).unwrap();
            times.push(start.elapsed());
            let start = Instant::now();
            let exact = knn.exact().search(&searcher).unwrap();
            exact_times.push(start.elapsed());
            assert_eq!(answer.hits.len(), exact.len(), "{name}, {selected}");
            let addresses: Vec<_> = answer.hits.iter().map(|hit| hit.address).collect();
            found += exact.iter().filter(|hit| addresses.contains(&hit.address)).count();
            due += exact.len();
            by_index += usize::from(answer.segments.iter().any(|segment| !segment.path.is_exact()));
            distances += answer.segments.iter().map(|segment| segment.selected as usize).sum::<usize>();
        }
        let recall = found as f64 / due.max(1) as f64;
        least = least.min(recall);
        println!(
            "| {name} | {segments} | {} % | {recall:.4} | {} | {} | {} | {} |",
            selected as f32 / 10.0,
            distances / QUERIES,
            by_index * 100 / QUERIES,
            middle(&mut times),
            middle(&mut exact_times)
        );
    }
    least
}

fn middle(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!("{:.2}", times[times.len() / 2].as_secs_f64() * 1e3)
}

/// The default policy, but for indexes over smaller segments.
fn from_small() -> AnnPolicy {
    AnnPolicy::default().exact_below_values(0).exact_below_rows(500)
}

fn head() {
    println!(
        "| index | segments | left by filter | recall@10 | rows left | searches by index, % | p50 ms | exact p50 ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
}

#[test]
fn graphs_find_at_least_95_of_100() {
    let dimension = size("ADAM_RECALL_DIMENSION", 32);
    head();
    let cosine = VectorOptions::cosine(dimension);
    let least = [
        measure("HNSW32, f32, cosine", from_small(), cosine.clone(), 1, false),
        measure("HNSW32, f32, cosine, a tenth deleted", from_small(), cosine.clone(), 3, true),
        measure(
            "HNSW32, int8, L2",
            from_small(),
            VectorOptions::new(Metric::L2, dimension).element(Element::Int8),
            1,
            false,
        ),
    ];
    assert!(least.iter().all(|least| *least >= 0.95), "{least:?}");
}

#[test]
fn lists_find_at_least_95_of_100() {
    let dimension = size("ADAM_RECALL_DIMENSION", 32);
    let lists = from_small().lists_from_rows(0);
    head();
    let least = [
        measure("IVF,SQ8, f32, cosine", lists.clone(), VectorOptions::cosine(dimension), 1, false),
        measure("IVF,SQ8, f32, dot, a tenth deleted", lists, VectorOptions::dot(dimension), 3, true),
    ];
    assert!(least.iter().all(|least| *least >= 0.95), "{least:?}");
}
