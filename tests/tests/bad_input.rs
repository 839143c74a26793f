//! Bad input: one clear line that names the file (and the line where there is one), exit code 1 or 2, nothing half-made.

use std::fs;
use std::path::Path;

use adam_tests::{Said, minilm, pocket, run};
use anyhow::Result;

/// Runs `adam index` on some data and checks that it fails as it should.
fn refuses(model: &str, data: &Path, must_name: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let index = folder.path().join("index");
    let said = run(
        "adam",
        &["index", "--model", model, "--data", &data.display().to_string(), "--index", &index.display().to_string()],
    )?;
    complains(&said, must_name);
    assert!(!index.exists(), "a half-made index was left at {}", index.display());
    Ok(())
}

fn complains(said: &Said, must_name: &[&str]) {
    assert!(matches!(said.code, Some(1 | 2)), "exit code {:?}\n{}", said.code, said.err);
    let errors: Vec<&str> = said.err.lines().filter(|line| line.contains("error")).collect();
    assert_eq!(errors.len(), 1, "one line should say what is wrong:\n{}", said.err);
    for name in must_name {
        assert!(errors[0].contains(name), "{name:?} is not named in: {}", errors[0]);
    }
    assert!(!said.err.contains("panicked"), "{}", said.err);
}

/// A collection like the pocket one, with one file replaced.
fn spoiled(folder: &Path, file: &str, text: &str) -> Result<()> {
    let source = pocket();
    fs::create_dir_all(folder.join("qrels"))?;
    for name in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/train.tsv"] {
        fs::copy(Path::new(&source).join(name), folder.join(name))?;
    }
    fs::write(folder.join(file), text)?;
    Ok(())
}

#[test]
fn missing_collection_and_half_a_zip() -> Result<()> {
    let Some(model) = minilm() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    refuses(&model, &folder.path().join("nowhere"), &["nowhere"])?;

    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("pocket/corpus.jsonl", zip::write::SimpleFileOptions::default())?;
    std::io::Write::write_all(&mut zip, &fs::read(Path::new(&pocket()).join("corpus.jsonl"))?)?;
    let whole = zip.finish()?.into_inner();
    let half = folder.path().join("half.zip");
    fs::write(&half, &whole[..whole.len() / 2])?;
    refuses(&model, &half, &["half.zip"])
}

#[test]
fn corpus_lines_that_are_wrong() -> Result<()> {
    let Some(model) = minilm() else { return Ok(()) };
    let good = r#"{"_id": "a", "title": "", "text": "a text"}"#;
    for (bad, line) in [("{\"_id\": \"b\", ", "2"), ("not JSON", "2"), (r#"{"title": "no id"}"#, "2"), (good, "2")] {
        let folder = tempfile::tempdir()?;
        spoiled(folder.path(), "corpus.jsonl", &format!("{good}\n{bad}\n"))?;
        refuses(&model, folder.path(), &["corpus.jsonl", line])?;
    }
    Ok(())
}

#[test]
fn a_model_that_is_not_one() -> Result<()> {
    let data = pocket();
    let folder = tempfile::tempdir()?;
    refuses(&folder.path().join("no-model").display().to_string(), Path::new(&data), &["no-model"])?;

    let Some(model) = minilm() else { return Ok(()) };
    let copy = folder.path().join("model");
    copy_folder(Path::new(&model), &copy)?;
    for onnx in ["onnx/model.onnx", "onnx/model_fused.onnx"] {
        if copy.join(onnx).exists() {
            fs::write(copy.join(onnx), "this is not a model")?;
        }
    }
    refuses(&copy.display().to_string(), Path::new(&data), &[".onnx"])
}

#[test]
fn evaluation_on_wrong_judgements_and_queries() -> Result<()> {
    let Some(model) = minilm() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let index = folder.path().join("index").display().to_string();
    adam_tests::run_ok("adam", &["index", "--model", &model, "--data", &pocket(), "--index", &index])?;

    let header = "query-id\tcorpus-id\tscore\n";
    for (file, text, names) in [
        ("qrels/test.tsv", format!("{header}b0\tp0\t1\nb1\tp1\tmuch\n"), ["test.tsv line 3", "much"]),
        ("queries.jsonl", "{\"_id\": \"b0\"}\n".to_owned(), ["queries.jsonl", "1"]),
        ("qrels/test.tsv", format!("{header}b0 p0\n"), ["test.tsv", "2"]),
    ] {
        let data = folder.path().join("data");
        spoiled(&data, file, &text)?;
        let out = folder.path().join("eval.json");
        let said = run(
            "adam",
            &["eval", "--index", &index, "--data", &data.display().to_string(), "--json", &out.display().to_string()],
        )?;
        complains(&said, &names);
        assert!(!out.exists(), "a report was left behind");
    }
    let said = run("adam", &["eval", "--index", &index, "--data", &pocket(), "--split", "dev"])?;
    complains(&said, &["dev"]);

    // A judgement of a document that is gone does not end it.
    let data = folder.path().join("data");
    spoiled(&data, "qrels/test.tsv", &format!("{header}b0\tp0\t1\nb1\tno-such-document\t1\n"))?;
    let said = adam_tests::run_ok("adam", &["eval", "--index", &index, "--data", &data.display().to_string()])?;
    assert!(said.err.contains("1 judged document of 2 not in"), "{}", said.err);
    Ok(())
}

#[test]
fn wrong_calls_exit_with_2() -> Result<()> {
    for call in [
        vec!["search"],
        vec!["no-such-command"],
        vec!["index", "--index", "x"],
        vec!["search", "--mode", "guess", "--index", "x", "q"],
    ] {
        let said = run("adam", &call)?;
        assert_eq!(said.code, Some(2), "{call:?}: {}", said.err);
    }
    assert_eq!(run("adam-train", &["no-such-command"])?.code, Some(2));
    let said = run("adam-train", &["run", "no-such-file.toml"])?;
    complains(&said, &["no-such-file.toml"]);
    assert_eq!(said.code, Some(1));

    // A wrong setting is a wrong call, and so is one of the file, which is named.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("run.toml");
    fs::write(&file, "[distil]\nepochs = 2\n")?;
    let file_name = file.display().to_string();
    for setting in ["distil.epoch=2", "nothing", "distil.evaluations=9223372036854775807"] {
        let call =
            ["check", &file_name, "--set", "run.output=o", "--set", "student.model=m", "--data", "d", "--set", setting];
        let said = run("adam-train", &call)?;
        assert_eq!(said.code, Some(2), "{setting}: {}", said.err);
        assert!(!said.err.contains("run.toml"), "{setting}: {}", said.err);
    }
    fs::write(&file, "[distil]\nepoch = 2\n")?;
    let said = run("adam-train", &["check", &file_name])?;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("run.toml"), "{}", said.err);
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
