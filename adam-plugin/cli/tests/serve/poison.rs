//! Texts that a model's tokenizer does not survive, and moments at which no file can be opened: one document fails, everything else
//! goes on, and the process ends when it is told to.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{Client, Program, has_runtime, tiny};

/// The tiny model with a pre-tokenizer that takes a time without end for some texts.
fn costly_model(folder: &Path) -> String {
    let model = folder.join("model");
    std::fs::create_dir_all(model.join("onnx")).unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"] {
        std::fs::copy(tiny().join(file), model.join(file)).unwrap();
    }
    let path = model.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    tokenizer["pre_tokenizer"] =
        json!({"type": "Split", "pattern": {"Regex": "(a+)+$| "}, "behavior": "Removed", "invert": false});
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    model.to_str().unwrap().to_owned()
}

fn poison() -> String {
    "a".repeat(40) + "!"
}

#[test]
fn a_text_that_the_tokenizer_does_not_survive_is_its_documents_failure() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (index, model) = (folder.path().join("index"), costly_model(folder.path()));
    let index = index.to_str().unwrap();
    let program = Program::start(&["--index", index, "--model", &model, "--commit-every", "0", "--grace", "3"]);
    let mut client = Client::new(program.address);
    assert_eq!(client.post("/documents?commit=true", &json!({"id": "g", "text": "crow wire"})).status, 200);

    // Requests say why, and the next ones go on.
    for (path, body) in [
        ("/search", json!({"query": poison()})),
        ("/embed", json!({"inputs": ["crow", poison()]})),
        ("/v1/embeddings", json!({"input": poison(), "model": "any"})),
    ] {
        let answer = client.post(path, &body);
        assert_eq!(answer.status, 500, "{path}: {}", answer.text());
        assert!(answer.text().contains("could not be turned into tokens"), "{path}: {}", answer.text());
        assert!(!answer.text().contains(&model), "no path of the server's: {}", answer.text());
    }
    assert_eq!(client.post("/search", &json!({"query": "crow"})).status, 200);

    // Two of them in one batch, with commits right behind.
    let documents: Vec<Value> = ["a", "bad 1", "b", "bad 2", "c"]
        .iter()
        .map(|id| json!({"id": id, "text": if id.starts_with("bad") { poison() } else { format!("crow {id}") }}))
        .collect();
    let address = program.address;
    assert_eq!(client.post("/documents", &json!(documents)).status, 202);
    let waiting: Vec<_> = (0..6)
        .map(|number| {
            std::thread::spawn(move || {
                let body = json!({"id": format!("w{number}"), "text": "wire"});
                Client::new(address).post("/documents?commit=true", &body).status
            })
        })
        .collect();
    let statuses: Vec<u16> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(statuses, [200; 6]);
    assert_eq!(client.get("/info").json()["documents"], 12);
    assert_eq!(client.get("/ready").json(), json!({"ready": true, "search": true, "write": true}));
    let metrics = client.get("/metrics").text();
    assert!(metrics.contains("adam_documents_failed_total 2"), "{metrics}");
    assert!(client.get("/documents/bad%201").json()["text"].as_str().unwrap().ends_with('!'), "kept as text only");

    program.signal("TERM");
    let (code, said) = program.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn the_policy_of_the_command_line_holds_for_such_a_text() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = costly_model(folder.path());
    let lines: Vec<String> = [("1", "crow".to_owned()), ("2", poison()), ("3", "wire".to_owned())]
        .iter()
        .map(|(id, text)| json!({"_id": id, "text": text}).to_string())
        .collect();
    let data = folder.path().join("data.jsonl");
    std::fs::write(&data, lines.join("\n")).unwrap();
    for (policy, code, documents) in [("skip", 0, 2), ("text-only", 0, 3), ("fail", 1, 0)] {
        let index = folder.path().join(policy);
        let mut command = Command::new(env!("CARGO_BIN_EXE_adam"));
        command
            .args(["index", "--model", &model, "--on-failure", policy, "--data"])
            .arg(&data)
            .arg("--index")
            .arg(&index);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{policy}: {said}");
        assert!(!said.contains("panicked"), "{policy}: {said}");
        if code == 0 {
            assert_eq!(adam_plugin::Engine::open(&index).unwrap().num_docs(), documents, "{policy}");
        } else {
            assert!(said.contains("`2`") && said.contains("tokens"), "{said}");
        }
    }
}

/// Without free file descriptors a commit fails and so does the way back; afterwards the server writes again by itself.
#[test]
fn a_server_without_files_for_a_while_writes_again() {
    if !has_runtime() || !cfg!(target_os = "linux") || Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: there is no prlimit");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (index, model) = (folder.path().join("index"), tiny());
    let arguments = ["--index", index.to_str().unwrap(), "--model", model.to_str().unwrap(), "--commit-every", "0"];
    let program = Program::start(&arguments);
    let mut client = Client::new(program.address);
    let mut probe = Client::new(program.address);
    let body = |id: &str| json!({"id": id, "text": "crow wire"});
    let mut acknowledged = vec!["before".to_owned()];
    assert_eq!(client.post("/documents?commit=true", &body("before")).status, 200);
    assert_eq!(probe.get("/ready").status, 200);
    std::thread::sleep(Duration::from_millis(300));
    let limit = |most: usize| {
        let argument = format!("--nofile={most}:4096");
        let done = Command::new("prlimit").args(["--pid", &program.id().to_string(), &argument]).status().unwrap();
        assert!(done.success());
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", program.id())).unwrap().count();
    limit(open);
    let mut failed = 0;
    for number in 0..4 {
        let id = format!("during {number}");
        let answer = client.post("/documents?commit=true", &body(&id));
        match answer.status {
            200 => acknowledged.push(id),
            500 | 503 => {
                failed += 1;
                assert!(answer.text().contains("index"), "{}", answer.text());
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(failed > 0, "the fault was met");
    let ready = probe.get("/ready");
    assert_eq!(probe.get("/health").status, 200, "it is alive all the same");
    if ready.status == 503 {
        let said = ready.json();
        assert!(said["write"] == false && said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{said}");
    }
    limit(4096);
    // Nobody writes, and it comes back.
    let begun = Instant::now();
    while probe.get("/ready").status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", probe.get("/ready").text());
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = client.post("/documents?commit=true", &body("after"));
    assert_eq!(after.status, 200, "{}", after.text());
    acknowledged.push("after".to_owned());
    // It holds the lock again.
    let output =
        Command::new(env!("CARGO_BIN_EXE_adam")).args(["delete", "before", "--index"]).arg(&index).output().unwrap();
    assert!(!output.status.success(), "another writer was let in beside the server");
    program.signal("TERM");
    let (code, said) = program.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let engine = adam_plugin::Engine::open(&index).unwrap();
    for id in acknowledged {
        assert!(engine.get(&id).unwrap().is_some(), "{id} was acknowledged and is gone");
    }
}
