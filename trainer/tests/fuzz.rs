//! Configurations and data files that are nearly right, or not at all, end in an answer or an error and never in a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use adam_train::commands::run::{RunArgs, check};
use adam_train::config::Config;
use adam_train::data::{DataConfig, load};
use proptest::prelude::*;
use std::path::Path;

/// `ADAM_FUZZ_CASES` asks for more.
fn cases() -> ProptestConfig {
    let asked = std::env::var("ADAM_FUZZ_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(64), failure_persistence: None, ..ProptestConfig::default() }
}

const FILES: [&str; 2] = [include_str!("../configs/scifact.toml"), include_str!("../configs/pocket.toml")];

/// Every key of a configuration, as `--set` has it.
fn keys() -> Vec<String> {
    fn below(prefix: &str, table: &toml::Table, keys: &mut Vec<String>) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                toml::Value::Table(inner) => below(&key, inner, keys),
                _ => keys.push(key),
            }
        }
    }
    let mut keys = Vec::new();
    below("", &toml::Table::try_from(Config::default()).unwrap(), &mut keys);
    for absent in [
        "run.distil_seed",
        "data.queries",
        "data.max_queries",
        "mine.margin",
        "teacher.model",
        "eval.collection",
        "student.matryoshka",
        "student.towers",
        "student.query_prompt",
        "student.pooling",
    ] {
        keys.push(absent.to_owned());
    }
    keys
}

/// Values that programs trip over.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "0",
            "-1",
            "1",
            "2",
            "7",
            "1e308",
            "-1e308",
            "nan",
            "inf",
            "-inf",
            "0.5",
            "1e-320",
            "true",
            "false",
            "''",
            "'a'",
            "9223372036854775807",
            "-9223372036854775808",
            "18446744073709551616",
            "4294967296",
            "[]",
            "[1, 2]",
            "[3, 2, 1]",
            "{low = 0, high = 2}",
            "1979-05-27",
            "\"\\u0000\"",
            "'../../..'",
            "'stratified'",
            "'fixed'",
            "'swapped'",
            "'once'",
            "'margin-mse'",
            "'onnx'",
            "'untied'",
            "'cls'",
            "'drop'",
            "1024",
            "100000",
            "268435456",
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|x| format!("{x:?}")),
        "[ -~]{0,12}",
    ]
}

fn damage(text: &str, hits: &[(prop::sample::Index, u8, String)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (place, kind, piece) in hits {
        if bytes.is_empty() {
            break;
        }
        let at = place.index(bytes.len());
        match kind % 5 {
            0 => bytes[at] ^= kind | 1,
            1 => {
                bytes.remove(at);
            }
            2 => {
                bytes.splice(at..at, piece.bytes());
            }
            3 => bytes.truncate(at),
            _ => {
                // A line said again somewhere else.
                let start = bytes[..at].iter().rposition(|&b| b == b'\n').map_or(0, |p| p + 1);
                let line = bytes[start..at].to_vec();
                bytes.extend(line);
            }
        }
    }
    bytes
}

fn hits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, String)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), "[\\[\\]{}=\"',:.0-9a-z\t\n\\\\-]{0,6}"), 1..8)
}

