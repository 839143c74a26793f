//! Long documents in chunks: hits by document, the nearest chunk as the snippet, and words that count as if there were none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/models.rs"]
mod models;

use std::path::Path;
use std::sync::Arc;

use adam_encoder::{EncoderOptions, TextEncoder};
use adam_plugin::engine::Document;
use adam_plugin::{Chunking, Engine, Mode, OnFailure, PluginError, Reranker, SearchRequest, WriterSettings};
use common::Words;

const CHUNKING: Chunking = Chunking { tokens: 20, overlap: 4 };
const TOPICS: [&str; 6] = ["crow", "iron", "glacier", "vitamin", "comet", "orchid"];

/// Documents of 5 to 150 words: fillers, and somewhere in the middle one sentence about a topic.
fn documents() -> Vec<Document> {
    (0..40)
        .map(|number: usize| {
            let length = 5 + (number * 37) % 146;
            let mut words: Vec<String> = (0..length).map(|at| format!("filler{}", (at * 7 + number) % 90)).collect();
            let topic = TOPICS[number % TOPICS.len()];
            let at = (number * 13) % length;
            words.splice(at..at, [topic, "alpha", topic, &format!("mark{number}")].map(str::to_owned));
            Document {
                id: format!("d{number}"),
                title: format!("Title {number}"),
                text: words.join(" "),
                metadata: Some(serde_json::json!({"even": number.is_multiple_of(2)}).as_object().unwrap().clone()),
                vector: None,
            }
        })
        .collect()
}

fn open(path: &Path, model: &Arc<Words>, chunks: Option<Chunking>) -> Result<Engine, PluginError> {
    let builder = Engine::builder(path).encoder(model.clone());
    match chunks {
        Some(chunking) => builder.chunks(chunking),
        None => builder,
    }
    .open_or_create()
}

fn build(path: &Path, model: &Arc<Words>, chunking: Option<Chunking>) -> Engine {
    let engine = open(path, model, chunking).unwrap();
    let mut writer = engine.writer(15_000_000, WriterSettings::default().batch(8)).unwrap();
    for (number, document) in documents().into_iter().enumerate() {
        writer.update_document(engine.document(document).unwrap()).unwrap();
        // Several segments, so that a document and its chunks may lie in different ones.
        if number % 15 == 14 {
            writer.commit().unwrap();
        }
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.reload().unwrap();
    engine
}

fn ask(engine: &Engine, mode: Mode, query: &str, top: usize) -> Vec<adam_plugin::Hit> {
    let request = SearchRequest::new(query).mode(mode).top(top).snippets(true).explain(true);
    engine.search(&request).unwrap().hits
}

/// The similarity of a document's nearest chunk, from first principles.
fn nearest(model: &Words, document: &Document, query: &str) -> f32 {
    let text = format!("{} {}", document.title, document.text);
    let ranges = model.token_ranges(&text).unwrap();
    let mut best = f32::MIN;
    let mut start = 0;
    loop {
        let end = (start + CHUNKING.tokens).min(ranges.len());
        let chunk = &text[ranges[start].start..ranges[end - 1].end];
        best = best.max(common::cosine(&model.vector(chunk), &model.vector(query)));
        if end == ranges.len() {
            return best;
        }
        start = end - CHUNKING.overlap;
    }
}

#[test]
fn a_document_is_as_near_as_its_nearest_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::of(256, "wide words 1"));
    let engine = build(folder.path(), &model, Some(CHUNKING));
    let documents = documents();
    assert_eq!(engine.num_docs(), 40);
    for query in ["crow alpha crow mark6", "glacier alpha", "filler3 filler10 filler17", "orchid mark35"] {
        let mut expected: Vec<(String, f32)> =
            documents.iter().map(|document| (document.id.clone(), nearest(&model, document, query))).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        for top in [1, 7, 40] {
            let hits = ask(&engine, Mode::Dense, query, top);
            assert_eq!(hits.len(), top);
            for (hit, (_, similarity)) in hits.iter().zip(&expected) {
                assert!((hit.score - similarity).abs() < 1e-4, "{query}: {} {} {similarity}", hit.id, hit.score);
                let own = expected.iter().find(|(id, _)| *id == hit.id).unwrap().1;
                assert!((hit.score - own).abs() < 1e-4, "{query}: {} {} {own}", hit.id, hit.score);
            }
            let mut ids: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), top, "no document twice");
        }
    }
}

#[test]
fn the_nearest_chunk_is_the_snippet() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::of(256, "wide words 1"));
    let engine = build(folder.path(), &model, Some(CHUNKING));
    for document in documents() {
        let number = document.id.trim_start_matches('d').parse::<usize>().unwrap();
        let query = format!("{} alpha mark{number}", TOPICS[number % TOPICS.len()]);
        for mode in [Mode::Dense, Mode::Hybrid] {
            let hits = ask(&engine, mode, &query, 40);
            let hit = hits.iter().find(|hit| hit.id == document.id).unwrap();
            let snippet = hit.snippet.as_ref().unwrap();
            let (start, end) = snippet.chunk.unwrap();
            let text = format!("{} {}", document.title, document.text);
            assert_eq!(snippet.text, &text[start..end]);
            assert!(snippet.text.contains(&format!("mark{number}")), "{}: {}", document.id, snippet.text);
            assert!(model.token_ranges(&snippet.text).unwrap().len() <= CHUNKING.tokens);
        }
    }
}

