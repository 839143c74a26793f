//! Filters on indexes of documents.

use super::*;
use crate::query::text_query;
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
    // Indexes made elsewhere hold dates as dates.
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
        ("n:..-1e19", 0),
        ("n:-1e300..1e300", 3),
        ("u:18446744073709551614..", 1),
        ("u:>18446744073709551614", 1),
        ("u:..18446744073709551614", 2),
        ("n > 1", 1),
        ("n>=1", 2),
        ("n<1", 1),
        ("n <= 1", 2),
        ("n:>1", 1),
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
        ("n:1..inf", "neither a number nor a date"),
        ("n:NaN..1", "neither a number nor a date"),
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
        let query = text_query(&index, &[text], &typed).unwrap();
        count(&index, query.as_ref());
        if let Ok(filter) = typed.parse::<Filter>()
            && let Ok(query) = filter.query(&index, Some("metadata"))
        {
            count(&index, query.as_ref());
        }
    }
}
