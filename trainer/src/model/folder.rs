//! What goes with the weights in a model folder: the tokenizer, its special tokens, prompts.

use super::input::Sequence;
use crate::adam::dark::SpecialTokens;
use crate::error::TrainError;
use crate::export::source::{SENTENCE_CONFIGS, lower_case};
use crate::export::tokenizer::{read_tokenizer, with_lower_case};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tokenizers::Tokenizer;

/// Texts put before queries and documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts {
    /// Before a query.
    pub query: String,
    /// Before a document.
    pub document: String,
}

/// A tokenizer and the special tokens its model wants around texts.
#[derive(Clone, Debug)]
pub struct ModelTokenizer {
    tokenizer: Tokenizer,
    /// Before and after a single text.
    single: (Vec<u32>, Vec<u32>),
    /// Before, between and after two texts.
    pair: (Vec<u32>, Vec<u32>, Vec<u32>),
    /// Whether a pair's second text is of type 1.
    typed: bool,
    special: SpecialTokens,
}

impl ModelTokenizer {
    /// Reads the tokenizer of a model folder, as sentence-transformers has it read texts.
    ///
    /// # Errors
    /// When the file is missing or broken, or puts special tokens where no model wants them.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            return Err(TrainError::data(&path, "is missing; a model folder has it"));
        }
        let fault = |e: tokenizers::Error| TrainError::data(&path, format!("is not a tokenizer: {e}"));
        let mut tokenizer = read_tokenizer(folder)?;
        if lower_case(folder)? {
            with_lower_case(&mut tokenizer).map_err(fault)?;
        }

        let alone = tokenizer.encode_fast("a", true).map_err(fault)?;
        let marks = alone.get_special_tokens_mask();
        let content: Vec<usize> = (0..marks.len()).filter(|&i| marks[i] == 0).collect();
        let (Some(&first), Some(&last)) = (content.first(), content.last()) else {
            return Err(TrainError::data(&path, "makes no token of the text \"a\""));
        };
        let single = (alone.get_ids()[..first].to_vec(), alone.get_ids()[last + 1..].to_vec());

        let both = tokenizer.encode_fast(("a", "a"), true).map_err(fault)?;
        let (ids, marks) = (both.get_ids(), both.get_special_tokens_mask());
        let content: Vec<usize> = (0..marks.len()).filter(|&i| marks[i] == 0).collect();
        if content.len() < 2 {
            return Err(TrainError::data(&path, "makes fewer than two tokens of two texts"));
        }
        // The texts are equal, so each has half of the content tokens.
        let half = content.len() / 2;
        let (end, start, last) = (content[half - 1], content[half], content[content.len() - 1]);
        let pair = (ids[..content[0]].to_vec(), ids[end + 1..start].to_vec(), ids[last + 1..].to_vec());
        let typed = both.get_type_ids().get(start) == Some(&1);

        let mask = mask_token(folder, &tokenizer);
        let mut protected: Vec<u32> = single.0.iter().chain(&single.1).copied().collect();
        for name in ["[PAD]", "[UNK]", "<pad>", "<unk>"] {
            protected.extend(tokenizer.token_to_id(name));
        }
        protected.sort_unstable();
        protected.dedup();
        Ok(Self { tokenizer, single, pair, typed, special: SpecialTokens { mask, protected } })
    }

    /// The tokenizer, without truncation and padding.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Mask token and tokens that are no content.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Special tokens around a single text.
    pub fn overhead(&self) -> usize {
        self.single.0.len() + self.single.1.len()
    }

    /// Special tokens around and between two texts.
    pub fn pair_overhead(&self) -> usize {
        self.pair.0.len() + self.pair.1.len() + self.pair.2.len()
    }

    /// One text as model input, at most `cap` tokens with the special ones.
    pub fn single(&self, content: &[u32], cap: usize) -> Sequence<'static> {
        let room = cap.saturating_sub(self.overhead());
        let mut ids = self.single.0.clone();
        ids.extend(&content[..content.len().min(room)]);
        ids.extend(&self.single.1);
        Sequence { second: ids.len(), ids: Cow::Owned(ids) }
    }

    /// Two texts as model input, at most `cap` tokens in all: the first keeps at most `first_cap` of its own, the second has the
    /// rest.
    pub fn pair(&self, first: &[u32], second: &[u32], first_cap: usize, cap: usize) -> Sequence<'static> {
        let first = &first[..first.len().min(first_cap)];
        let room = cap.saturating_sub(self.pair_overhead() + first.len());
        let mut ids = self.pair.0.clone();
        ids.extend(first);
        ids.extend(&self.pair.1);
        let start = ids.len();
        ids.extend(&second[..second.len().min(room)]);
        ids.extend(&self.pair.2);
        Sequence { second: if self.typed { start } else { ids.len() }, ids: Cow::Owned(ids) }
    }
}

