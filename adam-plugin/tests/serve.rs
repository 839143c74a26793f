//! `adam serve` over real connections on loopback: every route, every limit, what hostile clients hear, and that an orderly end
//! loses nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod http;

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adam_encoder::{EncoderOptions, Precision, SentenceEncoder, TextEncoder, TextKind};
use adam_plugin::serve::{Limits, Server, Service, ServiceOptions, Stopped};
use adam_plugin::{Engine, PinnedModel};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use http::{Client, Program, has_runtime, read_answer, tiny};

/// A server in this process.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<Stopped>,
}

impl Running {
    fn client(&self) -> Client {
        Client::new(self.address)
    }

    fn stop(self) -> Stopped {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

fn model() -> Arc<SentenceEncoder> {
    Arc::new(SentenceEncoder::open(&tiny(), &EncoderOptions::default()).unwrap())
}

fn service(index: &Path, options: ServiceOptions) -> Service {
    let encoder = model();
    let pinned = PinnedModel::of_folder(&encoder, &tiny(), Precision::F32, None);
    let engine = Engine::open_or_create(index, encoder.clone(), pinned).unwrap();
    Service::new(engine, encoder, options).unwrap()
}

fn start(index: &Path, options: ServiceOptions) -> Running {
    let service = service(index, options);
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(service, "127.0.0.1:0").await.unwrap();
            tell.send(server.address().unwrap()).unwrap();
            let end = async { stopped.await.unwrap_or_default() };
            server.run(end, Duration::from_secs(20)).await.unwrap()
        })
    });
    Running { address: told.recv().unwrap(), stop, thread }
}

/// Options whose clock does not interfere.
fn by_hand() -> ServiceOptions {
    ServiceOptions { commit_every: None, ..ServiceOptions::default() }
}

fn birds() -> Value {
    json!([
        {"id": "crow", "title": "Crows", "text": "crows bend wire into hooks", "metadata": {"year": 2002, "kind": "bird"}},
        {"id": "raven", "text": "ravens nest early in the year", "metadata": {"year": 1999, "kind": "bird"}},
        {"_id": "glass", "text": "glass has no crystals", "metadata": {"year": 2011, "kind": "matter"}},
        {"id": "a/b?c", "text": "an id that needs care in a path", "metadata": {"year": 2020}},
    ])
}

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

#[test]
fn limits_are_kept_and_named() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        body_bytes: 20_000,
        batch: 3,
        documents: 4,
        text_bytes: 1000,
        hits: 5,
        requests: 1,
        time: Duration::from_millis(1500),
        ..Limits::default()
    };
    let server = start(folder.path(), ServiceOptions { limits, ..by_hand() });
    let mut client = server.client();
    client.post("/documents?commit=true", &birds());
    let mut refused = |path: &str, body: Value, status: u16, said: &str| {
        let answer = client.post(path, &body);
        assert_eq!(answer.status, status, "{path} {}", answer.text());
        let error =
            if path.starts_with("/v1/") { answer.json()["error"]["message"].to_string() } else { answer.error() };
        assert!(error.contains(said), "{path}: {error}");
    };
    let long = "x".repeat(1001);
    refused("/embed", json!({"inputs": ["a", "b", "c", "d"]}), 413, "this server takes 3");
    refused("/embed", json!({"inputs": []}), 422, "no text");
    refused("/embed", json!({"inputs": long}), 413, "1001 bytes");
    refused("/v1/embeddings", json!({"input": ["a", "b", "c", "d"]}), 413, "this server takes 3");
    refused("/search", json!({"query": long}), 413, "1001 bytes");
    refused("/search", json!({"query": "a", "top": 6}), 422, "1 to 5");
    refused("/search", json!({"query": "a", "top": 0}), 422, "1 to 5");
    refused("/search", json!({"query": "a", "offset": 9996}), 422, "0 to 9995");
    refused("/documents", json!({"id": "1", "text": long}), 413, "text of document 0");
    refused("/documents", json!({"id": "1", "title": long}), 413, "title of document 0");
    refused("/documents", json!([{"id": "1"}, {"id": "2"}, {"id": "3"}, {"id": "4"}, {"id": "5"}]), 413, "takes 4");
    refused("/documents", json!([]), 422, "no document");
    refused("/documents", json!({"id": "x".repeat(513)}), 422, "512 characters");
    refused("/delete", json!({"ids": ["1", "2", "3", "4", "5"]}), 413, "takes 4");
    refused("/search", json!({"query": "x".repeat(30_000)}), 413, "--max-body");
    // Announced and never sent: refused by its announcement.
    client.headers = vec![("Expect".to_owned(), "100-continue".to_owned())];
    assert_eq!(client.post("/search", &json!({"query": "x".repeat(30_000)})).status, 413);
    client.headers.clear();

    // A request that never ends holds the only place: others hear 503, it hears 408, and then there is room again.
    let mut slow = TcpStream::connect(server.address).unwrap();
    slow.write_all(
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    )
    .unwrap();
    let mut second = server.client();
    let full = loop {
        let answer = second.get("/search?query=a");
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((full.status, full.headers["retry-after"].as_str()), (503, "1"));
    assert_eq!(full.json()["error_type"], "overloaded");
    assert_eq!(second.get("/health").status, 200, "health answers where all else is busy");
    assert_eq!(second.get("/metrics").status, 200);
    let late = read_answer(&mut BufReader::new(slow)).unwrap();
    assert_eq!((late.status, late.json()["error_type"].as_str()), (408, Some("timeout")));
    assert_eq!(second.get("/search?query=a").status, 200);
    server.stop();
}

