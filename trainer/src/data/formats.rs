//! The formats of training data, how each is told from the others, and where its tables lie.

mod collection;
mod fields;
#[cfg(test)]
mod label_tests;
mod ms_marco;
mod row_forms;
#[cfg(test)]
mod tests;
mod texts;

use super::build::Builder;
use super::files::{Flow, existing, for_each_row, is_table, unpacked_name};
use super::rows::Row;
use super::{DataConfig, TrainingData};
use crate::error::TrainError;
pub(super) use fields::is_suspicious;
use row_forms::Form;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use texts::LabelRule;

/// A format of training data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Told from the file names and the first row.
    #[default]
    Auto,
    /// A folder or zip with `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`.
    Beir,
    /// Rows of a query and texts, by the names of their fields: pairs, triplets, labelled pairs, lists.
    Triplets,
    /// Rows `{"query", "pos": [..], "neg": [..], "pos_scores"?, "neg_scores"?}`, the form of FlagEmbedding.
    FlagEmbedding,
    /// Rows `{"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": [..]}`, the form
    /// of Tevatron.
    Tevatron,
    /// Rows `{"query_id", "query_text", "positive_document_ids", "negative_document_ids"}` beside a table of passages.
    TevatronIds,
    /// Rows `{"query_id", "document_ids", "scores"}` beside tables of queries and passages.
    ThreeTables,
    /// A folder with `collection.tsv`, `queries.SPLIT.tsv` and `qrels.SPLIT.tsv`.
    MsMarco,
    /// Passages alone: a table of ids and texts, or a BEIR folder or zip of which only `corpus.jsonl` is read. Training queries are
    /// made from them (`[queries]`).
    Corpus,
}

impl Format {
    /// The name used in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Beir => "beir",
            Format::Triplets => "triplets",
            Format::FlagEmbedding => "flag-embedding",
            Format::Tevatron => "tevatron",
            Format::TevatronIds => "tevatron-ids",
            Format::ThreeTables => "three-tables",
            Format::MsMarco => "ms-marco",
            Format::Corpus => "corpus",
        }
    }
}

/// Names under which tables lie beside each other.
const TRAIN_TABLES: &[&str] = &["train", "training"];
const QUERY_TABLES: &[&str] = &["queries", "query"];
const DOCUMENT_TABLES: &[&str] = &["documents", "document", "corpus", "collection", "passages"];

/// Tells the format of data.
pub(super) fn detect(config: &DataConfig) -> Result<Format, TrainError> {
    let path = &config.path;
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip")) {
        return Ok(Format::Beir);
    }
    if existing(&path.join("collection.tsv")).is_some() {
        return Ok(Format::MsMarco);
    }
    let train = if path.is_dir() { beside(path, TRAIN_TABLES) } else { None };
    let is_beir = existing(&path.join("corpus.jsonl")).is_some() && existing(&path.join("queries.jsonl")).is_some();
    match (is_beir, path.join("qrels").is_dir()) {
        (true, true) => return Ok(Format::Beir),
        // Queries and passages without a table that joins them.
        (true, false) if train.is_none() => {
            return Err(TrainError::data(
                path,
                format!(
                    "holds corpus.jsonl and queries.jsonl and no judgements: training needs qrels/{}.tsv \
                     (a line `query-id TAB corpus-id TAB score`, then a row each), or a table `train` of rows; without any judgements, \
                     train on the passages alone (data.format = \"corpus\")",
                    config.split
                ),
            ));
        }
        (false, true) if train.is_none() => {
            return Err(TrainError::data(
                path,
                "holds qrels, and not both corpus.jsonl and queries.jsonl, which a BEIR folder has",
            ));
        }
        _ => {}
    }
    let table = train.unwrap_or_else(|| path.clone());
    let (mut found, mut unknown, mut reason) = (None, None, None);
    for_each_row(&table, &config.limits(), &mut |file, line, row| {
        match row {
            Ok(row) => match shape(&row) {
                Some(format) => found = Some(format),
                None => unknown = unknown.take().or(Some((file.to_owned(), line, row))),
            },
            Err(why) => {
                reason.get_or_insert(format!("{}, line {line}: {why}", file.display()));
            }
        }
        // A few wrong rows at the start must not hide what the file is.
        Ok(if found.is_some() || line >= 100 { Flow::Stop } else { Flow::Next })
    })?;
    match (found, unknown) {
        (Some(format), _) => Ok(format),
        (None, Some((file, _, row))) if is_passage(&file, &row) => Ok(Format::Corpus),
        (None, Some((file, line, row))) => Err(TrainError::row(file.clone(), line, unknown_row(&file, &row))),
        (None, None) => {
            let why = reason.unwrap_or_else(|| "it holds no rows".to_owned());
            Err(TrainError::data(&table, format!("its format cannot be told: {why}")))
        }
    }
}

