//! What the tests share: the library's test model and indexes, a real but tiny model in a folder, and the program.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its own share")]

#[path = "../../../tests/common/mod.rs"]
mod library;
#[path = "../../../tests/common/models.rs"]
mod models;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use library::indexes;
pub use models::{fixtures, has_runtime, tiny_pair};
use tempfile::TempDir;

/// A sentence encoder of one layer with random weights, 16 values, mean of the tokens.
pub fn tiny_model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_into(&fixtures().join("tiny-both"), folder.path());
    let module = |number: usize, path: &str, class: &str| {
        serde_json::json!({"idx": number, "name": number.to_string(), "path": path,
            "type": format!("sentence_transformers.models.{class}")})
    };
    let modules =
        [module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"), module(2, "2_Normalize", "Normalize")];
    std::fs::write(folder.path().join("modules.json"), serde_json::to_vec(&modules).unwrap()).unwrap();
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let pooling = serde_json::json!({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": true});
    std::fs::write(folder.path().join("1_Pooling/config.json"), pooling.to_string()).unwrap();
    folder
}

fn copy_into(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_into(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A corpus as `.jsonl`, one document for each text, with ids d0, d1, ... and the year 2000, 2001, ... as metadata.
pub fn corpus(folder: &Path, texts: &[&str]) -> PathBuf {
    let path = folder.join("corpus.jsonl");
    let lines: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            serde_json::json!({"_id": format!("d{number}"), "title": "", "text": text,
                "metadata": {"year": 2000 + number}})
            .to_string()
        })
        .collect();
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

/// The program, with an environment that holds none of its variables.
pub fn adam() -> Command {
    unset(Command::new(env!("CARGO_BIN_EXE_adam")))
}

/// The command without the settings of whoever runs the tests.
pub fn unset(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ADAM_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `adam` with these words; gives exit code, standard output, standard error.
pub fn run(words: &[&str]) -> (i32, String, String) {
    told(adam().args(words).output().unwrap())
}

pub fn told(output: Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// As [`run`], and the call must have done its work.
pub fn done(words: &[&str]) -> String {
    let (code, out, err) = run(words);
    assert_eq!(code, 0, "adam {words:?}: {err}");
    out
}
