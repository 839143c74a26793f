//! Collections in BEIR layout, read by the crate `beir-eval`.
//!
//! That crate is strict: a line that is no record ends the reading with its file and line, whatever `wrong_rows` says. What
//! may be dropped here are judgements of queries or passages that do not exist, and queries and passages without text.

use crate::data::DataConfig;
use crate::data::build::{Builder, GRADE};
use crate::error::TrainError;
use beir_eval::Collection;
use std::path::Path;

/// The documents alone.
pub(super) fn read_documents(config: &DataConfig, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    documents(&Collection::open(&config.path)?, builder)
}

fn documents(collection: &Collection, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    for record in collection.records()? {
        let record = record?;
        let outcome = builder.passage(record.document.id, record.document.title, record.document.text);
        builder.settle(Path::new(&*record.place.file), record.place.line, outcome)?;
    }
    Ok(())
}

pub(super) fn read(config: &DataConfig, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    let collection = Collection::open(&config.path)?;
    documents(&collection, builder)?;
    let queries = collection.queries()?;
    for wrong in queries.without_text() {
        builder.drop_row(Path::new(&*wrong.place.file), wrong.place.line, wrong.problem.clone())?;
    }
    for query in queries {
        let outcome = builder.query(query.id, query.text);
        builder.settle(&config.path, 0, outcome)?;
    }
    for judgement in collection.judgements(&config.split)? {
        let judgement = judgement?;
        let is_positive = judgement.grade >= config.min_grade;
        let (file, line) = (Path::new(&*judgement.place.file), judgement.place.line);
        let grade = format!("{GRADE} {}", judgement.grade);
        let outcome = builder.judgement(file, line, &judgement.query, &judgement.document, is_positive, grade);
        builder.settle(file, line, outcome)?;
    }
    Ok(())
}
