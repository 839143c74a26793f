//! Collections in BEIR layout, read by the `beir` crate.
//!
//! That crate is strict: a line that is no record ends the reading with its file and line, whatever `wrong_rows` says. What
//! may be dropped here are judgements of queries or passages that do not exist, and passages without text.

use crate::data::DataConfig;
use crate::data::build::{Builder, GRADE};
use crate::error::TrainError;
use beir::{BeirError, Collection};
use std::collections::HashSet;
use std::path::Path;

/// Lines of wrong judgements are looked up one by one, each with a pass over the file; beyond this many the ids must do.
const LINES_LOOKED_UP: usize = 100;

pub(super) fn read(config: &DataConfig, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    let path = &config.path;
    let collection = Collection::open(path)?;
    let corpus = path.join("corpus.jsonl");
    let mut documents = HashSet::new();
    for document in collection.documents()? {
        let document = document?;
        documents.insert(document.id.clone());
        let outcome = builder.passage(document.id, document.title, document.text);
        builder.settle(&corpus, 0, outcome)?;
    }
    let table = path.join("queries.jsonl");
    let mut queries = HashSet::new();
    for query in collection.queries()? {
        queries.insert(query.id.clone());
        let outcome = builder.query(query.id, query.text);
        builder.settle(&table, 0, outcome)?;
    }

    let file = path.join("qrels").join(format!("{}.tsv", config.split));
    // Both answer that all is well, so that the reader asks about both ids of every row; what is wrong is noted by row.
    let (mut queries_asked, mut documents_asked) = (0usize, 0usize);
    let (mut wrong_queries, mut wrong_documents) = (Vec::new(), Vec::new());
    let qrels = collection.checked_qrels(
        &config.split,
        |query| {
            queries_asked += 1;
            if !queries.contains(query) {
                wrong_queries.push(queries_asked);
            }
            true
        },
        |document| {
            documents_asked += 1;
            if !documents.contains(document) {
                wrong_documents.push(documents_asked);
            }
            true
        },
    );
    let qrels = qrels?;
    let mut wrong = wrong_queries;
    wrong.extend(wrong_documents);
    wrong.sort_unstable();
    wrong.dedup();
    for (n, &row) in wrong.iter().enumerate() {
        if n < LINES_LOOKED_UP {
            let (line, reason) = explain(&collection, &config.split, row, &queries, &documents);
            builder.drop_row(&file, line, reason)?;
        } else {
            builder.drop_row(&file, 0, "a judgement of a query or passage that does not exist")?;
        }
    }
    for (query, judged) in qrels.iter() {
        if !queries.contains(query) {
            continue;
        }
        for (passage, grade) in judged {
            if documents.contains(passage) {
                let said = format!("{GRADE} {grade}");
                let outcome = builder.judgement(&file, 0, query, passage, *grade >= config.min_grade, said);
                builder.settle(&file, 0, outcome)?;
            }
        }
    }
    Ok(())
}

/// Line and reason of the judgement in row `row`: the reader is told that this row is wrong, and its error says where it is.
fn explain(
    collection: &Collection,
    split: &str,
    row: usize,
    queries: &HashSet<String>,
    documents: &HashSet<String>,
) -> (u64, String) {
    let (mut seen_queries, mut seen_documents) = (0usize, 0usize);
    let outcome = collection.checked_qrels(
        split,
        |query| {
            seen_queries += 1;
            seen_queries != row || queries.contains(query)
        },
        |document| {
            seen_documents += 1;
            seen_documents != row || documents.contains(document)
        },
    );
    match outcome {
        Err(BeirError::Unknown { place, what, id, absent_from }) => {
            (place.line, format!("it names the {what} `{id}`, which is not in {}", short(&absent_from)))
        }
        Err(other) => (0, other.to_string()),
        Ok(_) => (0, "a judgement of a query or passage that does not exist".to_owned()),
    }
}

/// The last part of a path, for messages that name the folder already.
fn short(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}
