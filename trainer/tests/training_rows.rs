//! The examples of `docs/training-rows.md` are read as that page says, or refused with the words that it gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use adam_train::data::{DataConfig, load};

const PAGE: &str = include_str!("../docs/training-rows.md");

/// Fenced blocks: what stands after the fence, and the content.
fn blocks() -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in PAGE.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => open = Some((info.to_owned(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((info, content))) => open = Some((info, format!("{content}{line}\n"))),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is left open");
    blocks
}

#[test]
fn the_examples_of_the_manual_are_read_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let blocks = blocks();
    let (mut read, mut refused) = (0, 0);
    for (at, (info, content)) in blocks.iter().enumerate() {
        if info == "read" {
            continue;
        }
        let option = info.strip_prefix("jsonl").unwrap().trim();
        std::fs::write(&path, content).unwrap();
        let min_score = option.strip_prefix("min_score=").map(|least| least.parse().unwrap());
        let data = load(&DataConfig { path: path.clone(), min_score, max_wrong_share: 0.0, ..DataConfig::default() });
        if let Some(words) = option.strip_prefix("refused=") {
            let error = data.unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("rows.jsonl, line 1"), "{content}{error}");
            refused += 1;
            continue;
        }
        let lines: Vec<String> = data.unwrap().examples.iter().flat_map(|row| row.lines()).collect();
        let (next, expected) = &blocks[at + 1];
        assert_eq!(next, "read", "{content}");
        assert_eq!(lines.join("\n"), expected.trim_end(), "{content}");
        read += 1;
    }
    assert!(read >= 9 && refused >= 7, "{read} {refused}");
}
