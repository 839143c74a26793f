//! From the text of a filter to its tree.

use std::ops::Bound;

use super::expression::{Comparison, Condition, Expression, Part, Path};

/// Longest filter, in bytes.
pub const MAX_BYTES: usize = 1 << 16;
/// Most conditions of a filter.
pub(super) const MAX_CONDITIONS: usize = 1024;
/// Most brackets and NOTs around one condition.
const MAX_DEPTH: usize = 64;
/// Most colons of a condition after each of which its value may begin.
const MAX_COLONS: usize = 8;

const EXAMPLE: &str = "FIELD:VALUE, or a comparison such as FIELD>=5";

/// Why a text is not a filter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Bytes before the place.
    pub(super) at: usize,
    pub(super) problem: String,
}

pub(super) fn parse(source: &str) -> Result<Expression, Fault> {
    if source.len() > MAX_BYTES {
        return Err(Fault { at: 0, problem: format!("longer than {MAX_BYTES} bytes") });
    }
    let mut parser = Parser { source, at: 0, depth: 0, open: 0, conditions: 0 };
    let expression = parser.any()?;
    parser.skip_space();
    match parser.rest().is_empty() {
        true => Ok(expression),
        false => Err(parser.fault("expected AND, OR or the end; a value that begins with a quote ends with one")),
    }
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    depth: usize,
    /// Brackets that are open.
    open: usize,
    conditions: usize,
}

/// What stands after a colon.
enum Values {
    One(Comparison, String),
    Many(Vec<(Comparison, String)>),
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn fault(&self, problem: impl Into<String>) -> Fault {
        Fault { at: self.at, problem: problem.into() }
    }

    fn skip_space(&mut self) {
        self.at = self.source.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: char) -> bool {
        let there = self.rest().starts_with(sign);
        self.at += if there { sign.len_utf8() } else { 0 };
        there
    }

