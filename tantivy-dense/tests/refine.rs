//! Boosts, least score, groups, diversity and sorting against brute force, over random indexes of several segments with deletes.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use support::{Fixture, random, similarity, vector};
use tantivy::collector::{Count, DocSetCollector};
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::{DateOptions, FAST, Field, IndexRecordOption, JsonObjectOptions, STRING, TEXT};
use tantivy::{DateTime, Searcher, Term};
use tantivy_dense::hybrid::{
    Boost, Combine, Curve, Decay, Diversity, FieldValue, Group, GroupBy, GroupCounts, Number, Order, Sort, ValueField,
};
use tantivy_dense::{Arm, Dense, DenseError, FusedHit, Fusion, Hybrid, KnnQuery, Metric, VectorOptions};

const DIMENSION: usize = 6;
const DAY: i64 = 86_400;

/// What a test knows of a document.
#[derive(Clone, Debug)]
struct Facts {
    price: Option<f64>,
    brand: Option<String>,
    day: Option<i64>,
    /// In JSON: a whole number, a float or a text.
    kind: Option<FieldValue>,
    words: Vec<u32>,
    vector: Option<Vec<f32>>,
}

struct World {
    fixture: Fixture,
    text: Field,
    dense: Dense,
    searcher: Searcher,
    facts: BTreeMap<u64, Facts>,
}

fn world(metric: Metric, seed: u64, documents: u64) -> World {
    let mut fields = None;
    let fixture = Fixture::with(VectorOptions::new(metric, DIMENSION), |schema| {
        fields = Some((
            schema.add_text_field("text", TEXT),
            schema.add_f64_field("price", FAST),
            schema.add_text_field("brand", STRING | FAST),
            schema.add_date_field("day", DateOptions::default().set_fast()),
            schema.add_json_field("meta", JsonObjectOptions::default().set_fast("raw")),
        ));
    });
    let (text, price, brand, day, meta) = fields.unwrap();
    let dense = Dense::new();
    let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
    let mut writer = dense.writer(&index, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut random = random(seed);
    let mut all = BTreeMap::new();
    for id in 0..documents {
        let some = |random: &mut ChaCha8Rng| random.random_range(0..6) > 0;
        let facts = Facts {
            price: some(&mut random).then(|| f64::from(random.random_range(-4..40)) / 2.0),
            brand: some(&mut random).then(|| format!("b{}", random.random_range(0..12))),
            day: some(&mut random).then(|| random.random_range(0..400)),
            kind: match random.random_range(0..4) {
                0 => None,
                1 => Some(FieldValue::Number(Number::Whole(random.random_range(0..4)))),
                2 => Some(FieldValue::Number(Number::of(f64::from(random.random_range(0..8)) / 2.0).unwrap())),
                _ => Some(FieldValue::Text(format!("k{}", random.random_range(0..4)))),
            },
            words: (0..random.random_range(1..5)).map(|_| random.random_range(0..6)).collect(),
            vector: some(&mut random).then(|| vector(&mut random, DIMENSION)),
        };
        let mut document = fixture.document(id, facts.vector.as_deref());
        let words: Vec<String> = facts.words.iter().map(|word| format!("w{word}")).collect();
        document.add_text(text, words.join(" "));
        facts.price.iter().for_each(|value| document.add_f64(price, *value));
        facts.brand.iter().for_each(|value| document.add_text(brand, value));
        facts.day.iter().for_each(|value| document.add_date(day, DateTime::from_timestamp_secs(value * DAY)));
        if let Some(kind) = &facts.kind {
            let value = match kind {
                FieldValue::Number(Number::Whole(whole)) if id % 2 == 0 => serde_json::json!(*whole as i64),
                FieldValue::Number(number) => serde_json::json!(number.as_f64()),
                other => serde_json::json!(other.to_string()),
            };
            let object = serde_json::from_value(serde_json::json!({"kind": value})).unwrap();
            document.add_object(meta, object);
        }
        writer.add_document(document).unwrap();
        all.insert(id, facts);
        if id % (documents / 4) == documents / 4 - 1 {
            writer.commit().unwrap();
        }
    }
    for id in (0..documents).filter(|id| id % 9 == 4) {
        writer.delete_term(Term::from_field_u64(fixture.id, id));
        all.remove(&id);
    }
    writer.commit().unwrap();
    let searcher = dense.reader(&index).unwrap().searcher();
    assert!(searcher.segment_readers().len() >= 4);
    World { fixture, text, dense, searcher, facts: all }
}

impl World {
    fn word(&self, number: u32) -> Box<dyn Query> {
        let term = Term::from_field_text(self.text, &format!("w{number}"));
        Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
    }

    fn hybrid(&self, random: &mut ChaCha8Rng) -> Hybrid {
        let words = BooleanQuery::union((0..3).map(|number| self.word(number)).collect());
        let knn = KnnQuery::all(&self.dense, self.fixture.vector.clone(), vector(random, DIMENSION));
        Hybrid::new().arm("words", Arm::text(Box::new(words)), 0.4).arm("vectors", Arm::vector(knn), 0.6)
    }

    fn all(&self, hybrid: &Hybrid) -> Vec<FusedHit> {
        hybrid.search(&self.searcher, usize::MAX).unwrap()
    }

    fn id(&self, hit: &FusedHit) -> u64 {
        self.fixture.id_at(&self.searcher, hit.address)
    }

    fn ids(&self, hits: &[FusedHit]) -> Vec<u64> {
        hits.iter().map(|hit| self.id(hit)).collect()
    }

    fn facts(&self, hit: &FusedHit) -> &Facts {
        &self.facts[&self.id(hit)]
    }
}

/// A boost, and what it shall be for a document: a signal, or none.
type Oracle<'a> = (Boost, Box<dyn Fn(&Facts) -> Option<f64> + 'a>);

