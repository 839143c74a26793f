//! Standard output and standard error: what is on them, and readers that leave.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use crate::common::{adam, done, run, told};
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

#[test]
fn what_a_document_holds_does_not_steer_the_terminal() {
    let Some(world) = World::new() else { return };
    let line =
        r#"{"_id": "a\u001b[2Jb", "title": "red \u001b[31m", "text": "bell \u0007 rings \u001b[2J twice \u009b31m"}"#;
    let data = world.write("steering.jsonl", &format!("{line}\n"));
    let index = world.path("steering");
    done(&["index", "--model", &world.model(), "--data", &data, "--index", &index]);
    let (code, out, err) = run(&["search", "--index", &index, "--mode", "bm25", "bell rings"]);
    assert!(code == 0 && out.contains("rings"), "{out} {err}");
    assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
}

#[test]
fn warnings_are_shown_unless_they_are_turned_off() {
    let Some(world) = World::new() else { return };
    // Nothing in this folder says how to pool.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny");
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
