//! The program as a user meets it: files, environment, pipes, exit codes, help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod assistants;
#[path = "../common/mod.rs"]
mod common;
mod configuration;
mod documents;
mod evaluation;
mod export;
mod files;
mod models;
mod parts;
mod ranking;
mod refine;
mod shards;
mod signals;
mod terminal;

use std::path::PathBuf;

use common::{corpus, done, has_runtime, tiny_model};
use serde_json::Value;

const TEXTS: [&str; 6] = [
    "Crows bend wire into hooks.",
    "Plants grow from light and water.",
    "Iron makes blood red.",
    "Ice and heat: water in the sun.",
    "The nest of a bird is early and green.",
    "Do crows use tools? Crows use tools and wire.",
];

/// A model, a corpus and an index of it.
struct World {
    folder: tempfile::TempDir,
    model: tempfile::TempDir,
    data: PathBuf,
}

impl World {
    /// None where ONNX Runtime is not set up.
    fn new() -> Option<Self> {
        has_runtime().then(|| {
            let folder = tempfile::tempdir().unwrap();
            let data = corpus(folder.path(), &TEXTS);
            let world = Self { model: tiny_model(), data, folder };
            done(&[
                "index",
                "--model",
                &world.model(),
                "--data",
                world.data.to_str().unwrap(),
                "--index",
                &world.index(),
            ]);
            world
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn index(&self) -> String {
        self.path("index")
    }

    fn model(&self) -> String {
        self.model.path().to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self.path(name)
    }
}

fn hits(out: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(out).unwrap();
    report["hits"].as_array().unwrap().clone()
}
