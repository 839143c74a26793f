//! The tensors of a model folder: read from safetensors in f32, checked for shape, written again in one dialect.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::error::ExportError;

/// Larger files are no text encoders that fit one ONNX file.
const FILE_LIMIT: u64 = 16 << 30;

/// What the same tensors are filed under in models with a head; the bare encoder has no prefix.
const PREFIXES: [&str; 6] = ["bert.", "roberta.", "distilbert.", "mpnet.", "electra.", "model."];

/// A tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    /// Shape.
    pub(crate) dims: Vec<usize>,
    /// Values.
    pub(crate) values: Vec<f32>,
}

/// All floating-point tensors of a file, under their names without prefix.
#[derive(Debug)]
pub(crate) struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// Reads `model.safetensors` of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, ExportError> {
        let path = folder.join("model.safetensors");
        if !path.is_file() {
            let problem = if folder.join("model.safetensors.index.json").is_file() {
                "is split over several files; save the model in one"
            } else if folder.join("pytorch_model.bin").is_file() {
                "is missing and pytorch_model.bin is not read; save the model with safe_serialization=True"
            } else {
                "is missing; it holds the weights"
            };
            return Err(ExportError::model(&path, problem));
        }
        let size = std::fs::metadata(&path).map_err(ExportError::io(&path))?.len();
        if size > FILE_LIMIT {
            return Err(ExportError::model(&path, format!("has {size} bytes; at most {FILE_LIMIT} are read")));
        }
        let bytes = std::fs::read(&path).map_err(ExportError::io(&path))?;
        if super::source::is_lfs_pointer(&bytes) {
            return Err(ExportError::model(&path, format!("is {}", super::tokenizer::LFS)));
        }
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| ExportError::model(&path, format!("is not a whole safetensors file: {error}")))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let Some(values) = floats(&view) else {
                // Position numbers and the like, which every reader makes for itself.
                continue;
            };
            let bare = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
            // Old checkpoints call the scale and shift of a norm gamma and beta.
            let bare = bare.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
            let tensor = Tensor { dims: view.shape().to_vec(), values };
            if tensors.insert(bare.clone(), tensor).is_some() {
                return Err(ExportError::model(&path, format!("has two tensors that are both `{bare}`")));
            }
        }
        Ok(Self { path, tensors })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a tensor is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor called `name`, which must have the shape `dims`.
    pub(crate) fn get(&self, name: &str, dims: &[usize]) -> Result<&Tensor, ExportError> {
        let fault = |problem: String| ExportError::Tensor { path: self.path.clone(), name: name.to_owned(), problem };
        let tensor = self.tensors.get(name).ok_or_else(|| fault("is missing".to_owned()))?;
        if tensor.dims != dims {
            return Err(fault(format!("has shape {:?}; config.json says {dims:?}", tensor.dims)));
        }
        Ok(tensor)
    }

    /// Number of values in all tensors together.
    pub(crate) fn parameters(&self) -> usize {
        self.tensors.values().map(|tensor| tensor.values.len()).sum()
    }

    /// The largest magnitude of all values; none where one is not a number, or there is no tensor.
    pub(crate) fn largest(&self) -> Option<f32> {
        let all = self.tensors.values().flat_map(|tensor| &tensor.values);
        all.map(|value| value.abs()).try_fold(None, |most: Option<f32>, value| {
            if value.is_finite() { Some(Some(most.map_or(value, |most| most.max(value)))) } else { None }
        })?
    }

    /// A value that is not a number, if there is one: such a model cannot be exported.
    pub(crate) fn refuse_not_finite(&self) -> Result<(), ExportError> {
        match self.tensors.iter().find(|(_, tensor)| tensor.values.iter().any(|value| !value.is_finite())) {
            None => Ok(()),
            Some((name, _)) => Err(ExportError::Tensor {
                path: self.path.clone(),
                name: name.clone(),
                problem: "holds a value that is not finite; the training has diverged".to_owned(),
            }),
        }
    }

    /// Writes all tensors in f32. Readers in Python want the note that the layout is torch's.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ExportError> {
        let bytes: BTreeMap<&str, Vec<u8>> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let raw = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (name.as_str(), raw)
            })
            .collect();
        let fault = |error| ExportError::model(path, format!("could not be written: {error}"));
        let views = bytes
            .iter()
            .map(|(name, raw)| {
                let dims = self.tensors[*name].dims.clone();
                Ok((*name, TensorView::new(Dtype::F32, dims, raw).map_err(fault)?))
            })
            .collect::<Result<Vec<_>, ExportError>>()?;
        let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        // Not by its own call, whose file only its owner can read.
        let whole = safetensors::serialize(views, Some(notes)).map_err(fault)?;
        std::fs::write(path, whole).map_err(ExportError::io(path))
    }
}

/// The values of a floating-point tensor; `None` for any other.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => {
            Some(data.chunks_exact(4).map(|part| f32::from_le_bytes([part[0], part[1], part[2], part[3]])).collect())
        }
        Dtype::BF16 => {
            Some(data.chunks_exact(2).map(|part| half::bf16::from_le_bytes([part[0], part[1]]).to_f32()).collect())
        }
        Dtype::F16 => {
            Some(data.chunks_exact(2).map(|part| half::f16::from_le_bytes([part[0], part[1]]).to_f32()).collect())
        }
        _ => None,
    }
}
