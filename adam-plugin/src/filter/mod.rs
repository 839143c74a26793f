//! Filters: conditions on documents, from text or from parts, as tantivy queries.
//!
//! One grammar for the command line (`--filter`), HTTP (`filters`) and [`Filter::parse`]; see [`Filter`] for it.

mod clauses;
mod columns;
mod compile;
mod date;
mod expression;
mod names;
mod number;
mod parse;
mod range;
mod report;
mod values;

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use tantivy::Index;
use tantivy::query::{Occur, Query};
use tantivy::schema::Schema;

use crate::chunk::is_shared;
use crate::error::PluginError;
use compile::Compiler;
pub(crate) use compile::column;
pub(crate) use date::instant;
pub use expression::{Comparison, Condition, Expression, Path};
pub(crate) use names::{Contents, kinds, names, written};
pub(crate) use number::number;
pub use parse::MAX_BYTES;
pub use report::FilterWarning;
pub(crate) use report::{nearest, warnings};
pub(crate) use values::{ColumnNames, columns_of};

/// Conditions on documents.
///
/// # What can be written
///
/// | filter | matches documents where |
/// |---|---|
/// | `brand:acme`, `Brand Name:Acme & Sons` | a value is this. On a field of text, all words are in it; on a facet, the path begins with it |
/// | `brand:(acme, norse)` | a value is one of these |
/// | `year:2015..2020`, `price:..9.5`, `temp:-5..5` | a number lies between the ends, which are included and may be left out |
/// | `year >= 2019`, `price:>50`, `price<50` | a number or date compares like this: `>`, `>=`, `<`, `<=` |
/// | `released:2024`, `released:2024-05`, `released:2024-05-31` | a date falls within the year, month or day |
/// | `released:..2023-06`, `at > 2024-05-31 10:00` | a date lies in the range; the whole day, month or year at its end is in it, too |
/// | `brand:*` | there is a value |
/// | `a:x AND b:y`, `a:x OR b:y` | both hold; one holds at least |
/// | `NOT brand:acme`, `-brand:acme` | it does not hold; documents without the name match |
/// | `(a:x OR b:y) AND -c:z` | as the brackets say |
///
/// **Precedence.** NOT and `-` bind first, then AND, then OR. The three are words in capitals with a space or bracket around them;
/// `and`, `or`, `not` are part of names and values. Several filters of one request are joined by AND.
///
/// **Names.** A name is a field of the index, or a name in metadata, where dots lead into objects: `maker.city`. A key that has
/// dots or colons itself is found as well: `dc.title:x` looks for the key `dc.title` and for `title` in `dc`, `og:title:x` for a
/// value of `og:title` and for the value `title:x` of `og`. Quotes leave no choice: `"dc.title":x` is the one key, `"og":"title:x"`
/// the other reading. A backslash does the same for one sign: `dc\.title:x`.
///
/// **Values.** A value without quotes extends to AND, OR or the bracket that closes around it, with the spaces, quotes, colons,
/// slashes and balanced brackets in it. Quotes take any text: `note:"this OR that"`; in them, `\"` is a quote and `\\` a backslash.
/// To be quoted: the words AND, OR and NOT; `..`, `*` alone, and `<` or `>` or a quote in front, which mean something else; a comma
/// in a list.
///
/// **Types.** A value is found as text, number, date and truth value, whichever there are under the name. Numbers are equal however
/// they are written (`5`, `5.0`), and ranges find numbers kept as text (`"2021"`); one value finds a text only if it is written
/// like it. `true` and `false` may be in capitals. Dates are
/// read as `2024-05-31`, with `T` or a space and a time after that (`10:00`, `10:00:00.123456`), and a zone after that (`Z`,
/// `+02`, `+02:00`; UTC without), or in e-mail's form; in ranges of documents' dates, `2024` and `2024-05` in a document stand for
/// their first day. One time stands for its second. Of several values (a list in metadata), one that fits is enough. Names and
/// texts are compared as they are, capitals and accents included.
///
/// **Limits.** 65,536 bytes, 1,024 conditions, 64 brackets and NOTs within one another, 1,024 different words of a value; all
/// filters of a request together, 8,192 words and values, and 256 ranges and dates.
///
/// ```
/// use adam_plugin::Filter;
///
/// let typed = Filter::parse("year >= 2019 AND NOT brand:(acme, norse)")?;
/// let built = Filter::all([
///     Filter::at_least("year", "2019"),
///     Filter::not(Filter::any([Filter::new("brand", "acme"), Filter::new("brand", "norse")])),
/// ]);
/// assert_eq!(typed.expression(), built.expression());
///
/// let fault = Filter::parse("brand:acme OR norse").unwrap_err().to_string();
/// assert!(fault.contains("at character 20: expected FIELD:VALUE"), "{fault}");
/// # Ok::<(), adam_plugin::PluginError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    source: String,
    expression: Expression,
}

impl FromStr for Filter {
    type Err = PluginError;

    fn from_str(source: &str) -> Result<Self, Self::Err> {
        Self::parse(source)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.source)
    }
}