fn boosts<'a>(world: &World, random: &mut ChaCha8Rng) -> Vec<Oracle<'a>> {
    let curve = |curve: Curve, steps: f64, at: f64| match curve {
        Curve::Linear => (1.0 - steps * (1.0 - at)).max(0.0),
        Curve::Exponential => at.powf(steps),
        Curve::Gaussian => at.powf(steps.powi(2)),
    };
    let mut all: Vec<Oracle<'a>> = Vec::new();
    let kind = [Curve::Linear, Curve::Exponential, Curve::Gaussian][random.random_range(0..3)];
    let (origin, scale, offset, at) = (f64::from(random.random_range(0..20)), 4.0, 1.5, 0.3);
    let decay = Decay::from_number(kind, origin, scale).offset(offset).at_scale(at);
    all.push((
        Boost::decay(ValueField::new("price"), decay),
        Box::new(move |facts| Some(curve(kind, ((facts.price? - origin).abs() - offset).max(0.0) / scale, at))),
    ));
    let day = random.random_range(0..400i64);
    let decay = Decay::from_date(kind, DateTime::from_timestamp_secs(day * DAY), Duration::from_secs(90 * DAY as u64));
    all.push((
        Boost::decay(ValueField::new("day"), decay).missing(0.1),
        Box::new(move |facts| Some(facts.day.map_or(0.1, |own| curve(kind, (own - day).abs() as f64 / 90.0, 0.5)))),
    ));
    all.push((
        Boost::logarithm(ValueField::new("price"), 0.7),
        Box::new(|facts| Some((0.7 * facts.price?.max(0.0)).ln_1p())),
    ));
    all.push((
        Boost::saturation(ValueField::new("meta.kind"), 2.0),
        Box::new(|facts| match facts.kind.as_ref()? {
            FieldValue::Number(number) => Some(number.as_f64() / (number.as_f64() + 2.0)),
            _ => None,
        }),
    ));
    let word = random.random_range(0..6);
    all.push((
        Boost::matching(world.word(word), "a word", 1.7),
        Box::new(move |facts| facts.words.contains(&word).then_some(1.7)),
    ));
    all
}

