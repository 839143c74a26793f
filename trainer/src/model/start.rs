//! The model a student starts from, where it shall be smaller than the folder at hand: some of its layers, shorter texts.
//!
//! A model with every other layer of a trained one is a common start for a student that must be faster than any ready model: what
//! the layers left out did is learned back from the teacher.

use super::folder::copy_model_files;
use super::parameters::{read_tensors, write_tensors};
use crate::error::TrainError;
use crate::export::architecture::{Architecture, Family};
use crate::files::write_whole;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Writes a folder with the layers of `from` that `layers` names (all of them where it is empty), in that order, and with texts of
/// at most `max_length` tokens.
///
/// # Errors
/// When `from` is no model of a supported kind, has fewer layers or shorter texts, or a file cannot be written.
pub fn start_from(from: &Path, layers: &[usize], max_length: Option<usize>, to: &Path) -> Result<(), TrainError> {
    let architecture = Architecture::read(from)?;
    if let Some(layer) = layers.iter().find(|&&layer| layer >= architecture.layers) {
        return Err(TrainError::config(format!(
            "[student] `layers` names layer {layer}, and the model has {}, counted from 0",
            architecture.layers
        )));
    }
    if let Some(length) = max_length.filter(|&length| length > architecture.longest()) {
        return Err(TrainError::config(format!(
            "[student] `max_length` is {length}, and the model takes {} tokens at most",
            architecture.longest()
        )));
    }
    copy_model_files(from, to)?;
    let mut tensors = read_tensors(&from.join("model.safetensors"))?;
    if !layers.is_empty() {
        let (stem, key) = match architecture.family {
            Family::DistilBert => ("transformer.layer.", "n_layers"),
            _ => ("encoder.layer.", "num_hidden_layers"),
        };
        tensors = kept(tensors, stem, layers);
        set_number(&to.join("config.json"), key, layers.len())?;
    }
    if let Some(length) = max_length {
        set_number(&to.join("sentence_bert_config.json"), "max_seq_length", length)?;
    }
    let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shallow_clone())).collect();
    write_tensors(&to.join("model.safetensors"), &named, HashMap::from([("format".to_owned(), "pt".to_owned())]))
}

/// Tensors outside the layers, and those of the layers to keep under their new numbers.
fn kept(tensors: BTreeMap<String, tch::Tensor>, stem: &str, layers: &[usize]) -> BTreeMap<String, tch::Tensor> {
    let mut kept = BTreeMap::new();
    for (name, tensor) in tensors {
        let Some((number, rest)) = name.strip_prefix(stem).and_then(|rest| rest.split_once('.')) else {
            kept.insert(name, tensor);
            continue;
        };
        for (new, _) in layers.iter().enumerate().filter(|(_, old)| number.parse() == Ok(**old)) {
            kept.insert(format!("{stem}{new}.{rest}"), tensor.shallow_clone());
        }
    }
    kept
}

/// Puts a number into a file that holds a JSON object; the file begins with it where there is none.
fn set_number(path: &Path, key: &str, value: usize) -> Result<(), TrainError> {
    let mut object = match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| TrainError::data(path, format!("is not JSON: {e}")))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Value::Object(serde_json::Map::new()),
        Err(e) => return Err(TrainError::io(path, e)),
    };
    let Value::Object(keys) = &mut object else {
        return Err(TrainError::data(path, "is JSON, but not an object"));
    };
    keys.insert(key.to_owned(), value.into());
    let text = serde_json::to_vec_pretty(&object).map_err(|e| TrainError::data(path, e.to_string()))?;
    write_whole(path, &text)
}

#[cfg(test)]
mod tests {
    use super::super::{Encoder, Input, Sequence, Student};
    use super::*;
    use crate::torch::Machine;
    use std::borrow::Cow;
    use std::path::PathBuf;

    fn model(family: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(family)
    }

    fn vectors(encoder: &Encoder) -> Vec<f32> {
        let sequence = Sequence { ids: Cow::Owned(vec![2, 7, 8, 9, 3]), second: 5 };
        let input: Input = encoder.layout().input(&[&sequence]).unwrap();
        let rows = tch::no_grad(|| encoder.forward(&input, encoder.inference())).unwrap();
        Vec::try_from(rows.flatten(0, -1)).unwrap()
    }

    #[test]
    fn all_layers_in_order_are_the_same_model_and_one_of_them_another() {
        for family in ["bert", "distilbert", "roberta", "mpnet"] {
            let folder = tempfile::tempdir().unwrap();
            let whole = Encoder::open(&model(family), Machine::CPU).unwrap();
            let all: Vec<usize> = (0..whole.layers()).collect();
            start_from(&model(family), &all, None, &folder.path().join("all")).unwrap();
            let again = Encoder::open(&folder.path().join("all"), Machine::CPU).unwrap();
            assert_eq!(vectors(&whole), vectors(&again), "{family}");

            let last = whole.layers() - 1;
            start_from(&model(family), &[last], None, &folder.path().join("last")).unwrap();
            let last_alone = Encoder::open(&folder.path().join("last"), Machine::CPU).unwrap();
            assert_eq!(last_alone.layers(), 1, "{family}");
            assert_ne!(vectors(&whole), vectors(&last_alone), "{family}");
        }
    }

    #[test]
    fn texts_become_shorter() {
        let folder = tempfile::tempdir().unwrap();
        start_from(&model("bert"), &[], Some(12), folder.path()).unwrap();
        assert_eq!(Student::open(folder.path(), Machine::CPU).unwrap().max_length, 12);
    }

    #[test]
    fn what_the_model_has_not_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let layers = start_from(&model("bert"), &[0, 77], None, folder.path()).unwrap_err();
        assert!(layers.to_string().contains("layer 77"), "{layers}");
        let length = start_from(&model("bert"), &[], Some(100_000), folder.path()).unwrap_err();
        assert!(length.to_string().contains("`max_length` is 100000"), "{length}");
    }
}
