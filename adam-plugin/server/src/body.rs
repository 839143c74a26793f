//! Input: JSON of limited size, query strings and paths, with errors for clients.

use std::fmt;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde::de::{DeserializeOwned, Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api_error::ApiError;
use crate::state::Service;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Service> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Service) -> Result<Self, Self::Rejection> {
        if media_type(request.headers()) != "application/json" {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "validation",
                "`Content-Type` must be application/json",
            ));
        }
        let bytes = whole_body(request).await?;
        match Json::<T>::from_bytes(&bytes) {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(rejection.status(), "validation", rejection.body_text())),
        }
    }
}

/// A body as it is.
pub(crate) struct Raw(pub(crate) Bytes);

impl FromRequest<Service> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Service) -> Result<Self, Self::Rejection> {
        whole_body(request).await.map(Self)
    }
}

/// What the client says the body is, in lower case and without parameters; empty where it says nothing.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// All of a body, which [`intake`](crate::intake) has read already.
async fn whole_body(request: Request) -> Result<Bytes, ApiError> {
    let whole = request.into_body().collect().await.map_err(ApiError::backend)?;
    Ok(whole.to_bytes())
}

/// The query string.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::validation(rejection.body_text())),
        }
    }
}

/// The id at the end of a path.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(rejection) => Err(ApiError::validation(rejection.body_text())),
        }
    }
}

/// For fields that may be left out but not be null.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A whole number from 0 on that may be left out but not be null. `10.0` is one, as JSON Schema says.
pub(crate) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    from.deserialize_any(Whole { null: false })
}

/// As [`whole`]; null counts as absent.
pub(crate) fn whole_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    from.deserialize_any(Whole { null: true })
}

struct Whole {
    null: bool,
}

impl Visitor<'_> for Whole {
    type Value = Option<usize>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a whole number, 0 or more")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        usize::try_from(number).map(Some).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        usize::try_from(number).map(Some).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        whole_of(number).map(Some).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        if self.null { Ok(None) } else { Err(E::invalid_type(Unexpected::Unit, &self)) }
    }
}

/// A float as a whole number, if it is one and no larger than floats can count.
pub(crate) fn whole_of(number: f64) -> Option<usize> {
    const MOST: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && (0.0..=MOST).contains(&number)).then_some(number as usize)
}