#[test]
fn boosts_are_what_brute_force_makes_of_the_fused_scores() {
    for (seed, metric) in [(1, Metric::Cosine), (2, Metric::Dot), (3, Metric::L2)] {
        let world = world(metric, seed, 240);
        let mut random = random(seed);
        for fusion in [Fusion::rrf(), Fusion::Convex, Fusion::ZScore, Fusion::Sum] {
            let plain = world.hybrid(&mut random).fusion(fusion.clone()).window(10_000);
            let fused = world.all(&plain);
            for round in 0..6 {
                let mut shaped = plain.clone();
                let mut expected: Vec<(f64, &FusedHit)> = fused.iter().map(|hit| (f64::from(hit.score), hit)).collect();
                for (at, (boost, signal)) in boosts(&world, &mut random).into_iter().enumerate() {
                    if round != 5 && at != round {
                        continue;
                    }
                    let weight = f64::from(random.random_range(1..=10)) / 10.0;
                    let add = random.random::<bool>();
                    shaped =
                        shaped.boost(boost.weight(weight).combine(if add { Combine::Add } else { Combine::Multiply }));
                    for (score, hit) in &mut expected {
                        let Some(signal) = signal(world.facts(hit)) else { continue };
                        let factor = 1.0 + weight * (signal - 1.0);
                        *score = match (add, *score >= 0.0) {
                            (true, _) => *score + weight * signal,
                            (false, true) => *score * factor,
                            (false, false) => *score / factor.max(1e-6),
                        };
                    }
                }
                let expected: BTreeMap<u64, f64> =
                    expected.iter().map(|(score, hit)| (world.id(hit), *score)).collect();
                let hits = world.all(&shaped);
                assert_eq!(hits.len(), fused.len());
                for pair in hits.windows(2) {
                    assert!(pair[0].score >= pair[1].score);
                }
                for hit in &hits {
                    let wanted = expected[&world.id(hit)];
                    let near = (f64::from(hit.score) - wanted).abs() <= 1e-4 * wanted.abs().max(1.0);
                    assert!(near, "{fusion}: {} {wanted}", hit.score);
                }
                let explained = shaped.explain(&world.searcher, &hits[0]).unwrap();
                assert_eq!(explained.value(), hits[0].score);
                let tree = serde_json::to_string(&explained).unwrap();
                assert!(tree.contains("boosts, of") && tree.contains("hybrid score by"), "{tree}");
            }
        }
    }
}

fn refinements(world: &World, random: &mut ChaCha8Rng) -> Vec<Hybrid> {
    let plain = |random: &mut ChaCha8Rng| world.hybrid(random).window([1, 9, 40][random.random_range(0..3)]);
    let all = boosts(world, random);
    let boosted = all.into_iter().fold(plain(random), |hybrid, (boost, _)| hybrid.boost(boost));
    let diverse = |lambda| Diversity::new(&world.dense, world.fixture.vector.clone(), lambda);
    vec![
        boosted.clone().fusion(Fusion::ZScore),
        boosted.least_score(0.2),
        plain(random).least_score(0.5),
        plain(random).diversity(diverse(0.5)),
        plain(random).diversity(diverse(0.0).candidates(7)),
        plain(random).sort(Sort::new(ValueField::new("price"), Order::Descending)),
    ]
}

/// Pages of whatever size are parts of one ranking, and of one list of groups.
#[test]
fn pages_of_hits_and_groups_fit_together() {
    let world = world(Metric::Cosine, 4, 400);
    let mut random = random(4);
    for round in 0..8 {
        for hybrid in refinements(&world, &mut random) {
            let all = world.all(&hybrid);
            let groups = |hybrid: &Hybrid, offset, k| {
                let by = GroupBy::new(ValueField::new("brand")).size(1 + round % 3);
                hybrid.groups(&world.searcher, &by, offset, k).unwrap()
            };
            let every = groups(&hybrid, 0, usize::MAX);
            let mut at = 0;
            while at < all.len() {
                let k = random.random_range(1..25);
                assert_eq!(hybrid.page(&world.searcher, at, k).unwrap(), all[at..all.len().min(at + k)], "{hybrid:?}");
                at += k;
            }
            let mut at = 0;
            while at < every.len() {
                let k = random.random_range(1..6);
                assert_eq!(groups(&hybrid, at, k), every[at..every.len().min(at + k)], "{hybrid:?}");
                at += k;
            }
            assert!(groups(&hybrid, every.len(), 5).is_empty());
        }
    }
}

/// The groups of a ranking, from the ranking.
fn grouped(
    hits: &[FusedHit],
    value: impl Fn(&FusedHit) -> Option<FieldValue>,
) -> Vec<(Option<FieldValue>, Vec<&FusedHit>)> {
    let mut groups: Vec<(Option<FieldValue>, Vec<&FusedHit>)> = Vec::new();
    for hit in hits {
        let value = value(hit);
        match groups.iter_mut().find(|(known, _)| value.is_some() && *known == value) {
            Some((_, hits)) => hits.push(hit),
            None => groups.push((value, vec![hit])),
        }
    }
    groups
}

