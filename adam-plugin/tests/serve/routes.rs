//! Every route does what it says.

use adam_encoder::{TextEncoder, TextKind};
use adam_plugin::serve::Stopped;
use serde_json::{Value, json};

use crate::http::has_runtime;
use crate::{birds, by_hand, model, start};

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

    // One document, by an id with a slash in it.
    let one = client.get("/documents/a%2Fb%3Fc");
    assert_eq!((one.status, &one.json()["text"]), (200, &json!("an id that needs care in a path")));
    assert_eq!(client.get("/documents/nobody").status, 404);

    // Replaced, deleted by id, deleted by filter.
    let update = client.post("/documents?commit=true", &json!({"id": "raven", "text": "ravens play in snow"}));
    assert_eq!((update.status, update.json()), (200, json!({"accepted": 1, "committed": true})));
    assert_eq!(client.get("/documents/raven").json()["text"], "ravens play in snow");
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
    let broken = "{\"id\": \"3\", \"text\": \"three\"}\n{\"id\": 4}";
    let refused =
        client.send("POST", "/documents?commit=true", Some("application/x-ndjson"), broken.as_bytes()).unwrap();
    assert_eq!(refused.status, 422);
    assert!(refused.error().starts_with("line 2: "), "{}", refused.error());
    assert_eq!(client.get("/info").json()["documents"], 3, "all are checked before the first is taken");
    assert_eq!(server.stop(), Stopped { committed: 0, cut_off: false });
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
        "/commit",
        "/delete",
        "/documents",
        "/documents/{id}",
        "/embed",
        "/health",
        "/info",
        "/metrics",
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
