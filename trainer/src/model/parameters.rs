//! A model's tensors by their Hugging Face names.

use crate::error::TrainError;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Prefixes that models with a head put before the encoder's names.
const PREFIXES: [&str; 6] = ["bert.", "roberta.", "distilbert.", "mpnet.", "electra.", "model."];

/// Weight files larger than this are no text encoders one machine trains.
const FILE_LIMIT: u64 = 16 << 30;

/// Named tensors, in f32 on the model's device. Those the model computes with are trainable; the others (a pooler that is not
/// used) are carried along, so that a folder that is written again has all it had.
#[derive(Debug)]
pub struct Parameters {
    names: Vec<String>,
    tensors: Vec<Tensor>,
    decays: Vec<bool>,
    places: BTreeMap<String, usize>,
    carried: BTreeMap<String, Tensor>,
}

impl Parameters {
    /// Reads `model.safetensors` of a folder. `uses` says which tensors, by name without prefix, the model computes with, and
    /// their shapes.
    ///
    /// # Errors
    /// When the file is missing, torn or too large, or a tensor is missing or of another shape.
    pub fn read(folder: &Path, uses: &[(String, Vec<i64>)], device: Device) -> Result<Self, TrainError> {
        let path = folder.join("model.safetensors");
        let found = read_tensors(&path)?;
        Self::from_tensors(&path, found, uses, device)
    }

    fn from_tensors(
        path: &Path,
        mut found: BTreeMap<String, Tensor>,
        uses: &[(String, Vec<i64>)],
        device: Device,
    ) -> Result<Self, TrainError> {
        let mut parameters = Self {
            names: Vec::new(),
            tensors: Vec::new(),
            decays: Vec::new(),
            places: BTreeMap::new(),
            carried: BTreeMap::new(),
        };
        for (name, shape) in uses {
            let tensor =
                found.remove(name).ok_or_else(|| TrainError::data(path, format!("the tensor `{name}` is missing")))?;
            if &tensor.size() != shape {
                return Err(TrainError::data(
                    path,
                    format!("the tensor `{name}` has shape {:?}, and config.json says {shape:?}", tensor.size()),
                ));
            }
            parameters.add(name, &tensor, device)?;
        }
        parameters.carried = found;
        Ok(parameters)
    }

    /// Adds a trainable tensor.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn add(&mut self, name: &str, tensor: &Tensor, device: Device) -> Result<(), TrainError> {
        let tensor = tensor
            .f_to_device(device)?
            .f_to_kind(Kind::Float)?
            .f_contiguous()?
            .f_detach_copy()?
            .f_set_requires_grad(true)?;
        self.places.insert(name.to_owned(), self.names.len());
        self.names.push(name.to_owned());
        // Matrices shrink under weight decay; biases and the scales of norms do not.
        self.decays.push(tensor.dim() > 1);
        self.tensors.push(tensor);
        self.carried.remove(name);
        Ok(())
    }

    /// A tensor that is carried along, such as the head of a model that was trained before.
    pub(crate) fn carried(&self, name: &str) -> Option<&Tensor> {
        self.carried.get(name)
    }

    /// The tensor of a name that `uses` held.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<&Tensor, TrainError> {
        self.places
            .get(name)
            .map(|&place| &self.tensors[place])
            .ok_or_else(|| TrainError::internal(format!("the model has no tensor `{name}`")))
    }

    /// The trainable tensors' names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The trainable tensors, in order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The same, for the optimiser, and which of them decay.
    pub fn for_update(&mut self) -> (&mut [Tensor], &[bool]) {
        (&mut self.tensors, &self.decays)
    }

    /// Takes tensors out of training whose name starts with one of these.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn freeze(&mut self, prefixes: &[String]) -> Result<(), TrainError> {
        for (name, tensor) in self.names.iter().zip(&mut self.tensors) {
            if prefixes.iter().any(|prefix| name.starts_with(prefix.as_str())) {
                *tensor = tensor.f_detach()?.f_set_requires_grad(false)?;
            }
        }
        Ok(())
    }

    /// Number of trainable values.
    pub fn count(&self) -> usize {
        self.tensors.iter().filter(|t| t.requires_grad()).map(Tensor::numel).sum()
    }

    /// All values now, on the CPU, apart from any graph.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn snapshot(&self) -> Result<Vec<Tensor>, TrainError> {
        self.tensors.iter().map(|tensor| Ok(tensor.f_detach()?.f_to_device(Device::Cpu)?.f_detach_copy()?)).collect()
    }

    /// Puts values in place of the present ones, in the order of [`Parameters::names`].
    ///
    /// # Errors
    /// When number or shapes do not fit.
    pub fn restore(&mut self, values: &[Tensor]) -> Result<(), TrainError> {
        if values.len() != self.tensors.len() {
            return Err(TrainError::internal(format!(
                "a checkpoint holds {} tensors, and the model has {}",
                values.len(),
                self.tensors.len()
            )));
        }
        for ((name, tensor), value) in self.names.iter().zip(&mut self.tensors).zip(values) {
            if tensor.size() != value.size() {
                return Err(TrainError::internal(format!("a checkpoint holds `{name}` in another shape")));
            }
            tch::no_grad(|| tensor.f_copy_(value))?;
        }
        Ok(())
    }

    /// Writes all tensors, trainable and carried, as safetensors in f32.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let mut all: BTreeMap<&str, Tensor> = BTreeMap::new();
        for (name, tensor) in self.names.iter().zip(&self.tensors) {
            all.insert(name, tensor.f_detach()?);
        }
        for (name, tensor) in &self.carried {
            all.insert(name, tensor.shallow_clone());
        }
        let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        write_tensors(path, &all, notes)
    }
}

