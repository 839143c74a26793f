//! Boosts, least scores and groups through the engine: names in metadata, dates in text, chunks, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use adam_plugin::engine::{Boost, Direction, Document, Example, Facet, FacetCounts, Grouping, Sorting};
use adam_plugin::{Chunking, Engine, Hit, Mode, SearchRequest, WriterSettings};
use common::Words;
use serde_json::{Value, json};

const DOCUMENTS: usize = 120;

fn metadata(number: usize) -> Value {
    let mut metadata = json!({
        "stars": number % 7,
        "released": format!("2024-{:02}-{:02}", 1 + number % 12, 1 + number % 28),
        "maker": {"city": format!("city {}", number % 5)},
    });
    if !number.is_multiple_of(4) {
        metadata["brand"] = json!(format!("brand {}", number % 10));
    }
    if number.is_multiple_of(3) {
        // A number as text counts as a number.
        metadata["stars"] = json!((number % 7).to_string());
    }
    metadata
}

/// Several segments, some documents deleted, one in four without a brand.
fn shop(path: &Path, chunks: Option<Chunking>) -> Engine {
    let builder = Engine::builder(path).encoder(Arc::new(Words::new()));
    let engine = match chunks {
        Some(chunking) => builder.chunks(chunking),
        None => builder,
    }
    .open_or_create()
    .unwrap();
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
    for number in 0..DOCUMENTS {
        let words = ["crow", "wire", "snow", "glass", "tool"];
        let length = if number.is_multiple_of(8) { 40 } else { 3 + number % 4 };
        let text: Vec<&str> = (0..length).map(|at| words[(number + at * at) % words.len()]).collect();
        let document = Document {
            id: format!("d{number}"),
            title: format!("item {number}"),
            text: text.join(" "),
            metadata: metadata(number).as_object().cloned(),
            vector: None,
        };
        writer.update_document(engine.document(document).unwrap()).unwrap();
        if number % 30 == 29 {
            writer.commit().unwrap();
        }
    }
    for number in (0..DOCUMENTS).filter(|number| number % 11 == 5) {
        writer.delete_term(engine.key_term(&format!("d{number}"))).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.reload().unwrap();
    engine
}

fn number(hit: &Hit) -> usize {
    hit.id[1..].parse().unwrap()
}

fn all(engine: &Engine, request: &SearchRequest) -> Vec<Hit> {
    engine.search(&request.clone().top(1000).window(10_000)).unwrap().hits
}

fn boost(text: &str) -> Boost {
    text.parse().unwrap()
}

fn chunkings() -> [Option<Chunking>; 2] {
    [None, Some(Chunking { tokens: 12, overlap: 3 })]
}

#[test]
fn boosts_read_numbers_and_dates_of_metadata() {
    for chunks in chunkings() {
        let folder = tempfile::tempdir().unwrap();
        let engine = shop(folder.path(), chunks);
        for mode in Mode::ALL {
            let plain = SearchRequest::new("crow wire tool").mode(mode);
            let scores: BTreeMap<String, f32> =
                all(&engine, &plain).into_iter().map(|hit| (hit.id, hit.score)).collect();
            let day = |number: usize| -> f64 {
                let (month, day) = (1 + number % 12, 1 + number % 28);
                chrono::NaiveDate::from_ymd_opt(2024, month as u32, day as u32)
                    .unwrap()
                    .signed_duration_since(chrono::NaiveDate::from_ymd_opt(2024, 6, 15).unwrap())
                    .num_days() as f64
            };
            let cases: [(&str, &dyn Fn(usize) -> Option<f64>); 5] = [
                ("linear; field=stars; origin=6; scale=4", &|number| Some(1.0 - (6.0 - (number % 7) as f64) / 8.0)),
                ("saturation; field=stars; pivot=2", &|number| {
                    let stars = (number % 7) as f64;
                    Some(stars / (stars + 2.0))
                }),
                ("gaussian; field=released; origin=2024-06-15; scale=60d; offset=10d", &|number| {
                    let distance = (day(number).abs() - 10.0).max(0.0);
                    Some(0.5f64.powf((distance / 60.0).powi(2)))
                }),
                ("filter=maker.city:city 2; factor=1.5", &|number| (number % 5 == 2).then_some(1.5)),
                ("filter=NOT brand:*; factor=0.5", &|number| number.is_multiple_of(4).then_some(0.5)),
            ];
            for (text, signal) in cases {
                let hits = all(&engine, &plain.clone().boost(boost(text)));
                assert_eq!(hits.len(), scores.len(), "{text}");
                assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score), "{text}");
                for hit in &hits {
                    let before = f64::from(scores[&hit.id]);
                    let wanted = match signal(number(hit)) {
                        None => before,
                        Some(factor) if before >= 0.0 => before * factor,
                        Some(factor) => before / factor.max(1e-6),
                    };
                    let near = (f64::from(hit.score) - wanted).abs() <= 1e-4 * wanted.abs().max(1.0);
                    assert!(near, "{mode} {text}: {} has {}, not {wanted}", hit.id, hit.score);
                }
            }
            let explained = engine.search(&plain.boost(boost("log; field=stars")).explain(true).top(1)).unwrap();
            let tree = explained.hits[0].explanation.as_ref().unwrap().to_string();
            assert!(tree.contains("logarithm of 1 x `stars`"), "{tree}");
        }
    }
}

