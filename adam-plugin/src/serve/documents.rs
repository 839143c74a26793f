//! Documents over HTTP: in, out, away, and safe on disk.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{Body, Id, Params, Raw, media_type, present};
use super::error::ApiError;
use super::ingest::Committed;
use super::state::Service;
use crate::engine::Document;
use crate::filter::Filter;
use crate::writer::Failure;

/// Longest id, in characters: as one term it must stay far below tantivy's 65,530 bytes.
pub(super) const MAX_ID: usize = 512;
/// Most values in the metadata of one document, counted at all depths: each name is a column of its own in the index.
const MAX_METADATA: usize = 1000;
/// A value of a vector lies between this and its negative, so that sums of squares stay finite.
pub(super) const MAX_VALUE: f32 = 1e6;

/// A document to be found later. One with the same id is replaced; one that has not changed costs nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentBody {
    /// Its id.
    #[serde(alias = "_id")]
    #[schema(min_length = 1, max_length = 512)]
    id: String,
    /// Its title.
    #[serde(default)]
    title: String,
    /// Its text.
    #[serde(default)]
    text: String,
    /// What it can be filtered by: an object.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Object)]
    metadata: Option<Map<String, Value>>,
    /// Its vector, where somebody made it already with the index's own model.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<f32>)]
    vector: Option<Vec<f32>>,
}

/// What can be said with a write.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteParams {
    /// Commit before the answer.
    #[serde(default)]
    commit: bool,
}

/// What was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Documents or deletions taken.
    accepted: usize,
    /// Whether they are safe on disk and can be found. Otherwise that comes with the next commit.
    committed: bool,
    /// Documents of this commit that could not be embedded, whoever sent them; not there if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<NotEmbedded>,
}

/// A document that could not be embedded, and so is found by its words only or left out, as the server was told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NotEmbedded {
    /// Its id.
    document: String,
    /// What the model said.
    problem: String,
}

/// What a commit did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommitAnswer {
    /// tantivy's number of the commit.
    opstamp: u64,
    /// Documents that can be found now.
    documents: u64,
    /// False where another commit, begun after the last write, had done it already.
    fresh: bool,
    /// Documents of this commit that could not be embedded.
    failures: Vec<NotEmbedded>,
}

/// A stored document.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StoredDocument {
    /// Its id.
    id: String,
    /// Its title; may be empty.
    title: String,
    /// Its text; may be empty.
    text: String,
    /// What it can be filtered by; not there if there is nothing. Dates come back in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    metadata: Option<Map<String, Value>>,
}

/// What to delete: one of the two at least.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteBody {
    /// Documents with these ids.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<String>, min_items = 1)]
    ids: Option<Vec<String>>,
    /// Documents that match all of these, each `FIELD:VALUE` as in a search.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<String>, min_items = 1)]
    filters: Option<Vec<String>>,
}

/// Takes documents: one, a JSON array, or one a line (`application/x-ndjson`).
///
/// All are checked before the first is taken. They are in the queue when the answer comes, and safe and findable after
/// the next commit: at once with `commit=true`, else by `/commit` or by the server's clock.
#[utoipa::path(post, path = "/documents", tag = "documents",
    params(("commit" = Option<bool>, Query, description = "Commit before the answer", nullable = false)),
    request_body(content((Vec<DocumentBody> = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, description = "Taken and committed", body = Accepted),
              (status = 202, description = "Taken", body = Accepted)))]
pub(super) async fn add(
    State(service): State<Service>,
    Params(params): Params<WriteParams>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let kind = Kind::of(&headers)?;
    let (of, limit) = (service.clone(), service.limits().documents);
    // Reading megabytes of JSON takes a processor too.
    let documents = service
        .work(move || {
            let documents = kind.read(&body, limit)?;
            documents
                .into_iter()
                .enumerate()
                .map(|(at, document)| document.check(at, &of))
                .collect::<Result<Vec<_>, _>>()
        })
        .await??;
    let accepted = documents.len();
    let committed = service
        .write(move |ingest| {
            let since = ingest.add(documents)?;
            params.commit.then(|| ingest.commit(Some(since))).transpose()
        })
        .await?;
    service.metrics().indexed.inc_by(accepted as u64);
    Ok(answer(&service, accepted, committed))
}

