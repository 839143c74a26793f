//! Judgements: which documents answer which queries, and how well.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::error::{BeirError, Place};
use crate::layout::Entry;
use crate::lines::Lines;
use crate::options::OnWrongLine;
use crate::record;
use crate::source;
use crate::wrong::WrongLines;

/// One row of a judgement file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The row's file and line.
    pub place: Place,
    /// Query id.
    pub query: String,
    /// Document id.
    pub document: String,
    /// Grade: 0 or less is not relevant, 1 and up is.
    pub grade: i32,
}

/// Judgements by query, then by document.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Qrels(BTreeMap<String, BTreeMap<String, i32>>);

impl Qrels {
    /// Judgements given as (query, document, grade). A later one for the same pair replaces an earlier one.
    pub fn from_judgements<Q, D>(judgements: impl IntoIterator<Item = (Q, D, i32)>) -> Self
    where
        Q: Into<String>,
        D: Into<String>,
    {
        let mut qrels = Self::default();
        for (query, document, grade) in judgements {
            qrels.0.entry(query.into()).or_default().insert(document.into(), grade);
        }
        qrels
    }

    /// Reads a judgement file: BEIR's (`query TAB document TAB grade`) or TREC's (`query 0 document grade`), with or without
    /// a header, with tabs or spaces between the columns, or JSON lines with the fields `query-id`, `corpus-id` and `score`.
    /// It may be packed as a collection's files may.
    ///
    /// # Errors
    /// When the file cannot be read, a row is malformed, or a pair is judged twice with different grades.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, BeirError> {
        let name: Arc<str> = path.as_ref().display().to_string().into();
        let reader = source::read_text(path)?;
        collect(Judgements::of(name, reader))
    }

    /// Judgements of one query.
    pub fn get(&self, query: &str) -> Option<&BTreeMap<String, i32>> {
        self.0.get(query)
    }

    /// Queries with their judgements, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &BTreeMap<String, i32>)> {
        self.0.iter()
    }

    /// Number of queries with at least one judgement.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is judged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of judgements.
    pub fn num_judgements(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

/// The rows of one or more judgement files, streamed. See [`Collection::judgements`](crate::Collection::judgements).
pub struct Judgements {
    remaining: std::vec::IntoIter<Entry>,
    current: Option<Table>,
    on_wrong_line: OnWrongLine,
    wrong: WrongLines,
}

impl Judgements {
    pub(crate) fn open(entries: Vec<Entry>, on_wrong_line: OnWrongLine) -> Result<Self, BeirError> {
        let wrong = WrongLines::default();
        let mut rows = Self { remaining: entries.into_iter(), current: None, on_wrong_line, wrong };
        rows.open_next()?;
        Ok(rows)
    }

    fn of(file: Arc<str>, reader: Box<dyn Read + Send>) -> Self {
        Self {
            remaining: Vec::new().into_iter(),
            current: Some(Table::new(file, reader)),
            on_wrong_line: OnWrongLine::Stop,
            wrong: WrongLines::default(),
        }
    }

    /// The rows left out so far by [`OnWrongLine::Skip`].
    pub fn wrong_lines(&self) -> &WrongLines {
        &self.wrong
    }

    fn open_next(&mut self) -> Result<(), BeirError> {
        self.current = match self.remaining.next() {
            Some(entry) => Some(Table::new(Arc::clone(&entry.shown), entry.open()?)),
            None => None,
        };
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Judgement>, BeirError> {
        while let Some(table) = &mut self.current {
            match table.next_row()? {
                Some(judgement) => return Ok(Some(judgement)),
                None => self.open_next()?,
            }
        }
        Ok(None)
    }

    /// Leaves a row out, where that is what is to be done.
    fn leave_out(&mut self, fault: BeirError) -> Result<(), BeirError> {
        match self.on_wrong_line {
            OnWrongLine::Skip => self.wrong.take(fault),
            OnWrongLine::Stop => Err(fault),
        }
    }
}

impl Iterator for Judgements {
    type Item = Result<Judgement, BeirError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let fault = match self.read() {
                Ok(Some(judgement)) => return Some(Ok(judgement)),
                Ok(None) => return None,
                Err(fault) => fault,
            };
            if let Err(fault) = self.leave_out(fault) {
                self.current = None;
                self.remaining = Vec::new().into_iter();
                return Some(Err(fault));
            }
        }
    }
}

