//! One ranking, whatever part of it is asked for: pages of a hybrid search, in every fusion, over segments, deletes and filters.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

mod support;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use support::{Fixture, random, vector};
use tantivy::collector::{Count, DocSetCollector, TopDocs};
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, Explanation, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, STORED, TEXT};
use tantivy::snippet::SnippetGenerator;
use tantivy::{DocAddress, Searcher, Term};
use tantivy_dense::hybrid::{Column, Normalise};
use tantivy_dense::{
    Arm, Dense, DenseError, FusedHit, Fusion, Hybrid, HybridQuery, KnnQuery, Metric, Ranking, VectorOptions,
};

const DIMENSION: usize = 6;
const DOCUMENTS: u64 = 400;

struct World {
    fixture: Fixture,
    text: Field,
    dense: Dense,
    searcher: Searcher,
}

/// Documents in five segments, a tenth deleted, a tenth without a vector, a tenth with one vector in common, and texts of few words, so
/// that many are alike.
fn world(metric: Metric) -> World {
    let mut text = None;
    let fixture = Fixture::with(VectorOptions::new(metric, DIMENSION), |schema| {
        text = Some(schema.add_text_field("text", TEXT | STORED));
    });
    let text = text.unwrap();
    let dense = Dense::new();
    let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
    let mut writer = dense.writer(&index, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut random = random(11);
    let common = vector(&mut random, DIMENSION);
    for id in 0..DOCUMENTS {
        let own = vector(&mut random, DIMENSION);
        let values = match id % 10 {
            3 => None,
            7 => Some(&common),
            _ => Some(&own),
        };
        let mut document = fixture.document(id, values.map(Vec::as_slice));
        let words: Vec<String> =
            (0..random.random_range(1..5)).map(|_| format!("w{}", random.random_range(0..6))).collect();
        document.add_text(text, words.join(" "));
        writer.add_document(document).unwrap();
        if id % 80 == 79 {
            writer.commit().unwrap();
        }
    }
    for id in (0..DOCUMENTS).step_by(10) {
        writer.delete_term(Term::from_field_u64(fixture.id, id));
    }
    writer.commit().unwrap();
    let searcher = dense.reader(&index).unwrap().searcher();
    assert_eq!(searcher.segment_readers().len(), 5);
    World { fixture, text, dense, searcher }
}

impl World {
    fn word(&self, number: u32) -> Box<dyn Query> {
        let term = Term::from_field_text(self.text, &format!("w{number}"));
        Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
    }

    fn knn(&self, random: &mut ChaCha8Rng) -> KnnQuery {
        KnnQuery::new(&self.dense, self.fixture.vector.clone(), vector(random, DIMENSION), 1)
    }

    fn hybrid(&self, random: &mut ChaCha8Rng) -> Hybrid {
        let words = BooleanQuery::union((0..3).map(|number| self.word(number)).collect());
        let weight = [0.2, 0.5, 0.8][random.random_range(0..3)];
        Hybrid::new().arm("words", Arm::text(Box::new(words)), 1.0 - weight).arm(
            "vectors",
            Arm::vector(self.knn(random)),
            weight,
        )
    }
}

fn fusions() -> Vec<Fusion> {
    let squeezed: Arc<Normalise> = Arc::new(|column: &Column| {
        column.raw().iter().map(|raw| raw.map_or(-1.0, |raw| raw / (1.0 + raw.abs()))).collect()
    });
    vec![
        Fusion::rrf(),
        Fusion::Convex,
        Fusion::MinMax,
        Fusion::ZScore,
        Fusion::Dbsf,
        Fusion::Sum,
        Fusion::Custom(squeezed),
    ]
}

/// All of the ranking, once it was seen that pages of random sizes are the same, that nothing comes twice, and that scores do not rise.
fn whole(hybrid: &Hybrid, searcher: &Searcher, random: &mut ChaCha8Rng) -> Vec<FusedHit> {
    let all = hybrid.search(searcher, usize::MAX).unwrap();
    let mut pages: Vec<FusedHit> = Vec::new();
    while pages.len() < all.len() {
        let size = random.random_range(1..60);
        let page = hybrid.page(searcher, pages.len(), size).unwrap();
        assert_eq!(page.len(), size.min(all.len() - pages.len()));
        pages.extend(page);
    }
    assert_eq!(pages, all, "{hybrid:?}");
    let begins = random.random_range(0..=all.len());
    assert_eq!(hybrid.search(searcher, begins).unwrap(), all[..begins]);
    for past in [all.len(), all.len() + 5, usize::MAX] {
        assert!(hybrid.page(searcher, past, 10).unwrap().is_empty());
    }
    let different: HashSet<DocAddress> = all.iter().map(|hit| hit.address).collect();
    assert_eq!(different.len(), all.len(), "a document comes twice");
    for pair in all.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        assert!(a.score > b.score || (a.score == b.score && a.address < b.address), "{a:?} {b:?}");
    }
    all
}

