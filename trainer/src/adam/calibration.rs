//! Are the dark examples where they should be? A report over the teacher's logits, made before distillation.
//!
//! Reinforced negatives must score above natural negatives and noisy positives below the positives, by the median; otherwise
//! dark examples bring the teacher nothing to be in two minds about, and the report says so loudly.

use super::confidence::entropy;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Raw teacher logits of one training query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryLogits {
    /// Of the positive.
    pub positive: f32,
    /// Of natural negatives.
    pub natural: Vec<f32>,
    /// Of reinforced negatives.
    pub reinforced: Vec<f32>,
    /// Of noisy positives.
    pub noisy: Vec<f32>,
}

/// How the logits of one kind of candidate are spread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many finite logits there were.
    pub count: usize,
    /// How many were not finite; they are left out of everything else.
    pub not_finite: usize,
    /// Their mean.
    pub mean: f64,
    /// Minimum, 10th percentile, quartiles, 90th percentile, maximum: 0, 10, 25, 50, 75, 90, 100 %.
    pub quantiles: [f64; 7],
    /// Counts per bin of [`Calibration::edges`].
    pub histogram: Vec<usize>,
}

impl Spread {
    /// The 50th percentile, 0 when there is no logit.
    pub fn median(&self) -> f64 {
        self.quantiles[3]
    }
}

/// The report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Training queries looked at.
    pub queries: usize,
    /// Edges of the histograms' bins, one more than there are bins; the same for all kinds.
    pub edges: Vec<f64>,
    /// The positives.
    pub positive: Spread,
    /// Natural negatives, N.
    pub natural: Spread,
    /// Reinforced negatives, R.
    pub reinforced: Spread,
    /// Noisy positives, P.
    pub noisy: Spread,
    /// Share of reinforced negatives between their query's best natural negative and its positive.
    pub reinforced_between: f64,
    /// Share of noisy positives between their query's best natural negative and its positive.
    pub noisy_between: f64,
    /// Temperature of the entropies below.
    pub temperature: f64,
    /// The teacher's mean entropy per query over the positive and natural negatives, in nats.
    pub entropy_natural: f64,
    /// The same over all candidates.
    pub entropy_dark: f64,
    /// What does not hold, each a sentence; empty when all is well.
    pub warnings: Vec<String>,
}

/// Bins of the histograms.
const BINS: usize = 24;

/// Makes the report from the logits of some training queries.
pub fn calibrate(queries: &[QueryLogits], temperature: f32) -> Calibration {
    let positives: Vec<f32> = queries.iter().map(|q| q.positive).collect();
    let gather = |part: fn(&QueryLogits) -> &Vec<f32>| -> Vec<f32> { queries.iter().flat_map(part).copied().collect() };
    let natural = gather(|q| &q.natural);
    let reinforced = gather(|q| &q.reinforced);
    let noisy = gather(|q| &q.noisy);
    let edges = bin_edges([&positives, &natural, &reinforced, &noisy]);

    let mut report = Calibration {
        queries: queries.len(),
        positive: spread(&positives, &edges),
        natural: spread(&natural, &edges),
        reinforced: spread(&reinforced, &edges),
        noisy: spread(&noisy, &edges),
        reinforced_between: between(queries, |q| &q.reinforced),
        noisy_between: between(queries, |q| &q.noisy),
        temperature: f64::from(temperature),
        edges,
        ..Calibration::default()
    };
    let mut counted = 0usize;
    for query in queries {
        let mut logits = vec![query.positive];
        logits.extend(&query.natural);
        let without = logits.len();
        logits.extend(query.reinforced.iter().chain(&query.noisy));
        if logits.iter().all(|t| t.is_finite()) {
            report.entropy_natural += entropy(&logits[..without], temperature);
            report.entropy_dark += entropy(&logits, temperature);
            counted += 1;
        }
    }
    if counted > 0 {
        report.entropy_natural /= counted as f64;
        report.entropy_dark /= counted as f64;
    }
    report.warnings = warnings(&report);
    report
}

