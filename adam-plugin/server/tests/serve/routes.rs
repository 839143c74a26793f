//! Every route does what it says.

use adam_encoder::{TextEncoder, TextKind};
use adam_server::{Limits, StopReport};
use serde_json::{Value, json};

use crate::http::has_runtime;
use crate::{birds, by_hand, model, reranker, start, start_in_chunks, start_with_reranker};

#[test]
fn documents_go_in_are_found_and_go_away() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    let mut client = server.client();

    let taken = client.post("/documents", &birds());
    assert_eq!((taken.status, taken.json()), (202, json!({"accepted": 4, "committed": false})));
    assert_eq!(client.get("/info").json()["waiting"], 4);
    assert_eq!(client.get("/search?query=crows").ids().len(), 0, "nothing is seen before the commit");
    let commit = client.send("POST", "/commit", None, b"").unwrap();
    assert_eq!((commit.status, &commit.json()["documents"], &commit.json()["fresh"]), (200, &json!(4), &json!(true)));
    let again = client.send("POST", "/commit", None, b"").unwrap().json();
    assert_eq!((&again["fresh"], &again["opstamp"]), (&json!(false), &commit.json()["opstamp"]));

    // Modes, by body and by link.
    assert_eq!(client.post("/search", &json!({"query": "wire hooks", "mode": "bm25"})).ids(), ["crow"]);
    assert_eq!(client.get("/search?query=wire+hooks&mode=bm25").ids(), ["crow"]);
    let dense = client.post("/search", &json!({"query": "glass has no crystals", "mode": "dense", "top": 2}));
    assert_eq!(dense.ids().len(), 2);
    let hybrid = client.post("/search", &json!({"query": "wire", "weight": 0.25, "explain": true, "snippets": true}));
    let hit = hybrid.json()["hits"][0].clone();
    assert_eq!(hit["id"], "crow");
    assert_eq!(hit["title"], "Crows");
    let arms = hit["arms"].as_array().unwrap();
    assert_eq!(arms.iter().map(|arm| arm["name"].as_str().unwrap()).collect::<Vec<_>>(), ["bm25", "dense"]);
    assert_eq!((&arms[0]["rank"], &arms[0]["weight"], &arms[1]["weight"]), (&json!(1), &json!(0.75), &json!(0.25)));
    assert!(hit["explanation"]["details"].is_array());
    let text = hit["snippet"]["text"].as_str().unwrap();
    let range = &hit["snippet"]["highlights"][0];
    let (from, to) = (range[0].as_u64().unwrap() as usize, range[1].as_u64().unwrap() as usize);
    assert_eq!(&text[from..to], "wire");
    for fusion in ["convex", "rrf", "min-max", "z-score", "dbsf"] {
        let found = client.post("/search", &json!({"query": "wire", "fusion": fusion, "top": 3.0})).ids();
        assert_eq!(found.len(), 3, "{fusion}");
        assert_eq!(client.get(&format!("/search?query=wire&fusion={fusion}&top=3")).ids(), found, "{fusion}");
    }

    // Filters and pages.
    let old = json!({"query": "crows glass ravens", "filters": ["year:1990..2005", "kind:bird"]});
    let mut found = client.post("/search", &old).ids();
    found.sort();
    assert_eq!(found, ["crow", "raven"]);
    assert_eq!(client.get("/search?query=x&mode=dense&filters=kind:bird&filters=year:1999").ids(), ["raven"]);
    let all = client.get("/search?query=birds&mode=dense&top=4").ids();
    assert_eq!(all.len(), 4);
    for page in 0..4 {
        let one = client.get(&format!("/search?query=birds&mode=dense&top=1&offset={page}")).ids();
        assert_eq!(one, all[page..=page]);
    }
    // Fused pages by the body and by the link, with a count of all.
    let all = client.get("/search?query=birds%20glass&window=1&fusion=rrf&top=100&total=true");
    assert_eq!(all.json()["total"], all.ids().len());
    for page in 0..all.ids().len() {
        let body = json!({"query": "birds glass", "window": 1, "fusion": "rrf", "top": 1, "offset": page});
        assert_eq!(client.post("/search", &body).ids(), all.ids()[page..=page]);
        let link = format!("/search?query=birds%20glass&window=1&fusion=rrf&top=1&offset={page}");
        assert_eq!(client.get(&link).ids(), all.ids()[page..=page]);
    }
    assert!(all.json()["warnings"].as_array().is_some_and(Vec::is_empty));
    let nothing = client.get("/search?query=%3F%3F&mode=bm25").json();
    assert!(nothing["warnings"][0].as_str().unwrap().contains("no word that is searched"), "{nothing}");
    assert_eq!(client.get("/search?query=").status, 422);

    // One document, by an id with a slash in it.
    let one = client.get("/documents/a%2Fb%3Fc");
    assert_eq!((one.status, &one.json()["text"]), (200, &json!("an id that needs care in a path")));
    assert_eq!(one.json()["metadata"], json!({"year": 2020}));
    assert_eq!(client.get("/documents/nobody").status, 404);

    // Replaced, deleted by id, deleted by filter.
    let update = client.post("/documents?commit=true", &json!({"id": "raven", "text": "ravens play in snow"}));
    assert_eq!((update.status, update.json()), (200, json!({"accepted": 1, "committed": true})));
    let raven = client.get("/documents/raven").json();
    assert_eq!(raven, json!({"id": "raven", "title": "", "text": "ravens play in snow"}), "nothing of before is left");
    assert_eq!(client.send("DELETE", "/documents/a%2Fb%3Fc?commit=true", None, b"").unwrap().status, 200);
    assert_eq!(client.get("/documents/a%2Fb%3Fc").status, 404);
    assert_eq!(client.post("/delete", &json!({"filters": ["kind:matter"]})).status, 202);
    assert_eq!(client.post("/delete?commit=true", &json!({"ids": ["crow", "nobody"]})).status, 200);
    assert_eq!(client.get("/search?query=anything&mode=dense").ids(), ["raven"]);

    // Lines.
    let lines = "{\"id\": \"1\", \"text\": \"one\"}\n\n{\"id\": \"2\", \"text\": \"two\"}\r\n";
    let taken = client.send("POST", "/documents?commit=true", Some("application/x-ndjson"), lines.as_bytes()).unwrap();
    assert_eq!(taken.json()["accepted"], 2);
    assert_eq!(client.get("/info").json()["documents"], 3);
    let broken = "{\"id\": \"3\", \"text\": \"three\"}\n{\"id\": 4.5}";
    let refused =
        client.send("POST", "/documents?commit=true", Some("application/x-ndjson"), broken.as_bytes()).unwrap();
    assert_eq!(refused.status, 422);
    assert!(refused.error().starts_with("line 2: "), "{}", refused.error());
    assert_eq!(client.get("/info").json()["documents"], 3, "all are checked before the first is taken");
    assert_eq!(server.stop(), StopReport { committed: 0, cut_off: false });
}

