//! What the tests share: a model of a kind that needs nothing, and a real but tiny one in a folder.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own share")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use adam_encoder::{EncoderError, TextEncoder, TextKind};
use adam_plugin::PinnedModel;
use tempfile::TempDir;

/// Each word has a direction of its own, and a text is the sum of its words, at length 1. A text with `UNREADABLE` in it
/// fails, as does a whole batch with one.
pub struct Words {
    dimension: usize,
    name: String,
    /// Texts that went through.
    pub encoded: AtomicUsize,
    /// Most texts it was given at once.
    pub largest: AtomicUsize,
    /// Held while texts are encoded, so that a test can make the model slow.
    pub gate: Mutex<()>,
}

impl Words {
    pub fn new() -> Self {
        Self::of(48, "words 1")
    }

    pub fn of(dimension: usize, name: &str) -> Self {
        Self {
            dimension,
            name: name.to_owned(),
            encoded: AtomicUsize::new(0),
            largest: AtomicUsize::new(0),
            gate: Mutex::new(()),
        }
    }

    pub fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0f32; self.dimension];
        for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let mut state = word
                .to_lowercase()
                .bytes()
                .fold(0x9e37_79b9_7f4a_7c15u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            for value in &mut vector {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *value += (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            }
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-9);
        vector.iter_mut().for_each(|value| *value /= length);
        if vector.iter().all(|value| *value == 0.0) {
            vector[0] = 1.0;
        }
        vector
    }

    pub fn pinned(&self) -> PinnedModel {
        PinnedModel::of(self)
    }

    pub fn count(&self) -> usize {
        self.encoded.load(Ordering::SeqCst)
    }
}

impl TextEncoder for Words {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn fingerprint(&self) -> &str {
        &self.name
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        let _open = self.gate.lock().unwrap();
        self.largest.fetch_max(texts.len(), Ordering::SeqCst);
        if texts.iter().any(|text| text.contains("UNREADABLE")) {
            return Err(EncoderError::Tokenize { path: PathBuf::from("words"), problem: "unreadable".to_owned() });
        }
        self.encoded.fetch_add(texts.len(), Ordering::SeqCst);
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }
}

pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// False, with a line that says why, where ONNX Runtime is not set up on this machine.
pub fn has_runtime() -> bool {
    match adam_encoder::runtime::init() {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures")
}

/// A cross-encoder of one layer with random weights.
pub fn tiny_pair() -> PathBuf {
    fixtures().join("tiny-pair")
}

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
