//! What the tests share: fixture folders, variants of them, and the parts that may be absent.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own share")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A part that scripts/setup.sh or `make` puts under `.native`.
pub fn native(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native").join(name)
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

pub fn golden() -> Value {
    read_json(&fixture("golden.json"))
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

pub fn rows(value: &Value) -> Vec<Vec<f32>> {
    serde_json::from_value(value.clone()).unwrap()
}

/// A copy of a fixture folder that a test may change.
pub fn copy_of(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_into(&fixture(name), folder.path());
    folder
}

pub fn copy_into(from: &Path, to: &Path) {
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

pub fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// `modules.json` in the older dialect for a transformer, a pooling and perhaps a normalisation.
pub fn write_modules(folder: &Path, normalize: bool) {
    let mut modules = vec![
        serde_json::json!({"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}),
        serde_json::json!({"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}),
    ];
    if normalize {
        modules.push(
            serde_json::json!({"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}),
        );
    }
    write(folder, "modules.json", &Value::Array(modules).to_string());
}

/// `1_Pooling/config.json` in the older dialect.
pub fn write_pooling(folder: &Path, modes: &[&str], include_prompt: bool) {
    let mut config = serde_json::json!({"word_embedding_dimension": 16, "include_prompt": include_prompt});
    for mode in ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"] {
        let short = match mode {
            "mean_sqrt_len_tokens" => mode,
            _ => mode.trim_end_matches("_tokens").trim_end_matches("_token"),
        };
        config[format!("pooling_mode_{mode}")] = modes.contains(&short).into();
    }
    write(folder, "1_Pooling/config.json", &config.to_string());
}

/// Largest absolute difference of two lists of vectors.
pub fn difference(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter()
        .zip(theirs)
        .flat_map(|(a, b)| {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).map(|(x, y)| {
                assert!(x.is_finite());
                (x - y).abs()
            })
        })
        .fold(0.0, f32::max)
}
