#![cfg(feature = "faiss")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tantivy::directory::OwnedBytes;

use super::*;
use crate::DenseError;

static NOT_CANCELLED: AtomicBool = AtomicBool::new(false);

/// Rows in clusters of different sizes, as embeddings lie, normalised where inner products are compared.
pub(super) fn clustered(rows: usize, dimension: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = move || {
        // The sum of twelve uniform numbers is close enough to a normal one.
        (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0
    };
    let clusters = (rows as f64).sqrt() as usize + 1;
    let centres: Vec<f32> = (0..clusters * dimension).map(|_| normal()).collect();
    let mut values = Vec::with_capacity(rows * dimension);
    for row in 0..rows {
        let cluster = (row * row + row / 3) % clusters;
        let start = values.len();
        values.extend((0..dimension).map(|i| centres[cluster * dimension + i] + 0.6 * normal()));
        let length = values[start..].iter().map(|v| v * v).sum::<f32>().sqrt();
        values[start..].iter_mut().for_each(|v| *v /= length);
    }
    values
}

fn similarity(kind: Similarity, a: &[f32], b: &[f32]) -> f32 {
    match kind {
        Similarity::InnerProduct => a.iter().zip(b).map(|(a, b)| a * b).sum(),
        Similarity::SquaredL2 => -a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>(),
    }
}

fn nearest(kind: Similarity, rows: &[f32], query: &[f32], k: usize, keep: impl Fn(usize) -> bool) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = rows
        .chunks(query.len())
        .enumerate()
        .filter(|(row, _)| keep(*row))
        .map(|(row, values)| (row as u32, similarity(kind, query, values)))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn recall(found: &[(u32, f32)], truth: &[(u32, f32)]) -> f64 {
    let hits = truth.iter().filter(|(row, _)| found.iter().any(|(other, _)| other == row)).count();
    hits as f64 / truth.len() as f64
}

pub(super) fn bits(rows: usize, keep: impl Fn(usize) -> bool) -> Vec<u64> {
    let mut words = vec![0; rows.div_ceil(64)];
    (0..rows).filter(|&row| keep(row)).for_each(|row| words[row / 64] |= 1 << (row % 64));
    words
}

fn build(factory: &str, kind: Similarity, rows: &[f32], dimension: usize) -> AnnIndex {
    let build = AnnBuild { threads: 1, ..AnnBuild::new(factory, kind, dimension) };
    AnnIndex::build(&build, &RowSlice::new(rows, dimension).unwrap(), &NOT_CANCELLED).unwrap()
}

fn reopen(index: &AnnIndex, spec: &AnnSpec) -> AnnIndex {
    let (bytes, checksum) = index.to_bytes(false).unwrap();
    AnnIndex::open(OwnedBytes::new(bytes), checksum, spec, None).unwrap()
}

const WIDE: AnnSearch = AnnSearch { ef: Some(200), nprobe: Some(1000), k_factor: Some(20.0) };

#[test]
fn a_flat_index_finds_what_a_plain_loop_finds() {
    let (rows, dimension) = (300, 12);
    let values = clustered(rows, dimension, 1);
    let queries = clustered(20, dimension, 2);
    for kind in [Similarity::InnerProduct, Similarity::SquaredL2] {
        let index = build("Flat", kind, &values, dimension);
        let filter = bits(rows, |row| row % 3 == 0);
        for query in queries.chunks(dimension) {
            for (filter, keep) in
                [(None, (|_| true) as fn(usize) -> bool), (Some(filter.as_slice()), |row| row % 3 == 0)]
            {
                let found = index.search(query, 10, &AnnSearch::default(), filter).unwrap();
                let truth = nearest(kind, &values, query, 10, keep);
                assert_eq!(found.len(), 10);
                for ((row, score), (true_row, true_score)) in found.iter().zip(&truth) {
                    assert_eq!(row, true_row);
                    assert!((score - true_score).abs() < 1e-5, "{score} {true_score}");
                }
            }
        }
    }
}

/// Every factory string that the documentation names: built, written, opened, searched, filtered.
#[test]
fn factory_strings_build_write_open_and_search() {
    let (rows, dimension) = (400, 16);
    let values = clustered(rows, dimension, 3);
    let keep = |row: usize| row.is_multiple_of(2);
    let filter = bits(rows, keep);
    for kind in [Similarity::InnerProduct, Similarity::SquaredL2] {
        for (factory, family, concurrent, least) in [
            ("Flat", AnnKind::Flat, true, 1.0),
            ("SQ8", AnnKind::Flat, true, 0.9),
            ("SQfp16", AnnKind::Flat, true, 0.95),
            ("HNSW8", AnnKind::Graph, true, 0.95),
            ("HNSW8_SQ8", AnnKind::Graph, true, 0.9),
            ("IVF10,Flat", AnnKind::Lists, true, 1.0),
            ("IVF10,SQ8", AnnKind::Lists, true, 0.9),
            ("IVF10_HNSW4,Flat", AnnKind::Lists, true, 0.95),
            ("IVF10,PQ8x4", AnnKind::Lists, true, 0.3),
            ("IVF10,RaBitQ", AnnKind::Lists, true, 0.1),
            ("IVF10,PQ8x4fs,RFlat", AnnKind::Lists, false, 0.9),
            ("IVF10,PQ8x4,RFlat", AnnKind::Lists, true, 0.9),
            ("PCA8,IVF10,Flat", AnnKind::Lists, true, 0.3),
        ] {
            let index = build(factory, kind, &values, dimension);
            assert_eq!((index.kind(), index.is_concurrent()), (family, concurrent), "{factory}");
            let opened = reopen(&index, &AnnSpec { similarity: kind, dimension, rows });
            assert!(opened.mapped_bytes() > 0 && index.mapped_bytes() == 0);
            let (mut sum, mut filtered_sum) = (0.0, 0.0);
            let queries: Vec<&[f32]> = values.chunks(dimension).step_by(20).collect();
            for query in &queries {
                let found = index.search(query, 10, &WIDE, None).unwrap();
                assert_eq!(found, opened.search(query, 10, &WIDE, None).unwrap(), "{factory}");
                sum += recall(&found, &nearest(kind, &values, query, 10, |_| true));
                let found = opened.search(query, 10, &WIDE, Some(&filter)).unwrap();
                assert!(found.iter().all(|(row, _)| keep(*row as usize)), "{factory}");
                filtered_sum += recall(&found, &nearest(kind, &values, query, 10, keep));
            }
            for (what, sum) in [("all", sum), ("filtered", filtered_sum)] {
                let mean = sum / queries.len() as f64;
                assert!(mean >= least, "{factory} {kind:?} {what}: recall {mean}");
            }
        }
    }
}

#[test]
fn a_kind_without_filters_says_so() {
    let values = clustered(300, 16, 17);
    let index = build("PQ8x4", Similarity::InnerProduct, &values, 16);
    assert!(!index.is_concurrent());
    assert_eq!(index.search(&values[..16], 5, &WIDE, None).unwrap().len(), 5);
    let error = index.search(&values[..16], 5, &WIDE, Some(&[u64::MAX; 5])).unwrap_err();
    assert!(error.to_string().contains("invalid search params"), "{error}");
}

#[test]
fn a_graph_written_without_its_rows_answers_alike_over_them() {
    let (rows, dimension) = (500, 24);
    let values = clustered(rows, dimension, 4);
    let index = build("HNSW8", Similarity::InnerProduct, &values, dimension);
    assert!(index.can_leave_out_rows());
    let spec = AnnSpec { similarity: Similarity::InnerProduct, dimension, rows };
    let (whole, _) = index.to_bytes(false).unwrap();
    let (graph, checksum) = index.to_bytes(true).unwrap();
    assert!(whole.len() - graph.len() >= rows * dimension * 4);
    let row_bytes: Vec<u8> = bytemuck::cast_slice(&values).to_vec();
    // Rows and graph at every alignment: used in place or copied, the answers are the same.
    for shift in 0..4 {
        let shifted = |bytes: &[u8]| {
            let mut longer = vec![0; shift];
            longer.extend_from_slice(bytes);
            OwnedBytes::new(longer).slice(shift..shift + bytes.len())
        };
        let opened = AnnIndex::open(shifted(&graph), checksum, &spec, Some(shifted(&row_bytes))).unwrap();
        for query in values.chunks(dimension).step_by(50) {
            assert_eq!(
                opened.search(query, 5, &AnnSearch::default(), None).unwrap(),
                index.search(query, 5, &AnnSearch::default(), None).unwrap()
            );
        }
    }
    let open = |rows| AnnIndex::open(OwnedBytes::new(graph.clone()), checksum, &spec, rows);
    assert!(open(None).unwrap_err().to_string().contains("without its rows"));
    assert!(open(Some(OwnedBytes::new(row_bytes[4..].to_vec()))).is_err(), "a value short");
    let flat = build("Flat", Similarity::InnerProduct, &values, dimension);
    assert!(!flat.can_leave_out_rows() && flat.to_bytes(true).is_err());
}

#[test]
fn a_mapped_graph_holds_little_memory_of_its_own() {
    let (rows, dimension) = (2000, 32);
    let values = clustered(rows, dimension, 5);
    let index = build("HNSW16", Similarity::InnerProduct, &values, dimension);
    assert!(index.memory_bytes() >= rows * (dimension * 4 + 32 * 4));
    let (graph, checksum) = index.to_bytes(true).unwrap();
    // Begin at a multiple of 64, as a mapped file's blob does.
    let mut longer = vec![0_u8; graph.len() + 64];
    let shift = longer.as_ptr().align_offset(64);
    longer[shift..shift + graph.len()].copy_from_slice(&graph);
    let bytes = OwnedBytes::new(longer).slice(shift..shift + graph.len());
    let row_bytes = OwnedBytes::new(bytemuck::cast_slice::<f32, u8>(&values).to_vec());
    let spec = AnnSpec { similarity: Similarity::InnerProduct, dimension, rows };
    let opened = AnnIndex::open(bytes, checksum, &spec, Some(row_bytes)).unwrap();
    assert!(opened.memory_bytes() <= rows * 16, "{} bytes", opened.memory_bytes());
}

#[test]
fn any_flipped_byte_is_refused_before_faiss_reads_it() {
    let values = clustered(60, 4, 6);
    let spec = AnnSpec { similarity: Similarity::SquaredL2, dimension: 4, rows: 60 };
    for factory in ["HNSW4", "IVF4,SQ8"] {
        let (good, checksum) = build(factory, Similarity::SquaredL2, &values, 4).to_bytes(false).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            let error = AnnIndex::open(OwnedBytes::new(bad), checksum, &spec, None).unwrap_err();
            assert!(error.to_string().contains("checksum"), "{error}");
        }
        for length in 0..good.len() {
            assert!(AnnIndex::open(OwnedBytes::new(good[..length].to_vec()), checksum, &spec, None).is_err());
        }
    }
}