#[test]
fn groups_have_one_hit_for_each_value_on_all_pages_and_say_how_many_there_are() {
    for chunks in chunkings() {
        let folder = tempfile::tempdir().unwrap();
        let engine = shop(folder.path(), chunks);
        for mode in Mode::ALL {
            let plain = SearchRequest::new("crow wire tool").mode(mode).filter("stars:1..5".parse().unwrap());
            let ranked = all(&engine, &plain);
            for (field, size) in [("brand", 1), ("brand", 3), ("maker.city", 2), ("stars", 1)] {
                let value = |hit: &Hit| match field {
                    "brand" => metadata(number(hit)).get("brand").cloned(),
                    "stars" => metadata(number(hit)).get("stars").cloned(),
                    _ => Some(metadata(number(hit))["maker"]["city"].clone()),
                };
                let mut expected: Vec<(Option<Value>, Vec<String>)> = Vec::new();
                for hit in &ranked {
                    let own = value(hit);
                    match expected.iter_mut().find(|(known, _)| own.is_some() && *known == own) {
                        Some((_, ids)) => ids.push(hit.id.clone()),
                        None => expected.push((own, vec![hit.id.clone()])),
                    }
                }
                let request = plain.clone().window(10_000).group(Grouping::new(field).size(size)).total(true);
                let mut found: Vec<(usize, Option<Value>, u64, Vec<String>)> = Vec::new();
                for page in 0..expected.len().div_ceil(7) {
                    let response = engine.search(&request.clone().top(7).offset(page * 7)).unwrap();
                    assert_eq!(response.groups, Some(expected.len() as u64), "{mode} {field}");
                    assert_eq!(response.total, Some(ranked.len() as u64));
                    for hit in response.hits {
                        let group = hit.group.unwrap();
                        match found.last_mut().filter(|last| last.0 == group.rank) {
                            Some(last) => last.3.push(hit.id),
                            None => found.push((group.rank, group.value, group.documents, vec![hit.id])),
                        }
                    }
                }
                let wanted: Vec<_> = (1..)
                    .zip(&expected)
                    .map(|(rank, (value, ids))| {
                        let first: Vec<String> = ids.iter().take(size).cloned().collect();
                        (rank, value.clone(), ids.len() as u64, first)
                    })
                    .collect();
                assert_eq!(found, wanted, "{mode} {field}");
            }
        }
    }
}