fn warnings(report: &Calibration) -> Vec<String> {
    let mut found = Vec::new();
    let has = |kind: &Spread| kind.count > 0;
    if has(&report.natural) && has(&report.positive) && report.natural.median() >= report.positive.median() {
        found.push(format!(
            "the teacher does not tell positives from negatives: median logit of the positives {:.3}, of the natural \
             negatives {:.3}; train it longer or take another one",
            report.positive.median(),
            report.natural.median()
        ));
    }
    if has(&report.reinforced) && has(&report.natural) && report.reinforced.median() <= report.natural.median() {
        found.push(format!(
            "reinforced negatives are no harder than natural ones: median logit {:.3} against {:.3}; raise \
             `dark.mix_share` or use another `dark.mix`",
            report.reinforced.median(),
            report.natural.median()
        ));
    }
    if has(&report.noisy) && has(&report.positive) && report.noisy.median() >= report.positive.median() {
        found.push(format!(
            "noisy positives are as relevant as the positives: median logit {:.3} against {:.3}; raise \
             `dark.mask_share` or set `dark.query_bias`",
            report.noisy.median(),
            report.positive.median()
        ));
    }
    if (has(&report.reinforced) || has(&report.noisy)) && report.entropy_dark <= report.entropy_natural {
        found.push(format!(
            "dark examples do not make the teacher less certain: entropy {:.4} nats with them, {:.4} without",
            report.entropy_dark, report.entropy_natural
        ));
    }
    let odd: usize = report.kinds().iter().map(|(_, kind)| kind.not_finite).sum();
    if odd > 0 {
        found.push(format!("{odd} teacher logits are not finite; they are left out of this report"));
    }
    found
}

/// Edges of equal bins over all finite logits. The range ends at the 0.1 and 99.9 percentiles so that one stray value does
/// not squeeze everything into one bin; values beyond are counted in the outermost bins.
fn bin_edges(kinds: [&Vec<f32>; 4]) -> Vec<f64> {
    let mut all: Vec<f32> = kinds.into_iter().flatten().copied().filter(|t| t.is_finite()).collect();
    if all.is_empty() {
        return Vec::new();
    }
    all.sort_by(f32::total_cmp);
    let (low, high) = (quantile(&all, 0.001), quantile(&all, 0.999));
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
    (0..=BINS).map(|i| low + (high - low) * i as f64 / BINS as f64).collect()
}

fn spread(logits: &[f32], edges: &[f64]) -> Spread {
    let mut finite: Vec<f32> = logits.iter().copied().filter(|t| t.is_finite()).collect();
    finite.sort_by(f32::total_cmp);
    let mut histogram = vec![0; edges.len().saturating_sub(1)];
    if let (Some(&low), Some(&high)) = (edges.first(), edges.last()) {
        let bins = histogram.len();
        for &t in &finite {
            let position = (f64::from(t) - low) / (high - low) * bins as f64;
            histogram[(position.max(0.0) as usize).min(bins - 1)] += 1;
        }
    }
    let mut report =
        Spread { count: finite.len(), not_finite: logits.len() - finite.len(), histogram, ..Spread::default() };
    if !finite.is_empty() {
        report.mean = finite.iter().map(|&t| f64::from(t)).sum::<f64>() / finite.len() as f64;
        report.quantiles = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0].map(|p| quantile(&finite, p));
    }
    report
}

/// The quantile of sorted values, with linear interpolation.
fn quantile(sorted: &[f32], p: f64) -> f64 {
    let place = p * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let part = place - below as f64;
    f64::from(sorted[below]) * (1.0 - part) + f64::from(sorted[above]) * part
}

fn between(queries: &[QueryLogits], part: fn(&QueryLogits) -> &Vec<f32>) -> f64 {
    let (mut inside, mut all) = (0usize, 0usize);
    for query in queries {
        let best = query.natural.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for &t in part(query) {
            all += 1;
            inside += usize::from(t > best && t < query.positive);
        }
    }
    if all == 0 { 0.0 } else { inside as f64 / all as f64 }
}

impl Calibration {
    fn kinds(&self) -> [(&'static str, &Spread); 4] {
        [
            ("positives d+", &self.positive),
            ("natural N", &self.natural),
            ("reinforced R", &self.reinforced),
            ("noisy P", &self.noisy),
        ]
    }

    /// The report as text for a terminal: medians, histograms side by side, entropies, and the warnings last, where a
    /// terminal leaves the eye.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "Teacher logits over {} training queries", self.queries);
        let _ = writeln!(text, "{:<14}{:>9}{:>10}{:>10}{:>10}{:>10}", "", "count", "10 %", "median", "90 %", "mean");
        for (name, kind) in self.kinds() {
            if kind.count > 0 {
                let _ = writeln!(
                    text,
                    "{:<14}{:>9}{:>10.3}{:>10.3}{:>10.3}{:>10.3}",
                    name,
                    kind.count,
                    kind.quantiles[1],
                    kind.median(),
                    kind.quantiles[5],
                    kind.mean
                );
            }
        }
        if self.edges.len() > 1 {
            let _ = writeln!(text, "\n{:>10}  {:<15}{:<15}{:<15}{:<15}", "logit", "d+", "N", "R", "P");
            let tallest = self.kinds().map(|(_, kind)| kind.histogram.iter().copied().max().unwrap_or(0).max(1));
            for bin in (0..self.edges.len() - 1).rev() {
                let _ = write!(text, "{:>10.2}  ", (self.edges[bin] + self.edges[bin + 1]) / 2.0);
                for ((_, kind), tallest) in self.kinds().into_iter().zip(tallest) {
                    let _ = write!(text, "{:<15}", bar(kind.histogram[bin], tallest, 14));
                }
                let end = text.trim_end().len();
                text.truncate(end);
                text.push('\n');
            }
        }
        let _ = writeln!(
            text,
            "\nBetween the best negative and the positive: {:.1} % of R, {:.1} % of P",
            100.0 * self.reinforced_between,
            100.0 * self.noisy_between
        );
        let _ = writeln!(
            text,
            "Teacher entropy at temperature {}: {:.4} nats without dark examples, {:.4} with them",
            self.temperature, self.entropy_natural, self.entropy_dark
        );
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }
}

