//! An index inside a web program of your own: its routes lie under `/index/`, beside the program's.
//!
//!     cargo run --release -p adam-examples --example service -- MODEL [INDEX]
//!
//! then open http://127.0.0.1:8080/ and http://127.0.0.1:8080/index/. MODEL is a folder in sentence-transformers layout with
//! ONNX. Without INDEX, the small collection that ships with the project is indexed in a folder that is thrown away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{EncoderOptions, Precision, SentenceEncoder};
use adam_plugin::engine::Document;
use adam_plugin::{Engine, PinnedModel, SearchRequest, WriterSettings};
use adam_server::{Service, ServiceOptions, router};
use anyhow::{Context, Result};
use axum::extract::{Query, State};
use axum::response::Html;
use axum::routing::get;
use beir_eval::Collection;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().context("name the model's folder")?;
    let passing = tempfile::tempdir()?;
    let index = arguments.next().unwrap_or_else(|| passing.path().join("index"));

    let encoder = Arc::new(SentenceEncoder::open(&model, &EncoderOptions::default())?);
    let pinned = PinnedModel::of_folder(&encoder, &model, Precision::F32, None);
    let engine = Engine::builder(&index).encoder(encoder.clone()).pinned(pinned).open_or_create()?;
    if engine.num_docs() == 0 {
        fill(&engine)?;
    }
    // From here on the service holds the index's only writer.
    let service = Service::new(engine, encoder, ServiceOptions::default())?;

    // The program's own routes may use the index without HTTP: the engine is behind the service.
    let program = axum::Router::new()
        .route(
            "/",
            get(|| async { Html("<a href='index/'>search</a> or <a href='best?query=bees'>the best answer</a>") }),
        )
        .route("/best", get(best))
        .with_state(service.clone())
        // With the slash at its end, so that the page's own links work.
        .nest("/index/", router(service.clone()));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://{}", listener.local_addr()?);
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, program).with_graceful_shutdown(stop).await?;
    // What clients were promised is committed before the program ends.
    println!("committed {} waiting documents", service.close().await?);
    Ok(())
}

/// The title of the best hit. Searching takes a processor, so it goes to a thread that may block.
async fn best(
    State(service): State<Service>,
    Query(query): Query<std::collections::HashMap<String, String>>,
) -> String {
    let question = query.get("query").cloned().unwrap_or_default();
    let engine = service.engine().clone();
    let found = tokio::task::spawn_blocking(move || engine.search(&SearchRequest::new(question).top(1)));
    match found.await {
        Ok(Ok(answer)) => answer.hits.first().map_or_else(String::new, |hit| hit.title.clone().unwrap_or_default()),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => "the search broke off".to_owned(),
    }
}

fn fill(engine: &Engine) -> Result<()> {
    let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pocket");
    let mut writer = engine.writer(50_000_000, WriterSettings::default())?;
    for record in Collection::open(&pocket)?.records()? {
        let beir_eval::Document { id, title, text } = record?.document;
        writer.update_document(engine.document(Document { id, title, text, ..Document::default() })?)?;
    }
    writer.commit()?;
    writer.wait_merging_threads()?;
    Ok(engine.reload()?)
}
