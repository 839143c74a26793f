//! A plain reading of filters over JSON documents, held against the answers of an index.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tantivy::collector::DocSetCollector;
use tantivy::indexer::NoMergePolicy;
use tantivy::schema::{FAST, STORED, STRING, Schema, Value as _};
use tantivy::{Index, IndexWriter, TantivyDocument, Term};

use super::Filter;
use super::compile::same_texts;
use super::date::Period;
use super::expression::{Comparison, Condition, Expression};
use super::number::Number;

/// Whether a document matches, by going through all of its values.
fn matches(expression: &Expression, document: &Value) -> bool {
    match expression {
        Expression::And(items) => items.iter().all(|item| matches(item, document)),
        Expression::Or(items) => items.iter().any(|item| matches(item, document)),
        Expression::Not(inner) => !matches(inner, document),
        Expression::Condition(condition) => condition.readings().any(|reading| {
            let keys = reading.path.keys();
            keys.iter().any(|keys| holds(reading, document, keys))
        }),
    }
}

fn holds(condition: &Condition, value: &Value, keys: &[String]) -> bool {
    match (value, keys) {
        // Lists are seen through, however they are nested.
        (Value::Array(items), _) => items.iter().any(|item| holds(condition, item, keys)),
        (Value::Object(object), [first, rest @ ..]) => {
            object.get(first).is_some_and(|inner| holds(condition, inner, rest))
        }
        (Value::Object(object), []) => {
            condition.comparison == Comparison::Exists && object.values().any(|inner| holds(condition, inner, keys))
        }
        (Value::Null, _) | (_, [_, ..]) => false,
        (leaf, []) => compares(&condition.comparison, leaf),
    }
}

fn compares(comparison: &Comparison, leaf: &Value) -> bool {
    let number = match leaf {
        Value::Number(number) => Number::parse(&number.to_string()),
        _ => None,
    };
    let text = leaf.as_str();
    match comparison {
        Comparison::Exists => true,
        Comparison::Equal(wanted) => {
            text == Some(wanted)
                || text.is_some_and(|text| same_texts(wanted).iter().any(|same| same == text))
                || number.is_some_and(|number| Number::parse(wanted) == Some(number))
                || leaf.as_bool().is_some_and(|truth| wanted.eq_ignore_ascii_case(&truth.to_string()))
                || text.and_then(Period::parse).is_some_and(|date| {
                    let period = Period::parse(wanted).map(Period::whole_second);
                    period.is_some_and(|period| period.start <= date.start && date.start < period.end)
                })
        }
        Comparison::Range { from, to } => {
            let number = number.or_else(|| Number::parse(text?));
            let end = |end: &Bound<String>| match end {
                Bound::Unbounded => None,
                Bound::Included(text) | Bound::Excluded(text) => Some(text.clone()),
            };
            let ends: Vec<String> = [from, to].into_iter().filter_map(end).collect();
            let are_numbers = ends.iter().all(|end| Number::parse(end).is_some());
            let are_dates = ends.iter().all(|end| Period::parse(end).is_some());
            let by_number = are_numbers
                && number.is_some_and(|number| {
                    let above = match from {
                        Bound::Unbounded => true,
                        Bound::Included(end) => number >= Number::parse(end).unwrap(),
                        Bound::Excluded(end) => number > Number::parse(end).unwrap(),
                    };
                    above
                        && match to {
                            Bound::Unbounded => true,
                            Bound::Included(end) => number <= Number::parse(end).unwrap(),
                            Bound::Excluded(end) => number < Number::parse(end).unwrap(),
                        }
                });
            let by_date = are_dates
                && text.and_then(Period::parse).is_some_and(|date| {
                    let above = match from {
                        Bound::Unbounded => true,
                        Bound::Included(end) => date.start >= Period::parse(end).unwrap().start,
                        Bound::Excluded(end) => date.start >= Period::parse(end).unwrap().end,
                    };
                    above
                        && match to {
                            Bound::Unbounded => true,
                            Bound::Included(end) => date.start < Period::parse(end).unwrap().end,
                            Bound::Excluded(end) => date.start < Period::parse(end).unwrap().start,
                        }
                });
            by_number || by_date
        }
    }
}