/// Everything that reads a configuration.
fn read(folder: &Path, text: &[u8], settings: &[String]) {
    let path = folder.join("c.toml");
    std::fs::write(&path, text).unwrap();
    let arguments = RunArgs {
        configuration: Some(path),
        data: None,
        work: None,
        model: None,
        device: None,
        memory_limit: None,
        settings: settings.to_vec(),
    };
    if let Err(error) = arguments.read() {
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_damaged_configuration_is_read_or_refused(which in 0..FILES.len(), hits in hits()) {
        let folder = tempfile::tempdir().unwrap();
        read(folder.path(), &damage(FILES[which], &hits), &[]);
    }

    #[test]
    fn any_bytes_are_refused_as_a_configuration(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        read(folder.path(), &bytes, &[]);
    }

    #[test]
    fn any_values_of_any_keys_are_checked_and_planned_for(
        chosen in prop::collection::vec((any::<prop::sample::Index>(), value()), 0..4)
    ) {
        let keys = keys();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        common::write_data(&data, 12);
        // Paths stay, so that more often than not what follows the settings is reached.
        let settings: Vec<String> = chosen
            .iter()
            .map(|(key, value)| format!("{}={value}", keys[key.index(keys.len())]))
            .filter(|s| !s.starts_with("run.output") && !s.starts_with("data.path") && !s.starts_with("student.model"))
            .collect();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, common::configuration(&data, &folder.path().join("run"), "")).unwrap();
        let arguments =
            RunArgs { configuration: Some(path), data: None, work: None, model: None, device: None, memory_limit: None, settings };
        if let Ok(text) = check(&arguments, false) {
            prop_assert!(text.contains("rows used"), "{}", text);
        }
    }

    #[test]
    fn damaged_collections_are_loaded_or_refused(
        corpus in hits(), queries in hits(), judgements in hits(), which in 0u8..8
    ) {
        let folder = tempfile::tempdir().unwrap();
        common::write_data(folder.path(), 12);
        for (bit, name, hits) in
            [(1, "corpus.jsonl", &corpus), (2, "queries.jsonl", &queries), (4, "qrels/train.tsv", &judgements)]
        {
            if which & bit != 0 {
                let path = folder.path().join(name);
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(&path, damage(&text, hits)).unwrap();
            }
        }
        let config = DataConfig { path: folder.path().to_owned(), max_wrong_share: 1.0, hold_out: 0.3, ..DataConfig::default() };
        match load(&config) {
            Ok(data) => {
                let count = data.passages.len() as u32;
                let all = data.queries.iter().chain(&data.dev);
                prop_assert!(all.flat_map(|q| q.positives.iter().chain(&q.negatives)).all(|&p| p < count));
            }
            Err(error) => prop_assert!(which != 0, "{}", error),
        }
    }

    #[test]
    fn damaged_tsv_collections_are_loaded_or_refused(hits in hits(), which in 0usize..3) {
        let folder = tempfile::tempdir().unwrap();
        let mut files = [
            ("collection.tsv", "0\tcrows use tools\n1\tiron in blood\n2\tthe aurora\n".to_owned()),
            ("queries.train.tsv", "10\tdo crows use tools\n11\twhat is iron for\n".to_owned()),
            ("qrels.train.tsv", "10\t0\t0\t1\n11\t0\t1\t1\n".to_owned()),
        ]
        .map(|(name, text)| (name, text.into_bytes()));
        let text = String::from_utf8(files[which].1.clone()).unwrap();
        files[which].1 = damage(&text, &hits);
        for (name, bytes) in &files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let config = DataConfig { path: folder.path().to_owned(), max_wrong_share: 1.0, ..DataConfig::default() };
        let _ = load(&config);
    }
}

#[test]
fn what_is_damaged_above_is_right_to_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    common::write_data(&data, 12);
    let path = folder.path().join("c.toml");
    std::fs::write(&path, common::configuration(&data, &folder.path().join("run"), "")).unwrap();
    let mut arguments = RunArgs {
        configuration: Some(path),
        data: None,
        work: None,
        model: None,
        device: None,
        memory_limit: None,
        settings: vec![],
    };
    let text = check(&arguments, false).unwrap();
    for part in ["66 rows used, 0 not", "training queries", "tokens: mean", "distil", "steps", "GB", "parameters"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&check(&arguments, true).unwrap()).unwrap();
    // 48 passages, 12 queries, 6 judgements.
    assert_eq!(json["rows_kept"], 66);
    for (setting, named) in [
        ("student.towers='untied'", "towers"),
        ("student.matryoshka=[8, 4]", "matryoshka"),
        ("teacher.negatives=9223372036854775807", "negatives"),
        ("dark.reinforced=1000000", "reinforced"),
        ("distil.epochs=20000", "epochs"),
    ] {
        arguments.settings = vec![setting.to_owned()];
        let error = check(&arguments, false).unwrap_err().to_string();
        assert!(error.contains(named), "{setting}: {error}");
    }
    assert!(keys().len() > 80, "{}", keys().len());
}