#[test]
fn the_key_opens_and_nothing_else_does() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ServiceOptions { api_key: Some("sesame".to_owned()), ..by_hand() });
    let mut client = server.client();
    for open in ["/", "/page.js", "/health", "/openapi.json"] {
        assert_eq!(client.get(open).status, 200, "{open}");
    }
    let document = client.get("/openapi.json").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let open = path == "/health";
            assert_eq!(operation["security"].is_null(), open, "{path}");
            assert_eq!(operation["responses"]["401"].is_null(), open, "{path}");
            for key in [None, Some("Bearer wrong"), Some("Bearer sesame2"), Some("sesame"), Some("Basic sesame")] {
                client.headers = key.map(|key| ("Authorization".to_owned(), key.to_owned())).into_iter().collect();
                let method = method.to_uppercase();
                let answer = client.send(&method, &path.replace("{id}", "1"), Some("application/json"), b"").unwrap();
                assert_eq!(answer.status, if open { 200 } else { 401 }, "{method} {path} {key:?}");
                if !open {
                    assert_eq!(answer.headers["www-authenticate"], "Bearer");
                    assert!(!answer.text().contains("sesame"));
                }
            }
        }
    }
    for header in [("Authorization", "Bearer sesame"), ("X-API-Key", "sesame")] {
        client.headers = vec![(header.0.to_owned(), header.1.to_owned())];
        assert_eq!(client.get("/info").status, 200);
        assert_eq!(client.post("/embed", &json!({"inputs": "a"})).status, 200);
    }
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    for key in ["", "two words", "caf\u{e9}"] {
        let encoder = model();
        let pinned = PinnedModel::of(encoder.as_ref());
        let engine = Engine::open_or_create(folder.path(), encoder.clone(), pinned).unwrap();
        let options = ServiceOptions { api_key: Some(key.to_owned()), ..by_hand() };
        assert!(Service::new(engine, encoder, options).is_err(), "{key:?}");
    }
}

