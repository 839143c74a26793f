//! Small inputs of real life, through the command line, HTTP and the library, each with the right value or the right message.
//! A new one is a new file in `tests/horrors`; its README says how.

mod case;
mod page;
mod surfaces;

use std::path::{Path, PathBuf};

use adam_tests::{Said, minilm, workspace};
use anyhow::{Context, Result, bail, ensure};
use case::{Ask, Case, Model, Step, Verdict};
use serde_json::Value;
use surfaces::{Answer, Server, shell};

/// `ADAM_CASE=NAME` runs the cases whose names hold it.
#[test]
fn every_case_has_the_right_value_or_message() -> Result<()> {
    let wanted = std::env::var("ADAM_CASE").unwrap_or_default();
    let mut failures = Vec::new();
    let mut skipped = false;
    let cases: Vec<Case> = case::all()?.into_iter().filter(|case| case.name.contains(&wanted)).collect();
    ensure!(!cases.is_empty(), "no case's name holds {wanted:?}");
    for case in &cases {
        let Some(model) = model(case, &mut skipped) else { continue };
        if let Err(error) = run(case, &model) {
            failures.push(format!("{}: {error:#}", case.name));
        }
    }
    println!("{} cases", cases.len());
    ensure!(failures.is_empty(), "{} of {} cases failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
    Ok(())
}

/// The model's folder; none where the case cannot run on this machine.
fn model(case: &Case, skipped: &mut bool) -> Option<PathBuf> {
    match case.model {
        Model::Tiny => Some(workspace().join("encoder/tests/fixtures/tiny")),
        Model::Minilm if *skipped => None,
        Model::Minilm => {
            let folder = minilm().map(PathBuf::from);
            *skipped = folder.is_none();
            folder
        }
    }
    .map(|folder| folder.canonicalize().unwrap_or(folder))
}

fn run(case: &Case, model: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    for (name, text) in &case.files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().context("a file's folder")?)?;
        std::fs::write(path, text)?;
    }
    if let Some(script) = &case.prepare {
        let said = shell(folder, model, &format!("set -e\n{script}"))?;
        ensure!(said.code == Some(0), "prepare: {}{}", said.out, said.err);
    }
    if let Some(documents) = &case.documents {
        let line = format!("adam index --model \"$M\" --data {documents} --index i {}", case.index_options);
        let said = shell(folder, model, &line)?;
        ensure!(said.code == Some(0), "{line}: exit {:?}: {}", said.code, said.err);
        ask_all(case, folder, model, documents)?;
    }
    for step in &case.step {
        let said = shell(folder, model, &step.run)?;
        check(case, step, &said)
            .with_context(|| format!("`{}`: exit {:?}\n{}{}", step.run, said.code, said.out, said.err))?;
    }
    Ok(())
}

fn ask_all(case: &Case, folder: &Path, model: &Path, documents: &str) -> Result<()> {
    if case.ask.is_empty() {
        return Ok(());
    }
    let engine = surfaces::engine(folder, model)?;
    let server = Server::start(folder, model, if case.http { "over-http" } else { "i" })?;
    if case.http {
        let lines = std::fs::read_to_string(folder.join(documents))?;
        if let Err(refused) = server.add(&lines)? {
            bail!("over HTTP the documents are refused: {refused}");
        }
    }
    for ask in &case.ask {
        let answers = [
            ("command line", surfaces::command_line(folder, model, ask)?),
            ("HTTP", server.search(ask)?),
            ("library", surfaces::library(&engine, ask)?),
        ];
        for (surface, answer) in answers {
            compare(ask, &answer).with_context(|| format!("{surface}: {ask:?}"))?;
        }
    }
    Ok(())
}

fn compare(ask: &Ask, answer: &Answer) -> Result<()> {
    match (answer, &ask.error) {
        (Err(said), Some(wanted)) => ensure!(said.contains(wanted), "the error is {said:?}"),
        (Err(said), None) => bail!("refused: {said}"),
        (Ok(answer), Some(_)) => bail!("an error was wanted, and it answers {answer}"),
        (Ok(answer), None) => {
            if let Some(wanted) = &ask.hits {
                let (mut found, mut wanted) = (ids(answer)?, wanted.clone());
                if ask.any_order {
                    found.sort();
                    wanted.sort();
                }
                ensure!(found == wanted, "the hits are {found:?}");
            }
            let warnings = &answer["warnings"];
            match &ask.warning {
                Some(wanted) => ensure!(warnings.to_string().contains(wanted.as_str()), "the warnings are {warnings}"),
                None => ensure!(warnings.as_array().is_none_or(Vec::is_empty), "it warns: {warnings}"),
            }
        }
    }
    Ok(())
}

fn ids(answer: &Value) -> Result<Vec<String>> {
    let hits = answer["hits"].as_array().with_context(|| format!("no hits in {answer}"))?;
    hits.iter().map(|hit| Ok(hit["id"].as_str().context("a hit without an id")?.to_owned())).collect()
}

fn check(case: &Case, step: &Step, said: &Said) -> Result<()> {
    ensure!(said.code == Some(step.exit), "exit {} was wanted", step.exit);
    ensure!(!said.err.contains("panicked"), "it panicked");
    let holds = |what: &str, text: &str, wanted: &[String], unwanted: &[String]| -> Result<()> {
        for part in wanted {
            ensure!(text.contains(part.as_str()), "standard {what} does not hold {part:?}");
        }
        for part in unwanted {
            ensure!(!text.contains(part.as_str()), "standard {what} holds {part:?}");
        }
        Ok(())
    };
    holds("output", &said.out, &step.out, &step.out_not)?;
    holds("error", &said.err, &step.err, &step.err_not)?;
    if case.verdict == Verdict::Refused && step.exit != 0 {
        ensure!(!step.err.is_empty(), "a refusal needs `err`: what its message says");
    }
    if let Some(wanted) = &step.hits {
        let found = ids(&serde_json::from_str(&said.out).context("standard output is no JSON")?)?;
        ensure!(found == *wanted, "the hits are {found:?}");
    }
    Ok(())
}
