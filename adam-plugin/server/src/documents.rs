//! Documents over HTTP: in, out, away, and safe on disk.

use std::collections::BTreeMap;

use adam_plugin::engine::{self, Document};
use adam_plugin::{Failure, Filter, PluginError};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use beir_eval::{BeirError, ReadOptions, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api_error::ApiError;
use crate::body::{Body, Id, Params, Raw, media_type, present};
use crate::ingest::CommitOutcome;
use crate::state::Service;

/// Longest id, in characters: the same for files and the library.
pub(crate) const MAX_ID: usize = engine::MAX_ID_CHARS;
/// Most names of ignored fields that an answer lists.
const MAX_IGNORED: usize = 20;

/// A document to be found later. One with the same id is replaced; one that has not changed costs nothing. Read by the same rules as
/// a line of a file: the id may be a whole number and may be called `_id`, title and text may be null, and NaN or Infinity are read
/// as null. Fields with other names are ignored and counted in the answer.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what `beir-eval` reads")]
pub(crate) struct DocumentBody {
    /// Its id.
    #[schema(value_type = Object)]
    id: Value,
    /// Its title.
    title: Option<String>,
    /// Its text.
    text: Option<String>,
    /// What it can be filtered by: an object. In an index with fields of its own, these are filled by name.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Its vector, if it was already made with the index's own model.
    vector: Option<Vec<f32>>,
}

/// What can be said with documents: when they are committed, and how they are read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddParams {
    #[serde(default)]
    commit: bool,
    id_field: Option<String>,
    title_field: Option<String>,
    text_field: Option<String>,
    keep: Option<String>,
}

impl AddParams {
    fn options(&self) -> Result<ReadOptions, ApiError> {
        let (id, title, text) = (self.id_field.as_deref(), self.title_field.as_deref(), self.text_field.as_deref());
        let mut options = ReadOptions::new().fields(id, title, text);
        if let Some(keep) = &self.keep {
            options = options.keep(keep.parse().map_err(|problem| ApiError::validation(format!("`keep`: {problem}")))?);
        }
        Ok(options)
    }
}

/// What can be said with a write.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteParams {
    /// Commit before the answer.
    #[serde(default)]
    commit: bool,
}

/// What was taken.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct WriteAnswer {
    /// Documents or deletions taken.
    accepted: usize,
    /// Whether they are on disk and can be found. If not, they will be after the next commit.
    committed: bool,
    /// Fields of the documents that were not kept, with the number of documents that have each; at most 20 names. Absent if there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ignored: BTreeMap<String, usize>,
    /// Documents with neither title nor text, which only filters find, unless they brought a vector. Absent if there are none.
    #[serde(skip_serializing_if = "is_none")]
    #[schema(required = false)]
    without_text: usize,
    /// Documents in which NaN or Infinity was read as null. Absent if there are none.
    #[serde(skip_serializing_if = "is_none")]
    #[schema(required = false)]
    non_finite: usize,
    /// Documents of this commit that could not be embedded, from all clients; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<EmbedFailure>,
    /// What should be known about the filters of a deletion, such as a name that no document has. Documents that wait for a commit
    /// are not looked at. Not there if there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A document that could not be embedded. By the server's policy it is left out, or found by BM25 only.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EmbedFailure {
    /// Its id.
    document: String,
    /// What the model said.
    problem: String,
}

/// What a commit did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommitAnswer {
    /// tantivy's number of the commit.
    opstamp: u64,
    /// Documents that can be found now.
    documents: u64,
    /// False if another commit, begun after the last write, had already done it.
    fresh: bool,
    /// Documents of this commit that could not be embedded.
    failures: Vec<EmbedFailure>,
}

/// A stored document.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoredDocument {
    /// Its id.
    id: String,
    /// Its title; may be empty.
    title: String,
    /// Its text; may be empty.
    text: String,
    /// What it can be filtered by; not there if there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    metadata: Option<Map<String, Value>>,
}

/// What to delete: ids, filters, or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteBody {
    /// Documents with these ids.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<String>, min_items = 1)]
    ids: Option<Vec<String>>,
    /// Documents that match all of these filters.
    #[serde(default, alias = "filter", deserialize_with = "present")]
    #[schema(value_type = Vec<String>, min_items = 1)]
    filters: Option<Vec<String>>,
}

