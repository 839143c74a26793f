//! `report.html`: what a run did and what came of it, in one file that needs no network.

use super::curves::{Curve, escape, svg};
use super::progress::clock;
use crate::adam::calibration::Calibration;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A query that the student ranks better or worse than the model before training.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChangedQuery {
    pub(crate) query: String,
    /// nDCG@10.
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// The first document of each ranking, and whether it is relevant.
    pub(crate) first_before: (String, bool),
    pub(crate) first_after: (String, bool),
}

/// A table: a heading, the names of its columns, its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Everything that the report shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunReport {
    pub(crate) title: String,
    /// The last line of the run, or where it stands.
    pub(crate) verdict: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) tables: Vec<Table>,
    /// By stage and value.
    pub(crate) curves: BTreeMap<(String, String), Curve>,
    /// By stage.
    pub(crate) calibrations: Vec<(String, Calibration)>,
    /// The largest gain first.
    pub(crate) won: Vec<ChangedQuery>,
    /// The largest loss first.
    pub(crate) lost: Vec<ChangedQuery>,
    /// Stages with their seconds.
    pub(crate) costs: Vec<(String, f64)>,
    pub(crate) settings: String,
}

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1320px;margin:2rem auto;padding:0 1rem;color:#1f2328}\
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #d0d7de}\
table{border-collapse:collapse;margin:.6rem 0}td,th{border:1px solid #d0d7de;padding:.25rem .6rem;text-align:left;vertical-align:top}\
th{background:#f6f8fa}.verdict{font-size:1.1rem;padding:.7rem 1rem;background:#f6f8fa;border-left:4px solid #1f6feb}\
.warning{padding:.4rem 1rem;background:#fff8c5;border-left:4px solid #9a6700}.plots{display:flex;flex-wrap:wrap;gap:12px}\
pre{background:#f6f8fa;padding:1rem;overflow:auto}.good{color:#1a7f37}.bad{color:#d1242f}small{color:#57606a}";

impl RunReport {
    /// The page.
    pub(crate) fn to_html(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head><body>\n\
             <h1>{0}</h1>\n<p class=\"verdict\">{1}</p>\n",
            escape(&self.title),
            escape(&self.verdict)
        );
        for warning in &self.warnings {
            let _ = writeln!(page, "<p class=\"warning\">{}</p>", escape(warning));
        }
        for table in &self.tables {
            let _ = writeln!(page, "<h2>{}</h2>", escape(&table.title));
            write_table(&mut page, &table.columns, &table.rows);
        }
        self.queries(&mut page);
        self.plots(&mut page);
        self.histograms(&mut page);
        if !self.costs.is_empty() {
            let _ = writeln!(page, "<h2>Cost</h2>");
            let mut rows: Vec<Vec<String>> =
                self.costs.iter().map(|(stage, seconds)| vec![stage.clone(), clock(*seconds)]).collect();
            rows.push(vec!["all".to_owned(), clock(self.costs.iter().map(|c| c.1).sum())]);
            write_table(&mut page, &["stage".to_owned(), "wall time".to_owned()], &rows);
        }
        let _ = writeln!(page, "<h2>Settings</h2>\n<pre>{}</pre>\n</body></html>", escape(&self.settings));
        page
    }

    fn queries(&self, page: &mut String) {
        for (title, changed) in [("Queries won", &self.won), ("Queries lost", &self.lost)] {
            if changed.is_empty() {
                continue;
            }
            let _ = writeln!(
                page,
                "<h2>{title}</h2>\n<table><tr><th>query</th><th>nDCG@10</th><th>first before</th><th>first after</th></tr>"
            );
            for ChangedQuery { query, before, after, first_before, first_after } in changed {
                let cell = |(text, relevant): &(String, bool)| {
                    let (class, word) = if *relevant { ("good", "relevant") } else { ("bad", "not relevant") };
                    format!("<small class=\"{class}\">{word}</small> {}", escape(text))
                };
                let _ = writeln!(
                    page,
                    "<tr><td>{}</td><td>{before:.2} → {after:.2}</td><td>{}</td><td>{}</td></tr>",
                    escape(query),
                    cell(first_before),
                    cell(first_after)
                );
            }
            page.push_str("</table>\n");
        }
    }

    /// One plot a value, with a line for each stage that has it.
    fn plots(&self, page: &mut String) {
        let mut values: BTreeMap<&str, Vec<Curve>> = BTreeMap::new();
        for ((stage, value), curve) in &self.curves {
            values.entry(value).or_default().push(Curve { name: stage.clone(), points: curve.points.clone() });
        }
        if values.is_empty() {
            return;
        }
        page.push_str("<h2>Training</h2>\n<div class=\"plots\">\n");
        // What is looked at first comes first.
        let first = ["loss", "dev_ndcg@10", "contrastive", "distillation"];
        let rest: Vec<&str> = values.keys().copied().filter(|value| !first.contains(value)).collect();
        for value in first.into_iter().chain(rest) {
            if let Some(curves) = values.get(value) {
                page.push_str(&svg(value, value, curves));
            }
        }
        page.push_str("</div>\n");
    }

    fn histograms(&self, page: &mut String) {
        for (stage, calibration) in &self.calibrations {
            let _ = writeln!(page, "<h2>The teacher's scores ({})</h2>\n<div class=\"plots\">", escape(stage));
            let kinds = [
                ("positives", &calibration.positive.histogram),
                ("natural negatives", &calibration.natural.histogram),
                ("reinforced negatives", &calibration.reinforced.histogram),
                ("noisy positives", &calibration.noisy.histogram),
            ];
            for (name, counts) in kinds {
                if counts.iter().any(|&count| count > 0) {
                    page.push_str(&bars(name, &calibration.edges, counts));
                }
            }
            let _ = writeln!(
                page,
                "</div>\n<p>Entropy {:.3} nats without dark examples, {:.3} with them, at temperature {}.</p>",
                calibration.entropy_natural, calibration.entropy_dark, calibration.temperature
            );
        }
    }
}

fn write_table(page: &mut String, columns: &[String], rows: &[Vec<String>]) {
    let row = |tag: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    page.push_str("<table>");
    page.push_str(&row("th", columns));
    rows.iter().for_each(|cells| page.push_str(&row("td", cells)));
    page.push_str("</table>\n");
}

/// A histogram as SVG, with both axes.
fn bars(title: &str, edges: &[f64], counts: &[usize]) -> String {
    const WIDTH: f64 = 420.0;
    const HEIGHT: f64 = 220.0;
    let (left, right, top, bottom) = (48.0, 12.0, 30.0, 34.0);
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let across = (WIDTH - left - right) / counts.len().max(1) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\
         <text x=\"{left}\" y=\"18\" font-size=\"13\">{}</text>",
        escape(title)
    );
    for (bin, &count) in counts.iter().enumerate() {
        let tall = count as f64 / most as f64 * (HEIGHT - top - bottom);
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"#1f6feb\"><title>{count}</title></rect>",
            left + across * bin as f64,
            HEIGHT - bottom - tall,
            (across - 1.0).max(0.5)
        );
    }
    let base = HEIGHT - bottom;
    let _ = write!(
        out,
        "<line x1=\"{left}\" y1=\"{base}\" x2=\"{}\" y2=\"{base}\" stroke=\"#57606a\"/>\
         <line x1=\"{left}\" y1=\"{top}\" x2=\"{left}\" y2=\"{base}\" stroke=\"#57606a\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most}</text><text x=\"{}\" y=\"{base}\" text-anchor=\"end\">0</text>",
        WIDTH - right,
        left - 5.0,
        top + 8.0,
        left - 5.0
    );
    for (at, anchor) in [(0, "start"), (edges.len() / 2, "middle"), (edges.len().saturating_sub(1), "end")] {
        if let Some(edge) = edges.get(at) {
            let x = left + across * at as f64;
            let _ =
                write!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{edge:.1}</text>", base + 16.0);
        }
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adam::calibration::{QueryLogits, calibrate};

    #[test]
    fn one_page_holds_everything_and_asks_nobody() {
        let logits = QueryLogits { positive: 2.0, natural: vec![0.0, 1.0], ..QueryLogits::default() };
        let curve = |value: &str| Curve { name: value.to_owned(), points: vec![(1.0, 2.0), (2.0, 1.0)] };
        let changed = ChangedQuery {
            query: "do <crows> bend wire?".to_owned(),
            before: 0.25,
            after: 1.0,
            first_before: ("iron & blood".to_owned(), false),
            first_after: ("a crow".to_owned(), true),
        };
        let page = RunReport {
            title: "runs/\"a\"".to_owned(),
            verdict: "VERDICT: better nDCG@10 0.645 -> 0.720 (p < 0.001)".to_owned(),
            warnings: vec!["few queries".to_owned()],
            tables: vec![Table {
                title: "Voices".to_owned(),
                columns: vec!["voice".to_owned(), "nDCG@10".to_owned()],
                rows: vec![vec!["bm25".to_owned(), "0.6945".to_owned()]],
            }],
            curves: [(("distil".to_owned(), "loss".to_owned()), curve("loss"))].into(),
            calibrations: vec![("score".to_owned(), calibrate(&[logits], 1.0))],
            won: vec![changed],
            lost: Vec::new(),
            costs: vec![("mine".to_owned(), 61.0), ("distil".to_owned(), 59.0)],
            settings: "epochs = 2".to_owned(),
        }
        .to_html();
        for part in [
            "better nDCG@10 0.645 -&gt; 0.720",
            "0.6945",
            "do &lt;crows&gt; bend wire?",
            "iron &amp; blood",
            "0.25 → 1.00",
            "natural negatives",
            "polyline",
            "2:00",
            "epochs = 2",
            "few queries",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("Queries lost") && !page.contains("reinforced negatives"));
        // No script, no font, no picture from elsewhere; the only address is a name space.
        let addresses = page.matches("http").count();
        assert_eq!(addresses, page.matches("http://www.w3.org/2000/svg").count());
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("@import"));
    }
}
