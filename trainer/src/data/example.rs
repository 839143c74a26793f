//! A training row as it was understood, to be looked at before hours are spent on it.

use super::rows::shorten;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// A passage of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExamplePassage {
    /// Title and text.
    pub text: String,
    /// What the data says of it, such as `label 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grade: Option<String>,
    /// The teacher's score that came with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// Its file.
    pub file: PathBuf,
    /// Its line.
    pub line: u64,
    /// The query.
    pub query: String,
    /// What is relevant to it.
    pub positives: Vec<ExamplePassage>,
    /// What is not.
    pub negatives: Vec<ExamplePassage>,
}

/// Passages of a side that are shown; the rest is counted.
const SHOWN: usize = 3;

impl fmt::Display for ExamplePassage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line whatever the text holds.
        write!(f, "{:?}", shorten(&self.text))?;
        let score = self.score.map(|score| format!("score {score}"));
        let said: Vec<&str> = self.grade.iter().chain(&score).map(String::as_str).collect();
        if said.is_empty() { Ok(()) } else { write!(f, " ({})", said.join(", ")) }
    }
}

impl Example {
    /// Its lines for a terminal: the query, then a passage a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("query    {:?}", shorten(&self.query))];
        for (name, side) in [("positive", &self.positives), ("negative", &self.negatives)] {
            lines.extend(side.iter().take(SHOWN).map(|passage| format!("{name} {passage}")));
            if side.len() > SHOWN {
                lines.push(format!("         and {} more", side.len() - SHOWN));
            }
        }
        lines
    }
}
