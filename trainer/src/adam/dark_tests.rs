//! Tests of the dark examples: examples worked by hand, then properties over random inputs.

use super::*;
use proptest::prelude::*;

const MASK: u32 = 103;

fn special() -> SpecialTokens {
    SpecialTokens { mask: Some(MASK), protected: vec![101, 102, 0] }
}

/// The positive's tokens are 1000.., the k-th negative's (k + 2) * 1000..: every token shows where it came from.
fn passage(kind: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| kind * 1000 + i).collect()
}

fn config(mix: MixOperator, mask: MaskOperator) -> DarkConfig {
    DarkConfig { mix, mask, ..DarkConfig::default() }
}

fn from_positive(tokens: &[u32]) -> Vec<u32> {
    tokens.iter().copied().filter(|t| (1000..2000).contains(t)).collect()
}

#[test]
fn a_splice_keeps_the_negative_and_inserts_a_run_of_the_positive() {
    let positive = passage(1, 20);
    let negative = passage(2, 30);
    let settings = config(MixOperator::Splice, MaskOperator::Mask);
    let made = make(&settings, &special(), 7, 0, "q", &positive, &[&negative], 128);
    assert_eq!(made.len(), 8);
    for example in made.iter().filter(|e| e.kind == DarkKind::Reinforced) {
        let inserted = from_positive(&example.tokens);
        let expected = (f64::from(example.share) * 20.0).round() as usize;
        assert_eq!(inserted.len(), expected);
        assert!(inserted.windows(2).all(|w| w[1] == w[0] + 1), "a contiguous span: {inserted:?}");
        let rest: Vec<u32> = example.tokens.iter().copied().filter(|t| *t >= 2000).collect();
        assert_eq!(rest, negative);
        let first = example.tokens.iter().position(|t| (1000..2000).contains(t)).unwrap();
        assert!(example.tokens[first..first + expected].iter().all(|t| (1000..2000).contains(t)));
        assert_eq!(example.source, Some(0));
    }
}

#[test]
fn concat_puts_the_span_at_either_end() {
    let positive = passage(1, 20);
    let negative = passage(2, 30);
    let settings = DarkConfig { reinforced: 20, noisy: 0, ..config(MixOperator::Concat, MaskOperator::Mask) };
    let made = make(&settings, &special(), 7, 0, "q", &positive, &[&negative], 128);
    let first = made.iter().filter(|e| e.tokens[0] < 2000).count();
    let last = made.iter().filter(|e| e.tokens[e.tokens.len() - 1] < 2000).count();
    assert_eq!(first + last, made.len());
    assert!(first > 0 && last > 0);
}

#[test]
fn token_mixing_keeps_every_token_in_its_place() {
    let positive = passage(1, 40);
    let negative = passage(2, 60);
    let settings = DarkConfig { noisy: 0, ..config(MixOperator::Token, MaskOperator::Mask) };
    for example in make(&settings, &special(), 7, 3, "q", &positive, &[&negative], 50) {
        assert_eq!(example.tokens.len(), 50);
        for (i, token) in example.tokens.iter().enumerate() {
            assert!(*token == 1000 + i as u32 || *token == 2000 + i as u32);
        }
    }
}

#[test]
fn negatives_are_used_in_turn_and_labelled_positives_never() {
    let positive = passage(1, 20);
    let other = passage(3, 20);
    let (a, b) = (passage(4, 20), passage(5, 20));
    let input = DarkInput {
        query_id: "q",
        query: &[],
        positive: &positive,
        negatives: &[&other, &a, &positive, &b],
        other_positives: &[&other],
        budget: 64,
    };
    let made = make_for(&DarkConfig::default(), &special(), 1, 0, &input);
    let sources: Vec<_> = made.iter().filter_map(|e| e.source).collect();
    assert_eq!(sources, vec![1, 3, 1, 3]);
}

#[test]
fn without_negatives_only_noisy_positives_are_made() {
    let positive = passage(1, 20);
    let made = make(&DarkConfig::default(), &special(), 1, 0, "q", &positive, &[], 64);
    assert_eq!(made.len(), 4);
    assert!(made.iter().all(|e| e.kind == DarkKind::Noisy));
    assert!(make(&DarkConfig::default(), &special(), 1, 0, "q", &[], &[&positive], 64).is_empty());
    assert!(make(&DarkConfig::default(), &special(), 1, 0, "q", &positive, &[], 0).is_empty());
}

#[test]
fn an_example_equal_to_a_candidate_is_dropped() {
    // One token deleted out of two leaves one of two single tokens, and both are natural candidates already.
    let settings = DarkConfig {
        reinforced: 0,
        noisy: 8,
        mask_share: ShareRange { low: 0.5, high: 0.5 },
        ..config(MixOperator::Splice, MaskOperator::Delete)
    };
    let made = make(&settings, &special(), 1, 0, "q", &[1, 2], &[&[1], &[2]], 64);
    assert!(made.is_empty(), "{made:?}");
    // With only one of them known, the other is made, and once only.
    let made = make(&settings, &special(), 1, 0, "q", &[1, 2], &[&[1]], 64);
    assert_eq!(made.iter().map(|e| e.tokens.clone()).collect::<Vec<_>>(), vec![vec![2]]);
}

