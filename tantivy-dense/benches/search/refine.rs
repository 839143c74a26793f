//! What comes after a hybrid ranking and beside it, against the plain search.

use std::hint::black_box;
use std::time::Duration;

use tantivy::aggregation::AggregationCollector;
use tantivy::aggregation::agg_req::Aggregations;
use tantivy::query::{Query, QueryParser};
use tantivy::schema::{DateOptions, FAST, STRING, Schema, TEXT};
use tantivy::{DateTime, IndexWriter, TantivyDocument};
use tantivy_dense::hybrid::{
    Boost, Curve, Decay, Diversity, FieldValue, GroupBy, GroupCounts, Order, Sort, ValueField,
};
use tantivy_dense::{Arm, Dense, Hybrid, KnnQuery, VectorField, VectorOptions};

use crate::data::{Data, words};
use crate::index::or_stop;
use crate::table::{floor, in_turns, median, milliseconds, print};

const K: usize = 10;
const BRANDS: usize = 500;
const KINDS: usize = 12;

const WAYS: [&str; 8] = [
    "plain",
    "three boosts (date decay, saturation, filter)",
    "groups by one of 500 values, each counted",
    "two facets (500 and 12 values)",
    "boosts, groups and facets",
    "sorted by a date",
    "diversity of the 100 best",
    "least score",
];

pub fn run(data: &Data, rounds: usize) {
    println!("## After the ranking and beside it, k {K}, window 200, one query at a time\n");
    let mut schema = Schema::builder();
    let text = schema.add_text_field("text", TEXT);
    let brand = schema.add_text_field("brand", STRING | FAST);
    let kind = schema.add_text_field("kind", STRING | FAST);
    let stars = schema.add_f64_field("stars", FAST);
    let released = schema.add_date_field("released", DateOptions::default().set_fast());
    let options = VectorOptions::cosine(data.dimension).int8_first_pass(true);
    let vector = or_stop(VectorField::add_to(&mut schema, "vector", options));
    let folder = or_stop(tempfile::tempdir());
    let dense = Dense::new();
    let index = or_stop(dense.index_builder().schema(schema.build()).create_in_dir(folder.path()));
    let mut writer: IndexWriter = or_stop(index.writer_with_num_threads(1, 1_000_000_000));
    let mut make = words(80, 6);
    for row in 0..data.len() {
        let mut document = TantivyDocument::new();
        document.add_text(text, make());
        document.add_text(brand, format!("brand {}", row.wrapping_mul(7919) % BRANDS));
        document.add_text(kind, format!("kind {}", row.wrapping_mul(31) % KINDS));
        document.add_f64(stars, (row % 50) as f64 / 10.0);
        document.add_date(released, DateTime::from_timestamp_secs((row.wrapping_mul(104_729) % 100_000_000) as i64));
        or_stop(vector.add(&mut document, data.row(row)));
        or_stop(writer.add_document(document));
    }
    or_stop(writer.commit());
    or_stop(writer.wait_merging_threads());
    let searcher = or_stop(dense.reader(&index)).searcher();
    let parser = QueryParser::for_index(&index, vec![text]);
    let mut ask = words(8, 7);
    let queries: Vec<Box<dyn Query>> = data.queries.iter().map(|_| or_stop(parser.parse_query(&ask()))).collect();
    let filter = or_stop(QueryParser::for_index(&index, vec![kind]).parse_query("\"kind 3\""));
    let decay =
        Decay::from_date(Curve::Gaussian, DateTime::from_timestamp_secs(100_000_000), Duration::from_secs(20_000_000));
    let boosted = |hybrid: Hybrid| {
        hybrid
            .boost(Boost::decay(ValueField::new("released"), decay))
            .boost(Boost::saturation(ValueField::new("stars"), 2.0).weight(0.5))
            .boost(Boost::matching(filter.box_clone(), "kind 3", 1.2))
    };
    let facets: Aggregations = or_stop(serde_json::from_str(
        r#"{"brand": {"terms": {"field": "brand", "segment_size": 65000}}, "kind": {"terms": {"field": "kind", "segment_size": 65000}}}"#,
    ));
    let count = |hybrid: &Hybrid| {
        let collector = AggregationCollector::from_aggs(facets.clone(), Default::default());
        black_box(or_stop(searcher.search(&or_stop(hybrid.matching()), &collector)));
    };
    let by = GroupBy::new(ValueField::new("brand"));
    let group = |hybrid: &Hybrid| {
        let groups = or_stop(hybrid.groups(&searcher, &by, 0, K));
        let values: Vec<FieldValue> = groups.iter().filter_map(|group| group.value.clone()).collect();
        let counts = or_stop(GroupCounts::new(&searcher, &by, values));
        black_box(or_stop(searcher.search(&or_stop(hybrid.matching()), &counts)));
        black_box(groups);
    };
    let taken = in_turns(WAYS.len(), queries.len(), rounds, |way, at| {
        let nearest = KnnQuery::all(&dense, vector.clone(), data.queries[at].clone());
        let hybrid = Hybrid::new()
            .arm("text", Arm::text(queries[at].box_clone()), 0.2)
            .arm("vector", Arm::vector(nearest), 0.8)
            .window(200);
        let search = |hybrid: &Hybrid| {
            black_box(or_stop(hybrid.search(&searcher, K)));
        };
        match way {
            0 => search(&hybrid),
            1 => search(&boosted(hybrid)),
            2 => group(&hybrid),
            3 => {
                search(&hybrid);
                count(&hybrid);
            }
            4 => {
                let hybrid = boosted(hybrid);
                group(&hybrid);
                count(&hybrid);
            }
            5 => search(&hybrid.sort(Sort::new(ValueField::new("released"), Order::Descending))),
            6 => search(&hybrid.diversity(Diversity::new(&dense, vector.clone(), 0.7))),
            _ => search(&hybrid.least_score(0.5)),
        }
    });
    let plain = (median(&taken[0].wall), floor(&taken[0].wall));
    let mut rows = Vec::new();
    for (name, times) in WAYS.iter().zip(&taken) {
        let (p50, p10) = (median(&times.wall), floor(&times.wall));
        rows.push(vec![
            (*name).to_owned(),
            milliseconds(p50),
            milliseconds(p10),
            format!("{:.2} x", p50.as_secs_f64() / plain.0.as_secs_f64()),
            format!("{:.2} x", p10.as_secs_f64() / plain.1.as_secs_f64()),
        ]);
    }
    print(&["search", "p50 ms", "p10 ms", "p50, plain = 1", "p10, plain = 1"], &rows);
}
