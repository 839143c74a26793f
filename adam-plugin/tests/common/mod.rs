//! What the tests share: a model of words that needs no files, and indexes to start from.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own share")]

pub mod indexes;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use adam_encoder::{EncoderError, TextEncoder, TextKind};
use adam_plugin::PinnedModel;

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
