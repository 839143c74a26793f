//! `adam serve` over real connections on loopback: every route, every limit, what hostile clients hear, and that an orderly end
//! loses nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod assistants;
mod clients;
mod documents;
mod filters;
#[path = "../http/mod.rs"]
mod http;
mod lifetime;
mod openapi;
mod refine;
mod refusals;
mod routes;
mod words;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adam_encoder::{EncoderOptions, Precision, SentenceEncoder};
use adam_plugin::{Chunking, Engine, PinnedModel, Reranker};
use adam_server::{Server, Service, ServiceOptions, StopReport};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use http::{Client, tiny};

/// A server in this process.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<StopReport>,
}

impl Running {
    fn client(&self) -> Client {
        Client::new(self.address)
    }

    fn stop(self) -> StopReport {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

fn model() -> Arc<SentenceEncoder> {
    Arc::new(SentenceEncoder::open(tiny(), &EncoderOptions::default()).unwrap())
}

/// As [`start`], with documents cut into chunks of eight tokens.
fn start_in_chunks(index: &Path, options: ServiceOptions) -> Running {
    let encoder = model();
    let pinned = PinnedModel::of_folder(&encoder, tiny(), Precision::F32, None);
    let builder = Engine::builder(index).encoder(encoder).pinned(pinned).chunks(Chunking { tokens: 8, overlap: 2 });
    run(service_of(builder.open_or_create().unwrap(), options))
}

fn engine(index: &Path) -> Engine {
    let encoder = model();
    let pinned = PinnedModel::of_folder(&encoder, tiny(), Precision::F32, None);
    Engine::builder(index).encoder(encoder).pinned(pinned).open_or_create().unwrap()
}

fn service_of(engine: Engine, options: ServiceOptions) -> Service {
    Service::new(engine, model(), options).unwrap()
}

fn service(index: &Path, options: ServiceOptions) -> Service {
    service_of(engine(index), options)
}

fn start(index: &Path, options: ServiceOptions) -> Running {
    run(service(index, options))
}

/// As [`start`], with a re-ranker.
fn start_with_reranker(index: &Path, options: ServiceOptions) -> Running {
    run(service_of(engine(index).with_reranker(Arc::new(reranker())), options))
}

fn reranker() -> Reranker {
    Reranker::open(http::fixtures().join("tiny-pair"), &EncoderOptions::default()).unwrap()
}

fn run(service: Service) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(service, "127.0.0.1:0").await.unwrap();
            tell.send(server.address().unwrap()).unwrap();
            let end = async { stopped.await.unwrap_or_default() };
            server.run(end, Duration::from_secs(20)).await.unwrap()
        })
    });
    Running { address: told.recv().unwrap(), stop, thread }
}

/// Options whose clock does not interfere.
fn by_hand() -> ServiceOptions {
    ServiceOptions::default().commit_every(None)
}

fn birds() -> Value {
    json!([
        {"id": "crow", "title": "Crows", "text": "crows bend wire into hooks", "metadata": {"year": 2002, "kind": "bird"}},
        {"id": "raven", "text": "ravens nest early in the year", "metadata": {"year": 1999, "kind": "bird"}},
        {"_id": "glass", "text": "glass has no crystals", "metadata": {"year": 2011, "kind": "matter"}},
        {"id": "a/b?c", "text": "an id that needs care in a path", "metadata": {"year": 2020}},
    ])
}