fn addresses(hits: &[FusedHit]) -> BTreeSet<DocAddress> {
    hits.iter().map(|hit| hit.address).collect()
}

fn found(searcher: &Searcher, query: &dyn Query) -> BTreeSet<DocAddress> {
    searcher.search(query, &DocSetCollector).unwrap().into_iter().collect()
}

#[test]
fn pages_of_any_size_are_one_ranking_in_every_fusion() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let world = world(metric);
        let mut random = random(5);
        for fusion in fusions() {
            for window in [0, 1, 7, 30, 200, 100_000] {
                let hybrid = world.hybrid(&mut random).fusion(fusion.clone()).window(window);
                let all = whole(&hybrid, &world.searcher, &mut random);
                let words = BooleanQuery::union((0..3).map(|number| world.word(number)).collect());
                let nearest = world.knn(&mut random).with_k(usize::MAX);
                let reachable = &found(&world.searcher, &words) | &found(&world.searcher, &nearest);
                assert_eq!(addresses(&all), reachable, "{fusion} {window}: something is never shown");
                ranks_agree_with_scores(&all);
                none_stands_before_what_every_arm_prefers(&all);
                // The same as a query of tantivy, whose collectors page too.
                let k = random.random_range(1..all.len());
                let query = HybridQuery::new(hybrid.clone(), k);
                let top = TopDocs::with_limit(20).and_offset(k / 2).order_by_score();
                let collected = world.searcher.search(&query, &top).unwrap();
                let wanted: Vec<(f32, DocAddress)> =
                    all[..k].iter().skip(k / 2).take(20).map(|hit| (hit.score, hit.address)).collect();
                assert_eq!(collected, wanted);
                let explained = hybrid.explain_all(&world.searcher, &all[all.len() - 3..]).unwrap();
                assert_eq!(explained[2].value(), all[all.len() - 1].score);
            }
        }
    }
}

/// Within an arm and a block, equal scores have one rank. There are no more blocks than windows that grow.
fn ranks_agree_with_scores(hits: &[FusedHit]) {
    for arm in 0..hits[0].arms.len() {
        let mut ranks: HashMap<u32, HashSet<Option<usize>>> = HashMap::new();
        for part in hits.iter().map(|hit| &hit.arms[arm]) {
            assert_eq!(part.raw.is_some(), part.rank.is_some());
            if let Some(raw) = part.raw {
                ranks.entry(raw.to_bits()).or_default().insert(part.rank);
            }
        }
        let blocks = 6;
        assert!(ranks.values().all(|ranks| ranks.len() <= blocks), "{ranks:?}");
    }
}

/// Preferred by a clear margin, in every arm that has a score for either.
fn none_stands_before_what_every_arm_prefers(hits: &[FusedHit]) {
    let prefers = |a: &FusedHit, b: &FusedHit| {
        let mut arms = a.arms.iter().zip(&b.arms).map(|(a, b)| match (a.raw, b.raw) {
            (Some(a), Some(b)) => a > b + 1e-4,
            (Some(_), None) => true,
            (None, _) => false,
        });
        arms.all(|better| better)
    };
    for (at, hit) in hits.iter().enumerate() {
        for later in &hits[at + 1..] {
            assert!(!prefers(later, hit) || later.score == hit.score, "{later:?} stands behind {hit:?}");
        }
    }
}