#[test]
fn hostile_requests_are_refused_clearly() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ServiceOptions { hosts: vec!["wiki.example".to_owned()], ..by_hand() });
    let mut client = server.client();
    client.post("/documents?commit=true", &birds());

    // Ten megabytes, as a body and as one text within a smaller body.
    let huge = client.post("/search", &json!({"query": "x".repeat(10 << 20)}));
    assert_eq!(huge.status, 413);
    assert!(huge.error().contains("--max-body"));
    let long = client.post("/search", &json!({"query": "x".repeat(2 << 20)}));
    assert_eq!(long.status, 413);
    assert!(long.error().contains("--max-text"));

    // Deep JSON everywhere JSON is read; the stack survives.
    let deep = "[".repeat(1_000_000);
    for path in ["/search", "/documents", "/delete", "/embed", "/v1/embeddings"] {
        for body in [deep.clone(), format!("{{\"id\":\"1\",\"metadata\":{}", "{\"a\":".repeat(500_000))] {
            let answer = client.post_text(path, &body);
            assert!([400, 422].contains(&answer.status), "{path}: {}", answer.text());
        }
    }

    let cases: &[(&str, &str, u16, &str)] = &[
        // Numbers that are none, and vectors that can't be compared.
        ("/documents", r#"{"id": "1", "vector": [NaN]}"#, 400, "expected value"),
        ("/documents", r#"{"id": "1", "vector": [1e999]}"#, 400, "number out of range"),
        ("/documents", r#"{"id": "1", "vector": [null]}"#, 422, "null"),
        ("/documents", r#"{"id": "1", "vector": [1, 2]}"#, 422, "2 values"),
        ("/documents", r#"{"id": "1", "vector": [1e39,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#, 422, "not between"),
        ("/documents", r#"{"id": "1", "vector": [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#, 422, "document 0"),
        ("/documents", r#"{"id": "1", "vector": "AAAA"}"#, 422, "expected a sequence"),
        // Wrong types, unknown names, missing ones.
        ("/documents", r#"{"id": 1}"#, 422, "expected a string"),
        ("/documents", r#"{"id": ""}"#, 422, "empty"),
        ("/documents", r#"{"text": "x"}"#, 422, "missing field `id`"),
        ("/documents", r#"{"id": "1", "txet": "x"}"#, 422, "unknown field `txet`"),
        ("/documents", r#"{"id": "1", "id": "2"}"#, 422, "duplicate field"),
        ("/documents", r#"{"id": "1", "metadata": [1]}"#, 422, "expected a map"),
        ("/documents", r#""text""#, 422, "invalid type"),
        ("/documents", "{\"id\": \"\u{0}\"}", 400, "control character"),
        ("/documents", r#"{"id": "\ud800"}"#, 400, "hex escape"),
        ("/documents?commit=perhaps", r#"{"id": "1"}"#, 422, "commit"),
        ("/documents?comit=true", r#"{"id": "1"}"#, 422, "comit"),
        ("/search", "", 400, "EOF"),
        ("/search", "null", 422, "invalid type"),
        ("/search", r#"{"query": ["a"]}"#, 422, "expected a string"),
        ("/search", r#"{"query": "a", "mode": "magic"}"#, 422, "unknown variant `magic`"),
        ("/search", r#"{"query": "a", "fusion": "cold"}"#, 422, "unknown variant `cold`"),
        ("/search", r#"{"query": "a", "weight": 1.5}"#, 422, "0..=1"),
        ("/search", r#"{"query": "a", "weight": NaN}"#, 400, "expected value"),
        ("/search", r#"{"query": "a", "top": -1}"#, 422, "invalid value"),
        ("/search", r#"{"query": "a", "top": 18446744073709551615}"#, 422, "`top`"),
        ("/search", r#"{"query": "a", "offset": 18446744073709551615}"#, 422, "`offset`"),
        ("/search", r#"{"query": "a", "explain": "yes"}"#, 422, "expected a boolean"),
        ("/search", r#"{"query": "a", "limit": 5}"#, 422, "unknown field `limit`"),
        ("/search", r#"{"query": "a", "filters": ["no colon"]}"#, 422, "FIELD:VALUE"),
        ("/search", r#"{"query": "a", "filters": ["text:x"]}"#, 422, "not indexed"),
        ("/delete", "{}", 422, "`ids` or `filters`"),
        ("/delete", r#"{"ids": []}"#, 422, "empty list"),
        ("/delete", r#"{"ids": null}"#, 422, "null"),
        ("/delete", r#"{"filters": [], "ids": ["1"]}"#, 422, "empty list"),
        ("/embed", r#"{"inputs": [1, 2]}"#, 422, "token numbers"),
        ("/embed", r#"{"inputs": "a", "prompt_name": "magic"}"#, 422, "unknown variant `magic`"),
        ("/embed", r#"{"inputs": "a", "dimensions": 17}"#, 422, "1 to 16"),
        ("/embed", r#"{"inputs": "a", "dimensions": 0}"#, 422, "1 to 16"),
        ("/embed", r#"{"inputs": "a", "truncation_direction": "Left"}"#, 422, "Left"),
        ("/v1/embeddings", r#"{"input": "a", "model": "../../etc/passwd"}"#, 422, "paths are not opened"),
        ("/v1/embeddings", r#"{"input": "a", "model": "/etc/passwd"}"#, 422, "paths are not opened"),
        ("/v1/embeddings", r#"{"input": [[1, 2, 3]]}"#, 422, "token numbers"),
        ("/v1/embeddings", r#"{"input": "a", "encoding_format": "hex"}"#, 422, "unknown variant `hex`"),
    ];
    for &(path, body, status, said) in cases {
        let answer = client.post_text(path, body);
        assert_eq!(answer.status, status, "{path} {body} {}", answer.text());
        let error = if path.starts_with("/v1/") {
            assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
            answer.json()["error"]["message"].as_str().unwrap().to_owned()
        } else {
            assert_eq!(answer.json()["error_type"], "validation");
            answer.error()
        };
        assert!(error.contains(said), "{path} {body}: {error}");
    }

    // Query strings, paths, methods, types of content, and bytes that are no HTTP.
    for (path, status) in [
        ("/search", 422),
        ("/search?q=a", 422),
        ("/search?query=a&query=b", 422),
        ("/search?query=a&top=x", 422),
        ("/search?query=a&weight=NaN", 422),
        ("/search?query=%FF", 422),
        ("/documents/%FF", 422),
        ("/nowhere", 404),
        ("/../../etc/passwd", 404),
        ("/v1/nothing", 404),
        ("/commit", 405),
        ("/documents", 405),
    ] {
        let answer = client.get(path);
        // `%FF` is no UTF-8; a query string replaces it, a path refuses it.
        let status = if path == "/search?query=%FF" { 200 } else { status };
        assert_eq!(answer.status, status, "{path} {}", answer.text());
        assert!(answer.json().is_object());
    }
    assert_eq!(client.get("/commit").headers["allow"], "POST");
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        for path in ["/search", "/documents", "/embed", "/v1/embeddings", "/delete"] {
            assert_eq!(client.send("POST", path, kind, b"{}").unwrap().status, 415, "{path} {kind:?}");
        }
    }
    // A web site whose name points here for a moment is not this server.
    for (host, status) in
        [("evil.example", 403), ("evil.example:80", 403), ("localhost:80", 200), ("[::1]", 200), ("wiki.example", 200)]
    {
        let mut raw = TcpStream::connect(server.address).unwrap();
        raw.write_all(format!("GET /search?query=a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        assert_eq!(read_answer(&mut BufReader::new(raw)).unwrap().status, status, "{host}");
    }
    let mut raw = TcpStream::connect(server.address).unwrap();
    raw.write_all(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut BufReader::new(raw)).unwrap().status, 400);
    let mut raw = TcpStream::connect(server.address).unwrap();
    let endless = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    // It may hang up before all is sent.
    let _ = raw.write_all(endless.as_bytes());
    assert!(read_answer(&mut BufReader::new(raw)).map_or(true, |answer| answer.status == 431));

    // Text that looks like markup, an SQL fragment, a control character: stored and given back as it is.
    let strange = "<script>alert(1)</script> ' OR 1=1 -- \u{1}\u{202e}\u{1f426}";
    client.post(
        "/documents?commit=true",
        &json!({"id": strange, "title": strange, "text": strange, "metadata": {"\u{0}a.b": strange}}),
    );
    let found = client.post("/search", &json!({"query": "alert", "snippets": true})).json();
    assert_eq!((&found["hits"][0]["id"], &found["hits"][0]["title"]), (&json!(strange), &json!(strange)));
    let wide: serde_json::Map<String, Value> = (0..2000).map(|at| (format!("name{at}"), json!(at))).collect();
    assert_eq!(client.post("/documents", &json!({"id": "wide", "metadata": wide})).status, 422);
    assert_eq!(client.get("/info").json()["documents"], 5, "nothing that was refused got in");
    server.stop();
}

#[test]
fn what_was_accepted_is_committed_by_the_clock_and_at_the_end() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(
        folder.path(),
        ServiceOptions { commit_every: Some(Duration::from_millis(50)), ..ServiceOptions::default() },
    );
    let mut client = server.client();
    client.post("/documents", &birds());
    while client.get("/search?query=wire&mode=bm25").ids().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.stop();

    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    assert_eq!(client.get("/info").json()["documents"], 4);
    for number in 0..100 {
        assert_eq!(client.post("/documents", &json!({"id": format!("n{number}"), "text": "later"})).status, 202);
    }
    client.post("/delete", &json!({"ids": ["crow"]}));
    assert_eq!(server.stop(), Stopped { committed: 101, cut_off: false });
    assert_eq!(Engine::open(folder.path()).unwrap().documents(), 103);

    // A reader beside a writer: it sees commits, and takes nothing itself.
    let writing = start(folder.path(), by_hand());
    let reading = start(folder.path(), ServiceOptions { read_only: true, ..by_hand() });
    let mut reader = reading.client();
    assert_eq!(reader.post("/documents", &json!({"id": "x"})).status, 403);
    assert_eq!(reader.send("POST", "/commit", None, b"").unwrap().status, 403);
    assert_eq!(reader.get("/search?query=wire&mode=bm25").ids().len(), 0);
    writing.client().post("/documents?commit=true", &json!({"id": "x", "text": "wire"}));
    while reader.get("/search?query=wire&mode=bm25").ids().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let encoder = model();
    let second = Engine::open(folder.path()).unwrap();
    let refused = Service::new(second, encoder, by_hand()).err().unwrap().to_string();
    assert!(refused.contains("written to by another"), "{refused}");
    reading.stop();
    writing.stop();
}

#[test]
fn the_router_goes_under_a_server_of_ones_own() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), by_hand());
    let nested = service.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let own = axum::Router::new()
                .route("/", axum::routing::get(|| async { "a page of its own" }))
                .nest("/index/", adam_plugin::serve::router(nested));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, own)
                .with_graceful_shutdown(async { stopped.await.unwrap_or_default() })
                .await
                .unwrap();
            service.close().await.unwrap()
        })
    });
    let mut client = Client::new(told.recv().unwrap());
    assert_eq!(client.get("/").text(), "a page of its own");
    assert!(client.get("/index/").text().contains("Three ways to search"));
    assert_eq!(client.get("/index/page.js").status, 200);
    assert_eq!(client.post("/index/documents", &birds()).status, 202);
    let wrong = client.post("/index/v1/embeddings", &json!({"input": []}));
    assert_eq!((wrong.status, &wrong.json()["error"]["type"]), (422, &json!("invalid_request_error")));
    assert_eq!(client.get("/index/nowhere").status, 404);
    drop(client);
    stop.send(()).unwrap();
    assert_eq!(thread.join().unwrap(), 4, "closing commits what was accepted");
    assert_eq!(Engine::open(folder.path()).unwrap().documents(), 4);
}

#[test]
fn a_signal_stops_the_program_without_loss() {
    if !has_runtime() || !cfg!(unix) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index");
    let (index, model) = (index.to_str().unwrap(), tiny());
    for signal in ["TERM", "INT"] {
        let arguments = ["--index", index, "--model", model.to_str().unwrap(), "--commit-every", "0"];
        let program = Program::start(&arguments);
        let before = Client::new(program.address).get("/info").json()["documents"].as_u64().unwrap();
        // Clients that write while the signal comes; each counts what it was promised.
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (address, signal) = (program.address, signal.to_owned());
                std::thread::spawn(move || {
                    let mut client = Client::new(address);
                    let mut promised = Vec::new();
                    for number in 0..100_000 {
                        let id = format!("{signal}-{writer}-{number}");
                        let body = json!({"id": id, "text": format!("document {number}")}).to_string();
                        match client.send("POST", "/documents", Some("application/json"), body.as_bytes()) {
                            Ok(answer) if answer.status == 202 => promised.push(id),
                            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                            Err(_) => break,
                        }
                    }
                    promised
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        program.signal(signal);
        let (code, said) = program.wait();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("SIG{signal}")) && said.contains("stopped"), "{said}");
        let promised: Vec<String> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        assert!(!promised.is_empty());
        let engine = Engine::open(Path::new(index)).unwrap();
        for id in &promised {
            assert!(engine.get(id).unwrap().is_some(), "{id} was accepted and is gone");
        }
        assert!(engine.documents() >= before + promised.len() as u64);
    }
    // Faults of the call end with their own codes and say what to do.
    let wrong = |arguments: &[&str]| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_adam")).arg("serve").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = wrong(&["--index", "nowhere-at-all"]);
    assert!(code == Some(1) && said.contains("no such folder"), "{code:?} {said}");
    let (code, said) = wrong(&["--index", index, "--listen", "nonsense"]);
    assert!(code == Some(1) && said.contains("nonsense"), "{code:?} {said}");
    assert_eq!(wrong(&["--index", index, "--max-batch", "many"]).0, Some(2));
    assert_eq!(wrong(&["--index", index, "--on-failure", "fail"]).0, Some(2));
}
