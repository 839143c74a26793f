//! `docs/input.md` is made from the cases: what is accepted, what is refused.

use std::fmt::Write;
use std::path::PathBuf;

use adam_tests::workspace;
use anyhow::{Context, Result, ensure};

use super::case::{self, Case};

/// Around the tables of the page; what stands outside is written by hand.
const MARKS: (&str, &str) = ("<!-- cases: begin -->\n", "<!-- cases: end -->\n");

fn page() -> PathBuf {
    workspace().join("docs/input.md")
}

fn tables(cases: &[Case]) -> Result<String> {
    let mut text = String::new();
    for chapter in cases.chunk_by(|a, b| a.subject == b.subject) {
        writeln!(text, "\n### {}\n\n| input | | what becomes of it |\n|---|---|---|", chapter[0].subject.heading())?;
        for case in chapter {
            let cell = |words: &str| words.trim().replace('|', "\\|").replace('\n', " ");
            let verdict = case.verdict.name();
            writeln!(text, "| {} | {verdict} | {} |", cell(&case.input), cell(&case.outcome))?;
        }
    }
    text.push('\n');
    Ok(text)
}

/// The page shows what the tests hold. `ADAM_BLESS=1` writes it anew.
#[test]
fn the_page_is_made_from_the_cases() -> Result<()> {
    let now = std::fs::read_to_string(page()).with_context(|| page().display().to_string())?;
    let (head, rest) = now.split_once(MARKS.0).context("the page has no mark where its tables begin")?;
    let (_, tail) = rest.split_once(MARKS.1).context("the page has no mark where its tables end")?;
    let wanted = format!("{head}{}{}{}{tail}", MARKS.0, tables(&case::all()?)?, MARKS.1);
    if std::env::var_os("ADAM_BLESS").is_some() {
        std::fs::write(page(), &wanted)?;
    } else {
        ensure!(now == wanted, "docs/input.md is not what the cases say; run this test with ADAM_BLESS=1 to write it");
    }
    Ok(())
}