/// A wrong link with a right checksum: not damage, but a faulty or hostile writer. The links are checked when the
/// graph is opened, because faiss follows them without looking.
#[test]
fn a_graph_with_links_to_nowhere_is_refused() {
    let (rows, dimension) = (200, 4);
    let values = clustered(rows, dimension, 7);
    let row_bytes = OwnedBytes::new(bytemuck::cast_slice::<f32, u8>(&values).to_vec());
    let spec = AnnSpec { similarity: Similarity::SquaredL2, dimension, rows };
    let (good, _) = build("HNSW4", Similarity::SquaredL2, &values, dimension).to_bytes(true).unwrap();
    let open = |bytes: &[u8]| {
        let checksum = crc32fast::hash(bytes);
        AnnIndex::open(OwnedBytes::new(bytes.to_vec()), checksum, &spec, Some(row_bytes.clone()))
    };
    open(&good).unwrap();
    // At the end: the neighbours, entry point, top level, three numbers, a mark that the rows are missing.
    let links_end = good.len() - 24;
    let mut refused = 0;
    for at in (links_end - 4 * 1000..links_end + 8).step_by(4) {
        for wrong in [rows as i32, i32::MAX, -2, i32::MIN] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&wrong.to_le_bytes());
            let error = open(&bad).unwrap_err();
            assert!(error.to_string().contains("graph"), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 4 * 1002);
    // Links to rows that exist: allowed where the level allows it, and then harmless.
    let mut random = ChaCha8Rng::seed_from_u64(8);
    for _ in 0..200 {
        let mut bad = good.clone();
        let at = links_end - 4 * random.random_range(1..1000);
        bad[at..at + 4].copy_from_slice(&random.random_range(0..rows as i32).to_le_bytes());
        if let Ok(index) = open(&bad) {
            index.search(&values[..dimension], 10, &AnnSearch::default(), None).unwrap();
        }
    }
}

