//! Shards that answer as one index, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_plugin::check::check;
use adam_plugin::engine::{Document, FusionName};
use adam_plugin::shards::{Content, Part, Placement, ShardJob, ShardManifest, ShardState, Shards};
use adam_plugin::{Engine, Mode, PluginError, SearchRequest, WriterSettings};
use common::Words;
use serde_json::json;
use tempfile::TempDir;

const MEMORY: usize = 15_000_000;
const FEW: [&str; 12] =
    ["crow", "raven", "jay", "rook", "oak", "ash", "elm", "beech", "iron", "comet", "glass", "bread"];

/// Texts of few words, so that many scores are equal; one in nine is a text that came before.
fn documents(count: usize) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut state = 12345u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below
    };
    for number in 0..count {
        let words: Vec<&str> = (0..1 + random(9)).map(|_| FEW[random(FEW.len())]).collect();
        let text = match documents.last() {
            Some(Document { text, .. }) if number % 9 == 8 => text.clone(),
            _ => words.join(" "),
        };
        let metadata = json!({ "year": 1990 + random(30) });
        documents.push(Document {
            id: format!("d{}", (number * 7919) % 10_007),
            title: FEW[random(FEW.len())].to_owned(),
            text,
            metadata: metadata.as_object().cloned(),
            vector: None,
        });
    }
    documents
}

