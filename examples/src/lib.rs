//! Lessons, in the order of a user's journey. Each is a program of its own that runs in seconds:
//!
//! | lesson | shows |
//! |---|---|
//! | `before`, `after` | a tantivy program, and what it takes to give it dense search: read them side by side |
//! | `custom_encoder` | a text encoder of your own in place of an ONNX model |
//! | `rerank` | a cross-encoder that looks at the best hits again |
//! | `service` | search over HTTP inside a program of your own |
//!
//! ```sh
//! cargo run --release -p adam-examples --example after -- "why does the sea rise twice a day"
//! ```
//!
//! They share the 60 short texts of `data/pocket`, and a model: the folder in `ADAM_MODEL`, else MiniLM as `make test` exports it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use beir_eval::Collection;

/// Titles and texts of the pocket collection.
///
/// # Errors
/// When its files are not where this package has them.
pub fn pocket() -> Result<Vec<(String, String)>> {
    let collection = Collection::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pocket"))?;
    collection
        .documents()?
        .map(|document| {
            let document = document?;
            Ok((document.title, document.text))
        })
        .collect()
}

/// The question on the command line, or one that the pocket collection answers.
pub fn question() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() { "why does the sea rise twice a day".to_owned() } else { words.join(" ") }
}

/// The folder of a sentence encoder with ONNX.
///
/// # Errors
/// When there is none.
pub fn model() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("ADAM_MODEL").filter(|value| !value.is_empty()) {
        return Ok(folder.into());
    }
    let minilm = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/minilm-onnx");
    if !minilm.join("modules.json").is_file() {
        bail!(
            "no model: name a folder in ADAM_MODEL, or run `make build` and `adam-train export --model .native/all-MiniLM-L6-v2 --output .native/minilm-onnx`"
        );
    }
    Ok(minilm)
}
