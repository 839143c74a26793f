//! Lines of a text file, one at a time, with their number and a bound on their length.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use crate::error::{BeirError, Place};
use crate::source::Damage;

/// The longest line read, in bytes. The longest document of the public BEIR sets is far below 1 MiB.
pub(crate) const MAX_LINE: usize = 64 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The lines of one file.
pub(crate) struct Lines {
    file: Arc<str>,
    reader: BufReader<Box<dyn Read + Send>>,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(file: Arc<str>, reader: Box<dyn Read + Send>) -> Self {
        Self { file, reader: BufReader::with_capacity(1 << 16, reader), number: 0, buffer: Vec::new() }
    }

    /// The file's name, for messages.
    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The reader at its present position and the number of the line that it stands on, for callers who read otherwise than
    /// by lines.
    pub(crate) fn parts(&mut self) -> (&mut BufReader<Box<dyn Read + Send>>, &mut u64) {
        (&mut self.reader, &mut self.number)
    }

    /// The first byte that is not white space; what stands before it is passed over. To be called before anything is read. If
    /// the byte is `[`, the number of its line has been counted already.
    pub(crate) fn first_byte(&mut self) -> Result<Option<u8>, BeirError> {
        let mut at_start = true;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(fault) => return Err(self.unreadable(fault)),
            };
            let mark = if at_start && buffer.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            at_start = false;
            if buffer.is_empty() {
                return Ok(None);
            }
            let rest = &buffer[mark..];
            let blank = rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len());
            let found = rest.get(blank).copied();
            self.number += rest[..blank].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.reader.consume(mark + blank);
            if found.is_some() {
                if found == Some(b'[') {
                    self.number += 1;
                }
                return Ok(found);
            }
        }
    }

    /// The next line that is not blank, with its number from 1, without its end.
    ///
    /// An error about one line leaves the next ones readable.
    pub(crate) fn next_line(&mut self) -> Result<Option<(u64, &str)>, BeirError> {
        loop {
            self.buffer.clear();
            let read = (&mut self.reader).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut self.buffer);
            let read = match read {
                Ok(read) => read,
                Err(fault) => return Err(self.unreadable(fault)),
            };
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read > MAX_LINE && !self.buffer.ends_with(b"\n") {
                self.pass_over_the_rest()?;
                let problem = format!("the line is longer than {} MiB", MAX_LINE >> 20);
                return Err(BeirError::line(&self.file, self.number, problem));
            }
            if self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                // Windows editors put it first.
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            while matches!(self.buffer.last(), Some(b'\n' | b'\r')) {
                self.buffer.pop();
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        if self.buffer.contains(&0) {
            let problem =
                "the line holds NUL bytes; the file is damaged, or UTF-16 without a byte order mark: save it as UTF-8";
            return Err(BeirError::line(&self.file, self.number, problem));
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

    fn pass_over_the_rest(&mut self) -> Result<(), BeirError> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(fault) => return Err(self.unreadable(fault)),
            };
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let used = end.map_or(buffer.len(), |at| at + 1);
            let last = end.is_some() || buffer.is_empty();
            self.reader.consume(used);
            if last {
                return Ok(());
            }
        }
    }

    /// An error of the reader: damage within the file has a line, anything else is the operating system's.
    fn unreadable(&self, fault: io::Error) -> BeirError {
        self.unreadable_at(self.number + 1, fault)
    }

    /// As [`unreadable`](Self::unreadable), for callers who count the lines.
    pub(crate) fn unreadable_at(&self, line: u64, fault: io::Error) -> BeirError {
        match fault.get_ref().and_then(|inner| inner.downcast_ref::<Damage>()) {
            Some(Damage(problem)) => {
                BeirError::Unreadable { place: Place { file: Arc::clone(&self.file), line }, problem: problem.clone() }
            }
            None => BeirError::io("read", &self.file, fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static [u8]) -> Lines {
        Lines::new("a.tsv".into(), Box::new(text))
    }

    #[test]
    fn blank_lines_count_but_do_not_appear() {
        let mut lines = lines(b"\xEF\xBB\xBFone\r\n\n  \ntwo");
        assert_eq!(lines.next_line().unwrap(), Some((1, "one")));
        assert_eq!(lines.next_line().unwrap(), Some((4, "two")));
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn bytes_that_are_not_text_are_named_by_line_and_the_next_line_is_read() {
        let mut lines = lines(b"fine\nab\xFFcd\n\0\0\nlast");
        lines.next_line().unwrap();
        let said = lines.next_line().unwrap_err().to_string();
        assert_eq!(said, "a.tsv line 2: not UTF-8 text (byte 3 of the line)");
        let said = lines.next_line().unwrap_err().to_string();
        assert!(said.starts_with("a.tsv line 3: the line holds NUL bytes"), "{said}");
        assert_eq!(lines.next_line().unwrap(), Some((4, "last")));
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_and_the_next_one_read() {
        let long = std::io::repeat(b'x').take(MAX_LINE as u64 + 5000);
        let mut lines = Lines::new("z".into(), Box::new(long.chain(&b"\nshort\n"[..])));
        let said = lines.next_line().unwrap_err().to_string();
        assert_eq!(said, "z line 1: the line is longer than 64 MiB");
        assert_eq!(lines.next_line().unwrap(), Some((2, "short")));
    }
}