pub(crate) fn collect(mut judgements: Judgements) -> Result<Qrels, BeirError> {
    let mut qrels = Qrels::default();
    while let Some(judgement) = judgements.next() {
        let Judgement { place, query, document, grade } = judgement?;
        let of_query = qrels.0.entry(query).or_default();
        match of_query.get(&document) {
            Some(&before) if before != grade => {
                let problem = format!("document `{document}` was already judged {before} for this query, now {grade}");
                judgements.leave_out(BeirError::Line { place, problem })?;
            }
            _ => {
                of_query.insert(document, grade);
            }
        }
    }
    Ok(qrels)
}

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Three columns; whether the document comes first.
    Beir { document_first: bool },
    /// Four columns.
    Trec,
    /// JSON objects.
    Json,
}

/// One judgement file.
struct Table {
    lines: Lines,
    form: Option<Form>,
}

impl Table {
    fn new(file: Arc<str>, reader: Box<dyn Read + Send>) -> Self {
        Self { lines: Lines::new(file, reader), form: None }
    }

    fn next_row(&mut self) -> Result<Option<Judgement>, BeirError> {
        let file = Arc::clone(self.lines.file());
        loop {
            let Some((number, line)) = self.lines.next_line()? else { return Ok(None) };
            let (form, is_header) = match self.form {
                Some(form) => (form, false),
                None => form_of(line).map_err(|problem| BeirError::line(&file, number, problem))?,
            };
            self.form = Some(form);
            if is_header {
                continue;
            }
            let (query, document, grade) = match form {
                Form::Json => record::judgement(line).map_err(|fault| fault.problem),
                _ => row(line, form),
            }
            .map_err(|problem| BeirError::line(&file, number, problem))?;
            return Ok(Some(Judgement { place: Place { file, line: number }, query, document, grade }));
        }
    }
}

const BEIR_ROW: &str = "query-id TAB corpus-id TAB score";
const TREC_ROW: &str = "query 0 document grade";

/// The columns of a row, if there are so many: tabs lie between them, so that ids may hold spaces, or else white space.
fn columns(line: &str, count: usize) -> Option<Vec<&str>> {
    let by_tabs: Vec<&str> = line.trim_end().split('\t').map(str::trim).collect();
    if by_tabs.len() == count {
        return Some(by_tabs);
    }
    let by_spaces: Vec<&str> = line.split_whitespace().collect();
    (by_spaces.len() == count).then_some(by_spaces)
}

/// Tells how a file is written by its first line, and whether that is a header.
fn form_of(line: &str) -> Result<(Form, bool), String> {
    if line.trim_start().starts_with('{') {
        return Ok((Form::Json, false));
    }
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    let by_tabs = line.trim_end().split('\t').count();
    if let Some(three) = columns(line, 3).filter(|_| by_tabs != 4) {
        let (first, second) = (three[0].to_ascii_lowercase(), three[1].to_ascii_lowercase());
        // A first row whose grade is a word is no header, and must not pass for one: ids have digits, names of columns seldom.
        let last = three[2].to_ascii_lowercase();
        let known = first.contains("query")
            || first.contains("corpus")
            || ["qid", "topic"].contains(&first.as_str())
            || ["score", "grade", "label", "rel", "relevance"].contains(&last.as_str());
        let has_digits = three.iter().any(|column| column.contains(|character: char| character.is_ascii_digit()));
        let is_header = !is_number(three[2]) && (known || !has_digits);
        let names_document =
            |name: &str| name.starts_with("corpus") || name.starts_with("doc") || name.starts_with("passage");
        let document_first = is_header && names_document(&first) && (second.starts_with("query") || second == "qid");
        return Ok((Form::Beir { document_first }, is_header));
    }
    if let Some(four) = columns(line, 4) {
        let (first, last) = (four[0].to_ascii_lowercase(), four[3].to_ascii_lowercase());
        let is_header = matches!(first.as_str(), "qid" | "query" | "query-id" | "query_id" | "topic" | "topic_id")
            && !is_number(&last)
            && last.parse::<i32>().is_err();
        return Ok((Form::Trec, is_header));
    }
    let commas = if line.split(',').count() > 2 { "; its columns have commas between: write tabs" } else { "" };
    Err(format!(
        "not a row of judgements{commas}: expected `{BEIR_ROW}` (BEIR) or `{TREC_ROW}` (TREC), with or without a header"
    ))
}

