//! What `/metrics` shows, in Prometheus' text form.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::api_error::ApiError;

/// The counters of a running server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    /// Documents that can be found, as of the last commit.
    pub(crate) documents: IntGauge,
    /// Documents and deletions that wait for a commit.
    pub(crate) waiting: IntGauge,
    /// Requests being worked on.
    busy: IntGauge,
    /// Texts turned into vectors for clients.
    pub(crate) embedded: IntCounter,
    /// Documents taken in.
    pub(crate) indexed: IntCounter,
    /// Documents that could not be embedded.
    pub(crate) failed: IntCounter,
    /// Commits that clients asked for.
    pub(crate) commits: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("adam_requests_total", "Requests answered, by route and status"),
                &["route", "status"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new("adam_request_seconds", "Time to answer a request, in seconds")
                    .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
                &["route"],
            )?,
            documents: IntGauge::new("adam_documents", "Documents that can be found")?,
            waiting: IntGauge::new("adam_writes_waiting", "Documents and deletions that wait for a commit")?,
            busy: IntGauge::new("adam_requests_busy", "Requests being worked on")?,
            embedded: IntCounter::new("adam_texts_embedded_total", "Texts turned into vectors for clients")?,
            indexed: IntCounter::new("adam_documents_indexed_total", "Documents taken in")?,
            failed: IntCounter::new(
                "adam_documents_failed_total",
                "Documents that could not be embedded, and so were left out or are found by BM25 only",
            )?,
            commits: IntCounter::new("adam_commits_total", "Commits that clients asked for")?,
            registry,
        };
        metrics.registry.register(Box::new(metrics.requests.clone()))?;
        metrics.registry.register(Box::new(metrics.seconds.clone()))?;
        for gauge in [&metrics.documents, &metrics.waiting, &metrics.busy] {
            metrics.registry.register(Box::new(gauge.clone()))?;
        }
        for counter in [&metrics.embedded, &metrics.indexed, &metrics.failed, &metrics.commits] {
            metrics.registry.register(Box::new(counter.clone()))?;
        }
        Ok(metrics)
    }

    /// All counters as text.
    pub(crate) fn render(&self) -> Result<Response, ApiError> {
        let encoder = TextEncoder::new();
        let mut text = Vec::new();
        encoder.encode(&self.registry.gather(), &mut text).map_err(ApiError::backend)?;
        Ok(([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response())
    }
}

/// Counts and times every request under the route it matched, so that the number of series is bounded.
pub(crate) async fn observe(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let started = Instant::now();
    metrics.busy.inc();
    // Decremented on drop: when a client leaves, the future ends early.
    let busy = Busy(metrics.busy.clone());
    let response = next.run(request).await;
    drop(busy);
    metrics.requests.with_label_values(&[route.as_str(), response.status().as_str()]).inc();
    metrics.seconds.with_label_values(&[route.as_str()]).observe(started.elapsed().as_secs_f64());
    response
}

struct Busy(IntGauge);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.dec();
    }
}
