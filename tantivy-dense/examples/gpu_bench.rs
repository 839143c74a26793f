//! Times searches on a device through tantivy, and holds what they find against an exact search on the processor.
//!
//! ```text
//! scripts/cuda-build.sh        # builds target/cuda/release/examples/gpu_bench
//! gpu_bench --rows 1000000 --dimension 384 --batches 1,32,1024 --k 10 --index flat
//! gpu_bench --rows 20000 --dimension 64 --device host      # without a GPU, from an ordinary build too
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use tantivy::indexer::NoMergePolicy;
use tantivy::schema::Schema;
use tantivy::{IndexWriter, Searcher, TantivyDocument};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{
    Dense, DenseOptions, Device, DeviceOptions, Hit, KnnQuery, Metric, SearchPath, VectorField, VectorOptions,
};

type Failure = Box<dyn std::error::Error>;

/// A batch size is timed for so long, and for at least `LEAST_RUNS` batches.
const TIMED: Duration = Duration::from_secs(2);
const LEAST_RUNS: usize = 5;
/// Queries whose hits are held against the exact ones.
const CHECKED: usize = 64;

/// Times searches on a device through tantivy, and holds what they find against an exact search on the processor.
///
/// Writes a line of JSON for each batch size to standard output.
#[derive(Parser)]
struct Arguments {
    /// Vectors in the index, made at random.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = count)]
    rows: usize,
    /// Values of a vector.
    #[arg(long, value_name = "D", default_value_t = 384, value_parser = count)]
    dimension: usize,
    /// Queries that are searched for together, one size after the other.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 32, 1024], value_parser = count)]
    batches: Vec<usize>,
    /// Nearest vectors asked for.
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = count)]
    k: usize,
    /// All vectors one after another, or inverted files.
    #[arg(long, value_enum, default_value_t = Layout::Flat)]
    index: Layout,
    /// What is near.
    #[arg(long, value_enum, default_value_t = Nearness::Cosine)]
    metric: Nearness,
    /// Queries to choose from.
    #[arg(long, value_name = "Q", default_value_t = 1024, value_parser = count)]
    queries: usize,
    /// Write the lines to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write vectors and queries into this folder as plain little-endian f32, so that another program can be timed on the very same.
    #[arg(long, value_name = "FOLDER")]
    dump: Option<PathBuf>,
    /// gpu, gpu:NUMBER, or host: the same on the processor, from a build without GPUs too.
    #[arg(long, default_value = "gpu:0")]
    device: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    Flat,
    Ivf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Nearness {
    Cosine,
    L2,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be 1 or more".to_owned()),
        Ok(number) => Ok(number),
        Err(fault) => Err(format!("{fault}")),
    }
}

impl Arguments {
    fn device(&self) -> Result<Device, Failure> {
        let options = DeviceOptions::default().lists(self.index == Layout::Ivf).least_values(0);
        let device = Device::named(&self.device, options)?;
        match device.unavailable() {
            None => Ok(device),
            Some(why) => Err(format!("{} cannot be used: {why}", device.name()).into()),
        }
    }
}