/// Whether a path is a folder or zip in BEIR layout.
fn is_collection(path: &Path) -> bool {
    path.is_dir() && existing(&path.join("corpus.jsonl")).is_some()
        || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"))
}

/// The format that the names of a row's fields speak of.
fn shape(row: &Row) -> Option<Format> {
    let has = |name: &str| row.get(&[name]).is_some();
    if has("positive_passages") {
        Some(Format::Tevatron)
    } else if has("positive_document_ids") {
        Some(Format::TevatronIds)
    } else if has("document_ids") {
        Some(Format::ThreeTables)
    } else if !texts::is_one(row) {
        None
    } else if has("query") && row.get(&["pos"]).is_some_and(|pos| pos.is_array()) {
        Some(Format::FlagEmbedding)
    } else {
        Some(Format::Triplets)
    }
}

/// What the names of files of passages begin with. A table of queries has the same fields, so the name has to tell.
const CORPUS_NAMES: [&str; 5] = ["corpus", "passage", "document", "docs", "collection"];

/// Whether a row is a passage of a corpus: in a file of such a name, with an id and a text and nothing that speaks of a query.
fn is_passage(file: &Path, row: &Row) -> bool {
    let has = |names: &[&str]| row.get(names).is_some();
    let stem = unpacked_name(file).file_stem().map(|s| s.to_string_lossy().to_lowercase()).unwrap_or_default();
    let has_query = row.fields.iter().any(|(name, _)| matches!(fields::role(name), fields::Role::Query(_)));
    has(&["_id", "id", "docid", "doc_id", "pid"])
        && has(&["text", "contents", "body"])
        && !has_query
        && CORPUS_NAMES.iter().any(|name| stem.starts_with(name))
}

/// What is said of a row of no known form: what it has, what it might be, what is read.
fn unknown_row(file: &Path, row: &Row) -> String {
    let has = |name: &str| row.get(&[name]).is_some();
    let stem = unpacked_name(file).file_stem().map(|s| s.to_string_lossy().to_lowercase()).unwrap_or_default();
    let has_query = row.fields.iter().any(|(name, _)| matches!(fields::role(name), fields::Role::Query(_)));
    let hint = if row.positional {
        "a row without names is `[query, positive, negative, ...]`".to_owned()
    } else if (has("_id") || has("id")) && has("text") && !has_query {
        let what = if stem.starts_with("quer") { "the query table" } else { "the corpus" };
        format!(
            "this looks like {what} of a BEIR folder, which is no training data by itself; name the folder that holds it, or train on \
             passages alone (data.format = \"corpus\")"
        )
    } else if (has("query-id") || has("query_id")) && (has("corpus-id") || has("corpus_id")) {
        "these are judgements; name the BEIR folder that holds them as qrels/train.tsv".to_owned()
    } else {
        format!("a training row has {}", fields::KNOWN)
    };
    format!("no training row: its fields are: {}; {hint}", row.names())
}

