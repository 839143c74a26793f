//! `adam eval`: how well the index answers the judged queries of a collection.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_plugin::engine::FusionName;
use adam_plugin::{Engine, Mode, SearchRequest};
use anyhow::{Context, Result, anyhow, bail};
use beir_eval::significance::{CompareOptions, compare_evaluations};
use beir_eval::{Collection, EvalOptions, Evaluation, Metric, Missing, Qrels, Queries, Run, SelfHits, evaluate};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Map, Value, json};

use crate::error::WrongCall;
use crate::model::{DeviceArgs, RerankArgs, RuntimeArgs};
use crate::screen::{Progress, counted, has_folder, one_line, say_exactly, table, tell};
use crate::values;
use crate::words::SynonymArgs;

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
    /// BEIR folder or .zip with queries and judgements; no corpus is needed, since the index is judged.
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
    /// A ranking in TREC format to compare with, as a row of that name; dense search is tested against it. Repeatable.
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    compare: Vec<(String, PathBuf)>,
    /// How a judged query without hits or without text counts: zero, or skip to leave it out of the means.
    #[arg(long, value_name = "HOW", default_value = "zero",
        value_parser = PossibleValuesParser::new(["zero", "skip"]).try_map(|text| text.parse::<Missing>()))]
    missing: Missing,
    /// Drop the hit that bears the query's id, whatever its text, unless it is judged. Without it, the hit is dropped only where
    /// the query's text is that document's.
    #[arg(long)]
    drop_self: bool,
    /// Weight of the vectors in hybrid search, 0 to 1. Default: what the training of the index's model chose, else 0.8.
    #[arg(long, value_name = "W", value_parser = values::share)]
    weight: Option<f32>,
    /// The model's folder, if it has moved since the index was made.
    #[arg(long, value_name = "FOLDER", env = "ADAM_MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    rerank: RerankArgs,
    #[command(flatten)]
    running: RuntimeArgs,
    #[command(flatten)]
    searching: DeviceArgs,
    #[command(flatten)]
    synonyms: SynonymArgs,
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
    let outputs = Outputs::of(args)?;
    let mut engine = args.synonyms.apply(args.searching.builder(&args.index).open()?)?;
    let collection = Collection::open(&args.data)?;
    let queries = collection.queries()?;
    let qrels = collection.qrels(&args.split)?;
    let judged: Vec<(&str, &str)> = queries
        .iter()
        .filter(|query| qrels.get(&query.id).is_some())
        .map(|query| (query.id.as_str(), query.text.as_str()))
        .collect();
    if judged.is_empty() {
        let place = format!("{}: ", args.data.display());
        let Some((id, _)) = qrels.iter().next() else {
            bail!("{place}the split `{}` holds no judgements", args.split);
        };
        let why = match (queries.without_text().first(), queries.iter().next()) {
            (Some(wrong), _) => wrong.to_string(),
            (None, Some(query)) => format!(
                "judged are queries such as `{}`, and the queries have ids such as `{}`",
                one_line(id),
                one_line(&query.id)
            ),
            (None, None) => "there are no queries".to_owned(),
        };
        bail!("{place}no judged query of the split `{}` has a text; {why}", args.split);
    }
    warn_of_queries(args, &qrels, &queries);
    warn_of_documents(args, &engine, &qrels)?;
    if args.run.is_some() {
        for (id, _) in &judged {
            Run::check_id(id).map_err(|problem| anyhow!("--run: query id `{}` {problem}", one_line(id)))?;
        }
    }
    let itself = self_hits(args, &engine, &judged)?;
    let options = EvalOptions { missing: args.missing, itself: Some(&itself) };
    let judge = |run: &Run| evaluate(&qrels, run, &METRICS, &options);
    let mut others = Vec::new();
    for (name, path) in &args.compare {
        let run = Run::read(path)?;
        others.push(Row { name: name.to_owned(), evaluation: judge(&run) });
    }
    if args.mode.iter().any(|&mode| mode != Mode::Bm25) {
        let model = &engine.manifest().model;
        let encoder = model.open(engine.path(), args.model.as_deref(), &args.running.options())?;
        engine = engine.with_encoder(Arc::new(encoder))?;
    }
    if let Some(reranker) = args.rerank.open(&args.running)? {
        engine = engine.with_reranker(reranker);
    }

    let (mut rows, mut dropped, mut failed) = (Vec::new(), 0, None);
    for &mode in &args.mode {
        let mut run = Run::new();
        for (id, mut hits) in rank(args, &engine, mode, &judged)? {
            dropped += usize::from(itself.drop_from(&qrels, &id, &mut hits));
            hits.truncate(DEPTH);
            run.insert(id, hits);
        }
        // What the searches were for is the table: it is printed whatever becomes of the files.
        if let Some(path) = outputs.run_of(mode)
            && let Err(fault) = run.write(path, "adam")
        {
            failed.get_or_insert(anyhow::Error::from(fault));
        }
        rows.push(Row { name: mode.to_string(), evaluation: judge(&run) });
    }
    dropped += others.iter().map(|row| row.evaluation.dropped()).sum::<usize>();
    if dropped > 0 {
        let why = match (args.drop_self, itself.len()) {
            (true, _) => "under the ids of their queries (--drop-self)".to_owned(),
            (false, 1) => "1 query is itself a document of the index".to_owned(),
            (false, several) => format!("{several} queries are themselves documents of the index"),
        };
        tell(&format!("eval: {} left out: {why}", counted(dropped, "hit")));
    }
    if let Some(path) = &args.json {
        let report: Map<String, Value> = rows.iter().map(|row| (row.name.clone(), figures(&row.evaluation))).collect();
        let text = serde_json::to_vec_pretty(&report)?;
        if let Err(fault) = std::fs::write(path, text).with_context(|| format!("writing {}", path.display())) {
            failed.get_or_insert(fault);
        }
    }
    say_exactly(&report(&rows, &others)?)?;
    failed.map_or(Ok(()), Err)
}

