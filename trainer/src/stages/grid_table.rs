//! The grid's outcome as a table in Markdown.

use super::grid::{GridComparison, GridReport};
use std::fmt::Write;

/// Below this a difference counts.
const LEVEL: f64 = 0.05;

impl GridReport {
    /// A table of the runs, one of the comparisons, and what the method asks for.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "# Grid on {}\n\n{} training queries, {} test queries, seeds {}; data {}. Before training: nDCG@10 {:.4}.\n",
            self.data.0,
            self.training_queries,
            self.test_queries,
            seeds.join(", "),
            self.data.1.get(..12).unwrap_or_default(),
            self.before
        );
        text.push_str(
            "| run | | nDCG@10 | sd | MRR@10 | Recall@100 | steps | passages a query | with dark | minutes |\n",
        );
        text.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
        for row in &self.rows {
            let metric = |name: &str| row.metrics.get(name).copied().unwrap_or_default();
            let _ = writeln!(
                text,
                "| {} | {} | {:.4} | {:.4} | {:.4} | {:.4} | {} | {:.2} | {:.0} % | {:.1} |",
                row.run.name(),
                row.run.describe(),
                metric("ndcg@10"),
                deviation(&row.ndcg),
                metric("mrr@10"),
                metric("recall@100"),
                row.steps,
                row.passages,
                100.0 * row.selected,
                row.minutes
            );
        }
        text.push_str("\n| compared | difference | 95 % interval | p | p, Holm |\n|---|---|---|---|---|\n");
        for c in &self.comparisons {
            let _ = writeln!(
                text,
                "| {} - {} | {:+.4} | {:+.4} .. {:+.4} | {} | {} |",
                c.better,
                c.than,
                c.difference,
                c.interval.0,
                c.interval.1,
                p(c.p),
                p(c.p_holm)
            );
        }
        text.push_str(
            "\nnDCG@10 of each test query, averaged over the seeds, paired: randomisation test (two-sided) and bootstrap over \
             queries. sd is over the seeds.\n\n",
        );
        for (better, than, what) in [
            ("F", "B", "dark examples against natural candidates"),
            ("F", "C", "dark examples against stratified natural candidates"),
            ("G", "H", "selection by confidence against a random subset"),
        ] {
            let found = self.comparisons.iter().find(|c| c.better == better && c.than == than);
            let _ = writeln!(text, "- {better} > {than} ({what}): {}", found.map_or("not run", verdict));
        }
        text
    }
}

fn verdict(c: &GridComparison) -> &'static str {
    match (c.p < LEVEL, c.difference > 0.0) {
        (true, true) => "holds",
        (true, false) => "does not hold, the other one is better",
        (false, _) => "not shown, the difference is not significant",
    }
}

fn p(value: f64) -> String {
    if value < 0.001 { "< 0.001".to_owned() } else { format!("{value:.3}") }
}

/// The sample's standard deviation; 0 of one value.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}