#[test]
fn groups_and_their_counts_are_those_of_brute_force() {
    for seed in 5..9 {
        let world = world(Metric::Cosine, seed, 300);
        let mut random = random(seed);
        let brand = |facts: &Facts| facts.brand.clone().map(FieldValue::Text);
        let price = |facts: &Facts| facts.price.and_then(Number::of).map(FieldValue::Number);
        let kind = |facts: &Facts| facts.kind.clone();
        let day = |facts: &Facts| facts.day.map(|day| FieldValue::Date(DateTime::from_timestamp_secs(day * DAY)));
        let cases: [(&str, &dyn Fn(&Facts) -> Option<FieldValue>); 4] =
            [("brand", &brand), ("price", &price), ("meta.kind", &kind), ("day", &day)];
        for (name, value) in cases {
            for window in [3, 25, 10_000] {
                let hybrid = world.hybrid(&mut random).window(window).filter(world.word(1));
                let all = world.all(&hybrid);
                let expected = grouped(&all, |hit| value(world.facts(hit)));
                let size = random.random_range(1..5);
                let by = GroupBy::new(ValueField::new(name)).size(size);
                let groups: Vec<Group> = hybrid.groups(&world.searcher, &by, 0, usize::MAX).unwrap();
                assert_eq!(groups.len(), expected.len(), "{name}");
                for (group, (value, hits)) in groups.iter().zip(&expected) {
                    assert_eq!(group.value, *value);
                    // All that there are in a window that holds everything, else the first of them.
                    let wanted: Vec<u64> = hits.iter().take(size).map(|hit| world.id(hit)).collect();
                    let found = world.ids(&group.hits);
                    assert!(!found.is_empty() && wanted.starts_with(&found), "{name}: {found:?} {wanted:?}");
                    assert!(window < 10_000 || found == wanted, "{name}: {found:?} {wanted:?}");
                }
                let values: Vec<FieldValue> = groups.iter().filter_map(|group| group.value.clone()).take(6).collect();
                let counts = GroupCounts::new(&world.searcher, &by, values.clone()).unwrap().total(true);
                let totals = world.searcher.search(&hybrid.matching().unwrap(), &counts).unwrap();
                assert_eq!(totals.groups, Some(expected.len() as u64), "{name}");
                for value in values {
                    let wanted = expected.iter().find(|(known, _)| known.as_ref() == Some(&value)).unwrap().1.len();
                    assert_eq!(totals.documents[&value], wanted as u64, "{name}: {value}");
                }
            }
        }
    }
}

#[test]
fn what_a_search_matches_is_what_its_ranking_can_reach() {
    let world = world(Metric::Cosine, 9, 300);
    let mut random = random(9);
    let knn = || KnnQuery::all(&world.dense, world.fixture.vector.clone(), vec![0.3; DIMENSION]);
    let words = |numbers: &[u32]| {
        Arm::text(Box::new(BooleanQuery::union(numbers.iter().map(|word| world.word(*word)).collect())))
    };
    let hybrids = [
        world.hybrid(&mut random),
        world.hybrid(&mut random).filter(world.word(4)),
        world
            .hybrid(&mut random)
            .filter(Box::new(BooleanQuery::new(vec![(tantivy::query::Occur::MustNot, world.word(4))]))),
        Hybrid::new().arm("vectors", Arm::vector(knn()), 1.0),
        Hybrid::new().arm("vectors", Arm::vector(knn().filter(world.word(2))), 1.0),
        Hybrid::new().arm("vectors", Arm::vector(knn().min_similarity(0.2)), 1.0).arm("words", words(&[5]), 1.0),
        Hybrid::new().arm("vectors", Arm::vector(knn()), 0.0).arm("words", words(&[1, 5]), 1.0),
        Hybrid::new(),
    ];
    for hybrid in hybrids {
        let reached: BTreeSet<_> = world.all(&hybrid).iter().map(|hit| hit.address).collect();
        let matching = hybrid.matching().unwrap();
        let (matched, count) = world.searcher.search(&matching, &(DocSetCollector, Count)).unwrap();
        assert_eq!(matched.into_iter().collect::<BTreeSet<_>>(), reached, "{hybrid:?}");
        assert_eq!(count, reached.len());
    }
}

