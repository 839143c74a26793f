//! From the first request to an orderly end: what was accepted is not lost.

use std::time::Duration;

use adam_plugin::Engine;
use adam_server::{Service, ServiceOptions, StopReport};
use serde_json::json;
use tokio::sync::oneshot;

use crate::http::{Client, has_runtime};
use crate::{birds, by_hand, model, service, start};

#[test]
fn what_was_accepted_is_committed_by_the_clock_and_at_the_end() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ServiceOptions::default().commit_every(Some(Duration::from_millis(50))));
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
    assert_eq!(server.stop(), StopReport { committed: 101, cut_off: false });
    assert_eq!(Engine::open(folder.path()).unwrap().num_docs(), 103);

    // A reader beside a writer: it sees commits, and takes nothing itself.
    let writing = start(folder.path(), by_hand());
    let reading = start(folder.path(), by_hand().read_only(true));
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
                .nest("/index/", adam_server::router(nested));
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
    assert_eq!(Engine::open(folder.path()).unwrap().num_docs(), 4);
}
