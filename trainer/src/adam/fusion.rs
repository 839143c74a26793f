//! Several voices of a teacher as one: z-scores over a query's list, added by weight.
//!
//! Scores of different voices have different scales: BM25 has no upper end, a cosine lies in -1..1, a cross-encoder gives logits. A
//! z-score is a distance from the list's mean in standard deviations, so voices become comparable list by list.

use super::confidence::log_sum_exp;
use serde::{Deserialize, Serialize};

/// How voices are added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fusion {
    /// A weight for each voice; only their ratios matter for the order.
    pub weights: Vec<f64>,
    /// The sum is divided by this.
    pub temperature: f64,
}

/// What makes scores of a voice z-scores.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    mean: f64,
    deviation: f64,
}

impl Scale {
    fn of(scores: &[f32]) -> Self {
        let count = scores.len().max(1) as f64;
        let mean = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / count;
        let variance = scores.iter().map(|&s| (f64::from(s) - mean).powi(2)).sum::<f64>() / count;
        Self { mean, deviation: variance.sqrt() }
    }

    /// A voice that gives all of a list the same score says nothing.
    fn z(self, score: f32) -> f64 {
        // Equal scores leave a deviation that is rounding alone.
        let least = 1e-7 * self.mean.abs().max(1e-6);
        if self.deviation > least { (f64::from(score) - self.mean) / self.deviation } else { 0.0 }
    }
}

impl Fusion {
    /// Fused scores of a list: `voices` holds each voice's scores of the list's passages.
    pub fn fuse(&self, voices: &[Vec<f32>]) -> Vec<f32> {
        self.fuse_more(voices, &[]).0
    }

    /// As [`Fusion::fuse`], with further passages on the scale of the list, such as dark examples: `more` holds each voice's scores of
    /// those. `None` stands for a voice that cannot read one; the others speak for it, by their weights.
    pub fn fuse_more(&self, voices: &[Vec<f32>], more: &[Vec<Option<f32>>]) -> (Vec<f32>, Vec<f32>) {
        let scales: Vec<Scale> = voices.iter().map(|scores| Scale::of(scores)).collect();
        let all: f64 = self.weights.iter().sum();
        let sum = |at: usize, score: &dyn Fn(usize, usize) -> Option<f32>| {
            let (mut sum, mut spoke) = (0.0, 0.0);
            for (voice, (scale, weight)) in scales.iter().zip(&self.weights).enumerate() {
                if let Some(score) = score(voice, at) {
                    sum += weight * scale.z(score);
                    spoke += weight;
                }
            }
            if spoke > 0.0 { (sum * all / spoke / self.temperature) as f32 } else { 0.0 }
        };
        let listed = (0..voices.first().map_or(0, Vec::len)).map(|at| sum(at, &|voice, at| Some(voices[voice][at])));
        let further = (0..more.first().map_or(0, Vec::len)).map(|at| sum(at, &|voice, at| more[voice][at]));
        (listed.collect(), further.collect())
    }
}

/// The weights, with a sum of 1, under which `judge` likes the fused lists best. `lists` holds for each query each voice's scores of
/// its list. Of equals those win that are most even: what cannot be told apart should not rest on one voice.
pub fn choose_weights(lists: &[Vec<Vec<f32>>], judge: &dyn Fn(Vec<Vec<f32>>) -> f64) -> Vec<f64> {
    let count = lists.first().map_or(0, Vec::len);
    if count < 2 {
        return vec![1.0; count];
    }
    let steps = match count {
        2 => 20,
        3 => 10,
        4 => 8,
        _ => 5,
    };
    let uneven = |weights: &[f64]| weights.iter().map(|w| w * w).sum::<f64>();
    let mut best: Option<(f64, Vec<f64>)> = None;
    for parts in compositions(steps, count) {
        let weights: Vec<f64> = parts.into_iter().map(|part| part as f64 / steps as f64).collect();
        let fusion = Fusion { weights, temperature: 1.0 };
        let value = judge(lists.iter().map(|voices| fusion.fuse(voices)).collect());
        let is_better = best.as_ref().is_none_or(|(known, weights)| {
            value > *known + 1e-12 || (value > *known - 1e-12 && uneven(&fusion.weights) < uneven(weights))
        });
        if is_better {
            best = Some((value, fusion.weights));
        }
    }
    best.map(|(_, weights)| weights).unwrap_or_default()
}

/// All ways to write `sum` as `count` numbers of 0 or more.
fn compositions(sum: usize, count: usize) -> Vec<Vec<usize>> {
    if count <= 1 {
        return vec![vec![sum; count]];
    }
    let with_first =
        |first: usize| compositions(sum - first, count - 1).into_iter().map(move |rest| [vec![first], rest].concat());
    (0..=sum).flat_map(with_first).collect()
}

