//! Limits, the key, and what hostile clients hear.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use adam_plugin::{Engine, PinnedModel};
use adam_server::{Limits, Service};
use serde_json::{Value, json};

use crate::http::{has_runtime, read_answer};
use crate::{birds, by_hand, model, start};

#[test]
fn limits_are_kept_and_named() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::default()
        .body_bytes(20_000)
        .batch(3)
        .documents(4)
        .text_bytes(1000)
        .hits(5)
        .requests(1)
        .time(Duration::from_millis(1500));
    let server = start(folder.path(), by_hand().limits(limits));
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
    refused("/search", json!({"query": "a", "window": 0}), 422, "1 to 10000");
    refused("/search", json!({"query": "a", "window": 10001}), 422, "1 to 10000");
    for mode in ["bm25", "dense", "hybrid"] {
        refused("/search", json!({"query": " \t", "mode": mode}), 422, "empty");
    }
    refused("/documents", json!({"id": "1", "text": long}), 413, "text of document 0");
    refused("/documents", json!({"id": "1", "title": long}), 413, "title of document 0");
    refused("/documents", json!([{"id": "1"}, {"id": "2"}, {"id": "3"}, {"id": "4"}, {"id": "5"}]), 413, "takes 4");
    refused("/documents", json!([]), 422, "no document");
    refused("/documents", json!({"id": "x".repeat(513)}), 422, "at most 512");
    refused("/delete", json!({"ids": ["1", "2", "3", "4", "5"]}), 413, "takes 4");
    refused("/search", json!({"query": "x".repeat(30_000)}), 413, "larger than 20000 bytes, the limit of this server");
    // Announced and never sent: refused by its announcement.
    client.headers = vec![("Expect".to_owned(), "100-continue".to_owned())];
    assert_eq!(client.post("/search", &json!({"query": "x".repeat(30_000)})).status, 413);
    client.headers.clear();

    // A request that never ends takes no place from others, and hears 408.
    let mut slow = TcpStream::connect(server.address).unwrap();
    slow.write_all(
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    )
    .unwrap();
    for path in ["/search?query=a", "/health", "/metrics"] {
        assert_eq!(client.get(path).status, 200);
    }
    let late = read_answer(&mut BufReader::new(slow)).unwrap();
    assert_eq!((late.status, late.json()["error_type"].as_str()), (408, Some("timeout")));
    assert_eq!(client.get("/search?query=a").status, 200);
    server.stop();
}

#[test]
fn the_key_opens_and_nothing_else_does() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand().api_key(Some("sesame".to_owned())));
    let mut client = server.client();
    for open in ["/", "/page.js", "/health", "/ready", "/openapi.json"] {
        assert_eq!(client.get(open).status, 200, "{open}");
    }
    let document = client.get("/openapi.json").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let open = path == "/health" || path == "/ready";
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
        let engine = Engine::builder(folder.path()).encoder(encoder.clone()).pinned(pinned).open_or_create().unwrap();
        let options = by_hand().api_key(Some(key.to_owned()));
        assert!(Service::new(engine, encoder, options).is_err(), "{key:?}");
    }
}

#[test]
fn hostile_requests_are_refused_clearly() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand().hosts(vec!["wiki.example".to_owned()]));
    let mut client = server.client();
    client.post("/documents?commit=true", &birds());

    // Ten megabytes, as a body and as one text within a smaller body.
    let huge = client.post("/search", &json!({"query": "x".repeat(10 << 20)}));
    assert_eq!(huge.status, 413);
    assert!(huge.error().contains("larger than 8388608 bytes, the limit of this server"));
    let long = client.post("/search", &json!({"query": "x".repeat(2 << 20)}));
    assert_eq!(long.status, 413);
    assert!(long.error().contains("this server takes 1048576"));

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
        ("/documents", r#"{"id": "1", "vector": [NaN]}"#, 422, "finite numbers"),
        ("/documents", r#"{"id": "1", "vector": [1e999]}"#, 422, "finite numbers"),
        ("/documents", r#"{"id": "1", "vector": [null]}"#, 422, "finite numbers"),
        ("/documents", r#"{"id": "1", "vector": [1, 2]}"#, 422, "2 values"),
        ("/documents", r#"{"id": "1", "vector": [1e39,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#, 422, "finite numbers"),
        ("/documents", r#"{"id": "1", "vector": [1e7,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#, 422, "not between"),
        ("/documents", r#"{"id": "1", "vector": [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#, 422, "document "),
        // Wrong types, unknown names, missing ones.
        ("/documents", r#"{"id": 1.5}"#, 422, "whole number"),
        ("/documents", r#"{"id": true}"#, 422, "`id` must be a string"),
        ("/documents", r#"{"id": "1", "title": 3}"#, 422, "`title` must be a string"),
        ("/documents", r#"{"id": "1", "text": ["a"]}"#, 422, "`text` must be a string"),
        ("/documents", r#"[{"id": "1"}, {"id": {}}]"#, 422, "document 1"),
        ("/documents?keep=", r#"{"id": "1"}"#, 422, "keep"),
        ("/documents", r#"{"id": ""}"#, 422, "empty"),
        ("/documents", r#"{"text": "x"}"#, 422, "no `_id`"),
        ("/documents", r#"{"id": "1", "id": "2"}"#, 422, "`id` twice"),
        ("/documents", r#"{"id": "1", "metadata": [1]}"#, 422, "`metadata` must be an object"),
        ("/documents", r#""text""#, 422, "not a JSON object"),
        ("/documents", "{\"id\": \"\u{0}\"}", 400, "control character"),
        ("/documents", r#"{"id": "\ud800"}"#, 422, "surrogate"),
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
        ("/search?q=a", 200),
        ("/search?p=a", 422),
        ("/search?q=a&query=b", 422),
        ("/search?query=a&query=b", 422),
        ("/search?query=a&top=x", 422),
        ("/search?query=a&weight=NaN", 422),
        ("/search?query=a&top=51&explain=true", 200),
        ("/search?query=a&top=51", 200),
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