#[test]
fn the_best_hits_are_re_ranked_where_a_search_asks_for_it() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::default().rerank(3);
    let server = start_with_reranker(folder.path(), by_hand().limits(limits));
    let mut client = server.client();
    assert_eq!(client.post("/documents?commit=true", &birds()).status, 200);
    assert_eq!(client.get("/info").json()["reranker"], reranker().name());

    let query = "which birds bend wire";
    let plain = client.post("/search", &json!({"query": query, "mode": "dense"})).ids();
    let answer = client.post("/search", &json!({"query": query, "mode": "dense", "rerank": 3}));
    assert_eq!(client.get("/search?query=which+birds+bend+wire&mode=dense&rerank=3").ids(), answer.ids());
    // The three best by their logits, then the fourth where it was.
    let text = |id: &str| {
        birds().as_array().unwrap().iter().find_map(|bird| {
            let key = bird.get("id").or_else(|| bird.get("_id")).unwrap();
            let title = bird.get("title").map_or(String::new(), |title| format!("{} ", title.as_str().unwrap()));
            (key == id).then(|| format!("{title}{}", bird["text"].as_str().unwrap()))
        })
    };
    let texts: Vec<String> = plain[..3].iter().map(|id| text(id).unwrap()).collect();
    let logits = reranker().score(query, &texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let mut expected: Vec<(&String, f32)> = plain.iter().zip(logits).collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    let ids: Vec<&String> = expected.iter().map(|(id, _)| *id).chain(&plain[3..]).collect();
    assert_eq!(answer.ids().iter().collect::<Vec<_>>(), ids);
    for (hit, (_, logit)) in answer.json()["hits"].as_array().unwrap().iter().zip(&expected) {
        assert!((hit["score"].as_f64().unwrap() as f32 - logit).abs() < 1e-4);
        assert_eq!(hit["arms"].as_array().unwrap().last().unwrap()["name"], "rerank");
    }

    for depth in [json!(0), json!(4), json!(-1), json!(1.5), json!("3")] {
        let refused = client.post("/search", &json!({"query": query, "rerank": depth}));
        assert_eq!(refused.status, 422, "{depth}");
    }
    let refused = client.get("/search?query=a&rerank=4");
    assert!(refused.status == 422 && refused.error().contains("it can be 1 to 3"), "{}", refused.error());
    let document = client.get("/openapi.json").json();
    assert_eq!(document["components"]["schemas"]["SearchBody"]["properties"]["rerank"]["maximum"], 3);
    server.stop();

    // A server without one says so, and its description does not offer it.
    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    let refused = client.post("/search", &json!({"query": query, "rerank": 3}));
    assert!(refused.status == 422 && refused.error().contains("no re-ranker"), "{}", refused.error());
    assert!(client.get("/info").json()["reranker"].is_null());
    let document = client.get("/openapi.json").json();
    assert!(document["components"]["schemas"]["SearchBody"]["properties"]["rerank"].is_null());
    let parameters = document["paths"]["/search"]["get"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|one| one["name"] == "top") && !parameters.iter().any(|one| one["name"] == "rerank"));
    server.stop();
}

