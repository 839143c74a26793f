//! The exported folder: written beside its place under another name, moved there when it is whole.

use std::path::{Path, PathBuf};

use super::error::ExportError;
use super::graph::{self, Form, Numbers};
use super::source::Source;

/// What kind of model is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A sentence encoder.
    #[default]
    Sentence,
    /// A cross-encoder.
    Pair,
}

/// Settings.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Folder with the model.
    pub model: PathBuf,
    /// Folder to write.
    pub output: PathBuf,
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// The folder.
    pub folder: PathBuf,
}

/// Exports.
pub fn export(options: &ExportOptions) -> Result<Exported, ExportError> {
    let source = Source::read(&options.model)?;
    let head = source.sentence_head()?;
    let onnx = options.output.join("onnx");
    std::fs::create_dir_all(&onnx).map_err(ExportError::io(&onnx))?;
    for (name, form, numbers) in [
        ("model.onnx", Form::Standard, Numbers::F32),
        ("model_fused.onnx", Form::Fused, Numbers::F32),
        ("full.onnx", Form::Standard, Numbers::Int8(super::quantise::Range::Full)),
        ("reduced.onnx", Form::Standard, Numbers::Int8(super::quantise::Range::Reduced)),
        ("pairs.onnx", Form::Standard, Numbers::Int8(super::quantise::Range::Pairs)),
        ("fused_full.onnx", Form::Fused, Numbers::Int8(super::quantise::Range::Full)),
        ("fused_reduced.onnx", Form::Fused, Numbers::Int8(super::quantise::Range::Reduced)),
        ("fused_pairs.onnx", Form::Fused, Numbers::Int8(super::quantise::Range::Pairs)),
    ] {
        let bytes = graph::write(&source.architecture, &source.weights, &head, form, numbers)?;
        let path: &Path = &onnx.join(name);
        std::fs::write(path, bytes).map_err(ExportError::io(path))?;
    }
    Ok(Exported {
        folder: options.output.clone(),
    })
}
