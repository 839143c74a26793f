//! Which ONNX file of a folder to run, and what must be true of it before ONNX Runtime sees it.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::json::{is_there, read_value};
use super::protobuf::{self, Outline, Weight};
use crate::error::EncoderError;
use crate::files::read_limited;
use crate::fingerprint;
use crate::limits::{EXTERNAL_LIMIT, ONNX_LIMIT};
use crate::options::EncoderOptions;
use crate::precision::Precision;

/// Weights below this size are not worth sharing among sessions.
const SHARED_WEIGHT: usize = 16 << 10;

/// An ONNX file that passed the checks, still in memory.
pub(crate) struct OnnxFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// SHA-256 over the file and the files its weights lie in.
    pub(crate) hash: String,
    outline: Outline,
}

/// A weight that several sessions can use in one copy.
pub(crate) struct SharedWeight<'a> {
    pub(crate) name: &'a str,
    pub(crate) dims: Vec<usize>,
    pub(crate) values: WeightValues,
}

/// The element types that models keep their weights in.
pub(crate) enum WeightValues {
    F32(Vec<f32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
}

impl OnnxFile {
    /// Picks and reads the file for `options`.
    pub(crate) fn open(transformer: &Path, options: &EncoderOptions) -> Result<Self, EncoderError> {
        let path = choose(transformer, options)?;
        let mut file = Self::read(path)?;
        // An index made on one device is searched on another: what identifies the model must not depend on which of the two
        // files of the same weights runs.
        if let Some(standard) = standard(transformer, options).ok().filter(|standard| *standard != file.path) {
            file.hash = Self::read(standard)?.hash;
        }
        Ok(file)
    }

    fn read(path: PathBuf) -> Result<Self, EncoderError> {
        let bytes = read_limited(&path, ONNX_LIMIT)?;
        let outline = protobuf::outline(&bytes)
            .ok()
            .filter(|outline| outline.has_graph)
            .ok_or_else(|| EncoderError::model(&path, "is not an ONNX model, or is not whole"))?;
        let mut hash = fingerprint::hex_of(&bytes);
        if !outline.external.is_empty() {
            let mut all = fingerprint::Fingerprint::default().part("onnx", &hash);
            for location in &outline.external {
                let target = external_file(&path, location)?;
                all = all.part(location, &fingerprint::hex_of_file(&target, EXTERNAL_LIMIT)?);
            }
            hash = all.finish();
        }
        Ok(Self { path, bytes, hash, outline })
    }

    /// True where weights lie in other files, so that the model must be loaded by path.
    pub(crate) fn has_external(&self) -> bool {
        !self.outline.external.is_empty()
    }

    /// The large weights, one at a time, in the form ONNX Runtime takes them.
    pub(crate) fn shared_weights(&self) -> impl Iterator<Item = SharedWeight<'_>> {
        self.outline.weights.iter().filter_map(|weight| self.shared(weight))
    }

    fn shared<'a>(&'a self, weight: &'a Weight) -> Option<SharedWeight<'a>> {
        let bytes = self.bytes.get(weight.bytes.clone())?;
        if bytes.len() < SHARED_WEIGHT {
            return None;
        }
        let dims: Vec<usize> = weight.dims.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<_>>()?;
        let count = dims.iter().try_fold(1usize, |all, size| all.checked_mul(*size))?;
        // TensorProto.DataType: 1 float, 2 uint8, 3 int8.
        let (width, values) = match weight.data_type {
            1 => (
                4,
                WeightValues::F32(
                    bytes
                        .chunks_exact(4)
                        .map(|part| f32::from_le_bytes([part[0], part[1], part[2], part[3]]))
                        .collect(),
                ),
            ),
            2 => (1, WeightValues::U8(bytes.to_vec())),
            3 => (1, WeightValues::I8(bytes.iter().map(|byte| byte.cast_signed()).collect())),
            _ => return None,
        };
        (count.checked_mul(width)? == bytes.len()).then_some(SharedWeight { name: &weight.name, dims, values })
    }
}

/// Where in a folder each precision is looked for, best first.
fn candidates(precision: Precision) -> Vec<&'static str> {
    match precision {
        Precision::F32 => vec!["onnx/model.onnx", "model.onnx"],
        Precision::F16 => vec!["onnx/model_fp16.onnx", "model_fp16.onnx"],
        Precision::Int8 => {
            let mut names = vec!["onnx/model_quantized.onnx", "model_quantized.onnx", "onnx/model_int8.onnx"];
            // Files that sentence-transformers names after the instructions they were quantised for.
            if cfg!(target_arch = "aarch64") {
                names.push("onnx/model_qint8_arm64.onnx");
            }
            if cfg!(target_arch = "x86_64") {
                names.extend([
                    "onnx/model_qint8_avx512_vnni.onnx",
                    "onnx/model_qint8_avx512.onnx",
                    "onnx/model_quint8_avx2.onnx",
                ]);
            }
            names
        }
    }
}

