//! From the tree of a filter to tantivy's queries.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;

use tantivy::query::{BooleanQuery, EmptyQuery, ExistsQuery, Occur, Query, RangeQuery, TermQuery};
use tantivy::schema::{
    DATE_TIME_PRECISION_INDEXED, Facet, Field, FieldEntry, FieldType, IndexRecordOption, JsonObjectOptions, Schema,
};
use tantivy::tokenizer::TokenStream;
use tantivy::{Index, Term};
use unicode_normalization::UnicodeNormalization;

use super::clauses::{all_of, intersection, union};
use super::columns::{ColumnQuery, ValueRange};
use super::date::Period;
use super::expression::{Comparison, Condition, Expression, Path};
use super::number::{Interval, Number, other_spelling};
use super::range::{NO_END, on_date, time, try_map, value_range};

/// Most different words of one value that are looked for.
const MAX_WORDS: usize = 1024;
/// Most terms that all filters of a request look for.
const MAX_TERMS: usize = 8192;
/// Most lookups in columns that all filters of a request make: each keeps a bit for every document meanwhile.
const MAX_LOOKUPS: usize = 256;

/// Most parts of a name: more levels than a JSON document can have.
const MAX_PARTS: usize = 128;

/// Where the values of a condition are.
pub(super) enum Target<'a> {
    /// A field of the schema with a type.
    Field(Field, &'a FieldEntry),
    /// A name in a JSON field: the keys that it may stand for.
    Keys { field: Field, name: &'a str, options: &'a JsonObjectOptions, keys: Vec<Vec<String>> },
}

/// Makes queries for one index, and counts what they cost.
pub(super) struct Compiler<'a> {
    index: &'a Index,
    schema: &'a Schema,
    metadata: Option<&'a str>,
    terms: usize,
    lookups: usize,
}

type QueryResult = Result<Box<dyn Query>, String>;

impl<'a> Compiler<'a> {
    pub(super) fn new(index: &'a Index, schema: &'a Schema, metadata: Option<&'a str>) -> Self {
        Self { index, schema, metadata, terms: 0, lookups: 0 }
    }

    pub(super) fn expression(&mut self, expression: &Expression) -> QueryResult {
        match expression {
            Expression::And(items) => {
                let clauses = items.iter().map(|item| self.clause(item)).collect::<Result<Vec<_>, _>>()?;
                Ok(all_of(clauses))
            }
            Expression::Or(items) if items.is_empty() => Ok(Box::new(EmptyQuery)),
            Expression::Or(items) => {
                let queries = items.iter().map(|item| self.expression(item)).collect::<Result<Vec<_>, _>>()?;
                Ok(Box::new(BooleanQuery::union(queries)))
            }
            Expression::Not(_) => Ok(all_of(vec![self.clause(expression)?])),
            Expression::Condition(condition) => self.condition(condition),
        }
    }

    fn clause(&mut self, expression: &Expression) -> Result<(Occur, Box<dyn Query>), String> {
        Ok(match expression {
            Expression::Not(inner) => (Occur::MustNot, self.expression(inner)?),
            other => (Occur::Must, self.expression(other)?),
        })
    }

    pub(super) fn condition(&mut self, condition: &Condition) -> QueryResult {
        let mut queries = Vec::new();
        for (at, reading) in condition.readings().enumerate() {
            let query = match self.target(&reading.path) {
                Ok(Target::Field(field, entry)) => self.on_field(field, entry, reading),
                Ok(Target::Keys { field, name, options, keys }) => self.on_keys(field, name, options, &keys, reading),
                Err(problem) => Err(problem),
            };
            match query {
                Ok(query) => queries.push(query),
                Err(problem) if at == 0 => return Err(problem),
                // The first reading counts; others that make no query are dropped.
                Err(_) => {}
            }
        }
        Ok(union(queries))
    }