/// The files to write, checked before the searches that would be lost with them.
struct Outputs {
    runs: Vec<(Mode, PathBuf)>,
}

impl Outputs {
    fn of(args: &EvalArgs) -> Result<Self> {
        let mut runs = Vec::new();
        if let Some(path) = &args.run {
            for &mode in &args.mode {
                let mut path = path.clone().into_os_string();
                if args.mode.len() > 1 {
                    path.push(format!(".{mode}"));
                }
                runs.push((mode, PathBuf::from(path)));
            }
        }
        if let Some((_, twice)) = runs.iter().find(|(_, path)| Some(path) == args.json.as_ref()) {
            bail!(WrongCall(format!("--json and --run would both write {}", twice.display())));
        }
        for path in args.json.iter().chain(runs.iter().map(|(_, path)| path)) {
            can_be_written(path)?;
        }
        Ok(Self { runs })
    }

    fn run_of(&self, mode: Mode) -> Option<&Path> {
        self.runs.iter().find(|(of, _)| *of == mode).map(|(_, path)| path.as_path())
    }
}

/// Opens a file for writing and leaves it as it is, or is not.
fn can_be_written(path: &Path) -> Result<()> {
    has_folder(path)?;
    let cannot = || format!("{} cannot be written", path.display());
    if path.is_file() {
        OpenOptions::new().append(true).open(path).with_context(cannot)?;
    } else if !path.exists() {
        OpenOptions::new().write(true).create_new(true).open(path).with_context(cannot)?;
        std::fs::remove_file(path).with_context(cannot)?;
    } else if path.is_dir() {
        bail!("{} cannot be written: it is a folder", path.display());
    }
    Ok(())
}

/// Judged queries that cannot be asked.
fn warn_of_queries(args: &EvalArgs, qrels: &Qrels, queries: &Queries) {
    let known: BTreeSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
    let missing: Vec<&String> =
        qrels.iter().map(|(query, _)| query).filter(|id| !known.contains(id.as_str())).collect();
    let Some(first) = missing.first() else { return };
    tell(&format!(
        "eval: warning: {} without a text in {}, such as `{}`: {}",
        counted(missing.len(), "judged query"),
        args.data.display(),
        one_line(first),
        match args.missing {
            Missing::Zero => "without hits, which counts 0 (--missing skip leaves it out)",
            Missing::Skip => "left out of the means (--missing skip)",
        }
    ));
}