#[test]
fn filters_hold_on_every_page_and_those_that_only_exclude_leave_the_rest() {
    let world = world(Metric::Cosine);
    let mut random = random(6);
    let without =
        |number: u32| -> Box<dyn Query> { Box::new(BooleanQuery::new(vec![(Occur::MustNot, world.word(number))])) };
    let all = found(&world.searcher, &AllQuery);
    let with = |number: u32| found(&world.searcher, world.word(number).as_ref());
    for fusion in fusions() {
        let hybrid = world.hybrid(&mut random).fusion(fusion).window(9);
        let hits = whole(&hybrid.clone().filter(world.word(4)), &world.searcher, &mut random);
        assert!(addresses(&hits).is_subset(&with(4)) && hits.len() > 20);
        // One after the other: both hold.
        let hits = whole(&hybrid.clone().filter(world.word(4)).filter(world.word(0)), &world.searcher, &mut random);
        assert_eq!(addresses(&hits), &with(4) & &with(0));
        let hits = whole(&hybrid.filter(without(0)), &world.searcher, &mut random);
        assert!(addresses(&hits).is_subset(&(&all - &with(0))) && hits.len() > 60);
    }
    let knn = world.knn(&mut random).with_k(1000);
    let nearest = |query: KnnQuery| -> BTreeSet<DocAddress> {
        query.search(&world.searcher).unwrap().into_iter().map(|hit| hit.address).collect()
    };
    let vectors = nearest(knn.clone());
    assert_eq!(knn.num_candidates(&world.searcher).unwrap(), vectors.len() as u64);
    let filtered = knn.clone().filter(without(0));
    assert_eq!(nearest(filtered.clone()), &vectors - &with(0));
    assert_eq!(filtered.num_candidates(&world.searcher).unwrap(), (&vectors - &with(0)).len() as u64);
    assert_eq!(nearest(knn.clone().filter(without(0)).filter(without(1))), &(&vectors - &with(0)) - &with(1));
    assert_eq!(nearest(knn.clone().filter(world.word(4)).filter(world.word(0))), &(&vectors & &with(4)) & &with(0));
    // An exclusion within: `w4 and not (not w0)`.
    let nested = BooleanQuery::new(vec![(Occur::Must, world.word(4)), (Occur::Must, without(0))]);
    assert_eq!(nearest(knn.clone().filter(Box::new(nested))), &(&vectors & &with(4)) - &with(0));
    let at_least =
        BooleanQuery::union_with_minimum_required_clauses(vec![world.word(0), world.word(1), world.word(2)], 2);
    let two = found(&world.searcher, &at_least);
    assert_eq!(nearest(knn.filter(Box::new(at_least))), &vectors & &two);
}

/// Whatever an arm says of documents, nothing, the same of all, or less than nothing.
#[test]
fn arms_that_say_little_lose_no_document_either() {
    let world = world(Metric::Cosine);
    let mut random = random(7);
    let none: Box<dyn Query> = world.word(99);
    let same: Box<dyn Query> = Box::new(ConstScoreQuery::new(Box::new(AllQuery), 1.0));
    let less: Box<dyn Query> = Box::new(BoostQuery::new(world.word(0), -1.0));
    let all = found(&world.searcher, &AllQuery);
    let nearest = found(&world.searcher, &world.knn(&mut random).with_k(1000));
    for fusion in fusions() {
        for window in [1, 20] {
            let knn = world.knn(&mut random);
            let hybrid = |query: &dyn Query, weight: f32| {
                let words = Arm::text(query.box_clone());
                let hybrid = Hybrid::new().arm("words", words, weight).arm("vectors", Arm::vector(knn.clone()), 0.6);
                hybrid.fusion(fusion.clone()).window(window)
            };
            let hits = whole(&hybrid(none.as_ref(), 0.4), &world.searcher, &mut random);
            assert_eq!(addresses(&hits), nearest);
            let hits = whole(&hybrid(same.as_ref(), 0.4), &world.searcher, &mut random);
            assert_eq!(addresses(&hits), all);
            whole(&hybrid(less.as_ref(), 0.4), &world.searcher, &mut random);
            // An arm of weight 0 is shown, and neither finds nor moves anything.
            let words = BooleanQuery::union((0..6).map(|number| world.word(number)).collect());
            let shown = whole(&hybrid(&words, 0.0), &world.searcher, &mut random);
            let alone =
                Hybrid::new().arm("vectors", Arm::vector(knn.clone()), 0.6).fusion(fusion.clone()).window(window);
            let alone = whole(&alone, &world.searcher, &mut random);
            let scores = |hits: &[FusedHit]| hits.iter().map(|hit| (hit.address, hit.score)).collect::<Vec<_>>();
            assert_eq!(scores(&shown), scores(&alone));
            assert!(shown[0].arms[0].raw.is_some() && shown[0].arms[0].weight == 0.0);
        }
        let arms = || Hybrid::new().fusion(fusion.clone()).window(3);
        let equal = whole(&arms().arm("all", Arm::text(same.box_clone()), 1.0), &world.searcher, &mut random);
        assert_eq!(addresses(&equal), all);
        assert!(equal.iter().all(|hit| hit.arms[0].rank.is_some()));
        let weightless = arms().arm("all", Arm::text(same.box_clone()), 0.0);
        assert_eq!(whole(&weightless, &world.searcher, &mut random).len(), all.len());
        assert!(whole(&arms(), &world.searcher, &mut random).is_empty(), "no arm, no hit");
        assert!(world.hybrid(&mut random).fusion(fusion).search(&world.searcher, 0).unwrap().is_empty());
    }
}

