//! How much a server takes: requests at once, time for each, sizes.

use std::sync::Arc;
use std::time::Duration;

use adam_plugin::engine::MAX_HITS;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::api_error::ApiError;
use crate::error::ServeError;

/// Bounds of what a [`Service`](crate::Service) takes. What lies beyond is refused with a status and a sentence, before work is done
/// for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) body_bytes: usize,
    pub(crate) bodies_bytes: usize,
    pub(crate) batch: usize,
    pub(crate) documents: usize,
    pub(crate) text_bytes: usize,
    pub(crate) hits: usize,
    pub(crate) rerank: usize,
    pub(crate) requests: usize,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
    pub(crate) head_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            bodies_bytes: 512 << 20,
            batch: Self::BATCH,
            documents: Self::DOCUMENTS,
            text_bytes: Self::TEXT_BYTES,
            hits: 1000,
            rerank: Self::RERANK,
            requests: Self::REQUESTS,
            connections: Self::CONNECTIONS,
            time: Duration::from_secs(60),
            head_time: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Most texts of one request for embeddings, unless set.
    pub const BATCH: usize = 1024;
    /// Most documents of one request, unless set.
    pub const DOCUMENTS: usize = 10_000;
    /// Longest text in bytes, unless set.
    pub const TEXT_BYTES: usize = 1 << 20;
    /// Most hits that the re-ranker looks at, unless set.
    pub const RERANK: usize = 100;
    /// Most requests at once, unless set.
    pub const REQUESTS: usize = 256;
    /// Most connections, unless set.
    pub const CONNECTIONS: usize = 1024;

    /// Largest request body, in bytes. Beyond: 413. Default: 8 MiB.
    #[must_use]
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// Bytes of large request bodies held at once; the first 64 KiB of each do not count, and one of the largest always fits. Beyond: 503
    /// with `Retry-After`. Default: 512 MiB.
    #[must_use]
    pub fn bodies_bytes(mut self, bytes: usize) -> Self {
        self.bodies_bytes = bytes;
        self
    }

    /// Most texts of one request for embeddings. Beyond: 413. Default: 1,024.
    #[must_use]
    pub fn batch(mut self, texts: usize) -> Self {
        self.batch = texts;
        self
    }

    /// Most documents, ids or lines of one request. Beyond: 413. Default: 10,000.
    #[must_use]
    pub fn documents(mut self, documents: usize) -> Self {
        self.documents = documents;
        self
    }

    /// Longest text, query or title, in bytes. Beyond: 413. Default: 1 MiB.
    #[must_use]
    pub fn text_bytes(mut self, bytes: usize) -> Self {
        self.text_bytes = bytes;
        self
    }

    /// Most hits of one search. Beyond: 422. Default: 1,000.
    #[must_use]
    pub fn hits(mut self, hits: usize) -> Self {
        self.hits = hits;
        self
    }

    /// Most hits of one search that the re-ranker looks at. Beyond: 422. Default: 100.
    #[must_use]
    pub fn rerank(mut self, hits: usize) -> Self {
        self.rerank = hits;
        self
    }

    /// Requests worked on or waiting at once. Beyond: 503 with `Retry-After`. Default: 256.
    #[must_use]
    pub fn requests(mut self, requests: usize) -> Self {
        self.requests = requests;
        self
    }

    /// Open connections. For a further one, the connection closes that has waited longest for its client, if that is 1 s at least.
    /// Default: 1,024.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Time for a request, from the end of its body to its answer, and as much for the body itself. Beyond: 408. Default: 60 s.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// How long a client may make no progress: time for the head of a request, for every 4 KiB of its body and of the answer, and between
    /// two requests. Beyond, the connection closes. Default: 30 s.
    #[must_use]
    pub fn head_time(mut self, time: Duration) -> Self {
        self.head_time = time;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let counts = [
            ("body_bytes", self.body_bytes, 1 << 30),
            ("bodies_bytes", self.bodies_bytes, 1 << 40),
            ("batch", self.batch, 1 << 20),
            ("documents", self.documents, 1 << 20),
            ("text_bytes", self.text_bytes, 1 << 30),
            ("hits", self.hits, MAX_HITS),
            ("rerank", self.rerank, MAX_HITS),
            ("requests", self.requests, 1 << 20),
            ("connections", self.connections, 1 << 20),
        ];
        for (name, value, most) in counts {
            if !(1..=most).contains(&value) {
                return Err(ServeError::Setting { name, problem: format!("is {value}; it can be 1 to {most}") });
            }
        }
        for (name, time) in [("time", self.time), ("head_time", self.head_time)] {
            if time.is_zero() {
                return Err(ServeError::Setting { name, problem: "is 0; no request would be answered".to_owned() });
            }
        }
        Ok(())
    }

    pub(crate) fn check_text(&self, what: &str, text: &str) -> Result<(), ApiError> {
        if text.len() <= self.text_bytes {
            return Ok(());
        }
        Err(ApiError::too_large(format!("{what} has {} bytes; this server takes {}", text.len(), self.text_bytes)))
    }
}

/// Limits the number of requests at once and the time for each.
#[derive(Clone)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    time: Duration,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { permits: Arc::new(Semaphore::new(limits.requests)), time: limits.time }
    }
}

/// Lets a request through if there is a permit, and ends it when its time is over.
pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Ok(_permit) = gate.permits.try_acquire() else {
        return ApiError::overloaded("too many requests at once; try again in a moment").into_response();
    };
    match tokio::time::timeout(gate.time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!("not done within {} s; its writes and commits may still be done", gate.time.as_secs_f64()),
        )
        .into_response(),
    }
}
