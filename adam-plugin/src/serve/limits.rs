//! How much a server takes: requests at once, time for each, sizes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::error::ApiError;
use crate::engine::MAX_HITS;
use crate::error::PluginError;

/// Bounds of what a [`Service`](super::Service) takes. What lies beyond is refused with a status and a sentence, before work is done
/// for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes. Beyond: 413. Default 8 MiB.
    pub body_bytes: usize,
    /// Bytes of large request bodies held at once; the first 64 KiB of each do not count, and one of the largest always fits. Beyond: 503
    /// with `Retry-After`. Default 512 MiB.
    pub bodies_bytes: usize,
    /// Most texts of one request for embeddings. Beyond: 413. Default 1,024.
    pub batch: usize,
    /// Most documents, ids or lines of one request. Beyond: 413. Default 10,000.
    pub documents: usize,
    /// Longest text, query or title, in bytes. Beyond: 413. Default 1 MiB.
    pub text_bytes: usize,
    /// Most hits of one search. Beyond: 422. Default 1,000.
    pub hits: usize,
    /// Most hits of one search that the re-ranker looks at. Beyond: 422. Default 100.
    pub rerank: usize,
    /// Requests worked on or waiting at once. Beyond: 503 with `Retry-After`. Default 256.
    pub requests: usize,
    /// Open connections. For a further one, the connection closes that has waited longest for its client, if that is 1 s at least.
    /// Default 1,024.
    pub connections: usize,
    /// Time for a request, from the end of its body to its answer, and as much for the body itself. Beyond: 408. Default 60 s.
    pub time: Duration,
    /// How long a client may make no progress: time for the head of a request, for every 4 KiB of its body and of the answer, and between
    /// two requests. Beyond, the connection closes. Default 30 s.
    pub head_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            bodies_bytes: 512 << 20,
            batch: 1024,
            documents: 10_000,
            text_bytes: 1 << 20,
            hits: 1000,
            rerank: 100,
            requests: 256,
            connections: 1024,
            time: Duration::from_secs(60),
            head_time: Duration::from_secs(30),
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), PluginError> {
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
                return Err(PluginError::Setting { name, problem: format!("is {value}; it can be 1 to {most}") });
            }
        }
        for (name, time) in [("time", self.time), ("head_time", self.head_time)] {
            if time.is_zero() {
                return Err(PluginError::Setting { name, problem: "is 0; no request would be answered".to_owned() });
            }
        }
        Ok(())
    }

    pub(super) fn check_text(&self, what: &str, text: &str) -> Result<(), ApiError> {
        if text.len() <= self.text_bytes {
            return Ok(());
        }
        Err(ApiError::too_large(format!(
            "{what} has {} bytes; this server takes {} (--max-text)",
            text.len(),
            self.text_bytes
        )))
    }
}

/// Room for so many requests at once and so much time for each.
#[derive(Clone)]
pub(super) struct Gate {
    room: Arc<Semaphore>,
    time: Duration,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { room: Arc::new(Semaphore::new(limits.requests)), time: limits.time }
    }
}

/// Lets a request through if there is room, and ends it when its time is over.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Ok(_room) = gate.room.try_acquire() else {
        return ApiError::overloaded("too many requests at once; try again in a moment (--max-requests)")
            .into_response();
    };
    match tokio::time::timeout(gate.time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!(
                "not done within {} s (--timeout); what it asked to be written or committed may still be done",
                gate.time.as_secs_f64()
            ),
        )
        .into_response(),
    }
}
