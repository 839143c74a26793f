//! Cuts a JSON array of rows into its elements without reading it whole.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ArrayState {
    /// Its bracket has not come yet.
    #[default]
    Before,
    Within,
    /// It is closed.
    After,
}

/// Finds where the elements of an array begin and end, byte by byte.
#[derive(Debug, Default)]
pub(super) struct ArrayCutter {
    pub(super) state: ArrayState,
    /// The bytes of the element so far; to be cleared by the reader once it has ended.
    pub(super) element: Vec<u8>,
    /// Whether it has more bytes than were kept.
    pub(super) too_long: bool,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Line ends so far.
    pub(super) line: u64,
    /// Line ends before the element.
    pub(super) began: u64,
}

impl ArrayCutter {
    /// Takes the next byte; whether an element has ended with it.
    pub(super) fn take(&mut self, byte: u8, most: usize) -> Result<bool, &'static str> {
        let outside = !self.in_text && self.depth == 0;
        let is_end = outside && self.state == ArrayState::Within && matches!(byte, b',' | b']');
        match self.state {
            ArrayState::Before if byte == b'[' => self.state = ArrayState::Within,
            ArrayState::Before if byte.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(&byte) => {}
            ArrayState::Before => return Err("not a JSON array"),
            ArrayState::After if byte.is_ascii_whitespace() => {}
            ArrayState::After => return Err("something follows the end of the JSON array"),
            ArrayState::Within if is_end => {
                if byte == b']' {
                    self.state = ArrayState::After;
                }
            }
            ArrayState::Within if outside && self.element.is_empty() && byte.is_ascii_whitespace() => {}
            ArrayState::Within => {
                if self.element.is_empty() && !self.too_long {
                    self.began = self.line;
                }
                if self.element.len() < most {
                    self.element.push(byte);
                } else {
                    self.too_long = true;
                }
                self.nest(byte)?;
            }
        }
        if byte == b'\n' {
            self.line += 1;
        }
        // An array without elements ends with none, and a comma before its end is forgiven.
        let nothing = self.state == ArrayState::After && self.element.is_empty();
        if is_end && self.element.is_empty() {
            self.began = self.line;
        }
        Ok(is_end && !nothing)
    }

    fn nest(&mut self, byte: u8) -> Result<(), &'static str> {
        if self.in_text {
            self.in_text = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return Ok(());
        }
        match byte {
            b'"' => self.in_text = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.checked_sub(1).ok_or("a bracket closes that was not opened")?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, most: usize) -> Result<Vec<(u64, String, bool)>, &'static str> {
        let mut cutter = ArrayCutter::default();
        let mut found = Vec::new();
        for byte in text.bytes() {
            if cutter.take(byte, most)? {
                let element = String::from_utf8(std::mem::take(&mut cutter.element)).unwrap();
                found.push((cutter.began + 1, element.trim().to_owned(), cutter.too_long));
                cutter.too_long = false;
            }
        }
        if cutter.state == ArrayState::After { Ok(found) } else { Err("open") }
    }

    #[test]
    fn elements_come_whole_with_their_lines() {
        let elements =
            |text| -> Vec<(u64, String)> { cut(text, 100).unwrap().into_iter().map(|e| (e.0, e.1)).collect() };
        assert_eq!(
            elements("[{\"a\": \"],\\\"}\"},\n {\n\"b\": [1, 2]} ,3]\n"),
            [(1, "{\"a\": \"],\\\"}\"}".to_owned()), (2, "{\n\"b\": [1, 2]}".to_owned()), (3, "3".to_owned())]
        );
        assert_eq!(elements(" [ ] "), []);
        assert_eq!(elements("[1,]"), [(1, "1".to_owned())]);
        assert_eq!(cut("[123456, 7]", 3).unwrap(), [(1, "123".to_owned(), true), (1, "7".to_owned(), false)]);
        assert!(cut("[1", 9).is_err() && cut("[1] 2", 9).is_err() && cut("{}", 9).is_err() && cut("[}]", 9).is_err());
    }
}
