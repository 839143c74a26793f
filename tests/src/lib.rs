//! End-to-end tests over the real programs: what they share.
//!
//! The tests run `adam` and `adam-train` as a user would. Both must have been built into the same target folder
//! (`make test` does that first).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// The workspace's root folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A built program of the workspace, by name.
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("where this test's own program lies")?;
    let folder = test.parent().and_then(Path::parent).context("the target folder")?;
    let program = folder.join(name);
    if !program.is_file() {
        bail!("{} is not built; run `make build` first", program.display());
    }
    Ok(program)
}

/// A command for a program of the workspace, run from the workspace's root.
///
/// # Errors
/// When the program has not been built.
pub fn command(name: &str) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    command.current_dir(workspace());
    Ok(command)
}

/// What a finished program said.
#[derive(Debug)]
pub struct Said {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it can't be started.
pub fn run(name: &str, arguments: &[&str]) -> Result<Said> {
    let output = command(name)?.args(arguments).output().with_context(|| format!("starting {name}"))?;
    Ok(output.into())
}

/// Runs a program that must succeed, and gives what it wrote.
///
/// # Errors
/// When it can't be started or exits other than 0; the message holds what it said.
pub fn run_ok(name: &str, arguments: &[&str]) -> Result<Said> {
    let said = run(name, arguments)?;
    if said.code != Some(0) {
        bail!("{name} {} ended with {:?}\n{}\n{}", arguments.join(" "), said.code, said.out, said.err);
    }
    Ok(said)
}

/// The untouched MiniLM as an ONNX student folder, which `make test` exports, or why the test is skipped.
pub fn minilm() -> Option<String> {
    let folder = workspace().join(".native/minilm-onnx");
    if folder.join("onnx/model.onnx").is_file() {
        return Some(folder.display().to_string());
    }
    println!("skipped: .native/minilm-onnx is not there (make test exports it)");
    None
}

/// A real collection, `NAME.zip`, from `ADAM_DATA` or `../shared/data`, or why the test is skipped.
pub fn collection(name: &str) -> Option<String> {
    let places =
        std::env::var_os("ADAM_DATA").map(PathBuf::from).into_iter().chain([workspace().join("../shared/data")]);
    for place in places {
        let archive = place.join(format!("{name}.zip"));
        if archive.is_file() {
            return Some(archive.display().to_string());
        }
    }
    println!("skipped: {name}.zip is neither in ADAM_DATA nor in ../shared/data");
    None
}

/// The small collection that ships with the project.
pub fn pocket() -> String {
    workspace().join("examples/data/pocket").display().to_string()
}