/// Judged documents that the index does not hold, and ids that a run file cannot express.
fn warn_of_documents(args: &EvalArgs, engine: &Engine, qrels: &Qrels) -> Result<()> {
    let mut missing: BTreeSet<&str> = qrels.iter().flat_map(|(_, judged)| judged.keys().map(String::as_str)).collect();
    let total = missing.len();
    let (mut spaces, mut unfit) = (false, None);
    engine.for_each_id(|id| {
        missing.remove(id);
        if args.run.is_some() {
            spaces |= id.contains(char::is_whitespace);
            if unfit.is_none()
                && let Err(problem) = Run::check_id(id)
            {
                unfit = Some(format!("--run: document id `{}` {problem}", one_line(id)));
            }
        }
        Ok(())
    })?;
    if let Some(unfit) = unfit {
        bail!(unfit);
    }
    if spaces {
        tell(
            "eval: warning: ids hold spaces; where they are among the hits, the run has tabs between its columns, which adam reads and trec_eval does not",
        );
    }
    let index = args.index.display();
    if missing.len() == total && total > 0 {
        tell(&format!(
            "eval: warning: none of the judged documents ({total}) is in {index}; is it the index of this collection?"
        ));
    } else if let Some(first) = missing.first() {
        tell(&format!(
            "eval: warning: {} of {total} not in {index}, such as `{}`: counted as not found",
            counted(missing.len(), "judged document"),
            one_line(first)
        ));
    }
    Ok(())
}

/// The judged queries that are documents of the index.
fn self_hits(args: &EvalArgs, engine: &Engine, judged: &[(&str, &str)]) -> Result<SelfHits> {
    if args.drop_self {
        return Ok(SelfHits::all(judged.iter().map(|(id, _)| *id)));
    }
    let mut documents = std::collections::HashMap::new();
    for (id, _) in judged {
        if let Some(found) = engine.get(id)? {
            let document = beir_eval::Document { id: found.id, title: found.title, text: found.text };
            documents.insert(*id, document);
        }
    }
    Ok(SelfHits::find(judged.iter().copied(), |id| documents.remove(id)))
}

/// The hits of every query, one more than are evaluated, since one may be the query itself.
fn rank(
    args: &EvalArgs,
    engine: &Engine,
    mode: Mode,
    judged: &[(&str, &str)],
) -> Result<Vec<(String, Vec<(String, f64)>)>> {
    let mut bar = Progress::new(&mode.to_string(), judged.len() as u64);
    let mut ranked = Vec::with_capacity(judged.len());
    for (done, (id, text)) in judged.iter().enumerate() {
        let request = SearchRequest::new(*text)
            .mode(mode)
            .top(DEPTH + 1)
            .weight(args.weight)
            .fusion(FusionName::default())
            .rerank(args.rerank.depth());
        ranked.push(((*id).to_owned(), engine.rank(&request)?));
        bar.set(done as u64 + 1, "");
    }
    bar.finish(&counted(judged.len(), "query"));
    Ok(ranked)
}

fn figures(evaluation: &Evaluation) -> Value {
    let mut figures: Map<String, Value> =
        METRICS.iter().map(|&metric| (metric.to_string(), json!(evaluation.mean(metric)))).collect();
    figures.insert("queries".to_owned(), json!(evaluation.num_queries()));
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
    // What others made is set beside dense search, or the mode that was measured last.
    if let Some(own) = row(Mode::Dense).or(rows.last()) {
        for other in others {
            sentences.push(sentence(own, other)?);
        }
    }
    let ndcg = |row: &&Row| row.evaluation.mean(Metric::Ndcg(10));
    // Of equals the first, which is the cheaper one.
    let better = [row(Mode::Bm25), row(Mode::Dense)]
        .into_iter()
        .flatten()
        .reduce(|first, second| if ndcg(&first) >= ndcg(&second) { first } else { second });
    if let (Some(hybrid), Some(better)) = (row(Mode::Hybrid), better) {
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