#[test]
fn once_repeats_and_each_epoch_does_not() {
    let positive = passage(1, 40);
    let negative = passage(2, 40);
    let fresh = DarkConfig::default();
    let once = DarkConfig { refresh: Refresh::Once, ..DarkConfig::default() };
    let epoch = |settings: &DarkConfig, e| make(settings, &special(), 1, e, "q", &positive, &[&negative], 128);
    assert_ne!(epoch(&fresh, 0), epoch(&fresh, 1));
    assert_eq!(epoch(&once, 0), epoch(&once, 1));
}

#[test]
fn a_query_bias_hides_query_words_more_often() {
    let positive = passage(1, 40);
    let query: Vec<u32> = positive[..10].to_vec();
    let hidden_query_words = |query_bias: f64| -> usize {
        let settings = DarkConfig {
            reinforced: 0,
            noisy: 200,
            query_bias,
            mask_share: ShareRange { low: 0.25, high: 0.25 },
            ..DarkConfig::default()
        };
        let input = DarkInput {
            query_id: "q",
            query: &query,
            positive: &positive,
            negatives: &[],
            other_positives: &[],
            budget: 64,
        };
        make_for(&settings, &special(), 1, 0, &input)
            .iter()
            .map(|e| e.tokens[..10].iter().filter(|t| **t == MASK).count())
            .sum()
    };
    // Evenly: a quarter of 10 words in 200 passages, about 500. With a bias of 3 clearly more.
    let even = hidden_query_words(0.0);
    assert!((400..600).contains(&even), "{even}");
    assert!(hidden_query_words(3.0) > 850);
}

#[test]
fn both_parts_survive_a_tight_budget() {
    let positive = passage(1, 100);
    let negative = passage(2, 128);
    let made = make(&DarkConfig::default(), &special(), 1, 0, "q", &positive, &[&negative], 128);
    for example in made.iter().filter(|e| e.kind == DarkKind::Reinforced) {
        assert_eq!(example.tokens.len(), 128);
        let share = from_positive(&example.tokens).len() as f64 / 128.0;
        // 30 to 70 of 158 to 198 tokens: the positive keeps its part of the passage.
        assert!((0.18..0.37).contains(&share), "{share}");
    }
}

#[test]
fn wrong_settings_are_named() {
    let problem = |edit: fn(&mut DarkConfig)| {
        let mut settings = DarkConfig::default();
        edit(&mut settings);
        settings.problem(&special())
    };
    assert_eq!(problem(|_| ()), None);
    assert!(problem(|c| c.mix_share.low = -0.1).unwrap().contains("mix_share"));
    assert!(problem(|c| c.mask_share.low = f64::NAN).unwrap().contains("mask_share"));
    assert!(problem(|c| c.mask_share = ShareRange { low: 0.7, high: 0.2 }).unwrap().contains("low <= high"));
    assert!(problem(|c| c.query_bias = f64::INFINITY).unwrap().contains("query_bias"));
    assert!(problem(|c| c.oversample = 0).unwrap().contains("oversample"));
    let no_mask = SpecialTokens::default();
    assert!(DarkConfig::default().problem(&no_mask).unwrap().contains("delete"));
    let delete = config(MixOperator::Splice, MaskOperator::Delete);
    assert_eq!(delete.problem(&no_mask), None);
}

#[test]
fn swapping_keeps_the_cost_and_at_least_one_negative() {
    let swapped = DarkConfig { placement: Placement::Swapped, ..DarkConfig::default() };
    assert_eq!(DarkConfig::default().natural_kept(15, 8), 15);
    assert_eq!(swapped.natural_kept(15, 8), 7);
    assert_eq!(swapped.natural_kept(5, 8), 1);
    assert_eq!(swapped.natural_kept(0, 8), 0);
}

#[test]
fn filling_a_range_spreads_over_it() {
    // Range 0..10: 5 is the farthest from both ends, then 2 or 8 (a tie at 2: distance 2 both; the lower place wins).
    let scores = [5.1, 5.0, 2.0, 8.0, 11.0, -3.0, f32::NAN];
    assert_eq!(fill_range(&scores, 0.0, 10.0, 3), vec![1, 2, 3]);
    assert_eq!(fill_range(&scores, 0.0, 10.0, 5), vec![0, 1, 2, 3, 4]);
    assert_eq!(fill_range(&scores, 0.0, 10.0, 99).len(), 7);
    assert!(fill_range(&[], 0.0, 1.0, 3).is_empty());
}

#[test]
fn settings_read_from_toml_and_refuse_unknown_keys() {
    let settings: DarkConfig = toml::from_str(
        "mix = \"token\"\nmask = \"span\"\nplacement = \"swapped\"\nmix_share = { low = 0.5, high = 0.5 }",
    )
    .unwrap();
    assert_eq!(settings.mix, MixOperator::Token);
    assert_eq!(settings.placement, Placement::Swapped);
    assert_eq!(settings.noisy, 4);
    assert!(toml::from_str::<DarkConfig>("mixx = \"token\"").is_err());
}

