//! Lines of a text file, one at a time, with their number and a bound on their length.

use std::io::{BufRead, BufReader, Read};

use crate::error::BeirError;

/// The longest line read, in bytes. The longest document of the public BEIR sets is far below 1 MiB.
pub(crate) const MAX_LINE: usize = 64 << 20;

/// The lines of one file.
pub(crate) struct Lines {
    file: String,
    reader: BufReader<Box<dyn Read + Send>>,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(file: String, reader: Box<dyn Read + Send>) -> Self {
        Self { file, reader: BufReader::with_capacity(1 << 16, reader), number: 0, buffer: Vec::new() }
    }

    /// The file's name, for messages.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The next line that is not blank, with its number from 1, without its end.
    pub(crate) fn next_line(&mut self) -> Result<Option<(u64, &str)>, BeirError> {
        loop {
            self.buffer.clear();
            let read = (&mut self.reader)
                .take(MAX_LINE as u64 + 1)
                .read_until(b'\n', &mut self.buffer)
                .map_err(|source| BeirError::io("read", &self.file, source))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read > MAX_LINE {
                let problem = format!("the line is longer than {} MiB", MAX_LINE >> 20);
                return Err(BeirError::line(&self.file, self.number, problem));
            }
            if self.number == 1 && self.buffer.starts_with(b"\xEF\xBB\xBF") {
                // A byte order mark, which Windows editors put first.
                self.buffer.drain(..3);
            }
            while matches!(self.buffer.last(), Some(b'\n' | b'\r')) {
                self.buffer.pop();
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(line) => Ok(Some((self.number, line))),
            Err(fault) => Err(BeirError::line(
                &self.file,
                self.number,
                format!("not UTF-8 text (byte {} of the line)", fault.valid_up_to() + 1),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static [u8]) -> Lines {
        Lines::new("a.tsv".to_owned(), Box::new(text))
    }

    #[test]
    fn blank_lines_count_but_do_not_appear() {
        let mut lines = lines(b"\xEF\xBB\xBFone\r\n\n  \ntwo");
        assert_eq!(lines.next_line().unwrap(), Some((1, "one")));
        assert_eq!(lines.next_line().unwrap(), Some((4, "two")));
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn bytes_that_are_not_text_are_named_by_line() {
        let mut lines = lines(b"fine\nab\xFFcd\n");
        lines.next_line().unwrap();
        let said = lines.next_line().unwrap_err().to_string();
        assert_eq!(said, "a.tsv line 2: not UTF-8 text (byte 3 of the line)");
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut lines = Lines::new("z".to_owned(), Box::new(std::io::repeat(b'x')));
        let said = lines.next_line().unwrap_err().to_string();
        assert!(said.contains("longer than 64 MiB"), "{said}");
    }
}
