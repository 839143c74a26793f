//! From the first request to an orderly end: what was accepted is not lost.

use std::path::Path;
use std::time::Duration;

use adam_plugin::Engine;
use adam_plugin::serve::{Service, ServiceOptions, Stopped};
use serde_json::json;
use tokio::sync::oneshot;

use crate::http::{Client, Program, has_runtime, tiny};
use crate::{birds, by_hand, model, service, start};

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
    for signal in ["TERM", "INT", "HUP"] {
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
        // Twice at once, as `timeout` does, is once.
        program.signal(signal);
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
    // A second signal, later, ends it at once.
    let arguments = ["--index", index, "--model", model.to_str().unwrap()];
    let program = Program::start(&arguments);
    let address = program.address;
    let texts = vec!["a text that is as long as the model reads ".repeat(100); 1000];
    let busy = std::thread::spawn(move || {
        let body = json!({"inputs": texts, "truncate": true}).to_string();
        Client::new(address).send("POST", "/embed", Some("application/json"), body.as_bytes()).is_ok()
    });
    std::thread::sleep(Duration::from_millis(300));
    program.signal("TERM");
    std::thread::sleep(Duration::from_millis(400));
    program.signal("HUP");
    let (code, said) = program.wait();
    // Where the work was done before, it ended in order.
    let answered = busy.join().unwrap();
    assert!(code == Some(129) && said.contains("ended at once") || code == Some(0) && answered, "{code:?} {said}");

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