/// Rows given beside a graph are held to what a build holds them to: sums of their products stay numbers.
#[test]
fn rows_that_no_index_is_built_from_are_refused_beside_a_graph() {
    let (rows, dimension) = (60, 4);
    let mut values = clustered(rows, dimension, 18);
    let spec = AnnSpec { similarity: Similarity::SquaredL2, dimension, rows };
    let (graph, checksum) = build("HNSW4", Similarity::SquaredL2, &values, dimension).to_bytes(true).unwrap();
    let open = |values: &[f32]| {
        let row_bytes = OwnedBytes::new(bytemuck::cast_slice::<f32, u8>(values).to_vec());
        AnnIndex::open(OwnedBytes::new(graph.clone()), checksum, &spec, Some(row_bytes))
    };
    open(&values).unwrap();
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        values[70] = bad;
        let error = open(&values).unwrap_err();
        assert!(error.to_string().contains("row 17"), "{bad}: {error}");
    }
}

/// Another faulty or hostile writer, as above: faiss reads as many ranges as the dimension asks for, whatever there are.
#[test]
fn a_scalar_quantizer_that_does_not_fit_is_refused() {
    let (rows, dimension) = (200, 4);
    let values = clustered(rows, dimension, 19);
    let spec = AnnSpec { similarity: Similarity::SquaredL2, dimension, rows };
    // Dimension, bytes of a code, numbers in the ranges; the kind lies before them, with two settings, the ranges after.
    let facts = [4_u64, 4, 8].map(u64::to_le_bytes).concat();
    for factory in ["SQ8", "HNSW4_SQ8", "IVF4,SQ8"] {
        let (good, _) = build(factory, Similarity::SquaredL2, &values, dimension).to_bytes(false).unwrap();
        let open = |bytes: &[u8]| AnnIndex::open(OwnedBytes::new(bytes.to_vec()), crc32fast::hash(bytes), &spec, None);
        open(&good).unwrap();
        let at = good.windows(facts.len()).position(|bytes| bytes == facts.as_slice()).unwrap();
        let ranges = at + facts.len();
        // One range for all dimensions, a kind that there is not, another dimension, ranges that are none.
        let nan = f32::NAN.to_bits();
        for (place, wrong) in [(at - 12, 2), (at - 12, 15), (at, 3), (ranges, nan), (ranges + 28, nan)] {
            let mut bad = good.clone();
            bad[place..place + 4].copy_from_slice(&u32::to_le_bytes(wrong));
            assert!(open(&bad).is_err(), "{factory}: {wrong} at {place}");
        }
    }
}