/// A bar of `width` cells at most; anything above zero shows at least a sliver.
fn bar(count: usize, tallest: usize, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let mut eighths = (count as f64 / tallest as f64 * (width * 8) as f64).round() as usize;
    if count > 0 {
        eighths = eighths.max(1);
    }
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good() -> Vec<QueryLogits> {
        (0..50)
            .map(|i| QueryLogits {
                positive: 8.0 + i as f32 * 0.01,
                natural: vec![-9.0, -8.0 + i as f32 * 0.02],
                reinforced: vec![3.0, -9.5],
                noisy: vec![4.0, 9.0],
            })
            .collect()
    }

    #[test]
    fn a_good_set_has_no_warning() {
        let mut queries = good();
        for query in &mut queries {
            query.reinforced = vec![3.0, 2.0];
            query.noisy = vec![4.0, 5.0];
        }
        let report = calibrate(&queries, 1.0);
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!(report.reinforced_between, 1.0);
        assert!(report.entropy_dark > report.entropy_natural);
        assert_eq!(report.reinforced.median(), 2.5);
        assert_eq!(report.positive.count, 50);
        assert!(!report.to_text().contains("warning"));
    }

    #[test]
    fn each_thing_that_does_not_hold_is_said() {
        let mut queries = good();
        for query in &mut queries {
            query.reinforced = vec![-12.0];
            query.noisy = vec![11.0];
        }
        let report = calibrate(&queries, 1.0);
        assert_eq!(report.warnings.len(), 3 - usize::from(report.entropy_dark > report.entropy_natural));
        assert!(report.warnings[0].contains("reinforced negatives are no harder"));
        assert!(report.warnings[1].contains("noisy positives are as relevant"));
        assert!(report.to_text().contains("warning: reinforced"));
        for query in &mut queries {
            std::mem::swap(&mut query.positive, &mut query.natural[0]);
            query.natural[1] = 8.0;
        }
        queries[0].noisy.push(f32::NAN);
        let report = calibrate(&queries, 1.0);
        assert!(report.warnings[0].contains("does not tell positives from negatives"));
        assert!(report.warnings.iter().any(|w| w.contains("1 teacher logits are not finite")));
    }

    #[test]
    fn shares_between_are_counted_per_query() {
        let report = calibrate(&good(), 1.0);
        assert_eq!(report.reinforced_between, 0.5);
        assert_eq!(report.noisy_between, 0.5);
    }

    #[test]
    fn nothing_at_all_is_reported_as_nothing() {
        let report = calibrate(&[], 1.0);
        assert_eq!(report.queries, 0);
        assert!(report.warnings.is_empty());
        assert!(report.to_text().contains("0 training queries"));
    }

    proptest! {
        #[test]
        fn histograms_count_every_finite_logit_and_json_comes_back(
            queries in prop::collection::vec(
                (any::<f32>(), prop::collection::vec(-20f32..20.0, 0..5), prop::collection::vec(any::<f32>(), 0..5)), 0..20)
        ) {
            let queries: Vec<QueryLogits> = queries
                .into_iter()
                .map(|(positive, natural, noisy)| QueryLogits { positive, natural, reinforced: vec![], noisy })
                .collect();
            let report = calibrate(&queries, 2.0);
            for (_, kind) in report.kinds() {
                prop_assert_eq!(kind.histogram.iter().sum::<usize>(), kind.count);
                prop_assert!(kind.quantiles.windows(2).all(|w| w[0] <= w[1]));
            }
            prop_assert_eq!(report.positive.count + report.positive.not_finite, queries.len());
            let json = serde_json::to_string(&report).unwrap();
            let back: Calibration = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&back.natural.histogram, &report.natural.histogram);
            report.to_text();
        }
    }
}
