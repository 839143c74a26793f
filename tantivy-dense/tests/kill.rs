//! Killed at any moment, an index opens again and holds every document that was committed.
//!
//! The test starts this very program a second time as the one to be killed (`write_until_killed`). That writes batches of
//! documents, which merge in the background, and says so after each commit. It is killed by SIGKILL at a random moment; the
//! index is then opened, and every document of the last commit looked up by its word and by its vector.
//!
//! The system's page cache survives a killed program: this shows what tantivy and this crate do in which order, not what a
//! disk does when power fails.
//!
//! `ADAM_KILLS` is the number of kills, 25 unless given.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]
#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rand::RngExt;
use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::indexer::LogMergePolicy;
use tantivy::query::TermQuery;
use tantivy::schema::{Field, IndexRecordOption, TEXT};
use tantivy::{DocAddress, IndexWriter, Searcher, Term};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{Dense, DenseOptions, KnnQuery, VectorOptions};

use support::Fixture;

const FOLDER: &str = "TANTIVY_DENSE_KILL_FOLDER";
const TEST: &str = "after_a_kill_the_index_opens_with_every_document_that_was_committed";
const DIMENSION: usize = 24;
const BATCH: u64 = 40;
/// A folder is begun anew after so many commits, so that looking everything up stays quick.
const MOST_BATCHES: u64 = 60;

/// Documents after a number of batches: their words and vectors.
type Documents = BTreeMap<u64, (String, Vec<f32>)>;

/// What one batch does: documents of its own, an update and a deletion of earlier ones. Depends on the number alone.
struct Batch {
    added: Vec<(u64, String, Vec<f32>)>,
    removed: Vec<u64>,
}

fn batch(number: u64) -> Batch {
    let mut random = support::random(number);
    let first = (number - 1) * BATCH;
    let mut ids: Vec<u64> = (first..first + BATCH).collect();
    let mut removed = Vec::new();
    if first > 0 {
        // An update: removed and added again in the same batch.
        let updated = random.random_range(0..first);
        removed.extend([updated, random.random_range(0..first)]);
        ids.push(updated);
    }
    let added = ids.into_iter().map(|id| {
        let vector = support::vector(&mut random, DIMENSION);
        (id, format!("w{number}x{id}"), vector)
    });
    Batch { added: added.collect(), removed }
}

fn documents_after(batches: u64) -> Documents {
    let mut documents = Documents::new();
    for number in 1..=batches {
        let Batch { added, removed } = batch(number);
        removed.iter().for_each(|id| {
            documents.remove(id);
        });
        documents.extend(added.into_iter().map(|(id, word, vector)| (id, (word, vector))));
    }
    documents
}

fn fixture() -> (Fixture, Field) {
    let mut word = None;
    let options = VectorOptions::cosine(DIMENSION).int8_first_pass(true);
    let fixture = Fixture::with(options, |schema| word = Some(schema.add_text_field("word", TEXT)));
    (fixture, word.unwrap())
}

fn batches_committed(index: &tantivy::Index) -> u64 {
    index.load_metas().unwrap().payload.map_or(0, |payload| payload.parse().unwrap())
}

/// The program that is killed.
fn write_until_killed(folder: &Path) {
    let (fixture, word) = fixture();
    // Merges build a graph where the feature is on, so that they are killed in the middle of it too.
    let dense = Dense::with_options(DenseOptions::default().ann(AnnPolicy::always("HNSW8", 100)));
    let directory = MmapDirectory::open(folder).unwrap();
    let index = dense.index_builder().schema(fixture.schema.clone()).open_or_create(directory).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(2, 30_000_000).unwrap();
    // Without it, what the writer killed before left of its commit is in the way of this one's files, and a merge can lose a deletion
    // that comes first.
    dense.prepare(&writer).unwrap();
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(3);
    policy.set_min_layer_size(200);
    policy.set_del_docs_ratio_before_merge(0.1);
    writer.set_merge_policy(Box::new(policy));
    let mut out = std::io::stdout();
    writeln!(out, "\nopen").unwrap();
    for number in batches_committed(&index) + 1.. {
        let Batch { added, removed } = batch(number);
        for id in removed {
            writer.delete_term(Term::from_field_u64(fixture.id, id));
        }
        for (id, text, vector) in added {
            let mut document = fixture.document(id, Some(&vector));
            document.add_text(word, text);
            writer.add_document(document).unwrap();
        }
        let mut commit = writer.prepare_commit().unwrap();
        commit.set_payload(&number.to_string());
        commit.commit().unwrap();
        writeln!(out, "committed {number}").unwrap();
        out.flush().unwrap();
    }
}