/// The re-ranker has room for the start of a long document only; what it is to judge is the part that was found.
#[test]
fn the_nearest_chunk_is_what_is_re_ranked() {
    if !models::has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::of(256, "wide words 1"));
    let reranker = Arc::new(Reranker::open(models::tiny_pair(), &EncoderOptions::default()).unwrap());
    let engine = build(folder.path(), &model, Some(CHUNKING)).with_reranker(Arc::clone(&reranker));
    let query = "comet alpha mark10";
    for mode in Mode::ALL {
        let request = SearchRequest::new(query).mode(mode).rerank(Some(8)).snippets(true);
        let hits = engine.search(&request).unwrap().hits;
        let first: Vec<_> = hits.iter().filter(|hit| hit.arms.last().is_some_and(|arm| arm.name == "rerank")).collect();
        assert!(!first.is_empty(), "{mode}");
        for hit in first {
            let document = documents().into_iter().find(|document| document.id == hit.id).unwrap();
            let text = match mode {
                // Words know of no chunks.
                Mode::Bm25 => format!("{} {}", document.title, document.text),
                Mode::Dense | Mode::Hybrid => hit.snippet.as_ref().unwrap().text.clone(),
            };
            let logit = reranker.score(query, &[&text]).unwrap()[0];
            assert!((hit.score - logit).abs() < 1e-4, "{mode} {}: {} {logit}", hit.id, hit.score);
        }
    }
}

#[test]
fn every_hit_is_explained_however_many_there_are() {
    for chunking in [None, Some(CHUNKING)] {
        let folder = tempfile::tempdir().unwrap();
        let engine = build(folder.path(), &Arc::new(Words::of(256, "wide words 1")), chunking);
        let hits = engine.search(&SearchRequest::new("crow").top(1000).explain(true)).unwrap().hits;
        assert!(hits.len() > 20 && hits.iter().all(|hit| hit.explanation.is_some()), "{}", hits.len());
    }
}

#[test]
fn words_count_as_if_there_were_no_chunks() {
    let (plain, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let model = Arc::new(Words::of(256, "wide words 1"));
    let without = build(plain.path(), &model, None);
    let with = build(cut.path(), &model, Some(CHUNKING));
    for query in ["crow", "alpha mark7", "filler1 filler2 filler3", "nothing of it"] {
        let ranking = |engine: &Engine| -> Vec<(String, f32)> {
            let mut hits: Vec<(String, f32)> =
                ask(engine, Mode::Bm25, query, 40).into_iter().map(|hit| (hit.id, hit.score)).collect();
            hits.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            hits
        };
        let (one, other) = (ranking(&without), ranking(&with));
        assert_eq!(one.len(), other.len(), "{query}");
        for ((id, score), (other_id, other_score)) in one.iter().zip(&other) {
            assert_eq!(id, other_id, "{query}");
            assert!((score - other_score).abs() < 1e-5, "{query}: {score} {other_score}");
        }
    }
    // In a hybrid search every candidate has both scores where it has them at all.
    for hit in ask(&with, Mode::Hybrid, "crow alpha", 40) {
        let raw = |name: &str| hit.arms.iter().find(|arm| arm.name == name).unwrap().raw;
        assert!(raw("dense").is_some() && raw("bm25").is_some(), "{}", hit.id);
        assert!(hit.explanation.is_some());
    }
}

#[test]
fn filters_hold_for_chunks_as_for_documents() {
    let folder = tempfile::tempdir().unwrap();
    let engine = build(folder.path(), &Arc::new(Words::of(256, "wide words 1")), Some(CHUNKING));
    for mode in Mode::ALL {
        let ids = |filter: &str| -> Vec<String> {
            let filters = vec![filter.parse().unwrap()];
            let request = SearchRequest::new("crow alpha").mode(mode).top(40).filters(filters);
            let mut ids: Vec<String> = engine.search(&request).unwrap().hits.into_iter().map(|hit| hit.id).collect();
            ids.sort();
            ids
        };
        let even = ids("even:true");
        assert_eq!(even.len(), 20, "{mode}");
        assert!(even.iter().all(|id| id[1..].parse::<usize>().unwrap() % 2 == 0), "{mode}");
        // Words and keys are the document's own.
        assert_eq!(ids("content:mark12"), ["d12"], "{mode}");
        assert_eq!(ids("id:d17"), ["d17"], "{mode}");
        // What is not so of a document is not so of its further chunks, which have no words.
        let without = ids("NOT content:mark12");
        assert!(without.len() == 39 && !without.contains(&"d12".to_owned()), "{mode} {without:?}");
        assert_eq!(ids("-even:true").len(), 20, "{mode}");
        assert_eq!(ids("content:mark12 OR (id:d17 AND -even:true)"), ["d12", "d17"], "{mode}");
        assert_eq!(ids("-(id:(d1, d2) OR even:false)").len(), 19, "{mode}");
        assert!(ids("-content:*absent AND -id:*").is_empty(), "{mode}");
    }
}

#[test]
fn chunks_go_with_their_document() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::of(256, "wide words 1"));
    let engine = build(folder.path(), &model, Some(CHUNKING));
    let stored = engine.index().reader().unwrap().searcher().num_docs();
    assert!(stored > 100, "{stored} with chunks");
    let long = documents().into_iter().find(|document| document.text.len() > 600).unwrap();
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();

    // Unchanged: nothing happens. A changed text: the old chunks go. Deleted: all go.
    writer.update_document(engine.document(long.clone()).unwrap()).unwrap();
    writer.commit().unwrap();
    assert_eq!(writer.progress().unchanged, 1);
    let short = Document { text: "only this remains".to_owned(), ..long.clone() };
    writer.update_document(engine.document(short).unwrap()).unwrap();
    writer.commit().unwrap();
    engine.reload().unwrap();
    assert_eq!(engine.num_docs(), 40);
    let fewer = engine.index().reader().unwrap().searcher().num_docs();
    assert!(fewer < stored, "{fewer} {stored}");
    let hit =
        |engine: &Engine| ask(engine, Mode::Dense, "only this remains", 40).into_iter().find(|hit| hit.id == long.id);
    assert!(hit(&engine).unwrap().snippet.unwrap().text.contains("only this remains"));
    writer.delete_term(engine.key_term(&long.id)).unwrap();
    writer.commit().unwrap();
    engine.reload().unwrap();
    assert_eq!(engine.num_docs(), 39);
    assert!(hit(&engine).is_none());
    assert!(engine.get(&long.id).unwrap().is_none());
    assert_eq!(ask(&engine, Mode::Dense, "crow", 40).len(), 39);
}

