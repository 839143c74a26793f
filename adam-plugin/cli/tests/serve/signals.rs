//! Signals and wrong calls of `adam serve`.

use std::path::Path;
use std::time::Duration;

use adam_plugin::Engine;
use serde_json::json;

use crate::program::{Client, Program, has_runtime, tiny};

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
        assert!(engine.num_docs() >= before + promised.len() as u64);
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
