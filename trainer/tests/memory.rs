//! A run whose steps do not fit in the memory it may take.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{adam_train, configuration, said, write_data};

/// The tiny model's weights, gradients and moments are some 100 kB, a token some 1 to 2 kB, a step of distillation some 700 tokens.
#[test]
fn a_run_within_a_limit_ends_like_one_without() {
    let place = tempfile::tempdir().unwrap();
    write_data(&place.path().join("data"), 60);
    let run = |name: &str, more: &[&str]| {
        let output = place.path().join(name);
        let file = place.path().join(format!("{name}.toml"));
        std::fs::write(&file, configuration(&place.path().join("data"), &output, "")).unwrap();
        let mut arguments = vec!["distil", file.to_str().unwrap()];
        arguments.extend(more);
        (output, adam_train(&arguments))
    };
    let (output, ended) = run("limited", &["--memory-limit", "500kB"]);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(0), "{text}");
    for part in ["distil: out of memory with", "the step begins again with", "memory "] {
        assert!(text.contains(part), "`{part}` in\n{text}");
    }
    // Said once a halving, not once a step.
    assert!(text.matches("distil: out of memory").count() < 4, "{text}");
    let (free, ended) = run("free", &[]);
    assert!(!said(&ended).contains("out of memory"), "{}", said(&ended));
    let losses = |output: &std::path::Path| -> Vec<f64> {
        let text = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.filter(|row| row["stage"] == "teacher").filter_map(|row| row["loss"].as_f64()).collect()
    };
    let (limited, free) = (losses(&output), losses(&free));
    assert_eq!(limited.len(), free.len());
    assert!((limited[0] - free[0]).abs() < 0.5, "the same data: {} and {}", limited[0], free[0]);

    // Ten tokens fit, and texts are longer.
    let (_, ended) = run("hopeless", &["--memory-limit", "110kB"]);
    let text = said(&ended);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("error: out of memory: ") && text.contains("alone already"), "{text}");
    let (_, ended) = run("wrong", &["--memory-limit", "lots"]);
    assert_eq!(ended.status.code(), Some(2), "{}", said(&ended));
}
