//! `modules.json`: the chain from token vectors to the finished vector.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::json::{JsonFile, kind_of, read_value};
use super::layers::{self, Step};
use super::pooling::Pooling;
use crate::error::EncoderError;

/// What `modules.json` comes to.
#[derive(Debug)]
pub(crate) struct Modules {
    pub(crate) transformer: PathBuf,
    pub(crate) pooling: Pooling,
    /// Whether nothing in the folder says how to pool.
    pub(crate) guessed: bool,
    pub(crate) steps: Vec<Step>,
}

/// Most modules a folder may list.
const MODULE_LIMIT: usize = 32;

pub(crate) fn read(root: &Path) -> Result<Modules, EncoderError> {
    let path = root.join("modules.json");
    let Some(value) = read_value(&path)? else {
        return without_modules(root);
    };
    let Value::Array(entries) = value else {
        return Err(EncoderError::model(&path, format!("must be a list of modules, and is {}", kind_of(&value))));
    };
    if entries.len() > MODULE_LIMIT {
        return Err(EncoderError::model(
            &path,
            format!("lists {} modules; at most {MODULE_LIMIT} are accepted", entries.len()),
        ));
    }

    let mut transformer = None;
    let mut pooling = None;
    let mut steps = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let kind = text_of(&path, entry, index, "type")?;
        let folder = inside(&path, index, root, text_of(&path, entry, index, "path")?)?;
        // The class moved between packages over the years; its own name stayed.
        let class = kind.rsplit('.').next().unwrap_or(kind);
        let out_of_place =
            |problem: &str| EncoderError::key(&path, format!("[{index}].type"), format!("is {class}, {problem}"));
        match class {
            "Transformer" if index == 0 => transformer = Some(folder),
            "Transformer" => return Err(out_of_place("which must come first")),
            _ if transformer.is_none() => return Err(out_of_place("where the first module must be a Transformer")),
            "Pooling" if pooling.is_none() && steps.is_empty() => {
                let config = JsonFile::read(&folder.join("config.json"), "it says how token vectors are pooled")?;
                pooling = Some(Pooling::read(&config)?);
            }
            "Pooling" => return Err(out_of_place("which may come only once, right after the Transformer")),
            // Drops values in training only.
            "Dropout" => {}
            "Dense" | "LayerNorm" | "Normalize" if pooling.is_none() => {
                return Err(out_of_place("which must come after the Pooling"));
            }
            "Normalize" => steps.push(Step::Normalize),
            "Dense" => steps.push(Step::Dense(layers::Dense::read(&folder)?)),
            "LayerNorm" => steps.push(Step::LayerNorm(layers::LayerNorm::read(&folder)?)),
            _ => {
                return Err(EncoderError::key(
                    &path,
                    format!("[{index}].type"),
                    format!(
                        "is \"{kind}\"; supported modules are Transformer, Pooling, Dense, LayerNorm, Dropout and Normalize"
                    ),
                ));
            }
        }
    }
    let transformer = transformer.ok_or_else(|| EncoderError::model(&path, "lists no module"))?;
    let pooling = pooling.ok_or_else(|| {
        EncoderError::model(&path, "lists no Pooling, so it gives a vector for each token and none for a text")
    })?;
    check_widths(&path, &pooling, &steps)?;
    Ok(Modules { transformer, pooling, guessed: false, steps })
}

/// A plain Hugging Face folder: sentence-transformers then takes the mean of the token vectors, which is a guess.
fn without_modules(root: &Path) -> Result<Modules, EncoderError> {
    let config = JsonFile::read_if_there(&root.join("1_Pooling").join("config.json"))?;
    let read = config.as_ref().map(Pooling::read).transpose()?;
    Ok(Modules {
        transformer: root.to_path_buf(),
        guessed: read.is_none(),
        pooling: read.unwrap_or_default(),
        steps: Vec::new(),
    })
}

fn text_of<'a>(path: &Path, entry: &'a Value, index: usize, key: &str) -> Result<&'a str, EncoderError> {
    match entry.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(EncoderError::key(
            path,
            format!("[{index}].{key}"),
            format!("must be a string, and is {}", kind_of(other)),
        )),
        None => Err(EncoderError::key(path, format!("[{index}].{key}"), "is missing")),
    }
}

/// A path from a file that may be anybody's: it must stay below the model folder.
fn inside(path: &Path, index: usize, root: &Path, relative: &str) -> Result<PathBuf, EncoderError> {
    let plain = !relative.contains(['\0', '\\'])
        && Path::new(relative).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        return Err(EncoderError::key(
            path,
            format!("[{index}].path"),
            format!("is {relative:?}, which leads out of the model folder"),
        ));
    }
    Ok(if relative.is_empty() { root.to_path_buf() } else { root.join(relative) })
}

fn check_widths(path: &Path, pooling: &Pooling, steps: &[Step]) -> Result<(), EncoderError> {
    let mut width = pooling.output_dimension();
    for step in steps {
        let (takes, gives) = match step {
            Step::Normalize => continue,
            Step::Dense(dense) => (dense.inputs(), dense.outputs()),
            Step::LayerNorm(norm) => (norm.width(), norm.width()),
        };
        if let Some(width) = width
            && width != takes
        {
            return Err(EncoderError::model(
                path,
                format!("chains modules that do not fit: one gives {width} values, the next takes {takes}"),
            ));
        }
        width = Some(gives);
    }
    Ok(())
}