impl Filter {
    /// Reads a filter as it is typed.
    ///
    /// # Errors
    /// [`PluginError::Filter`] with the place of what is not in the grammar.
    pub fn parse(source: &str) -> Result<Self, PluginError> {
        match parse::parse(source) {
            Ok(expression) => Ok(Self { source: source.to_owned(), expression }),
            Err(fault) => Err(PluginError::Filter {
                filter: shown(source),
                position: Some(source[..fault.at].chars().count() + 1),
                problem: fault.problem,
            }),
        }
    }

    /// `FIELD:VALUE`: a value equal to this, whatever signs are in it. Dots in the name are read both ways, as in
    /// [`Path::new`].
    pub fn new(field: impl AsRef<str>, value: impl Into<String>) -> Self {
        Self::condition(field.as_ref(), Comparison::Equal(value.into()))
    }

    /// A number or date between two ends, which are included.
    pub fn between(field: impl AsRef<str>, from: impl Into<String>, to: impl Into<String>) -> Self {
        let (from, to) = (Bound::Included(from.into()), Bound::Included(to.into()));
        Self::condition(field.as_ref(), Comparison::Range { from, to })
    }

    /// A number or date above this.
    pub fn greater(field: impl AsRef<str>, than: impl Into<String>) -> Self {
        let from = Bound::Excluded(than.into());
        Self::condition(field.as_ref(), Comparison::Range { from, to: Bound::Unbounded })
    }

    /// A number or date that is this or above.
    pub fn at_least(field: impl AsRef<str>, least: impl Into<String>) -> Self {
        let from = Bound::Included(least.into());
        Self::condition(field.as_ref(), Comparison::Range { from, to: Bound::Unbounded })
    }

    /// A number or date below this.
    pub fn less(field: impl AsRef<str>, than: impl Into<String>) -> Self {
        let to = Bound::Excluded(than.into());
        Self::condition(field.as_ref(), Comparison::Range { from: Bound::Unbounded, to })
    }

    /// A number or date that is this or below.
    pub fn at_most(field: impl AsRef<str>, most: impl Into<String>) -> Self {
        let to = Bound::Included(most.into());
        Self::condition(field.as_ref(), Comparison::Range { from: Bound::Unbounded, to })
    }

    /// Any value.
    pub fn exists(field: impl AsRef<str>) -> Self {
        Self::condition(field.as_ref(), Comparison::Exists)
    }

    /// All of these; every document, if there are none.
    pub fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::from(Expression::And(filters.into_iter().map(|filter| filter.expression).collect()))
    }

    /// One of these at least; no document, if there are none.
    pub fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::from(Expression::Or(filters.into_iter().map(|filter| filter.expression).collect()))
    }

    /// What does not match this.
    #[allow(clippy::should_implement_trait)]
    pub fn not(filter: Self) -> Self {
        Self::from(Expression::Not(Box::new(filter.expression)))
    }

    fn condition(field: &str, comparison: Comparison) -> Self {
        Self::from(Expression::Condition(Condition::new(Path::new(field), comparison)))
    }

    /// The filter as a tree.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    fn refuse(&self, problem: impl Into<String>) -> PluginError {
        PluginError::Filter { filter: shown(&self.source), position: None, problem: problem.into() }
    }

    /// The filter as a query; its scores mean nothing. `metadata` is the JSON field for names that are no fields.
    ///
    /// # Errors
    /// [`PluginError::Filter`] where a name is unknown, a field is not indexed, a value is not of its type, or more is looked for
    /// than the limits allow.
    pub fn query(&self, index: &Index, metadata: Option<&str>) -> Result<Box<dyn Query>, PluginError> {
        let schema = index.schema();
        let mut compiler = Compiler::new(index, &schema, metadata);
        compiler.expression(&self.expression).map_err(|problem| self.refuse(problem))
    }

    /// Whether it looks at something that only first chunks have: text fields or the key.
    pub(crate) fn is_of_documents(&self, schema: &Schema, key: &str) -> bool {
        let mut is_of_documents = false;
        self.expression.visit(&mut |condition| {
            is_of_documents |= condition.readings().any(|reading| {
                let name = reading.path.joined();
                schema.get_field(&name).is_ok_and(|field| name == key || !is_shared(schema.get_field_entry(field)))
            });
        });
        is_of_documents
    }
}

impl From<Expression> for Filter {
    fn from(expression: Expression) -> Self {
        Self { source: expression.to_string(), expression }
    }
}

fn shown(source: &str) -> String {
    source.chars().take(200).collect()
}

/// All filters at once.
pub(crate) fn all_of(
    filters: &[Filter],
    index: &Index,
    metadata: Option<&str>,
) -> Result<Option<Box<dyn Query>>, PluginError> {
    let schema = index.schema();
    // One compiler, which counts what all of them cost.
    let mut compiler = Compiler::new(index, &schema, metadata);
    let mut clauses = Vec::new();
    for (at, filter) in filters.iter().enumerate() {
        // The same filter twice is the filter once.
        if filters[..at].iter().all(|earlier| earlier.expression != filter.expression) {
            let query = compiler.expression(&filter.expression).map_err(|problem| filter.refuse(problem))?;
            clauses.push((Occur::Must, query));
        }
    }
    Ok((!clauses.is_empty()).then(|| clauses::all_of(clauses)))
}

#[cfg(test)]
mod reference;
#[cfg(test)]
pub(crate) mod tests;