fn row(line: &str, form: Form) -> Result<(String, String, i32), String> {
    let (count, expected) = if form == Form::Trec { (4, TREC_ROW) } else { (3, BEIR_ROW) };
    let Some(columns) = columns(line, count) else {
        let found = line.trim_end().split('\t').count();
        let found = if found > 1 { found } else { line.split_whitespace().count() };
        return Err(format!("a row of {found} columns; expected `{expected}`"));
    };
    let (query, document) = match form {
        Form::Trec => (columns[0], columns[2]),
        Form::Beir { document_first: true } => (columns[1], columns[0]),
        _ => (columns[0], columns[1]),
    };
    if query.is_empty() || document.is_empty() {
        return Err(format!("an id is empty; expected `{expected}`"));
    }
    Ok((query.to_owned(), document.to_owned(), record::grade(columns[count - 1])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Qrels, BeirError> {
        collect(Judgements::of("qrels.tsv".into(), Box::new(text.as_bytes())))
    }

    #[test]
    fn all_forms_are_read() {
        let expected = Qrels::from_judgements([("1", "d 1", 2), ("2", "d2", 0), ("2", "d3", -1)]);
        for text in [
            "query-id\tcorpus-id\tscore\n1\td 1\t2\n2\td2\t0\r\n\n2\td3\t-1",
            "1\td 1\t2\n2\td2\t0\n2\td3\t-1",
            "\u{FEFF}query-id\tcorpus-id\tscore\r\n1\td 1\t2.0\r\n2\td2\t0.0\r\n2\td3\t-1.0\r\n",
            "corpus-id\tquery-id\tscore\nd 1\t1\t2\nd2\t2\t0\nd3\t2\t-1\n",
            "1\t0\td 1\t2\n2\t0\td2\t0\n2\tQ0\td3\t-1\n",
            "query_id\titer\tdoc_id\trel\n1\t0\td 1\t2\n2\t0\td2\t0\n2\tQ0\td3\t-1\n",
            "{\"query-id\": 1, \"corpus-id\": \"d 1\", \"score\": 2.0}\n{\"query-id\": \"2\", \"corpus-id\": \"d2\", \"score\": 0}\n{\"query-id\": \"2\", \"corpus-id\": \"d3\", \"score\": -1}",
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        let expected = Qrels::from_judgements([("1", "d1", 2), ("2", "d2", 0), ("2", "d3", -1)]);
        for text in [
            "1 0 d1 2\n2\t0\td2  0\n2 Q0 d3 -1\n",
            "qid 0 docid rel\n1 0 d1 2\n2 0 d2 0\n2 Q0 d3 -1\n",
            "1 d1 2\n2   d2 0\n2 d3 -1\n",
            "query-id corpus-id score\n1 d1 2\n2 d2 0\n2 d3 -1\n",
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        assert_eq!(expected.num_judgements(), 3);
        assert!(read("").unwrap().is_empty());
        assert!(read("query-id\tcorpus-id\tscore\n").unwrap().is_empty());
    }

    #[test]
    fn faults_name_the_line() {
        let said = |text| read(text).unwrap_err().to_string();
        assert!(said("hello\n").starts_with("qrels.tsv line 1: not a row of judgements"));
        assert!(said("q1,d1,1\n").starts_with("qrels.tsv line 1: not a row of judgements; its columns have commas"));
        assert!(said("a\tb\tc\n1\td1\n").starts_with("qrels.tsv line 2: a row of 2 columns"));
        assert_eq!(said("a\tb\tc\n1\td1\tyes\n"), "qrels.tsv line 2: grade `yes` is not a whole number");
        assert_eq!(said("q1\td1\tyes\n"), "qrels.tsv line 1: grade `yes` is not a whole number");
        assert_eq!(
            said("1\td1\t99999999999\n"),
            "qrels.tsv line 1: grade `99999999999` is not between -2147483647 and 2147483647"
        );
        assert_eq!(said("1\td1\t0.5\n"), "qrels.tsv line 1: grade `0.5` is not a whole number");
        assert_eq!(said("1 0 d1 yes\n"), "qrels.tsv line 1: grade `yes` is not a whole number");
        for grade in ["NaN", "inf", "1e300", "2147483648", "0x1"] {
            assert!(row(&format!("q\td\t{grade}"), Form::Beir { document_first: false }).is_err(), "{grade}");
        }
        assert!(said("a\tb\tc\n1\t\t1\n").starts_with("qrels.tsv line 2: an id is empty"));
        assert!(said("1 0 d 1\n1 0 d\n").starts_with("qrels.tsv line 2: a row of 3 columns"));
        assert_eq!(
            said("a\tb\tc\n1\td\t1\n1\td\t1\n1\td\t2\n"),
            "qrels.tsv line 4: document `d` was already judged 1 for this query, now 2"
        );
        assert_eq!(
            said("{\"query-id\": \"q\", \"corpus-id\": \"d\", \"score\": 0.5}"),
            "qrels.tsv line 1: grade `0.5` is not a whole number"
        );
        assert_eq!(
            said("{\"query-id\": \"q\", \"score\": 1}"),
            "qrels.tsv line 1: the record has no `corpus-id`; it has score"
        );
    }
}
