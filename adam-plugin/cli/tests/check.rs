//! `adam check` and searches over damaged files: exit codes and messages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::indexes::{BIRDS, EXTENSIONS, TREES, files, index};

#[test]
fn what_is_no_index_is_refused_and_exit_codes_say_what_was_found() {
    let home = tempfile::tempdir().unwrap();
    let path = index(home.path(), "index", &BIRDS);
    let named = path.to_str().unwrap();
    let out = common::done(&["check", named]);
    assert!(out.contains("whole;") && out.contains("words of 5 documents"), "{out}");
    let report: serde_json::Value = serde_json::from_str(&common::done(&["check", "--json", named])).unwrap();
    assert_eq!(report["findings"], serde_json::json!([]));

    let file = files(&path, "store").remove(0);
    std::fs::remove_file(&file).unwrap();
    let (code, out, err) = common::run(&["check", named]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("is missing") && out.contains("what to do:") && err.contains("damaged"), "{out}{err}");

    let (code, _, err) = common::run(&["check", home.path().join("nothing").to_str().unwrap()]);
    assert!(code == 1 && err.contains("there is no such folder"), "{err}");
    std::fs::create_dir(home.path().join("empty")).unwrap();
    let (code, _, err) = common::run(&["check", home.path().join("empty").to_str().unwrap()]);
    assert!(code == 1 && err.contains("nothing to check it against"), "{err}");
}

/// Files that are whole and of another index: whatever a search makes of them, it ends with an error that names the index.
#[test]
fn a_search_over_mixed_files_never_panics() {
    let home = tempfile::tempdir().unwrap();
    let path = index(home.path(), "index", &BIRDS);
    let other = index(home.path(), "other", &[TREES, BIRDS].concat());
    for extension in EXTENSIONS {
        let file = files(&path, extension).remove(0);
        let from = files(&other, extension).remove(0);
        let whole = std::fs::read(&file).unwrap();
        for content in [std::fs::read(from).unwrap(), whole[..6].to_vec()] {
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, content).unwrap();
            let (code, _, err) = common::told(
                common::adam()
                    .args(["search", "--index", path.to_str().unwrap(), "--mode", "bm25", "everyone crow"])
                    // With it, the place in the code is shown as well.
                    .env_remove("RUST_BACKTRACE")
                    .output()
                    .unwrap(),
            );
            assert!(matches!(code, 0 | 1) && !err.contains("panicked"), "{extension}: {code} {err}");
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &whole).unwrap();
    }
}