/// Reads a safetensors file: floating-point tensors in f32 under their bare names.
pub(crate) fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, TrainError> {
    if !path.is_file() {
        let folder = path.parent().unwrap_or(path);
        let hint = if folder.join("pytorch_model.bin").is_file() {
            "is missing, and pytorch_model.bin is not read: save the model with safe_serialization=True"
        } else if folder.join("model.safetensors.index.json").is_file() {
            "is missing, and weights in several files are not read: save the model in one"
        } else {
            "is missing; it holds the model's weights"
        };
        return Err(TrainError::data(path, hint));
    }
    let size = std::fs::metadata(path).map_err(|e| TrainError::io(path, e))?.len();
    if size > FILE_LIMIT {
        return Err(TrainError::data(path, format!("has {size} bytes; at most {FILE_LIMIT} are read")));
    }
    let bytes = std::fs::read(path).map_err(|e| TrainError::io(path, e))?;
    if crate::export::source::is_lfs_pointer(&bytes) {
        return Err(TrainError::data(path, format!("is {}", crate::export::tokenizer::LFS)));
    }
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| TrainError::data(path, format!("is not a whole safetensors file: {e}")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            // Position numbers and the like, which every reader makes for itself.
            _ => continue,
        };
        let size: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &size, kind)?.f_to_kind(Kind::Float)?;
        let bare = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        // Old files call the scale and shift of a norm gamma and beta.
        let bare = bare.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
        if tensors.insert(bare.clone(), tensor).is_some() {
            return Err(TrainError::data(path, format!("has two tensors that are both `{bare}`")));
        }
    }
    Ok(tensors)
}

/// Writes tensors in f32, beside the final name first, so that the name never stands for half a file.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<&str, Tensor>,
    notes: HashMap<String, String>,
) -> Result<(), TrainError> {
    let mut bytes: Vec<(&str, Vec<usize>, Vec<u8>)> = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let tensor = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let mut raw = vec![0u8; tensor.numel() * 4];
        tensor.f_copy_data_u8(&mut raw, tensor.numel())?;
        bytes.push((name, tensor.size().iter().map(|&n| n as usize).collect(), raw));
    }
    let fault = |e: safetensors::SafeTensorError| TrainError::data(path, format!("could not be written: {e}"));
    let views = bytes
        .iter()
        .map(|(name, shape, raw)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), raw).map_err(fault)?)))
        .collect::<Result<Vec<_>, TrainError>>()?;
    let whole = safetensors::serialize(views, Some(notes)).map_err(fault)?;
    crate::files::write_whole(path, &whole)
}
