//! Standard output and standard error: what is on them, and readers that leave.

use std::io::Read;
use std::process::Stdio;

use serde_json::json;

use crate::common::{adam, done, fixtures, run, told};
use crate::{World, hits};

#[test]
fn json_is_all_there_is_on_standard_output() {
    let Some(world) = World::new() else { return };
    for mode in ["bm25", "dense", "hybrid"] {
        let found = hits(&done(&["search", "--index", &world.index(), "--mode", mode, "--json", "crows use wire"]));
        assert!(!found.is_empty(), "{mode}");
        for hit in &found {
            for key in ["id", "score", "snippet", "arms"] {
                assert!(!hit[key].is_null(), "{mode} {key}");
            }
        }
    }
    let plain = done(&["search", "--index", &world.index(), "crows use wire"]);
    assert!(!plain.contains('\u{1b}'), "no colours where there is no terminal: {plain}");
}

#[test]
fn messages_count_as_people_do() {
    let Some(world) = World::new() else { return };
    let data = world.write("one.jsonl", "{\"_id\": \"only\", \"text\": \"a lonely crow\"}\n");
    let index = world.path("one");
    let (code, _, err) = run(&["index", "--model", &world.model(), "--data", &data, "--index", &index]);
    assert!(code == 0 && err.contains(": 1 document in"), "{err}");
    let (_, out, _) = run(&["search", "--index", &index, "--mode", "bm25", "crow"]);
    assert!(out.starts_with("1 hit by bm25") && out.contains("\n  1. [only]"), "{out}");
    let (code, _, err) = run(&["delete", "--index", &index]);
    assert!(code == 2 && err.contains("--filter") && err.contains("ids"), "{err}");
    let (code, _, err) = run(&["delete", "--index", &index, "only"]);
    assert!(code == 0 && err.contains("1 document deleted, 0 left"), "{err}");
    // A weight is written as it was given.
    let out = done(&["search", "--index", &world.index(), "--json", "--weight", "0.8", "wire"]);
    assert!(out.contains("\"weight\": 0.2\n") && !out.contains("0.19999"), "{out}");
    let (code, _, err) =
        told(adam().args(["search", "--index", &index, "crow"]).env("ADAM_SEARCH_TOP", "x").output().unwrap());
    assert!(code == 2 && err.contains("not a whole number") && err.contains("ADAM_SEARCH_TOP"), "{err}");
    assert!(!err.contains("invalid digit"), "{err}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let Some(world) = World::new() else { return };
    for words in [
        &["search", "--index", &world.index(), "--explain", "crows use wire"][..],
        &["search", "--index", &world.index(), "--json", "crows"],
        &["completions", "bash"],
    ] {
        let mut child = adam().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before anything is written.
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let code = child.wait().unwrap().code();
        assert!(code == Some(0) && !err.contains("panicked") && !err.contains("error"), "{words:?}: {code:?} {err}");
    }
}

#[test]
fn a_standard_error_that_nobody_reads_harms_nothing() {
    let Some(world) = World::new() else { return };
    for log in ["warn", "trace"] {
        let index = world.path(log);
        let mut command = adam();
        command.args(["index", "--model", &world.model(), "--data", world.data.to_str().unwrap(), "--index", &index]);
        let mut child = command.env("RUST_LOG", log).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert!(child.wait().unwrap().success(), "{log}");
        let (code, out, err) = run(&["search", "--index", &index, "--mode", "bm25", "wire"]);
        assert!(code == 0 && out.contains("Crows bend wire"), "{out} {err}");
    }
}

/// Control characters and marks that show nothing themselves and change how a terminal shows other text.
const STEERING: [char; 14] = [
    '\u{1b}',
    '\u{7}',
    '\r',
    '\u{7f}',
    '\u{9b}',
    '\u{61c}',
    '\u{200e}',
    '\u{200f}',
    '\u{2028}',
    '\u{202e}',
    '\u{2066}',
    '\u{2069}',
    '\u{feff}',
    '\u{e0041}',
];

fn steers(text: &str) -> bool {
    text.contains(|c: char| STEERING.contains(&c) || (c.is_control() && c != '\n'))
}

#[test]
fn what_a_document_holds_does_not_steer_the_terminal() {
    let Some(world) = World::new() else { return };
    for mark in STEERING {
        let hostile = format!("a{mark}b\nlog: fake");
        let document = json!({"_id": hostile, "title": hostile, "text": format!("{hostile} bell rings"), "metadata": {hostile.as_str(): hostile}});
        let data = world.write("steering.jsonl", &format!("{document}\n"));
        let index = world.path(&format!("steering{}", u32::from(mark)));
        let call = |words: &[&str]| {
            let (code, out, err) = run(words);
            assert!(!steers(&out) && !steers(&err), "{mark:?} {words:?}: {out:?} {err:?}");
            assert!(!err.lines().any(|line| line.starts_with("log: fake")), "{words:?}: {err}");
            (code, out, err)
        };
        let (code, _, err) = call(&["index", "--model", &world.model(), "--data", &data, "--index", &index]);
        assert_eq!(code, 0, "{err}");
        for extra in [&[][..], &["--explain"], &["--filter", &format!("no{mark}field:x")]] {
            let (_, out, err) = call(
                &[&["search", "--index", &index, "--mode", "bm25"][..], extra, &[&format!("bell {mark} rings")]]
                    .concat(),
            );
            assert!(!extra.is_empty() || out.contains("bell rings"), "{out} {err}");
        }
        call(&["info", "--index", &index]);
        call(&["delete", "--index", &index, "--filter", &format!("a{mark}b:1")]);
        // JSON says exactly what the document holds.
        let (_, out, _) = call(&["search", "--index", &index, "--mode", "bm25", "--json", "bell rings"]);
        let hit = &hits(&out)[0];
        assert_eq!((&hit["id"], &hit["title"]), (&json!(hostile), &json!(hostile)));

        // Errors and notes about collections name ids and fields.
        let line = |id: &str| json!({"_id": id, "text": "a"}).to_string();
        for text in [
            format!("{}\n{}\n", line(&hostile), line(&hostile)),
            format!("{}\n", json!({"_id": hostile})),
            format!("{}\n", json!({"_id": "x", "text": "a", hostile.as_str(): 1})),
            format!("{}\n{{\"_id\": \"{hostile}\"", line("y")),
        ] {
            let data = world.write("bad.jsonl", &text);
            call(&["index", "--model", &world.model(), "--data", &data, "--index", &world.path("bad")]);
            call(&["encode", "--model", &world.model(), "--input", &data, "--output", &world.path("bad.npy")]);
        }
    }
}

#[test]
fn warnings_are_shown_unless_they_are_turned_off() {
    let Some(world) = World::new() else { return };
    // Nothing in this folder says how to pool.
    let model = fixtures().join("tiny");
    let said = |log: Option<&str>| {
        let mut command = adam();
        command.args(["encode", "--model", model.to_str().unwrap(), "--input", world.data.to_str().unwrap()]);
        command.args(["--output", &world.path("vectors.npy")]).env_remove("RUST_LOG");
        let (code, _, err) = told(command.envs(log.map(|log| ("RUST_LOG", log))).output().unwrap());
        assert_eq!(code, 0, "{err}");
        err
    };
    let err = said(None);
    assert!(err.contains("WARN") && err.contains("no modules.json"), "{err}");
    assert!(!err.contains('\u{1b}'), "no colours where there is no terminal: {err}");
    assert!(!said(Some("off")).contains("WARN"));
}
