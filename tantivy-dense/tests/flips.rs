//! A damaged file is reported by its name, or does no harm: never a panic, never a wrong answer.
//!
//! Each byte of a file is changed in turn, the index opened, everything asked, and the answers held against those of the whole index.
//! `ADAM_FLIPS=all` also changes every byte of the larger indexes, a sample of which is changed otherwise.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt;
use tantivy::directory::{Directory, RamDirectory};
use tantivy::index::{IndexSettings, IndexSortByField, Order};
use tantivy::indexer::NoMergePolicy;
use tantivy::schema::FAST;
use tantivy::{IndexWriter, ReloadPolicy, Term};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{Dense, DenseError, DenseOptions, Element, KnnQuery, Metric, VectorOptions};

use support::Fixture;

/// The files of an index, by name.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// How an index is made.
struct Shape {
    options: VectorOptions,
    documents: u64,
    sorted: bool,
    merged: bool,
    /// Built by the merge.
    index: Option<&'static str>,
}

/// An index with deleted documents, and some without vectors.
fn make(made: &Shape) -> (Fixture, Files) {
    let fixture = Fixture::with(made.options.clone(), |schema| {
        schema.add_u64_field("sort", FAST);
    });
    let sort = fixture.schema.get_field("sort").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let policy = made.index.map_or_else(AnnPolicy::never, |factory| AnnPolicy::always(factory, 1));
    let dense = Dense::with_options(DenseOptions::default().ann(policy));
    let sort_by_field = made.sorted.then(|| IndexSortByField { field: "sort".to_owned(), order: Order::Desc });
    let settings = IndexSettings { sort_by_field, ..IndexSettings::default() };
    let builder = dense.index_builder().schema(fixture.schema.clone()).settings(settings);
    let index = builder.create_in_dir(folder.path()).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut random = support::random(3);
    for id in 0..made.documents {
        let vector = support::vector(&mut random, made.options.dimension());
        let mut document = fixture.document(id, (id % 6 != 5).then_some(&vector));
        document.add_u64(sort, random.random_range(0..1000));
        writer.add_document(document).unwrap();
        if id == made.documents / 2 {
            writer.commit().unwrap();
        }
    }
    writer.delete_term(Term::from_field_u64(fixture.id, 3));
    writer.commit().unwrap();
    if made.merged {
        let ids = index.searchable_segment_ids().unwrap();
        writer.merge(&ids).wait().unwrap();
        writer.garbage_collect_files().wait().unwrap();
    }
    writer.wait_merging_threads().unwrap();
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if !name.to_string_lossy().ends_with(".lock") {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
    (fixture, files)
}

/// Everything that can be asked of an index: each document's vector and the nearest of a few queries.
type Answers = (BTreeMap<u64, Option<Vec<f32>>>, Vec<Vec<(u64, f32)>>);

/// Opens an index from its files and asks everything.
///
/// The checksums are compared when the index is opened, or by `Dense::verify`. A reader with a warmer costs a thread that tantivy never
/// ends, so most readers here open their segments at the first search.
fn ask(fixture: &Fixture, files: &Files, verify_on_open: bool, warm: bool) -> Result<Answers, DenseError> {
    let directory = RamDirectory::create();
    for (name, bytes) in files {
        directory.atomic_write(name, bytes).unwrap();
    }
    let dense = Dense::with_options(DenseOptions::default().verify_on_open(verify_on_open));
    let index = dense.open_index(directory)?;
    if !verify_on_open {
        dense.verify(&index)?;
    }
    let reader = if warm { dense.reader_builder(&index) } else { index.reader_builder() };
    let searcher = reader.reload_policy(ReloadPolicy::Manual).try_into()?.searcher();
    let mut vectors = BTreeMap::new();
    for (id, address) in fixture.addresses(&searcher) {
        vectors.insert(id, dense.vector(&searcher, &fixture.vector, address)?);
    }
    let mut random = support::random(4);
    let mut nearest = Vec::new();
    for k in [1, 5, 1000] {
        let query = support::vector(&mut random, fixture.vector.options().dimension());
        let hits = KnnQuery::new(&dense, fixture.vector.clone(), query, k).search(&searcher)?;
        nearest.push(hits.iter().map(|hit| (fixture.id_at(&searcher, hit.address), hit.similarity)).collect());
    }
    Ok((vectors, nearest))
}

/// What became of a damaged file.
#[derive(Default)]
struct Tally {
    named: usize,
    harmless: usize,
}

/// Readers with a warmer in one process, whose threads stay.
const MOST_WARM: usize = 4000;

/// Asks everything of an index one file of which is damaged.
fn check(fixture: &Fixture, files: &Files, file: &Path, whole: &Answers, verify: bool, what: &str, tally: &mut Tally) {
    static WARM: AtomicUsize = AtomicUsize::new(0);
    let turn = (tally.named + tally.harmless).is_multiple_of(16);
    let warm = turn && WARM.fetch_add(1, Ordering::Relaxed) < MOST_WARM;
    let answers = catch_unwind(AssertUnwindSafe(|| ask(fixture, files, verify, warm)));
    match answers.unwrap_or_else(|_| panic!("{what}: a panic")) {
        Ok(answers) => {
            assert!(&answers == whole, "{what}: a wrong answer");
            tally.harmless += 1;
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(file.to_str().unwrap()), "{what}: the error does not name the file: {message}");
            tally.named += 1;
        }
    }
}

