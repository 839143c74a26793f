//! With `ties_by`, the ranking depends on the documents alone: in whatever order and segments they lie, the same keys with the same score
//! bits come in the same order.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

mod support;

use rand::RngExt;
use rand::seq::SliceRandom;
use support::{random, vector};
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{BooleanQuery, Query, RangeQuery, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TEXT, Value};
use tantivy::{Searcher, TantivyDocument, Term};
use tantivy_dense::{Arm, Dense, DenseError, FusedHit, Fusion, Hybrid, KnnQuery, VectorField, VectorOptions};

const DIMENSION: usize = 8;

struct Fields {
    schema: Schema,
    key: Field,
    year: Field,
    text: Field,
    vector: VectorField,
}

impl Fields {
    fn new() -> Fields {
        let mut schema = Schema::builder();
        let key = schema.add_text_field("key", STRING | STORED | FAST);
        let year = schema.add_u64_field("year", INDEXED | FAST);
        let text = schema.add_text_field("text", TEXT);
        let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(DIMENSION)).unwrap();
        Fields { schema: schema.build(), key, year, text, vector }
    }
}

#[derive(Clone)]
struct Row {
    key: String,
    year: u64,
    text: String,
    vector: Option<Vec<f32>>,
}

/// Texts of few words and lengths, so that many scores are equal, and some vectors that many share.
fn rows(count: usize) -> Vec<Row> {
    let mut random = random(3);
    let common: Vec<Vec<f32>> = (0..3).map(|_| vector(&mut random, DIMENSION)).collect();
    (0..count)
        .map(|number| {
            let words =
                (0..random.random_range(1..12)).map(|_| format!("w{}", random.random_range(0..9u32).pow(2) / 9));
            let text = words.collect::<Vec<_>>().join(" ");
            let vector = match number % 10 {
                0 => None,
                1..4 => Some(common[number % 3].clone()),
                _ => Some(vector(&mut random, DIMENSION)),
            };
            Row {
                key: format!("k{:05}", (number * 7919) % 100_003),
                year: random.random_range(1990..2010),
                text,
                vector,
            }
        })
        .collect()
}

struct World {
    dense: Dense,
    searcher: Searcher,
}

/// The rows in a random order and in segments of random lengths.
fn world(fields: &Fields, rows: &[Row], segments: usize, seed: u64) -> World {
    let mut random = random(seed);
    let mut rows = rows.to_vec();
    rows.shuffle(&mut random);
    let dense = Dense::new();
    let index = dense.index_builder().schema(fields.schema.clone()).create_in_ram().unwrap();
    let mut writer = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut ends: Vec<usize> = (1..segments).map(|_| random.random_range(1..rows.len())).collect();
    ends.push(rows.len());
    for (number, row) in (1..).zip(&rows) {
        let mut document = TantivyDocument::new();
        document.add_text(fields.key, &row.key);
        document.add_u64(fields.year, row.year);
        document.add_text(fields.text, &row.text);
        if let Some(values) = &row.vector {
            fields.vector.add(&mut document, values).unwrap();
        }
        writer.add_document(document).unwrap();
        if ends.contains(&number) {
            writer.commit().unwrap();
        }
    }
    let searcher = dense.reader(&index).unwrap().searcher();
    World { dense, searcher }
}

impl World {
    fn hybrid(&self, fields: &Fields, seed: u64) -> Hybrid {
        let mut random = random(seed);
        let word = |number: u32| -> Box<dyn Query> {
            Box::new(TermQuery::new(
                Term::from_field_text(fields.text, &format!("w{number}")),
                IndexRecordOption::WithFreqs,
            ))
        };
        let words = BooleanQuery::union((0..random.random_range(1..5)).map(word).collect());
        let nearest = KnnQuery::all(&self.dense, fields.vector.clone(), vector(&mut random, DIMENSION));
        let weight = random.random_range(0.1..0.9);
        Hybrid::new().arm("words", Arm::text(Box::new(words)), 1.0 - weight).arm("near", Arm::vector(nearest), weight)
    }

    fn keys(&self, fields: &Fields, hits: &[FusedHit]) -> Vec<(String, u32)> {
        let key = |hit: &FusedHit| {
            let document: TantivyDocument = self.searcher.doc(hit.address).unwrap();
            document.get_first(fields.key).and_then(|value| value.as_str().map(str::to_owned)).unwrap()
        };
        hits.iter().map(|hit| (key(hit), hit.score.to_bits())).collect()
    }
}

const FUSIONS: [fn() -> Fusion; 6] =
    [Fusion::rrf, || Fusion::Convex, || Fusion::MinMax, || Fusion::ZScore, || Fusion::Dbsf, || Fusion::Sum];

#[test]
fn the_same_documents_give_the_same_ranking_in_any_segments() {
    let fields = Fields::new();
    let rows = rows(1500);
    let one = world(&fields, &rows, 1, 0);
    let others: Vec<World> =
        [(1, 1), (2, 2), (4, 3), (7, 4)].map(|(segments, seed)| world(&fields, &rows, segments, seed)).into();
    let recent = || {
        Box::new(RangeQuery::new(
            std::ops::Bound::Included(Term::from_field_u64(fields.year, 2000)),
            std::ops::Bound::Unbounded,
        ))
    };
    for seed in 0..8 {
        for fusion in FUSIONS {
            for (window, filtered) in [(10, false), (60, true), (200, false)] {
                let search = |world: &World| {
                    let mut hybrid = world.hybrid(&fields, 100 + seed).fusion(fusion()).window(window).ties_by("key");
                    if filtered {
                        hybrid = hybrid.filter(recent());
                    }
                    // Beyond the window too.
                    world.keys(&fields, &hybrid.search(&world.searcher, window * 6).unwrap())
                };
                let wanted = search(&one);
                for (number, other) in others.iter().enumerate() {
                    let got = search(other);
                    let differs = wanted.iter().zip(&got).position(|(a, b)| a != b);
                    assert_eq!(
                        differs.map(|at| (&wanted[at], &got[at])),
                        None,
                        "{} {window} {filtered} {number} at {differs:?}",
                        fusion()
                    );
                    assert_eq!(wanted.len(), got.len());
                }
            }
        }
    }
}

/// The test would not see a rule that has no effect if addresses gave the same.
#[test]
fn addresses_order_ties_otherwise() {
    let fields = Fields::new();
    let rows = rows(600);
    let (one, other) = (world(&fields, &rows, 1, 0), world(&fields, &rows, 4, 3));
    let search = |world: &World| {
        let hybrid = world.hybrid(&fields, 5).fusion(Fusion::rrf());
        world.keys(&fields, &hybrid.search(&world.searcher, 200).unwrap())
    };
    assert_ne!(search(&one), search(&other));
}

#[test]
fn a_column_that_is_none_is_refused() {
    let fields = Fields::new();
    let world = world(&fields, &rows(50), 2, 1);
    for column in ["text", "missing"] {
        let searched = world.hybrid(&fields, 1).ties_by(column).search(&world.searcher, 10);
        let error: DenseError = searched.unwrap_err();
        assert!(error.to_string().contains(column), "{error}");
    }
}