/// Chance from a seed, the same on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const KEYS: [&str; 9] = ["a", "b", "a.b", "a.b.c", "c:d", "é", "n ame", "b:a.c", "OR"];
const NAMES: [&str; 16] = [
    "a", "b", "a.b", "\"a.b\"", "a.\"b\"", "a.b.c", "a\\.b.c", "c:d", "\"c:d\"", "é", "n ame", "b:a.c", "a.c:d",
    "\"OR\"", "x", "a.a",
];
const TEXTS: [&str; 36] = [
    "é",
    "e\u{301}",
    "x",
    "x y",
    "",
    "a:b",
    "O'Neill, R&D",
    "true",
    "TRUE",
    "5",
    "5.0",
    "-5",
    "+7",
    "1e1",
    "007",
    "2024",
    "2023.5",
    "2024-05",
    "2024-05-31",
    "2024-02-30",
    "2024-05-31 10:00",
    "2024-05-31 10:00:00",
    "2024-05-31T10:00:00Z",
    "2024-05-31T10:00:00.123456+00:00",
    "2024-05-31 10:00:00.123+02",
    "2024-06-01T00:30:00+02:00",
    "2023-12-31T23:30:00-01:00",
    "1969-12-31T23:59:59.5Z",
    "1600-01-01",
    "9999-12-31T23:59:59-05:00",
    "0000-01-01T00:00:00+05:00",
    "Fri, 31 May 2024 10:00:00 GMT",
    "Mon, 31 May 2024 10:00:00 GMT",
    "2024-05-31, roughly",
    "soon",
    "../..",
];

fn leaf(chance: &mut Chance) -> Value {
    match chance.below(10) {
        0 => json!(chance.below(12) as i64 - 6),
        1 => json!((chance.below(24) as f64 - 12.0) / 4.0),
        2 => json!([2023, 2024, 2025][chance.below(3)]),
        3 => json!(chance.below(2) == 0),
        4 => Value::Null,
        _ => json!(chance.of(&TEXTS)),
    }
}

fn value(chance: &mut Chance, depth: usize) -> Value {
    match chance.below(8) {
        0 if depth > 0 => object(chance, depth - 1),
        1 if depth > 0 => (0..chance.below(3)).map(|_| value(chance, depth - 1)).collect(),
        _ => leaf(chance),
    }
}

fn object(chance: &mut Chance, depth: usize) -> Value {
    let keys = chance.below(4);
    Value::Object((0..keys).map(|_| (chance.of(&KEYS).to_string(), value(chance, depth))).collect::<Map<_, _>>())
}

/// A filter as text, mostly in the grammar.
fn filter(chance: &mut Chance, depth: usize) -> String {
    match chance.below(7) {
        0 if depth > 0 => format!("NOT {}", filter(chance, depth - 1)),
        1 if depth > 0 => format!("-({})", filter(chance, depth - 1)),
        2 if depth > 0 => format!("{} AND {}", filter(chance, depth - 1), filter(chance, depth - 1)),
        3 if depth > 0 => format!("({} OR {})", filter(chance, depth - 1), filter(chance, depth - 1)),
        _ => {
            let name = chance.of(&NAMES).to_string();
            let (one, other) = (operand(chance), operand(chance));
            match chance.below(9) {
                0 => format!("{name}:{one}..{other}"),
                1 => format!("{name}:{one}.."),
                2 => format!("{name}:..{one}"),
                3 => format!("{name} {} {one}", chance.of(&[">", ">=", "<", "<="])),
                4 => format!("{name}:(\"{}\", {one})", chance.of(&TEXTS)),
                5 => format!("{name}:*"),
                6 => format!("{name}:\"{}\"", chance.of(&TEXTS)),
                _ => format!("{name}:{one}"),
            }
        }
    }
}