#[test]
fn what_was_opened_must_be_what_was_expected() {
    let values = clustered(50, 6, 9);
    let (bytes, checksum) = build("HNSW4", Similarity::InnerProduct, &values, 6).to_bytes(false).unwrap();
    let good = AnnSpec { similarity: Similarity::InnerProduct, dimension: 6, rows: 50 };
    let open = |spec: &AnnSpec| AnnIndex::open(OwnedBytes::new(bytes.clone()), checksum, spec, None);
    open(&good).unwrap();
    assert!(open(&AnnSpec { rows: 51, ..good }).is_err());
    assert!(open(&AnnSpec { dimension: 5, ..good }).is_err());
    assert!(open(&AnnSpec { similarity: Similarity::SquaredL2, ..good }).is_err());
}

#[test]
fn senseless_input_is_an_error() {
    let values = clustered(50, 6, 10);
    let index = build("HNSW4", Similarity::InnerProduct, &values, 6);
    let search = AnnSearch::default();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
        let mut query = values[..6].to_vec();
        query[3] = bad;
        assert!(index.search(&query, 3, &search, None).is_err(), "{bad}");
        let mut rows = values.clone();
        rows[100] = bad;
        let built = AnnIndex::build(
            &AnnBuild::new("HNSW4", Similarity::InnerProduct, 6),
            &RowSlice::new(&rows, 6).unwrap(),
            &NOT_CANCELLED,
        );
        assert!(built.unwrap_err().to_string().contains("row 16"), "{bad}");
    }
    assert!(index.search(&values[..5], 3, &search, None).is_err());
    for factory in ["", "Nonsense", "IVF0,Flat", "PQ7", "PQ0", "HNSW0", "HNSW1", "IVF2_HNSW1,Flat", "HNSW32\0"]
        .into_iter()
        .chain(["IVF4000000000,Flat", "IVF99999999999999999999,Flat"])
    {
        let built = AnnIndex::build(
            &AnnBuild::new(factory, Similarity::InnerProduct, 6),
            &RowSlice::new(&values, 6).unwrap(),
            &NOT_CANCELLED,
        );
        assert!(built.is_err(), "{factory:?}");
        assert!(factory == "PQ7" || AnnIndex::check(&AnnBuild::new(factory, Similarity::InnerProduct, 6)).is_err());
    }
    assert!(RowSlice::new(&values, 7).is_err() && RowSlice::new(&values, 0).is_err());
}