/// Takes documents: one, a JSON array, or one a line (`application/x-ndjson`).
///
/// All are checked before the first is taken. Of several with the same id, the last one stays. They are in the queue when the answer
/// comes, and safe and findable after the next commit: at once with `commit=true`, else by `/commit` or by the server's clock.
#[utoipa::path(post, path = "/documents", tag = "documents",
    params(("commit" = Option<bool>, Query, description = "Commit before the answer", nullable = false),
           ("id_field" = Option<String>, Query, description = "Field with the id; by default `_id`, or `id` where there is no `_id`", nullable = false),
           ("title_field" = Option<String>, Query, description = "Field with the title; by default `title`", nullable = false),
           ("text_field" = Option<String>, Query, description = "Field with the text; by default `text`", nullable = false),
           ("keep" = Option<String>, Query, description = "Other fields that become metadata: names with commas between, or `all`", nullable = false)),
    request_body(content((Vec<DocumentBody> = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, description = "Taken and committed", body = WriteAnswer),
              (status = 202, description = "Taken", body = WriteAnswer)))]
pub(crate) async fn add(
    State(service): State<Service>,
    Params(params): Params<AddParams>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let kind = Kind::of(&headers)?;
    let options = params.options()?;
    let (of, limit) = (service.clone(), service.limits().documents);
    // Reading megabytes of JSON takes a processor too.
    let (documents, taken) = service
        .work(move || {
            let records = kind.read(&body, limit, &options)?;
            let mut taken = WriteAnswer { accepted: records.len(), ..WriteAnswer::default() };
            let mut documents = Vec::with_capacity(records.len());
            for (label, record) in records {
                taken.note(&record);
                documents.push(document(&label, record, &of)?);
            }
            Ok::<_, ApiError>((documents, taken))
        })
        .await??;
    let committed = service
        .write(move |ingest| {
            let since = ingest.add(documents)?;
            params.commit.then(|| ingest.commit(Some(since))).transpose()
        })
        .await?;
    service.metrics().indexed.inc_by(taken.accepted as u64);
    Ok(answer(&service, taken, committed))
}

impl WriteAnswer {
    /// Counts what was ignored or changed in a document.
    fn note(&mut self, record: &Record) {
        for name in &record.unread {
            let name: String = name.chars().take(100).collect();
            if self.ignored.len() < MAX_IGNORED || self.ignored.contains_key(&name) {
                *self.ignored.entry(name).or_default() += 1;
            }
        }
        let has_text = !(record.document.title.trim().is_empty() && record.document.text.trim().is_empty());
        self.without_text += usize::from(!has_text);
        self.non_finite += usize::from(record.non_finite > 0);
    }
}

fn answer(service: &Service, mut taken: WriteAnswer, committed: Option<CommitOutcome>) -> Response {
    let Some(done) = committed else { return (StatusCode::ACCEPTED, Json(taken)).into_response() };
    note(service, &done);
    taken.committed = true;
    taken.failures = not_embedded(done.failures);
    Json(taken).into_response()
}

fn not_embedded(failures: Vec<Failure>) -> Vec<EmbedFailure> {
    failures.into_iter().map(|failure| EmbedFailure { document: failure.document, problem: failure.problem }).collect()
}

/// Counts a commit and logs what it could not embed; a shared commit is counted by the caller that made it.
fn note(service: &Service, done: &CommitOutcome) {
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

    /// The documents of a body, each with what it is called in messages.
    fn read(self, body: &[u8], limit: usize, options: &ReadOptions) -> Result<Vec<(String, Record)>, ApiError> {
        let text = std::str::from_utf8(body).map_err(|fault| {
            let problem = format!("the body is not UTF-8 text (byte {})", fault.valid_up_to() + 1);
            ApiError::new(StatusCode::BAD_REQUEST, "validation", problem)
        })?;
        // A byte order mark, which Windows editors put first.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let documents: Vec<(String, &str)> = match self {
            Self::Json if text.trim_start().starts_with('[') => {
                let elements = beir_eval::elements(text).map_err(|fault| unreadable("", &fault))?;
                (0..).zip(elements).map(|(at, text): (usize, _)| (format!("document {at}"), text)).collect()
            }
            Self::Json => vec![("document 0".to_owned(), text)],
            Self::Lines => (1..)
                .zip(text.split('\n'))
                .filter(|(_, line)| !line.trim().is_empty())
                .map(|(at, line): (usize, _)| (format!("line {at}"), line))
                .collect(),
        };
        match documents.len() {
            0 => Err(ApiError::validation("no document was given")),
            count if count > limit => {
                Err(ApiError::too_large(format!("{count} documents in one request; this server takes {limit}")))
            }
            _ => documents
                .into_iter()
                .map(|(label, text)| {
                    let record = options.parse(text).map_err(|fault| unreadable(&format!("{label}: "), &fault))?;
                    Ok((label, record))
                })
                .collect(),
        }
    }
}

