//! What a system answered: for each query, documents with scores.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::error::BeirError;
use crate::lines::Lines;
use crate::source;

/// Documents with scores by query. The order within a query does not matter: scores rank the documents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    queries: BTreeMap<String, Vec<(String, f64)>>,
}

impl Run {
    /// A run without queries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the answer to a query: document ids with scores, higher is better.
    pub fn insert(&mut self, query: impl Into<String>, hits: Vec<(String, f64)>) {
        self.queries.insert(query.into(), hits);
    }

    /// The answer to a query.
    pub fn get(&self, query: &str) -> Option<&[(String, f64)]> {
        self.queries.get(query).map(Vec::as_slice)
    }

    /// Queries with their answers, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[(String, f64)])> {
        self.queries.iter().map(|(query, hits)| (query.as_str(), hits.as_slice()))
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether no query was answered.
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// Reads a run file, rows of `query Q0 document rank score tag`. Where tabs lie between the columns, ids may hold spaces.
    /// The rank column is ignored, as trec_eval does. The file may be packed as a collection's files may.
    ///
    /// # Errors
    /// When the file cannot be read, a row is malformed, a score is not a finite number, or a document comes twice for
    /// a query.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, BeirError> {
        let name: Arc<str> = path.as_ref().display().to_string().into();
        Self::from_lines(Lines::new(name, source::read_text(path)?))
    }

    fn from_lines(mut lines: Lines) -> Result<Self, BeirError> {
        let file = Arc::clone(lines.file());
        let mut run = Self::new();
        let mut seen = HashSet::new();
        while let Some((number, line)) = lines.next_line()? {
            let by_tabs: Vec<&str> = line.split('\t').map(str::trim).collect();
            let columns = if by_tabs.len() == 6 { by_tabs } else { line.split_whitespace().collect() };
            let [query, _, document, _, score, _] = columns.as_slice() else {
                let problem =
                    format!("a row of {} columns; expected `query Q0 document rank score tag`", columns.len());
                return Err(BeirError::line(&file, number, problem));
            };
            let score = match score.parse::<f64>() {
                Ok(score) if score.is_finite() => score,
                _ => return Err(BeirError::line(&file, number, format!("score `{score}` is not a finite number"))),
            };
            if !seen.insert(((*query).to_owned(), (*document).to_owned())) {
                let problem = format!("document `{document}` comes a second time for query `{query}`");
                return Err(BeirError::line(&file, number, problem));
            }
            let hits = run.queries.entry((*query).to_owned()).or_default();
            hits.push(((*document).to_owned(), score));
        }
        Ok(run)
    }

    /// Writes a run file that trec_eval reads: rows of `query Q0 document rank score tag`, ranked, ranks from 1, scores
    /// with 9 significant digits. Where two different scores agree in 9 digits, the lower one is written one step
    /// lower, so that every reader sees this run's order; equal scores stay equal. The file appears whole or not at
    /// all, and is on disk then.
    ///
    /// Where an id holds a space, tabs lie between the columns of all rows: [`read`](Self::read) reads them, trec_eval does
    /// not. See [`has_spaces`](Self::has_spaces).
    ///
    /// # Errors
    /// When an id is one of those that [`check_id`](Self::check_id) refuses, a score is not finite, or the file cannot be
    /// written.
    pub fn write(&self, path: impl AsRef<Path>, tag: &str) -> Result<(), BeirError> {
        let path = path.as_ref();
        let mut refused = None;
        let written = durable::write_output(path, |out| {
            self.write_to(out, tag).map_err(|fault| match fault {
                BeirError::Io { cause, .. } => cause,
                fault => {
                    refused = Some(fault);
                    std::io::Error::other("the run cannot be written")
                }
            })
        });
        match refused {
            Some(fault) => Err(fault),
            None => written.map_err(|source| BeirError::io("write", path.display(), source)),
        }
    }

    /// Whether an id holds a space, so that trec_eval cannot read the run.
    pub fn has_spaces(&self) -> bool {
        let space = |id: &str| id.contains(char::is_whitespace);
        self.queries.iter().any(|(query, hits)| space(query) || hits.iter().any(|(document, _)| space(document)))
    }

    /// Whether a run file can express an id.
    ///
    /// # Errors
    /// When it is empty, begins or ends with white space, or holds a control character, such as a tab or the end of a line; the text
    /// follows the id.
    pub fn check_id(id: &str) -> Result<(), String> {
        if id.is_empty() {
            return Err("is empty, which a run file cannot express".to_owned());
        }
        if id.trim() != id || id.contains(['\t', '\n', '\r']) {
            return Err(
                "holds a tab, the end of a line, or white space around it, which a run file cannot express".to_owned()
            );
        }
        // At the beginning of a file they would say that it is something else: an archive, or text of another encoding.
        if id.contains(char::is_control) || id.starts_with('\u{FEFF}') {
            return Err("holds a control character or a byte order mark, which a run file cannot express".to_owned());
        }
        Ok(())
    }

    /// Writes the rows of [`write`](Self::write) to any writer.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_to(&self, writer: &mut dyn Write, tag: &str) -> Result<(), BeirError> {
        let gap = if self.has_spaces() { '\t' } else { ' ' };
        let tag = tag.replace(char::is_whitespace, "-");
        for (query, hits) in &self.queries {
            let refuse = |problem: String| BeirError::Run { query: query.clone(), problem };
            Self::check_id(query).map_err(|problem| refuse(format!("the query's id {problem}")))?;
            let mut before: Option<(f64, f64)> = None;
            for (at, &(document, score)) in rank(hits).iter().enumerate() {
                Self::check_id(document)
                    .map_err(|problem| refuse(format!("document id `{}` {problem}", document.escape_debug())))?;
                if !score.is_finite() {
                    return Err(refuse(format!("the score of document `{document}` is not a finite number")));
                }
                let mut printed = round(score);
                if let Some((true_score, printed_before)) = before {
                    if score == true_score {
                        printed = printed_before;
                    } else if printed >= printed_before {
                        printed = step_below(printed_before);
                    }
                }
                before = Some((score, printed));
                let (rank, score) = (at + 1, digits(printed));
                writeln!(writer, "{query}{gap}Q0{gap}{document}{gap}{rank}{gap}{score}{gap}{tag}")
                    .map_err(|source| BeirError::io("write", "the run", source))?;
            }
        }
        Ok(())
    }
}