#[test]
fn a_least_score_leaves_out_what_is_lower_and_nothing_else() {
    let world = world(Metric::Cosine, 10, 300);
    let mut random = random(10);
    for fusion in [Fusion::Convex, Fusion::rrf(), Fusion::Sum] {
        let hybrid = world.hybrid(&mut random).fusion(fusion.clone()).window(10_000);
        let all = world.all(&hybrid);
        for at in [0, 1, all.len() / 2, all.len() - 1] {
            let least = all[at].score;
            let wanted: Vec<u64> = all.iter().filter(|hit| hit.score >= least).map(|hit| world.id(hit)).collect();
            assert_eq!(world.ids(&world.all(&hybrid.clone().least_score(least))), wanted, "{fusion}");
        }
        assert!(world.all(&hybrid.least_score(all[0].score.next_up())).is_empty());
    }
    // A single arm's raw scores are compared in all windows.
    let knn = KnnQuery::all(&world.dense, world.fixture.vector.clone(), vector(&mut random, DIMENSION));
    let alone = Hybrid::new().arm("vectors", Arm::vector(knn), 1.0).fusion(Fusion::Sum).window(5);
    let all = world.all(&alone);
    let middle = all[all.len() / 2].score;
    let wanted = all.iter().filter(|hit| hit.score >= middle).count();
    assert_eq!(world.all(&alone.clone().least_score(middle)), all[..wanted]);
    // Of several, only the first window's.
    let hybrid = world.hybrid(&mut random).window(20);
    let first = hybrid.matrix(&world.searcher).unwrap().candidates().len();
    assert_eq!(world.all(&hybrid.clone().least_score(f32::MIN)).len(), first);
    assert!(world.all(&hybrid).len() > first);
}

#[test]
fn diversity_is_maximal_marginal_relevance() {
    for (seed, metric) in [(11, Metric::Cosine), (12, Metric::Dot), (13, Metric::L2)] {
        let world = world(metric, seed, 200);
        let mut random = random(seed);
        for fusion in [Fusion::Convex, Fusion::ZScore] {
            let hybrid = world.hybrid(&mut random).fusion(fusion).window(10_000);
            let all = world.all(&hybrid);
            for (lambda, candidates) in [(0.0, 60), (0.3, 60), (0.7, 25), (1.0, 60)] {
                let diversity =
                    Diversity::new(&world.dense, world.fixture.vector.clone(), lambda).candidates(candidates);
                let diverse = hybrid.clone().diversity(diversity);
                let found = world.all(&diverse);
                assert_eq!(found.len(), all.len());
                assert_eq!(world.ids(&found[candidates..]), world.ids(&all[candidates..]));
                let best = f64::from(all[0].score);
                let floor = all[..candidates].iter().map(|hit| f64::from(hit.score)).fold(0.0, f64::min);
                let relevance = |hit: &FusedHit| (f64::from(hit.score) - floor) / (best - floor);
                let nearest = |hit: &FusedHit, before: &[FusedHit]| {
                    let Some(own) = &world.facts(hit).vector else { return 0.0 };
                    let cosine = |other: &FusedHit| {
                        world.facts(other).vector.as_ref().map_or(0.0, |other| similarity(Metric::Cosine, own, other))
                    };
                    before.iter().map(cosine).fold(0.0, f64::max)
                };
                let value = |hit: &FusedHit, before: &[FusedHit]| {
                    f64::from(lambda) * relevance(hit) - f64::from(1.0 - lambda) * nearest(hit, before)
                };
                for at in 0..candidates {
                    let own = value(&found[at], &found[..at]);
                    for other in &found[at + 1..candidates] {
                        assert!(own >= value(other, &found[..at]) - 1e-4, "rank {at}, lambda {lambda}");
                    }
                }
                if lambda == 1.0 {
                    assert_eq!(world.ids(&found), world.ids(&all));
                }
                let tree = serde_json::to_string(&diverse.explain(&world.searcher, &found[1]).unwrap()).unwrap();
                assert!(tree.contains("by diversity"), "{tree}");
            }
        }
    }
}