#[test]
fn few_rows_many_wanted() {
    let values = clustered(5, 6, 11);
    let search = AnnSearch { ef: Some(usize::MAX), nprobe: Some(usize::MAX), k_factor: Some(f32::INFINITY) };
    for factory in ["Flat", "HNSW4", "IVF2,Flat"] {
        let index = build(factory, Similarity::SquaredL2, &values, 6);
        assert_eq!(index.search(&values[..6], usize::MAX, &search, None).unwrap().len(), 5, "{factory}");
        assert_eq!(index.search(&values[..6], 0, &search, None).unwrap(), vec![]);
        for nothing in [&[][..], &[0]] {
            assert_eq!(index.search(&values[..6], 3, &search, Some(nothing)).unwrap(), vec![], "{factory}");
        }
        let one = index.search(&values[..6], 3, &search, Some(&[1 << 4])).unwrap();
        assert_eq!(one.iter().map(|(row, _)| *row).collect::<Vec<_>>(), vec![4], "{factory}");
    }
    let none = build("HNSW4", Similarity::SquaredL2, &[], 6);
    let none = reopen(&none, &AnnSpec { similarity: Similarity::SquaredL2, dimension: 6, rows: 0 });
    assert_eq!(none.search(&values[..6], 3, &search, None).unwrap(), vec![]);
    let equal = build("HNSW4", Similarity::InnerProduct, &[1.0; 60], 6);
    let rows: Vec<u32> = equal.search(&[1.0; 6], 10, &WIDE, None).unwrap().iter().map(|hit| hit.0).collect();
    // A graph links few of many equal rows, so that a search for all of them may come up short; those found are in order.
    assert!(rows.len() >= 5 && rows.is_sorted(), "{rows:?}");
}

#[test]
fn searches_from_many_threads_agree_with_one() {
    let (rows, dimension) = (1500, 16);
    let values = clustered(rows, dimension, 13);
    let filter = bits(rows, |row| !row.is_multiple_of(5));
    for factory in ["HNSW8", "IVF16,SQ8", "IVF16_HNSW8,Flat", "IVF16,PQ8x4fs,RFlat"] {
        let index = build(factory, Similarity::InnerProduct, &values, dimension);
        let queries: Vec<&[f32]> = values.chunks(dimension).step_by(30).collect();
        // Breadth and filter change from query to query: parameters of one search must not reach another.
        let search = |i: usize| {
            let breadth = AnnSearch { ef: Some(10 + i), nprobe: Some(1 + i % 7), k_factor: Some(1.0 + (i % 3) as f32) };
            let filter = (i % 2 == 1).then_some(filter.as_slice());
            index.search(queries[i], 5, &breadth, filter).unwrap()
        };
        let alone: Vec<_> = (0..queries.len()).map(search).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (alone, search) = (&alone, &search);
                scope.spawn(move || {
                    for i in 0..alone.len() {
                        let i = (i * 7 + thread) % alone.len();
                        assert_eq!(search(i), alone[i], "{factory}");
                    }
                });
            }
        });
    }
}

