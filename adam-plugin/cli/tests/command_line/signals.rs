//! Signals: what is begun is saved or ends at once, whichever signal it is, also where the program is process 1.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::World;
use crate::common::{adam, done, run, unset};

/// More documents than are encoded before a signal comes.
const MANY: usize = 100_000;

fn corpus(world: &World) -> String {
    let text = "crows bend wire into hooks and plants grow from light ".repeat(4);
    let lines =
        (0..MANY).map(|at| json!({"_id": format!("d{at}"), "title": "", "text": format!("{at} {text}")}).to_string());
    world.write("many.jsonl", &lines.collect::<Vec<_>>().join("\n"))
}

fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), process.to_string()]).status().unwrap().success());
}

/// Waits for the end of a program, for ten seconds at most; its exit code, and what it said.
fn end(mut child: Child) -> (Option<i32>, String) {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn documents(index: &str) -> u64 {
    let info: Value = serde_json::from_str(&done(&["info", "--index", index, "--json"])).unwrap();
    info["documents"].as_u64().unwrap()
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap()
}

/// Waits until an index is being written, and somewhat longer.
fn wait_for_writing(index: &str) {
    let began = Instant::now();
    while !std::path::Path::new(index).join("meta.json").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no index is being written");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn index_commits_what_it_has_at_each_signal_and_goes_on() {
    let Some(world) = World::new() else { return };
    let data = corpus(&world);
    let index = world.path("stopped-TERM");
    for (name, code) in [("INT", 130), ("HUP", 129), ("TERM", 143)] {
        let index = world.path(&format!("stopped-{name}"));
        let child = start(adam().args(["index", "--model", &world.model(), "--data", &data, "--index", &index]));
        wait_for_writing(&index);
        signal(child.id(), name);
        // As `timeout` sends it: to the process and to its group.
        signal(child.id(), name);
        let (ended, said) = end(child);
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains("commits what it has") && said.contains(&format!("SIG{name}")), "{said}");
        let number: u64 = said.split("stopped at record ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(documents(&index), number, "{said}");
    }
    // Before there is anything to save, it ends at once and leaves what was there.
    let there = documents(&index);
    let words = ["index", "--model", &world.model(), "--data", &data, "--index", &index];
    let child = start(adam().args(words));
    std::thread::sleep(Duration::from_millis(400));
    signal(child.id(), "TERM");
    let (ended, said) = end(child);
    assert!(ended == Some(143) && documents(&index) >= there, "{said}");
    // A signal that whoever started it wants ignored is ignored.
    let mut command = unset(Command::new("sh"));
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_adam")]).args(words);
    let child = start(&mut command);
    std::thread::sleep(Duration::from_millis(800));
    signal(child.id(), "HUP");
    std::thread::sleep(Duration::from_millis(300));
    signal(child.id(), "TERM");
    let (ended, said) = end(child);
    assert!(ended == Some(143) && !said.contains("SIGHUP"), "{said}");
}

#[test]
fn other_commands_end_at_once() {
    let Some(world) = World::new() else { return };
    let (data, model, output) = (corpus(&world), world.model(), world.path("vectors.npy"));
    let words = ["encode", "--model", &model, "--input", &data, "--output", &output];
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let child = start(adam().args(words));
        std::thread::sleep(Duration::from_millis(400));
        let began = Instant::now();
        signal(child.id(), name);
        let (ended, said) = end(child);
        assert_eq!(ended, Some(code), "{said}");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(!std::path::Path::new(&output).exists());
    }
}

#[test]
fn process_1_takes_signals_too() {
    let Some(world) = World::new() else { return };
    let allowed = Command::new("unshare").args(["-pf", "--mount-proc", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("skipped: no PID namespaces here");
        return;
    }
    let data = corpus(&world);
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let index = world.path(&format!("as-one-{name}"));
        let mut command = unset(Command::new("unshare"));
        command.args(["-pf", "--mount-proc", env!("CARGO_BIN_EXE_adam")]);
        let child = start(command.args(["index", "--model", &world.model(), "--data", &data, "--index", &index]));
        wait_for_writing(&index);
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let inner: u32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        signal(inner, name);
        let (ended, said) = end(child);
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains("commits what it has"), "{said}");
        assert!(documents(&index) > 0);
        let (code, _, err) = run(&["search", "--index", &index, "--mode", "bm25", "crows"]);
        assert_eq!(code, 0, "{err}");
    }
}
