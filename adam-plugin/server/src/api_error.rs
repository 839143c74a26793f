//! What a client gets when a request fails: a status and `{"error", "error_type"}`, as text-embeddings-inference
//! writes it; below `/v1` as OpenAI writes it.

use adam_encoder::EncoderError;
use adam_plugin::PluginError;
use adam_plugin::tantivy_dense::DenseError;
use axum::Json;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What is wrong and what to do.
    error: String,
    /// `validation`, `unauthorized`, `forbidden`, `not_found`, `overloaded`, `timeout` or `backend`.
    error_type: &'static str,
}

/// The body of every answer below `/v1` that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenAiErrorBody {
    error: OpenAiError,
}

/// What is wrong, as OpenAI's clients read it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenAiError {
    /// What is wrong and what to do.
    message: String,
    /// `invalid_request_error` or `server_error`.
    r#type: &'static str,
    /// As `error_type` elsewhere.
    code: &'static str,
}

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The request has the right form and asks for something that can't be.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "validation", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
    }

    pub(crate) fn stopping() -> Self {
        Self::overloaded("the server is stopping and takes no more documents")
    }

    pub(crate) fn read_only() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "this server only reads the index")
    }

    /// The writer failed and went back to its last commit. 0 where it is not known how many operations that undid.
    pub(crate) fn lost(operations: u64, cause: Option<&str>) -> Self {
        let count = if operations > 0 { format!(" ({operations})") } else { String::new() };
        let cause = cause.map(|cause| format!(", since {}", cause_of(cause))).unwrap_or_default();
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "backend",
            format!(
                "the index could not be written{cause}, and went back to its last commit: documents and deletions accepted since then{count} are lost and have to be sent again; the server's log says more"
            ),
        )
    }

    /// The writer failed and cannot continue for now.
    pub(crate) fn not_writing(lost: u64, cause: &str) -> Self {
        let lost = if lost > 0 {
            format!(
                "; {lost} documents and deletions accepted since the last commit are lost and have to be sent again"
            )
        } else {
            String::new()
        };
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "backend",
            format!(
                "the index cannot be written now, since {}{lost}; the server keeps trying, and its log says more",
                cause_of(cause)
            ),
        )
    }

    /// The model failed at what was asked.
    pub(crate) fn encoder(error: &EncoderError) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "backend", error.reason())
    }

    /// Something on this side failed. The details, which may name files, go to the log.
    pub(crate) fn backend(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        let message = "the server failed at this request; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "backend", message)
    }

    /// The right status for what the library said.
    pub(crate) fn of(error: PluginError) -> Self {
        match error {
            PluginError::Query { .. }
            | PluginError::Filter { .. }
            | PluginError::Field { .. }
            | PluginError::Document { .. } => Self::validation(error.to_string()),
            PluginError::Dense(
                error @ (DenseError::Query { .. } | DenseError::Fusion { .. } | DenseError::UnknownField { .. }),
            ) => Self::validation(error.to_string()),
            PluginError::FolderChanged { problem, .. } => Self::index_changed(&problem),
            PluginError::Encoder(error) => Self::encoder(&error),
            other => Self::backend(other),
        }
    }

    /// The index's folder is not the one that was opened: nothing can be answered from it.
    pub(crate) fn index_changed(problem: &str) -> Self {
        tracing::error!(problem, "the index was changed from outside");
        let message = format!("the index is no longer the one that the server opened: {problem}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "index_changed", message)
    }
}

/// What the writer said, in one line that is not too long for an answer.
pub(crate) fn cause_of(problem: &str) -> String {
    let line = problem.lines().next().unwrap_or_default().trim_end_matches(['.', ';', ' ']);
    let mut cause: String = line.chars().take(300).collect();
    if cause.len() < line.len() {
        cause.push_str(" ...");
    }
    cause
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(ErrorBody { error: self.message.clone(), error_type: self.kind });
        let mut response = (self.status, body).into_response();
        let extra = match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some((header::RETRY_AFTER, "1")),
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            response.headers_mut().insert(name, header::HeaderValue::from_static(value));
        }
        // For `as_openai`, which may have to say it in other words.
        response.extensions_mut().insert(self);
        response
    }
}

/// Says errors below `/v1` in the form that OpenAI's clients read.
pub(crate) async fn as_openai(request: Request, next: Next) -> Response {
    let theirs = request.uri().path().starts_with("/v1/");
    let response = next.run(request).await;
    if !theirs {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Some(error) = parts.extensions.remove::<ApiError>() else { return Response::from_parts(parts, body) };
    let r#type = if error.status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let body = Json(OpenAiErrorBody { error: OpenAiError { message: error.message, r#type, code: error.kind } });
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut said = (parts.status, body).into_response();
    parts.headers.remove(header::CONTENT_TYPE);
    said.headers_mut().extend(parts.headers);
    said
}

/// An answer to a path that is not there.
pub(crate) async fn no_route() -> ApiError {
    ApiError::not_found("there is no such path; /openapi.json lists them")
}

/// An answer to a method that a path does not take.
pub(crate) async fn no_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "validation",
        "this path does not take this method; the header `Allow` lists those it does",
    )
}