fn answer(service: &Service, accepted: usize, committed: Option<Committed>) -> Response {
    let Some(done) = committed else {
        let taken = Accepted { accepted, committed: false, failures: Vec::new() };
        return (StatusCode::ACCEPTED, Json(taken)).into_response();
    };
    note(service, &done);
    Json(Accepted { accepted, committed: true, failures: not_embedded(done.failures) }).into_response()
}

fn not_embedded(failures: Vec<Failure>) -> Vec<NotEmbedded> {
    failures.into_iter().map(|failure| NotEmbedded { document: failure.document, problem: failure.problem }).collect()
}

/// Counts a commit and logs what it could not embed; of a shared one, that was done by whoever made it.
fn note(service: &Service, done: &Committed) {
    if !done.fresh {
        return;
    }
    service.metrics().commits.inc();
    for failure in &done.failures {
        tracing::warn!(document = failure.document, problem = failure.problem, "not embedded");
    }
}

/// How documents are written in a body.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Json,
    Lines,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        match media_type(headers).as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Self::Lines),
            _ => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "validation",
                "`Content-Type` must be application/json or application/x-ndjson",
            )),
        }
    }

    fn read(self, body: &[u8], limit: usize) -> Result<Vec<DocumentBody>, ApiError> {
        let documents = match self {
            Self::Json if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') => {
                serde_json::from_slice(body).map_err(|fault| unreadable("", &fault))?
            }
            Self::Json => vec![serde_json::from_slice(body).map_err(|fault| unreadable("", &fault))?],
            Self::Lines => body
                .split(|byte| *byte == b'\n')
                .enumerate()
                .filter(|(_, line)| !line.trim_ascii().is_empty())
                .map(|(at, line)| {
                    serde_json::from_slice(line).map_err(|fault| unreadable(&format!("line {}: ", at + 1), &fault))
                })
                .collect::<Result<Vec<DocumentBody>, _>>()?,
        };
        match documents.len() {
            0 => Err(ApiError::validation("no document was given")),
            count if count > limit => Err(ApiError::too_large(format!(
                "{count} documents in one request; this server takes {limit} (--max-documents)"
            ))),
            _ => Ok(documents),
        }
    }
}

/// JSON that is none gives 400; JSON of another shape, 422.
fn unreadable(place: &str, fault: &serde_json::Error) -> ApiError {
    let status = if fault.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
    ApiError::new(status, "validation", format!("{place}{fault}"))
}

impl DocumentBody {
    fn check(self, at: usize, service: &Service) -> Result<tantivy::TantivyDocument, ApiError> {
        let refuse = |problem: String| ApiError::validation(format!("document {at}: {problem}"));
        check_id(&self.id).map_err(|problem| refuse(problem.to_owned()))?;
        let limits = service.limits();
        limits.check_text(&format!("the title of document {at}"), &self.title)?;
        limits.check_text(&format!("the text of document {at}"), &self.text)?;
        let values = self.metadata.as_ref().map_or(0, |metadata| metadata.values().map(count).sum());
        if values > MAX_METADATA {
            return Err(refuse(format!("its metadata has {values} values; the limit is {MAX_METADATA}")));
        }
        if let Some(vector) = &self.vector {
            let dimension = service.engine().card().model.dimension;
            if vector.len() != dimension {
                return Err(refuse(format!("its vector has {} values; the index takes {dimension}", vector.len())));
            }
            if !vector.iter().all(|value| value.abs() <= MAX_VALUE) {
                return Err(refuse(format!("its vector has a value that is not between -{MAX_VALUE} and {MAX_VALUE}")));
            }
        }
        let document =
            Document { id: self.id, title: self.title, text: self.text, metadata: self.metadata, vector: self.vector };
        service.engine().document(document).map_err(|fault| match fault {
            crate::PluginError::Dense(fault) => refuse(fault.to_string()),
            other => ApiError::of(other),
        })
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(values) => values.values().map(count).sum(),
        _ => 1,
    }
}

fn check_id(id: &str) -> Result<(), &'static str> {
    match id.chars().nth(MAX_ID) {
        _ if id.is_empty() => Err("the id is empty"),
        Some(_) => Err("the id is longer than 512 characters"),
        None => Ok(()),
    }
}

/// Gives a stored document back.
#[utoipa::path(get, path = "/documents/{id}", tag = "documents",
    params(("id" = String, Path, description = "The document's id", min_length = 1, max_length = 512)),
    responses((status = 200, description = "The document as of the last commit", body = StoredDocument)))]
