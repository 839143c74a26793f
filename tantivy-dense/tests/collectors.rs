//! A vector query is a tantivy query: in Boolean queries, with every collector, explained.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::ops::Bound;

use support::{Fixture, brute_force, random, vector};
use tantivy::aggregation::agg_req::Aggregations;
use tantivy::aggregation::{AggContextParams, AggregationCollector};
use tantivy::collector::{Count, DocSetCollector, FacetCollector, HistogramCollector, MultiCollector, TopDocs};
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{BooleanQuery, BoostQuery, ConstScoreQuery, Occur, Query, RangeQuery, TermQuery};
use tantivy::schema::{FAST, Facet, FacetOptions, Field, IndexRecordOption, STRING, TEXT};
use tantivy::{DocAddress, IndexWriter, Order, Searcher, Term};
use tantivy_dense::{Arm, Dense, DenseError, Hit, Hybrid, KnnQuery, VectorOptions};

const DIMENSION: usize = 12;
const K: usize = 25;

struct World {
    fixture: Fixture,
    text: Field,
    dense: Dense,
    searcher: Searcher,
    query: Vec<f32>,
}

/// Five hundred documents in five segments, every ninth deleted. The text of a document names its number's last digit.
fn world() -> World {
    let mut more = None;
    let fixture = Fixture::with(VectorOptions::cosine(DIMENSION), |schema| {
        let text = schema.add_text_field("text", TEXT);
        let kind = schema.add_text_field("kind", STRING | FAST);
        let place = schema.add_facet_field("place", FacetOptions::default());
        more = Some((text, kind, place));
    });
    let (text, kind, place) = more.unwrap();
    let dense = Dense::new();
    let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut random = random(3);
    for id in 0..500_u64 {
        let mut document = fixture.document(id, Some(&vector(&mut random, DIMENSION)));
        document.add_text(text, format!("digit{} parity{}", id % 10, id % 2));
        document.add_text(kind, format!("kind{}", id % 3));
        document.add_facet(place, Facet::from(&format!("/place/{}", id % 4)));
        writer.add_document(document).unwrap();
        if id % 100 == 99 {
            writer.commit().unwrap();
        }
    }
    for id in (0..500).step_by(9) {
        writer.delete_term(Term::from_field_u64(fixture.id, id));
    }
    writer.commit().unwrap();
    let query = vector(&mut random, DIMENSION);
    let searcher = dense.reader(&index).unwrap().searcher();
    assert_eq!(searcher.segment_readers().len(), 5);
    World { fixture, text, dense, searcher, query }
}

impl World {
    fn knn(&self, k: usize) -> KnnQuery {
        KnnQuery::new(&self.dense, self.fixture.vector.clone(), self.query.clone(), k)
    }

    /// Numbers of the nearest documents by a plain loop, nearest first.
    fn nearest(&self, k: usize, matches: impl Fn(u64) -> bool) -> Vec<u64> {
        let all = brute_force(&self.fixture, &self.dense, &self.searcher, &self.query, matches);
        all.into_iter().take(k).map(|(id, _)| id).collect()
    }

    fn ids(&self, addresses: impl IntoIterator<Item = DocAddress>) -> Vec<u64> {
        addresses.into_iter().map(|address| self.fixture.id_at(&self.searcher, address)).collect()
    }

    fn word(&self, word: &str) -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_text(self.text, word), IndexRecordOption::WithFreqs))
    }

    fn and(&self, k: usize, word: &str) -> BooleanQuery {
        let silent = ConstScoreQuery::new(self.word(word), 0.0);
        BooleanQuery::new(vec![(Occur::Must, Box::new(self.knn(k))), (Occur::Must, Box::new(silent))])
    }
}

#[test]
fn top_docs_by_score() {
    let world = world();
    let found = world.searcher.search(&world.knn(K), &TopDocs::with_limit(K).order_by_score()).unwrap();
    assert_eq!(world.ids(found.iter().map(|hit| hit.1)), world.nearest(K, |_| true));
    let hits: Vec<Hit> = world.knn(K).search(&world.searcher).unwrap();
    assert_eq!(hits.iter().map(|hit| (hit.score, hit.address)).collect::<Vec<_>>(), found);
    // A smaller limit, a larger one, an offset.
    let collector = TopDocs::with_limit(5).and_offset(3).order_by_score();
    assert_eq!(world.searcher.search(&world.knn(K), &collector).unwrap(), found[3..8]);
    let collector = TopDocs::with_limit(100).order_by_score();
    assert_eq!(world.searcher.search(&world.knn(K), &collector).unwrap(), found);
}

