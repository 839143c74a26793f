//! Records of a file: one a line, or the elements of one JSON array, in bounded memory.

use std::io::{BufRead, Read};
use std::sync::Arc;

use crate::error::BeirError;
use crate::lines::{Lines, MAX_LINE};

/// Follows a JSON array byte by byte and says where its elements begin and end. It does not check the elements.
#[derive(Default)]
struct Scan {
    expected: Expectation,
    /// Brackets that are open within the element.
    depth: usize,
    in_string: bool,
    escaped: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Expectation {
    /// The `[` of the array.
    #[default]
    Opening,
    /// An element, or the end of an array without any.
    First,
    /// An element, after a comma.
    Element,
    /// The rest of a string, an array or an object.
    Inside,
    /// The rest of a number or a word.
    Word,
    /// A comma or the end.
    Comma,
    /// White space.
    Nothing,
}

enum Step {
    /// The byte lies between elements.
    Between,
    /// The byte belongs to an element.
    Inside,
    /// The byte is the last one of an element.
    Last,
    /// The element ended before this byte, which is to be fed again.
    Ended,
}

impl Scan {
    fn feed(&mut self, byte: u8) -> Result<Step, String> {
        use Expectation::{Comma, Element, First, Inside, Nothing, Opening, Word};
        match (self.expected, byte) {
            (Inside, _) => return Ok(self.inside(byte)),
            (Word, b',' | b']' | b' ' | b'\t' | b'\n' | b'\r') => {
                self.expected = Comma;
                return Ok(Step::Ended);
            }
            (Word, _) => return Ok(Step::Inside),
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (Opening, b'[') => self.expected = First,
            (First | Comma, b']') => self.expected = Nothing,
            (Comma, b',') => self.expected = Element,
            (Element, b']') => return Err("a comma stands before the end of the JSON array".to_owned()),
            (First | Element, b',') => return Err("a comma with no element before it in the JSON array".to_owned()),
            (First | Element, b'{' | b'[' | b'"') => {
                self.expected = Inside;
                return Ok(self.inside(byte));
            }
            (First | Element, _) => {
                self.expected = Word;
                return Ok(Step::Inside);
            }
            (Comma, _) => return Err("two elements of the JSON array have no comma between them".to_owned()),
            (Opening | Nothing, _) => return Err("more text follows the end of the JSON array".to_owned()),
        }
        Ok(Step::Between)
    }

    fn inside(&mut self, byte: u8) -> Step {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        if self.depth == 0 && !self.in_string {
            self.expected = Expectation::Comma;
            return Step::Last;
        }
        Step::Inside
    }

    fn is_whole(&self) -> bool {
        self.expected == Expectation::Nothing
    }
}

/// The elements of a JSON array, each as its part of the text. The elements themselves are not checked.
///
/// # Errors
/// [`BeirError::Json`] where the text is not an array.
pub fn elements(text: &str) -> Result<Vec<&str>, BeirError> {
    let wrong = |problem: String| BeirError::Json { problem: format!("not valid JSON: {problem}") };
    let (mut scan, mut found, mut from, mut at) = (Scan::default(), Vec::new(), None, 0);
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        match scan.feed(byte).map_err(wrong)? {
            Step::Between => at += 1,
            Step::Inside => {
                from.get_or_insert(at);
                at += 1;
            }
            Step::Last => {
                at += 1;
                found.extend(text.get(from.take().unwrap_or(at - 1)..at));
            }
            Step::Ended => found.extend(text.get(from.take().unwrap_or(at)..at)),
        }
    }
    if scan.is_whole() { Ok(found) } else { Err(wrong("the array does not end".to_owned())) }
}

/// The records of one file as text.
pub(crate) struct Entries {
    lines: Lines,
    form: Form,
    element: Vec<u8>,
}

enum Form {
    Unknown,
    Lines,
    Array(Scan),
    Ended,
}

impl Entries {
    pub(crate) fn new(file: Arc<str>, reader: Box<dyn Read + Send>) -> Self {
        Self { lines: Lines::new(file, reader), form: Form::Unknown, element: Vec::new() }
    }

    pub(crate) fn file(&self) -> &Arc<str> {
        self.lines.file()
    }

    /// The next record with the line on which it begins.
    ///
    /// An error about one line leaves the next ones readable; after any other there is nothing more.
    pub(crate) fn next_entry(&mut self) -> Result<Option<(u64, &str)>, BeirError> {
        if matches!(self.form, Form::Unknown) {
            self.form = if self.lines.first_byte()? == Some(b'[') { Form::Array(Scan::default()) } else { Form::Lines };
        }
        match &mut self.form {
            Form::Lines | Form::Unknown => self.lines.next_line(),
            Form::Ended => Ok(None),
            Form::Array(scan) => match read_element(&mut self.lines, scan, &mut self.element) {
                Ok(Some(line)) => match std::str::from_utf8(&self.element) {
                    Ok(text) => Ok(Some((line, text))),
                    Err(_) => Err(BeirError::line(self.lines.file(), line, "the element is not UTF-8 text")),
                },
                other => {
                    if !matches!(&other, Err(fault) if fault.wrong_line().is_some()) {
                        self.form = Form::Ended;
                    }
                    other.map(|_| None)
                }
            },
        }
    }
}