/// Reads data of a known format.
pub(super) fn read(format: Format, config: &DataConfig) -> Result<TrainingData, TrainError> {
    let mut builder = Builder::new(config);
    let texts = Form::Texts(LabelRule::of(config));
    // Where a folder holds a table of training rows, what lies beside it is none.
    let train = train_table(config);
    match format {
        Format::Auto => return Err(TrainError::internal("the format of the data was not told")),
        Format::Beir => collection::read(config, &mut builder)?,
        Format::MsMarco => ms_marco::read(config, &mut builder)?,
        Format::Corpus if is_collection(&config.path) => collection::read_documents(config, &mut builder)?,
        Format::Corpus => document_rows(config, &config.path, &mut builder)?,
        Format::Triplets | Format::FlagEmbedding | Format::Tevatron => train_rows(config, &train, texts, &mut builder)?,
        Format::TevatronIds => {
            let documents = table(config, config.documents.as_ref(), "documents", DOCUMENT_TABLES)?;
            document_rows(config, &documents, &mut builder)?;
            train_rows(config, &train, Form::TevatronIds, &mut builder)?;
        }
        Format::ThreeTables => {
            let documents = table(config, config.documents.as_ref(), "documents", DOCUMENT_TABLES)?;
            let queries = table(config, config.queries.as_ref(), "queries", QUERY_TABLES)?;
            document_rows(config, &documents, &mut builder)?;
            query_rows(config, &queries, &mut builder)?;
            train_rows(config, &train, Form::ScoredList(config.list_positive), &mut builder)?;
        }
    }
    builder.finish()
}

fn train_rows(config: &DataConfig, path: &Path, form: Form, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    let limits = config.limits();
    for_each_row(path, &limits, &mut |file, line, row| {
        let outcome = row.and_then(|row| form.parse(&row, &limits)).and_then(|(instance, unread)| {
            builder.instance(file, line, instance)?;
            builder.unread(unread);
            Ok(())
        });
        builder.settle(file, line, outcome)
    })
}

fn document_rows(config: &DataConfig, path: &Path, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    for_each_row(path, &config.limits(), &mut |file, line, row| {
        let outcome = row
            .and_then(|row| row_forms::document(&row))
            .and_then(|(id, title, text)| builder.passage(id, title, text));
        builder.settle(file, line, outcome)
    })
}

fn query_rows(config: &DataConfig, path: &Path, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    for_each_row(path, &config.limits(), &mut |file, line, row| {
        let outcome = row.and_then(|row| row_forms::query(&row)).and_then(|(id, text)| builder.query(id, text));
        builder.settle(file, line, outcome)
    })
}

/// Where the training rows are: a table of that name in the folder, or the file itself.
fn train_table(config: &DataConfig) -> PathBuf {
    if config.path.is_dir() {
        beside(&config.path, TRAIN_TABLES).unwrap_or_else(|| config.path.clone())
    } else {
        config.path.clone()
    }
}

/// A table that was named, or that lies beside the training rows under a usual name.
fn table(config: &DataConfig, named: Option<&PathBuf>, setting: &str, names: &[&str]) -> Result<PathBuf, TrainError> {
    if let Some(path) = named {
        return if path.exists() {
            Ok(path.clone())
        } else {
            Err(TrainError::data(path, format!("there is no such file or folder (`{setting}`)")))
        };
    }
    let folder = if config.path.is_dir() {
        config.path.clone()
    } else {
        config.path.parent().map(Path::to_owned).unwrap_or_default()
    };
    beside(&folder, names).ok_or_else(|| {
        TrainError::data(
            &folder,
            format!(
                "rows of this format need a table of {setting}: put `{}.jsonl` or `.parquet` here, or set `{setting}`",
                names[0]
            ),
        )
    })
}

/// A table of one of the names in a folder: `NAME.jsonl`, `NAME.parquet`, `NAME-00000-of-00002.parquet` and its siblings (then
/// the whole folder is not the table, so only single files count), or a folder `NAME`.
fn beside(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    entries.sort();
    for name in names {
        let fits = |path: &&PathBuf| {
            let named = unpacked_name(path);
            let stem = named.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let exact = stem == *name;
            let single_shard = stem == format!("{name}-00000-of-00001");
            path.is_dir() && exact || path.is_file() && is_table(path) && (exact || single_shard)
        };
        if let Some(found) = entries.iter().find(fits) {
            return Some(found.clone());
        }
    }
    None
}
