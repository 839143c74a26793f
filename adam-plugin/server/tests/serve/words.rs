//! What a query's words find, and re-ranking of texts that a client sends.

use adam_plugin::Synonyms;
use adam_server::Limits;
use serde_json::json;

use crate::http::has_runtime;
use crate::{birds, by_hand, engine, reranker, run, service_of, start, start_with_reranker};

#[test]
fn synonyms_typing_errors_fields_and_suggestions_are_a_matter_of_the_request() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let synonyms = Synonyms::parse("corvid, crow, raven", "birds.txt").unwrap();
    let server = run(service_of(engine(folder.path()).with_synonyms(&synonyms).unwrap(), by_hand()));
    let mut client = server.client();
    assert_eq!(client.post("/documents?commit=true", &birds()).status, 200);
    let mut ids = client.post("/search", &json!({"query": "corvid", "mode": "bm25"})).ids();
    ids.sort();
    assert_eq!(ids, ["crow", "raven"]);
    assert!(client.post("/search", &json!({"query": "corvid", "mode": "bm25", "synonyms": false})).ids().is_empty());
    let plain = client.post("/search", &json!({"query": "raevns", "mode": "bm25", "suggest": true}));
    assert_eq!((plain.ids().len(), &plain.json()["did_you_mean"]), (0, &json!("ravens")));
    assert_eq!(client.get("/search?query=raevns&mode=bm25&typos=true").ids(), ["raven"]);
    assert!(client.get("/search?query=ravens&mode=bm25&suggest=true").json()["did_you_mean"].is_null());
    let score = |answer: &crate::http::Answer| answer.json()["hits"][0]["score"].as_f64().unwrap();
    let once = client.get("/search?query=glass&mode=bm25&fields=content");
    let thrice = client.get("/search?query=glass&mode=bm25&fields=content^3");
    assert!((score(&thrice) - 3.0 * score(&once)).abs() < 1e-4);
    for (fields, said) in [
        (json!(["body"]), "there are content"),
        (json!(["content^x"]), "is not a number"),
        (json!(["content^0"]), "must be above 0"),
        (json!(["content", "content"]), "named twice"),
    ] {
        let refused = client.post("/search", &json!({"query": "glass", "fields": fields}));
        assert!(refused.status == 422 && refused.error().contains(said), "{}", refused.error());
    }
    server.stop();
}

#[test]
fn texts_of_the_request_are_re_ranked() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start_with_reranker(folder.path(), by_hand().limits(Limits::default().batch(40)));
    let mut client = server.client();
    let texts: Vec<String> = (0..40).map(|number| format!("text {number} about crows and wire")).collect();
    let query = "which birds bend wire";
    let logits = reranker().score(query, &texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let raw = client.post("/rerank", &json!({"query": query, "texts": texts, "raw_scores": true, "return_text": true}));
    assert_eq!(raw.status, 200, "{}", raw.error());
    let ranks = raw.json().as_array().unwrap().clone();
    assert_eq!(ranks.len(), texts.len());
    let mut before = f64::INFINITY;
    for rank in &ranks {
        let (index, score) = (rank["index"].as_u64().unwrap() as usize, rank["score"].as_f64().unwrap());
        assert!((score - f64::from(logits[index])).abs() < 1e-4 && score <= before);
        assert_eq!(rank["text"], texts[index].as_str());
        before = score;
    }
    let shares = client.post("/rerank", &json!({"query": query, "texts": texts})).json();
    for (share, rank) in shares.as_array().unwrap().iter().zip(&ranks) {
        let wanted = 1.0 / (1.0 + (-rank["score"].as_f64().unwrap()).exp());
        assert!((share["score"].as_f64().unwrap() - wanted).abs() < 1e-5 && share["text"].is_null());
    }
    let many: Vec<&str> = vec!["a"; 41];
    assert_eq!(client.post("/rerank", &json!({"query": "a", "texts": many})).status, 413);
    assert_eq!(client.post("/rerank", &json!({"query": "a", "texts": []})).status, 422);
    let left = json!({"query": "a", "texts": ["b"], "truncation_direction": "Left"});
    assert_eq!(client.post("/rerank", &left).status, 422);
    server.stop();

    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    let refused = client.post("/rerank", &json!({"query": "a", "texts": ["b"]}));
    assert!(refused.status == 422 && refused.error().contains("no re-ranker"), "{}", refused.error());
    assert!(client.get("/openapi.json").json()["paths"]["/rerank"].is_null());
    server.stop();
}