fn operand(chance: &mut Chance) -> String {
    match leaf(chance) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// How long the longest tests look for faults, from `ADAM_FUZZ_SECONDS`.
fn patience() -> Duration {
    let seconds = std::env::var("ADAM_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(2.0))
}

/// An index of documents in several segments, some of them deleted, and the documents that are left.
fn indexed(chance: &mut Chance) -> (Index, Vec<(String, Value)>) {
    let mut schema = Schema::builder();
    let id = schema.add_text_field("id", STRING | STORED | FAST);
    let metadata = schema.add_json_field("metadata", crate::engine::metadata_options());
    let index = Index::create_in_ram(schema.build());
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut left = Vec::new();
    let mut at = 0;
    for _ in 0..3 {
        for _ in 0..40 {
            at += 1;
            let document = object(chance, 3);
            let mut out = TantivyDocument::new();
            out.add_text(id, at.to_string());
            let Value::Object(members) = &document else { unreachable!() };
            out.add_object(metadata, crate::engine::owned_object(members));
            writer.add_document(out).unwrap();
            left.push((at.to_string(), document));
        }
        writer.commit().unwrap();
    }
    left.retain(|(key, _)| {
        let is_deleted = chance.below(6) == 0;
        if is_deleted {
            writer.delete_term(Term::from_field_text(id, key));
        }
        !is_deleted
    });
    writer.commit().unwrap();
    (index, left)
}

#[test]
fn an_index_answers_as_going_through_all_documents_does() {
    let patience = patience();
    let began = Instant::now();
    let (mut asked, mut found, mut seed) = (0, 0, 7);
    while began.elapsed() < patience || seed == 7 {
        seed += 1;
        let mut chance = Chance(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let (index, documents) = indexed(&mut chance);
        let id = index.schema().get_field("id").unwrap();
        let searcher = index.reader().unwrap().searcher();
        assert!(searcher.segment_readers().len() > 1);
        for _ in 0..400 {
            let text = filter(&mut chance, 2);
            let Ok(parsed) = Filter::parse(&text) else { continue };
            let Ok(query) = parsed.query(&index, Some("metadata")) else { continue };
            let got: BTreeSet<String> = searcher
                .search(query.as_ref(), &DocSetCollector)
                .unwrap()
                .into_iter()
                .map(|address| {
                    let document: TantivyDocument = searcher.doc(address).unwrap();
                    document.get_first(id).unwrap().as_str().unwrap().to_owned()
                })
                .collect();
            let expected: BTreeSet<String> = documents
                .iter()
                .filter(|(_, document)| matches(parsed.expression(), document))
                .map(|(id, _)| id.clone())
                .collect();
            if got != expected {
                let wrong: Vec<_> = documents
                    .iter()
                    .filter(|(id, _)| got.contains(id) != expected.contains(id))
                    .map(|(id, document)| {
                        format!("{} {document}", if got.contains(id) { "found" } else { "not found" })
                    })
                    .collect();
                panic!("seed {seed}, {text}: {}", wrong.join("\n"));
            }
            asked += 1;
            found += usize::from(!got.is_empty());
        }
    }
    // That the filters are of use at all.
    assert!(asked > 100 && found * 5 > asked, "{asked} asked, {found} found something");
}

#[test]
fn dates_are_what_another_calendar_says() {
    use chrono::{FixedOffset, NaiveDate, TimeZone};
    let patience = patience();
    let began = Instant::now();
    let mut chance = Chance(0x1234_5678_9abc_def1);
    let (mut dates, mut others) = (0, 0);
    while began.elapsed() < patience || dates < 10_000 {
        let year = *chance.of(&[0, 1, 4, 1582, 1600, 1677, 1900, 1969, 1970, 2000, 2023, 2024, 2100, 2262, 9999]);
        let (month, day) = (chance.below(14) as u32, chance.below(33) as u32);
        let (hour, minute, second) = (chance.below(25) as u32, chance.below(61) as u32, chance.below(60) as u32);
        let digits = chance.below(10);
        let fraction = format!("{:09}", chance.below(1_000_000_000));
        let (zone_hours, zone_minutes) = (chance.below(24) as i32, chance.below(60) as i32);
        let (sign, zone_text) = match chance.below(8) {
            0 => (0, "Z".to_owned()),
            1 => (0, String::new()),
            2 => (0, " UTC".to_owned()),
            3 => (1, format!("+{zone_hours:02}:{zone_minutes:02}")),
            4 => (-1, format!("-{zone_hours:02}:{zone_minutes:02}")),
            5 => (1, format!("+{zone_hours:02}{zone_minutes:02}")),
            6 => (-1, format!(" -{zone_hours:02}{zone_minutes:02}")),
            _ => (0, "+00:00".to_owned()),
        };
        let day_text = format!("{year:04}-{month:02}-{day:02}");
        let date = NaiveDate::from_ymd_opt(year, month, day);
        let (text, expected) = match chance.below(3) {
            0 => (day_text, date.and_then(|date| date.and_hms_opt(0, 0, 0)).map(|time| time.and_utc())),
            form => {
                let nanoseconds = format!("{:0<9}", &fraction[..digits]).parse().unwrap();
                let fraction = if digits == 0 { String::new() } else { format!(".{}", &fraction[..digits]) };
                let joint = if form == 1 { 'T' } else { ' ' };
                let text = format!("{day_text}{joint}{hour:02}:{minute:02}:{second:02}{fraction}{zone_text}");
                let zone = FixedOffset::east_opt(sign * (zone_hours * 3600 + zone_minutes * 60));
                let time = date.and_then(|date| date.and_hms_nano_opt(hour, minute, second, nanoseconds));
                let there = time.zip(zone).and_then(|(time, zone)| zone.from_local_datetime(&time).single());
                (text, there.map(|time| time.to_utc()))
            }
        };
        let expected = expected
            .map(|time| i128::from(time.timestamp()) * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos()));
        assert_eq!(Period::parse(&text).map(|period| period.start), expected, "{text}");
        match expected {
            Some(_) => dates += 1,
            None => others += 1,
        }
    }
    assert!(others > 100);
}
