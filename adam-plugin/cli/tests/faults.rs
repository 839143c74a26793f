//! Calls on files that fail, and processes that are killed at one: nothing that was committed is lost or doubled, and the same command
//! goes on. A few of each command's calls are tried; `FAULTS_EVERY=1` tries all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const DOCUMENTS: usize = 24;
/// Calls of each command that are tried unless the variable says otherwise.
const TRIED: usize = 6;
/// And of the first.
const FIRST: usize = 6;
const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

struct Home {
    home: TempDir,
    model: TempDir,
    library: PathBuf,
    data: PathBuf,
}

impl Home {
    /// `None`, with a line that says why, where this machine lacks something.
    fn new() -> Option<Self> {
        if !common::has_runtime() {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let library = home.path().join("fault.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/fault.c");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
        if !compiled.is_ok_and(|status| status.success()) {
            println!("skipped: failing calls need a C compiler, to make the library that fails them");
            return None;
        }
        let texts: Vec<String> = (0..DOCUMENTS).map(|number| format!("everyone reads of number {number}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let data = common::corpus(home.path(), &texts);
        Some(Self { model: common::tiny_model(), data, library, home })
    }

    /// The folder in which calls are counted.
    fn place(&self) -> PathBuf {
        self.home.path().join("counted")
    }

    fn index(&self) -> PathBuf {
        self.place().join("index")
    }

    fn run(&self, words: &[String], faults: &[(&str, String)]) -> Output {
        let mut command = common::adam();
        command.args(words).env("RUST_BACKTRACE", "0");
        if !faults.is_empty() {
            command.env("LD_PRELOAD", &self.library).env("FAULT_FOLDER", self.place());
        }
        command.envs(faults.iter().map(|(name, value)| (name, value))).output().unwrap()
    }

    /// Calls that a command makes on files in the folder.
    fn calls(&self, command: &Line) -> usize {
        self.prepare(command);
        let count = self.home.path().join("count");
        let done = self.run(&command.words, &[("FAULT_COUNT", count.display().to_string())]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read_to_string(count).unwrap().trim().parse().unwrap()
    }

    fn prepare(&self, command: &Line) {
        let _ = std::fs::remove_dir_all(self.place());
        std::fs::create_dir(self.place()).unwrap();
        if command.begins_with_index {
            std::fs::create_dir(self.index()).unwrap();
            for entry in std::fs::read_dir(self.home.path().join("whole")).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, self.index().join(path.file_name().unwrap())).unwrap();
            }
        }
    }

    /// Ids that both ways of searching find; `Err` where the index cannot be read.
    fn ids(&self) -> Result<BTreeSet<String>, String> {
        let mut found = Vec::new();
        for mode in ["bm25", "dense"] {
            let index = self.index().display().to_string();
            let (code, out, err) =
                common::run(&["search", "--index", &index, "--mode", mode, "--top", "1000", "--json", "everyone"]);
            if code != 0 {
                assert!(!err.contains("panicked"), "{err}");
                return Err(err);
            }
            let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
            let ids: Vec<String> =
                answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect();
            let distinct: BTreeSet<String> = ids.iter().cloned().collect();
            assert_eq!(ids.len(), distinct.len(), "documents twice, by {mode}");
            found.push(distinct);
        }
        assert_eq!(found[0], found[1], "words and vectors are of different documents");
        Ok(found.remove(0))
    }

    /// Runs the command again, after which all must be there.
    fn goes_on(&self, command: &Line, after: &str) {
        let done = self.run(&command.words, &[]);
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{after}, then again: {err}");
        assert_eq!(self.ids().as_ref(), Ok(&command.wanted), "{after}");
        let left: Vec<_> = std::fs::read_dir(self.index()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let left: Vec<_> = left.iter().filter(|name| name.to_string_lossy().starts_with(".tmp")).collect();
        assert!(left.is_empty(), "{after}: {left:?}");
        let (code, out, err) = common::run(&["check", &self.index().display().to_string()]);
        assert_eq!(code, 0, "{after}: {out}{err}");
    }
}

/// A command, and the documents that it leaves.
struct Line {
    name: &'static str,
    words: Vec<String>,
    begins_with_index: bool,
    committed: BTreeSet<String>,
    wanted: BTreeSet<String>,
}

fn lines(home: &Home) -> Vec<Line> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let (index, model, data) =
        (home.index().display().to_string(), home.model.path().display().to_string(), home.data.display().to_string());
    let whole = home.home.path().join("whole").display().to_string();
    common::done(&["index", "--model", &model, "--data", &data, "--index", &whole]);
    let all: BTreeSet<String> = (0..DOCUMENTS).map(|number| format!("d{number}")).collect();
    let kept: BTreeSet<String> = all.iter().filter(|id| *id != "d1").cloned().collect();
    let nothing = BTreeSet::new();
    vec![
        Line {
            name: "index",
            words: words(&["index", "--model", &model, "--data", &data, "--index", &index, "--commit-every", "9"]),
            begins_with_index: false,
            committed: nothing.clone(),
            wanted: all.clone(),
        },
        Line {
            name: "reembed",
            words: words(&["reembed", &whole, "--model", &model, "--index", &index, "--commit-every", "9"]),
            begins_with_index: false,
            committed: nothing,
            wanted: all.clone(),
        },
        Line {
            name: "index, again",
            words: words(&["index", "--model", &model, "--data", &data, "--index", &index]),
            begins_with_index: true,
            committed: all.clone(),
            wanted: all,
        },
        Line {
            name: "delete",
            words: words(&["delete", "--index", &index, "d1"]),
            begins_with_index: true,
            committed: kept.clone(),
            wanted: kept,
        },
    ]
}

/// The calls to try, of so many.
fn tried(calls: usize) -> impl Iterator<Item = usize> {
    // The first ones make the folder and the manifest, and are all tried.
    let first = if every().is_none() { FIRST.min(calls) } else { 0 };
    (1..=calls).filter(move |at| *at <= first || at % every().unwrap_or((calls / TRIED).max(1)) == 0)
}

/// The number in `FAULTS_EVERY`.
fn every() -> Option<usize> {
    std::env::var("FAULTS_EVERY").ok()?.parse().ok()
}

#[test]
fn a_command_that_is_killed_at_any_call_goes_on() {
    let Some(home) = Home::new() else { return };
    for command in lines(&home) {
        let calls = home.calls(&command);
        println!("{}: {calls} calls", command.name);
        for at in tried(calls) {
            home.prepare(&command);
            let done = home.run(&command.words, &[("FAULT_AT", at.to_string())]);
            let after = format!("{} killed at call {at}", command.name);
            // The number of calls differs a little from run to run.
            assert!(done.status.success() || done.status.code().is_none(), "{after}");
            match home.ids() {
                Ok(ids) => assert!(ids.is_superset(&command.committed), "{after}: lost"),
                Err(fault) => assert!(!command.begins_with_index, "{after}: {fault}"),
            }
            home.goes_on(&command, &after);
        }
    }
}

#[test]
fn a_command_whose_calls_fail_says_so_and_goes_on() {
    let Some(home) = Home::new() else { return };
    for command in lines(&home) {
        let calls = home.calls(&command);
        for (number, at) in tried(calls).enumerate() {
            let error = [EIO, ENOSPC, EMFILE][number % 3];
            // Every one both ways where all are tried, else by turns.
            let ways = if every().is_some() { vec![false, true] } else { vec![number / 3 % 2 == 1] };
            for from_on in ways {
                home.prepare(&command);
                let mut faults = vec![("FAULT_AT", at.to_string()), ("FAULT_ERRNO", error.to_string())];
                if from_on {
                    faults.push(("FAULT_FROM_ON", "1".to_owned()));
                }
                let done = home.run(&command.words, &faults);
                let after = format!("{}, error {error} at call {at}, from then on: {from_on}", command.name);
                let err = String::from_utf8_lossy(&done.stderr);
                // Some calls may fail without harm, as those that remove what is no longer needed.
                match done.status.code() {
                    Some(0) => assert_eq!(home.ids().as_ref(), Ok(&command.wanted), "{after}"),
                    Some(1) => assert!(err.contains("error: ") && !err.contains("panicked"), "{after}: {err}"),
                    code => panic!("{after}: ended with {code:?}: {err}"),
                }
                if let Ok(ids) = home.ids() {
                    assert!(ids.is_superset(&command.committed), "{after}: lost");
                }
                home.goes_on(&command, &after);
            }
        }
    }
}
