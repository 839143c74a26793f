//! `adam serve` over real connections on loopback: every route, every limit, what hostile clients hear, and that an orderly end
//! loses nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../http/mod.rs"]
mod http;
mod lifetime;
mod refusals;
mod routes;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adam_encoder::{EncoderOptions, Precision, SentenceEncoder};
use adam_plugin::serve::{Server, Service, ServiceOptions, Stopped};
use adam_plugin::{Engine, PinnedModel};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use http::{Client, tiny};

/// A server in this process.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<Stopped>,
}

impl Running {
    fn client(&self) -> Client {
        Client::new(self.address)
    }

    fn stop(self) -> Stopped {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

fn model() -> Arc<SentenceEncoder> {
    Arc::new(SentenceEncoder::open(&tiny(), &EncoderOptions::default()).unwrap())
}

fn service(index: &Path, options: ServiceOptions) -> Service {
    let encoder = model();
    let pinned = PinnedModel::of_folder(&encoder, &tiny(), Precision::F32, None);
    let engine = Engine::open_or_create(index, encoder.clone(), pinned).unwrap();
    Service::new(engine, encoder, options).unwrap()
}

fn start(index: &Path, options: ServiceOptions) -> Running {
    let service = service(index, options);
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
    ServiceOptions { commit_every: None, ..ServiceOptions::default() }
}

fn birds() -> Value {
    json!([
        {"id": "crow", "title": "Crows", "text": "crows bend wire into hooks", "metadata": {"year": 2002, "kind": "bird"}},
        {"id": "raven", "text": "ravens nest early in the year", "metadata": {"year": 1999, "kind": "bird"}},
        {"_id": "glass", "text": "glass has no crystals", "metadata": {"year": 2011, "kind": "matter"}},
        {"id": "a/b?c", "text": "an id that needs care in a path", "metadata": {"year": 2020}},
    ])
}