fn write(engine: &Engine, documents: impl Iterator<Item = Document>) {
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    for document in documents {
        writer.update_document(engine.document(document).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.merge_all(MEMORY).unwrap();
}

fn plain(path: PathBuf, documents: &[Document]) -> Engine {
    let engine = Engine::builder(path).encoder(Arc::new(Words::new())).open_or_create().unwrap();
    write(&engine, documents.iter().cloned());
    engine
}

fn content(documents: &[Document]) -> Content {
    let mut content = Content::default();
    documents.iter().for_each(|document| content.add(document));
    content
}

/// The job that makes shards of documents, and the documents of one part.
fn job(index: &Path, documents: &[Document], of: u32, placement: Placement) -> ShardJob {
    ShardJob::new(index, of, placement, &content(documents), &Words::new().pinned().fingerprint, "")
}

fn part_of(documents: &[Document], part: Part, placement: Placement) -> Vec<Document> {
    let rows = documents.len() as u64;
    let held = |(row, document): &(u64, &Document)| part.holds(placement, &document.id, *row, rows);
    (0..).zip(documents).filter(held).map(|(_, document)| document.clone()).collect()
}

fn make(job: &ShardJob, part: Part, rows: &[Document]) -> Option<PathBuf> {
    let content = content(rows);
    let ShardState::Open(folder) = job.state(part, &content).unwrap() else { return None };
    let engine =
        Engine::builder(folder).encoder(Arc::new(Words::new())).pinned(Words::new().pinned()).open_or_create().unwrap();
    write(&engine, rows.iter().cloned());
    drop(engine);
    Some(job.finish(part, &content).unwrap())
}

fn sharded(index: &Path, documents: &[Document], of: u32, placement: Placement) -> Shards {
    let job = job(index, documents, of, placement);
    for number in 0..of {
        assert!(job.seal().unwrap().is_none(), "sealed before all shards were there");
        let part = Part { number, of };
        make(&job, part, &part_of(documents, part, placement)).unwrap();
    }
    job.seal().unwrap().unwrap()
}

fn open(index: &Path) -> Result<Engine, PluginError> {
    Engine::builder(index).encoder(Arc::new(Words::new())).open()
}

fn answers(engine: &Engine) -> Vec<(String, Vec<(String, u32)>)> {
    let mut answers = Vec::new();
    for query in ["crow", "iron comet glass", "oak ash elm beech raven", "bread bread jay"] {
        for mode in Mode::ALL {
            for fusion in FusionName::ALL {
                for filter in [None, Some("year:2000..2010")] {
                    for (offset, window) in [(0, None), (0, Some(20)), (150, Some(40))] {
                        let mut request =
                            SearchRequest::new(query).mode(mode).fusion(fusion).top(60).offset(offset).window(window);
                        if let Some(filter) = filter {
                            request = request.filter(filter.parse().unwrap());
                        }
                        let hits = engine.search(&request).unwrap().hits;
                        let found = hits.into_iter().map(|hit| (hit.id, hit.score.to_bits())).collect();
                        answers.push((format!("{query} {mode} {fusion} {filter:?} {offset} {window:?}"), found));
                    }
                }
            }
        }
    }
    answers
}

#[test]
fn shards_answer_as_one_index_to_the_bit() {
    let home = TempDir::new().unwrap();
    let documents = documents(900);
    let wanted = answers(&plain(home.path().join("plain"), &documents));
    assert!(wanted.iter().filter(|(_, found)| !found.is_empty()).count() > wanted.len() / 2);
    let by_length = {
        let mut sorted = documents.clone();
        sorted.sort_by_key(|document| document.text.len());
        sorted
    };
    for (number, (of, placement, documents)) in [
        (1, Placement::Hash, &documents),
        (2, Placement::Range, &documents),
        (4, Placement::Hash, &documents),
        (7, Placement::Hash, &documents),
        (4, Placement::Range, &by_length),
    ]
    .into_iter()
    .enumerate()
    {
        let index = home.path().join(format!("sharded-{number}"));
        sharded(&index, documents, of, placement);
        let engine = open(&index).unwrap();
        assert_eq!(engine.num_docs(), 900);
        for (wanted, got) in wanted.iter().zip(answers(&engine)) {
            assert_eq!(*wanted, got, "{of} shards by {placement}");
        }
        assert_eq!(engine.get(&documents[17].id).unwrap().unwrap().text, documents[17].text);
    }
}

/// The comparison above would be worth nothing if a shard's own statistics gave the same.
#[test]
fn a_shard_alone_scores_otherwise() {
    let home = TempDir::new().unwrap();
    let documents = documents(900);
    let whole = plain(home.path().join("plain"), &documents);
    let index = home.path().join("sharded");
    let list = sharded(&index, &documents, 4, Placement::Range);
    let alone = Engine::open(&list.folders(&index)[1]).unwrap();
    let request = SearchRequest::new("iron comet glass").mode(Mode::Bm25).top(1);
    let best = alone.search(&request).unwrap().hits.remove(0);
    let of_all = whole.search(&request.clone().top(900)).unwrap().hits;
    let same = of_all.iter().find(|hit| hit.id == best.id).unwrap();
    assert_ne!(same.score, best.score);
}

#[test]
fn what_is_done_is_left_and_gives_the_same_manifest_elsewhere() {
    let home = TempDir::new().unwrap();
    let documents = documents(60);
    let bytes = |index: &Path, order: [u32; 3]| {
        let job = job(index, &documents, 3, Placement::Hash);
        for number in order {
            let part = Part { number, of: 3 };
            let rows = part_of(&documents, part, Placement::Hash);
            assert!(make(&job, part, &rows).is_some());
            assert!(make(&job, part, &rows).is_none(), "made again");
        }
        let list = job.seal().unwrap().unwrap();
        assert_eq!(job.seal().unwrap().unwrap(), list);
        let manifests = list
            .folders(index)
            .iter()
            .map(|shard| std::fs::read(shard.join(".shard.json")).unwrap())
            .collect::<Vec<_>>();
        (manifests, std::fs::read(index.join("SHARDS")).unwrap())
    };
    assert_eq!(bytes(&home.path().join("a"), [0, 1, 2]), bytes(&home.path().join("b"), [2, 0, 1]));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let home = TempDir::new().unwrap();
    let documents = documents(60);
    let index = home.path().join("sharded");
    let list = sharded(&index, &documents, 3, Placement::Hash);
    let folders = list.folders(&index);
    let said = || open(&index).err().unwrap().to_string();
    // Missing.
    let away = home.path().join("away");
    std::fs::rename(&folders[1], &away).unwrap();
    assert!(said().contains("shard 1 is missing"), "{}", said());
    // A copy of another.
    copy(&folders[0], &folders[1]);
    assert!(said().contains("is shard 0/3"), "{}", said());
    std::fs::remove_dir_all(&folders[1]).unwrap();
    // Of another job.
    let other = home.path().join("other");
    let others = sharded(&other, &documents[..50], 3, Placement::Hash);
    copy(&others.folders(&other)[1], &folders[1]);
    assert!(said().contains("another generation"), "{}", said());
    std::fs::remove_dir_all(&folders[1]).unwrap();
    std::fs::rename(&away, &folders[1]).unwrap();
    // Damaged.
    for file in [index.join("SHARDS"), folders[2].join(".shard.json")] {
        let whole = std::fs::read(&file).unwrap();
        for at in (0..whole.len() - 1).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, damaged).unwrap();
            assert!(said().contains(&file.display().to_string()), "{}", said());
        }
        std::fs::write(&file, &whole).unwrap();
    }
    assert_eq!(open(&index).unwrap().num_docs(), 60);
    // A list that leads out of its folder.
    let outside = std::fs::read_to_string(index.join("SHARDS")).unwrap();
    let body = outside.rsplit_once("\nsha256").unwrap().0.replace("job-", "../job-");
    let sum = sha256(&body);
    std::fs::write(index.join("SHARDS"), format!("{body}\nsha256 {sum}\n")).unwrap();
    assert!(said().contains("not below the index"), "{}", said());
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn an_open_engine_sees_commits_of_a_shard_and_goes_over_to_a_new_generation() {
    let home = TempDir::new().unwrap();
    let documents = documents(60);
    let index = home.path().join("sharded");
    let list = sharded(&index, &documents[..50], 2, Placement::Hash);
    let engine = open(&index).unwrap();
    assert_eq!(engine.num_docs(), 50);
    // A writer of one shard, of the key's own.
    let new = Document { id: "new".to_owned(), text: "a comet".to_owned(), ..Document::default() };
    let shard = list.of_key("new").unwrap();
    {
        let shard = open(&list.folders(&index)[shard]).unwrap();
        let mut writer = shard.writer(MEMORY, WriterSettings::default()).unwrap();
        writer.update_document(shard.document(new).unwrap()).unwrap();
        writer.commit().unwrap();
    }
    engine.reload().unwrap();
    assert_eq!(engine.num_docs(), 51);
    assert!(matches!(engine.writer(MEMORY, WriterSettings::default()), Err(PluginError::Sharded { .. })));
    // Another generation, of more documents in more shards.
    let list = sharded(&index, &documents, 3, Placement::Hash);
    assert_eq!(list.generation, 2);
    let request = SearchRequest::new("iron comet glass").top(60);
    let hits = engine.search(&request).unwrap().hits;
    assert_eq!(engine.num_docs(), 60);
    let fresh = open(&index).unwrap().search(&request).unwrap().hits;
    assert_eq!(hits, fresh);
    // The generation before may still be read by others; the one before that is gone.
    assert!(list.folders(&index).iter().all(|folder| ShardManifest::read(folder).unwrap().is_some()));
    sharded(&index, &documents[..40], 2, Placement::Hash);
    let jobs = index.read_dir().unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(jobs, 2);
}

#[test]
fn deletions_reach_every_shard_and_a_check_reads_all() {
    let home = TempDir::new().unwrap();
    let documents = documents(60);
    let index = home.path().join("sharded");
    let list = sharded(&index, &documents, 3, Placement::Hash);
    let report = check(&index).unwrap();
    assert_eq!((report.findings.len(), report.documents), (0, 60), "{report:?}");
    let engine = open(&index).unwrap();
    let ids: Vec<String> = documents[..10].iter().map(|document| document.id.clone()).collect();
    assert_eq!(engine.delete(&ids, &[]).unwrap(), 10);
    assert_eq!(engine.num_docs(), 50);
    let old = "year < 2005".parse().unwrap();
    let older =
        documents[10..].iter().filter(|document| document.metadata.as_ref().unwrap()["year"].as_u64() < Some(2005));
    assert_eq!(engine.delete(&[], &[old]).unwrap(), older.count() as u64);
    // Damage of one file of one shard, and a shard that is gone.
    let folders = list.folders(&index);
    let file = folders[2].read_dir().unwrap().flatten().map(|entry| entry.path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|found| found == "fieldnorm")).unwrap();
    let mut content = std::fs::read(&file).unwrap();
    content[0] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, content).unwrap();
    assert!(open(&index).err().unwrap().to_string().contains(&file.display().to_string()));
    std::fs::remove_dir_all(&folders[1]).unwrap();
    let report = check(&index).unwrap();
    let damaged: Vec<_> = report.findings.iter().map(|finding| finding.path.clone()).collect();
    assert!(damaged.contains(&file) && damaged.contains(&folders[1]), "{damaged:?}");
}
