//! Configurations and data files that are nearly right, or not at all, end in an answer or an error and never in a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use adam_train::commands::run::{RunArgs, check};
use adam_train::config::Config;
use adam_train::data::{DataConfig, load};
use proptest::prelude::*;
use std::path::Path;
use std::time::{Duration, Instant};

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
        accept_weak_teacher: false,
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
            RunArgs { configuration: Some(path), data: None, work: None, model: None, device: None, memory_limit: None, accept_weak_teacher: false, settings };
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

/// Rows of training data that are nearly right: known and unknown names, values of every sort.
fn row() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "query",
        "anchor",
        "question",
        "sentence1",
        "sentence2",
        "text1",
        "text2",
        "positive",
        "pos",
        "negative",
        "neg_0",
        "hard_negatives",
        "text",
        "passage",
        "docs",
        "answers",
        "label",
        "labels",
        "relevance",
        "is_duplicate",
        "score",
        "similarity",
        "scores",
        "pos_scores",
        "neg_scores",
        "title",
        "query_id",
        "positive_passages",
        "negative_passages",
        "_id",
        "clicked",
        "",
    ]);
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "\"false\"",
            "0",
            "1",
            "-1",
            "0.73",
            "1e400",
            "NaN",
            "-Infinity",
            "\"\"",
            "\" \"",
            "\"['a', 'b']\"",
            "\"[\"",
            "{}",
            "[]"
        ])
        .prop_map(str::to_owned),
        "[a-z ]{1,8}".prop_map(|text| format!("\"{text}\"")),
        any::<f64>().prop_map(|number| number.to_string()),
    ];
    let value = leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            (inner.clone(), inner)
                .prop_map(|(text, title)| format!("{{\"text\":{text},\"title\":{title},\"docid\":\"d\"}}")),
        ]
    });
    prop::collection::vec((name, value), 0..6)
        .prop_map(|fields| {
            fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",")
        })
        .prop_map(|fields| format!("{{{fields}}}"))
}

/// A file of such rows, of any kind, damaged in places or not.
fn rows_file() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let kinds = prop::sample::select(vec!["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.jsonl.gz"]);
    (kinds, prop::collection::vec(row(), 0..6), prop::option::of(hits())).prop_map(|(name, rows, hits)| {
        let text = match name {
            "rows.json" => format!("[{}]", rows.join(",\n")),
            "rows.csv" => rows.join("\n").replace(['{', '}', '"'], "").replace(':', ","),
            "rows.tsv" => format!("query\ttext\tlabel\n{}", rows.join("\n").replace(',', "\t")),
            _ => rows.join("\n"),
        };
        let bytes = match hits {
            Some(hits) => damage(&text, &hits),
            None => text.into_bytes(),
        };
        if !name.ends_with("gz") {
            return (name, bytes);
        }
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&bytes).unwrap();
        (name, packed.finish().unwrap())
    })
}

/// `ADAM_FUZZ_SECONDS` asks for more time.
#[test]
fn training_rows_of_any_sort_are_read_or_refused() {
    use proptest::test_runner::TestRunner;
    let asked = std::env::var("ADAM_FUZZ_SECONDS").ok().and_then(|n| n.parse().ok());
    let (began, time) = (Instant::now(), Duration::from_secs(asked.unwrap_or(1)));
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..cases() });
    let mut read = 0u64;
    while began.elapsed() < time {
        let outcome = runner.run(&(rows_file(), prop::option::of(-2.0..2.0)), |((name, bytes), min_score)| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            let started = Instant::now();
            let data = load(&DataConfig { path, min_score, max_wrong_share: 1.0, ..DataConfig::default() });
            prop_assert!(started.elapsed() < Duration::from_secs(10), "it hangs");
            match data {
                Err(error) => prop_assert!(!error.to_string().is_empty()),
                Ok(data) => {
                    for query in &data.queries {
                        prop_assert!(!query.text.trim().is_empty() && !query.positives.is_empty());
                        let passages = || query.positives.iter().chain(&query.negatives);
                        for &passage in passages() {
                            let text = data.passages.full_text(passage);
                            prop_assert!(text.is_some_and(|text| !text.is_empty()));
                        }
                        let all: std::collections::HashSet<_> = passages().collect();
                        prop_assert_eq!(all.len(), query.positives.len() + query.negatives.len());
                        let finite =
                            |scores: &Vec<f32>| scores.len() == all.len() && scores.iter().all(|s| s.is_finite());
                        prop_assert!(query.scores.as_ref().is_none_or(finite));
                    }
                }
            }
            Ok(())
        });
        outcome.unwrap();
        read += 64;
    }
    println!("{read} files in {} s", began.elapsed().as_secs());
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
        accept_weak_teacher: false,
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
