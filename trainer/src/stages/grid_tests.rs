use super::*;

fn base() -> Config {
    let mut config = Config::default();
    config.candidates.negatives = 7;
    (config.dark.reinforced, config.dark.noisy) = (2, 3);
    config
}

#[test]
fn every_run_sees_as_many_passages() {
    for placement in [Placement::Added, Placement::Swapped] {
        let mut base = base();
        base.dark.placement = placement;
        for letter in Letter::ALL {
            let config = letter.configure(&base);
            let dark = config.dark.reinforced + config.dark.noisy;
            let all = config.dark.natural_kept(config.candidates.negatives, dark) + dark;
            assert_eq!(all, if placement == Placement::Added { 12 } else { 7 }, "{}", letter.name());
            assert_eq!(config.distil, base.distil);
        }
    }
}

#[test]
fn runs_differ_in_what_they_are_named_for() {
    let of = |letter: Letter| letter.configure(&base());
    assert_eq!(of(Letter::A).loss.distillation, 0.0);
    assert_eq!(of(Letter::C).candidates.sampling, Sampling::Stratified);
    assert_eq!((of(Letter::D).dark.reinforced, of(Letter::D).dark.noisy), (2, 0));
    assert_eq!((of(Letter::E).dark.reinforced, of(Letter::E).dark.noisy), (0, 3));
    assert!(!of(Letter::F).pacing.enabled && of(Letter::G).pacing.enabled);
    let (g, h) = (of(Letter::G), of(Letter::H));
    assert_eq!(h.pacing.order, PacingOrder::Random);
    assert_eq!(Config { pacing: g.pacing.clone(), ..h }, g);
}

#[test]
fn holms_correction_by_hand() {
    // 0.01 * 4, then max(0.04, 0.02 * 3), then max(0.06, 0.03 * 2), then 0.5.
    let found = holm(&[0.03, 0.01, 0.5, 0.02]);
    for (found, expected) in found.iter().zip([0.06, 0.04, 0.5, 0.06]) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
    assert!(holm(&[]).is_empty());
}

#[test]
fn the_table_says_what_holds() {
    let compared = |better: &str, than: &str, difference: f64, p: f64| GridComparison {
        better: better.to_owned(),
        than: than.to_owned(),
        difference,
        interval: (difference - 0.01, difference + 0.01),
        p,
        p_holm: p,
    };
    let report = GridReport {
        data: ("d.zip".to_owned(), "0123456789abcdef".to_owned()),
        training_queries: 10,
        test_queries: 5,
        seeds: vec![1, 2],
        before: 0.5,
        rows: vec![GridRow {
            run: Letter::F,
            ndcg: vec![0.5, 0.6],
            metrics: BTreeMap::from([("ndcg@10".to_owned(), 0.55)]),
            steps: 3,
            passages: 12.0,
            selected: 1.0,
            minutes: 2.0,
        }],
        comparisons: vec![compared("F", "B", 0.02, 0.01), compared("F", "C", -0.02, 0.01)],
    };
    let text = report.to_markdown();
    for part in [
        "| F | B + both | 0.5500 | 0.0707 |",
        "| F - B | +0.0200 | +0.0100 .. +0.0300 | 0.010 | 0.010 |",
        "- F > B (dark examples against natural candidates): holds",
        "- F > C (dark examples against stratified natural candidates): does not hold, the other one is better",
        "- G > H (selection by confidence against a random subset): not run",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}