/// The file that suits `options`: the fused one where its operators are known to be there and worth it.
fn choose(transformer: &Path, options: &EncoderOptions) -> Result<PathBuf, EncoderError> {
    let standard = standard(transformer, options);
    let fused = match options.precision {
        Precision::F32 => "onnx/model_fused.onnx",
        Precision::Int8 => "onnx/model_fused_quantized.onnx",
        // No exporter writes one.
        Precision::F16 => return standard,
    };
    let path = transformer.join(fused);
    if !path.is_file() || (standard.is_ok() && !options.prefers_fused()) {
        return standard;
    }
    // It is trusted to be the same model only where the exporter that wrote both says so.
    let manifest = transformer.join("adam_export.json");
    if read_value(&manifest)?.is_some_and(|value| names_file(&value, fused, 0)) {
        return Ok(path);
    }
    tracing::warn!(file = %path.display(), "left aside, since adam_export.json does not name it");
    standard
}

/// The file in standard operators.
fn standard(transformer: &Path, options: &EncoderOptions) -> Result<PathBuf, EncoderError> {
    let names = candidates(options.precision);
    if let Some(path) = names.iter().map(|name| transformer.join(name)).find(|path| is_there(path)) {
        return Ok(path);
    }
    let others = onnx_files(transformer);
    let there = if others.is_empty() {
        "there is no ONNX file in the folder; `adam-train export` makes one".to_owned()
    } else {
        format!("the folder has only {}", others.join(", "))
    };
    Err(EncoderError::Missing {
        path: transformer.join(names[0]),
        needed: format!("it is the {} model ({there})", options.precision),
    })
}

/// Whether a manifest mentions a file, as a key or as a value anywhere.
fn names_file(value: &Value, name: &str, depth: usize) -> bool {
    if depth > 16 {
        return false;
    }
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| names_file(item, name, depth + 1)),
        Value::Object(map) => map.iter().any(|(key, item)| key == name || names_file(item, name, depth + 1)),
        _ => false,
    }
}

/// Names of the ONNX files in a folder, for a message.
fn onnx_files(transformer: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for below in ["", "onnx"] {
        let Ok(entries) = std::fs::read_dir(transformer.join(below)) else {
            continue;
        };
        for entry in entries.flatten().take(1000) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".onnx") {
                found.push(if below.is_empty() { name } else { format!("{below}/{name}") });
            }
        }
    }
    found.sort();
    found.truncate(8);
    found
}

/// The file a model's weights lie in. The name comes from the model, so from anybody: it must lead to a file beside
/// the model or below it.
fn external_file(model: &Path, location: &str) -> Result<PathBuf, EncoderError> {
    let refuse = |problem: &str| EncoderError::model(model, format!("keeps weights in {location:?}, which {problem}"));
    let relative = Path::new(location);
    let plain = !location.is_empty()
        && !location.contains(['\0', '\\'])
        && relative.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(refuse("is not a plain path below the model's folder"));
    }
    let folder = model.parent().unwrap_or(Path::new("."));
    let fault = |cause| EncoderError::Read { path: folder.join(relative), cause };
    let target = folder.join(relative).canonicalize().map_err(fault)?;
    let home = folder.canonicalize().map_err(fault)?;
    if !target.is_file() {
        return Err(refuse("is not a file"));
    }
    if target.starts_with(&home) || blobs_of(&home).is_some_and(|blobs| target.starts_with(blobs)) {
        Ok(target)
    } else {
        Err(refuse("is a link that leads out of the model's folder"))
    }
}

