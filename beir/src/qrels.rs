//! Judgements: which documents answer which queries, and how well.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use crate::error::BeirError;
use crate::lines::Lines;

/// One row of a judgement file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The row's line, counted from 1.
    pub line: u64,
    /// Query id.
    pub query: String,
    /// Document id.
    pub document: String,
    /// Grade: 0 or less is not relevant, 1 and up is.
    pub grade: i32,
}

/// Judgements by query, then by document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Qrels(pub BTreeMap<String, BTreeMap<String, i32>>);

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

    /// Reads a judgement file: BEIR's (a header line, then `query TAB document TAB grade`) or TREC's (`query 0
    /// document grade`, no header). Which of the two it is follows from the number of columns.
    ///
    /// # Errors
    /// When the file cannot be read, BEIR's header is missing or wrong, a row is malformed, or a pair is judged twice
    /// with different grades.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, BeirError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| BeirError::io("open", &name, source))?;
        collect(Lines::new(name, Box::new(file)), &mut |_| Ok(()))
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
    pub fn judgements(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

#[derive(Clone, Copy)]
enum Form {
    Beir,
    Trec,
}

pub(crate) fn collect(
    mut lines: Lines,
    check: &mut dyn FnMut(&Judgement) -> Result<(), BeirError>,
) -> Result<Qrels, BeirError> {
    let file = lines.file().to_owned();
    let mut qrels = Qrels::default();
    let mut form = None;
    while let Some((number, line)) = lines.next_line()? {
        let form = match form {
            Some(form) => form,
            None => {
                let found = form_of(&file, number, line)?;
                form = Some(found);
                if matches!(found, Form::Beir) {
                    // That was the header.
                    continue;
                }
                found
            }
        };
        let judgement = row(&file, number, line, form)?;
        check(&judgement)?;
        let Judgement { query, document, grade, .. } = judgement;
        let of_query = qrels.0.entry(query).or_default();
        match of_query.get(&document) {
            Some(&before) if before != grade => {
                let problem = format!("document `{document}` was already judged {before} for this query, now {grade}");
                return Err(BeirError::line(&file, number, problem));
            }
            _ => {
                of_query.insert(document, grade);
            }
        }
    }
    Ok(qrels)
}

/// Tells the two forms apart by their first line.
fn form_of(file: &str, number: u64, line: &str) -> Result<Form, BeirError> {
    if line.split_whitespace().count() == 4 && line.split('\t').count() != 3 {
        return Ok(Form::Trec);
    }
    let columns: Vec<&str> = line.split('\t').map(str::trim).collect();
    let problem = match columns.as_slice() {
        [_, _, grade] if grade.parse::<f64>().is_err() => return Ok(Form::Beir),
        [_, _, _] => "this is a judgement, but the first line must be the header `query-id TAB corpus-id TAB score`",
        _ => {
            "bad header: expected `query-id TAB corpus-id TAB score` (BEIR), or rows of four columns, `query 0 document grade` (TREC)"
        }
    };
    Err(BeirError::line(file, number, problem))
}

fn row(file: &str, number: u64, line: &str, form: Form) -> Result<Judgement, BeirError> {
    let (columns, expected): (Vec<&str>, &str) = match form {
        Form::Beir => (line.split('\t').map(str::trim).collect(), "query-id TAB corpus-id TAB score"),
        Form::Trec => (line.split_whitespace().collect(), "query 0 document grade"),
    };
    let (query, document, grade) = match (form, columns.as_slice()) {
        (Form::Beir, [query, document, grade]) | (Form::Trec, [query, _, document, grade]) => (query, document, grade),
        _ => {
            let problem = format!("a row of {} columns; expected `{expected}`", columns.len());
            return Err(BeirError::line(file, number, problem));
        }
    };
    if query.is_empty() || document.is_empty() {
        return Err(BeirError::line(file, number, format!("an id is empty; expected `{expected}`")));
    }
    let Ok(grade) = grade.parse() else {
        return Err(BeirError::line(file, number, format!("grade `{grade}` is not a whole number")));
    };
    Ok(Judgement { line: number, query: (*query).to_owned(), document: (*document).to_owned(), grade })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Qrels, BeirError> {
        collect(Lines::new("qrels.tsv".to_owned(), Box::new(text.as_bytes())), &mut |_| Ok(()))
    }

    #[test]
    fn both_forms_are_read() {
        let expected = Qrels::from_judgements([("1", "d 1", 2), ("2", "d2", 0), ("2", "d3", -1)]);
        let beir = read("query-id\tcorpus-id\tscore\n1\td 1\t2\n2\td2\t0\r\n\n2\td3\t-1").unwrap();
        assert_eq!(beir, expected);
        let trec = read("1 0 d1 2\n2\t0\td2  0\n2 Q0 d3 -1\n").unwrap();
        assert_eq!(trec, Qrels::from_judgements([("1", "d1", 2), ("2", "d2", 0), ("2", "d3", -1)]));
        assert_eq!(trec.judgements(), 3);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn faults_name_the_line() {
        let said = |text| read(text).unwrap_err().to_string();
        assert!(said("1\td1\t1\n").starts_with("qrels.tsv line 1: this is a judgement"));
        assert!(said("hello\n").starts_with("qrels.tsv line 1: bad header"));
        assert!(said("a\tb\tc\n1\td1\n").starts_with("qrels.tsv line 2: a row of 2 columns"));
        assert_eq!(said("a\tb\tc\n1\td1\tyes\n"), "qrels.tsv line 2: grade `yes` is not a whole number");
        assert!(said("a\tb\tc\n1\t\t1\n").starts_with("qrels.tsv line 2: an id is empty"));
        assert!(said("1 0 d 1\n1 0 d\n").starts_with("qrels.tsv line 2: a row of 3 columns"));
        assert_eq!(
            said("a\tb\tc\n1\td\t1\n1\td\t1\n1\td\t2\n"),
            "qrels.tsv line 4: document `d` was already judged 1 for this query, now 2"
        );
    }
}
