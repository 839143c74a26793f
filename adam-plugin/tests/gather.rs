//! Shards that are open in engines of their own answer as one index.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use adam_plugin::engine::gather::{Candidates, GatheredSearch, Statistics};
use adam_plugin::engine::{Document, FusionName};
use adam_plugin::shards::{Part, Placement};
use adam_plugin::{Engine, Mode, SearchRequest, SearchResponse, WriterSettings};
use common::Words;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;

const MEMORY: usize = 15_000_000;
const FEW: [&str; 12] =
    ["crow", "raven", "jay", "rook", "oak", "ash", "elm", "beech", "iron", "comet", "glass", "bread"];

/// Texts of few words, so that many scores are equal, within shards and across them.
fn documents(count: usize) -> Vec<Document> {
    let text = |number: usize| {
        let words = (0..1 + number % 7).map(|at| FEW[(number * 5 + at * at * 3 + number / 40) % FEW.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    let document = |number: usize| Document {
        id: format!("d{}", (number * 7919) % 10_007),
        title: FEW[number % FEW.len()].to_owned(),
        text: text(number),
        metadata: json!({ "year": 1990 + number % 30 }).as_object().cloned(),
        vector: None,
    };
    (0..count).map(document).collect()
}

fn engine(path: PathBuf, documents: impl Iterator<Item = Document>) -> Engine {
    let engine = Engine::builder(path).encoder(Arc::new(Words::new())).open_or_create().unwrap();
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    for document in documents {
        writer.update_document(engine.document(document).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.merge_all(MEMORY).unwrap();
    engine
}

fn shards(home: &TempDir, documents: &[Document], of: u32, placement: Placement) -> Vec<Engine> {
    let rows = documents.len() as u64;
    let shard = |number: u32| {
        let part = Part { number, of };
        let of_part = (0..).zip(documents).filter(|(row, document)| part.holds(placement, &document.id, *row, rows));
        engine(home.path().join(format!("{of}-{placement}-{number}")), of_part.map(|(_, document)| document.clone()))
    };
    (0..of).map(shard).collect()
}

/// As it comes out of another process.
fn sent<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

fn gathered(shards: &[Engine], request: &SearchRequest) -> SearchResponse {
    let parts: Vec<Statistics> = shards.iter().map(|shard| sent(&shard.statistics(request).unwrap())).collect();
    let statistics = Statistics::sum(&parts).unwrap();
    let mut search = GatheredSearch::new(request, &statistics).unwrap();
    while let Some(window) = search.window() {
        let found: Vec<Candidates> =
            shards.iter().map(|shard| sent(&shard.candidates(request, &statistics, window).unwrap())).collect();
        search.add(&found).unwrap();
    }
    let keys = search.keys(shards.len());
    let fetched = shards.iter().zip(&keys).map(|(shard, keys)| sent(&shard.fetch(request, keys).unwrap()));
    search.response(fetched.collect()).unwrap()
}

fn requests() -> Vec<SearchRequest> {
    let mut requests = Vec::new();
    for query in ["crow", "iron comet glass", "oak ash elm beech raven", "bread bread jay", "unknown"] {
        for mode in Mode::ALL {
            for fusion in FusionName::ALL {
                for filter in [None, Some("year:2000..2010")] {
                    for (offset, window) in [(0, None), (7, Some(20)), (150, Some(40)), (590, Some(3))] {
                        let mut request = SearchRequest::new(query)
                            .mode(mode)
                            .fusion(fusion)
                            .top(60)
                            .offset(offset)
                            .window(window)
                            .total(true);
                        if let Some(filter) = filter {
                            request = request.filter(filter.parse().unwrap());
                        }
                        requests.push(request);
                    }
                }
            }
        }
    }
    requests
}

#[test]
fn shards_of_several_engines_answer_as_one_index_to_the_bit() {
    let home = TempDir::new().unwrap();
    let documents = documents(600);
    let whole = engine(home.path().join("whole"), documents.iter().cloned());
    let requests = requests();
    let wanted: Vec<SearchResponse> = requests.iter().map(|request| whole.search(request).unwrap()).collect();
    assert!(wanted.iter().filter(|response| !response.hits.is_empty()).count() > wanted.len() / 2);
    for (of, placement) in [(1, Placement::Hash), (3, Placement::Hash), (4, Placement::Range), (7, Placement::Hash)] {
        let shards = shards(&home, &documents, of, placement);
        for (request, wanted) in requests.iter().zip(&wanted) {
            let got = gathered(&shards, request);
            let bits = |response: &SearchResponse| -> Vec<(String, u32)> {
                response.hits.iter().map(|hit| (hit.id.clone(), hit.score.to_bits())).collect()
            };
            assert_eq!(bits(wanted), bits(&got), "{of} shards by {placement}: {request:?}");
            assert_eq!(wanted.hits, got.hits, "{of} shards by {placement}: {request:?}");
            assert_eq!(wanted.total, got.total, "{request:?}");
            assert_eq!(wanted.warnings, got.warnings, "{request:?}");
        }
    }
}

/// The comparison above would be worth nothing if the statistics of single shards gave the same.
#[test]
fn a_shards_own_statistics_give_other_scores() {
    let home = TempDir::new().unwrap();
    let documents = documents(300);
    let whole = engine(home.path().join("whole"), documents.iter().cloned());
    let shards = shards(&home, &documents, 4, Placement::Range);
    let request = SearchRequest::new("iron comet glass").mode(Mode::Bm25);
    let own = shards[0].statistics(&request).unwrap();
    let all = Statistics::sum(&shards.iter().map(|shard| shard.statistics(&request).unwrap()).collect::<Vec<_>>());
    let scored = |statistics: &Statistics| shards[0].candidates(&request, statistics, 50).unwrap().documents;
    let global = scored(&all.unwrap());
    assert_ne!(scored(&own), global);
    let found = whole.search(&request.clone().top(300).window(300)).unwrap().hits;
    for row in &global {
        let hit = found.iter().find(|hit| hit.id == row.key).unwrap();
        assert_eq!(row.raw, [Some(hit.score)]);
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let home = TempDir::new().unwrap();
    let shards = shards(&home, &documents(60), 2, Placement::Hash);
    let request = SearchRequest::new("crow");
    let statistics: Vec<Statistics> = shards.iter().map(|shard| shard.statistics(&request).unwrap()).collect();
    let mut other = statistics.clone();
    other[1].model = "another".to_owned();
    assert!(Statistics::sum(&other).unwrap_err().to_string().contains("different models"));
    assert!(Statistics::sum(&[]).is_err());
    assert!(shards[0].candidates(&request, &other[1], 10).unwrap_err().to_string().contains("another model"));
    let sum = Statistics::sum(&statistics).unwrap();
    let mut search = GatheredSearch::new(&request, &sum).unwrap();
    let wrong = [shards[0].candidates(&request, &sum, 3).unwrap()];
    assert!(search.add(&wrong).unwrap_err().to_string().contains("asked for"));
    let lexical = request.clone().mode(Mode::Bm25);
    let window = search.window().unwrap();
    let wrong = [shards[0].candidates(&lexical, &sum, window).unwrap()];
    assert!(search.add(&wrong).unwrap_err().to_string().contains("of 1 arms"));
    // Deleted between the second round and the third.
    let found: Vec<Candidates> = shards.iter().map(|shard| shard.candidates(&request, &sum, window).unwrap()).collect();
    search.add(&found).unwrap();
    let said = search.response(vec![Vec::new(), Vec::new()]).unwrap_err().to_string();
    assert!(said.contains("was deleted before it was shown"), "{said}");
    for (request, said) in [
        (request.clone().explain(true), "explains its hits"),
        (request.clone().rerank(5), "re-ranks"),
        (request.clone().suggest(true), "may have been meant"),
    ] {
        assert!(shards[0].statistics(&request).unwrap_err().to_string().contains(said), "{said}");
    }
}

#[test]
fn a_vector_made_before_is_taken_for_the_querys_own() {
    let home = TempDir::new().unwrap();
    let whole = engine(home.path().join("whole"), documents(50).into_iter());
    for mode in [Mode::Dense, Mode::Hybrid] {
        let request = SearchRequest::new("crow and raven").mode(mode);
        let encoded = request.clone().encoded(whole.encode_query("crow and raven").unwrap());
        assert_eq!(whole.search(&request).unwrap().hits, whole.search(&encoded).unwrap().hits);
    }
    let wrong = SearchRequest::new("crow").encoded(vec![1.0]);
    assert!(whole.search(&wrong).unwrap_err().to_string().contains("has a vector that"));
}
