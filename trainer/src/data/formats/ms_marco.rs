//! MS MARCO's tab-separated files: `collection.tsv` (id, text; or id, url, title, body), `queries.SPLIT.tsv` (id, text),
//! `qrels.SPLIT.tsv` (query, 0, passage, grade).

use crate::data::DataConfig;
use crate::data::build::{Builder, GRADE};
use crate::data::files::{existing, for_each_line};
use crate::data::rows::shorten;
use crate::error::TrainError;
use std::path::{Path, PathBuf};

pub(super) fn read(config: &DataConfig, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    let folder = &config.path;
    let packed = |path: PathBuf| existing(&path).unwrap_or(path);
    let collection = config.documents.clone().unwrap_or_else(|| packed(folder.join("collection.tsv")));
    let queries =
        config.queries.clone().unwrap_or_else(|| packed(folder.join(format!("queries.{}.tsv", config.split))));
    let qrels = packed(folder.join(format!("qrels.{}.tsv", config.split)));
    for file in [&collection, &queries, &qrels] {
        if !file.is_file() {
            return Err(TrainError::data(file, "there is no such file, and the MS MARCO format needs it"));
        }
    }
    lines(config, &collection, builder, |builder, _, _, text| {
        let (id, title, text) = passage(text)?;
        builder.passage(id, title, text)
    })?;
    lines(config, &queries, builder, |builder, _, _, text| {
        let (id, text) = text.split_once('\t').ok_or_else(|| columns(text, "a query is id, tab, text"))?;
        builder.query(id.trim().to_owned(), text.to_owned())
    })?;
    lines(config, &qrels, builder, |builder, file, line, text| {
        let (query, passage, grade) = judgement(text)?;
        builder.judgement(file, line, query, passage, grade >= config.min_grade, format!("{GRADE} {grade}"))
    })
}

fn lines(
    config: &DataConfig,
    file: &Path,
    builder: &mut Builder<'_>,
    mut take: impl FnMut(&mut Builder<'_>, &Path, u64, &str) -> Result<(), String>,
) -> Result<(), TrainError> {
    for_each_line(file, &config.limits(), &mut |line, text| {
        let outcome = text.and_then(|text| take(builder, file, line, text));
        builder.settle(file, line, outcome)
    })?;
    Ok(())
}

fn columns(line: &str, should: &str) -> String {
    format!("{should}, and this line has {} columns", line.split('\t').count())
}

fn passage(line: &str) -> Result<(String, String, String), String> {
    let parts: Vec<&str> = line.splitn(4, '\t').collect();
    let (id, title, text) = match parts[..] {
        [id, text] => (id, "", text),
        [id, _url, title, body] => (id, title, body),
        _ => return Err(columns(line, "a passage is id, tab, text (or id, url, title, body)")),
    };
    if id.trim().is_empty() {
        return Err("the passage has no id".to_owned());
    }
    Ok((id.trim().to_owned(), title.to_owned(), text.to_owned()))
}

fn judgement(line: &str) -> Result<(&str, &str, i32), String> {
    let parts: Vec<&str> = line.split_whitespace().collect();
    let (query, passage, grade) = match parts[..] {
        [query, _, passage, grade] => (query, passage, grade),
        [query, passage, grade] => (query, passage, grade),
        _ => return Err("a judgement is query, 0, passage, grade".to_owned()),
    };
    let decimal = || grade.parse::<f64>().ok().filter(|g| g.fract() == 0.0 && g.abs() < 1e9).map(|g| g as i32);
    let whole = grade.parse().ok().or_else(decimal);
    let whole = whole.ok_or_else(|| format!("the grade `{}` is no whole number", shorten(grade)))?;
    Ok((query, passage, whole))
}
