//! Tests of the token store with a small word-level tokenizer made here.

use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

const KEY: TokenKey = TokenKey { tokenizer: [1; 32], texts: [2; 32], cap: 7 };

fn word_tokenizer() -> Tokenizer {
    let json = r#"{
        "version": "1.0", "added_tokens": [],
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": null, "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "one": 1, "two": 2, "three": 3}}
    }"#;
    Tokenizer::from_bytes(json).unwrap()
}

fn lists() -> TokenStore {
    TokenStore::from_lists([&[1u32, 2, 3][..], &[], &[4, 5]])
}

#[test]
fn a_store_gives_back_its_lists() {
    let store = lists();
    assert_eq!((store.len(), store.total()), (3, 5));
    assert_eq!(store.get(0), &[1, 2, 3]);
    assert_eq!(store.length(1), 0);
    assert_eq!(store.get(2), &[4, 5]);
    assert!(store.get(3).is_empty());
    assert!(TokenStore::default().is_empty());
}

#[test]
fn the_bytes_of_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.bin");
    write(&path, &KEY, &lists()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut golden = b"ADAMTOK\0\x01\0\0\0\x07\0\0\0".to_vec();
    golden.extend([1; 32]);
    golden.extend([2; 32]);
    golden.extend([3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    for n in [3u32, 0, 2, 1, 2, 3, 4, 5] {
        golden.extend(n.to_le_bytes());
    }
    golden.extend(Sha256::digest(&golden));
    assert_eq!(bytes, golden);
    assert_eq!(read(&path, &KEY).unwrap(), lists());
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.bin");
    write(&path, &KEY, &lists()).unwrap();
    let good = std::fs::read(&path).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        assert!(decode(&bad, &KEY).is_err(), "byte {place}");
        assert!(decode(&good[..place], &KEY).is_err(), "cut at {place}");
    }
    let other = TokenKey { cap: 8, ..KEY };
    assert!(decode(&good, &other).unwrap_err().contains("another cap"));
}

#[test]
fn tokenising_ignores_the_tokenizers_own_truncation_and_cuts_at_the_cap() {
    let texts = ["One two three two", "", "four"];
    let text = |i: usize| Cow::Borrowed(texts[i]);
    let store = tokenize(&word_tokenizer(), 3, &text, 3).unwrap();
    assert_eq!(store.get(0), &[1, 2, 3]);
    assert!(store.get(1).is_empty());
    assert_eq!(store.get(2), &[0]);
}

#[test]
fn a_second_run_reads_and_a_damaged_file_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = word_tokenizer();
    let run = |suffix: &str, cap: u32| {
        let text = |i: usize| Cow::Owned(format!("one two {suffix} {}", if i == 1 { "three" } else { "" }));
        let mut done = 0;
        let outcome = load_or_tokenize(folder.path(), &tokenizer, 5000, &text, cap, &mut |n| done = n).unwrap();
        assert_eq!(done, 5000);
        outcome
    };
    let (first, origin) = run("two", 16);
    assert_eq!(origin, Origin::Made);
    assert_eq!(first.get(1), &[1, 2, 2, 3]);
    let (second, origin) = run("two", 16);
    assert_eq!((second, origin), (first.clone(), Origin::Cached));
    // Other texts or another cap are another file.
    assert_eq!(run("one", 16).1, Origin::Made);
    assert_eq!(run("two", 2).1, Origin::Made);
    let files: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    }
    let (third, origin) = run("two", 16);
    assert_eq!(third, first);
    assert!(matches!(origin, Origin::Remade(reason) if reason.contains("cut short")));
    assert_eq!(run("two", 16).1, Origin::Cached);
}

proptest! {
    #[test]
    fn any_store_comes_back_and_any_bytes_are_refused(
        lists in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..9), 0..9), bytes in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.bin");
        let store = TokenStore::from_lists(lists.iter().map(Vec::as_slice));
        write(&path, &KEY, &store).unwrap();
        prop_assert_eq!(read(&path, &KEY).unwrap(), store);
        prop_assert!(decode(&bytes, &KEY).is_err());
        let mut headed = MAGIC.to_vec();
        headed.extend(1u32.to_le_bytes());
        headed.extend(&bytes);
        prop_assert!(decode(&headed, &KEY).is_err());
    }
}