#[test]
fn nothing_that_fits_is_an_empty_answer_that_says_so() {
    for chunks in chunkings() {
        let folder = tempfile::tempdir().unwrap();
        let engine = shop(folder.path(), chunks);
        for mode in Mode::ALL {
            let plain = SearchRequest::new("crow wire tool").mode(mode);
            let ranked = all(&engine, &plain);
            let least = ranked[ranked.len() / 3].score;
            let wanted = ranked.iter().filter(|hit| hit.score >= least).count();
            let found = engine.search(&plain.clone().top(1000).window(10_000).min_score(least).total(true)).unwrap();
            assert_eq!((found.hits.len(), found.total), (wanted, Some(wanted as u64)), "{mode}");
            assert!(found.warnings.is_empty());
            let none = engine.search(&plain.min_score(1e6).total(true)).unwrap();
            assert_eq!((none.hits.len(), none.total), (0, Some(0)));
            let best = ranked[0].score.to_string();
            assert!(none.warnings[0].contains("1000000") && none.warnings[0].contains(&best), "{:?}", none.warnings);
        }
        // Words that no document has, in a hybrid search: vectors alone find something, until they must be near.
        let strange = SearchRequest::new("zebra quagga okapi");
        assert!(!engine.search(&strange).unwrap().hits.is_empty());
        let honest = engine.search(&strange.min_similarity(0.95).total(true));
        match chunks {
            None => assert_eq!((honest.as_ref().unwrap().hits.len(), honest.unwrap().total), (0, Some(0))),
            // What is counted is first chunks, which do not say how near the others are.
            Some(_) => assert!(honest.unwrap_err().to_string().contains("cannot be counted")),
        }
        let similar = SearchRequest::new("crow wire tool").mode(Mode::Dense).min_similarity(0.8).top(1000);
        let found = engine.search(&similar).unwrap().hits;
        let wanted = all(&engine, &SearchRequest::new("crow wire tool").mode(Mode::Dense));
        assert_eq!(found.len(), wanted.iter().filter(|hit| hit.score >= 0.8).count());
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let engine = shop(folder.path(), None);
    let plain = || SearchRequest::new("crow");
    let boosted = |text: &str| plain().boost(boost(text));
    let cases = [
        (boosted("log; field=strs"), "field `strs` is in no document; there are `stars`"),
        (boosted("log; field=title"), "title"),
        (boosted("log; field=content"), "is not kept in columns"),
        (boosted("linear; field=stars; origin=3; scale=-1"), "scale must be above 0, and is -1"),
        (boosted("linear; field=stars; origin=3"), "needs its `scale`"),
        (boosted("linear; field=stars; scale=3"), "needs its `origin`"),
        (boosted("linear; field=stars; origin=soon; scale=3"), "`origin` must be a number here, and is `soon`"),
        (boosted("linear; field=released; origin=soon; scale=3d"), "the origin `soon` is no date"),
        (boosted("linear; field=released; scale=3 fortnights"), "`3 fortnights` is not a length of time"),
        (boosted("linear; field=released; scale=3d; offset=2"), "`2` is not a length of time"),
        (boosted("linear; field=released; scale=3d; decay=1"), "below 1, and is 1"),
        (boosted("linear; field=released; scale=3d; pivot=1"), "has `pivot`, which this kind does not know"),
        (boosted("log; field=stars; weight=2"), "weight must lie in 0..=1"),
        (boosted("saturation; field=stars"), "needs its `pivot`"),
        (boosted("field=stars"), "needs its `function`"),
        (boosted("weight=1"), "needs either"),
        (boosted("filter=brand:x"), "needs its `factor`"),
        (boosted("filter=brand; factor=2"), "expected FIELD:VALUE"),
        (boosted("filter=brand:x; factor=-2"), "multiplied by -2"),
        (plain().group(Grouping::new("brnd")), "field `brnd` is in no document; there are `brand`"),
        (plain().group(Grouping::new("text")), "is not kept in columns"),
        (plain().group(Grouping::new("brand").size(0)), "groups of 0 hits"),
        (plain().group(Grouping::new("brand").size(5000)), "multiplied"),
        (plain().group(Grouping::new("brand")).rerank(3), "do one of the two"),
        (plain().facet(Facet::new("brnd")), "field `brnd` is in no document; there are `brand`"),
        (plain().facet(Facet::new("brand").size(0)), "has 0 values"),
        (plain().facet(Facet::new("brand")).facet(Facet::new("brand")), "the facet `brand` twice"),
        (plain().aggregations(json!([])), "must be an object of names"),
        (plain().aggregations(json!({"a": {"terms": {"field": "brnd"}}})), "field `brnd` is in no document"),
        (plain().aggregations(json!({"a": {"trms": {"field": "brand"}}})), "trms"),
        (plain().aggregations(json!({"a": {"histogram": {"field": "stars", "interval": -1}}})), "interval"),
        (
            plain().aggregations(json!({"a": {"terms": {"field": "brand", "size": 4_000_000_000u32}}})),
            "cannot be computed",
        ),
        (plain().sort(Sorting::new("strs", Direction::Asc)), "field `strs` is in no document"),
        (plain().sort(Sorting::new("stars", Direction::Asc)).rerank(3), "sorts hits by a field and re-ranks"),
        (plain().sort(Sorting::new("stars", Direction::Asc)).diversity(0.5), "do one of the two"),
        (plain().diversity(0.5).rerank(3), "makes hits diverse and re-ranks"),
        (plain().diversity(1.5), "lambda of diversity must lie in 0..=1, and is 1.5"),
        (plain().diversity(f32::NAN), "is NaN"),
        (plain().min_score(f32::NAN), "least score must be a number"),
        (plain().min_similarity(f32::INFINITY), "least similarity must be a number"),
        (plain().boosts(vec![boost("log; field=stars"); 33]), "33 boosts; it can have 32"),
    ];
    for (request, said) in cases {
        let error = engine.search(&request).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    for text in ["", ":3", "brand:0"] {
        assert!(text.parse::<Grouping>().unwrap_err().to_string().contains("names no groups"));
    }
    assert_eq!("og:title:2".parse::<Grouping>().unwrap(), Grouping::new("og:title").size(2));
    // An index without documents has no names to compare with.
    let empty = tempfile::tempdir().unwrap();
    let engine = Engine::builder(empty.path()).encoder(Arc::new(Words::new())).open_or_create().unwrap();
    let request = plain().boost(boost("log; field=stars")).group(Grouping::new("brand"));
    assert!(engine.search(&request).unwrap().hits.is_empty());
}

#[test]
fn facets_and_aggregations_count_what_a_search_can_reach_in_every_mode() {
    for chunks in chunkings() {
        let folder = tempfile::tempdir().unwrap();
        let engine = shop(folder.path(), chunks);
        for mode in Mode::ALL {
            for filter in ["stars:*", "stars:1..3", "maker.city:city 1 OR brand:brand 2"] {
                let request = SearchRequest::new("crow").mode(mode).filter(filter.parse().unwrap());
                let reached = all(&engine, &request);
                let counted = |value: &dyn Fn(&Value) -> Option<Value>, size: usize| {
                    let mut counts: BTreeMap<String, (Value, u64)> = BTreeMap::new();
                    for value in reached.iter().filter_map(|hit| value(&metadata(number(hit)))) {
                        counts.entry(value.to_string()).or_insert((value, 0)).1 += 1;
                    }
                    let mut counts: Vec<(Value, u64)> = counts.into_values().collect();
                    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.to_string().cmp(&b.0.to_string())));
                    let others = counts.split_off(size.min(counts.len())).iter().map(|(_, count)| count).sum::<u64>();
                    (counts, others)
                };
                let found = engine
                    .search(
                        &request
                            .facets([Facet::new("brand").size(4), Facet::new("stars"), Facet::new("maker.city").size(1000)])
                            .aggregations(json!({
                                "cities": {"terms": {"field": "maker.city"}, "aggs": {"n": {"value_count": {"field": "released"}}}},
                                "facet 0 0": {"cardinality": {"field": "brand"}},
                            }))
                            .top(1),
                    )
                    .unwrap();
                let facets = found.facets.unwrap();
                let values = |facet: &FacetCounts| {
                    let values: Vec<(Value, u64)> =
                        facet.values.iter().map(|value| (value.value.clone(), value.documents)).collect();
                    (values, facet.others)
                };
                assert_eq!(values(&facets["brand"]), counted(&|meta| meta.get("brand").cloned(), 4), "{mode} {filter}");
                assert_eq!(values(&facets["stars"]), {
                    let (mut all, others) = counted(&|meta| meta.get("stars").cloned(), 1000);
                    let cut: u64 = all.split_off(10.min(all.len())).iter().map(|(_, count)| count).sum();
                    (all, others + cut)
                });
                let cities = counted(&|meta| meta["maker"].get("city").cloned(), 1000);
                assert_eq!(values(&facets["maker.city"]), cities);
                let aggregations = found.aggregations.unwrap();
                let buckets = aggregations["cities"]["buckets"].as_array().unwrap();
                assert_eq!(buckets.len(), cities.0.len());
                for (city, count) in &cities.0 {
                    let bucket = buckets.iter().find(|bucket| bucket["key"] == *city).unwrap();
                    assert_eq!(
                        (bucket["doc_count"].as_u64(), bucket["n"]["value"].as_f64()),
                        (Some(*count), Some(*count as f64))
                    );
                }
                assert_eq!(aggregations.as_object().unwrap().len(), 2);
            }
        }
    }
}