    /// Where a path leads.
    pub(super) fn target(&self, path: &Path) -> Result<Target<'a>, String> {
        if path.parts.len() > MAX_PARTS {
            return Err(format!("a name with more than {MAX_PARTS} parts; no document has one"));
        }
        let joined = path.joined();
        if joined.contains('\0') {
            // tantivy ends a path with this character, and would read what follows as a value. It indexes no such names.
            return Err("a name in metadata cannot have the character NUL".to_owned());
        }
        if let Ok(field) = self.schema.get_field(&joined) {
            let entry = self.schema.get_field_entry(field);
            if !matches!(entry.field_type(), FieldType::JsonObject(_)) {
                return Ok(Target::Field(field, entry));
            }
        }
        // `metadata.year:2020`, or `year:2020` for short.
        let first = path.parts.first().filter(|_| path.parts.len() > 1);
        if let Some((field, name, options)) = first.and_then(|first| self.json(&first.text)) {
            let keys = Path { parts: path.parts[1..].to_vec() }.keys();
            return Ok(Target::Keys { field, name, options, keys });
        }
        match self.metadata.and_then(|name| self.json(name)) {
            Some((field, name, options)) => Ok(Target::Keys { field, name, options, keys: path.keys() }),
            None => {
                let fields = self.schema.fields().filter(|(_, entry)| entry.is_indexed() || entry.is_fast());
                let known: Vec<&str> = fields.map(|(_, entry)| entry.name()).collect();
                Err(format!("there is no field `{joined}`; there are {}", known.join(", ")))
            }
        }
    }

    fn json(&self, name: &str) -> Option<(Field, &'a str, &'a JsonObjectOptions)> {
        let field = self.schema.get_field(name).ok()?;
        let entry = self.schema.get_field_entry(field);
        match entry.field_type() {
            FieldType::JsonObject(options) => Some((field, entry.name(), options)),
            _ => None,
        }
    }

    fn term(&mut self, term: Term) -> QueryResult {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(format!("all filters together look for more than {MAX_TERMS} words and values"));
        }
        Ok(Box::new(TermQuery::new(term, IndexRecordOption::Basic)))
    }

    /// All words of a value, each once.
    fn words(&mut self, field: Field, value: &str, term: impl Fn(&str) -> Term) -> Result<Vec<Box<dyn Query>>, String> {
        let mut analyzer = self.index.tokenizer_for_field(field).map_err(|fault| fault.to_string())?;
        let mut words = BTreeSet::new();
        let mut stream = analyzer.token_stream(value);
        while let Some(token) = stream.next() {
            if words.insert(token.text.clone()) && words.len() > MAX_WORDS {
                return Err(format!("its value has more than {MAX_WORDS} different words"));
            }
        }
        words.iter().map(|word| self.term(term(word))).collect()
    }

    fn on_field(&mut self, field: Field, entry: &FieldEntry, condition: &Condition) -> QueryResult {
        let name = entry.name();
        if condition.comparison == Comparison::Exists {
            if !entry.is_fast() {
                return Err(format!("field `{name}` is not FAST, so whether it has a value cannot be searched"));
            }
            return Ok(Box::new(ExistsQuery::new(name.to_owned(), false)));
        }
        if !entry.is_indexed() {
            let hint = self.metadata.map_or(String::new(), |metadata| {
                format!("; metadata of this name is filtered by `{metadata}.{name}`")
            });
            return Err(format!("field `{name}` is not indexed{hint}"));
        }
        match entry.field_type() {
            FieldType::U64(_) | FieldType::I64(_) | FieldType::F64(_) => self.on_number(field, entry, condition),
            FieldType::Date(options) => {
                let precision = if options.is_fast() { options.get_precision() } else { DATE_TIME_PRECISION_INDEXED };
                on_date(field, &condition.comparison, precision)
            }
            kind => {
                // In such a field, `..` is text like any other.
                let value = match &condition.comparison {
                    Comparison::Range { .. } if !condition.text.contains("..") => {
                        return Err(format!(
                            "field `{name}` holds neither numbers nor dates, so it has no order; {QUOTES}"
                        ));
                    }
                    _ => condition.text.as_str(),
                };
                let wrong = |expected: &str| format!("`{value}` is not {expected}");
                let term = match kind {
                    FieldType::Str(_) => {
                        let words = self.words(field, value, |word| Term::from_field_text(field, word))?;
                        return match words.is_empty() {
                            true => Err("the value has no word that could be searched".to_owned()),
                            false => Ok(intersection(words)),
                        };
                    }
                    FieldType::Bool(_) => {
                        Term::from_field_bool(field, truth(value).ok_or_else(|| wrong("true or false"))?)
                    }
                    FieldType::IpAddr(_) => {
                        let address: Ipv6Addr = match value.parse().map_err(|_| wrong("an IP address"))? {
                            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                            IpAddr::V6(v6) => v6,
                        };
                        Term::from_field_ip_addr(field, address)
                    }
                    FieldType::Facet(_) => {
                        let facet = Facet::from_text(value).map_err(|_| wrong("a facet as /a/b"))?;
                        Term::from_facet(field, &facet)
                    }
                    _ => return Err(format!("field `{name}` cannot be filtered by value")),
                };
                self.term(term)
            }
        }
    }

    fn on_number(&mut self, field: Field, entry: &FieldEntry, condition: &Condition) -> QueryResult {
        let is_real = matches!(entry.field_type(), FieldType::F64(_));
        let number = |text: &str| {
            Number::parse(text)
                .ok_or_else(|| format!("`{text}` is not a {}number", if is_real { "" } else { "whole " }))
        };
        let interval = match &condition.comparison {
            Comparison::Range { from, to } => Interval { from: try_map(from, number)?, to: try_map(to, number)? },
            Comparison::Equal(value) => {
                let value = number(value)?;
                Interval { from: Bound::Included(value), to: Bound::Included(value) }
            }
            Comparison::Exists => Interval { from: Bound::Unbounded, to: Bound::Unbounded },
        };
        if matches!((interval.from, interval.to), (Bound::Unbounded, Bound::Unbounded)) {
            return Err(NO_END.to_owned());
        }
        let is_one = matches!(condition.comparison, Comparison::Equal(_));
        let whole = |least: i128, most: i128, term: &dyn Fn(i128) -> Term| {
            interval.whole(least, most).map(|(from, to)| (term(from), term(to)))
        };
        let ends = match entry.field_type() {
            FieldType::U64(_) => whole(0, u64::MAX.into(), &|end| Term::from_field_u64(field, end as u64)),
            FieldType::I64(_) => {
                whole(i64::MIN.into(), i64::MAX.into(), &|end| Term::from_field_i64(field, end as i64))
            }
            _ => interval.real().map(|(from, to)| (Term::from_field_f64(field, from), Term::from_field_f64(field, to))),
        };
        match (ends, &condition.comparison) {
            (Some((from, to)), _) if is_one && from == to => self.term(from),
            (Some((from, to)), _) => Ok(Box::new(RangeQuery::new(Bound::Included(from), Bound::Included(to)))),
            // A whole number is never 5.5, and one without a sign never below zero: no mistake in a range, but one in a value.
            (None, Comparison::Equal(value)) => {
                let from = if matches!(entry.field_type(), FieldType::U64(_)) { " from 0" } else { "" };
                Err(format!("`{value}` is not a whole number{from}"))
            }
            (None, _) => Ok(Box::new(EmptyQuery)),
        }
    }

    /// A value below a JSON field, which may be there as text, number, date or truth value.
    fn on_keys(
        &mut self,
        field: Field,
        name: &str,
        options: &JsonObjectOptions,
        keys: &[Vec<String>],
        condition: &Condition,
    ) -> QueryResult {
        let columns = || keys.iter().map(|keys| column(name, keys)).collect::<Vec<_>>();
        let not_fast =
            |what: &str| Err(format!("field `{name}` is not FAST, so {what} cannot be searched; ask for one value"));
        match &condition.comparison {
            Comparison::Exists => {
                if !options.is_fast() {
                    return not_fast("whether a name has a value");
                }
                let queries =
                    columns().into_iter().map(|column| -> Box<dyn Query> { Box::new(ExistsQuery::new(column, true)) });
                Ok(union(queries.collect()))
            }
            Comparison::Range { from, to } => {
                if !options.is_fast() {
                    return not_fast("ranges");
                }
                self.lookup(columns(), value_range(from, to)?, options)
            }
            Comparison::Equal(value) => {
                let mut queries = Vec::new();
                for keys in keys {
                    self.add_equal(field, options, keys, value, &mut queries)?;
                }
                if options.is_fast()
                    && let Some(period) = Period::parse(value).map(Period::whole_second)
                {
                    let dates = Some((period.start, period.end));
                    queries.push(self.lookup(columns(), ValueRange { numbers: None, dates }, options)?);
                }
                Ok(union(queries))
            }
        }
    }

    fn lookup(&mut self, columns: Vec<String>, range: ValueRange, options: &JsonObjectOptions) -> QueryResult {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return Err(format!("all filters together have more than {MAX_LOOKUPS} ranges and dates"));
        }
        let has_whole_texts = options.get_fast_field_tokenizer_name() == Some("raw");
        Ok(Box::new(ColumnQuery::new(columns, range, has_whole_texts)))
    }

    /// The terms that a value may be kept as.
    fn add_equal(
        &mut self,
        field: Field,
        options: &JsonObjectOptions,
        keys: &[String],
        value: &str,
        queries: &mut Vec<Box<dyn Query>>,
    ) -> Result<(), String> {
        if !options.is_indexed() {
            return Err("the field is not indexed".to_owned());
        }
        let path = keys.iter().map(|key| escaped(key)).collect::<Vec<_>>().join(".");
        let base = || Term::from_field_json_path(field, &path, options.is_expand_dots_enabled());
        let mut choose = |fill: &dyn Fn(&mut Term)| {
            let mut term = base();
            fill(&mut term);
            self.term(term).map(|query| queries.push(query))
        };
        match Number::parse(value) {
            Some(Number::Whole(whole)) if i64::try_from(whole).is_ok() => {
                choose(&|term| term.append_type_and_fast_value(whole as i64))?;
            }
            Some(Number::Whole(whole)) if u64::try_from(whole).is_ok() => {
                choose(&|term| term.append_type_and_fast_value(whole as u64))?;
            }
            Some(number) => {
                let real = match number {
                    Number::Whole(whole) => whole as f64,
                    Number::Real(real) => real,
                };
                choose(&|term| term.append_type_and_fast_value(real))?;
                // A number without a fraction is a whole one among tantivy's terms, however it was written. The bounds are tantivy's.
                let is_whole = real.fract() == 0.0;
                if is_whole && (i64::MIN as f64..=i64::MAX as f64).contains(&real) {
                    choose(&|term| term.append_type_and_fast_value(real as i64))?;
                } else if is_whole && (0.0..=u64::MAX as f64).contains(&real) {
                    choose(&|term| term.append_type_and_fast_value(real as u64))?;
                }
            }
            None => {}
        }
        if let Some(truth) = truth(value) {
            choose(&|term| term.append_type_and_fast_value(truth))?;
        }
        if let Some(date) = Period::parse(value).and_then(|period| time(period.start)) {
            // Terms have whole seconds only, so a date stands for its second, as it does on a date field.
            choose(&|term| term.append_type_and_fast_value(date.truncate(DATE_TIME_PRECISION_INDEXED)))?;
        }
        // A whole number that is kept as text may have been written either way, and so may a letter with an accent. Only whole texts are
        // compared so: a word `5` may stand in any, and the analysers of words know about letters.
        let has_whole_texts = options.get_fast_field_tokenizer_name() == Some("raw");
        let others = if has_whole_texts { same_texts(value) } else { Vec::new() };
        for value in std::iter::once(value).chain(others.iter().map(String::as_str)) {
            let words = self.words(field, value, |word| {
                let mut term = base();
                term.append_type_and_str(word);
                term
            })?;
            if !words.is_empty() {
                queries.push(intersection(words));
            }
        }
        Ok(())
    }
}

/// Other texts that mean the same as a value: the number written in another way, the letters in another form of Unicode.
pub(super) fn same_texts(value: &str) -> Vec<String> {
    let mut others: Vec<String> = other_spelling(value).into_iter().collect();
    if !value.is_ascii() {
        for other in [value.nfc().collect::<String>(), value.nfd().collect()] {
            if other != value {
                others.push(other);
            }
        }
    }
    others
}

const QUOTES: &str = "a value that begins with < or > needs \"quotes\"";
/// `true` or `false`, in any case of letters.
fn truth(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

/// A key as part of a path in tantivy's notation.
pub(crate) fn escaped(key: &str) -> String {
    key.replace('\\', "\\\\").replace('.', "\\.")
}

/// The name of a column in tantivy's notation.
pub(crate) fn column(field: &str, keys: &[String]) -> String {
    let mut path = escaped(field);
    for key in keys {
        path.push('.');
        path.push_str(&escaped(key));
    }
    path
}
