//! What a filter says, as a tree.

use std::fmt;
use std::ops::Bound;

/// Conditions, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expression {
    /// All of them hold; without any, every document matches.
    And(Vec<Expression>),
    /// One of them holds, at least; without any, no document matches.
    Or(Vec<Expression>),
    /// It does not hold. A document without the name matches.
    Not(Box<Expression>),
    /// One condition.
    Condition(Condition),
}

impl Expression {
    /// Calls a function with every condition.
    pub(super) fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Condition)) {
        match self {
            Self::And(items) | Self::Or(items) => items.iter().for_each(|item| item.visit(see)),
            Self::Not(inner) => inner.visit(see),
            Self::Condition(condition) => see(condition),
        }
    }
}

/// A condition on the values of one name. If there are several (a list in metadata), one match is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Where the values are.
    pub path: Path,
    /// What they are compared with.
    pub comparison: Comparison,
    /// The value as written, for fields where `..` is text.
    pub(super) text: String,
    /// Other ways to read the same: of `og:title:x`, the name may be `og` or `og:title`.
    pub(super) others: Vec<Condition>,
}

impl Condition {
    /// A condition with one reading.
    pub fn new(path: Path, comparison: Comparison) -> Self {
        let text = match &comparison {
            // As it is read where it is typed with a sign: `>= 2019`.
            Comparison::Range { from: Bound::Included(end) | Bound::Excluded(end), to: Bound::Unbounded }
            | Comparison::Range { from: Bound::Unbounded, to: Bound::Included(end) | Bound::Excluded(end) } => {
                end.clone()
            }
            _ => comparison.to_string(),
        };
        Self { path, comparison, text, others: Vec::new() }
    }

    /// All ways to read it, the first first.
    pub(super) fn readings(&self) -> impl Iterator<Item = &Condition> {
        std::iter::once(self).chain(&self.others)
    }
}

/// How values are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal to this: a text, a number however it is written, `true` or `false`, or a date within this year, month, day, minute or
    /// second.
    Equal(String),
    /// A number or date between two ends.
    Range {
        /// The first end.
        from: Bound<String>,
        /// The last end.
        to: Bound<String>,
    },
    /// Any value at all.
    Exists,
}

/// A name, in parts: `dc.title` has two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    /// It was quoted: neither it nor a neighbour is joined to it by a dot.
    pub(super) is_quoted: bool,
}

impl Path {
    /// A name whose dots may stand between levels of an object, or be part of its keys.
    pub fn new(name: &str) -> Self {
        Self { parts: name.split('.').map(|text| Part { text: text.to_owned(), is_quoted: false }).collect() }
    }

    /// A name by its keys, from the outermost object to the value, whatever signs are in them.
    pub fn of_keys<Key: Into<String>>(keys: impl IntoIterator<Item = Key>) -> Self {
        Self { parts: keys.into_iter().map(|key| Part { text: key.into(), is_quoted: true }).collect() }
    }

    /// The name as text, dots between its parts.
    pub(super) fn joined(&self) -> String {
        self.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(".")
    }

    /// The keys that it may stand for: every dot between parts without quotes parts two levels, or belongs to a key.
    pub(super) fn keys(&self) -> Vec<Vec<String>> {
        let joints: Vec<usize> =
            (1..self.parts.len()).filter(|&at| !self.parts[at - 1].is_quoted && !self.parts[at].is_quoted).collect();
        let with = |is_joined: &dyn Fn(usize) -> bool| {
            let mut keys: Vec<String> = Vec::new();
            for (at, part) in self.parts.iter().enumerate() {
                match keys.last_mut() {
                    Some(last) if is_joined(at) => {
                        last.push('.');
                        last.push_str(&part.text);
                    }
                    _ => keys.push(part.text.clone()),
                }
            }
            keys
        };
        if joints.len() <= MAX_JOINTS {
            let choices = 0..1_u32 << joints.len();
            choices
                .map(|choice| {
                    with(&|at| joints.iter().position(|&joint| joint == at).is_some_and(|bit| choice >> bit & 1 == 1))
                })
                .collect()
        } else {
            vec![with(&|_| false), with(&|at| joints.contains(&at))]
        }
    }
}

/// Most dots of a name that are read both ways, each for itself; with more of them, all are read one way.
const MAX_JOINTS: usize = 5;

/// Whether a text means something else as part of a filter than by itself.
fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.trim() != text
        || text.contains(['"', '\\', '(', ')', ',', '<', '>', ':', '*', '\n'])
        || text.contains("..")
        || text.starts_with('-')
        || text.split_whitespace().any(|word| ["AND", "OR", "NOT"].contains(&word))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts.iter().enumerate() {
            if at > 0 {
                out.write_str(".")?;
            }
            match part.is_quoted || needs_quotes(&part.text) {
                true => out.write_str(&quoted(&part.text))?,
                false => out.write_str(&part.text)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |value: &str| match needs_quotes(value.strip_prefix('-').unwrap_or(value)) {
            true => quoted(value),
            false => value.to_owned(),
        };
        match self {
            Self::Equal(value) => out.write_str(&plain(value)),
            Self::Exists => out.write_str("*"),
            Self::Range { from, to } => match (from, to) {
                (Bound::Included(from), Bound::Included(to)) => write!(out, "{from}..{to}"),
                (Bound::Included(from), Bound::Unbounded) => write!(out, ">={}", plain(from)),
                (Bound::Excluded(from), Bound::Unbounded) => write!(out, ">{}", plain(from)),
                (Bound::Unbounded, Bound::Included(to)) => write!(out, "<={}", plain(to)),
                (Bound::Unbounded, Bound::Excluded(to)) => write!(out, "<{}", plain(to)),
                (Bound::Unbounded, Bound::Unbounded) => out.write_str(".."),
                (from, to) => write!(out, "{from:?}..{to:?}"),
            },
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.path, self.comparison)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |items: &[Self], word: &str| {
            let inner = items.iter().map(Self::to_string).collect::<Vec<_>>().join(word);
            if items.len() == 1 { inner } else { format!("({inner})") }
        };
        match self {
            Self::And(items) => out.write_str(&joined(items, " AND ")),
            Self::Or(items) => out.write_str(&joined(items, " OR ")),
            Self::Not(inner) => write!(out, "NOT {inner}"),
            Self::Condition(condition) => condition.fmt(out),
        }
    }
}