#[test]
fn hits_are_sorted_by_metadata_within_the_window() {
    for chunks in chunkings() {
        let folder = tempfile::tempdir().unwrap();
        let engine = shop(folder.path(), chunks);
        for mode in Mode::ALL {
            let plain = SearchRequest::new("crow wire tool").mode(mode);
            let best: Vec<String> = engine
                .search(&plain.clone().window(30).top(1000))
                .unwrap()
                .hits
                .into_iter()
                .map(|hit| hit.id)
                .collect();
            for order in [Direction::Asc, Direction::Desc] {
                let sorted = plain.clone().window(30).sort(Sorting::new("released", order));
                let hits = engine.search(&sorted.clone().top(1000)).unwrap().hits;
                assert!(hits.len() >= 30 && hits.iter().all(|hit| best.contains(&hit.id)), "{mode}");
                let released = |hit: &Hit| metadata(number(hit))["released"].as_str().unwrap().to_owned();
                for pair in hits.windows(2) {
                    let (a, b) = (released(&pair[0]), released(&pair[1]));
                    assert!(if order == Direction::Asc { a <= b } else { a >= b }, "{a} {b}");
                    assert!(a != b || pair[0].score >= pair[1].score);
                }
                let page = engine.search(&sorted.top(5).offset(7)).unwrap().hits;
                assert_eq!(page, hits[7..12]);
            }
        }
    }
}

