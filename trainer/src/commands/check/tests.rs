//! Tests of the report on small data made here, and on the model at hand where there is one.

use super::*;
use std::fs;

fn word_tokenizer() -> Tokenizer {
    let json = r#"{
        "version": "1.0", "added_tokens": [], "truncation": null, "padding": null, "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0}}
    }"#;
    Tokenizer::from_bytes(json).unwrap()
}

fn write_rows(folder: &Path) -> DataConfig {
    let mut rows = String::new();
    for i in 0..10 {
        let words = "word ".repeat(1 + i);
        rows.push_str(&format!(
            "{{\"query\": \"query number {i}\", \"positive\": \"{words}\", \"negative\": \"no {i}\"}}\n"
        ));
    }
    rows.push_str("{\"query\": \"q\"}\n{\"query\": \"\", \"positive\": \"p\"}\nnonsense\n");
    let path = folder.join("rows.jsonl");
    fs::write(&path, rows).unwrap();
    DataConfig { path, max_wrong_share: 0.5, hold_out: 0.2, ..DataConfig::default() }
}

fn input<'a>(data: &'a DataConfig) -> CheckInput<'a> {
    CheckInput {
        data,
        tokenizer: None,
        token_folder: None,
        prompts: ("", ""),
        query_cap: 32,
        passage_cap: 8,
        longest: 512,
        model: None,
        activation_bytes: 4,
        batches: BatchLimits::default(),
        stages: vec![],
    }
}

fn plan(name: &str, epochs: f64, queries: usize, passages: usize) -> StagePlan {
    StagePlan {
        name: name.to_owned(),
        epochs,
        queries,
        passages,
        pair_cap: None,
        most_tokens: 1000,
        micro_tokens: 20,
        model: Some(ModelSize { parameters: 1000, hidden: 10, layers: 2 }),
    }
}

#[test]
fn a_report_counts_what_a_run_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_rows(folder.path());
    let tokenizer = word_tokenizer();
    let model = ModelSize { parameters: 1000, hidden: 10, layers: 2 };
    let report = check(&CheckInput {
        tokenizer: Some(&tokenizer),
        token_folder: Some(folder.path()),
        prompts: ("", "passage: "),
        model: Some(model),
        stages: vec![
            // More than 50 tokens a step, so it goes in parts.
            StagePlan { most_tokens: 50, micro_tokens: 20, ..plan("distil", 3.0, 3, 5) },
            plan("whole", 1.0, 2, 1),
            StagePlan { pair_cap: Some(10), ..plan("teacher", 1.0, 100, 2) },
        ],
        ..input(&config)
    })
    .unwrap();
    assert_eq!((report.rows_kept, report.rows_dropped), (10, 3));
    assert_eq!((report.queries, report.dev_queries, report.passages), (8, 2, 20));
    assert_eq!((report.positives, report.negatives), (1.0, 1.0));
    let queries = report.query_lengths.as_ref().unwrap();
    // Three words and two special tokens.
    assert_eq!((queries.percentiles, queries.mean, queries.cut), ([5; 5], 5.0, 0.0));
    let passages = report.passage_lengths.as_ref().unwrap();
    // "passage" and ":" are two more; the longest has ten words; of 20 passages those with 5 and more words are cut at 8.
    assert_eq!(passages.percentiles[4], 14);
    assert!((passages.cut - 6.0 / 20.0).abs() < 1e-9, "{passages:?}");
    assert!(passages.padding <= 0.05);
    // Two full steps of three queries and one of two, each epoch.
    assert_eq!((report.stages[0].steps, report.stages[0].passages), (9, 120));
    assert_eq!(report.stages[0].memory, 16_000 + 20 * 2 * 10 * 34 * 2);
    // A step in one pass keeps the activations of all its tokens.
    assert_eq!((report.stages[1].steps, report.stages[1].passages), (4, 8));
    // "passage", ":" and two special tokens, then one to ten words, or two, cut at 8.
    let passage_mean = ((1..=10).map(|words: usize| (4 + words).min(8)).sum::<usize>() + 10 * 6) as f64 / 20.0;
    let whole = 2.0 * (queries.mean + passage_mean);
    assert_eq!(report.stages[1].memory, 16_000 + whole.ceil() as u64 * 2 * 10 * 34 * 2);
    // Query and passage are cut together: 8 queries, 2 passages each, 10 tokens a pair.
    assert_eq!((report.stages[2].steps, report.stages[2].passages, report.stages[2].tokens), (1, 16, 160));

    let text = report.to_text();
    for part in ["10 rows used, 3 not", "rows.jsonl, line 13: not a JSON row", "the cap of 8 cuts 30.0 %"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(serde_json::to_string(&report).unwrap().contains("\"steps\":9"));
}

