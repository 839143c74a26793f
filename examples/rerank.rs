//! A second look: the search is fast and reads every document alone, a cross-encoder is slow and reads question and document
//! together. So the search finds fifty, and the cross-encoder puts them in order.
//!
//!     cargo run --release -p adam-examples --example rerank -- CROSS-ENCODER "why does the sea rise twice a day"
//!
//! CROSS-ENCODER is a folder in Hugging Face layout with ONNX, or a Hugging Face id, such as
//! `cross-encoder/ms-marco-MiniLM-L6-v2`.

use std::sync::Arc;

use adam_encoder::{EncoderOptions, SentenceEncoder};
use adam_examples::pocket;
use adam_plugin::engine::Document;
use adam_plugin::{Engine, Reranker, SearchRequest, WriterSettings};
use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let cross_encoder = words.next().context("name the folder of a cross-encoder")?;
    let question = words.next().unwrap_or_else(|| "why does the sea rise twice a day".to_owned());

    let options = EncoderOptions::default();
    let encoder = Arc::new(SentenceEncoder::open(&adam_examples::model()?, &options)?);
    let reranker = Arc::new(Reranker::open(&cross_encoder, &options)?);
    let folder = tempfile::tempdir()?;
    let engine = Engine::builder(folder.path()).encoder(encoder).reranker(reranker).open_or_create()?;
    let mut writer = engine.writer(50_000_000, WriterSettings::default())?;
    for (number, (title, text)) in pocket()?.into_iter().enumerate() {
        writer.update_document(engine.document(Document {
            id: number.to_string(),
            title,
            text,
            ..Document::default()
        })?)?;
    }
    writer.commit()?;
    engine.reload()?;

    let request = SearchRequest::new(question).top(5).rerank(Some(50));
    for hit in engine.search(&request)?.hits {
        // What every arm thought of it: bm25, dense, and the cross-encoder last.
        let ranks: Vec<String> = hit
            .arms
            .iter()
            .map(|arm| format!("{} {}", arm.name, arm.rank.map_or_else(|| "-".to_owned(), |rank| format!("#{rank}"))))
            .collect();
        println!("{:8.3}  {:24} {}", hit.score, hit.title.unwrap_or_default(), ranks.join(", "));
    }
    Ok(())
}