#[test]
fn long_documents_are_one_hit_each_however_many_chunks_they_have() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start_in_chunks(folder.path(), by_hand());
    let mut client = server.client();
    let water = "plants grow from light and water in the green sun ".repeat(3);
    let text = format!("{water}crows bend wire into hooks {water}");
    let documents = json!([
        {"id": "long", "title": "Long", "text": text, "metadata": {"kind": "bird"}},
        {"id": "short", "text": "iron makes blood red", "metadata": {"kind": "matter"}},
        {"id": "water", "text": water, "metadata": {"kind": "matter"}},
    ]);
    let taken = client.post("/documents?commit=true", &documents);
    assert_eq!((taken.status, taken.json()), (200, json!({"accepted": 3, "committed": true})));
    assert_eq!(client.get("/info").json()["documents"], 3, "chunks are no documents");

    let query = "crows bend wire into hooks";
    for mode in ["bm25", "dense", "hybrid"] {
        let found = client.post("/search", &json!({"query": query, "mode": mode, "snippets": true}));
        let mut ids = found.ids();
        ids.sort();
        assert_eq!(ids, if mode == "bm25" { vec!["long"] } else { vec!["long", "short", "water"] }, "{mode}");
        let hits = found.json()["hits"].as_array().unwrap().clone();
        let hit = hits.iter().find(|hit| hit["id"] == "long").unwrap();
        let snippet = &hit["snippet"];
        if mode == "bm25" {
            assert!(snippet["chunk"].is_null());
            continue;
        }
        // The range is the snippet's place in the embedded text, and the document is as near to the query as that chunk.
        let range: (usize, usize) = serde_json::from_value(snippet["chunk"].clone()).unwrap();
        let chunk = &format!("Long {text}")[range.0..range.1];
        assert_eq!(chunk, snippet["text"].as_str().unwrap());
        let ours = model().encode(&[chunk], TextKind::Document).unwrap().remove(0);
        let theirs = model().encode(&[query], TextKind::Query).unwrap().remove(0);
        let length = |vector: &[f32]| vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        let cosine = ours.iter().zip(&theirs).map(|(a, b)| a * b).sum::<f32>() / (length(&ours) * length(&theirs));
        let raw =
            hit["arms"].as_array().unwrap().iter().find(|arm| arm["name"] == "dense").unwrap()["raw"].as_f64().unwrap();
        assert!((raw as f32 - cosine).abs() < 1e-4, "{mode}: {raw} {cosine}");
    }
    assert_eq!(client.get("/search?query=crows&mode=dense&filters=kind:matter").ids().len(), 2);
    let stored = client.get("/documents/long").json();
    assert_eq!((&stored["text"], &stored["metadata"]), (&json!(text), &json!({"kind": "bird"})));

    // A shorter version leaves none of the old chunks, and a deleted document none at all.
    client.post("/documents?commit=true", &json!({"id": "long", "text": "snow"}));
    let nearest = client.post("/search", &json!({"query": "wire hooks", "mode": "dense", "snippets": true})).json();
    assert!(!nearest.to_string().contains("crows"), "{nearest}");
    assert_eq!(client.get("/info").json()["documents"], 3);
    assert_eq!(client.send("DELETE", "/documents/water?commit=true", None, b"").unwrap().status, 200);
    let mut left = client.get("/search?query=water&mode=dense").ids();
    left.sort();
    assert_eq!(left, ["long", "short"]);
    server.stop();
}