/// A document of which only another field changed keeps all its chunks.
#[test]
fn metadata_changes_leave_the_chunks_searchable() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::of(256, "wide words 1"));
    let engine = build(folder.path(), &model, Some(CHUNKING));
    let before = engine.index().reader().unwrap().searcher().num_docs();
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
    for mut document in documents() {
        document.metadata = Some(serde_json::json!({"even": "perhaps"}).as_object().unwrap().clone());
        writer.update_document(engine.document(document).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    engine.reload().unwrap();
    assert_eq!(engine.index().reader().unwrap().searcher().num_docs(), before);
    let filters = vec!["even:perhaps".parse().unwrap()];
    let request = SearchRequest::new("crow alpha").mode(Mode::Dense).top(40).filters(filters);
    assert_eq!(engine.search(&request).unwrap().hits.len(), 40);
}

/// One whose first chunk the model cannot read is still a document: counted, replaced and deleted as any other.
#[test]
fn a_document_without_its_first_chunk_can_be_replaced_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::of(256, "wide words 1"));
    let engine = open(folder.path(), &model, Some(CHUNKING)).unwrap();
    let settings = WriterSettings::default().on_failure(OnFailure::TextOnly);
    let mut writer = engine.writer(15_000_000, settings).unwrap();
    let rest: Vec<String> = (0..60).map(|at| format!("word{at}")).collect();
    let text = format!("UNREADABLE {}", rest.join(" "));
    let stored = || engine.index().reader().unwrap().searcher().num_docs();
    let bad = |id: &str| {
        let document = Document { id: id.to_owned(), text: text.clone(), ..Document::default() };
        engine.document(document).unwrap()
    };
    for id in ["replaced", "deleted", "again"] {
        writer.update_document(bad(id)).unwrap();
    }
    writer.commit().unwrap();
    engine.reload().unwrap();
    assert_eq!((writer.take_failures().len(), engine.num_docs(), stored()), (3, 3, 3));

    let good = Document { id: "replaced".to_owned(), text: "short and good".to_owned(), ..Document::default() };
    writer.update_document(engine.document(good).unwrap()).unwrap();
    writer.update_document(bad("again")).unwrap();
    writer.delete_term(engine.key_term("deleted")).unwrap();
    writer.commit().unwrap();
    engine.reload().unwrap();
    assert_eq!((engine.num_docs(), stored()), (2, 2));
    assert_eq!(engine.get("replaced").unwrap().unwrap().text, "short and good");
    assert!(engine.get("deleted").unwrap().is_none());
}

#[test]
fn an_index_keeps_to_its_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::of(256, "wide words 1"));
    drop(build(folder.path(), &model, Some(CHUNKING)));
    let other = open(folder.path(), &model, Some(Chunking::new(64)));
    let message = other.err().unwrap().to_string();
    assert!(message.contains("20 tokens") && message.contains("new index"), "{message}");
    let again = Engine::builder(folder.path()).encoder(model.clone()).open_or_create().unwrap();
    assert_eq!(again.manifest().layout.chunks, Some(CHUNKING));
    let plain = tempfile::tempdir().unwrap();
    drop(build(plain.path(), &model, None));
    let message = open(plain.path(), &model, Some(CHUNKING)).err().unwrap();
    assert!(message.to_string().contains("does not split documents"), "{message}");
}
