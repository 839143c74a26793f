//! Conditions on documents, `FIELD:VALUE`, as tantivy queries.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;

use tantivy::query::{BooleanQuery, Query, RangeQuery, TermQuery};
use tantivy::schema::{DATE_TIME_PRECISION_INDEXED, Field, FieldType, IndexRecordOption, Schema};
use tantivy::tokenizer::TokenStream;
use tantivy::{DateTime, Index, Term};

use crate::chunk::is_shared;
use crate::error::PluginError;

/// Furthest end of a range of numbers in metadata: all of them are within what tantivy's columns of whole numbers hold. It
/// takes an end beyond a column's smallest number for an open one.
const MAX_END: f64 = 9e18;
/// A condition on documents, `FIELD:VALUE`.
///
/// On a text field all words of the value must be there; on a field kept as one term, the value itself; on a number or
/// date the value, or a range `FROM..TO` whose ends are included and may be left out. A name that is not a field is
/// looked for in the documents' metadata, with dots between levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    source: String,
    field: String,
    value: String,
}

impl std::str::FromStr for Filter {
    type Err = PluginError;

    fn from_str(source: &str) -> Result<Self, Self::Err> {
        let refuse = |problem: &str| PluginError::Filter {
            filter: source.chars().take(200).collect(),
            problem: problem.to_owned(),
        };
        if source.len() > 1 << 16 {
            return Err(refuse("longer than 65,536 bytes"));
        }
        match source.split_once(':') {
            Some((field, value)) if !field.trim().is_empty() && !value.trim().is_empty() => {
                Ok(Self { source: source.to_owned(), field: field.trim().to_owned(), value: value.trim().to_owned() })
            }
            _ => Err(refuse("expected FIELD:VALUE")),
        }
    }
}

impl Filter {
    /// `FIELD:VALUE` in two parts.
    pub fn new(field: impl Into<String>, value: impl Into<String>) -> Self {
        let (field, value) = (field.into(), value.into());
        Self { source: format!("{field}:{value}"), field, value }
    }

    fn refuse(&self, problem: impl Into<String>) -> PluginError {
        PluginError::Filter { filter: self.source.chars().take(200).collect(), problem: problem.into() }
    }

    /// The condition as a query; its scores mean nothing. `metadata` is the JSON field for names that are no fields.
    ///
    /// # Errors
    /// [`PluginError::Filter`] where the name is unknown, the field is not indexed, or the value is not of its type.
    pub fn query(&self, index: &Index, metadata: Option<&str>) -> Result<Box<dyn Query>, PluginError> {
        let schema = index.schema();
        if let Ok(field) = schema.get_field(&self.field) {
            let entry = schema.get_field_entry(field);
            if !matches!(entry.field_type(), FieldType::JsonObject(_)) {
                return self.on_field(index, &schema, field);
            }
        }
        // `metadata.year:2020`, or `year:2020` for short.
        let (json, path) = match self.field.split_once('.') {
            Some((name, path)) if self.is_json(&schema, name) => (Some(name), path),
            _ => (metadata.filter(|name| self.is_json(&schema, name)), self.field.as_str()),
        };
        match json.and_then(|name| schema.get_field(name).ok()) {
            Some(field) => self.on_path(index, field, path),
            None => {
                let known: Vec<&str> =
                    schema.fields().filter(|(_, entry)| entry.is_indexed()).map(|(_, entry)| entry.name()).collect();
                Err(self.refuse(format!("there is no field `{}`; there are {}", self.field, known.join(", "))))
            }
        }
    }

    /// Whether it looks at something that only a document has and not its further chunks: its words, its key.
    pub(crate) fn is_of_documents(&self, schema: &Schema, key: &str) -> bool {
        schema.get_field(&self.field).is_ok_and(|field| self.field == key || !is_shared(schema.get_field_entry(field)))
    }

    fn is_json(&self, schema: &Schema, name: &str) -> bool {
        schema
            .get_field(name)
            .is_ok_and(|field| matches!(schema.get_field_entry(field).field_type(), FieldType::JsonObject(_)))
    }