#[test]
fn diverse_hits_are_the_same_documents_in_another_order() {
    for chunks in chunkings() {
        let folder = tempfile::tempdir().unwrap();
        let engine = shop(folder.path(), chunks);
        for mode in Mode::ALL {
            let plain = SearchRequest::new("crow wire tool").mode(mode);
            let ranked = all(&engine, &plain);
            let diverse = all(&engine, &plain.clone().diversity(0.3));
            let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>();
            let set = |hits: &[Hit]| hits.iter().map(|hit| hit.id.clone()).collect::<std::collections::BTreeSet<_>>();
            assert_eq!(set(&ranked), set(&diverse), "{mode}");
            assert_eq!(ranked[0].id, diverse[0].id);
            assert_ne!(ids(&ranked), ids(&diverse));
            assert_eq!(ids(&ranked), ids(&all(&engine, &plain.diversity(1.0))));
        }
    }
}

/// The vectors of documents as the model makes them.
fn unit(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter().map(|value| value / length).collect()
}

#[test]
fn more_like_this_is_the_search_for_the_mean_of_the_examples() {
    let model = Words::new();
    let folder = tempfile::tempdir().unwrap();
    let engine = shop(folder.path(), None);
    let text = |id: &str| {
        let document = engine.get(id).unwrap().unwrap();
        format!("{} {}", document.title, document.text)
    };
    let vector = |id: &str| unit(&model.vector(&text(id)));
    let request = SearchRequest::more_like([Example::new("d1"), Example::new("d2").weight(3.0)]).unlike(["d7", "d8"]);
    let mut wanted = vec![0.0f32; 48];
    for (id, weight) in [("d1", 0.25), ("d2", 0.75), ("d7", -0.25), ("d8", -0.25)] {
        wanted.iter_mut().zip(vector(id)).for_each(|(sum, value)| *sum += weight * value);
    }
    let wanted = unit(&wanted);
    let mut expected: Vec<(String, f32)> = (0..DOCUMENTS)
        .filter(|number| number % 11 != 5 && ![1, 2, 7, 8].contains(number))
        .map(|number| format!("d{number}"))
        .map(|id| (id.clone(), common::cosine(&wanted, &vector(&id))))
        .collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    let hits = all(&engine, &request.clone().mode(Mode::Dense));
    assert_eq!(hits.len(), expected.len());
    for (hit, (_, similarity)) in hits.iter().zip(&expected) {
        assert!((hit.score - similarity).abs() < 1e-4, "{} {}", hit.score, similarity);
    }
    // Pages fit together, and the same vector brought along finds the same.
    let page = engine.search(&request.clone().mode(Mode::Dense).window(10_000).top(5).offset(10)).unwrap();
    assert_eq!(page.hits, hits[10..15]);
    let brought = SearchRequest::new("").vector(wanted).mode(Mode::Dense);
    let by_vector: Vec<Hit> =
        all(&engine, &brought).into_iter().filter(|hit| !["d1", "d2", "d7", "d8"].contains(&hit.id.as_str())).collect();
    for (a, b) in by_vector.iter().zip(&hits) {
        assert!((a.score - b.score).abs() < 1e-4);
    }
}

