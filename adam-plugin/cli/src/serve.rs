//! `adam serve`: an index over HTTP.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adam_encoder::{SentenceEncoder, TextEncoder};
use adam_plugin::{Engine, OnFailure, PluginError, Reranker};
use adam_server::{Limits, ServeError, Server, Service, ServiceOptions};
use anyhow::{Context, Result};
use clap::Args;

use crate::model::{ComputeArgs, DeviceArgs};
use crate::screen::{counted, tell};
use crate::signal::{Signal, Stop};
use crate::values;
use crate::words::SynonymArgs;

/// Serve an index over HTTP: documents in, searches and embeddings out, and a page to try it at `/`.
///
/// If the folder holds no index yet, --model creates one. Documents are committed when a client asks for it, every --commit-every
/// seconds, and at the end: on Ctrl-C, SIGTERM or SIGHUP the server accepts no more connections, finishes running requests, and
/// commits all documents that it accepted. A second signal ends it at once.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Examples:
  adam serve --index scifact-index
  adam serve --index new-index --model student --listen 127.0.0.1:9000
  adam serve --index scifact-index --rerank ms-marco-MiniLM-L6-v2 --max-rerank 20
  ADAM_API_KEY=... adam serve --index scifact-index --listen 0.0.0.0:8080 --read-only
  curl 'localhost:8080/search?query=vitamin+D&top=3'
  curl localhost:8080/documents?commit=true -H 'content-type: application/json' -d '{\"id\": \"crow\", \"text\": \"Crows bend wires.\"}'
  curl localhost:8080/delete -H 'content-type: application/json' -d '{\"filters\": [\"year:..1999\"]}'

Routes:
  GET, POST /search
  POST /documents, /delete, /commit
  GET, DELETE /documents/{id}
  POST /embed, /, /v1/embeddings, /rerank
  POST /mcp, for assistants
  GET /info, /health, /ready, /metrics
  GET /openapi.json describes them all.")]
pub(crate) struct ServeArgs {
    /// Folder of the index.
    #[arg(long, value_name = "DIR", env = "ADAM_INDEX")]
    index: PathBuf,
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "ADAM_LISTEN")]
    listen: String,
    /// The model's folder, if it has moved since the index was made, or if the index is still to be made.
    #[arg(long, value_name = "FOLDER", env = "ADAM_MODEL")]
    model: Option<PathBuf>,
    /// A key that requests must carry, as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Others on this machine can read a
    /// command line: prefer the variable.
    #[arg(long, value_name = "KEY", env = "ADAM_API_KEY", hide_env_values = true, hide_default_value = true)]
    api_key: Option<String>,
    /// Host name of a proxy that passes its own name on. Without an API key, a server at loopback answers only to `localhost` and IP
    /// addresses, and pages of other sites cannot write; this name is allowed both. Repeatable.
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_host: Vec<String>,
    /// Seconds between two commits; 0 commits only when a client asks for it, and at the end.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = pause)]
    commit_every: f64,
    /// Answer searches and embeddings only. Use it if another program writes to the index, or if its folder is read-only.
    #[arg(long)]
    read_only: bool,
    /// What happens to a document whose text cannot be embedded: it is left out (skip), or found by BM25 only (text-only).
    #[arg(long, value_name = "POLICY", default_value = "text-only", value_parser = values::on_failure_of_a_server())]
    on_failure: OnFailure,
    /// Documents that go to the model together.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Memory of the index writer, in MB.
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(15..=65_536))]
    memory: u64,
    /// Largest request body, in MB.
    #[arg(long, value_name = "MB", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    max_body: u64,
    /// Most texts of one request for embeddings.
    #[arg(long, value_name = "N", default_value_t = Limits::BATCH)]
    max_batch: usize,
    /// Most documents of one request.
    #[arg(long, value_name = "N", default_value_t = Limits::DOCUMENTS)]
    max_documents: usize,
    /// Longest text or query, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::TEXT_BYTES)]
    max_text: usize,
    /// A cross-encoder for searches that ask to be re-ranked: its folder in Hugging Face layout with ONNX, or its Hugging Face id.
    #[arg(long, value_name = "MODEL")]
    rerank: Option<PathBuf>,
    /// Most hits of one search that it looks at.
    #[arg(long, value_name = "N", default_value_t = Limits::RERANK)]
    max_rerank: usize,
    /// Most requests at once; further ones are answered by 503.
    #[arg(long, value_name = "N", default_value_t = Limits::REQUESTS)]
    max_requests: usize,
    /// Most open connections. When all are taken, a new one replaces the connection whose client has been idle or slow for longest.
    #[arg(long, value_name = "N", default_value_t = Limits::CONNECTIONS)]
    max_connections: usize,
    /// Seconds for a request, from the end of its body to its answer; its body has as many again.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    timeout: f64,
    /// Seconds for running requests to finish when the server is told to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    grace: f64,
    #[command(flatten)]
    computing: ComputeArgs,
    #[command(flatten)]
    searching: DeviceArgs,
    #[command(flatten)]
    synonyms: SynonymArgs,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    if (0.0..=1e6).contains(&number) { Ok(number) } else { Err(format!("`{text}` is not between 0 and 1,000,000")) }
}