/// In the Hugging Face cache, `models--A--B/snapshots/REV/..` holds links into `models--A--B/blobs`.
fn blobs_of(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.ancestors().find(|part| part.ends_with("snapshots"))?;
    let repository = snapshots.parent()?;
    repository.file_name()?.to_str()?.starts_with("models--").then(|| repository.join("blobs"))
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::tests::model_with_external;
    use super::*;

    fn folder_with(model: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("onnx")).unwrap();
        std::fs::write(folder.path().join("onnx/model.onnx"), model).unwrap();
        folder
    }

    fn open(folder: &tempfile::TempDir) -> Result<OnnxFile, EncoderError> {
        OnnxFile::open(folder.path(), &EncoderOptions::default())
    }

    #[test]
    fn weights_outside_the_folder_are_refused() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let absolute = outside.path().display().to_string();
        for location in [
            "../secret.bin",
            "a/../../secret.bin",
            "..\\secret.bin",
            absolute.as_str(),
            "",
            "*/_ORT_MEM_ADDR_/*",
            "weights\0.bin",
        ] {
            let folder = folder_with(&model_with_external(location));
            std::fs::write(folder.path().join("secret.bin"), [0; 16]).unwrap();
            let message = open(&folder).err().unwrap().to_string();
            assert!(message.contains("model.onnx") || message.contains("_ORT_MEM_ADDR_"), "{location}: {message}");
        }
    }

    #[test]
    fn weights_beside_the_model_are_accepted_and_hashed() {
        let folder = folder_with(&model_with_external("w.bin"));
        std::fs::write(folder.path().join("onnx/w.bin"), [0; 16]).unwrap();
        let first = open(&folder).unwrap();
        assert!(first.has_external());
        std::fs::write(folder.path().join("onnx/w.bin"), [1; 16]).unwrap();
        assert_ne!(first.hash, open(&folder).unwrap().hash);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_refused_but_the_cache_layout_is_not() {
        use std::os::unix::fs::symlink;
        let folder = folder_with(&model_with_external("w.bin"));
        let outside = tempfile::NamedTempFile::new().unwrap();
        symlink(outside.path(), folder.path().join("onnx/w.bin")).unwrap();
        assert!(open(&folder).err().unwrap().to_string().contains("leads out"));

        let cache = tempfile::tempdir().unwrap();
        let repository = cache.path().join("models--a--b");
        let snapshot = repository.join("snapshots/0123");
        std::fs::create_dir_all(snapshot.join("onnx")).unwrap();
        std::fs::create_dir_all(repository.join("blobs")).unwrap();
        std::fs::write(repository.join("blobs/w"), [0; 16]).unwrap();
        symlink("../../../blobs/w", snapshot.join("onnx/w.bin")).unwrap();
        std::fs::write(snapshot.join("onnx/model.onnx"), model_with_external("w.bin")).unwrap();
        OnnxFile::open(&snapshot, &EncoderOptions::default()).unwrap();
    }

    #[test]
    fn what_is_not_onnx_is_refused_by_name() {
        for (bytes, words) in [
            (&b"not a model at all"[..], "not an ONNX model"),
            (b"", "not an ONNX model"),
            (b"version 1\noid git-lfs sha256:00\n", "Git LFS"),
        ] {
            let message = open(&folder_with(bytes)).err().unwrap().to_string();
            assert!(message.contains(words) && message.contains("model.onnx"), "{message}");
        }
    }

    #[test]
    fn the_fused_file_is_the_same_model() {
        let folder = folder_with(&model_with_external("w.bin"));
        std::fs::write(folder.path().join("onnx/w.bin"), [0; 16]).unwrap();
        std::fs::copy(folder.path().join("onnx/w.bin"), folder.path().join("onnx/v.bin")).unwrap();
        std::fs::write(folder.path().join("onnx/model_fused.onnx"), model_with_external("v.bin")).unwrap();
        std::fs::write(folder.path().join("adam_export.json"), br#"["onnx/model_fused.onnx"]"#).unwrap();
        let cuda = EncoderOptions { providers: vec![crate::Provider::Cuda(0)], ..EncoderOptions::default() };
        let fused = OnnxFile::open(folder.path(), &cuda).unwrap();
        let plain = OnnxFile::open(folder.path(), &EncoderOptions::default()).unwrap();
        assert_ne!(fused.path, plain.path);
        assert_eq!(fused.hash, plain.hash);
    }

    #[test]
    fn the_fused_file_needs_the_manifest_to_name_it() {
        let folder = folder_with(b"");
        let chosen = |options: &EncoderOptions| choose(folder.path(), options).unwrap();
        let plain = EncoderOptions::default();
        let cuda = EncoderOptions { providers: vec![crate::Provider::Cuda(0)], ..EncoderOptions::default() };
        std::fs::write(folder.path().join("onnx/model_fused.onnx"), b"").unwrap();
        assert!(chosen(&cuda).ends_with("onnx/model.onnx"));
        std::fs::write(
            folder.path().join("adam_export.json"),
            br#"{"files": {"onnx/model_fused.onnx": {"sha256": "00"}}}"#,
        )
        .unwrap();
        assert!(chosen(&cuda).ends_with("onnx/model_fused.onnx"));
        assert!(chosen(&plain).ends_with("onnx/model.onnx"));
        // Of 16 bits there is only the one in standard operators.
        for name in ["model_fp16.onnx", "model_fused_fp16.onnx"] {
            std::fs::write(folder.path().join("onnx").join(name), b"").unwrap();
        }
        let manifest = br#"["onnx/model_fused.onnx", "onnx/model_fused_fp16.onnx"]"#;
        std::fs::write(folder.path().join("adam_export.json"), manifest).unwrap();
        let half = EncoderOptions { precision: Precision::F16, ..cuda.clone() };
        assert!(chosen(&half).ends_with("onnx/model_fp16.onnx"));
        let elsewhere = EncoderOptions { providers: vec![crate::Provider::OpenVino], ..EncoderOptions::default() };
        assert!(chosen(&elsewhere).ends_with("onnx/model.onnx"));
        let int8 = EncoderOptions { precision: Precision::Int8, ..EncoderOptions::default() };
        let message = choose(folder.path(), &int8).unwrap_err().to_string();
        assert!(message.contains("model_quantized.onnx") && message.contains("onnx/model.onnx"), "{message}");
    }
}