fn mask_token(folder: &Path, tokenizer: &Tokenizer) -> Option<u32> {
    let named = std::fs::read(folder.join("special_tokens_map.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
        .and_then(|map| {
            let mask = map.get("mask_token")?;
            let text = mask.as_str().or_else(|| mask.get("content")?.as_str())?;
            tokenizer.token_to_id(text)
        });
    named.or_else(|| ["[MASK]", "<mask>"].iter().find_map(|name| tokenizer.token_to_id(name)))
}

/// Copies what stands beside the weights from one model folder to another: configuration, tokenizer, pooling. Weights, ONNX files
/// and model cards stay behind, since they would belong to another model.
///
/// # Errors
/// When a file cannot be copied.
pub fn copy_model_files(from: &Path, to: &Path) -> Result<(), TrainError> {
    const FILES: [&str; 14] = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "added_tokens.json",
        "modules.json",
        "spiece.model",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "2_Normalize/config.json",
    ];
    std::fs::create_dir_all(to).map_err(|e| TrainError::io(to, e))?;
    for name in FILES.iter().chain(&SENTENCE_CONFIGS) {
        let (source, target) = (from.join(name), to.join(name));
        if source.is_file() {
            if let Some(folder) = target.parent() {
                std::fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, e))?;
            }
            std::fs::copy(&source, &target).map_err(|e| TrainError::io(&target, e))?;
        }
    }
    Ok(())
}

/// SHA-256 over a folder's configuration, tokenizer, prompts and weights, those in ONNX files too: what decides which numbers the
/// model gives.
///
/// # Errors
/// When a file cannot be read.
pub fn fingerprint(folder: &Path) -> Result<String, TrainError> {
    const FILES: [&str; 10] = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "teacher.json",
        "model.safetensors",
    ];
    let mut names: Vec<String> = FILES.map(str::to_owned).to_vec();
    names.extend(SENTENCE_CONFIGS[1..].iter().map(|name| (*name).to_owned()));
    for place in ["", "onnx/"] {
        names.extend(onnx_files(&folder.join(place))?.into_iter().map(|name| format!("{place}{name}")));
    }
    let mut part = vec![0; 1 << 20];
    let mut hash = Sha256::new();
    for name in names {
        let path = folder.join(&name);
        let Ok(mut file) = File::open(&path) else { continue };
        let io = |e| TrainError::io(&path, e);
        hash.update(name.as_bytes());
        hash.update(file.metadata().map_err(io)?.len().to_le_bytes());
        // Weights in ONNX may have gigabytes.
        loop {
            match file.read(&mut part).map_err(io)? {
                0 => break,
                read => hash.update(&part[..read]),
            }
        }
    }
    Ok(crate::files::hex(&hash.finalize()))
}

/// Models in ONNX of a folder, and the files beside them that hold their weights, in the order of their names.
fn onnx_files(folder: &Path) -> Result<Vec<String>, TrainError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| TrainError::io(folder, e))?.file_name().to_string_lossy().into_owned();
        if name.contains(".onnx") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_sees_every_file_that_decides_the_numbers() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("onnx")).unwrap();
        let mut seen = vec![fingerprint(folder.path()).unwrap()];
        let files = [
            "config.json",
            "config_sentence_transformers.json",
            "model.onnx",
            "onnx/model.onnx",
            "onnx/model.onnx_data",
        ];
        for name in files {
            for text in ["a", "b"] {
                std::fs::write(folder.path().join(name), text).unwrap();
                seen.push(fingerprint(folder.path()).unwrap());
            }
        }
        std::fs::write(folder.path().join("README.md"), "a").unwrap();
        assert_eq!(fingerprint(folder.path()).unwrap(), seen[seen.len() - 1], "a card changes no number");
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