#[test]
fn the_windows_documents_are_sorted_by_a_field() {
    let world = world(Metric::Cosine, 14, 300);
    let mut random = random(14);
    let price = |facts: &Facts| facts.price.and_then(Number::of).map(FieldValue::Number);
    let brand = |facts: &Facts| facts.brand.clone().map(FieldValue::Text);
    let kind = |facts: &Facts| facts.kind.clone();
    let cases: [(&str, &dyn Fn(&Facts) -> Option<FieldValue>); 3] =
        [("price", &price), ("brand", &brand), ("meta.kind", &kind)];
    for (name, value) in cases {
        for order in [Order::Ascending, Order::Descending] {
            for window in [10, 10_000] {
                let hybrid = world.hybrid(&mut random).window(window);
                let size = hybrid.matrix(&world.searcher).unwrap().candidates().len();
                let mut expected = hybrid.search(&world.searcher, size).unwrap();
                expected.sort_by(|a, b| {
                    let (a, b) = (value(world.facts(a)), value(world.facts(b)));
                    match (&a, &b) {
                        (Some(a), Some(b)) => {
                            if order == Order::Ascending {
                                a.cmp(b)
                            } else {
                                b.cmp(a)
                            }
                        }
                        // Those without a value last.
                        _ => b.is_some().cmp(&a.is_some()),
                    }
                });
                let sorted = world.all(&hybrid.sort(Sort::new(ValueField::new(name), order)));
                assert_eq!(world.ids(&sorted), world.ids(&expected), "{name}");
            }
        }
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let world = world(Metric::Cosine, 15, 60);
    let mut random = random(15);
    let hybrid = world.hybrid(&mut random);
    let field = ValueField::new;
    let day = || DateTime::from_timestamp_secs(0);
    let number = |origin, scale| Decay::from_number(Curve::Linear, origin, scale);
    let boost = |boost: Boost| hybrid.clone().boost(boost);
    let diverse = |lambda: f32| Diversity::new(&world.dense, world.fixture.vector.clone(), lambda);
    let price = || Sort::new(ValueField::new("price"), Order::Ascending);
    let cases: Vec<(Hybrid, &str)> = vec![
        (boost(Boost::logarithm(field("prize"), 1.0)), "no field `prize`"),
        (boost(Boost::logarithm(field("text"), 1.0)), "not FAST"),
        (boost(Boost::logarithm(field("brand"), 1.0)), "it holds text"),
        (boost(Boost::logarithm(field("vector"), 1.0)), "vectors"),
        (boost(Boost::saturation(field("day"), 1.0)), "it holds dates, and it needs numbers"),
        (boost(Boost::decay(field("day"), number(0.0, 1.0))), "it holds dates"),
        (
            boost(Boost::decay(field("price"), Decay::from_date(Curve::Linear, day(), Duration::from_secs(1)))),
            "it holds numbers",
        ),
        (boost(Boost::decay(field("price"), number(0.0, -3.0))), "scale must be above 0, and is -3"),
        (boost(Boost::decay(field("price"), number(f64::NAN, 1.0))), "the origin must be a number"),
        (boost(Boost::decay(field("price"), number(0.0, 1.0).offset(-1.0))), "offset must be 0 or more"),
        (boost(Boost::decay(field("price"), number(0.0, 1.0).at_scale(1.0))), "below 1, and is 1"),
        (
            boost(Boost::decay(field("day"), Decay::from_date(Curve::Linear, day(), Duration::ZERO))),
            "scale must be above 0",
        ),
        (boost(Boost::saturation(field("price"), 0.0)), "pivot must be above 0"),
        (boost(Boost::logarithm(field("price"), -1.0)), "factor must be above 0"),
        (boost(Boost::matching(world.word(1), "w1", -2.0)), "multiplied by -2"),
        (boost(Boost::matching(world.word(1), "w1", f64::NAN)), "its number is NaN"),
        (boost(Boost::logarithm(field("price"), 1.0).weight(1.5)), "weight must lie in 0..=1"),
        (boost(Boost::logarithm(field("price"), 1.0).weight(f64::INFINITY)), "weight must be a number"),
        (boost(Boost::logarithm(field("price"), 1.0).missing(-1.0)), "without the value is -1"),
        (hybrid.clone().least_score(f32::NAN), "the least score is NaN"),
        (hybrid.clone().diversity(diverse(1.5)), "lambda of diversity must lie in 0..=1, and is 1.5"),
        (hybrid.clone().diversity(diverse(f32::NAN)), "NaN"),
        (hybrid.clone().diversity(diverse(0.5).candidates(0)), "1 to 1000 hits, and not 0"),
        (hybrid.clone().diversity(diverse(0.5)).sort(price()), "not both"),
        (hybrid.clone().sort(Sort::new(field("text"), Order::Ascending)), "not FAST"),
    ];
    for (hybrid, said) in cases {
        let error: DenseError = hybrid.search(&world.searcher, 3).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(hybrid.search(&world.searcher, 0).is_err(), "also where nothing is asked for: {said}");
    }
    for (by, said) in [
        (GroupBy::new(field("nothing")), "no field `nothing`"),
        (GroupBy::new(field("text")), "not FAST"),
        (GroupBy::new(field("brand")).size(0), "one hit at least"),
    ] {
        let error = hybrid.groups(&world.searcher, &by, 0, 3).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