/// Documents that no arm can tell apart share every rank, whatever other terms the query has.
#[test]
fn documents_that_are_alike_have_equal_scores_and_ranks() {
    let world = world(Metric::Cosine);
    let mut random = random(8);
    let hybrid = world.hybrid(&mut random).fusion(Fusion::rrf());
    let hits = hybrid.search(&world.searcher, 300).unwrap();
    let mut alike: HashMap<(String, u64), Vec<&FusedHit>> = HashMap::new();
    for hit in &hits {
        let document: tantivy::TantivyDocument = world.searcher.doc(hit.address).unwrap();
        let id = world.fixture.id_at(&world.searcher, hit.address);
        let value = document.get_first(world.text).unwrap();
        let mut words: Vec<&str> = tantivy::schema::Value::as_str(&value).unwrap().split(' ').collect();
        words.sort_unstable();
        if id % 10 == 7 || id % 10 == 3 {
            alike.entry((words.join(" "), id % 10)).or_default().push(hit);
        }
    }
    let groups: Vec<Vec<&FusedHit>> = alike.into_values().filter(|group| group.len() > 1).collect();
    assert!(groups.len() > 3, "{}", groups.len());
    for group in groups {
        for hit in &group {
            let of = |hit: &FusedHit| hit.arms.iter().map(|arm| (arm.rank, arm.raw)).collect::<Vec<_>>();
            assert_eq!((of(hit), hit.score), (of(group[0]), group[0].score));
        }
    }
}

#[test]
fn snippets_survive_a_hybrid_query() {
    let world = world(Metric::Cosine);
    let mut random = random(9);
    let words = BooleanQuery::union(vec![world.word(1), world.word(2)]);
    let filtered = world.knn(&mut random).filter(world.word(3));
    let hybrid = Hybrid::new().arm("words", Arm::text(Box::new(words.clone())), 0.5);
    let hybrid = hybrid.arm("vectors", Arm::vector(filtered.clone()), 0.5).filter(world.word(4));
    let query = HybridQuery::new(hybrid, 50);
    let terms = |query: &dyn Query| {
        let mut terms = BTreeSet::new();
        query.query_terms(&mut |term, _| {
            terms.insert(term.value().as_str().unwrap().to_owned());
        });
        terms.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(terms(&query), ["w1", "w2", "w3", "w4"]);
    assert_eq!(terms(&filtered), ["w3"]);
    let marked = |query: &dyn Query| {
        let generator = SnippetGenerator::create(&world.searcher, query, world.text).unwrap();
        generator.snippet("w0 and w1 and w5 and w2").to_html()
    };
    assert_eq!(marked(&query), "w0 and <b>w1</b> and w5 and <b>w2</b>");
    assert_eq!(marked(&query), marked(&words));
    // Several collectors share one search, and see its hits.
    let (top, count) = world.searcher.search(&query, &(TopDocs::with_limit(5).order_by_score(), Count)).unwrap();
    assert!(top.len() == 5 && count <= 50);
}

/// A ranking that says something that cannot be ordered is refused by what it said.
#[test]
fn a_score_that_is_no_number_is_an_error() {
    #[derive(Debug)]
    struct Odd(f32);
    impl Ranking for Odd {
        fn top(&self, _: &Searcher, _: usize, _: Option<&dyn Query>) -> Result<Vec<(DocAddress, f32)>, DenseError> {
            Ok(vec![(DocAddress::new(0, 1), self.0)])
        }
        fn scores(&self, _: &Searcher, documents: &[DocAddress]) -> Result<Vec<Option<f32>>, DenseError> {
            Ok(vec![None; documents.len()])
        }
        fn explain(&self, _: &Searcher, _: DocAddress, raw: f32) -> Result<Explanation, DenseError> {
            Ok(Explanation::new_with_string("odd".to_owned(), raw))
        }
    }
    let world = world(Metric::Cosine);
    for (value, said) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let hybrid = Hybrid::new().arm("odd", Arm::own(Arc::new(Odd(value))), 1.0);
        let error = hybrid.search(&world.searcher, 3).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
