//! An index over HTTP: documents in, searches and vectors out, and a page to try it.
//!
//! `adam serve --index DIR` is this crate with a command line; [`Server`] runs it in your own program, and [`router`] puts it
//! under an axum server that is there already (see the example `service`).
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use adam_encoder::EncoderOptions;
//! use adam_plugin::Engine;
//! use adam_server::{Server, Service, ServiceOptions};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::open("scifact-index")?;
//! let encoder = Arc::new(engine.manifest().model.open(engine.path(), None, &EncoderOptions::default())?);
//! let service = Service::new(engine, encoder, ServiceOptions::default())?;
//! let server = Server::bind(service, "127.0.0.1:8080").await?;
//! let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! server.run(stop, Duration::from_secs(30)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Routes
//!
//! | route | does |
//! |---|---|
//! | `GET /` | a page: one box, three columns (BM25, dense, hybrid) |
//! | `POST /search`, `GET /search?query=...` | a search: `mode` bm25, dense or hybrid; `top`, `offset`, `filters`, `weight`, `fusion`, `fields`, `typos`, `synonyms`, `suggest`, `rerank`, `explain`, `snippets` |
//! | `POST /documents[?commit=true]` | takes one document, a JSON array, or lines (`application/x-ndjson`) |
//! | `GET`, `DELETE /documents/{id}` | one document |
//! | `POST /delete` | deletes by `ids` and by `filters` |
//! | `POST /commit` | makes everything accepted safe on disk and findable |
//! | `POST /embed`, `POST /` | vectors, as text-embeddings-inference's clients ask for them |
//! | `POST /rerank` | texts of the request in the order in which they answer a query, as text-embeddings-inference does it |
//! | `POST /v1/embeddings`, `GET /v1/models` | vectors, as OpenAI's clients ask for them |
//! | `POST /mcp` | tools for assistants by the Model Context Protocol: search, fetch, info; see [`serve_stdio`] for standard input and output |
//! | `GET /info`, `/metrics`, `/openapi.json` | the model and limits; Prometheus' counters; all of this for machines |
//! | `GET /health`, `/ready` | whether the process is alive (else restart it); whether it can answer and write now (else send requests elsewhere), with the reason |
//!
//! ```text
//! curl localhost:8080/documents?commit=true -H 'content-type: application/json' \
//!   -d '[{"id": "crow", "title": "Crows", "text": "They bend wire into hooks.", "metadata": {"year": 2002}}]'
//! curl localhost:8080/documents -H 'content-type: application/x-ndjson' --data-binary @corpus.jsonl
//! curl localhost:8080/commit -X POST
//! curl 'localhost:8080/search?query=birds+that+use+tools&mode=dense&top=3'
//! curl localhost:8080/search -H 'content-type: application/json' \
//!   -d '{"query": "birds that use tools", "filters": ["year:2000..2010"], "weight": 0.7, "explain": true, "snippets": true}'
//! curl localhost:8080/delete -H 'content-type: application/json' -d '{"filters": ["year:..1999"]}'
//! curl -X DELETE 'localhost:8080/documents/crow?commit=true'
//! curl localhost:8080/embed -H 'content-type: application/json' -d '{"inputs": ["a text", "another"], "truncate": true}'
//! curl localhost:8080/v1/embeddings -H 'content-type: application/json' -d '{"input": "a text", "model": "any"}'
//! ```
//!
//! # What an answer promises
//!
//! 202 to a document: it was checked and waits to be embedded; an orderly end of the server commits it, `kill -9` does not.
//! 200 with `commit=true`, or 200 from `/commit` afterwards: it is safe on disk and can be found. The server also commits by
//! itself every [`commit_every`](ServiceOptions::commit_every).
//!
//! Errors are JSON, `{"error": "what and what to do", "error_type": "validation"}`; below `/v1`, in OpenAI's form. 400 is no JSON, 422 JSON
//! that asks for something impossible, 413 too large, 408 too slow, 503 too many at once (with `Retry-After`), 401 without the key, 403 what
//! this server does not do (it only reads, or goes by another name), 404 no such document or route, 405 and 415 another method or content type.
//! `/embed` and `/v1/embeddings` ignore members they do not know, as their clients expect; the other routes refuse them.
//!
//! # Safety
//!
//! Nothing is encrypted here, and without a key everybody who reaches the port may write: listen at loopback (the default of
//! `adam serve`), set [`api_key`](ServiceOptions::api_key), or put a proxy in front. Sizes, numbers and times are bounded by
//! [`Limits`]. No answer allows other web sites to read it, and a [`Server`] at loopback without a key answers only to `localhost`, to
//! addresses and to [`hosts`](ServiceOptions::hosts), so that no web site can pass for it. Without a key, it does not write for a page of
//! another site, which browsers name (`Sec-Fetch-Site`, `Origin`).
//!
//! A client that makes no progress for [`head_time`](Limits::head_time) loses its connection, whatever it was doing: sending a head, a body,
//! reading an answer, or nothing. Where there are no connections left, a new one takes the place of the one that has waited longest for its
//! client. Bodies are read before a request counts among those at once; refused ones are read and thrown away, up to 64 MiB and 10 s, so that
//! the client reads why. Many or long texts, and searches that re-rank, are worked on in pieces, by turns, so that short searches find a
//! processor beside them; when the client leaves, no further piece is begun.