    /// Takes AND, OR or NOT, which end with a space, a bracket, a quote or the filter.
    fn take_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let there = begins_with_word(self.rest(), word);
        self.at += if there { word.len() } else { 0 };
        there
    }

    /// `a OR b OR c`.
    fn any(&mut self) -> Result<Expression, Fault> {
        let mut items = vec![self.all()?];
        while self.take_word("OR") {
            items.push(self.all()?);
        }
        Ok(one_or(items, Expression::Or))
    }

    /// `a AND b AND c`.
    fn all(&mut self) -> Result<Expression, Fault> {
        let mut items = vec![self.unary()?];
        while self.take_word("AND") {
            items.push(self.unary()?);
        }
        Ok(one_or(items, Expression::And))
    }

    /// `NOT a`, `-a`, `(a)` or a condition.
    fn unary(&mut self) -> Result<Expression, Fault> {
        self.skip_space();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fault(format!("more than {MAX_DEPTH} brackets and NOTs within one another")));
        }
        if let Some(word) = ["AND", "OR"].into_iter().find(|word| begins_with_word(self.rest(), word)) {
            return Err(self.fault(format!("expected {EXAMPLE}, and not {word}")));
        }
        let mut next = self.rest().chars();
        let minus = next.next() == Some('-') && next.next().is_some_and(|sign| !sign.is_whitespace());
        let expression = if self.take_word("NOT") || (minus && self.take('-')) {
            Expression::Not(Box::new(self.unary()?))
        } else if self.take('(') {
            self.open += 1;
            let inner = self.any()?;
            self.skip_space();
            if !self.take(')') {
                return Err(self.fault("expected AND, OR or `)`"));
            }
            self.open -= 1;
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn condition(&mut self) -> Result<Expression, Fault> {
        let (path, is_plain) = self.name()?;
        let is_colon = self.take(':');
        self.skip_space();
        if let Some(sign) = self.sign() {
            let value = self.scalar(sign)?;
            return self.one(path, with_sign(sign, value.clone()), value);
        }
        if !is_colon {
            return Err(self.fault(format!("expected {EXAMPLE}")));
        }
        let start = self.at;
        match self.values()? {
            Values::One(comparison, text) => {
                let mut condition = self.one(path, comparison, text)?;
                // Only text without quotes may have other readings.
                if let Expression::Condition(first) = &mut condition
                    && is_plain
                    && !self.source[start..].starts_with('"')
                {
                    first.others = other_readings(first);
                }
                Ok(condition)
            }
            Values::Many(values) => {
                let items = values.into_iter().map(|(comparison, text)| self.one(path.clone(), comparison, text));
                Ok(one_or(items.collect::<Result<Vec<_>, _>>()?, Expression::Or))
            }
        }
    }

    fn one(&mut self, path: Path, comparison: Comparison, text: String) -> Result<Expression, Fault> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(self.fault(format!("more than {MAX_CONDITIONS} conditions")));
        }
        Ok(Expression::Condition(Condition { path, comparison, text, others: Vec::new() }))
    }

    /// A name, and whether none of it was quoted.
    fn name(&mut self) -> Result<(Path, bool), Fault> {
        let begin = self.at;
        let mut parts: Vec<Part> = Vec::new();
        loop {
            if self.rest().starts_with('"') {
                let text = self.quoted()?;
                if text.is_empty() {
                    return Err(self.fault("expected a name between the quotes"));
                }
                parts.push(Part { text, is_quoted: true });
                self.skip_space();
            } else {
                let text = self.bare_part();
                // A dot in it was escaped, and belongs to the key.
                parts.push(Part { is_quoted: text.contains('.'), text });
            }
            if !self.take('.') {
                break;
            }
        }
        if !self.rest().starts_with([':', '<', '>']) {
            let read = self.source[begin..self.at].trim();
            let hint = if read.is_empty() {
                String::new()
            } else if read.contains('=') {
                format!(" after `{}`: equal is written with a colon, not equal with NOT before the field", shown(read))
            } else {
                format!(
                    " after `{}`; a value with AND, OR or NOT in it needs \"quotes\", and several values of a field brackets, FIELD:(A, B)",
                    shown(read)
                )
            };
            return Err(self.fault(format!("expected {EXAMPLE}{hint}")));
        }
        if let Some(last) = parts.last_mut().filter(|part| !part.is_quoted) {
            last.text.truncate(last.text.trim_end().len());
        }
        if parts.len() == 1 && parts[0].text.is_empty() {
            return Err(self.fault(format!("expected a name before this: {EXAMPLE}")));
        }
        let is_plain = !parts.iter().any(|part| part.is_quoted);
        Ok((Path { parts }, is_plain))
    }

    /// Part of a name up to a dot or the name's end; a backslash takes its meaning from the sign after it.
    fn bare_part(&mut self) -> String {
        let mut text = String::new();
        while let Some(sign) = self.rest().chars().next() {
            let ends = matches!(sign, '.' | ':' | '<' | '>') || (sign == ')' && self.open > 0);
            if ends || (sign.is_whitespace() && self.at_joint()) {
                break;
            }
            self.at += sign.len_utf8();
            if sign == '\\'
                && let Some(next) = self.rest().chars().next()
            {
                self.at += next.len_utf8();
                text.push(next);
            } else {
                text.push(sign);
            }
        }
        text
    }

    /// `>`, `>=`, `<` or `<=`.
    fn sign(&mut self) -> Option<&'static str> {
        let sign = [">=", "<=", ">", "<"].into_iter().find(|sign| self.rest().starts_with(sign))?;
        self.at += sign.len();
        Some(sign)
    }

    /// One value, after a comparison.
    fn scalar(&mut self, after: &str) -> Result<String, Fault> {
        self.skip_space();
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        match self.bare(&[])? {
            "" => Err(self.fault(format!("expected a value after `{after}`"))),
            value => Ok(value.to_owned()),
        }
    }

    /// What stands after a colon: a list, a value in quotes, or all up to the condition's end.
    fn values(&mut self) -> Result<Values, Fault> {
        if self.rest().starts_with('"') {
            let text = self.quoted()?;
            return Ok(Values::One(Comparison::Equal(text.clone()), text));
        }
        if self.is_list() {
            return self.list();
        }
        match self.bare(&[])? {
            "" => Err(self.fault(format!("expected a value: {EXAMPLE}"))),
            text => Ok(Values::One(comparison_of(text), text.to_owned())),
        }
    }

    /// Whether a bracket opens here that closes with the condition: `(acme, norse)`, and not `(c) Acme`.
    fn is_list(&self) -> bool {
        let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
        if !self.rest().starts_with('(') {
            return false;
        }
        for (at, sign) in self.rest().char_indices() {
            match sign {
                _ if is_escaped => is_escaped = false,
                '\\' if is_quoted => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                _ if is_quoted => {}
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let after = self.rest()[at + 1..].trim_start();
                return after.is_empty()
                    || (after.starts_with(')') && self.open > 0)
                    || ["AND", "OR"].iter().any(|word| begins_with_word(after, word));
            }
        }
        false
    }

    /// `(acme, "norse, inc", 5..7)`, commas or OR between them.
    fn list(&mut self) -> Result<Values, Fault> {
        self.take('(');
        self.open += 1;
        let mut values = Vec::new();
        loop {
            self.skip_space();
            if begins_with_word(self.rest(), "NOT") {
                return Err(self.fault("expected a value, and not NOT; put it before the field, NOT FIELD:(A, B)"));
            }
            let value = if self.rest().starts_with('"') {
                let text = self.quoted()?;
                (Comparison::Equal(text.clone()), text)
            } else if let Some(sign) = self.sign() {
                self.skip_space();
                let text = if self.rest().starts_with('"') { self.quoted()? } else { self.bare(&[','])?.to_owned() };
                if text.is_empty() {
                    return Err(self.fault(format!("expected a value after `{sign}`")));
                }
                (with_sign(sign, text.clone()), text)
            } else {
                match self.bare(&[','])? {
                    "" => return Err(self.fault("expected a value in the list")),
                    text => (comparison_of(text), text.to_owned()),
                }
            };
            // Each value once.
            if !values.contains(&value) {
                values.push(value);
            }
            if values.len() > MAX_CONDITIONS {
                return Err(self.fault(format!("more than {MAX_CONDITIONS} values in a list")));
            }
            self.skip_space();
            if self.take(')') {
                self.open -= 1;
                return Ok(Values::Many(values));
            }
            if !self.take(',') && !self.take_word("OR") {
                return Err(self.fault("expected a comma, OR or `)` in the list"));
            }
        }
    }

    /// Text up to AND, OR, a bracket that closes what is open, one of `ends`, or the end; without spaces around.
    fn bare(&mut self, ends: &[char]) -> Result<&'a str, Fault> {
        let start = self.at;
        let mut inner = 0_usize;
        while let Some(sign) = self.rest().chars().next() {
            match sign {
                '(' => inner += 1,
                ')' if inner > 0 => inner -= 1,
                ')' if self.open > 0 => break,
                _ if inner == 0 && ends.contains(&sign) => break,
                _ if sign.is_whitespace() && self.at > start && self.at_joint() => break,
                _ if sign.is_whitespace() && self.at > start => {
                    let after = self.rest().trim_start();
                    if begins_with_word(after, "NOT") && after.contains([':', '<', '>']) {
                        self.skip_space();
                        return Err(self
                            .fault("expected AND or OR before NOT; a value with the word NOT in it needs \"quotes\""));
                    }
                }
                _ => {}
            }
            self.at += sign.len_utf8();
        }
        Ok(self.source[start..self.at].trim())
    }

    /// Whether nothing but space is before AND or OR.
    fn at_joint(&self) -> bool {
        let after = self.rest().trim_start();
        begins_with_word(after, "AND") || begins_with_word(after, "OR")
    }

    /// Text in quotes; in it `\"` is a quote and `\\` a backslash.
    fn quoted(&mut self) -> Result<String, Fault> {
        let start = self.at;
        self.take('"');
        let mut text = String::new();
        let mut signs = self.rest().char_indices();
        while let Some((at, sign)) = signs.next() {
            match sign {
                '"' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => match signs.next() {
                    Some((_, next @ ('"' | '\\'))) => text.push(next),
                    Some((_, next)) => text.extend(['\\', next]),
                    None => {}
                },
                _ => text.push(sign),
            }
        }
        Err(Fault { at: start, problem: "expected a second quote after this one".to_owned() })
    }
}