fn any_config() -> impl Strategy<Value = DarkConfig> {
    (
        prop::sample::select(vec![MixOperator::Splice, MixOperator::Concat, MixOperator::Token]),
        prop::sample::select(vec![MaskOperator::Mask, MaskOperator::Span, MaskOperator::Delete]),
        (0usize..6, 0usize..6, 1usize..3),
        (0.0f64..=1.0, 0.0f64..=1.0, 0.0f64..=1.0, 0.0f64..=1.0),
        any::<bool>(),
        0.0f64..4.0,
    )
        .prop_map(|(mix, mask, (reinforced, noisy, oversample), (a, b, c, d), random, query_bias)| DarkConfig {
            reinforced,
            noisy,
            mix,
            mix_share: ShareRange { low: a.min(b), high: a.max(b) },
            mask,
            mask_share: ShareRange { low: c.min(d), high: c.max(d) },
            query_bias,
            negatives: if random { NegativeChoice::Random } else { NegativeChoice::Teacher },
            oversample,
            ..DarkConfig::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn made_passages_keep_the_rules(
        settings in any_config(),
        positive in prop::collection::vec(95u32..140, 0..40),
        negatives in prop::collection::vec(prop::collection::vec(95u32..140, 0..40), 0..5),
        budget in 0usize..50,
        seed in any::<u64>(),
        epoch in 0u32..3,
        masked in any::<bool>(),
    ) {
        let special = SpecialTokens { mask: masked.then_some(MASK), protected: vec![101, 102] };
        let refs: Vec<&[u32]> = negatives.iter().map(Vec::as_slice).collect();
        let made = make(&settings, &special, seed, epoch, "q1", &positive, &refs, budget);
        prop_assert!(made == make(&settings, &special, seed, epoch, "q1", &positive, &refs, budget), "not deterministic");
        prop_assert!(made.len() <= (settings.reinforced + settings.noisy) * settings.oversample);

        let cut = |t: &[u32]| t[..t.len().min(budget)].to_vec();
        let mut seen: HashSet<Vec<u32>> = HashSet::from([cut(&positive)]);
        seen.extend(negatives.iter().map(|t| cut(t)));
        for example in &made {
            prop_assert!(!example.tokens.is_empty() && example.tokens.len() <= budget);
            prop_assert!(seen.insert(example.tokens.clone()), "equal to a candidate or made twice");
            prop_assert!((0.0..=1.0).contains(&example.realised));
            match example.kind {
                DarkKind::Reinforced => {
                    let source = example.source.unwrap();
                    prop_assert!(f64::from(example.share) >= settings.mix_share.low - 1e-6);
                    prop_assert!(f64::from(example.share) <= settings.mix_share.high + 1e-6);
                    let allowed: HashSet<u32> = positive.iter().chain(&negatives[source]).copied().collect();
                    prop_assert!(example.tokens.iter().all(|t| allowed.contains(t)));
                    prop_assert!(negatives[source] != positive);
                }
                DarkKind::Noisy => {
                    prop_assert!(example.source.is_none());
                    let natural = cut(&positive);
                    let count = |tokens: &[u32], t: u32| tokens.iter().filter(|x| **x == t).count();
                    for protected in [101, 102] {
                        prop_assert_eq!(count(&example.tokens, protected), count(&natural, protected));
                    }
                    if settings.mask == MaskOperator::Delete || !masked {
                        prop_assert!(example.tokens.len() < natural.len());
                    } else {
                        prop_assert_eq!(example.tokens.len(), natural.len());
                        for (was, is) in natural.iter().zip(&example.tokens) {
                            prop_assert!(is == was || *is == MASK);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn other_queries_and_kinds_do_not_disturb_each_other(seed in any::<u64>()) {
        let positive = passage(1, 30);
        let negative = passage(2, 30);
        let both = make(&DarkConfig::default(), &special(), seed, 0, "q", &positive, &[&negative], 64);
        let noisy_only = DarkConfig { reinforced: 0, ..DarkConfig::default() };
        let alone = make(&noisy_only, &special(), seed, 0, "q", &positive, &[&negative], 64);
        prop_assert_eq!(&both[4..], &alone[..]);
        let other = make(&noisy_only, &special(), seed, 0, "r", &positive, &[&negative], 64);
        prop_assert_ne!(alone, other);
    }

    #[test]
    fn filling_never_repeats_and_prefers_the_inside(
        scores in prop::collection::vec(-20f32..20.0, 0..30), low in -10f32..0.0, width in 0f32..10.0, keep in 0usize..10
    ) {
        let high = low + width;
        let kept = fill_range(&scores, low, high, keep);
        prop_assert_eq!(kept.len(), keep.min(scores.len()));
        prop_assert!(kept.windows(2).all(|w| w[0] < w[1]));
        let inside = scores.iter().filter(|s| (low..=high).contains(*s)).count();
        let kept_inside = kept.iter().filter(|k| (low..=high).contains(&scores[**k])).count();
        prop_assert_eq!(kept_inside, inside.min(keep));
    }
}
