//! From what a person types to tantivy queries.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;

use tantivy::query::{BooleanQuery, EmptyQuery, Query, QueryParser, RangeQuery, TermQuery};
use tantivy::schema::{Field, FieldType, IndexRecordOption, Schema};
use tantivy::tokenizer::TokenStream;
use tantivy::{DateTime, Index, Term};

use crate::chunk::is_shared;
use crate::error::PluginError;

/// Longest query read, in bytes.
pub const MAX_QUERY: usize = 1 << 20;

/// Most different words of a query that are searched; further ones add time and hardly anything else.
const MAX_WORDS: usize = 1024;

/// How the text of a query is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Syntax {
    /// As plain words: any text is a query, whatever quotes, colons or brackets are in it. Documents with any of the
    /// words match, and each different word counts once.
    #[default]
    Words,
    /// As tantivy's query language: `title:crow AND "new caledonian" -raven`.
    Language,
}

/// A query over text fields from what was typed.
///
/// # Errors
/// [`PluginError::Query`] for a text beyond 1 MiB, and for a fault in the query language.
pub fn text_query(index: &Index, fields: &[Field], text: &str, syntax: Syntax) -> Result<Box<dyn Query>, PluginError> {
    check_length(text)?;
    match syntax {
        Syntax::Words => words(index, fields, text),
        Syntax::Language => QueryParser::for_index(index, fields.to_vec())
            .parse_query(text)
            .map_err(|fault| PluginError::Query { problem: format!("not in the query language: {fault}") }),
    }
}

pub(crate) fn check_length(text: &str) -> Result<(), PluginError> {
    if text.len() > MAX_QUERY {
        return Err(PluginError::Query {
            problem: format!("it is {} bytes long; the limit is {MAX_QUERY}", text.len()),
        });
    }
    Ok(())
}

fn words(index: &Index, fields: &[Field], text: &str) -> Result<Box<dyn Query>, PluginError> {
    let mut terms: Vec<Box<dyn Query>> = Vec::new();
    for &field in fields {
        let mut analyzer = index.tokenizer_for_field(field)?;
        let mut seen = HashSet::new();
        let mut stream = analyzer.token_stream(text);
        while let Some(token) = stream.next() {
            if seen.len() < MAX_WORDS && seen.insert(token.text.clone()) {
                let term = Term::from_field_text(field, &token.text);
                terms.push(Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)));
            }
        }
    }
    Ok(match terms.len() {
        0 => Box::new(EmptyQuery),
        _ => Box::new(BooleanQuery::union(terms)),
    })
}

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

    /// A value below a JSON field, which may be there as text, number or truth value.
    fn on_path(&self, index: &Index, field: Field, path: &str) -> Result<Box<dyn Query>, PluginError> {
        let base = || Term::from_field_json_path(field, path, false);
        if let Some((from, to)) = self.value.split_once("..") {
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
        }
        if let Ok(truth) = self.value.parse::<bool>() {
            let mut term = base();
            term.append_type_and_fast_value(truth);
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

    fn json_range(&self, base: impl Fn() -> Term, from: &str, to: &str) -> Result<Box<dyn Query>, PluginError> {
        self.range(from, to, |text| {
            let number: f64 = text
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .ok_or_else(|| self.refuse(format!("`{text}` is not a number")))?;
            let mut term = base();
            if number.fract() == 0.0 && number.abs() < 9e15 {
                term.append_type_and_fast_value(number as i64);
            } else {
                term.append_type_and_fast_value(number);
            }
            Ok(term)
        })
    }
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tantivy::collector::Count;
    use tantivy::schema::{FAST, INDEXED, STORED, STRING, TEXT};
    use tantivy::{IndexWriter, TantivyDocument};

    fn index() -> Index {
        let mut schema = Schema::builder();
        schema.add_text_field("id", STRING | STORED);
        schema.add_text_field("text", TEXT);
        schema.add_u64_field("year", INDEXED | FAST);
        schema.add_date_field("day", INDEXED | FAST);
        schema.add_text_field("unindexed", STORED);
        schema.add_json_field("metadata", TEXT | STORED | FAST);
        let schema = schema.build();
        let index = Index::create_in_ram(schema.clone());
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 20_000_000).unwrap();
        for json in [
            r#"{"id": "a b", "text": "crows bend wire", "year": 2019, "day": "2024-05-31T00:00:00Z", "metadata": {"lang": "en", "n": 5}}"#,
            r#"{"id": "c", "text": "ravens bend rules", "year": 2021, "day": "2025-01-01T00:00:00Z", "metadata": {"lang": "de", "n": 7, "deep": {"er": true}}}"#,
        ] {
            writer.add_document(TantivyDocument::parse_json(&schema, json).unwrap()).unwrap();
        }
        writer.commit().unwrap();
        index
    }

    fn count(index: &Index, query: &dyn Query) -> usize {
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
    fn words_are_searched_whatever_stands_between_them() {
        let index = index();
        let text = index.schema().get_field("text").unwrap();
        for typed in ["crows: \"bend", "(crows AND", "crows^^ -", "CROWS crows crows", "title:crows [* TO", "+\\crows~"]
        {
            let query = text_query(&index, &[text], typed, Syntax::Words).unwrap();
            assert!(count(&index, query.as_ref()) >= 1, "{typed}");
        }
        let nothing = text_query(&index, &[text], "?!", Syntax::Words).unwrap();
        assert_eq!(count(&index, nothing.as_ref()), 0);
        let strict = text_query(&index, &[text], "bend AND rules", Syntax::Language).unwrap();
        assert_eq!(count(&index, strict.as_ref()), 1);
        assert!(text_query(&index, &[text], "bend AND (", Syntax::Language).is_err());
        assert!(text_query(&index, &[text], &"x ".repeat(1 << 20), Syntax::Words).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_a_query(typed in "\\PC{0,80}") {
            let index = index();
            let text = index.schema().get_field("text").unwrap();
            let query = text_query(&index, &[text], &typed, Syntax::Words).unwrap();
            count(&index, query.as_ref());
            if let Ok(filter) = typed.parse::<Filter>() {
                let _ = filter.query(&index, Some("metadata"));
            }
        }
    }
}
