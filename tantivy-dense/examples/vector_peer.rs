//! The side of tantivy-dense in `benches/peers`, where vector searches of several libraries are measured in turns: a process of its
//! own that reads requests from standard input, a line of JSON each, and answers each with one. The times are taken here, around the
//! same work as a program on tantivy-dense does.
//!
//! ```text
//! {"do": "build", "rows": "rows.f32", "dimension": 384, "kind": "hnsw", "folder": "/tmp/index"}
//! {"do": "search", "queries": "queries.f32", "k": 10, "ef": 64, "below": 100, "threads": 1}
//! ```
//!
//! Files hold little-endian f32, row after row. `kind` is `exact`, `int8` (exact with a first pass over int8 copies) or `hnsw`. The
//! bucket of row `i` is `i * 7919 mod 1000`; `below` leaves rows whose bucket is below it. Answers hold times in seconds.

use std::error::Error;
use std::io::{BufRead, Write};
use std::ops::Bound;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;
use tantivy::columnar::Column;
use tantivy::indexer::NoMergePolicy;
use tantivy::query::RangeQuery;
use tantivy::schema::{FAST, Field, INDEXED, Schema};
use tantivy::{IndexWriter, Searcher, TantivyDocument, Term};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{Dense, DenseOptions, KnnQuery, VectorField, VectorOptions};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Request {
    Build(Build),
    Search(Search),
}

#[derive(Deserialize)]
struct Build {
    rows: PathBuf,
    dimension: usize,
    kind: Kind,
    folder: PathBuf,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Exact,
    Int8,
    Hnsw,
}

#[derive(Deserialize)]
struct Search {
    queries: PathBuf,
    k: usize,
    ef: Option<usize>,
    below: Option<u64>,
    threads: usize,
}

struct Built {
    dense: Dense,
    vector: VectorField,
    dimension: usize,
    bucket: Field,
    searcher: Searcher,
    /// Numbers of the rows, by segment.
    numbers: Vec<Column<u64>>,
}

fn floats(file: &PathBuf) -> Result<Vec<f32>, Failure> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

impl Built {
    fn new(build: &Build) -> Result<(Built, f64), Failure> {
        let rows = floats(&build.rows)?;
        let count = rows.len() / build.dimension.max(1);
        let mut schema = Schema::builder();
        let number = schema.add_u64_field("number", FAST);
        let bucket = schema.add_u64_field("bucket", FAST | INDEXED);
        let options = VectorOptions::cosine(build.dimension).int8_first_pass(build.kind == Kind::Int8);
        let vector = VectorField::add_to(&mut schema, "vector", options)?;
        let policy = match build.kind {
            Kind::Hnsw => AnnPolicy::always("HNSW32", 1).ef_construction(100).scan_per_ef(40),
            Kind::Exact | Kind::Int8 => AnnPolicy::never(),
        };
        let started = Instant::now();
        let dense = Dense::with_options(DenseOptions::default().ann(policy));
        std::fs::create_dir_all(&build.folder)?;
        let index = dense.index_builder().schema(schema.build()).create_in_dir(&build.folder)?;
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 1_000_000_000)?;
        dense.prepare(&writer)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        for (at, row) in rows.chunks_exact(build.dimension).enumerate() {
            let mut document = TantivyDocument::new();
            document.add_u64(number, at as u64);
            document.add_u64(bucket, at as u64 * 7919 % 1000);
            vector.add(&mut document, row)?;
            writer.add_document(document)?;
            // Graphs are built by merges, which want two segments.
            if build.kind == Kind::Hnsw && at == count / 2 {
                writer.commit()?;
            }
        }
        writer.commit()?;
        let segments = index.searchable_segment_ids()?;
        if segments.len() > 1 {
            writer.merge(&segments).wait()?;
        }
        writer.garbage_collect_files().wait()?;
        writer.wait_merging_threads()?;
        let seconds = started.elapsed().as_secs_f64();
        drop(rows);
        let searcher = dense.reader(&index)?.searcher();
        let numbers: Result<_, _> =
            searcher.segment_readers().iter().map(|reader| reader.fast_fields().u64("number")).collect();
        let numbers = numbers?;
        Ok((Built { dense, vector, dimension: build.dimension, bucket, searcher, numbers }, seconds))
    }

    fn find(&self, search: &Search, query: &[f32]) -> Result<Vec<u64>, Failure> {
        let mut knn = KnnQuery::new(&self.dense, self.vector.clone(), query.to_vec(), search.k);
        if let Some(ef) = search.ef {
            knn = knn.ef(ef);
        }
        if let Some(below) = search.below {
            let end = Bound::Excluded(Term::from_field_u64(self.bucket, below));
            knn = knn.filter(Box::new(RangeQuery::new(Bound::Unbounded, end)));
        }
        let hits = knn.search(&self.searcher)?;
        Ok(hits.iter().filter_map(|hit| self.numbers[hit.address.segment_ord as usize].first(hit.address.doc_id)).collect())
    }

    /// Rows found by each query, seconds that each took, and seconds of all together.
    fn search(&self, search: &Search) -> Result<serde_json::Value, Failure> {
        let queries = floats(&search.queries)?;
        let queries: Vec<&[f32]> = queries.chunks_exact(self.dimension).collect();
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        let work = || -> Result<Vec<(usize, Vec<u64>, f64)>, Failure> {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(query) = queries.get(at) else { return Ok(done) };
                let started = Instant::now();
                let found = self.find(search, query)?;
                done.push((at, found, started.elapsed().as_secs_f64()));
            }
        };
        let mut done = if search.threads <= 1 {
            work()?
        } else {
            let parts: Result<Vec<_>, Failure> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..search.threads).map(|_| scope.spawn(work)).collect();
                threads.into_iter().map(|thread| thread.join().map_err(|_| "a searching thread panicked")?).collect()
            });
            parts?.concat()
        };
        let total = started.elapsed().as_secs_f64();
        done.sort_unstable_by_key(|(at, ..)| *at);
        let ids: Vec<_> = done.iter().map(|(_, ids, _)| ids).collect();
        let seconds: Vec<_> = done.iter().map(|(.., seconds)| seconds).collect();
        Ok(json!({"ids": ids, "seconds": seconds, "total": total}))
    }
}

fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)?.trim().trim_end_matches(" kB").parse().ok())
}

fn answer(line: &str, built: &mut Option<Built>) -> Result<serde_json::Value, Failure> {
    let mut value = match serde_json::from_str(line)? {
        Request::Build(build) => {
            let (new, seconds) = Built::new(&build)?;
            let segments = new.searcher.segment_readers().len();
            *built = Some(new);
            json!({"seconds": seconds, "segments": segments})
        }
        Request::Search(search) => built.as_ref().ok_or("search before build: nothing to search")?.search(&search)?,
    };
    value["rss_kib"] = json!(status("VmRSS:"));
    value["peak_kib"] = json!(status("VmHWM:"));
    Ok(value)
}

fn run() -> Result<(), Failure> {
    let mut built = None;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&line?, &mut built).unwrap_or_else(|error| json!({"error": error.to_string()}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vector_peer: error: {error}");
            ExitCode::FAILURE
        }
    }
}
