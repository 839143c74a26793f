//! A case: a small input of real life, and what becomes of it. One TOML file each, in `tests/horrors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What of the project an input is for; the chapters of `docs/input.md`, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    Corpus,
    Archives,
    Ids,
    Queries,
    Judgements,
    Vectors,
    TrainingRows,
    Metadata,
    Dates,
    Filters,
    Words,
    Ranking,
    Models,
    Folders,
    Http,
    Terminal,
}

impl Subject {
    /// The chapter's heading.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Corpus => "Corpus",
            Self::Archives => "Archives and compression",
            Self::Ids => "Ids",
            Self::Queries => "Queries",
            Self::Judgements => "Judgements and runs",
            Self::Vectors => "Vectors",
            Self::TrainingRows => "Training rows",
            Self::Metadata => "Metadata",
            Self::Dates => "Dates",
            Self::Filters => "Filters",
            Self::Words => "Words and scripts",
            Self::Ranking => "Ranking and pages",
            Self::Models => "Model folders",
            Self::Folders => "Folders of an index",
            Self::Http => "HTTP",
            Self::Terminal => "Terminal",
        }
    }
}

/// Whether the input is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Accepted,
    /// Taken, with a warning that names what was noticed.
    Warned,
    Refused,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Warned => "accepted, with a warning",
            Self::Refused => "refused",
        }
    }
}

/// The model a case is run with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Model {
    /// One layer with random weights: for all that does not look at vectors.
    #[default]
    Tiny,
    /// all-MiniLM-L6-v2; the case is skipped where it has not been exported.
    Minilm,
}

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The file's name without its ending.
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) subject: Subject,
    /// The input, for the page: a noun phrase in Markdown.
    pub(crate) input: String,
    pub(crate) verdict: Verdict,
    /// What becomes of it, for the page: a sentence in Markdown.
    pub(crate) outcome: String,
    #[serde(default)]
    pub(crate) model: Model,
    /// Files written into the case's folder first.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// A shell script that makes what a TOML file cannot hold, such as archives.
    pub(crate) prepare: Option<String>,
    /// The corpus that `ask` is about, indexed as `i`.
    pub(crate) documents: Option<String>,
    /// Further options of `adam index` for it.
    #[serde(default)]
    pub(crate) index_options: String,
    /// Whether the documents can be sent over HTTP as they are: the corpus is one file of JSON lines.
    #[serde(default = "yes")]
    pub(crate) http: bool,
    /// Searches, each made by the command line, over HTTP and by the library.
    #[serde(default)]
    pub(crate) ask: Vec<Ask>,
    /// Commands.
    #[serde(default)]
    pub(crate) step: Vec<Step>,
}

fn yes() -> bool {
    true
}

/// A search and its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    pub(crate) query: String,
    #[serde(default = "bm25")]
    pub(crate) mode: String,
    pub(crate) fusion: Option<String>,
    pub(crate) weight: Option<f32>,
    pub(crate) top: Option<usize>,
    pub(crate) offset: Option<usize>,
    #[serde(default)]
    pub(crate) filters: Vec<String>,
    /// Ids of the hits, best first.
    pub(crate) hits: Option<Vec<String>>,
    /// The order of the hits does not matter.
    #[serde(default)]
    pub(crate) any_order: bool,
    /// Part of a warning that comes with the answer; without it, no warning may come.
    pub(crate) warning: Option<String>,
    /// Part of the error that comes in place of an answer.
    pub(crate) error: Option<String>,
}

fn bm25() -> String {
    "bm25".to_owned()
}

/// A command line, run by `bash` in the case's folder, where `$M` is the model's folder and `adam` and `adam-train` are found.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) run: String,
    /// The exit code.
    #[serde(default)]
    pub(crate) exit: i32,
    /// What standard output holds.
    #[serde(default)]
    pub(crate) out: Vec<String>,
    /// What standard output does not hold.
    #[serde(default)]
    pub(crate) out_not: Vec<String>,
    /// What standard error holds.
    #[serde(default)]
    pub(crate) err: Vec<String>,
    /// What standard error does not hold.
    #[serde(default)]
    pub(crate) err_not: Vec<String>,
    /// Ids of the hits in the JSON on standard output, best first.
    pub(crate) hits: Option<Vec<String>>,
}

/// The folder of the cases.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("horrors")
}

/// All cases, by subject and then by name.
pub(crate) fn all() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path)?;
            let mut case: Case = toml::from_str(&text).with_context(|| path.display().to_string())?;
            case.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            ensure!(!case.ask.is_empty() || !case.step.is_empty(), "{}: nothing is run", case.name);
            ensure!(case.ask.is_empty() || case.documents.is_some(), "{}: `ask` without `documents`", case.name);
            cases.push(case);
        }
    }
    ensure!(!cases.is_empty(), "no case in {}", folder().display());
    cases.sort_by(|a, b| (a.subject, &a.name).cmp(&(b.subject, &b.name)));
    Ok(cases)
}
