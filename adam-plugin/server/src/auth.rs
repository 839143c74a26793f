//! The optional API key.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api_error::ApiError;

/// A key that requests must carry, kept as its hash.
#[derive(Clone)]
pub(crate) struct ApiKey([u8; 32]);

impl ApiKey {
    pub(crate) fn new(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether a request carries the key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Hashes of equal length
    /// are compared in constant time, so that neither the key's length nor a common start shows in the answer's time.
    fn opens(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let given = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()));
        given.is_some_and(|key| {
            let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
            bool::from(self.0.ct_eq(&hash))
        })
    }
}

/// Lets a request pass if it carries the key.
pub(crate) async fn require(State(key): State<ApiKey>, request: Request, next: Next) -> Response {
    if key.opens(request.headers()) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "this server wants its API key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_the_key_opens() {
        let key = ApiKey::new("open sesame");
        assert!(key.opens(&headers("authorization", "Bearer open sesame")));
        assert!(key.opens(&headers("authorization", "bearer open sesame")));
        assert!(key.opens(&headers("x-api-key", "open sesame")));
        for wrong in ["Bearer open sesam", "Bearer ", "open sesame", "Basic open sesame", ""] {
            assert!(!key.opens(&headers("authorization", wrong)), "{wrong:?}");
        }
        assert!(!key.opens(&HeaderMap::new()));
    }
}
