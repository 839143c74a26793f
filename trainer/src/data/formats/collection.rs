//! Collections in BEIR layout, read by the `beir` crate.

use crate::data::DataConfig;
use crate::data::build::Builder;
use crate::error::TrainError;
use beir::Collection;

pub(super) fn read(config: &DataConfig, builder: &mut Builder<'_>) -> Result<(), TrainError> {
    let path = &config.path;
    let refused = |e: beir::BeirError| TrainError::data(path, e.to_string());
    let collection = Collection::open(path).map_err(refused)?;
    let corpus = path.join("corpus.jsonl");
    for document in collection.documents().map_err(refused)? {
        let document = document.map_err(refused)?;
        let outcome = builder.passage(document.id, document.title, document.text);
        builder.settle(&corpus, 0, outcome)?;
    }
    let queries = path.join("queries.jsonl");
    for query in collection.queries().map_err(refused)? {
        let outcome = builder.query(query.id, query.text);
        builder.settle(&queries, 0, outcome)?;
    }
    let file = path.join("qrels").join(format!("{}.tsv", config.split));
    let qrels = collection.qrels(&config.split).map_err(refused)?;
    for (query, judged) in qrels.iter() {
        for (passage, grade) in judged {
            let outcome = builder.judgement(&file, 0, query, passage, *grade >= config.min_grade);
            builder.settle(&file, 0, outcome)?;
        }
    }
    Ok(())
}