/// The nearest number with 9 significant decimal digits.
fn round(value: f64) -> f64 {
    // What the formatter writes is a number by construction.
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// The largest number of 9 significant digits below one of 9 significant digits.
fn step_below(value: f64) -> f64 {
    if value == 0.0 {
        return -1e-300;
    }
    let text = format!("{value:.8e}");
    let exponent: i32 = text.split('e').nth(1).and_then(|e| e.parse().ok()).unwrap_or(0);
    let step = 10f64.powi(exponent - 8);
    let lower = round(value - step);
    // One step below 1.00000000 is finer than the step above it.
    if lower < value { lower } else { round(value - 10.0 * step) }
}

/// 9 significant digits, without an exponent where that is short.
fn digits(value: f64) -> String {
    let text = format!("{value:.8e}");
    match text.split('e').nth(1).and_then(|e| e.parse::<i32>().ok()) {
        Some(exponent @ -5..=8) => format!("{value:.*}", (8 - exponent).unsigned_abs() as usize),
        _ => text,
    }
}

/// The documents of one answer in trec_eval's order: score descending, ties by document id descending (byte by byte).
/// A score that is not a number comes last.
pub fn rank(hits: &[(String, f64)]) -> Vec<(&str, f64)> {
    let mut ranked: Vec<(&str, f64)> = hits.iter().map(|(id, score)| (id.as_str(), *score)).collect();
    let key = |score: f64| if score.is_nan() { f64::NEG_INFINITY } else { score };
    ranked.sort_by(|a, b| {
        key(b.1).partial_cmp(&key(a.1)).unwrap_or(std::cmp::Ordering::Equal).then_with(|| b.0.cmp(a.0))
    });
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Run, BeirError> {
        let bytes = std::io::Cursor::new(text.as_bytes().to_vec());
        Run::from_lines(Lines::new("a.run".into(), Box::new(bytes)))
    }

    fn text(run: &Run) -> String {
        let mut bytes = Vec::new();
        run.write_to(&mut bytes, "tag").unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn rows_are_ranked_with_nine_digits() {
        let mut run = Run::new();
        run.insert("q", vec![("a".into(), 1.0), ("b".into(), 12.345_678_912_3), ("c".into(), 1.0)]);
        assert_eq!(text(&run), "q Q0 b 1 12.3456789 tag\nq Q0 c 2 1.00000000 tag\nq Q0 a 3 1.00000000 tag\n");
        assert_eq!(digits(0.012_345_678_94), "0.0123456789");
        assert_eq!(digits(-123_456_789.4), "-123456789");
        assert_eq!(digits(1.5e-9), "1.50000000e-9");
        assert_eq!(digits(0.0), "0.00000000");
    }

    #[test]
    fn scores_that_agree_in_nine_digits_keep_their_order() {
        let mut run = Run::new();
        // Ties go to the higher id, so `z` would come first if the digits alone were written.
        run.insert("q", vec![("a".into(), 1.000_000_000_002), ("z".into(), 1.000_000_000_001)]);
        let back = read(&text(&run)).unwrap();
        let order: Vec<&str> = rank(back.get("q").unwrap()).iter().map(|(id, _)| *id).collect();
        assert_eq!(order, ["a", "z"]);
    }

    #[test]
    fn ids_that_would_change_what_the_file_is_are_refused() {
        for id in ["PK\u{3}\u{4}", "a\u{0}b", "\u{FEFF}q1", "\u{1F}\u{8B}"] {
            let said = Run::check_id(id).unwrap_err();
            assert!(said.contains("control character"), "{said}");
        }
    }

    #[test]
    fn ids_with_spaces_are_read_back() {
        let mut run = Run::new();
        run.insert("a query", vec![("doc one.pdf".to_owned(), 2.0), ("d2".to_owned(), 1.0)]);
        run.insert("q", vec![("d2".to_owned(), 0.5)]);
        assert!(run.has_spaces());
        assert!(text(&run).starts_with("a query\tQ0\tdoc one.pdf\t1\t2.00000000\ttag\n"), "{}", text(&run));
        assert_eq!(read(&text(&run)).unwrap(), run);
    }

    #[test]
    fn what_a_run_file_cannot_express_is_refused() {
        for (query, document, score) in [
            ("a\tb", "d", 1.0),
            ("q", "d\ne", 1.0),
            ("q", " d", 1.0),
            ("q", "d", f64::NAN),
            ("", "d", 1.0),
            ("q", "", 1.0),
        ] {
            let mut run = Run::new();
            run.insert(query, vec![(document.to_owned(), score)]);
            assert!(run.write_to(&mut Vec::new(), "t").is_err(), "{query} {document} {score}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.run");
        let mut run = Run::new();
        run.insert("q", vec![("d".to_owned(), f64::INFINITY)]);
        assert!(run.write(&path, "t").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half made is left");
    }

    #[test]
    fn faults_name_the_line() {
        let said = |text| read(text).unwrap_err().to_string();
        assert!(said("q Q0 d 1 2.0 t\nq Q0 d\n").starts_with("a.run line 2: a row of 3 columns"));
        assert_eq!(said("q Q0 d 1 high t\n"), "a.run line 1: score `high` is not a finite number");
        assert_eq!(said("q Q0 d 1 NaN t\n"), "a.run line 1: score `NaN` is not a finite number");
        assert_eq!(
            said("q Q0 d 1 2 t\nq Q0 d 2 1 t\n"),
            "a.run line 2: document `d` comes a second time for query `q`"
        );
    }

    proptest! {
        #[test]
        fn a_run_read_back_ranks_as_it_was(scores in prop::collection::vec(
            prop_oneof![
                any::<f32>().prop_filter("finite", |s| s.is_finite()).prop_map(f64::from),
                // Crowded values, where nine digits do not tell neighbours apart.
                (0u32..40).prop_map(|n| 1.0 + f64::from(n) * 3e-10),
                (-20i32..20).prop_map(|n| f64::from(n) * 1e-12),
            ],
            1..60,
        )) {
            let hits: Vec<(String, f64)> =
                scores.iter().enumerate().map(|(at, score)| (format!("d{at}"), *score)).collect();
            let mut run = Run::new();
            run.insert("q", hits.clone());
            let back = read(&text(&run)).unwrap();
            let order = |hits: &[(String, f64)]| rank(hits).iter().map(|(id, _)| (*id).to_owned()).collect::<Vec<_>>();
            prop_assert_eq!(order(back.get("q").unwrap()), order(&hits));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = read(&text);
        }
    }
}