fn begins_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word)
        .is_some_and(|after| after.chars().next().is_none_or(|next| next.is_whitespace() || matches!(next, '(' | '"')))
}

fn one_or(mut items: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    let mut seen: Vec<Expression> = Vec::with_capacity(items.len());
    if items.len() <= 64 {
        // The same condition twice is the condition once.
        for item in items.drain(..) {
            if !seen.contains(&item) {
                seen.push(item);
            }
        }
    } else {
        seen = items;
    }
    match seen.pop() {
        Some(only) if seen.is_empty() => only,
        Some(last) => {
            seen.push(last);
            join(seen)
        }
        None => join(seen),
    }
}

fn with_sign(sign: &str, value: String) -> Comparison {
    let (from, to) = match sign {
        ">=" => (Bound::Included(value), Bound::Unbounded),
        ">" => (Bound::Excluded(value), Bound::Unbounded),
        "<=" => (Bound::Unbounded, Bound::Included(value)),
        _ => (Bound::Unbounded, Bound::Excluded(value)),
    };
    Comparison::Range { from, to }
}

/// What a value without quotes means.
fn comparison_of(text: &str) -> Comparison {
    let end = |text: &str| match text.trim() {
        "" => Bound::Unbounded,
        some => Bound::Included(some.to_owned()),
    };
    match text.split_once("..") {
        _ if text == "*" => Comparison::Exists,
        Some((from, to)) => Comparison::Range { from: end(from), to: end(to) },
        None => Comparison::Equal(text.to_owned()),
    }
}

