//! What the server says of itself.

use std::sync::Arc;

use adam_encoder::{Precision, TextEncoder, TextKind};
use adam_plugin::engine::MetadataName;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api_error::{ApiError, cause_of};
use crate::ingest::WriterState;
use crate::state::Service;

/// The model, the index and the limits. The names up to `version` are text-embeddings-inference's.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Info {
    /// Name of the model.
    model_id: String,
    /// Its fingerprint: equal ones give equal vectors.
    model_sha: String,
    /// Numbers it computes in: `float32`, `float16` or `int8`.
    model_dtype: &'static str,
    /// Most tokens of a text.
    max_input_length: usize,
    /// Most texts of one request for embeddings.
    max_client_batch_size: usize,
    /// Most requests at once.
    max_concurrent_requests: usize,
    /// Whether texts that are too long are cut without being asked to. Always false for `/embed`.
    auto_truncate: bool,
    /// Version of this server.
    version: &'static str,
    /// Values of a vector.
    dimension: usize,
    /// Prompt for queries.
    query_prompt: String,
    /// Prompt for documents.
    document_prompt: String,
    /// Name of the re-ranker; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reranker: Option<String>,
    /// Documents that can be found.
    documents: u64,
    /// Documents and deletions that wait for a commit.
    waiting: u64,
    /// Weight of the vectors in a hybrid search that names none.
    weight: f32,
    /// Whether documents are refused.
    read_only: bool,
    /// Names that documents can be filtered by, at most a thousand.
    metadata: Vec<MetadataName>,
}

/// Says what model and index this is.
#[utoipa::path(get, path = "/info", tag = "server",
    responses((status = 200, description = "Model, index, limits", body = Info)))]
pub(crate) async fn info(State(service): State<Service>) -> Result<Json<Info>, ApiError> {
    let engine = service.engine().clone();
    let names = service.work(move || engine.metadata_names()).await?.map_err(ApiError::of)?;
    let (encoder, limits) = (service.encoder(), service.limits());
    let precision = service.engine().manifest().model.precision;
    Ok(Json(Info {
        model_id: encoder.name().to_owned(),
        model_sha: encoder.fingerprint().to_owned(),
        model_dtype: match precision {
            Precision::F32 => "float32",
            Precision::F16 => "float16",
            Precision::Int8 => "int8",
        },
        max_input_length: encoder.max_length(),
        max_client_batch_size: limits.batch,
        max_concurrent_requests: limits.requests,
        auto_truncate: false,
        version: env!("CARGO_PKG_VERSION"),
        dimension: encoder.dimension(),
        query_prompt: encoder.prompt(TextKind::Query).to_owned(),
        document_prompt: encoder.prompt(TextKind::Document).to_owned(),
        reranker: service.engine().reranker().map(|reranker| reranker.name().to_owned()),
        documents: service.engine().num_docs(),
        waiting: service.waiting(),
        weight: service.engine().hybrid_weight(),
        read_only: service.options().read_only,
        metadata: names.names.clone(),
    }))
}

/// One model, as OpenAI lists it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelEntry {
    id: String,
    object: &'static str,
    /// When the model was made; not known, so 0.
    created: u64,
    owned_by: &'static str,
}

/// The models, as OpenAI lists them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    object: &'static str,
    data: Vec<ModelEntry>,
}

/// Lists the one model.
#[utoipa::path(get, path = "/v1/models", tag = "embeddings",
    responses((status = 200, description = "The model", body = ModelList)))]
pub(crate) async fn models(State(service): State<Service>) -> Json<ModelList> {
    let id = service.encoder().name().to_owned();
    Json(ModelList { object: "list", data: vec![ModelEntry { id, object: "model", created: 0, owned_by: "adam" }] })
}

/// Whether the process is alive.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `dead` where only a restart helps.
    status: &'static str,
    /// Why it is dead; not there otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Says that the process is alive, for a watcher that restarts it otherwise. A server that cannot write for now is alive.
#[utoipa::path(get, path = "/health", tag = "server",
    responses((status = 200, description = "It is alive", body = Health),
              (status = 503, description = "Its writer is dead, and only a restart helps", body = Health)))]
pub(crate) async fn health(State(service): State<Service>) -> (StatusCode, Json<Health>) {
    match service.state() {
        Some(WriterState::Dead(problem)) => {
            let reason = Some(format!("the writer is dead, since {}", cause_of(&problem)));
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "dead", reason }))
        }
        _ => (StatusCode::OK, Json(Health { status: "ok", reason: None })),
    }
}

/// What the server can do at this moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Whether it can do all that it is there for.
    ready: bool,
    /// Whether it answers searches.
    search: bool,
    /// Whether it takes documents and deletions. Always false where it only reads.
    write: bool,
    /// Why it is not ready; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Says whether the server can do what it is there for: answer searches and, unless it only reads, take documents.
#[utoipa::path(get, path = "/ready", tag = "server",
    responses((status = 200, description = "It can", body = Ready),
              (status = 503, description = "Something is in the way, and `reason` says what", body = Ready)))]
pub(crate) async fn ready(State(service): State<Service>) -> (StatusCode, Json<Ready>) {
    let state = service.state();
    let folder = service.engine().check_folder();
    let search = folder.is_ok();
    let reason = match &state {
        _ if !search => folder.err().map(|fault| cause_of(&fault.to_string())),
        None | Some(WriterState::Writing) => None,
        Some(WriterState::Stopped(problem)) => {
            Some(format!("the index cannot be written, since {}; the server keeps trying", cause_of(problem)))
        }
        Some(WriterState::Dead(problem)) => Some(format!("the writer is dead, since {}", cause_of(problem))),
        Some(WriterState::Stuck(quiet)) => {
            Some(format!("the writer has been busy with one step for {} s", quiet.as_secs()))
        }
        Some(WriterState::Closed) => Some("the server is stopping".to_owned()),
    };
    let engine = Arc::clone(service.engine());
    // It looks at the disk, which may be slow.
    let changed = match tokio::task::spawn_blocking(move || engine.check_folder()).await {
        Ok(Err(fault)) => Some(ApiError::of(fault).message().to_owned()),
        Ok(Ok(())) | Err(_) => None,
    };
    let search = changed.is_none();
    let reason = changed.or(reason);
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let write = search && state == Some(WriterState::Writing);
    (status, Json(Ready { ready: reason.is_none(), search, write, reason }))
}

/// The counters, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, description = "Prometheus' text form", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(service): State<Service>) -> Result<Response, ApiError> {
    let metrics = service.metrics();
    metrics.documents.set(i64::try_from(service.engine().num_docs()).unwrap_or(i64::MAX));
    metrics.waiting.set(i64::try_from(service.waiting()).unwrap_or(i64::MAX));
    metrics.render()
}