    fn on_field(&self, index: &Index, schema: &Schema, field: Field) -> Result<Box<dyn Query>, PluginError> {
        let entry = schema.get_field_entry(field);
        if !entry.is_indexed() {
            return Err(self.refuse(format!("field `{}` is not indexed", self.field)));
        }
        let one = |value: &str| -> Result<Term, PluginError> {
            let wrong = |kind: &str| self.refuse(format!("`{value}` is not {kind}"));
            Ok(match entry.field_type() {
                FieldType::U64(_) => {
                    Term::from_field_u64(field, value.parse().map_err(|_| wrong("a whole number from 0"))?)
                }
                FieldType::I64(_) => Term::from_field_i64(field, value.parse().map_err(|_| wrong("a whole number"))?),
                FieldType::F64(_) => Term::from_field_f64(field, value.parse().map_err(|_| wrong("a number"))?),
                FieldType::Bool(_) => Term::from_field_bool(field, value.parse().map_err(|_| wrong("true or false"))?),
                FieldType::Date(_) => {
                    let date = date(value).ok_or_else(|| wrong("a date as 2024-05-31T00:00:00Z"))?;
                    Term::from_field_date_for_search(field, date)
                }
                FieldType::IpAddr(_) => {
                    let address: Ipv6Addr = match value.parse().map_err(|_| wrong("an IP address"))? {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                        IpAddr::V6(v6) => v6,
                    };
                    Term::from_field_ip_addr(field, address)
                }
                FieldType::Facet(_) => {
                    let facet = tantivy::schema::Facet::from_text(value).map_err(|_| wrong("a facet as /a/b"))?;
                    Term::from_facet(field, &facet)
                }
                _ => return Err(self.refuse(format!("field `{}` cannot be filtered by value", self.field))),
            })
        };
        match entry.field_type() {
            FieldType::Str(_) => self.on_text(index, field),
            FieldType::U64(_) | FieldType::I64(_) | FieldType::F64(_) | FieldType::Date(_)
                if self.value.contains("..") =>
            {
                let (from, to) = self.value.split_once("..").unwrap_or((&self.value, ""));
                self.range(from, to, one)
            }
            _ => Ok(Box::new(TermQuery::new(one(&self.value)?, IndexRecordOption::Basic))),
        }
    }

    fn range(
        &self,
        from: &str,
        to: &str,
        one: impl Fn(&str) -> Result<Term, PluginError>,
    ) -> Result<Box<dyn Query>, PluginError> {
        let bound = |text: &str| match text.trim() {
            "" => Ok(Bound::Unbounded),
            some => one(some).map(Bound::Included),
        };
        let (from, to) = (bound(from)?, bound(to)?);
        if matches!((&from, &to), (Bound::Unbounded, Bound::Unbounded)) {
            return Err(self.refuse("a range needs one end at least"));
        }
        Ok(Box::new(RangeQuery::new(from, to)))
    }

    fn on_text(&self, index: &Index, field: Field) -> Result<Box<dyn Query>, PluginError> {
        let mut analyzer = index.tokenizer_for_field(field)?;
        let mut stream = analyzer.token_stream(&self.value);
        let mut terms: Vec<Box<dyn Query>> = Vec::new();
        while let Some(token) = stream.next() {
            let term = Term::from_field_text(field, &token.text);
            terms.push(Box::new(TermQuery::new(term, IndexRecordOption::Basic)));
        }
        match terms.len() {
            0 => Err(self.refuse("the value has no word that could be searched")),
            1 => Ok(terms.remove(0)),
            _ => Ok(Box::new(BooleanQuery::intersection(terms))),
        }
    }