pub(super) async fn get(State(service): State<Service>, Id(id): Id) -> Result<Json<StoredDocument>, ApiError> {
    check_id(&id).map_err(ApiError::validation)?;
    let engine = service.engine().clone();
    let found = service.work(move || engine.get(&id)).await?.map_err(ApiError::of)?;
    match found {
        Some(Document { id, title, text, metadata, .. }) => Ok(Json(StoredDocument { id, title, text, metadata })),
        None => Err(ApiError::not_found("no document with this id is committed")),
    }
}

/// Deletes a document. It is no failure if there is none.
#[utoipa::path(delete, path = "/documents/{id}", tag = "documents",
    params(("id" = String, Path, description = "The document's id", min_length = 1, max_length = 512),
           ("commit" = Option<bool>, Query, description = "Commit before the answer", nullable = false)),
    responses((status = 200, description = "Deleted and committed", body = Accepted),
              (status = 202, description = "Taken", body = Accepted)))]
pub(super) async fn delete_one(
    State(service): State<Service>,
    Params(params): Params<WriteParams>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    delete(&service, params, DeleteBody { ids: Some(vec![id]), filters: None }).await
}

/// Deletes documents by id and by filter, among all accepted before.
#[utoipa::path(post, path = "/delete", tag = "documents", request_body = DeleteBody,
    params(("commit" = Option<bool>, Query, description = "Commit before the answer", nullable = false)),
    responses((status = 200, description = "Deleted and committed", body = Accepted),
              (status = 202, description = "Taken", body = Accepted)))]
pub(super) async fn delete_many(
    State(service): State<Service>,
    Params(params): Params<WriteParams>,
    Body(body): Body<DeleteBody>,
) -> Result<Response, ApiError> {
    delete(&service, params, body).await
}

async fn delete(service: &Service, params: WriteParams, body: DeleteBody) -> Result<Response, ApiError> {
    let empty = |list: &Option<Vec<String>>| list.as_ref().is_some_and(Vec::is_empty);
    if empty(&body.ids) || empty(&body.filters) || (body.ids.is_none() && body.filters.is_none()) {
        return Err(ApiError::validation("name `ids` or `filters`, one at least; an empty list deletes nothing"));
    }
    let (engine, limit) = (service.engine(), service.limits().documents);
    let ids = body.ids.unwrap_or_default();
    if ids.len() > limit {
        return Err(ApiError::too_large(format!(
            "{} ids in one request; this server takes {limit} (--max-documents)",
            ids.len()
        )));
    }
    ids.iter().try_for_each(|id| check_id(id)).map_err(ApiError::validation)?;
    let terms: Vec<tantivy::Term> = ids.iter().map(|id| engine.key_term(id)).collect();
    let filters = parse_filters(&body.filters.unwrap_or_default())?;
    let queries: Vec<_> = engine.query_for_deletion(&filters).map_err(ApiError::of)?.into_iter().collect();
    let accepted = terms.len() + queries.len();
    let committed = service
        .write(move |ingest| {
            let since = ingest.delete(terms, queries)?;
            params.commit.then(|| ingest.commit(Some(since))).transpose()
        })
        .await?;
    Ok(answer(service, accepted, committed))
}

/// Most filters of one request.
const MAX_FILTERS: usize = 64;

pub(super) fn parse_filters(filters: &[String]) -> Result<Vec<Filter>, ApiError> {
    if filters.len() > MAX_FILTERS {
        return Err(ApiError::validation(format!("{} filters; the limit is {MAX_FILTERS}", filters.len())));
    }
    filters.iter().map(|filter| filter.parse().map_err(ApiError::of)).collect()
}

/// Makes everything accepted so far safe on disk and findable.
#[utoipa::path(post, path = "/commit", tag = "documents",
    responses((status = 200, description = "Committed", body = CommitAnswer)))]
pub(super) async fn commit(State(service): State<Service>) -> Result<Json<CommitAnswer>, ApiError> {
    let done = service.write(|ingest| ingest.commit(None)).await?;
    note(&service, &done);
    Ok(Json(CommitAnswer {
        opstamp: done.opstamp,
        documents: service.engine().documents(),
        fresh: done.fresh,
        failures: not_embedded(done.failures),
    }))
}