#[test]
fn examples_lead_words_and_chunks_as_well_and_are_no_hits() {
    for chunks in chunkings() {
        let folder = tempfile::tempdir().unwrap();
        let engine = shop(folder.path(), chunks);
        for mode in Mode::ALL {
            // The 8th is long, and so in several chunks where there are any.
            let request = SearchRequest::more_like([Example::new("d8"), Example::new("d3")]).unlike(["d9"]).mode(mode);
            let hits = all(&engine, &request);
            assert!(hits.len() > 20, "{mode}");
            assert!(hits.iter().all(|hit| !["d8", "d3", "d9"].contains(&hit.id.as_str())), "{mode}");
            let with_query = all(&engine, &request.clone().mode(mode).top(5));
            assert_eq!(with_query, hits);
            let filtered = all(&engine, &request.clone().filter("stars:1".parse().unwrap()));
            let wanted: Vec<&str> = hits
                .iter()
                .filter(|hit| metadata(number(hit))["stars"].to_string().trim_matches('"') == "1")
                .map(|hit| hit.id.as_str())
                .collect();
            let mut found: Vec<&str> = filtered.iter().map(|hit| hit.id.as_str()).collect();
            let mut wanted = wanted;
            found.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{mode}");
            let total = engine.search(&request.clone().total(true).facet(Facet::new("stars"))).unwrap();
            assert_eq!(total.total, Some(hits.len() as u64), "{mode}");
            assert!(total.warnings.is_empty(), "{:?}", total.warnings);
            assert_eq!(engine.rank(&request.top(7)).unwrap().len(), 7);
        }
        // The number in the title is the word that tells most of a document, and only one has it.
        let alone =
            engine.search(&SearchRequest::more_like([Example::new("d8")]).mode(Mode::Bm25).explain(true)).unwrap();
        let tree = alone.hits[0].explanation.as_ref().unwrap().to_string();
        assert!(
            tree.contains("crow") || tree.contains("wire") || tree.contains("snow") || tree.contains("glass"),
            "{tree}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let engine = shop(folder.path(), None);
    let like = |ids: &[&str]| SearchRequest::more_like(ids.iter().map(|id| Example::new(*id)));
    for (request, said) in [
        (like(&["nobody"]), "the example `nobody` is no document"),
        (like(&["d1"]).unlike(["nobody"]), "the example `nobody` is no document"),
        (like(&["d1", "d1"]), "has `d1` twice"),
        (like(&["d1"]).unlike(["d1"]), "has `d1` twice"),
        (like(&["d5"]), "the example `d5` is no document"),
        (SearchRequest::more_like([Example::new("d1").weight(0.0)]), "must be above 0, and is 0"),
        (SearchRequest::more_like([Example::new("d1").weight(f32::NAN)]), "NaN"),
        (like(&["d1"]).rerank(3), "needs the text of a query"),
        (SearchRequest::new("").vector(vec![1.0]), "its vector has 1 values; the index takes 48"),
        (SearchRequest::new("").vector(vec![0.0; 48]), "all zeros"),
        (SearchRequest::new("").unlike(["d1"]), "is empty"),
        (SearchRequest::more_like(Vec::new()), "is empty"),
    ] {
        let error = engine.search(&request).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn a_cursor_goes_over_all_pages_of_one_request_and_one_state_of_the_index() {
    for chunks in chunkings() {
        let folder = tempfile::tempdir().unwrap();
        let engine = shop(folder.path(), chunks);
        for mode in Mode::ALL {
            let plain = SearchRequest::new("crow wire tool")
                .mode(mode)
                .window(20)
                .boost(boost("gaussian; field=released; scale=90d"));
            let whole = engine.search(&plain.clone().top(1000)).unwrap().hits;
            let (mut hits, mut cursor) = (Vec::new(), Some("*".to_owned()));
            while let Some(at) = cursor {
                // How much is shown may change from page to page.
                let page =
                    engine.search(&plain.clone().cursor(at).top(7 + hits.len() % 3).total(hits.is_empty())).unwrap();
                hits.extend(page.hits);
                cursor = page.cursor;
            }
            let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>();
            assert_eq!(ids(&hits), ids(&whole), "{mode}");
            let groups = plain.clone().group(Grouping::new("stars").size(2));
            let all_groups = engine.search(&groups.clone().top(1000)).unwrap().hits;
            let (mut hits, mut cursor) = (Vec::new(), Some("*".to_owned()));
            while let Some(at) = cursor {
                let page = engine.search(&groups.clone().cursor(at).top(3)).unwrap();
                hits.extend(page.hits);
                cursor = page.cursor;
            }
            assert_eq!(ids(&hits), ids(&all_groups), "{mode}");
        }
        let request = SearchRequest::new("crow wire tool").top(5);
        assert_eq!(engine.search(&request).unwrap().cursor, None);
        let next = engine.search(&request.clone().cursor("*".to_owned())).unwrap().cursor.unwrap();
        let other = SearchRequest::new("glass").top(5);
        let deep = next.replacen("5-", "99999-", 1);
        for (request, said) in [
            (other.cursor(next.clone()), "is of another request"),
            (request.clone().weight(0.3).cursor(next.clone()), "is of another request"),
            (request.clone().offset(3).cursor(next.clone()), "an offset and a cursor"),
            (request.clone().cursor("page 2".to_owned()), "its cursor is none"),
            (request.clone().cursor(format!("{next}-")), "its cursor is none"),
            (request.clone().cursor(deep), "beyond 100000 hits"),
        ] {
            let error = engine.search(&request).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
        writer.delete_term(engine.key_term("d3")).unwrap();
        writer.commit().unwrap();
        engine.reload().unwrap();
        let error = engine.search(&request.cursor(next)).unwrap_err().to_string();
        assert!(error.contains("the index has changed"), "{error}");
    }
}

#[test]
fn words_are_marked_in_every_field_of_text() {
    let folder = tempfile::tempdir().unwrap();
    let engine = shop(folder.path(), None);
    for mode in Mode::ALL {
        let found = engine.search(&SearchRequest::new("item crow").mode(mode).highlight(true)).unwrap();
        let marked = found.hits[0].highlights.as_ref().unwrap();
        for (field, word) in [("title", "item"), ("text", "crow")] {
            let snippet = &marked[field][0];
            let words: Vec<&str> = snippet.highlights.iter().map(|&(start, end)| &snippet.text[start..end]).collect();
            assert!(!words.is_empty() && words.iter().all(|found| *found == word), "{mode} {field}: {words:?}");
        }
        assert_eq!(marked.len(), 2);
        assert!(engine.search(&SearchRequest::new("crow").mode(mode)).unwrap().hits[0].highlights.is_none());
    }
}