    /// A value below a JSON field, which may be there as text, number, date or truth value.
    fn on_path(&self, index: &Index, field: Field, path: &str) -> Result<Box<dyn Query>, PluginError> {
        if path.contains('\0') {
            // tantivy ends a path with this character, and would read what follows as a value. It indexes no such names.
            return Err(self.refuse("a name in metadata cannot have the character NUL"));
        }
        let base = || Term::from_field_json_path(field, path, false);
        if let Some((from, to)) = self.value.split_once("..") {
            let schema = index.schema();
            let entry = schema.get_field_entry(field);
            if !entry.is_fast() {
                return Err(self.refuse(format!(
                    "field `{}` is not FAST, so ranges cannot be searched; ask for one value",
                    entry.name()
                )));
            }
            return self.json_range(base, from, to);
        }
        let mut choices: Vec<Box<dyn Query>> = Vec::new();
        let mut choose = |term: Term| choices.push(Box::new(TermQuery::new(term, IndexRecordOption::Basic)));
        if let Ok(number) = self.value.parse::<i64>() {
            let mut term = base();
            term.append_type_and_fast_value(number);
            choose(term);
        } else if let Ok(number) = self.value.parse::<u64>() {
            let mut term = base();
            term.append_type_and_fast_value(number);
            choose(term);
        } else if let Some(number) = self.value.parse::<f64>().ok().filter(|number| number.is_finite()) {
            let mut term = base();
            term.append_type_and_fast_value(number);
            choose(term);
            // A number without a fraction is a whole one among tantivy's terms, however it was written. The bounds are tantivy's.
            let is_whole = number.fract() == 0.0;
            let mut term = base();
            if is_whole && (i64::MIN as f64..=i64::MAX as f64).contains(&number) {
                term.append_type_and_fast_value(number as i64);
                choose(term);
            } else if is_whole && (0.0..=u64::MAX as f64).contains(&number) {
                term.append_type_and_fast_value(number as u64);
                choose(term);
            }
        }
        if let Ok(truth) = self.value.parse::<bool>() {
            let mut term = base();
            term.append_type_and_fast_value(truth);
            choose(term);
        }
        if let Some(date) = date(&self.value) {
            // Terms have whole seconds only, so a date stands for its second, as it does on a date field.
            let mut term = base();
            term.append_type_and_fast_value(date.truncate(DATE_TIME_PRECISION_INDEXED));
            choose(term);
        }
        let mut analyzer = index.tokenizer_for_field(field)?;
        let mut stream = analyzer.token_stream(&self.value);
        let mut words: Vec<Box<dyn Query>> = Vec::new();
        while let Some(token) = stream.next() {
            let mut term = base();
            term.append_type_and_str(&token.text);
            words.push(Box::new(TermQuery::new(term, IndexRecordOption::Basic)));
        }
        match words.len() {
            0 => {}
            1 => choices.append(&mut words),
            _ => choices.push(Box::new(BooleanQuery::intersection(words))),
        }
        Ok(Box::new(BooleanQuery::union(choices)))
    }

    /// A range of numbers or of dates below a JSON field, by its columns.
    fn json_range(&self, base: impl Fn() -> Term, from: &str, to: &str) -> Result<Box<dyn Query>, PluginError> {
        let (from, to) = (self.json_end(from)?, self.json_end(to)?);
        match (from, to) {
            (None, None) => return Err(self.refuse("a range needs one end at least")),
            (Some(End::Number(_)), Some(End::Date(_))) | (Some(End::Date(_)), Some(End::Number(_))) => {
                return Err(self.refuse("one end of the range is a number and the other a date; give two of a kind"));
            }
            _ => {}
        }
        let bound = |end: Option<End>| match end {
            None => Bound::Unbounded,
            Some(end) => {
                let mut term = base();
                match end {
                    // Both ends must be of one type, or tantivy panics; it compares this one with all columns of numbers.
                    End::Number(number) => term.append_type_and_fast_value(number),
                    // Columns of metadata hold dates as exactly as they were given, unlike terms.
                    End::Date(date) => term.append_type_and_fast_value(date),
                }
                Bound::Included(term)
            }
        };
        let range: Box<dyn Query> = Box::new(RangeQuery::new(bound(from), bound(to)));
        match to {
            Some(End::Number(number)) if number < 0.0 => {
                // On a column of u64, tantivy takes an upper f64 below zero for an open end, but not an i64 of zero.
                let mut zero = base();
                zero.append_type_and_fast_value(0_i64);
                let negative: Box<dyn Query> = Box::new(RangeQuery::new(Bound::Unbounded, Bound::Excluded(zero)));
                Ok(Box::new(BooleanQuery::intersection(vec![range, negative])))
            }
            _ => Ok(range),
        }
    }