/// A condition whose value has colons, with its name up to one of those.
fn other_readings(condition: &Condition) -> Vec<Condition> {
    let mut readings = Vec::new();
    for (at, _) in condition.text.match_indices(':').take(MAX_COLONS) {
        let (name, value) = (&condition.text[..at], condition.text[at + 1..].trim());
        if name.is_empty() || value.is_empty() || name.contains(char::is_whitespace) {
            continue;
        }
        let mut path = condition.path.clone();
        let mut parts = name.split('.');
        if let (Some(last), Some(first)) = (path.parts.last_mut(), parts.next()) {
            last.text = format!("{}:{first}", last.text);
        }
        path.parts.extend(parts.map(|text| Part { text: text.to_owned(), is_quoted: false }));
        let (comparison, text) = match [">=", "<=", ">", "<"].iter().find(|sign| value.starts_with(**sign)) {
            Some(sign) => {
                let value = value[sign.len()..].trim();
                (with_sign(sign, value.to_owned()), value.to_owned())
            }
            None => match unquoted(value) {
                Some(text) => (Comparison::Equal(text.clone()), text),
                None => (comparison_of(value), value.to_owned()),
            },
        };
        if !text.is_empty() {
            readings.push(Condition { path, comparison, text, others: Vec::new() });
        }
    }
    readings
}

/// The text between quotes, where a value is that and nothing else.
fn unquoted(value: &str) -> Option<String> {
    let mut parser = Parser { source: value, at: 0, depth: 0, open: 0, conditions: 0 };
    let text = value.starts_with('"').then(|| parser.quoted().ok())??;
    parser.rest().is_empty().then_some(text)
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests;
