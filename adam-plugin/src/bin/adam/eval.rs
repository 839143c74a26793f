//! `adam eval`: how good the index answers a collection's judged queries.

use std::path::PathBuf;

use adam_plugin::engine::{FusionName, WEIGHT};
use adam_plugin::{Engine, Mode, SearchRequest};
use anyhow::{Context, Result, bail};
use beir::significance::{CompareOptions, compare_evaluations};
use beir::{Collection, EvalOptions, Evaluation, Metric, Qrels, Run, evaluate};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::model::{Rerank, Running, Searching};
use crate::screen::{Progress, counted, has_folder, one_line, say_exactly, table, tell};
use crate::search::share;
use crate::values;

const METRICS: [Metric; 4] = [Metric::Ndcg(10), Metric::Mrr(10), Metric::Recall(100), Metric::Map(100)];
/// Hits judged for each query.
const DEPTH: usize = 100;
/// A difference at least this unlikely by chance is called one.
const SURE: f64 = 0.05;

/// Measure an index on a collection's judged queries, as trec_eval does.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam eval --index scifact-index --data scifact.zip --split test
  adam eval --index scifact-index --data scifact.zip --mode dense --json report.json --run runs.trec
  adam eval --index scifact-index --data scifact.zip --mode bm25 --rerank ms-marco-MiniLM-L6-v2 --rerank-top 100
  adam eval --index scifact-index --data scifact.zip --compare \"dense before training=before.run\"")]
pub(crate) struct EvalArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// BEIR folder or .zip with queries and judgements.
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Which judgements.
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    /// What to search by.
    #[arg(long, value_name = "MODE,...", value_delimiter = ',', default_values_t = Mode::ALL, value_parser = values::mode())]
    mode: Vec<Mode>,
    /// Write the figures: {"bm25": {"ndcg@10", "mrr@10", "recall@100", "map@100", "queries"}, "dense": ..., ...}.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the rankings in TREC format; of several modes, FILE.MODE each.
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
    /// A ranking in TREC format to set beside ours, as a row of that name; dense search is tested against it. Repeatable.
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    compare: Vec<(String, PathBuf)>,
    /// Weight of the vectors in hybrid search, 0 to 1.
    #[arg(long, value_name = "W", default_value_t = WEIGHT, value_parser = share)]
    weight: f32,
    /// The model's folder, if it has moved since the index was made.
    #[arg(long, value_name = "FOLDER", env = "ADAM_MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    rerank: Rerank,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    searching: Searching,
}

/// A row of the table.
struct Row {
    name: String,
    evaluation: Evaluation,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=FILE"))?;
    Ok((name.to_owned(), file.into()))
}

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    let mut engine = args.searching.add_to(Engine::open(&args.index)?)?;
    for path in args.json.iter().chain(&args.run) {
        has_folder(path)?;
    }
    let collection = Collection::open(&args.data)?;
    let queries = collection.queries()?;
    let known: std::collections::HashSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
    let mut documents = std::collections::HashSet::new();
    for document in collection.documents()? {
        documents.insert(document?.id);
    }
    let qrels = collection.checked_qrels(&args.split, |id| known.contains(id), |id| documents.contains(id))?;
    let judged: Vec<(&str, &str)> = queries
        .iter()
        .filter(|query| qrels.get(&query.id).is_some())
        .map(|query| (query.id.as_str(), query.text.as_str()))
        .collect();
    if judged.is_empty() {
        bail!("{}: no query of the split `{}` is judged", args.data.display(), args.split);
    }
    let mut others = Vec::new();
    for (name, path) in &args.compare {
        let run = Run::read(path)?;
        others.push(Row { name: name.to_owned(), evaluation: judge(&qrels, &run) });
    }
    if args.mode.iter().any(|&mode| mode != Mode::Bm25) {
        engine = engine.with_pinned_encoder(args.model.as_deref(), &args.running.options())?;
    }
    engine = args.rerank.add_to(engine, &args.running)?;

    let mut rows = Vec::new();
    for &mode in &args.mode {
        let run = rank(args, &engine, mode, &judged)?;
        if !run.iter().any(|(_, hits)| hits.iter().any(|(id, _)| documents.contains(id.as_str()))) {
            let (index, data) = (args.index.display(), args.data.display());
            tell(&format!(
                "eval: warning: nothing that {mode} finds in {index} is a document of {data}; is it the index of this collection?"
            ));
        }
        if let Some(path) = &args.run {
            let mut path = path.clone().into_os_string();
            if args.mode.len() > 1 {
                path.push(format!(".{mode}"));
            }
            run.write(PathBuf::from(path), "adam")?;
        }
        rows.push(Row { name: mode.to_string(), evaluation: judge(&qrels, &run) });
    }
    if let Some(path) = &args.json {
        let report: Map<String, Value> = rows.iter().map(|row| (row.name.clone(), figures(&row.evaluation))).collect();
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    say_exactly(&report(&rows, &others)?)
}