    /// One end of a range below a JSON field; none where it is left out.
    fn json_end(&self, text: &str) -> Result<Option<End>, PluginError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(number) = text.parse::<f64>() {
            // Not true of what is no number, either.
            return if number.abs() <= MAX_END {
                Ok(Some(End::Number(number)))
            } else {
                Err(self.refuse(format!(
                    "`{text}` is beyond the numbers that a range can end at, -9e18 to 9e18; leave that end out"
                )))
            };
        }
        match date(text) {
            Some(date) => Ok(Some(End::Date(date))),
            None => Err(self.refuse(format!("`{text}` is neither a number nor a date as 2024-05-31T00:00:00Z"))),
        }
    }
}

/// An end of a range in metadata.
#[derive(Debug, Clone, Copy)]
enum End {
    Number(f64),
    Date(DateTime),
}

fn date(text: &str) -> Option<DateTime> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    // tantivy reads dates where it reads JSON; a document with one date field is the public way there.
    let mut schema = Schema::builder();
    let field = schema.add_date_field("date", tantivy::schema::INDEXED);
    let schema = schema.build();
    let json = serde_json::json!({ "date": whole }).to_string();
    let document = tantivy::TantivyDocument::parse_json(&schema, &json).ok()?;
    use tantivy::schema::Value;
    document.get_first(field)?.as_datetime()
}