mod about;
mod api_error;
mod auth;
mod body;
mod boost_schema;
mod documents;
mod embed;
mod error;
mod host;
mod ingest;
mod intake;
mod limits;
mod link;
mod mcp;
mod metrics;
mod openapi;
mod options;
mod page;
mod rerank;
mod search;
mod server;
mod state;
mod turns;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

pub use error::ServeError;
pub use limits::Limits;
pub use mcp::serve_stdio;
pub use options::ServiceOptions;
pub use server::{Server, StopReport};
pub use state::Service;

/// The routes of a service, for an axum server of your own. Call [`Service::close`] when that server has ended.
pub fn router(service: Service) -> Router {
    routes(service).layer(from_fn(intake::drain))
}

/// The routes without what reads the rest of refused requests, which has to stand around all else.
fn routes(service: Service) -> Router {
    let limits = service.limits();
    let mut closed = Router::new()
        .route("/search", get(search::by_link).post(search::by_body))
        .route("/documents", post(documents::add))
        .route("/delete", post(documents::delete_many))
        .route("/documents/{id}", get(documents::get).delete(documents::delete_one))
        .route("/commit", post(documents::commit))
        .route("/", post(embed::embed_at_root))
        .route("/embed", post(embed::embed))
        .route("/rerank", post(rerank::rerank))
        .route("/v1/embeddings", post(embed::openai))
        .route_service("/mcp", mcp::over_http(&service))
        .route_layer(from_fn_with_state(limits::Gate::new(limits), limits::pass))
        // A body is read before a place is taken: who sends slowly keeps nobody else out.
        .route_layer(from_fn_with_state(intake::Intake::new(limits), intake::read))
        // These must answer where all else is busy.
        .route("/v1/models", get(about::models))
        .route("/info", get(about::info))
        .route("/metrics", get(about::metrics));
    if let Some(key) = &service.options().api_key {
        closed = closed.route_layer(from_fn_with_state(auth::ApiKey::new(key), auth::require));
    }
    let open = Router::new()
        .route("/", get(page::page))
        .route("/page.js", get(page::script))
        .route("/health", get(about::health))
        .route("/ready", get(about::ready))
        .route("/openapi.json", get(openapi::serve));
    closed
        .merge(open)
        .fallback(api_error::no_route)
        .method_not_allowed_fallback(api_error::no_method)
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            api_error::ApiError::backend("a panic, reported above").into_response()
        }))
        .layer(from_fn(api_error::as_openai))
        .layer(from_fn_with_state(service.metrics().clone(), metrics::observe))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(service)
}