/// Flips bytes of every file with an extension, and cuts it short. `every` is the distance from one changed byte to the next.
fn damage(made: &Shape, extension: &str, every: usize) {
    let (fixture, files) = make(made);
    let whole = ask(&fixture, &files, true, true).unwrap();
    let names: Vec<PathBuf> =
        files.keys().filter(|name| name.extension().is_some_and(|e| e == extension)).cloned().collect();
    assert!(!names.is_empty());
    let mut tally = Tally::default();
    for name in names {
        let bytes = files[&name].clone();
        let mut damaged = files.clone();
        for at in (0..bytes.len()).step_by(every) {
            // One bit or all of them.
            let changes = [1 << (at % 8), 0xff];
            for (way, change) in changes.into_iter().enumerate() {
                damaged.get_mut(&name).unwrap()[at] ^= change;
                let what = format!("{:?}, byte {at} of {} changed by {change:#x}", made.options, bytes.len());
                check(&fixture, &damaged, &name, &whole, (at + way) % 2 == 0, &what, &mut tally);
                damaged.get_mut(&name).unwrap()[at] = bytes[at];
            }
        }
        for length in (0..bytes.len()).step_by(every) {
            if (4..8).contains(&length) {
                continue; // tantivy 0.27 panics on these, of any of its files, before this crate is asked
            }
            damaged.insert(name.clone(), bytes[..length].to_vec());
            let what = format!("{:?}, {length} of {} bytes left", made.options, bytes.len());
            check(&fixture, &damaged, &name, &whole, true, &what, &mut tally);
        }
    }
    println!("{:?}, .{extension}: {} reported by name, {} without harm", made.options, tally.named, tally.harmless);
    assert!(tally.named > 0);
}

fn step(sampled: usize) -> usize {
    if std::env::var("ADAM_FLIPS").is_ok_and(|flips| flips == "all") { 1 } else { sampled }
}

#[test]
fn every_byte_of_small_files_of_rows() {
    let small = |options, sorted, merged| Shape { options, documents: 14, sorted, merged, index: None };
    damage(&small(VectorOptions::cosine(5), false, false), "vec", 1);
    damage(&small(VectorOptions::dot(3).int8_first_pass(true), false, true), "vec", 1);
    damage(&small(VectorOptions::l2(4).element(Element::Int8), true, false), "vec", 1);
    damage(&small(VectorOptions::cosine(4).element(Element::F16).int8_first_pass(true), true, false), "vec", 3);
}

#[test]
fn a_sample_of_the_bytes_of_larger_files_of_rows() {
    for metric in [Metric::Cosine, Metric::L2] {
        let options = VectorOptions::new(metric, 24).int8_first_pass(true);
        damage(&Shape { options, documents: 500, sorted: false, merged: true, index: None }, "vec", step(211));
    }
}

/// A damaged index is not used: the rows answer. It is small enough to answer exactly while it is whole, so that the answers
/// are the same.
#[cfg(feature = "faiss")]
#[test]
fn every_byte_of_small_files_of_indexes() {
    for (factory, every) in [("HNSW4", 3), ("IVF2,SQ8", 2), ("Flat", 2)] {
        let options = VectorOptions::cosine(4);
        let made = Shape { options, documents: 40, sorted: false, merged: true, index: Some(factory) };
        damage(&made, "ann", step(every));
        damage(&made, "vec", step(7));
    }
}