/// All conditions at once.
pub(crate) fn all_of(
    filters: &[Filter],
    index: &Index,
    metadata: Option<&str>,
) -> Result<Option<Box<dyn Query>>, PluginError> {
    let mut queries = filters.iter().map(|filter| filter.query(index, metadata)).collect::<Result<Vec<_>, _>>()?;
    Ok(match queries.len() {
        0 => None,
        1 => Some(queries.remove(0)),
        _ => Some(Box::new(BooleanQuery::intersection(queries))),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::query::{Syntax, text_query};
    use proptest::prelude::*;
    use tantivy::collector::Count;
    use tantivy::schema::{FAST, INDEXED, STORED, STRING, TEXT};
    use tantivy::{IndexWriter, TantivyDocument};

    pub(crate) fn index() -> Index {
        let mut schema = Schema::builder();
        schema.add_text_field("id", STRING | STORED);
        schema.add_text_field("text", TEXT);
        schema.add_u64_field("year", INDEXED | FAST);
        schema.add_date_field("day", INDEXED | FAST);
        schema.add_text_field("unindexed", STORED);
        schema.add_json_field("metadata", crate::engine::metadata_options());
        let schema = schema.build();
        let index = Index::create_in_ram(schema.clone());
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 20_000_000).unwrap();
        for json in [
            r#"{"id": "a b", "text": "crows bend wire", "year": 2019, "day": "2024-05-31T00:00:00Z", "metadata": {"lang": "en", "n": 5, "rating": 5.0}}"#,
            r#"{"id": "c", "text": "ravens bend rules", "year": 2021, "day": "2025-01-01T00:00:00Z", "metadata": {"lang": "de", "n": 7, "rating": 4.5, "big": 1e19, "deep": {"er": true}}}"#,
        ] {
            writer.add_document(TantivyDocument::parse_json(&schema, json).unwrap()).unwrap();
        }
        writer.commit().unwrap();
        index
    }

    pub(crate) fn count(index: &Index, query: &dyn Query) -> usize {
        index.reader().unwrap().searcher().search(query, &Count).unwrap()
    }

    #[test]
    fn filters_match_by_type() {
        let index = index();
        let count = |filter: &str| {
            let filter: Filter = filter.parse().unwrap();
            filter.query(&index, Some("metadata")).map(|query| count(&index, query.as_ref()))
        };
        for (filter, expected) in [
            ("id:a b", 1),
            ("id:a", 0),
            ("text:Bend", 2),
            ("text:bend wire", 1),
            ("year:2019", 1),
            ("year:2019..2021", 2),
            ("year:2020..", 1),
            ("year:..2020", 1),
            ("day:2024-05-31", 1),
            ("day:2024-06-01..", 1),
            ("lang:de", 1),
            ("metadata.lang:en", 1),
            ("n:7", 1),
            ("n:6..9", 1),
            ("deep.er:true", 1),
            // Numbers are equal however they are written.
            ("rating:5.0", 1),
            ("rating:5", 1),
            ("rating:50e-1", 1),
            ("n:7.0", 1),
            ("rating:4.5", 1),
            ("rating:4", 0),
            ("big:1e19", 1),
            ("big:10000000000000000000", 1),
            ("lang:fr", 0),
        ] {
            assert_eq!(count(filter).unwrap(), expected, "{filter}");
        }
        for filter in ["year:soon", "unindexed:x", "day:today", "text:...!", "year:..", "n:a..b"] {
            assert!(count(filter).is_err(), "{filter}");
        }
        for bad in ["", "year", "year:", ":5", " : "] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
        let no_metadata: Filter = "lang:de".parse().unwrap();
        let said = no_metadata.query(&index, None).unwrap_err().to_string();
        assert!(said.contains("there is no field `lang`; there are id, text, year"), "{said}");
    }

    #[test]
    fn ranges_and_dates_in_metadata() {
        let mut schema = Schema::builder();
        schema.add_json_field("metadata", TEXT | FAST);
        schema.add_json_field("slow", TEXT);
        let schema = schema.build();
        let index = Index::create_in_ram(schema.clone());
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 20_000_000).unwrap();
        for json in [
            r#"{"metadata": {"n": 1, "x": 0.5, "u": 18446744073709551615, "at": "2024-05-31T10:00:00.5Z"}, "slow": {"n": 1}}"#,
            r#"{"metadata": {"n": 2, "x": -1.5, "u": 3, "at": "2024-05-31T12:00:00+02:00"}}"#,
            r#"{"metadata": {"n": -3, "x": 2, "u": 7, "at": "2025-01-01T00:00:00Z"}}"#,
        ] {
            writer.add_document(TantivyDocument::parse_json(&schema, json).unwrap()).unwrap();
        }
        writer.commit().unwrap();
        let count = |filter: &str| {
            let filter: Filter = filter.parse().unwrap();
            filter.query(&index, Some("metadata")).map(|query| count(&index, query.as_ref()))
        };
        for (filter, expected) in [
            // Whole ends, broken ends and one of each, on columns of i64, f64 and u64.
            ("n:1..2.5", 2),
            ("n:0.5..2", 2),
            ("n:..-1", 1),
            ("n:-9e18..9e18", 3),
            ("n:1.5..1.7", 0),
            ("n:5..1", 0),
            ("x:-2..1", 2),
            ("x:..-0.5", 1),
            ("x:0.5..", 2),
            ("u:0.5..7", 2),
            ("u:..-1", 0),
            ("u:-5..3", 1),
            ("u:4..", 2),
            // Dates: one value means its second, a range is exact.
            ("at:2024-05-31T10:00:00Z", 2),
            ("at:2025-01-01", 1),
            ("at:2024-05-31T10:00:00.1Z..2024-06-01", 1),
            ("at:2024-06-01..", 1),
            ("at:..2024-05-31T10:00:00Z", 1),
            ("at:1..2", 0),
            ("n:2024-01-01..", 0),
        ] {
            assert_eq!(count(filter).unwrap(), expected, "{filter}");
        }
        for (filter, said) in [
            ("n:..-1e19", "beyond"),
            ("n:1..inf", "beyond"),
            ("n:NaN..1", "beyond"),
            ("n:1..2024-05-31", "two of a kind"),
            ("n:..", "one end"),
            ("n:a..b", "neither a number nor a date"),
            ("slow.n:0..2", "not FAST"),
            ("n\0x:1..2", "NUL"),
        ] {
            let fault = count(filter).unwrap_err().to_string();
            assert!(fault.contains(said), "{filter}: {fault}");
        }
        assert_eq!(count("slow.n:1").unwrap(), 1);
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_a_query(typed in "\\PC{0,80}|(n|lang|year|day|deep\\.er|metadata\\.n):[-+0-9.eTZ:]{1,16}") {
            let index = index();
            let text = index.schema().get_field("text").unwrap();
            let query = text_query(&index, &[text], &typed, Syntax::Words).unwrap();
            count(&index, query.as_ref());
            if let Ok(filter) = typed.parse::<Filter>()
                && let Ok(query) = filter.query(&index, Some("metadata"))
            {
                count(&index, query.as_ref());
            }
        }
    }
}
