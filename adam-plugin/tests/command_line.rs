//! The program as a user meets it: files, environment, pipes, exit codes, help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{adam, corpus, done, has_runtime, run, tiny_model, told, unset};
use serde_json::Value;

const TEXTS: [&str; 6] = [
    "Crows bend wire into hooks.",
    "Plants grow from light and water.",
    "Iron makes blood red.",
    "Ice and heat: water in the sun.",
    "The nest of a bird is early and green.",
    "Do crows use tools? Crows use tools and wire.",
];

/// A model, a corpus and an index of it.
struct World {
    folder: tempfile::TempDir,
    model: tempfile::TempDir,
    data: PathBuf,
}

impl World {
    /// None where ONNX Runtime is not set up.
    fn new() -> Option<Self> {
        has_runtime().then(|| {
            let folder = tempfile::tempdir().unwrap();
            let data = corpus(folder.path(), &TEXTS);
            let world = Self { model: tiny_model(), data, folder };
            done(&[
                "index",
                "--model",
                &world.model(),
                "--data",
                world.data.to_str().unwrap(),
                "--index",
                &world.index(),
            ]);
            world
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn index(&self) -> String {
        self.path("index")
    }

    fn model(&self) -> String {
        self.model.path().to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self.path(name)
    }
}

fn hits(out: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(out).unwrap();
    report["hits"].as_array().unwrap().clone()
}

#[test]
fn json_is_all_there_is_on_standard_output() {
    let Some(world) = World::new() else { return };
    for mode in ["bm25", "dense", "hybrid"] {
        let found = hits(&done(&["search", "--index", &world.index(), "--mode", mode, "--json", "crows use wire"]));
        assert!(!found.is_empty(), "{mode}");
        for hit in &found {
            for key in ["id", "score", "snippet", "arms"] {
                assert!(!hit[key].is_null(), "{mode} {key}");
            }
        }
    }
    let plain = done(&["search", "--index", &world.index(), "crows use wire"]);
    assert!(!plain.contains('\u{1b}'), "no colours where there is no terminal: {plain}");
}

#[test]
fn the_line_wins_over_the_environment_and_that_over_the_file() {
    let Some(world) = World::new() else { return };
    let file = world.write(
        "adam.toml",
        &format!("index = \"{}\"\ntop = 4\n[search]\nmode = \"dense\"\ntop = 3\njson = true\n", world.index()),
    );
    let count = |variables: &[(&str, &str)], words: &[&str]| {
        let mut command = adam();
        command.args(words).arg("crows").envs(variables.iter().copied());
        let (code, out, err) = told(command.output().unwrap());
        assert_eq!(code, 0, "{err}");
        hits(&out).len()
    };
    assert_eq!(count(&[], &["--config", &file, "search"]), 3);
    assert_eq!(count(&[], &["search", &format!("--config={file}")]), 3);
    assert_eq!(count(&[("ADAM_CONFIG", &file)], &["search"]), 3);
    assert_eq!(count(&[("ADAM_CONFIG", &file), ("ADAM_SEARCH_TOP", "2")], &["search"]), 2);
    assert_eq!(count(&[("ADAM_CONFIG", &file), ("ADAM_SEARCH_TOP", "2")], &["search", "--top", "1"]), 1);
    // Lists, and an option of all commands.
    let filtered = world.write(
        "filter.toml",
        &format!("index = \"{}\"\nmode = \"dense\"\n[search]\njson = true\nfilter = [\"year:2001..2004\", \"year:2003..\"]\n", world.index()),
    );
    assert_eq!(count(&[], &["--config", &filtered, "search"]), 2);
}

#[test]
fn a_wrong_configuration_is_a_wrong_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adam.toml");
    for (text, words) in [
        ("topp = 3", "topp"),
        ("[search]\nsplit = \"test\"", "split"),
        ("[serch]\ntop = 3", "serch"),
        ("[search]\ntop = [1, 2]", "one value"),
        ("[search]\ntop = 2026-01-01", "datetime"),
        ("top = ", "TOML"),
        ("[search]\ntop = \"many\"", "many"),
    ] {
        std::fs::write(&path, text).unwrap();
        let (code, out, err) = run(&["--config", path.to_str().unwrap(), "search", "--index", "x", "crows"]);
        assert!(code == 2 && out.is_empty() && err.contains(words), "{text}: {code} {err}");
    }
    // The table of `adam index` is not the option `--index` of another command; a table with no command's name is a mistake.
    std::fs::write(&path, "[index]\nbatch = 3").unwrap();
    let search = ["--config", path.to_str().unwrap(), "search", "--index", "no/such/index", "crows"];
    let (code, _, err) = run(&search);
    assert!(code == 1 && err.contains("no/such/index"), "{code} {err}");
    std::fs::write(&path, "[top]\nbatch = 3").unwrap();
    let (code, _, err) = run(&search);
    assert!(code == 2 && err.contains("`top`"), "{code} {err}");
    let (code, _, err) = run(&["--config", "no/such/file.toml", "search", "--index", "x", "crows"]);
    assert!(code == 2 && err.contains("no/such/file.toml"), "{err}");
}

#[test]
fn a_wrong_value_is_named_with_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adam.toml");
    std::fs::write(&path, "[search]\ntop = \"many\"").unwrap();
    let file = path.to_str().unwrap();
    let said = |variables: &[(&str, &str)], words: &[&str]| {
        let mut command = adam();
        command.args(words).args(["search", "--index", "x", "crows"]).envs(variables.iter().copied());
        let (code, _, err) = told(command.output().unwrap());
        assert_eq!(code, 2, "{err}");
        err
    };
    let err = said(&[], &["--config", file]);
    assert!(err.contains("many") && err.contains(&format!("comes from {file}")), "{err}");
    let err = said(&[("ADAM_SEARCH_TOP", "few")], &["--config", file]);
    assert!(err.contains("few") && err.contains("comes from the variable ADAM_SEARCH_TOP"), "{err}");
    let (code, _, err) = run(&["search", "--index", "x", "--top", "some", "crows"]);
    assert!(code == 2 && err.contains("some") && !err.contains("comes from"), "{err}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let Some(world) = World::new() else { return };
    for words in [
        &["search", "--index", &world.index(), "--explain", "crows use wire"][..],
        &["search", "--index", &world.index(), "--json", "crows"],
        &["completions", "bash"],
    ] {
        let mut child = adam().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before anything is written.
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let code = child.wait().unwrap().code();
        assert!(code == Some(0) && !err.contains("panicked") && !err.contains("error"), "{words:?}: {code:?} {err}");
    }
}

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
fn archives_that_lead_elsewhere_are_refused() {
    let Some(world) = World::new() else { return };
    for name in ["../corpus.jsonl", "/tmp/corpus.jsonl", "a/../../corpus.jsonl"] {
        let path = world.path("bad.zip");
        let line = b"{\"_id\": \"1\", \"title\": \"\", \"text\": \"crow\"}\n";
        std::fs::write(&path, stored_zip(name, line)).unwrap();
        let index = world.path("from-zip");
        let (code, _, err) = run(&["index", "--model", &world.model(), "--data", &path, "--index", &index]);
        assert!(code == 1 && err.contains("leads out of the archive"), "{name}: {code} {err}");
        assert!(!Path::new(&index).exists() && !Path::new(&world.path("corpus.jsonl.1")).exists());
    }
}

/// A zip archive with one stored file, made byte by byte, since writers refuse such names.
fn stored_zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    let mut shared = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
    shared.extend((!crc).to_le_bytes());
    shared.extend([size, size].concat());
    shared.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    shared.extend([0, 0]);
    let mut zip = b"PK\x03\x04".to_vec();
    zip.extend(&shared);
    zip.extend(name.as_bytes());
    zip.extend(content);
    let at = u32::try_from(zip.len()).unwrap();
    zip.extend(b"PK\x01\x02\x14\x00");
    zip.extend(&shared);
    zip.extend([0; 14]);
    zip.extend(name.as_bytes());
    let length = u32::try_from(zip.len()).unwrap() - at;
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend([length.to_le_bytes(), at.to_le_bytes()].concat());
    zip.extend([0, 0]);
    zip
}

#[test]
fn the_archive_that_is_made_here_is_read_when_its_name_is_plain() {
    let Some(world) = World::new() else { return };
    let path = world.path("good.zip");
    let line = b"{\"_id\": \"1\", \"title\": \"\", \"text\": \"crow\"}\n";
    std::fs::write(&path, stored_zip("set/corpus.jsonl", line)).unwrap();
    done(&["index", "--model", &world.model(), "--data", &path, "--index", &world.path("from-zip")]);
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
fn a_cross_encoder_puts_the_best_hits_in_its_order() {
    let Some(world) = World::new() else { return };
    let pair = common::tiny_pair();
    let search = ["search", "--index", &world.index(), "--mode", "dense", "--top", "6", "--json"];
    let plain = hits(&done(&[&search[..], &["what is red"]].concat()));
    let reranked =
        hits(&done(&[&search[..], &["--rerank", pair.to_str().unwrap(), "--rerank-top", "4", "what is red"]].concat()));
    let ids =
        |hits: &[Value]| -> Vec<String> { hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect() };
    let (before, after) = (ids(&plain), ids(&reranked));
    assert_eq!(before[4..], after[4..], "the others keep their places");
    let scorer = adam_encoder::PairScorer::open(&pair, &adam_encoder::EncoderOptions::default()).unwrap();
    let text = |id: &str| TEXTS[id[1..].parse::<usize>().unwrap()];
    let mut expected: Vec<(String, f32)> =
        before[..4].iter().map(|id| (id.clone(), scorer.score(&[("what is red", text(id))]).unwrap()[0])).collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (hit, (id, logit)) in reranked.iter().zip(&expected) {
        assert_eq!(hit["id"].as_str().unwrap(), id);
        assert!((hit["score"].as_f64().unwrap() as f32 - logit).abs() < 1e-4);
        assert_eq!(hit["arms"].as_array().unwrap().last().unwrap()["name"], "rerank");
    }
}

#[test]
fn eval_measures_what_the_cross_encoder_makes_of_a_ranking() {
    let Some(world) = World::new() else { return };
    let data = tempfile::tempdir().unwrap();
    corpus(data.path(), &TEXTS);
    std::fs::write(data.path().join("queries.jsonl"), "{\"_id\": \"q\", \"text\": \"what is red\"}\n").unwrap();
    std::fs::create_dir(data.path().join("qrels")).unwrap();
    std::fs::write(data.path().join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\nq\td2\t1\n").unwrap();
    let (report, run) = (world.path("report.json"), world.path("run.trec"));
    let pair = common::tiny_pair();
    let base = ["eval", "--index", &world.index(), "--data", data.path().to_str().unwrap(), "--mode", "dense"];
    let more = ["--rerank", pair.to_str().unwrap(), "--rerank-top", "6", "--json", &report, "--run", &run];
    let table = done(&[&base[..], &more].concat());
    assert!(table.contains("nDCG@10"), "{table}");
    let ranking = std::fs::read_to_string(run).unwrap();
    let search = ["search", "--index", &world.index(), "--mode", "dense", "--json", "--rerank"];
    let found = hits(&done(&[&search[..], &[pair.to_str().unwrap(), "what is red"]].concat()));
    let expected: Vec<&str> = found.iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    let ranked: Vec<&str> = ranking.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(ranked, expected);
    let place = expected.iter().position(|id| *id == "d2").unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert!((report["dense"]["mrr@10"].as_f64().unwrap() - 1.0 / (place as f64 + 1.0)).abs() < 1e-9);
}

/// Where queries are documents of the corpus, each finds itself: not among its hundred hits, nor in the run file.
#[test]
fn eval_leaves_out_the_query_itself() {
    let Some(world) = World::new() else { return };
    let data = tempfile::tempdir().unwrap();
    let texts: Vec<String> = (0..105).map(|number| format!("crows use wire number{number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let corpus = corpus(data.path(), &texts);
    let (index, run) = (world.path("many"), world.path("many.trec"));
    done(&["index", "--model", &world.model(), "--data", corpus.to_str().unwrap(), "--index", &index]);
    std::fs::write(data.path().join("queries.jsonl"), "{\"_id\": \"d7\", \"text\": \"crows use wire number7\"}\n")
        .unwrap();
    std::fs::create_dir(data.path().join("qrels")).unwrap();
    std::fs::write(data.path().join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\nd7\td8\t1\n").unwrap();
    let words = ["eval", "--index", &index, "--data", data.path().to_str().unwrap(), "--mode", "dense", "--run", &run];
    done(&words);
    let ranking = std::fs::read_to_string(run).unwrap();
    let ranked: Vec<&str> = ranking.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(ranked.len(), 100);
    assert!(!ranked.contains(&"d7"), "{ranking}");
}

#[test]
fn long_documents_are_found_by_their_chunks() {
    let Some(world) = World::new() else { return };
    let long =
        format!("{} Iron makes blood red. {}", "Plants grow from light. ".repeat(20), "Ice and heat. ".repeat(20));
    let data = world.write(
        "long.jsonl",
        &format!("{{\"_id\": \"long\", \"text\": \"{long}\"}}\n{{\"_id\": \"short\", \"text\": \"Iron\"}}\n"),
    );
    let index = world.path("chunked");
    let words = ["index", "--model", &world.model(), "--data", &data, "--index", &index];
    let (code, _, err) = run(&[&words[..], &["--chunk-tokens", "500"]].concat());
    assert!(code == 1 && err.contains("the model reads"), "{err}");
    let (code, _, err) = run(&[&words[..], &["--chunk-overlap", "3"]].concat());
    assert!(code == 2 && err.contains("--chunk-tokens"), "{code} {err}");
    for batch in ["0", "65537", "18446744073709551615"] {
        let (code, _, err) = run(&[&words[..], &["--batch", batch]].concat());
        assert!(code == 2 && err.contains("--batch"), "{batch}: {code} {err}");
    }
    done(&[&words[..], &["--chunk-tokens", "10", "--chunk-overlap", "3"]].concat());
    let found = hits(&done(&["search", "--index", &index, "--mode", "dense", "--json", "iron makes blood red"]));
    assert_eq!(found.len(), 2, "two documents, however many chunks");
    let hit = found.iter().find(|hit| hit["id"] == "long").unwrap();
    let range = |at: usize| usize::try_from(hit["snippet"]["chunk"][at].as_u64().unwrap()).unwrap();
    assert_eq!(hit["snippet"]["text"].as_str().unwrap(), &long[range(0)..range(1)]);
}

#[test]
fn help_manual_and_completions_know_every_command() {
    let help = done(&["--help"]);
    let folder = tempfile::tempdir().unwrap();
    done(&["man", folder.path().to_str().unwrap()]);
    let mut scripts = String::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = done(&["completions", shell]);
        assert!(script.contains("adam"), "{shell}");
        scripts.push_str(&script);
    }
    for command in ["index", "search", "eval", "encode", "import", "reembed", "completions", "man"] {
        assert!(help.contains(command), "{command}");
        assert!(scripts.contains(command), "{command}");
        let own = done(&[command, "--help"]);
        assert!(own.contains("Examples:") && own.contains(&format!("adam {command}")), "{command}: {own}");
        let page = std::fs::read_to_string(folder.path().join(format!("adam-{command}.1"))).unwrap();
        // Every option of the help stands in the manual.
        for option in own.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2) {
            let name =
                option.trim_start_matches('-').split(|c: char| !(c.is_alphanumeric() || c == '-')).next().unwrap();
            if own.contains(&format!("      --{name}")) || own.contains(&format!(", --{name}")) {
                assert!(page.replace('\\', "").contains(&format!("--{name}")), "{command} --{name}");
            }
        }
    }
    for words in ["Exit codes", "adam.toml", "ADAM_SEARCH_TOP", "RUST_LOG"] {
        assert!(help.contains(words), "{words}");
    }
    let (code, out, err) = run(&["search"]);
    assert!(code == 2 && out.is_empty() && err.contains("--index"), "{err}");
    let (code, _, err) = run(&["search", "--index", "no/such/index", "x"]);
    assert!(code == 1 && err.contains("no/such/index"), "{err}");
    for (wrong, option) in [
        (&["search", "--index", "i", "--weight", "3", "x"][..], "--weight"),
        (&["encode", "--model", "m", "--input", "i", "--output", "o.txt"], "--output"),
        (&["eval", "--index", "i", "--data", "d", "--compare", "run"], "--compare"),
        (&["serve", "--index", "i", "--commit-every", "0.001"], "--commit-every"),
    ] {
        let (code, _, err) = run(wrong);
        assert!(code == 2 && err.contains(option), "{wrong:?}: {code} {err}");
    }
}

#[test]
fn documents_are_deleted_without_the_model_and_an_index_says_what_it_is() {
    let Some(world) = World::new() else { return };
    let many = "water ".repeat(40);
    let data = world.write(
        "some.jsonl",
        &format!(
            "{{\"_id\": \"a\", \"text\": \"Iron\", \"metadata\": {{\"year\": 1999}}}}\n\
             {{\"_id\": \"b\", \"text\": \"{many}\", \"metadata\": {{\"year\": 2001, \"lang\": \"en\"}}}}\n\
             {{\"_id\": \"c\", \"text\": \"Light\", \"metadata\": {{\"year\": 2001, \"lang\": \"de\"}}}}\n"
        ),
    );
    for chunks in [&[][..], &["--chunk-tokens", "8"]] {
        let index = world.path(if chunks.is_empty() { "plain" } else { "cut" });
        let model = tiny_model();
        let words = ["index", "--model", model.path().to_str().unwrap(), "--data", &data, "--index", &index];
        done(&[&words[..], chunks].concat());
        drop(model);
        let (_, out, _) = run(&["search", "--index", &index, "--mode", "bm25", "--json", "iron"]);
        assert_eq!(hits(&out)[0]["metadata"]["year"], 1999);

        let info = || serde_json::from_str::<Value>(&run(&["info", "--index", &index, "--json"]).1).unwrap();
        assert_eq!(info()["documents"], 3);
        let (code, out, _) = run(&["info", "--index", &index]);
        assert!(code == 0 && out.contains("metadata") && out.contains("documents  3"), "{out}");

        let delete = |words: &[&str]| run(&[&["delete", "--index", &index], words].concat());
        let (code, _, err) = delete(&[]);
        assert!(code == 2 && err.contains("ID"), "{code} {err}");
        let (code, _, err) = delete(&["--filter", "year:2001", "--filter", "lang:en"]);
        assert!(code == 0 && err.contains("1 documents deleted, 2 are left"), "{err}");
        let (code, _, err) = delete(&["a", "nobody"]);
        assert!(code == 0 && err.contains("1 documents deleted, 1 are left"), "{err}");
        assert_eq!(info()["documents"], 1);
        // Not one chunk of it is left behind.
        let (_, out, _) = run(&["search", "--index", &index, "--mode", "bm25", "--json", "water iron light"]);
        assert_eq!(hits(&out).iter().map(|hit| hit["id"].as_str().unwrap()).collect::<Vec<_>>(), ["c"]);
    }
}

/// `adam index 2>&1 | head -1`: the work is done all the same.
/// Runs `adam` where the folder is mounted read-only, for it alone; none where this machine does not let us.
#[cfg(target_os = "linux")]
fn read_only(folder: &str, words: &[&str]) -> Option<(i32, String, String)> {
    const REFUSED: i32 = 99;
    let mount = format!("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit {REFUSED}; exec \"$@\"");
    let mut command = unset(Command::new("unshare"));
    command.args(["--map-root-user", "--mount", "sh", "-c", &mount, folder, env!("CARGO_BIN_EXE_adam")]).args(words);
    let (code, out, err) = told(command.output().ok()?);
    (code != REFUSED && !err.starts_with("unshare:")).then_some((code, out, err))
}

#[cfg(target_os = "linux")]
#[test]
fn an_index_is_searched_where_nothing_may_be_written() {
    let Some(world) = World::new() else { return };
    let index = world.index();
    let look = |words: &[&str]| read_only(&index, words);
    let Some((code, out, err)) = look(&["search", "--index", &index, "--json", "crows use wire"]) else {
        println!("skipped: no folder can be mounted read-only here");
        return;
    };
    assert_eq!(code, 0, "{err}");
    assert_eq!(hits(&out), hits(&done(&["search", "--index", &index, "--json", "crows use wire"])));
    let (code, out, err) = look(&["info", "--index", &index]).unwrap();
    assert!(code == 0 && out.contains('6'), "{out} {err}");
    let (code, _, err) = look(&["delete", "--index", &index, "d0"]).unwrap();
    assert!(code == 1 && err.contains("Read-only file system") && err.contains("writing"), "{code} {err}");
    let (code, _, err) = look(&["serve", "--index", &index, "--listen", "127.0.0.1:0"]).unwrap();
    assert!(code == 1 && err.contains("--read-only"), "{code} {err}");
    // A copy without hidden files but the card: no lock is there to be taken.
    std::fs::remove_file(Path::new(&index).join(".tantivy-meta.lock")).unwrap();
    let (code, out, err) = look(&["search", "--index", &index, "--json", "crows use wire"]).unwrap();
    assert!(code == 0 && !hits(&out).is_empty(), "{err}");
}

#[test]
fn files_of_an_index_are_equally_open() {
    let Some(world) = World::new() else { return };
    let permissions = |entry: std::fs::DirEntry| (entry.metadata().unwrap().permissions(), entry.file_name());
    let files: Vec<_> = std::fs::read_dir(world.index()).unwrap().map(|entry| permissions(entry.unwrap())).collect();
    let (first, _) = files[0].clone();
    assert!(files.len() > 5 && files.iter().all(|(found, _)| *found == first), "{files:?}");
}

#[test]
fn a_standard_error_that_nobody_reads_harms_nothing() {
    let Some(world) = World::new() else { return };
    for log in ["warn", "trace"] {
        let index = world.path(log);
        let mut command = adam();
        command.args(["index", "--model", &world.model(), "--data", world.data.to_str().unwrap(), "--index", &index]);
        let mut child = command.env("RUST_LOG", log).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert!(child.wait().unwrap().success(), "{log}");
        let (code, out, err) = run(&["search", "--index", &index, "--mode", "bm25", "wire"]);
        assert!(code == 0 && out.contains("Crows bend wire"), "{out} {err}");
    }
}

#[test]
fn what_a_document_holds_does_not_steer_the_terminal() {
    let Some(world) = World::new() else { return };
    let line =
        r#"{"_id": "a\u001b[2Jb", "title": "red \u001b[31m", "text": "bell \u0007 rings \u001b[2J twice \u009b31m"}"#;
    let data = world.write("steering.jsonl", &format!("{line}\n"));
    let index = world.path("steering");
    done(&["index", "--model", &world.model(), "--data", &data, "--index", &index]);
    let (code, out, err) = run(&["search", "--index", &index, "--mode", "bm25", "bell rings"]);
    assert!(code == 0 && out.contains("rings"), "{out} {err}");
    assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
}

#[test]
fn words_are_found_by_the_rules_of_their_language() {
    let Some(world) = World::new() else { return };
    let data = world.write(
        "artikel.jsonl",
        "{\"_id\": \"a\", \"text\": \"Die Krähen bauen Nester.\"}\n{\"_id\": \"b\", \"text\": \"Alte Häuser brennen.\"}\n",
    );
    let (index, again, model) = (world.path("artikel"), world.path("again"), world.model());
    let make = |language: &[&str]| {
        let words = [&["index", "--model", &model, "--data", &data, "--index", &index], language].concat();
        run(&words)
    };
    let found =
        |index: &str, query: &str| hits(&done(&["search", "--index", index, "--mode", "bm25", "--json", query]));
    assert_eq!(make(&["--language", "german"]).0, 0);
    assert_eq!(found(&index, "die haus")[0]["id"], "b");
    assert_eq!(found(&index, "die haus").len(), 1, "`die` is too common to be found");
    assert!(done(&["info", "--index", &index]).contains("content (german)"));
    // It stays as it was made.
    assert_eq!(make(&[]).0, 0);
    assert_eq!(make(&["--language", "de"]).0, 0);
    let (code, _, err) = make(&["--language", "french"]);
    assert!(code == 1 && err.contains("is french") && err.contains("was made for german"), "{err}");
    let (code, _, err) = make(&["--language", "klingon"]);
    assert!(code == 2 && err.contains("klingon") && err.contains("german"), "{err}");
    done(&["reembed", &index, "--model", &model, "--index", &again]);
    assert_eq!(found(&again, "haus")[0]["id"], "b");
    assert!(found(&world.index(), "crow").len() > 1, "English where nothing is said");
}

#[test]
fn fields_that_an_index_does_not_keep_are_named() {
    let Some(world) = World::new() else { return };
    let line =
        "{\"_id\": \"a\", \"text\": \"crows\", \"url\": \"u\", \"e\\u001b[2J\": 1, \"metadata\": {\"year\": 1}}\n";
    let data = world.write("fields.jsonl", line);
    let index = world.path("fields");
    let (code, _, err) = run(&["index", "--model", &world.model(), "--data", &data, "--index", &index]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("not kept") && err.contains("url (1)") && !err.contains("year"), "{err}");
    assert!(!err.contains('\u{1b}'), "{err:?}");
}

#[test]
fn warnings_are_shown_unless_they_are_turned_off() {
    let Some(world) = World::new() else { return };
    // Nothing in this folder says how to pool.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny");
    let said = |log: Option<&str>| {
        let mut command = adam();
        command.args(["encode", "--model", model.to_str().unwrap(), "--input", world.data.to_str().unwrap()]);
        command.args(["--output", &world.path("vectors.npy")]).env_remove("RUST_LOG");
        let (code, _, err) = told(command.envs(log.map(|log| ("RUST_LOG", log))).output().unwrap());
        assert_eq!(code, 0, "{err}");
        err
    };
    let err = said(None);
    assert!(err.contains("WARN") && err.contains("no modules.json"), "{err}");
    assert!(!err.contains('\u{1b}'), "no colours where there is no terminal: {err}");
    assert!(!said(Some("off")).contains("WARN"));
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