/// Starts the writer and kills it after it has committed `commits` times and then `delay` has passed, or as much after its
/// start if that is 0. Returns the last commit it reported.
fn kill_writer(folder: &Path, commits: usize, delay: Duration) -> Option<u64> {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, reports) = mpsc::channel();
    let listener = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("committed ") {
                let _ = sender.send(number.parse::<u64>().unwrap());
            }
        }
    });
    let mut last = None;
    for _ in 0..commits {
        match reports.recv_timeout(Duration::from_secs(60)) {
            Ok(number) => last = Some(number),
            Err(_) => {
                let _ = child.kill();
                panic!("the writer ended by itself: {:?}", child.wait());
            }
        }
    }
    std::thread::sleep(delay);
    child.kill().unwrap();
    let ended = child.wait().unwrap();
    assert!(!ended.success() && ended.code().is_none(), "killed by a signal, not ended: {ended}");
    listener.join().unwrap();
    reports.try_iter().last().or(last)
}

/// The state after the last commit must be there in full. Returns how many batches it has.
fn check(folder: &Path, reported: u64, what: &str) -> u64 {
    let (fixture, word) = fixture();
    let (dense, index) = match Dense::open_or_create(folder, fixture.schema.clone()) {
        Ok(opened) => opened,
        Err(error) => panic!("{what}: the index does not open: {error}"),
    };
    let batches = batches_committed(&index);
    assert!(batches >= reported, "{what}: commit {reported} was reported, {batches} is what is there");
    let documents = documents_after(batches);
    assert_eq!(index.validate_checksum().unwrap().len(), 0, "{what}");
    dense.verify(&index).unwrap();
    let searcher = dense.reader(&index).unwrap().searcher();
    let addresses = fixture.addresses(&searcher);
    assert!(addresses.keys().eq(documents.keys()), "{what}: other documents than after batch {batches}");
    for (id, (text, vector)) in &documents {
        assert_eq!(by_text(&searcher, word, text), [addresses[id]], "{what}: document {id} by its word");
        let near = KnnQuery::new(&dense, fixture.vector.clone(), vector.clone(), 1).search(&searcher).unwrap();
        assert_eq!(near[0].address, addresses[id], "{what}: document {id} by its vector");
        assert!((near[0].similarity - 1.0).abs() < 1e-5, "{what}: {near:?}");
    }
    batches
}

fn by_text(searcher: &Searcher, word: Field, text: &str) -> Vec<DocAddress> {
    let query = TermQuery::new(Term::from_field_text(word, text), IndexRecordOption::Basic);
    let found = searcher.search(&query, &TopDocs::with_limit(2).order_by_score()).unwrap();
    found.into_iter().map(|(_, address)| address).collect()
}

#[test]
fn after_a_kill_the_index_opens_with_every_document_that_was_committed() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        write_until_killed(Path::new(&folder));
        return;
    }
    let kills: usize = std::env::var("ADAM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(25);
    let mut random = support::random(9);
    let mut folder = tempfile::tempdir().unwrap();
    let mut batches = 0;
    let (mut commits, mut segments_left_over) = (0, 0);
    for kill in 0..kills {
        if batches > MOST_BATCHES {
            folder = tempfile::tempdir().unwrap();
            batches = 0;
        }
        let after = random.random_range(0..4);
        let delay = Duration::from_micros(random.random_range(0..60_000));
        let reported = kill_writer(folder.path(), after, delay);
        segments_left_over += files_not_committed(folder.path());
        let what = format!("kill {kill}, {delay:?} after {after} commits");
        let now = check(folder.path(), reported.unwrap_or(batches), &what);
        commits += now - batches;
        batches = now;
    }
    println!(
        "{kills} kills, {commits} commits, {segments_left_over} files of unfinished segments or merges left behind"
    );
    assert!(commits > kills as u64 / 2, "only {commits} commits in {kills} kills: the moments are badly chosen");
}

/// Files of vectors that belong to no committed segment: kills did interrupt work.
fn files_not_committed(folder: &Path) -> usize {
    let Ok(meta) = std::fs::read_to_string(folder.join("meta.json")) else { return 0 };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strange = |file: &str| {
        // meta.json has the ids with hyphens, file names have them without.
        file.strip_suffix(".vec").or(file.strip_suffix(".ann")).is_some_and(|id| !meta.replace('-', "").contains(id))
    };
    files.filter(|file| strange(file)).count()
}
