//! How people's files are read: under which names the parts of a document stand, and what becomes of a wrong line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use beir_eval::{Collection, Keep, OnWrongLine, ReadOptions, Summary, WrongLines};
use clap::Args;

use crate::error::WrongCall;
use crate::screen::{one_line, tell};

/// The names of the fields of a line.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReadArgs {
    /// Field of a line that is the document's id, such as sku: text or a whole number, at most 512 characters [default: _id, or id
    /// where a line has no _id].
    #[arg(long, value_name = "NAME")]
    id_field: Option<String>,
    /// Field of a line that is the document's title [default: title].
    #[arg(long, value_name = "NAME")]
    title_field: Option<String>,
    /// Field of a line that is the document's text, such as description or abstract [default: text].
    #[arg(long, value_name = "NAME")]
    text_field: Option<String>,
    /// Other fields of a line to keep as metadata, for filters and hits: their names, or `all`. `metadata` itself is always kept
    /// [default: no others].
    #[arg(long, value_name = "NAME,...|all")]
    keep: Option<Keep>,
    /// What a line that cannot be used does, or one with an id that came before: `stop`, and nothing is written; or `skip`, and it is
    /// left out, counted and named at the end, and the exit code is 0.
    #[arg(long, value_name = "POLICY", default_value_t = OnWrongLine::Stop, value_parser = crate::values::on_wrong_line())]
    on_wrong_line: OnWrongLine,
    /// Write the lines that were skipped to this file, one a line: FILE line N: PROBLEM.
    #[arg(long, value_name = "FILE")]
    wrong_lines: Option<PathBuf>,
}

impl ReadArgs {
    /// Opens what was named. Standard input is read to its end.
    pub(crate) fn open(&self, paths: &[PathBuf]) -> Result<Collection> {
        if self.wrong_lines.is_some() && !self.skips() {
            bail!(WrongCall(
                "--wrong-lines lists what --on-wrong-line skip leaves out; give both or neither".to_owned()
            ));
        }
        if let Some(path) = &self.wrong_lines {
            crate::screen::has_folder(path)?;
        }
        let (id, title, text) = (self.id_field.as_deref(), self.title_field.as_deref(), self.text_field.as_deref());
        let mut options = ReadOptions::new().on_wrong_line(self.on_wrong_line).fields(id, title, text);
        if let Some(keep) = &self.keep {
            options = options.keep(keep.clone());
        }
        Ok(Collection::open_with(paths, &options)?)
    }

    pub(crate) fn skips(&self) -> bool {
        self.on_wrong_line == OnWrongLine::Skip
    }

    /// The names of what was read, for messages.
    pub(crate) fn described(&self, paths: &[PathBuf]) -> String {
        let named = |path: &PathBuf| {
            if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
        };
        paths.iter().map(named).collect::<Vec<_>>().join(", ")
    }

    /// Says what of the documents is not what it might seem; `keeps` where metadata is kept.
    pub(crate) fn tell(&self, command: &str, summary: &Summary, keeps: bool) {
        if keeps && !summary.unread.is_empty() {
            let counted: Vec<String> =
                summary.unread.iter().map(|(name, documents)| format!("{} ({documents})", one_line(name))).collect();
            tell(&format!(
                "{command}: not kept, with how many documents have it: {}; what searches are to find or filter by is kept by --keep NAME,..., \
                 or belongs in `metadata`",
                counted.join(", ")
            ));
        }
        let absent: Vec<String> = summary
            .kept
            .iter()
            .filter(|(_, documents)| **documents == 0)
            .map(|(name, _)| format!("`{}`", one_line(name)))
            .collect();
        if keeps && !absent.is_empty() {
            tell(&format!("warning: --keep {}: no document has such a field", absent.join(", ")));
        }
        if summary.non_finite > 0 {
            let have = counted(summary.non_finite, "document holds", "documents hold");
            tell(&format!("warning: {have} NaN or Infinity, which is read as null"));
        }
        if summary.without_text > 0 {
            let have = counted(summary.without_text, "document has", "documents have");
            let found =
                if keeps { "no vector and no words, so that only filters find them" } else { "a vector of no text" };
            tell(&format!("warning: {have} neither title nor text: {found}"));
        }
    }

    /// Counts the lines that were left out, and writes them down if that was asked for.
    pub(crate) fn report(&self, wrong: &WrongLines) -> Result<()> {
        if let Some(path) = &self.wrong_lines {
            wrong.write(path)?;
        }
        let Some(first) = wrong.listed().first() else { return Ok(()) };
        let more = match &self.wrong_lines {
            Some(path) => format!("all are in {}", path.display()),
            None => "--wrong-lines FILE lists them".to_owned(),
        };
        let left_out = counted(wrong.len(), "line was", "lines were");
        tell(&format!("warning: {left_out} left out ({more}); the first is {}", one_line(&first.to_string())));
        Ok(())
    }

    /// Reads all once, before any work: finds every wrong line and how many documents there are.
    pub(crate) fn check(&self, command: &str, collection: &Collection) -> Result<Summary> {
        let summary = collection.check().with_context(|| format!("nothing was written by adam {command}"))?;
        self.tell(command, &summary, false);
        self.report(&summary.wrong)?;
        Ok(summary)
    }
}

/// A number with the right form of what it counts.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
