//! Random lives of an index, held against a plain model.
//!
//! A life is a sequence of random steps: add, update, delete, commit, roll back, merge, reload, open anew. The model is a
//! map from numbers to vectors. Whenever a searcher is had, everything it answers must be what the model answers:
//! which documents there are, the vector of each, and the nearest of any query under any filter.
//!
//! `ADAM_STEPS` is the number of steps in each life (60 unless given, which makes 2,700 in all).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

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
                seed: seed + number as u64,
            };
            Life::begin(plan).run(steps());
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