/// Pseudo-random vectors, each computed from its number alone: values from -1 to 1 by SplitMix64.
fn vector(number: usize, dimension: usize, out: &mut Vec<f32>) {
    let first = (number as u64).wrapping_mul(dimension as u64);
    out.clear();
    out.extend((0..dimension as u64).map(|at| {
        let mut bits = (first + at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }));
}

fn dump(folder: &Path, name: &str, numbers: impl Iterator<Item = usize>, dimension: usize) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(folder.join(name))?);
    let mut values = Vec::new();
    for number in numbers {
        vector(number, dimension, &mut values);
        for value in &values {
            out.write_all(&value.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gpu_bench: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let Arguments { rows, dimension, k, .. } = arguments;
    let lists = arguments.index == Layout::Ivf;
    let metric = match arguments.metric {
        Nearness::Cosine => Metric::Cosine,
        Nearness::L2 => Metric::L2,
    };
    let device = arguments.device()?;
    let mut queries = Vec::new();
    for number in rows..rows + arguments.queries {
        let mut query = Vec::new();
        vector(number, dimension, &mut query);
        queries.push(query);
    }
    if let Some(folder) = &arguments.dump {
        dump(folder, "rows.f32", 0..rows, dimension)?;
        dump(folder, "queries.f32", rows..rows + queries.len(), dimension)?;
    }

    // An index of one segment; a list for a thousand rows where there are lists.
    let factory = format!("IVF{},Flat", (rows / 1000).clamp(1, 4096));
    let policy = if lists { AnnPolicy::always(factory, 1) } else { AnnPolicy::never() };
    let options = DenseOptions::default().ann(policy).device(device.clone()).verify_on_open(false);
    let dense = Dense::with_options(options);
    let mut schema = Schema::builder();
    let field = VectorField::add_to(&mut schema, "vector", VectorOptions::new(metric, dimension))?;
    let folder = tempfile::tempdir()?;
    let mut index = dense.index_builder().schema(schema.build()).create_in_dir(folder.path())?;
    index.set_default_multithread_executor()?;
    let started = Instant::now();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 1_000_000_000)?;
    dense.prepare(&writer)?;
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut values = Vec::new();
    for number in 0..rows {
        vector(number, dimension, &mut values);
        let mut document = TantivyDocument::new();
        field.add(&mut document, &values)?;
        writer.add_document(document)?;
        // Lists are built by merges, which want two segments.
        if lists && number == rows / 2 {
            writer.commit()?;
        }
    }
    writer.commit()?;
    let segments = index.searchable_segment_ids()?;
    if segments.len() > 1 {
        writer.merge(&segments).wait()?;
    }
    writer.wait_merging_threads()?;
    eprintln!("{rows} vectors of {dimension} indexed in {:.1} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let searcher = dense.reader(&index)?.searcher();
    eprintln!("opened, with the copy to {}, in {:.2} s", device.name(), started.elapsed().as_secs_f64());

    let knn = KnnQuery::new(&dense, field, queries[0].clone(), k);
    let checked = &queries[..queries.len().min(CHECKED)];
    let started = Instant::now();
    let truth = knn.clone().exact().on_device(false).search_batch(&searcher, checked)?;
    let exact = checked.len() as f64 / started.elapsed().as_secs_f64();
    let mut json = arguments.json.as_deref().map(File::create).transpose()?;
    for &batch in &arguments.batches {
        let line = time(&knn, &searcher, &queries, batch, &truth)?;
        let usage = device.usage();
        let line = serde_json::json!({
            "device": device.name(), "index": if lists { "ivf" } else { "flat" }, "metric": metric, "rows": rows,
            "dimension": dimension, "k": k, "segments": searcher.segment_readers().len(), "batch": batch,
            "milliseconds": line.median, "milliseconds_p95": line.p95, "runs": line.runs,
            "queries_per_second": batch as f64 * 1e3 / line.median, "recall": line.recall,
            "same_bits": line.same_bits, "on_device": line.on_device, "bytes_on_device": usage.bytes,
            // The exact search by the processor that the hits were held against, once, as one batch.
            "processor_queries_per_second": exact, "processor_batch": checked.len(),
        });
        println!("{line}");
        if let Some(file) = &mut json {
            writeln!(file, "{line}")?;
        }
    }
    Ok(())
}

struct Timed {
    /// Milliseconds for a batch.
    median: f64,
    p95: f64,
    runs: usize,
    /// Share of the exact hits that were found.
    recall: f64,
    /// Whether hits and similarities are those of the exact search, to the last bit.
    same_bits: bool,
    /// Share of the checked searches that the device answered.
    on_device: f64,
}

fn time(
    knn: &KnnQuery,
    searcher: &Searcher,
    queries: &[Vec<f32>],
    batch: usize,
    truth: &[Vec<Hit>],
) -> Result<Timed, Failure> {
    // As many as a batch takes, the same ones again where there are fewer.
    let from = |first: usize| -> Vec<&[f32]> {
        queries.iter().cycle().skip(first % queries.len()).take(batch).map(Vec::as_slice).collect()
    };
    knn.search_batch(searcher, &from(0))?;
    let (mut times, begun) = (Vec::new(), Instant::now());
    while times.len() < LEAST_RUNS || begun.elapsed() < TIMED {
        let these = from(times.len() * batch);
        let started = Instant::now();
        std::hint::black_box(knn.search_batch(searcher, &these)?);
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);

    let (mut found, mut wanted, mut same_bits, mut used) = (0, 0, true, 0);
    for first in (0..truth.len()).step_by(batch) {
        let these = from(first);
        for (answer, truth) in knn.run_batch(searcher, &these)?.into_iter().zip(&truth[first..]) {
            found += truth.iter().filter(|hit| answer.hits.iter().any(|other| other.address == hit.address)).count();
            wanted += truth.len();
            same_bits &= answer.hits == *truth;
            used += usize::from(answer.segments.iter().all(|segment| is_on_device(&segment.path)));
            if let Some(why) = answer.segments.iter().find_map(|segment| segment.note.as_ref()) {
                eprintln!("batch {batch}: a segment was left to the processor: {why}");
            }
        }
    }
    Ok(Timed {
        median: times[times.len() / 2],
        p95: times[times.len() * 95 / 100],
        runs: times.len(),
        recall: found as f64 / wanted.max(1) as f64,
        same_bits,
        on_device: used as f64 / truth.len().max(1) as f64,
    })
}

fn is_on_device(path: &SearchPath) -> bool {
    match path {
        SearchPath::ExactOnDevice(_) => true,
        SearchPath::Index(how) => how.device.is_some(),
        _ => false,
    }
}
