//! `adam mcp`, and the options for a query's words.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::{done, run};
use crate::{World, hits};

#[test]
fn an_assistant_speaks_over_standard_input_and_output() {
    let Some(world) = World::new() else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_adam"))
        .args(["mcp", "--index", &world.index()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |message: Value| writeln!(input, "{message}").unwrap();
    let hello =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    ask(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}));
    let mut answer = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(answer()["result"]["serverInfo"]["name"], "adam");
    ask(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let search = json!({"name": "search", "arguments": {"query": "crows with wire", "top": 2}});
    ask(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": search}));
    let found = answer();
    assert_eq!(found["result"]["structuredContent"]["results"].as_array().unwrap().len(), 2, "{found}");
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn words_are_found_by_synonyms_and_in_spite_of_typing_errors() {
    let Some(world) = World::new() else { return };
    let search = |more: &[&str]| {
        let index = world.index();
        let mut line = vec!["search", "--index", &index, "--mode", "bm25", "--json"];
        line.extend(more);
        hits(&done(&line))
    };
    assert!(search(&["corvids"]).is_empty());
    let synonyms = world.write("synonyms.txt", "corvid, crow\n");
    assert_eq!(search(&["--synonyms", &synonyms, "corvids"]).len(), 2);
    assert!(search(&["crwos"]).is_empty());
    assert_eq!(search(&["--typos", "crwos"]).len(), 2);
    let (_, _, said) = run(&["search", "--index", &world.index(), "--mode", "bm25", "crwos"]);
    assert!(said.contains("did you mean: crows"), "{said}");
    let wrong = world.write("wrong.txt", "a b, c\n\nd => e => f\n");
    let (code, _, said) = run(&["search", "--index", &world.index(), "--mode", "bm25", "--synonyms", &wrong, "crow"]);
    assert!(code == 1 && said.contains("wrong.txt line 3: has `=>` twice"), "{said}");
    let (code, _, said) = run(&["search", "--index", &world.index(), "--mode", "bm25", "--fields", "title^0", "crow"]);
    assert!(code == 2 && said.contains("must be above 0"), "{said}");
}
