//! The formats of training data, how each is told from the others, and where its tables lie.

mod collection;
mod ms_marco;
mod row_forms;
#[cfg(test)]
mod tests;

use super::build::Builder;
use super::rows::{Flow, Row, for_each_row, is_table};
use super::{DataConfig, TrainingData};
use crate::error::TrainError;
use row_forms::Form;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A format of training data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Told from the file names and the first row.
    #[default]
    Auto,
    /// A folder or zip with `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`.
    Beir,
    /// Rows of a query, a positive and any number of negatives; by name, else by order.
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
    let is_zip = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"));
    if is_zip
        || path.join("corpus.jsonl").is_file() && path.join("queries.jsonl").is_file() && path.join("qrels").is_dir()
    {
        return Ok(Format::Beir);
    }
    if path.join("collection.tsv").is_file() {
        return Ok(Format::MsMarco);
    }
    let table = if path.is_dir() { beside(path, TRAIN_TABLES).unwrap_or_else(|| path.clone()) } else { path.clone() };
    let mut first: Option<Row> = None;
    let mut reason = None;
    for_each_row(&table, &config.limits(), &mut |_, line, row| match row {
        Ok(row) => {
            first = Some(row);
            Ok(Flow::Stop)
        }
        // A few wrong rows at the start must not hide what the file is.
        Err(why) => {
            reason.get_or_insert(format!("line {line}: {why}"));
            Ok(if line < 100 { Flow::Next } else { Flow::Stop })
        }
    })?;
    let Some(row) = first else {
        let why = reason.unwrap_or_else(|| "it holds no rows".to_owned());
        return Err(TrainError::data(&table, format!("its format cannot be told: {why}")));
    };
    let has = |name: &str| row.get(&[name]).is_some();
    Ok(if has("positive_passages") {
        Format::Tevatron
    } else if has("positive_document_ids") {
        Format::TevatronIds
    } else if has("document_ids") {
        Format::ThreeTables
    } else if has("pos") && has("query") && row.get(&["pos"]).is_some_and(|pos| pos.is_array()) {
        Format::FlagEmbedding
    } else if row_forms::triplet(&row, &config.limits()).is_ok() {
        Format::Triplets
    } else {
        return Err(TrainError::data(
            &table,
            format!("its format cannot be told from the first row, whose fields are: {}; set `format`", row.names()),
        ));
    })
}

/// Reads data of a known format.
pub(super) fn read(format: Format, config: &DataConfig) -> Result<TrainingData, TrainError> {
    let mut builder = Builder::new(config);
    match format {
        Format::Auto => return Err(TrainError::config("the format of the data was not told")),
        Format::Beir => collection::read(config, &mut builder)?,
        Format::MsMarco => ms_marco::read(config, &mut builder)?,
        Format::Triplets => train_rows(config, &config.path, Form::Triplet, &mut builder)?,
        Format::FlagEmbedding => train_rows(config, &config.path, Form::FlagEmbedding, &mut builder)?,
        Format::Tevatron => train_rows(config, &config.path, Form::Tevatron, &mut builder)?,
        Format::TevatronIds => {
            let documents = table(config, config.documents.as_ref(), "documents", DOCUMENT_TABLES)?;
            document_rows(config, &documents, &mut builder)?;
            train_rows(config, &train_table(config), Form::TevatronIds, &mut builder)?;
        }
        Format::ThreeTables => {
            let documents = table(config, config.documents.as_ref(), "documents", DOCUMENT_TABLES)?;
            let queries = table(config, config.queries.as_ref(), "queries", QUERY_TABLES)?;
            document_rows(config, &documents, &mut builder)?;
            query_rows(config, &queries, &mut builder)?;
            train_rows(config, &train_table(config), Form::ScoredList(config.list_positive), &mut builder)?;
        }
    }
    builder.finish()
}

fn train_rows(config: &DataConfig, path: &Path, form: Form, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    let limits = config.limits();
    for_each_row(path, &limits, &mut |file, line, row| {
        let outcome =
            row.and_then(|row| form.parse(&row, &limits)).and_then(|instance| builder.instance(file, line, instance));
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
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
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