#[test]
fn much_that_is_cut_is_noted_by_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_rows(folder.path());
    let tokenizer = word_tokenizer();
    let notes = |passage_cap| {
        check(&CheckInput { tokenizer: Some(&tokenizer), passage_cap, ..input(&config) }).unwrap().notes.join("\n")
    };
    assert_eq!(notes(8), "");
    // All but the shortest passage.
    assert!(notes(3).contains("95 % of the passages") && notes(3).contains("`student.passage_length`"), "{}", notes(3));
}

#[test]
fn amounts_are_read_in_their_own_size() {
    let cases =
        [(0, "0"), (9_999, "9999"), (10_000, "10 thousand"), (999_499, "999 thousand"), (1_000_000, "1.0 million")];
    for (count, text) in cases {
        assert_eq!(amount(count), text);
    }
}

#[test]
fn faults_of_one_sort_are_one_line() {
    let row = |reason: &str| Dropped { file: "f".into(), line: 1, reason: reason.to_owned() };
    let counted = by_reason(&[row("it names `d1` in 12 rows"), row("other"), row("it names `d22` in 3 rows")]);
    assert_eq!(counted, [("it names … in N rows".to_owned(), 2), ("other".to_owned(), 1)]);
}

#[test]
fn without_tokenizer_and_model_only_rows_and_steps_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_rows(folder.path());
    let report = check(&input(&config)).unwrap();
    assert_eq!(report.query_lengths, None);
    assert!(!report.to_text().contains("tokens"));
}

#[test]
fn sizes_come_from_headers() {
    let folder = tempfile::tempdir().unwrap();
    let write = |header: &str| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        ModelSize::of_folder(folder.path(), &[])
    };
    fs::write(folder.path().join("config.json"), "{\"dim\": 8, \"n_layers\": 2}").unwrap();
    let size = write(
        "{\"__metadata__\": {\"a\": \"b\"}, \"w\": {\"dtype\": \"F32\", \"shape\": [3, 4], \"data_offsets\": [0, 48]}, \"s\": {\"shape\": []}}",
    );
    assert_eq!(size.unwrap(), ModelSize { parameters: 13, hidden: 8, layers: 2 });
    assert!(write("{\"w\": 1}").unwrap_err().to_string().contains("model.safetensors"));
    assert!(write("hello").is_err());
    fs::write(folder.path().join("model.safetensors"), [0xff; 32]).unwrap();
    assert!(ModelSize::of_folder(folder.path(), &[]).unwrap_err().to_string().contains("64 MiB"));
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert!(ModelSize::of_folder(folder.path(), &[]).is_err());

    let mini = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/all-MiniLM-L6-v2");
    if !mini.join("model.safetensors").is_file() {
        println!("skipped: {} is not set up", mini.display());
        return;
    }
    let size = ModelSize::of_folder(&mini, &[]).unwrap();
    assert_eq!((size.hidden, size.layers), (384, 6));
    assert!((22_000_000..23_500_000).contains(&size.parameters), "{}", size.parameters);
    // A layer has 4 products of 384 x 384, two of 384 x 1536, their biases and two layer norms.
    let layer = 4 * 384 * 385 + 1536 * 385 + 384 * 1537 + 4 * 384;
    let three = ModelSize::of_folder(&mini, &[0, 2, 5]).unwrap();
    assert_eq!((three.layers, size.parameters - three.parameters), (3, 3 * layer));
}
