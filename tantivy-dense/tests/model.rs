//! Random lives of an index, held against a plain model.
//!
//! A life is a sequence of random steps: add, update, delete, commit, roll back, merge, reload, open anew. The model is a
//! map from numbers to vectors. Whenever a searcher is had, everything it answers must be what the model answers:
//! which documents there are, the vector of each, and the nearest of any query under any filter.
//!
//! `ADAM_STEPS` is the number of steps in each life (60 unless given, which makes 2,700 in all).
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]

#[path = "model/life.rs"]
mod life;
mod support;

use life::{Life, Plan, Sorting};
use tantivy_dense::{Element, Metric, VectorOptions};

fn steps() -> usize {
    std::env::var("ADAM_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(60)
}

/// Every element type, with and without the rounded copy.
fn stored() -> [(Element, bool); 5] {
    let both = [false, true];
    let [plain, rounded] = both;
    [
        (Element::F32, plain),
        (Element::F32, rounded),
        (Element::F16, plain),
        (Element::F16, rounded),
        (Element::Int8, plain),
    ]
}

/// Lives of every kind of field under one metric.
fn live(metric: Metric, seed: u64) {
    let dimensions = [1, 3, 8, 17, 32, 65, 130];
    let mut number = 0;
    for (element, first_pass) in stored() {
        for sorting in [Sorting::None, Sorting::Ascending, Sorting::Descending] {
            let dimension = dimensions[number % dimensions.len()];
            let options = VectorOptions::new(metric, dimension).element(element).int8_first_pass(first_pass);
            let plan = Plan {
                options,
                sorting,
                // Each of these changes at a rhythm of its own, so that they meet in many combinations.
                on_disk: number % 2 == 0,
                threads: 1 + number % 3 % 2,
                merges_by_itself: number % 5 == 4,
                searches_in_parallel: number % 4 == 3,
                index: None,
                seed: seed + number as u64,
            };
            let recall = Life::begin(plan).run(steps());
            assert_eq!(recall.searches, 0, "no index was asked for");
            number += 1;
        }
    }
}

#[test]
fn lives_under_cosine_agree_with_the_model() {
    live(Metric::Cosine, 100);
}

#[test]
fn lives_under_inner_product_agree_with_the_model() {
    live(Metric::Dot, 200);
}

#[test]
fn lives_under_l2_agree_with_the_model() {
    live(Metric::L2, 300);
}

/// Lives with an index that merges build over every segment.
#[cfg(feature = "faiss")]
fn live_with(factory: &'static str, seed: u64) {
    let mut all = life::Recall::default();
    let kinds = [
        (Metric::Cosine, Element::F32, true),
        (Metric::Dot, Element::F32, false),
        (Metric::L2, Element::F16, false),
        (Metric::Cosine, Element::Int8, false),
    ];
    for (number, (metric, element, first_pass)) in kinds.into_iter().enumerate() {
        let plan = Plan {
            options: VectorOptions::new(metric, 16).element(element).int8_first_pass(first_pass),
            sorting: [Sorting::None, Sorting::Ascending][number % 2],
            on_disk: number % 2 == 0,
            threads: 1,
            merges_by_itself: number == 2,
            searches_in_parallel: number == 3,
            seed: seed + number as u64,
            index: Some(factory),
        };
        let recall = Life::begin(plan).run(steps());
        all.found += recall.found;
        all.due += recall.due;
        all.searches += recall.searches;
    }
    let share = all.found as f64 / all.due.max(1) as f64;
    println!("{factory}: {share:.4} of {} due hits found in {} searches", all.due, all.searches);
    assert!(all.searches > 20, "the index took part in {} searches only", all.searches);
    assert!(share >= 0.95, "{factory}: {share}");
}

#[cfg(feature = "faiss")]
#[test]
fn lives_with_a_graph_agree_with_the_model() {
    live_with("HNSW16", 400);
}

#[cfg(feature = "faiss")]
#[test]
fn lives_with_lists_agree_with_the_model() {
    live_with("IVF8,SQ8", 500);
}
