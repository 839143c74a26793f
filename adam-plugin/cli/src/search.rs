//! `adam search`: one question, its best answers.

use std::path::PathBuf;

use adam_plugin::engine::{FusionName, HitGroup, Snippet};
use adam_plugin::{Filter, Mode, SearchRequest, SearchResponse};
use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::model::{DeviceArgs, RerankArgs, RuntimeArgs};
use crate::refine::{self, RefineArgs};
use crate::screen::{coloured, counted, one_line, say_exactly, say_json, tell};
use crate::values;
use crate::words::WordArgs;

/// Search an index by BM25, by vectors (dense), or by both (hybrid).
#[derive(Clone, Debug, Args)]
#[command(after_long_help = concat!("\
Examples:
  adam search --index scifact-index \"does vitamin D protect against infections?\"
  adam search --index scifact-index --mode bm25 --filter year:2019 --json \"insulin\"
  adam search --index scifact-index --filter year:2015.. --filter lang:en \"statins\"
  adam search --index scifact-index --filter 'year >= 2015 AND (lang:(en, de) OR NOT lang:*)' \"statins\"
  adam search --index scifact-index --mode bm25 --typos --synonyms medicine.txt \"vitamine D and influenza\"
  adam search --index scifact-index --explain --weight 0.7 \"sleep and body weight\"
  adam search --index shop-index --boost \"gaussian; field=released; scale=90d; weight=0.5\" --group brand \"kettle\"
  adam search --index scifact-index --rerank ms-marco-MiniLM-L6-v2 --rerank-top 20 \"do crows use tools\"

",
    crate::filter::filter_help!()))]
pub(crate) struct SearchArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// What to search by: words (bm25), meaning (dense), or both (hybrid).
    #[arg(long, value_name = "MODE", default_value_t = Mode::Hybrid, value_parser = values::mode())]
    mode: Mode,
    /// Hits wanted.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Hits to pass over: those of the pages before. Pages show every document once, as long as the index does not change.
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// How many documents words and vectors each bring to a hybrid ranking before further ones follow behind. The same for all
    /// pages; more costs time. By default 200.
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Say how many documents there are on all pages: those that match the words, or have a vector, and pass the filters.
    #[arg(long)]
    total: bool,
    /// Only documents that match: FIELD:VALUE, FIELD:FROM..TO, FIELD>=VALUE, FIELD:(A, B), FIELD:*, joined by AND, OR, NOT and
    /// brackets. Repeatable: all must match. `adam info` lists the names; `adam search --help` has the grammar.
    #[arg(long = "filter", alias = "filters", value_name = "FILTER", allow_hyphen_values = true)]
    filters: Vec<Filter>,
    /// Weight of the vectors in a hybrid search, 0 to 1. Default: what the training of the index's model chose, else 0.8.
    #[arg(long, value_name = "W", value_parser = values::share)]
    weight: Option<f32>,
    /// How a hybrid search makes one ranking of two.
    #[arg(long, value_name = "FUSION", default_value = "convex", value_parser = values::fusion())]
    fusion: FusionName,
    /// Say where every score comes from.
    #[arg(long)]
    explain: bool,
    /// Print JSON and nothing else: {"took_ms", "hits": [{"id", "title", "score", "snippet", "arms", ...}], "warnings": [..]}.
    #[arg(long)]
    json: bool,
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
    refine: RefineArgs,
    #[command(flatten)]
    words: WordArgs,
    /// What to search for. May be left out with --like and --vector.
    #[arg(required_unless_present_any = ["like", "vector"])]
    query: Option<String>,
}

/// Characters shown of a chunk.
const SHOWN: usize = 240;

pub(crate) fn run(args: &SearchArgs) -> Result<()> {
    let mut builder = args.searching.builder(&args.index);
    if args.mode != Mode::Bm25 {
        builder = builder.pinned_encoder(args.model.as_deref(), args.running.options_for_one());
    }
    let mut engine = args.words.synonyms.apply(builder.open()?)?;
    if let Some(reranker) = args.rerank.open(&args.running)? {
        engine = engine.with_reranker(reranker);
    }
    let response = engine.search(
        &args
            .refine
            .apply(args.words.apply(SearchRequest::new(args.query.as_deref().unwrap_or_default())))?
            .mode(args.mode)
            .top(args.top)
            .offset(args.offset)
            .window(args.window)
            .total(args.total)
            .filters(args.filters.clone())
            .weight(args.weight)
            .fusion(args.fusion)
            .explain(args.explain)
            .snippets(true)
            .rerank(args.rerank.depth()),
    )?;
    if let Some(meant) = &response.did_you_mean {
        tell(&format!("search: did you mean: {}", one_line(meant)));
    }
    for warning in &response.warnings {
        tell(&format!("search: warning: {}", one_line(warning)));
    }
    if args.json { say_json(&response) } else { say_exactly(&describe(args, &response)) }
}