/// Seconds between two commits, at most a hundred a second.
fn pause(text: &str) -> Result<f64, String> {
    let seconds = seconds(text)?;
    if seconds == 0.0 || seconds >= 0.01 { Ok(seconds) } else { Err(format!("`{text}` is less than 0.01, and not 0")) }
}

pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let (engine, encoder) = open(args)?;
    let mut engine = args.synonyms.apply(engine)?;
    if let Some(model) = &args.rerank {
        engine = engine.with_reranker(Arc::new(Reranker::open(model, &args.computing.running.options())?));
    }
    let limits = Limits::default()
        .body_bytes(usize::try_from(args.max_body << 20)?)
        .batch(args.max_batch)
        .documents(args.max_documents)
        .text_bytes(args.max_text)
        .rerank(args.max_rerank)
        .requests(args.max_requests)
        .connections(args.max_connections)
        .time(Duration::from_secs_f64(args.timeout));
    let options = ServiceOptions::default()
        .limits(limits)
        .api_key(args.api_key.clone())
        .commit_every((args.commit_every > 0.0).then(|| Duration::from_secs_f64(args.commit_every)))
        .on_failure(args.on_failure)
        .batch(args.batch)
        .memory(usize::try_from(args.memory << 20)?)
        .hosts(&args.allow_host)
        .read_only(args.read_only);
    let service = Service::new(engine, encoder, options).map_err(|fault| match fault {
        ServeError::Engine(PluginError::NoLock(_)) => {
            anyhow::Error::new(fault).context("an index that cannot be written to is served with --read-only")
        }
        fault => fault.into(),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the threads that talk to clients")?;
    let done = runtime.block_on(serve(args, service));
    // A request that hangs in the model, and was cut off, must not keep the process.
    runtime.shutdown_background();
    done
}

/// The index with its model; created if there is none and a model was named.
fn open(args: &ServeArgs) -> Result<(Engine, Arc<SentenceEncoder>)> {
    if let (false, Some(model)) = (Engine::exists(&args.index)?, &args.model) {
        let (encoder, pinned) = args.computing.open(model)?;
        let builder = args.searching.builder(&args.index).encoder(encoder.clone()).pinned(pinned);
        return Ok((builder.open_or_create()?, encoder));
    }
    let engine = args.searching.builder(&args.index).open()?;
    // What the index was made with decides about precision, length and prompts; threads are this machine's business.
    let options = args.computing.running.options();
    let encoder = Arc::new(engine.manifest().model.open(engine.path(), args.model.as_deref(), &options)?);
    args.computing.check(&engine, &encoder)?;
    Ok((engine, encoder))
}

async fn serve(args: &ServeArgs, service: Service) -> Result<()> {
    let server = Server::bind(service.clone(), args.listen.clone()).await?;
    let address = server.address()?;
    if !is_loopback(address.ip()) && args.api_key.is_none() {
        tell(&format!("serve: warning: {address} can be reached by other machines, and no API key is set (--api-key)"));
    }
    tell(&format!(
        "serve: {}, model {}, at http://{address} (Ctrl-C stops)",
        counted(service.engine().num_docs(), "document"),
        service.encoder().name()
    ));
    let (told, stop) = tokio::sync::oneshot::channel();
    let ask = move |signal: Signal| {
        tell(&format!(
            "serve: {}: takes no more connections, finishes what is running (again: ends at once)",
            signal.name
        ));
        // A server that has ended by itself need not be told.
        let _ = told.send(());
    };
    let _stop = Stop::with(ask, "serve: ended at once; what was not committed is lost");
    let stop = async { stop.await.unwrap_or_default() };
    let stopped = server.run(stop, Duration::from_secs_f64(args.grace)).await?;
    if stopped.cut_off {
        tell(&format!("serve: some requests were not done within {} s (--grace) and were cut off", args.grace));
    }
    tell(&format!(
        "serve: stopped; the last commit saved {}, {} in {}",
        counted(stopped.committed, "write"),
        counted(service.engine().num_docs(), "document"),
        args.index.display()
    ));
    Ok(())
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