/// The temperature under which the labels are likeliest: the softmax of each list, divided by it, gives the most to the positives.
/// `lists` holds fused scores at temperature 1, the `positives` of each first.
pub fn choose_temperature(lists: &[(Vec<f32>, usize)]) -> f64 {
    const GRID: [f64; 9] = [0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0];
    let likelihood = |temperature: f64| -> f64 {
        let of_list = |(scores, positives): &(Vec<f32>, usize)| {
            let divided: Vec<f32> = scores.iter().map(|&s| (f64::from(s) / temperature) as f32).collect();
            log_sum_exp(&divided[..*positives]) - log_sum_exp(&divided)
        };
        lists.iter().filter(|(scores, positives)| *positives > 0 && scores.len() > *positives).map(of_list).sum()
    };
    GRID.into_iter().max_by(|a, b| likelihood(*a).total_cmp(&likelihood(*b))).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn even(count: usize) -> Fusion {
        Fusion { weights: vec![1.0; count], temperature: 1.0 }
    }

    #[test]
    fn scales_do_not_matter_and_a_flat_voice_says_nothing() {
        let (a, b) = (vec![1.0, 2.0, 3.0], vec![300.0, 100.0, 200.0]);
        let fused = even(2).fuse(&[a.clone(), b.clone()]);
        let scaled: Vec<f32> = b.iter().map(|s| s * 0.001 + 7.0).collect();
        for (x, y) in fused.iter().zip(even(2).fuse(&[a.clone(), scaled])) {
            assert!((x - y).abs() < 1e-3, "{fused:?}");
        }
        let alone = Fusion { weights: vec![1.0, 5.0], temperature: 1.0 }.fuse(&[a.clone(), vec![0.1; 3]]);
        assert!(alone[0] < alone[1] && alone[1] < alone[2] && alone[1].abs() < 1e-6, "{alone:?}");
        assert_eq!(even(1).fuse(&[vec![]]), Vec::<f32>::new());
    }

    #[test]
    fn further_passages_are_on_the_scale_of_the_list() {
        let voices = [vec![0.0, 2.0], vec![10.0, 30.0]];
        let more = [vec![Some(2.0), Some(4.0)], vec![Some(30.0), None]];
        let (listed, further) = even(2).fuse_more(&voices, &more);
        assert_eq!(listed, [-2.0, 2.0]);
        // The second has 3 deviations of the first voice, which speaks for both.
        assert_eq!(further, [2.0, 6.0]);
        let cold = Fusion { temperature: 0.5, ..even(2) };
        assert_eq!(cold.fuse(&voices), [-4.0, 4.0]);
    }

    #[test]
    fn the_voice_that_is_right_gets_the_weight() {
        // The first voice puts the first passage first in every list, the second is noise.
        let lists: Vec<Vec<Vec<f32>>> =
            (0..12).map(|i| vec![vec![1.0, 0.0, 0.2], vec![(i % 3) as f32, ((i + 1) % 3) as f32, 1.0]]).collect();
        let judge = |fused: Vec<Vec<f32>>| {
            fused.iter().filter(|f| f[0] > f[1] && f[0] > f[2]).count() as f64 / fused.len() as f64
        };
        let weights = choose_weights(&lists, &judge);
        assert!(weights[0] > 0.5 && (weights[0] + weights[1] - 1.0).abs() < 1e-9, "{weights:?}");
        // Of all weights under which it is right, the most even ones.
        assert!(weights[1] > 0.0, "{weights:?}");
        assert_eq!(choose_weights(&[vec![vec![1.0]]], &judge), [1.0]);
        assert_eq!(choose_weights(&[], &judge), Vec::<f64>::new());
    }

    #[test]
    fn a_teacher_that_is_right_may_be_sure() {
        let right = vec![(vec![1.0, 0.0, -1.0], 1); 8];
        let mixed: Vec<(Vec<f32>, usize)> =
            (0..8).map(|i| (if i % 2 == 0 { vec![1.0, 0.0, -1.0] } else { vec![-1.0, 0.0, 1.0] }, 1)).collect();
        assert!(choose_temperature(&right) < choose_temperature(&mixed));
        assert_eq!(choose_temperature(&[]), choose_temperature(&[(vec![1.0], 1)]));
    }

    proptest! {
        #[test]
        fn weights_of_all_sorts_are_tried_once(sum in 1usize..8, count in 1usize..5) {
            let all = compositions(sum, count);
            prop_assert!(all.iter().all(|parts| parts.len() == count && parts.iter().sum::<usize>() == sum));
            let mut sorted = all.clone();
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), all.len());
        }

        #[test]
        fn fused_scores_are_finite(
            scores in prop::collection::vec((-1e6f32..1e6, -1.0f32..1.0), 0..20), weight in 0.0f64..1.0,
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = scores.into_iter().unzip();
            let fusion = Fusion { weights: vec![weight, 1.0 - weight], temperature: 0.5 };
            prop_assert!(fusion.fuse(&[a, b]).iter().all(|s| s.is_finite()));
        }
    }
}