#[test]
fn count_and_doc_set() {
    let world = world();
    for k in [0, 1, K, 444, 10_000] {
        let expected: BTreeSet<u64> = world.nearest(k, |_| true).into_iter().collect();
        assert_eq!(world.searcher.search(&world.knn(k), &Count).unwrap(), expected.len());
        let found = world.searcher.search(&world.knn(k), &DocSetCollector).unwrap();
        assert_eq!(world.ids(found).into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn facets() {
    let world = world();
    let mut collector = FacetCollector::for_field("place");
    collector.add_facet("/place");
    let counts = world.searcher.search(&world.knn(K), &collector).unwrap();
    let nearest = world.nearest(K, |_| true);
    for place in 0..4 {
        let expected = nearest.iter().filter(|id| *id % 4 == place).count() as u64;
        let facet = Facet::from(&format!("/place/{place}"));
        let found = counts.get("/place").find(|(found, _)| **found == facet).map_or(0, |(_, count)| count);
        assert_eq!(found, expected, "{facet}");
    }
}

#[test]
fn aggregations() {
    let world = world();
    let request: Aggregations = serde_json::from_value(serde_json::json!({
        "kinds": { "terms": { "field": "kind" }, "aggs": { "mean": { "avg": { "field": "id" } } } },
    }))
    .unwrap();
    let collector = AggregationCollector::from_aggs(request, AggContextParams::default());
    let result = serde_json::to_value(world.searcher.search(&world.knn(K), &collector).unwrap()).unwrap();
    let nearest = world.nearest(K, |_| true);
    let buckets = result["kinds"]["buckets"].as_array().unwrap();
    for kind in 0..3 {
        let ids: Vec<u64> = nearest.iter().copied().filter(|id| id % 3 == kind).collect();
        let bucket = buckets.iter().find(|bucket| bucket["key"] == format!("kind{kind}")).unwrap();
        assert_eq!(bucket["doc_count"], ids.len());
        let mean = ids.iter().sum::<u64>() as f64 / ids.len() as f64;
        assert!((bucket["mean"]["value"].as_f64().unwrap() - mean).abs() < 1e-9);
    }
}

#[test]
fn order_by_a_fast_field() {
    let world = world();
    let mut expected = world.nearest(K, |_| true);
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let collector = TopDocs::with_limit(K).order_by_fast_field::<u64>("id", Order::Desc);
    let found = world.searcher.search(&world.knn(K), &collector).unwrap();
    assert_eq!(found.iter().map(|(id, _)| id.unwrap()).collect::<Vec<_>>(), expected);
    let collector = TopDocs::with_limit(4).order_by_u64_field("id", Order::Asc);
    let found = world.searcher.search(&world.knn(K), &collector).unwrap();
    expected.reverse();
    assert_eq!(found.iter().map(|(id, _)| id.unwrap()).collect::<Vec<_>>(), expected[..4]);
}

#[test]
fn several_collectors_at_once_and_a_histogram() {
    let world = world();
    let mut collectors = MultiCollector::new();
    let count = collectors.add_collector(Count);
    let top = collectors.add_collector(TopDocs::with_limit(3).order_by_score());
    let histogram = collectors.add_collector(HistogramCollector::new("id".to_owned(), 0_u64, 100, 5));
    let mut fruit = world.searcher.search(&world.knn(K), &collectors).unwrap();
    let nearest = world.nearest(K, |_| true);
    assert_eq!(count.extract(&mut fruit), K);
    assert_eq!(world.ids(top.extract(&mut fruit).into_iter().map(|hit| hit.1)), nearest[..3]);
    let expected: Vec<u64> =
        (0..5).map(|hundred| nearest.iter().filter(|id| *id / 100 == hundred).count() as u64).collect();
    assert_eq!(histogram.extract(&mut fruit), expected);
}

#[test]
fn a_clause_narrows_the_k_down_and_a_filter_comes_before_them() {
    let world = world();
    let k_nearest = world.nearest(K, |_| true);
    let found = world.searcher.search(&world.and(K, "parity1"), &TopDocs::with_limit(K).order_by_score()).unwrap();
    let expected: Vec<u64> = k_nearest.iter().copied().filter(|id| id % 2 == 1).collect();
    assert_eq!(world.ids(found.into_iter().map(|hit| hit.1)), expected);
    assert!(expected.len() < K);

    for filter in [
        world.word("parity1"),
        Box::new(RangeQuery::new(
            Bound::Included(Term::from_field_u64(world.fixture.id, 100)),
            Bound::Excluded(Term::from_field_u64(world.fixture.id, 350)),
        )),
        Box::new(world.and(100, "digit3")),
    ] {
        let matching: BTreeSet<u64> =
            world.ids(world.searcher.search(&filter, &DocSetCollector).unwrap()).into_iter().collect();
        let found = world.knn(K).filter(filter.box_clone()).search(&world.searcher).unwrap();
        assert_eq!(world.ids(found.iter().map(|hit| hit.address)), world.nearest(K, |id| matching.contains(&id)));
    }
    let both = world.knn(K).filter(world.word("parity1")).filter(world.word("digit3"));
    let found = both.search(&world.searcher).unwrap();
    assert_eq!(world.ids(found.iter().map(|hit| hit.address)), world.nearest(K, |id| id % 10 == 3));
}

#[test]
fn must_not_and_should_and_boost() {
    let world = world();
    let without: Vec<(Occur, Box<dyn Query>)> =
        vec![(Occur::Must, world.word("parity0")), (Occur::MustNot, Box::new(world.knn(K)))];
    let even = world.searcher.search(&world.word("parity0"), &Count).unwrap();
    let nearest = world.nearest(K, |_| true);
    let near_even = nearest.iter().filter(|id| *id % 2 == 0).count();
    assert_eq!(world.searcher.search(&BooleanQuery::new(without), &Count).unwrap(), even - near_even);

    // Scores add up, and the explanation of every hit says how.
    let either: Vec<(Occur, Box<dyn Query>)> = vec![
        (Occur::Should, world.word("digit7")),
        (Occur::Should, Box::new(BoostQuery::new(Box::new(world.knn(K)), 3.0))),
    ];
    let either = BooleanQuery::new(either);
    let found = world.searcher.search(&either, &TopDocs::with_limit(500).order_by_score()).unwrap();
    let words = world.searcher.search(&world.word("digit7"), &Count).unwrap();
    let both = nearest.iter().filter(|id| *id % 10 == 7).count();
    assert_eq!(found.len(), words + K - both);
    for (score, address) in &found {
        let explanation = either.explain(&world.searcher, *address).unwrap();
        assert!((explanation.value() - score).abs() < 1e-5, "{}", explanation.to_pretty_json());
    }
}

#[test]
fn explanations_name_similarity_and_path() {
    let world = world();
    let query = world.knn(K).filter(world.word("parity1"));
    let found = query.run(&world.searcher).unwrap();
    for hit in &found.hits {
        let explanation = query.explain(&world.searcher, hit.address).unwrap();
        assert_eq!(explanation.value(), hit.score);
        let text = explanation.to_pretty_json();
        assert!(text.contains("similarity (cosine)") && text.contains("exact:"), "{text}");
    }
    let other = world.nearest(500, |_| true)[K + 50];
    let address = world.fixture.addresses(&world.searcher)[&other];
    let error = query.explain(&world.searcher, address).unwrap_err();
    assert!(error.to_string().contains("not among the hits of the 25 nearest in `vector`"), "{error}");
}

/// A hit is explained by the search that found it, however many were asked for and however narrow the window; and more may be
/// asked for than there are.
#[test]
fn hybrid_hits_are_explained_by_their_own_search() {
    let world = world();
    for (window, k) in [(1, 30), (200, 30), (1, usize::MAX)] {
        let hybrid = Hybrid::new()
            .arm("words", Arm::text(world.word("digit7")), 0.0)
            .arm("vectors", Arm::vector(world.knn(1)), 1.0)
            .window(window);
        let hits = hybrid.search(&world.searcher, k).unwrap();
        assert_eq!(hits.len(), k.min(500 - 56));
        let together = hybrid.explain_all(&world.searcher, &hits).unwrap();
        assert_eq!(together.len(), hits.len());
        for (hit, explanation) in hits.iter().zip(together).step_by(7) {
            let text = hybrid.explain(&world.searcher, hit).unwrap().to_pretty_json();
            assert!(text.contains("exact:") && !text.contains("not among"), "{text}");
            assert_eq!(explanation.to_pretty_json(), text);
        }
    }
}

/// A vector arm's own limits hold for what the other arms found as for what it finds itself.
#[test]
fn a_vector_arm_has_no_score_for_what_it_leaves_out() {
    let world = world();
    let all = brute_force(&world.fixture, &world.dense, &world.searcher, &world.query, |_| true);
    let least = ((all[199].1 + all[200].1) / 2.0) as f32;
    let similar = |id: u64| all[..200].iter().any(|hit| hit.0 == id);
    let odd = |id: u64| id % 2 == 1;
    let both = |id: u64| odd(id) && similar(id);
    let filtered = || world.knn(1).filter(world.word("parity1"));
    let arms: [(KnnQuery, &dyn Fn(u64) -> bool); 4] = [
        (world.knn(1), &|_: u64| true),
        (world.knn(1).min_similarity(least), &similar),
        (filtered(), &odd),
        (filtered().min_similarity(least), &both),
    ];
    for (arm, admits) in arms {
        let words = BooleanQuery::union(vec![world.word("digit4"), world.word("digit7")]);
        let words = Arm::text(Box::new(words));
        let hybrid = Hybrid::new().arm("words", words, 1.0).arm("vectors", Arm::vector(arm), 1.0).window(100);
        for hybrid in [hybrid.clone(), hybrid.filter(world.word("digit4"))] {
            let matrix = hybrid.matrix(&world.searcher).unwrap();
            assert!(matrix.candidates().len() > 40);
            for (&address, raw) in matrix.candidates().iter().zip(matrix.columns()[1].raw()) {
                let id = world.fixture.id_at(&world.searcher, address);
                assert_eq!(raw.is_some(), admits(id), "document {id}");
            }
        }
    }
}

#[test]
fn everything_within_a_similarity() {
    let world = world();
    let all = brute_force(&world.fixture, &world.dense, &world.searcher, &world.query, |_| true);
    // None, the nearest forty, all.
    for least in [1.1, ((all[39].1 + all[40].1) / 2.0) as f32, -1.1] {
        let query = KnnQuery::within(&world.dense, world.fixture.vector.clone(), world.query.clone(), least);
        let expected: Vec<u64> = all.iter().filter(|hit| hit.1 >= f64::from(least)).map(|hit| hit.0).collect();
        let hits = query.search(&world.searcher).unwrap();
        assert_eq!(world.ids(hits.iter().map(|hit| hit.address)), expected);
        assert_eq!(world.searcher.search(&query, &Count).unwrap(), expected.len());
        // With a number as well, the nearer of the two limits holds.
        let hits = world.knn(10).min_similarity(least).search(&world.searcher).unwrap();
        assert_eq!(world.ids(hits.iter().map(|hit| hit.address)), expected[..expected.len().min(10)]);
    }
    let error = world.knn(3).min_similarity(f32::NAN).search(&world.searcher).unwrap_err();
    assert!(error.to_string().contains("not a number"), "{error}");
}

#[test]
fn there_is_no_similarity_beyond_the_documents() {
    let world = world();
    let similarities = |address| world.knn(1).similarities(&world.searcher, &[address]);
    assert!(similarities(DocAddress::new(4, 99)).unwrap()[0].is_some());
    for address in [DocAddress::new(4, 100), DocAddress::new(5, 0)] {
        assert!(matches!(similarities(address), Err(DenseError::Query { .. })), "{address:?}");
    }
}

#[test]
fn deleting_by_a_vector_query_is_a_clear_error() {
    let world = world();
    let index = world.searcher.index();
    let writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    let error = writer.delete_query(Box::new(world.knn(3))).unwrap_err();
    assert!(error.to_string().contains("needs a searcher"), "{error}");
}