/// Text that is not JSON gives 400; JSON of another shape, 422.
fn unreadable(label: &str, fault: &BeirError) -> ApiError {
    let status = match fault {
        BeirError::Json { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    ApiError::new(status, "validation", format!("{label}{fault}"))
}

/// The document for the index, within this server's limits.
fn document(label: &str, record: Record, service: &Service) -> Result<tantivy::TantivyDocument, ApiError> {
    let Record { document, metadata, vector, .. } = record;
    let limits = service.limits();
    limits.check_text(&format!("the title of {label}"), &document.title)?;
    limits.check_text(&format!("the text of {label}"), &document.text)?;
    let metadata = (!metadata.is_empty()).then_some(metadata);
    let beir_eval::Document { id, title, text } = document;
    service.engine().document(Document { id, title, text, metadata, vector }).map_err(|fault| match fault {
        fault @ PluginError::Document { .. } => ApiError::validation(format!("{label}: {fault}")),
        other => ApiError::of(other),
    })
}

fn check_id(id: &str) -> Result<(), String> {
    engine::check_id(id).map_err(|problem| format!("the id {problem}"))
}

/// Gives a stored document back.
#[utoipa::path(get, path = "/documents/{id}", tag = "documents",
    params(("id" = String, Path, description = "The document's id", min_length = 1, max_length = 512)),
    responses((status = 200, description = "The document as of the last commit", body = StoredDocument)))]
pub(crate) async fn get(State(service): State<Service>, Id(id): Id) -> Result<Json<StoredDocument>, ApiError> {
    check_id(&id).map_err(ApiError::validation)?;
    let engine = service.engine().clone();
    let found = service.work(move || engine.get(&id)).await?.map_err(ApiError::of)?;
    match found {
        Some(Document { id, title, text, metadata, .. }) => Ok(Json(StoredDocument { id, title, text, metadata })),
        None => Err(ApiError::not_found("no document with this id is committed")),
    }
}

/// Deletes a document. It is not an error if there is none.
#[utoipa::path(delete, path = "/documents/{id}", tag = "documents",
    params(("id" = String, Path, description = "The document's id", min_length = 1, max_length = 512),
           ("commit" = Option<bool>, Query, description = "Commit before the answer", nullable = false)),
    responses((status = 200, description = "Deleted and committed", body = WriteAnswer),
              (status = 202, description = "Taken", body = WriteAnswer)))]
pub(crate) async fn delete_one(
    State(service): State<Service>,
    Params(params): Params<WriteParams>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    delete(&service, params, DeleteBody { ids: Some(vec![id]), filters: None }).await
}

/// Deletes documents by id and by filter, among all accepted before.
#[utoipa::path(post, path = "/delete", tag = "documents", request_body = DeleteBody,
    params(("commit" = Option<bool>, Query, description = "Commit before the answer", nullable = false)),
    responses((status = 200, description = "Deleted and committed", body = WriteAnswer),
              (status = 202, description = "Taken", body = WriteAnswer)))]
pub(crate) async fn delete_many(
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
        return Err(ApiError::too_large(format!("{} ids in one request; this server takes {limit}", ids.len())));
    }
    ids.iter().try_for_each(|id| check_id(id)).map_err(ApiError::validation)?;
    let terms: Vec<tantivy::Term> = ids.iter().map(|id| engine.key_term(id)).collect();
    let filters = parse_filters(&body.filters.unwrap_or_default())?;
    let of = engine.clone();
    let (queries, warnings) = service
        .work(move || {
            let query = of.deletion_query(&filters)?;
            Ok::<_, PluginError>((query, of.filter_warnings(&filters)?))
        })
        .await?
        .map_err(ApiError::of)?;
    let queries: Vec<_> = queries.into_iter().collect();
    let warnings = warnings.iter().map(ToString::to_string).collect();
    let accepted = terms.len() + queries.len();
    let committed = service
        .write(move |ingest| {
            let since = ingest.delete(terms, queries)?;
            params.commit.then(|| ingest.commit(Some(since))).transpose()
        })
        .await?;
    Ok(answer(service, WriteAnswer { accepted, warnings, ..WriteAnswer::default() }, committed))
}

/// Most filters of one request.
pub(crate) const MAX_FILTERS: usize = 64;

pub(crate) fn parse_filters(filters: &[String]) -> Result<Vec<Filter>, ApiError> {
    if filters.len() > MAX_FILTERS {
        return Err(ApiError::validation(format!("{} filters; the limit is {MAX_FILTERS}", filters.len())));
    }
    filters.iter().map(|filter| filter.parse().map_err(ApiError::of)).collect()
}

/// Makes everything accepted so far safe on disk and findable.
#[utoipa::path(post, path = "/commit", tag = "documents",
    responses((status = 200, description = "Committed", body = CommitAnswer)))]
pub(crate) async fn commit(State(service): State<Service>) -> Result<Json<CommitAnswer>, ApiError> {
    let done = service.write(|ingest| ingest.commit(None)).await?;
    note(&service, &done);
    Ok(Json(CommitAnswer {
        opstamp: done.opstamp,
        documents: service.engine().num_docs(),
        fresh: done.fresh,
        failures: not_embedded(done.failures),
    }))
}