/// Sets the flag once a number of rows was read.
struct CancelsAfter<'a> {
    rows: RowSlice<'a>,
    left: AtomicUsize,
    cancel: &'a AtomicBool,
}

impl RowSource for CancelsAfter<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), DenseError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.cancel.store(true, Ordering::Relaxed);
        }
        self.rows.read(first, out)
    }
}

#[test]
fn a_cancelled_build_stops() {
    let values = clustered(300, 8, 14);
    for (factory, reads) in [("HNSW8", 0), ("IVF8,Flat", 3), ("IVF8,Flat", 300)] {
        let cancel = AtomicBool::new(false);
        let rows =
            CancelsAfter { rows: RowSlice::new(&values, 8).unwrap(), left: AtomicUsize::new(reads), cancel: &cancel };
        let build = AnnBuild { threads: 1, ..AnnBuild::new(factory, Similarity::SquaredL2, 8) };
        let error = AnnIndex::build(&build, &rows, &cancel).unwrap_err();
        assert!(matches!(error, DenseError::Cancelled), "{factory}: {error}");
    }
}

/// faiss asks for the flag from within training and adding, and only the build whose flag is set stops.
#[test]
fn recall_and_training_are_interrupted_from_within() {
    let (rows, dimension) = (40_000, 64);
    let values = clustered(rows, dimension, 15);
    for factory in ["IVF2048,Flat", "HNSW64"] {
        let cancel = AtomicBool::new(false);
        let started = Instant::now();
        std::thread::scope(|scope| {
            let build = AnnBuild { threads: 1, ..AnnBuild::new(factory, Similarity::SquaredL2, dimension) };
            let (values, cancel) = (&values, &cancel);
            let job = scope.spawn(move || AnnIndex::build(&build, &RowSlice::new(values, dimension).unwrap(), cancel));
            std::thread::sleep(Duration::from_millis(300));
            cancel.store(true, Ordering::Relaxed);
            let asked = Instant::now();
            let error = job.join().unwrap().expect_err("the whole build takes many seconds");
            assert!(matches!(error, DenseError::Cancelled), "{error}");
            println!(
                "{factory}: stopped {:?} after being asked, {:?} after the start",
                asked.elapsed(),
                started.elapsed()
            );
            assert!(asked.elapsed() < Duration::from_secs(5));
        });
    }
}

#[test]
fn recall_at_default_settings() {
    let (rows, dimension) = (30_000, 64);
    // Queries from the same clusters as the rows, as questions are about what documents are about.
    let values = clustered(rows + 100, dimension, 16);
    let (values, queries) = values.split_at(rows * dimension);
    for (kind, factory) in [
        (Similarity::InnerProduct, None),
        (Similarity::SquaredL2, None),
        (Similarity::InnerProduct, Some("IVF512,SQ8".to_owned())),
    ] {
        let policy = AnnPolicy { exact_below_values: 0, factory, ..AnnPolicy::default() };
        let plan = policy.plan(kind, dimension, rows).unwrap();
        let index = AnnIndex::build(&plan.build, &RowSlice::new(values, dimension).unwrap(), &NOT_CANCELLED).unwrap();
        let sum: f64 = queries
            .chunks(dimension)
            .map(|query| {
                let found = index.search(query, 10, &plan.search, None).unwrap();
                recall(&found, &nearest(kind, values, query, 10, |_| true))
            })
            .sum();
        println!("{} {kind:?}: recall@10 {}", plan.build.factory, sum / 100.0);
        assert!(sum / 100.0 >= 0.95, "{} {kind:?}: {}", plan.build.factory, sum / 100.0);
    }
}