/// Reads one element and says on which line it begins.
fn read_element(lines: &mut Lines, scan: &mut Scan, element: &mut Vec<u8>) -> Result<Option<u64>, BeirError> {
    element.clear();
    let (mut began, mut too_long) = (None, false);
    loop {
        let file = Arc::clone(lines.file());
        let (reader, number) = lines.parts();
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(fault) => {
                let line = *number;
                return Err(lines.unreadable_at(line, fault));
            }
        };
        if buffer.is_empty() {
            if scan.is_whole() {
                return Ok(None);
            }
            let place = crate::Place { file, line: (*number).max(1) };
            return Err(BeirError::Unreadable { place, problem: "the JSON array breaks off here".to_owned() });
        }
        let (mut used, mut ended) = (0, false);
        for &byte in buffer {
            let step = scan.feed(byte).map_err(|problem| BeirError::Unreadable {
                place: crate::Place { file: Arc::clone(&file), line: (*number).max(1) },
                problem,
            })?;
            if matches!(step, Step::Ended) {
                ended = true;
                break;
            }
            used += 1;
            if matches!(step, Step::Inside | Step::Last) {
                began.get_or_insert((*number).max(1));
                if element.len() < MAX_LINE {
                    element.push(byte);
                } else {
                    too_long = true;
                }
            }
            if byte == b'\n' {
                *number += 1;
            }
            if matches!(step, Step::Last) {
                ended = true;
                break;
            }
        }
        reader.consume(used);
        if ended {
            let line = began.unwrap_or(1);
            if too_long {
                return Err(BeirError::line(&file, line, format!("the element is longer than {} MiB", MAX_LINE >> 20)));
            }
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<(u64, String)>, String> {
        let bytes = std::io::Cursor::new(text.as_bytes().to_vec());
        let mut entries = Entries::new("a.json".into(), Box::new(bytes));
        let mut found = Vec::new();
        while let Some((line, text)) = entries.next_entry().map_err(|fault| fault.to_string())? {
            found.push((line, text.to_owned()));
        }
        Ok(found)
    }

    #[test]
    fn an_array_gives_its_elements_with_their_lines() {
        let text = "\n [{\"a\": \"]},[\\\"\"},\n\n  {\"b\":\n [1, {}]} , 5,null\n,\"x\"]\n\n";
        let expected = [(2, "{\"a\": \"]},[\\\"\"}"), (4, "{\"b\":\n [1, {}]}"), (5, "5"), (5, "null"), (6, "\"x\"")];
        assert_eq!(read(text).unwrap(), expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(elements(text.trim_start()).unwrap(), expected.map(|(_, text)| text));
        assert!(read("[ ]").unwrap().is_empty());
        assert!(read("").unwrap().is_empty());
        assert_eq!(read("\n\n{\"a\": 1}\nx\n").unwrap(), [(3, "{\"a\": 1}".to_owned()), (4, "x".to_owned())]);
    }

    #[test]
    fn an_array_that_is_wrong_says_where() {
        for (text, said) in [
            ("[{},\n{}", "a.json line 2: the JSON array breaks off here"),
            ("[{}\n", "a.json line 2: the JSON array breaks off here"),
            ("[{},\n{\"a\": \"", "a.json line 2: the JSON array breaks off here"),
            ("[{},\n]", "a.json line 2: a comma stands before the end of the JSON array"),
            ("[\n{} {}]", "a.json line 2: two elements of the JSON array have no comma between them"),
            ("[{}]\n{}", "a.json line 2: more text follows the end of the JSON array"),
            ("[,{}]", "a.json line 1: a comma with no element before it in the JSON array"),
        ] {
            assert_eq!(read(text).unwrap_err(), said, "{text}");
            assert!(elements(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn elements_are_those_that_a_parser_finds(texts in prop::collection::vec("[\\PC\\n\"\\\\]{0,12}", 0..6), pretty: bool) {
            let values: Vec<serde_json::Value> =
                texts.iter().map(|text| serde_json::json!({text.as_str(): [text, {}], "n": -1.5})).collect();
            let whole = if pretty { serde_json::to_string_pretty(&values) } else { serde_json::to_string(&values) }.unwrap();
            let found: Vec<serde_json::Value> =
                elements(&whole).unwrap().into_iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(&found, &values);
            let streamed: Vec<serde_json::Value> =
                read(&whole).unwrap().iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(&streamed, &values);
        }
    }
}