fn rank(args: &EvalArgs, engine: &Engine, mode: Mode, judged: &[(&str, &str)]) -> Result<Run> {
    let mut bar = Progress::new(&mode.to_string(), judged.len() as u64);
    let mut run = Run::new();
    for (done, (id, text)) in judged.iter().enumerate() {
        let request = SearchRequest {
            mode,
            // One more, since a query that is a document of the corpus finds itself, and that one does not count.
            top: DEPTH + 1,
            weight: args.weight,
            fusion: FusionName::default(),
            rerank: args.rerank.depth(),
            ..SearchRequest::new(*text)
        };
        run.insert(*id, without_itself(id, engine.rank(&request)?));
        bar.set(done as u64 + 1, "");
    }
    bar.finish(&counted(judged.len(), "query"));
    Ok(run)
}

/// The hits to judge of a query, best first.
fn without_itself(query: &str, mut hits: Vec<(String, f64)>) -> Vec<(String, f64)> {
    hits.retain(|(document, _)| document != query);
    hits.truncate(DEPTH);
    hits
}

fn judge(qrels: &Qrels, run: &Run) -> Evaluation {
    evaluate(qrels, run, &METRICS, &EvalOptions::default())
}

fn figures(evaluation: &Evaluation) -> Value {
    let mut figures: Map<String, Value> =
        METRICS.iter().map(|&metric| (metric.to_string(), json!(evaluation.mean(metric)))).collect();
    figures.insert("queries".to_owned(), json!(evaluation.queries()));
    Value::Object(figures)
}

/// The table, and what can be said for sure about its rows.
fn report(rows: &[Row], others: &[Row]) -> Result<String> {
    let head = ["", "nDCG@10", "MRR@10", "Recall@100", "MAP@100"];
    let line = |row: &Row| {
        let mut cells = vec![row.name.clone()];
        cells.extend(METRICS.iter().map(|&metric| format!("{:.4}", row.evaluation.mean(metric))));
        cells
    };
    // What is compared with stands before dense search, which is usually what came of it.
    let mut lines: Vec<Vec<String>> = Vec::new();
    for row in rows {
        if row.name == Mode::Dense.to_string() {
            lines.extend(others.iter().map(line));
        }
        lines.push(line(row));
    }
    if !rows.iter().any(|row| row.name == Mode::Dense.to_string()) {
        lines.extend(others.iter().map(line));
    }
    let mut text = table(&head, &lines);
    let row = |mode: Mode| rows.iter().find(|row| row.name == mode.to_string());
    let mut sentences = Vec::new();
    if let Some(dense) = row(Mode::Dense) {
        for other in others {
            sentences.push(sentence(dense, other)?);
        }
    }
    if let (Some(hybrid), Some(bm25), Some(dense)) = (row(Mode::Hybrid), row(Mode::Bm25), row(Mode::Dense)) {
        let ndcg = |row: &Row| row.evaluation.mean(Metric::Ndcg(10));
        let better = if ndcg(bm25) >= ndcg(dense) { bm25 } else { dense };
        sentences.push(sentence(hybrid, better)?);
    }
    for sentence in sentences {
        text.push_str(&format!("{}\n", one_line(&sentence)));
    }
    Ok(text)
}

fn sentence(a: &Row, b: &Row) -> Result<String> {
    let compared = compare_evaluations(&a.evaluation, &b.evaluation, Metric::Ndcg(10), &CompareOptions::default())?;
    let verdict = match compared.p_value < SURE {
        true if compared.difference > 0.0 => "is better than",
        true => "is worse than",
        false => "is not significantly different from",
    };
    let p = if compared.p_value < 0.001 { "p < 0.001".to_owned() } else { format!("p = {:.3}", compared.p_value) };
    Ok(format!(
        "{} {verdict} {}: nDCG@10 {:+.4}, {p}, 95 % interval {:+.4} to {:+.4}",
        a.name, b.name, compared.difference, compared.low, compared.high
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_finds_itself_still_has_its_hundred_hits() {
        let hits = |count: usize| -> Vec<(String, f64)> {
            (0..count).map(|place| (format!("d{place}"), -(place as f64))).collect()
        };
        let judged = without_itself("d3", hits(DEPTH + 1));
        assert_eq!(judged.len(), DEPTH);
        assert!(judged.iter().all(|(document, _)| document != "d3"));
        assert_eq!(without_itself("q", hits(DEPTH + 1)), hits(DEPTH));
        assert!(without_itself("d0", hits(1)).is_empty());
    }
}
