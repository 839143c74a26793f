//! The manifest of an index: which model made its vectors, and which field is for what.
//!
//! It lies in the index's folder as `.adam.json`; tantivy never collects a file whose name begins with a dot. It
//! is JSON with a checksum: `{ "version": 1, "made_by": ..., "model": {...}, "layout": {...} }`.

use std::path::{Path, PathBuf};

use adam_encoder::{Precision, TextEncoder};
use serde::{Deserialize, Serialize};

use crate::chunk::Chunking;
use crate::error::PluginError;
use crate::signed;

/// Name of the file.
pub const MANIFEST_FILE: &str = ".adam.json";

/// Version written; versions up to it are read.
const VERSION: u32 = 1;

/// Largest manifest read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// The model an index was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PinnedModel {
    /// Its name, for messages.
    pub name: String,
    /// Identifies the function from text to vector.
    pub fingerprint: String,
    /// Values per vector.
    pub dimension: usize,
    /// Its folder when the index was made, so that a search need not name it again.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// What the model computes in: `f32`, `f16` or `int8`.
    #[serde(default, with = "precision_name")]
    pub precision: Precision,
    /// Most tokens read of a text, where it was set by hand.
    #[serde(default)]
    pub max_length: Option<usize>,
    /// What was put before queries.
    #[serde(default)]
    pub query_prompt: Option<String>,
    /// What was put before documents.
    #[serde(default)]
    pub document_prompt: Option<String>,
    /// Weight of the vectors in hybrid searches that name none, where the model's training chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hybrid_weight: Option<f32>,
}

/// A precision by its name. An unknown one is an error: other numbers would be other vectors.
mod precision_name {
    use adam_encoder::Precision;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(precision: &Precision, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(precision)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Precision, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}

impl PinnedModel {
    /// What is known of any encoder.
    pub fn of(encoder: &dyn TextEncoder) -> Self {
        Self {
            name: encoder.name().to_owned(),
            fingerprint: encoder.fingerprint().to_owned(),
            dimension: encoder.dimension(),
            folder: None,
            precision: Precision::F32,
            max_length: None,
            query_prompt: None,
            document_prompt: None,
            hybrid_weight: None,
        }
    }

    /// Refuses an encoder whose vectors cannot be compared with the index's.
    pub(crate) fn check(&self, index: &Path, encoder: &dyn TextEncoder) -> Result<(), PluginError> {
        if self.fingerprint == encoder.fingerprint() && self.dimension == encoder.dimension() {
            return Ok(());
        }
        let short = |fingerprint: &str, dimension: usize| {
            let start: String = fingerprint.chars().take(12).collect();
            format!("fingerprint {start}, {dimension} values")
        };
        Err(PluginError::OtherModel {
            index: index.to_path_buf(),
            pinned: self.name.clone(),
            pinned_fingerprint: short(&self.fingerprint, self.dimension),
            given: encoder.name().to_owned(),
            given_fingerprint: short(encoder.fingerprint(), encoder.dimension())
                + if self.name == encoder.name() { ", so weights, precision, length or prompts differ" } else { "" },
        })
    }
}

/// Which field is for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The field with the document's id: indexed as one term, and stored.
    pub key: String,
    /// Text fields that BM25 searches.
    pub searched: Vec<String>,
    /// Stored field shown as a hit's title.
    #[serde(default)]
    pub title: Option<String>,
    /// Stored fields shown as a hit's text.
    pub shown: Vec<String>,
    /// JSON field with whatever else is known of a document.
    #[serde(default)]
    pub metadata: Option<String>,
    /// The vector field.
    pub vector: String,
    /// What of a document is embedded, as a [`Template`](crate::Template).
    pub template: String,
    /// How long documents are split into chunks, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Chunking>,
}

/// What an index says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    made_by: String,
    /// The model that made its vectors.
    pub model: PinnedModel,
    /// Which field is for what.
    pub layout: Layout,
}

impl Manifest {
    /// A manifest of this version.
    pub fn new(model: PinnedModel, layout: Layout) -> Self {
        Self { version: VERSION, made_by: concat!("adam ", env!("CARGO_PKG_VERSION")).to_owned(), model, layout }
    }

    /// Reads the manifest of an index; `None` where the folder has none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or was written by a later version.
    pub fn read(index: impl AsRef<Path>) -> Result<Option<Self>, PluginError> {
        signed::read(&index.as_ref().join(MANIFEST_FILE), "the manifest of the index", VERSION, MAX_SIZE)
    }

    /// Writes the manifest, whole or not at all. When it returns, the manifest is on disk.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, index: impl AsRef<Path>) -> Result<(), PluginError> {
        signed::write(&index.as_ref().join(MANIFEST_FILE), self)
    }

    /// Whether vectors and fields of an index with the other manifest mean the same as with this one.
    pub(crate) fn is_compatible(&self, other: &Self) -> bool {
        (&self.model.fingerprint, self.model.dimension, &self.layout)
            == (&other.model.fingerprint, other.model.dimension, &other.layout)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::signed::digest;

    pub(crate) fn manifest() -> Manifest {
        let model = PinnedModel {
            name: "m".into(),
            fingerprint: "f".into(),
            dimension: 3,
            folder: None,
            precision: Precision::F32,
            max_length: Some(64),
            query_prompt: None,
            document_prompt: Some("passage: ".into()),
            hybrid_weight: Some(0.65),
        };
        let layout = Layout {
            key: "id".into(),
            searched: vec!["content".into()],
            title: None,
            shown: vec!["text".into()],
            metadata: None,
            vector: "vector".into(),
            template: "{text}".into(),
            chunks: None,
        };
        Manifest::new(model, layout)
    }

    #[test]
    fn a_manifest_reads_back_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Manifest::read(folder.path()).unwrap().is_none());
        manifest().write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap().unwrap(), manifest());
        let path = folder.path().join(MANIFEST_FILE);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() - 1 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Manifest::read(folder.path()).is_err(), "byte {at}");
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 9] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Manifest::read(folder.path()).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn an_unknown_precision_is_refused_and_a_missing_one_is_f32() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MANIFEST_FILE);
        let write = |body: &str| std::fs::write(&path, format!("{body}\nsha256 {}\n", digest(body))).unwrap();
        let mut body = serde_json::to_value(manifest()).unwrap();
        body["model"]["precision"] = "f64".into();
        write(&body.to_string());
        let said = Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(said.contains("`f64`") && said.contains("`f32`, `f16` or `int8`"), "{said}");
        body["model"].as_object_mut().unwrap().remove("precision");
        write(&body.to_string());
        assert_eq!(Manifest::read(folder.path()).unwrap().unwrap().model.precision, Precision::F32);
    }

    #[test]
    fn a_later_version_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut later = manifest();
        later.version = 9;
        later.write(folder.path()).unwrap();
        let said = Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(said.contains("manifest version 9; this one reads up to 1"), "{said}");
    }
}