#[test]
fn vectors_are_the_models_own() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    let texts = ["a text", "crows bend wire into hooks", ""];
    let unit = |mut vector: Vec<f32>| {
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    };
    let close = |ours: &Value, theirs: &[f32]| {
        let ours: Vec<f32> = serde_json::from_value(ours.clone()).unwrap();
        assert_eq!(ours.len(), theirs.len());
        assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-5), "{ours:?} {theirs:?}");
    };
    let expected: Vec<Vec<f32>> = model().encode(&texts, TextKind::Document).unwrap().into_iter().map(unit).collect();

    let embedded = client.post("/embed", &json!({"inputs": texts})).json();
    let openai = client.post("/v1/embeddings", &json!({"input": texts, "model": "text-embedding-3-small"})).json();
    assert_eq!(embedded.as_array().unwrap().len(), 3);
    for (at, vector) in expected.iter().enumerate() {
        close(&embedded[at], vector);
        close(&openai["data"][at]["embedding"], vector);
        assert_eq!((&openai["data"][at]["index"], &openai["data"][at]["object"]), (&json!(at), &json!("embedding")));
    }
    assert_eq!(openai["object"], "list");
    assert_eq!(openai["model"], client.get("/v1/models").json()["data"][0]["id"]);
    let tokens: usize = texts.iter().map(|text| model().tokenizer().count(text).unwrap()).sum();
    assert_eq!(openai["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));

    // Clients name their models as they like, and some have only the server's address.
    for model in
        ["", "/data/model", "./BAAI/bge-m3", "../../etc/passwd", "text-embedding-3-small", "a b\n", "\u{1f426}"]
    {
        let named = client.post("/v1/embeddings", &json!({"input": texts[0], "model": model}));
        assert_eq!((named.status, &named.json()["model"]), (200, &openai["model"]), "{model:?}");
        close(&named.json()["data"][0]["embedding"], &expected[0]);
    }
    assert_eq!(client.post("/v1/embeddings", &json!({"input": texts[0], "model": null})).status, 200);
    assert_eq!(client.post("/", &json!({"inputs": texts})).json(), embedded);
    close(&client.post("/", &json!({"inputs": texts[0]})).json()[0], &expected[0]);
    assert!(client.get("/").text().contains("<html"), "the page is still there");

    // Many and long texts, which are embedded in pieces, have the vectors that each has alone.
    let many: Vec<String> = (0..70).map(|at| format!("{} {}", texts[1], "crow ".repeat((at * 37) % 90))).collect();
    let whole = client.post("/embed", &json!({"inputs": many, "truncate": true})).json();
    for (at, text) in many.iter().enumerate() {
        close(&whole[at], &unit(model().encode(&[text.as_str()], TextKind::Document).unwrap().remove(0)));
    }
    let tokens: usize =
        many.iter().map(|text| model().tokenizer().count(text).unwrap().min(model().max_length())).sum();
    let counted = client.post("/v1/embeddings", &json!({"input": many})).json();
    assert_eq!(counted["usage"]["total_tokens"], tokens);
    let mut one_too_long = vec!["crow ".repeat(10); 70];
    one_too_long[40] = "crow ".repeat(20_000);
    let refused = client.post("/embed", &json!({"inputs": one_too_long}));
    assert!(refused.status == 413 && refused.error().starts_with("text 40 has"), "{}", refused.error());

    // Base64 holds the same bits.
    use base64::Engine as _;
    let coded = client.post("/v1/embeddings", &json!({"input": texts[0], "encoding_format": "base64"})).json();
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let bits: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(bits, serde_json::from_value::<Vec<f32>>(openai["data"][0]["embedding"].clone()).unwrap());

    // Shorter ones, of length 1 again; one text alone; a query; null as clients send it for what they leave out.
    let short = client.post("/embed", &json!({"inputs": texts[1], "dimensions": 4})).json();
    close(&short[0], &unit(expected[1][..4].to_vec()));
    let query = client.post("/embed", &json!({"inputs": "a text", "prompt_name": "query", "normalize": null})).json();
    close(&query[0], &unit(model().encode(&["a text"], TextKind::Query).unwrap().remove(0)));

    // Too long: refused, or cut when asked to.
    let long = "word ".repeat(5000);
    let refused = client.post("/embed", &json!({"inputs": long}));
    assert_eq!(refused.status, 413);
    assert!(refused.error().contains("tokens"), "{}", refused.error());
    assert_eq!(client.post("/embed", &json!({"inputs": long, "truncate": true})).status, 200);
    assert_eq!(client.post("/v1/embeddings", &json!({"input": long})).status, 200);
    server.stop();
}

#[test]
fn what_the_server_says_of_itself() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    client.post("/documents?commit=true", &birds());

    assert_eq!(client.get("/health").json(), json!({"status": "ok"}));
    assert_eq!(client.get("/ready").json(), json!({"ready": true, "search": true, "write": true}));
    let info = client.get("/info").json();
    assert_eq!(
        (&info["dimension"], &info["documents"], &info["model_dtype"]),
        (&json!(16), &json!(4), &json!("float32"))
    );
    assert_eq!(info["model_sha"], model().fingerprint());
    let page = client.get("/");
    assert!(page.text().contains("Three ways to search"));
    assert!(page.headers["content-security-policy"].contains("default-src 'none'"));
    for outside in ["http://", "https://", "//"] {
        assert!(!page.text().contains(&format!("=\"{outside}")), "the page loads something from elsewhere");
    }
    assert_eq!(client.get("/page.js").headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(client.get("/health").headers["x-content-type-options"], "nosniff");

    client.get("/search?query=a");
    client.get("/nowhere/1");
    client.get("/nowhere/2");
    let metrics = client.get("/metrics");
    assert!(metrics.headers["content-type"].starts_with("text/plain"));
    let metrics = metrics.text();
    for line in [
        "adam_requests_total{route=\"/search\",status=\"200\"} 1",
        // Paths that are not there share one series, so that clients can't fill the memory with them.
        "adam_requests_total{route=\"none\",status=\"404\"} 2",
        "adam_documents 4",
        "adam_documents_indexed_total 4",
        "adam_documents_failed_total 0",
        "adam_commits_total 1",
        "adam_writes_waiting 0",
    ] {
        assert!(metrics.lines().any(|said| said == line), "no `{line}` in\n{metrics}");
    }

    // The OpenAPI document lists every route, with this server's own bounds; every reference in it leads somewhere.
    let document = client.get("/openapi.json").json();
    let mut listed: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    listed.sort();
    let routes = [
        "/",
        "/commit",
        "/delete",
        "/documents",
        "/documents/{id}",
        "/embed",
        "/health",
        "/info",
        "/metrics",
        "/ready",
        "/search",
        "/v1/embeddings",
        "/v1/models",
    ];
    assert_eq!(listed, routes);
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["DocumentBody"]["properties"]["vector"]["minItems"], 16);
    assert_eq!(schemas["SearchBody"]["properties"]["top"]["maximum"], 1000);
    assert_eq!(schemas["SearchBody"]["properties"]["offset"]["maximum"], 9000);
    assert_eq!(schemas["EmbedRequest"]["properties"]["dimensions"]["maximum"], 16);
    assert_eq!(schemas["OpenAiRequest"]["properties"]["dimensions"]["maximum"], 16);
    assert_eq!(schemas["Texts"]["oneOf"][1]["minItems"], 1);
    assert_eq!(schemas["DeleteBody"]["minProperties"], 1);
    assert_eq!(schemas["DeleteBody"]["properties"]["ids"]["items"]["maxLength"], 512);
    assert!(document["paths"]["/documents"]["post"]["responses"]["413"].is_object());
    assert!(document["paths"]["/v1/embeddings"]["post"]["responses"]["401"].is_null(), "no key, no 401");
    server.stop();
}
