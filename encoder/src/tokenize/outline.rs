//! What must be true of a tokenizer's file before `tokenizers` reads it, and of what it read.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::ModelWrapper;

/// Most values in the file; the largest known ones have three million. Each takes some hundred bytes while the file is read.
const VALUES: usize = 12 << 20;

/// Most letters of a word that a WordPiece model looks at; all known ones have 100. The time that a word takes grows with the cube.
const WORD: usize = 256;

/// Longest piece of a Unigram model, in bytes; known ones have 16 letters. The time that a text takes grows with it.
const PIECE: usize = 1024;

/// The parts of the file that are looked at here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outline {
    /// What is done to a text before it is cut.
    pub(super) normalizer: Value,
    /// How it is cut into words.
    pub(super) pre_tokenizer: Value,
    truncation: Value,
    post_processor: Value,
}

/// Refuses a file of more values than any honest one has, since values take more memory than the letters they are written in.
pub(super) fn check_count(bytes: &[u8]) -> Result<(), String> {
    let (mut values, mut quoted, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => values += 1,
            _ => {}
        }
    }
    if values > VALUES { Err(format!("holds {values} values; at most {VALUES} are read")) } else { Ok(()) }
}

impl Outline {
    /// Which end of a long text is cut off, where the file says so.
    pub(super) fn direction(&self) -> Option<&str> {
        self.truncation.get("direction")?.as_str()
    }

    /// Refuses templates that name what is not there, and those that repeat a text.
    pub(super) fn check(&self) -> Result<(), String> {
        check_processor(&self.post_processor)
    }
}

fn check_processor(processor: &Value) -> Result<(), String> {
    if let Some(Value::Array(processors)) = processor.get("processors") {
        return processors.iter().try_for_each(check_processor);
    }
    if processor.get("type").and_then(Value::as_str) != Some("TemplateProcessing") {
        return Ok(());
    }
    let tokens = processor.get("special_tokens");
    for (kind, texts) in [("single", &["A"][..]), ("pair", &["A", "B"])] {
        let Some(Value::Array(pieces)) = processor.get(kind) else { continue };
        let place = format!("post_processor.{kind}");
        let mut seen = Vec::new();
        for piece in pieces {
            if let Some(id) = piece.pointer("/SpecialToken/id").and_then(Value::as_str) {
                let Some(token) = tokens.and_then(|tokens| tokens.get(id)) else {
                    return Err(format!("{place} names the token `{id}`, which special_tokens does not define"));
                };
                let count = |key| token.get(key).and_then(Value::as_array).map(Vec::len);
                if count("ids") != count("tokens") {
                    return Err(format!("post_processor.special_tokens: `{id}` has not as many ids as tokens"));
                }
            }
            if let Some(id) = piece.pointer("/Sequence/id").and_then(Value::as_str) {
                if !texts.contains(&id) {
                    return Err(format!("{place} puts in the text {id}, and there is none"));
                }
                if seen.contains(&id) {
                    return Err(format!("{place} puts in the text {id} more than once"));
                }
                seen.push(id);
            }
        }
    }
    Ok(())
}

/// Refuses models that take a time out of all proportion for a text.
pub(super) fn check_model(model: &ModelWrapper) -> Result<(), String> {
    match model {
        ModelWrapper::WordPiece(model) if model.max_input_chars_per_word > WORD => Err(format!(
            "model.max_input_chars_per_word is {}; at most {WORD} are accepted",
            model.max_input_chars_per_word
        )),
        ModelWrapper::Unigram(model) if model.iter().any(|(piece, _)| piece.len() > PIECE) => {
            Err(format!("model.vocab has a piece of more than {PIECE} bytes"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        check_count(br#"{"a": "[[[[,,,,\",,", "b": [1, 2]}"#).unwrap();
        let many = format!("[{}1]", "1,".repeat(VALUES));
        assert!(check_count(many.as_bytes()).unwrap_err().contains("values"));
        check_count(format!("[\"{}\"]", ",".repeat(VALUES + 2)).as_bytes()).unwrap();
    }

    #[test]
    fn templates_name_what_is_there() {
        let check = |processor: Value| Outline { post_processor: processor, ..Outline::default() }.check();
        let template = |single: Value, tokens: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": tokens});
        let (cls, text) = (json!({"SpecialToken": {"id": "[CLS]"}}), json!({"Sequence": {"id": "A"}}));
        let defined = json!({"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}});
        check(template(json!([cls, text]), defined.clone())).unwrap();
        let undefined = template(json!([cls, text]), json!({}));
        assert!(check(undefined.clone()).unwrap_err().contains("`[CLS]`"));
        let nested = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, undefined]});
        assert!(check(nested).unwrap_err().contains("`[CLS]`"));
        assert!(check(template(json!([text, text]), json!({}))).unwrap_err().contains("more than once"));
        let other = json!({"Sequence": {"id": "B"}});
        assert!(check(template(json!([text, other]), json!({}))).unwrap_err().contains("there is none"));
        let short = json!({"[CLS]": {"id": "[CLS]", "ids": [1, 2], "tokens": ["[CLS]"]}});
        assert!(check(template(json!([cls, text]), short)).unwrap_err().contains("as many"));
        check(Value::Null).unwrap();
    }
}
