//! Folders that are broken, foreign or meant to do harm: an error that names the file (and the key), never a panic.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;

use adam_encoder::{EncoderError, EncoderOptions, PairScorer, SentenceEncoder};
use common::*;
use proptest::prelude::*;

/// A whole folder in the older dialect.
fn whole() -> tempfile::TempDir {
    let folder = copy_of("tiny-both");
    write_modules(folder.path(), true);
    write_pooling(folder.path(), &["mean"], true);
    write(folder.path(), "sentence_bert_config.json", r#"{"max_seq_length": 24, "do_lower_case": false}"#);
    write(folder.path(), "config_sentence_transformers.json", r#"{"prompts": {"query": "q: "}}"#);
    folder
}

fn open(folder: &Path) -> Result<SentenceEncoder, EncoderError> {
    SentenceEncoder::open(folder, &EncoderOptions::default())
}

/// The message of opening `folder` after `text` went into the file `name`.
fn message(name: &str, text: &str) -> String {
    let folder = whole();
    write(folder.path(), name, text);
    open(folder.path()).unwrap_err().to_string()
}

#[test]
fn the_untouched_folder_opens() {
    if has_runtime() {
        open(whole().path()).unwrap();
    }
}

#[test]
fn broken_json_is_named_with_line_and_column() {
    for name in [
        "modules.json",
        "config.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "tokenizer_config.json",
        "tokenizer.json",
    ] {
        let text = std::fs::read_to_string(whole().path().join(name)).unwrap();
        let cut = message(name, &text[..text.floor_char_boundary(text.len() / 2)]);
        assert!(cut.contains(name) && cut.contains("line"), "{name}: {cut}");
        let empty = message(name, "");
        assert!(empty.contains(name), "{name}: {empty}");
        let wrong = message(name, "[1, 2]");
        assert!(wrong.contains(name), "{name}: {wrong}");
        let deep = message(name, &"[".repeat(100_000));
        assert!(deep.contains(name), "{name}: {deep}");
    }
}

#[test]
fn wrong_values_are_named_with_their_key() {
    for (name, text, key) in [
        ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": "yes"}"#, "pooling_mode_mean_tokens"),
        ("1_Pooling/config.json", r#"{"pooling_mode": "attention"}"#, "attention"),
        ("1_Pooling/config.json", r#"{"pooling_mode": ["mean", 3]}"#, "pooling_mode[1]"),
        ("1_Pooling/config.json", r#"{"word_embedding_dimension": 1e300}"#, "word_embedding_dimension"),
        ("1_Pooling/config.json", r#"{"word_embedding_dimension": -4}"#, "word_embedding_dimension"),
        ("1_Pooling/config.json", r#"{"include_prompt": 1}"#, "include_prompt"),
        ("sentence_bert_config.json", r#"{"max_seq_length": -3}"#, "max_seq_length"),
        ("sentence_bert_config.json", r#"{"max_seq_length": "long"}"#, "max_seq_length"),
        ("sentence_bert_config.json", r#"{"query_length": 32}"#, "query_length"),
        ("sentence_bert_config.json", r#"{"transformer_task": "fill-mask"}"#, "transformer_task"),
        ("config_sentence_transformers.json", r#"{"prompts": {"query": 7}}"#, "prompts.query"),
        ("config_sentence_transformers.json", r#"{"prompts": ["x"]}"#, "prompts"),
        ("config_sentence_transformers.json", r#"{"prompts": {}, "default_prompt_name": "x"}"#, "default_prompt_name"),
        ("config.json", r#"{"max_position_embeddings": "many"}"#, "max_position_embeddings"),
        ("config.json", r#"{"max_position_embeddings": 1}"#, "max_position_embeddings"),
        ("config.json", r#"{"pad_token_id": 99999999999}"#, "pad_token_id"),
        ("tokenizer_config.json", r#"{"truncation_side": "top"}"#, "truncation_side"),
        ("modules.json", r#"[{"type": "sentence_transformers.models.Pooling", "path": ""}]"#, "[0].type"),
        ("modules.json", r#"[{"type": "Transformer", "path": "../../x"}]"#, "[0].path"),
        ("modules.json", r#"[{"type": "Transformer", "path": "/etc"}]"#, "[0].path"),
        ("modules.json", r#"[{"type": "Transformer"}]"#, "[0].path"),
        ("modules.json", r#"[{"type": "a.WordEmbeddings", "path": ""}]"#, "WordEmbeddings"),
        ("modules.json", r#"[{"type": 3, "path": ""}]"#, "[0].type"),
        ("modules.json", "[]", "no module"),
        ("modules.json", r#"[{"type": "Transformer", "path": ""}]"#, "no Pooling"),
    ] {
        let message = message(name, text);
        assert!(message.contains(name) && message.contains(key), "{name} {text}: {message}");
    }
}

#[test]
fn an_extra_module_is_refused_by_its_name() {
    let folder = whole();
    for class in ["LSTM", "CNN", "WeightedLayerPooling", "my_code.Whitening"] {
        let text = serde_json::json!([
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            {"type": class, "path": "2_X"},
        ]);
        write(folder.path(), "modules.json", &text.to_string());
        let message = open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(class) && message.contains("modules.json"), "{message}");
    }
}

#[test]
fn missing_files_are_named() {
    for name in ["config.json", "tokenizer.json", "1_Pooling/config.json", "onnx/model.onnx"] {
        let folder = whole();
        std::fs::remove_file(folder.path().join(name)).unwrap();
        let message = open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(name), "{name}: {message}");
    }
    let message = open(Path::new("no/such/folder")).unwrap_err().to_string();
    assert!(message.contains("no/such/folder"), "{message}");
}

#[test]
fn a_model_that_is_none_is_named() {
    for bytes in ["this is only text", "", "version 1\ngit-lfs pointer\n"] {
        let message = message("onnx/model.onnx", bytes);
        assert!(message.contains("model.onnx"), "{message}");
    }
    if !has_runtime() {
        return;
    }
    // Half a model: the outline breaks, or ONNX Runtime refuses it.
    let whole_model = std::fs::read(fixture("tiny-both/onnx/model.onnx")).unwrap();
    for part in [whole_model.len() / 2, whole_model.len() - 1, 100, 10] {
        let folder = whole();
        std::fs::write(folder.path().join("onnx/model.onnx"), &whole_model[..part]).unwrap();
        let message = open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("model.onnx"), "{part}: {message}");
    }
}

#[test]
fn layers_that_do_not_fit_are_named() {
    let folder = whole();
    copy_into(&fixture("newer"), folder.path());
    let layer = folder.path().join("2_Dense");
    for (text, key) in [
        (r#"{"in_features": 16, "out_features": 9}"#, "linear.weight"),
        (r#"{"in_features": 15, "out_features": 8}"#, "linear.weight"),
        (r#"{"in_features": 16}"#, "out_features"),
        (r#"{"in_features": 16, "out_features": 8, "activation_function": "os.system"}"#, "activation_function"),
        (r#"{"in_features": 16, "out_features": 8, "module_input_name": "token_embeddings"}"#, "module_input_name"),
    ] {
        write(folder.path(), "2_Dense/config.json", text);
        let message = open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("2_Dense") && message.contains(key), "{text}: {message}");
    }
    let weights = std::fs::read(layer.join("model.safetensors")).unwrap();
    copy_into(&fixture("newer"), folder.path());
    for part in [0, 7, weights.len() / 2, weights.len() - 1] {
        std::fs::write(layer.join("model.safetensors"), &weights[..part]).unwrap();
        let message = open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("model.safetensors"), "{message}");
    }
    std::fs::write(layer.join("model.safetensors"), u64::MAX.to_le_bytes()).unwrap();
    assert!(open(folder.path()).is_err());
}

#[test]
fn huge_files_are_refused_unread() {
    let folder = whole();
    let file = std::fs::File::create(folder.path().join("config.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    let message = open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("config.json") && message.contains("bytes"), "{message}");
}

#[test]
fn options_out_of_range_are_named() {
    let refused = |options: EncoderOptions| SentenceEncoder::open(whole().path(), &options).unwrap_err().to_string();
    let default = EncoderOptions::default;
    for (options, name) in [
        (default().batch_tokens(1 << 25), "batch_tokens"),
        (default().sessions(2000), "sessions"),
        (default().max_length(1), "max_length"),
        (default().query_prompt("x".repeat(100_000)), "query_prompt"),
    ] {
        let message = refused(options);
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_provider_that_is_not_there_is_an_error() {
    if !has_runtime() {
        return;
    }
    let options = EncoderOptions::default().providers(["openvino".parse().unwrap()]);
    let message = SentenceEncoder::open(whole().path(), &options).unwrap_err().to_string();
    assert!(message.contains("model.onnx") && message.contains("OpenVINO"), "{message}");
}

#[test]
fn a_sentence_encoder_is_no_pair_scorer() {
    if has_runtime() {
        let message = PairScorer::open(whole().path(), &EncoderOptions::default()).unwrap_err().to_string();
        assert!(message.contains("logits"), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// One byte of one file changed: opens or says why.
    #[test]
    fn a_changed_byte_never_panics(which in 0usize..6, at in proptest::num::usize::ANY, to in proptest::num::u8::ANY) {
        let name = [
            "modules.json",
            "config.json",
            "1_Pooling/config.json",
            "sentence_bert_config.json",
            "config_sentence_transformers.json",
            "tokenizer_config.json",
        ][which];
        let folder = whole();
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        std::fs::write(&path, &bytes).unwrap();
        // Without the model the files are read and refused just the same, and much faster.
        std::fs::remove_file(folder.path().join("onnx/model.onnx")).unwrap();
        let error = open(folder.path()).unwrap_err();
        prop_assert!(!error.to_string().is_empty());
    }
}
