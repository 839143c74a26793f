//! The tokenizer of a model folder, as transformers makes it of the folder's files, and as sentence-transformers changes it.

use std::path::Path;

use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{Tokenizer, pre_tokenizers::PreTokenizerWrapper};

use super::architecture::Config;
use super::error::ExportError;
use super::source::is_lfs_pointer;

/// Classes whose options in `tokenizer_config.json` change nothing.
const PLAIN_CLASSES: [&str; 3] = ["PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"];

/// Reads `tokenizer.json`, with what `tokenizer_config.json` overrules in it, without truncation and padding.
///
/// # Errors
/// When the file is missing or broken, or an option asks for what is not done here; the message names file and key.
pub(crate) fn read_tokenizer(folder: &Path) -> Result<Tokenizer, ExportError> {
    let path = folder.join("tokenizer.json");
    let bytes = std::fs::read(&path).map_err(ExportError::io(&path))?;
    if is_lfs_pointer(&bytes) {
        return Err(ExportError::model(&path, format!("is {LFS}")));
    }
    let fault = |error: &dyn std::fmt::Display| ExportError::model(&path, format!("is not a tokenizer: {error}"));
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|e| fault(&e))?;
    let is_cut_left = tokenizer
        .get_truncation()
        .is_some_and(|truncation| truncation.direction == tokenizers::TruncationDirection::Left);
    let config_path = folder.join("tokenizer_config.json");
    let config = Config::read_if_there(&config_path)?;
    let side = config.as_ref().and_then(|config| config.text("truncation_side")).map(str::to_lowercase);
    if side.as_deref() == Some("left") || is_cut_left && side.is_none() {
        let (path, key) =
            if side.is_some() { (&config_path, "truncation_side") } else { (&path, "truncation.direction") };
        return Err(ExportError::key(
            path,
            key,
            "is \"left\"; only models that read the beginning of a long text are supported",
        ));
    }
    tokenizer.with_truncation(None).map_err(|e| fault(&e))?;
    tokenizer.with_padding(None);
    if let Some(config) = config
        && !config.text("tokenizer_class").is_some_and(|class| PLAIN_CLASSES.contains(&class))
    {
        overrule(&mut tokenizer, &config)?;
    }
    Ok(tokenizer)
}

/// What a checkout without Git LFS has in place of a file.
pub(crate) const LFS: &str = "a Git LFS pointer and not the file itself; fetch it with `git lfs pull`";

/// The options of BERT's and RoBERTa's tokenizers count more than what `tokenizer.json` says of the same.
fn overrule(tokenizer: &mut Tokenizer, config: &Config) -> Result<(), ExportError> {
    let flag = |key: &str| config.keys.get(key).and_then(serde_json::Value::as_bool);
    let asked = [flag("do_lower_case"), flag("strip_accents"), flag("tokenize_chinese_chars")];
    let contradicts = |key: &str| config.fault(key, "contradicts tokenizer.json; make the two agree");
    match tokenizer.get_normalizer().cloned() {
        Some(NormalizerWrapper::BertNormalizer(mut bert)) => {
            let before = (bert.lowercase, bert.strip_accents, bert.handle_chinese_chars);
            bert.lowercase = asked[0].unwrap_or(bert.lowercase);
            bert.strip_accents = asked[1].or(bert.strip_accents);
            bert.handle_chinese_chars = asked[2].unwrap_or(bert.handle_chinese_chars);
            if before != (bert.lowercase, bert.strip_accents, bert.handle_chinese_chars) {
                tokenizer.with_normalizer(Some(bert)).map_err(|_| contradicts("do_lower_case"))?;
            }
        }
        Some(NormalizerWrapper::Sequence(parts)) => {
            for part in parts.as_ref() {
                if let NormalizerWrapper::BertNormalizer(bert) = part
                    && asked[0].is_some_and(|asked| asked != bert.lowercase)
                {
                    return Err(contradicts("do_lower_case"));
                }
            }
        }
        _ => {}
    }
    if let Some(PreTokenizerWrapper::ByteLevel(bytes)) = tokenizer.get_pre_tokenizer()
        && flag("add_prefix_space").is_some_and(|asked| asked != bytes.add_prefix_space)
    {
        return Err(contradicts("add_prefix_space"));
    }
    Ok(())
}

/// Puts small letters before all else, as `do_lower_case` of `sentence_bert_config.json` asks.
///
/// # Errors
/// When a token that is normalised cannot be.
pub(crate) fn with_lower_case(tokenizer: &mut Tokenizer) -> Result<(), tokenizers::Error> {
    let mut parts = vec![NormalizerWrapper::Lowercase(Lowercase)];
    match tokenizer.get_normalizer().cloned() {
        None => {}
        Some(NormalizerWrapper::Lowercase(_)) => return Ok(()),
        Some(NormalizerWrapper::BertNormalizer(bert)) if bert.lowercase => return Ok(()),
        Some(NormalizerWrapper::Sequence(known)) => parts.extend(known),
        Some(one) => parts.push(one),
    }
    tokenizer.with_normalizer(Some(Sequence::new(parts)))?;
    Ok(())
}
