//! Models that are named, moved, replaced or meant to do harm.

use crate::common::{adam, corpus, done, run, tiny_model, told};
use crate::{TEXTS, World};

#[test]
fn model_names_that_are_paths_or_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = corpus(folder.path(), &TEXTS);
    let index = folder.path().join("index");
    for name in
        ["../../etc/passwd", "/etc", "a/../../b", "org/../secret", "~/model", "a b", "org/model@../../x", "..", "C:\\x"]
    {
        let mut command = adam();
        command.args(["index", "--model", name, "--data", data.to_str().unwrap(), "--index", index.to_str().unwrap()]);
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", folder.path());
        let (code, out, err) = told(command.output().unwrap());
        assert!(code == 1 && out.is_empty(), "{name}: {code} {err}");
        assert!(err.starts_with("error: ") && !err.contains("panicked"), "{name}: {err}");
        assert!(!index.exists(), "{name}");
    }
    let mut command = adam();
    command.args([
        "index",
        "--model",
        "org/model",
        "--data",
        data.to_str().unwrap(),
        "--index",
        index.to_str().unwrap(),
    ]);
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", folder.path());
    let (code, _, err) = told(command.output().unwrap());
    assert!(code == 1 && err.contains("HF_HUB_OFFLINE") && err.contains("org/model"), "{err}");
}

#[test]
fn a_model_from_the_cache_is_found_by_its_name() {
    let Some(world) = World::new() else { return };
    let home = tempfile::tempdir().unwrap();
    let repository = home.path().join("hub/models--org--tiny");
    std::fs::create_dir_all(repository.join("snapshots")).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), "0a1b").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(world.model.path(), repository.join("snapshots/0a1b")).unwrap();
    let mut command = adam();
    let (data, index) = (world.data.to_str().unwrap().to_owned(), world.path("by-name"));
    command.args(["index", "--model", "org/tiny", "--data", &data, "--index", &index]);
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", home.path());
    let (code, _, err) = told(command.output().unwrap());
    assert_eq!(code, 0, "{err}");
}

#[test]
fn weights_outside_the_model_folder_are_refused() {
    let Some(world) = World::new() else { return };
    let model = tiny_model();
    let path = model.path().join("onnx/model.onnx");
    std::fs::write(&path, with_external_weights("../../../../etc/passwd")).unwrap();
    let data = world.data.to_str().unwrap();
    let (code, _, err) =
        run(&["index", "--model", model.path().to_str().unwrap(), "--data", data, "--index", &world.path("other")]);
    assert!(code == 1 && err.contains("model.onnx") && err.contains("etc/passwd"), "{code} {err}");
}

/// An ONNX model of one weight that lies in another file: protobuf, field by field.
fn with_external_weights(location: &str) -> Vec<u8> {
    fn part(field: u8, bytes: &[u8]) -> Vec<u8> {
        [&[field << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }
    let entry = [part(1, b"location"), part(2, location.as_bytes())].concat();
    // TensorProto: dims 1, data_type FLOAT, name, external_data, data_location EXTERNAL.
    let tensor = [vec![1 << 3, 1, 2 << 3, 1], part(8, b"w"), part(13, &entry), vec![14 << 3, 1]].concat();
    let graph = [part(2, b"g"), part(5, &tensor)].concat();
    [vec![1 << 3, 8], part(7, &graph)].concat()
}

#[test]
fn an_index_of_another_model_is_left_alone() {
    let Some(world) = World::new() else { return };
    let data = world.data.to_str().unwrap().to_owned();
    let again = ["index", "--model", &world.model(), "--data", &data, "--index", &world.index()];
    let (code, _, err) = run(&[&again[..], &["--query-prompt", "query: "]].concat());
    assert!(code == 1 && err.contains("adam reembed") && err.contains("made with the model"), "{code} {err}");
    let (code, _, err) = run(&again);
    assert!(code == 0 && err.contains("6 unchanged"), "{code} {err}");
}

#[test]
fn an_execution_provider_that_is_not_there_is_named() {
    let Some(world) = World::new() else { return };
    let search = ["search", "--index", &world.index(), "--provider"];
    let (code, _, err) = run(&[&search[..], &["tensorrt", "crows"]].concat());
    assert!(code == 1 && err.to_lowercase().contains("tensorrt"), "{code} {err}");
    let (code, _, err) = run(&[&search[..], &["gpu", "crows"]].concat());
    assert!(code == 2 && err.contains("cuda"), "{code} {err}");
    done(&[&search[..], &["cpu", "crows"]].concat());
}

#[test]
fn serve_refuses_to_compute_otherwise_than_its_index_was_made() {
    let Some(world) = World::new() else { return };
    for (option, value, words) in [
        ("--precision", "f16", "\"f32\""),
        ("--max-length", "12", "--max-length"),
        ("--query-prompt", "query: ", "--query-prompt"),
        ("--document-prompt", "passage: ", "--document-prompt"),
    ] {
        let serve = ["serve", "--index", &world.index(), "--listen", "127.0.0.1:0", option, value];
        let (code, _, err) = run(&serve);
        assert!(code == 1 && err.contains(words) && err.contains("adam reembed"), "{option}: {code} {err}");
    }
}

#[test]
fn a_model_that_has_moved_is_named_with_the_option_that_helps() {
    let Some(world) = World::new() else { return };
    let moved = world.path("moved");
    std::fs::rename(world.model.path(), &moved).unwrap();
    let search = ["search", "--index", &world.index(), "--mode", "dense", "crows"];
    let (code, _, err) = run(&search);
    assert!(code == 1 && err.contains("which is not there") && err.contains("tip: --model"), "{code} {err}");
    done(&[&search[..], &["--model", &moved]].concat());
    std::fs::rename(&moved, world.model.path()).unwrap();
}