fn describe(args: &SearchArgs, response: &SearchResponse) -> String {
    let (bold, dim, plain) = if coloured() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let mut out = format!(
        "{dim}{}{} by {} in {:.0} ms for{plain} {}\n",
        counted(response.hits.len(), "hit"),
        match (response.total, response.groups) {
            (Some(total), Some(groups)) => format!(" of {total} in {}", counted(groups as usize, "group")),
            (Some(total), None) => format!(" of {total}"),
            _ => String::new(),
        },
        args.mode,
        response.took_ms,
        args.query.as_deref().map_or_else(|| "examples".to_owned(), one_line)
    );
    let mut group = 0;
    for (position, hit) in (args.offset + 1..).zip(&response.hits) {
        let position = hit.group.as_ref().map_or(position, |group| group.rank);
        if let Some(of) = hit.group.as_ref().filter(|of| of.rank != group) {
            group = of.rank;
            out.push_str(&format!("{dim}{}{plain}\n", group_line(of)));
        }
        let id = one_line(&hit.id);
        let title = hit.title.as_deref().map(one_line).filter(|title| !title.trim().is_empty());
        let title = title.map_or_else(String::new, |title| format!("{bold}{title}{plain} "));
        out.push_str(&format!("{position:3}. {title}{dim}[{id}] {:.4}", hit.score));
        if hit.arms.len() > 1 {
            for arm in &hit.arms {
                let rank = arm.rank.map_or_else(|| "-".to_owned(), |rank| format!("#{rank}"));
                let raw = arm.raw.map_or_else(String::new, |raw| format!(" {raw:.3}"));
                out.push_str(&format!("  {} {rank}{raw}", arm.name));
            }
        }
        out.push_str(&format!("{plain}\n"));
        if let Some(snippet) = hit.snippet.as_ref().filter(|snippet| !snippet.text.is_empty()) {
            out.push_str("     ");
            let at = marked(snippet, &mut out);
            let rest = one_line(snippet.text.get(at..).unwrap_or_default());
            match (snippet.chunk, rest.char_indices().nth(SHOWN)) {
                // A chunk may be as long as the model reads.
                (Some(_), Some((end, _))) => out.push_str(&format!("{} ...", rest[..end].trim_end())),
                _ => out.push_str(&rest),
            }
            if let Some((start, end)) = snippet.chunk {
                out.push_str(&format!(" {dim}(bytes {start} to {end}){plain}"));
            }
            out.push('\n');
        }
        for (field, snippets) in hit.highlights.iter().flatten() {
            for snippet in snippets {
                out.push_str(&format!("     {dim}{}:{plain} ", one_line(field)));
                let at = marked(snippet, &mut out);
                out.push_str(&format!("{}\n", one_line(snippet.text.get(at..).unwrap_or_default())));
            }
        }
        if let Some(explanation) = &hit.explanation {
            tree(explanation, 5, &mut out);
        }
    }
    out.push_str(&refine::counts(response));
    out
}

/// Writes a snippet with its words marked, up to the last of them; gives where that ends.
fn marked(snippet: &Snippet, out: &mut String) -> usize {
    let (bold, plain) = if coloured() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut at = 0;
    for &(start, end) in &snippet.highlights {
        // Ranges come in order; one that overlaps the one before is left unmarked.
        if let (Some(before), Some(word)) = (snippet.text.get(at..start), snippet.text.get(start..end)) {
            out.push_str(&format!("{}{bold}{}{plain}", one_line(before), one_line(word)));
            at = end;
        }
    }
    at
}

/// The line above the hits of a group.
fn group_line(group: &HitGroup) -> String {
    match &group.value {
        Some(Value::String(text)) => format!("{} ({})", one_line(text), counted(group.documents as usize, "document")),
        Some(value) => format!("{value} ({})", counted(group.documents as usize, "document")),
        None => "without a value".to_owned(),
    }
}

/// A tantivy explanation as an indented tree.
fn tree(node: &Value, indent: usize, out: &mut String) {
    let value = node["value"].as_f64().unwrap_or_default();
    let title = node["description"].as_str().unwrap_or_default();
    out.push_str(&format!("{:indent$}{value:.4}  {}\n", "", one_line(title)));
    for child in node["details"].as_array().into_iter().flatten() {
        tree(child, indent + 2, out);
    }
}
