//! Who may be asked for: a server at loopback without a key is this machine's own, also where a browser is led astray.
//!
//! A web site can let its own name point at 127.0.0.1 for a moment (DNS rebinding); to the browser, this server then is that
//! site, whose scripts may read everything. The name still stands in the request's `Host`, and tells the two apart.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// Lets a request pass that names this machine, or one of the names that were allowed.
pub(super) async fn require(State(allowed): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_own(host) || allowed.iter().any(|name| name.eq_ignore_ascii_case(name_of(host))) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "this server listens at loopback and is asked by another name; allow the name (--allow-host), or set an API key",
    )
    .into_response()
}

/// The name in a `Host` without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether it is `localhost` or an address, which no foreign name server has a say in.
fn is_own(host: &str) -> bool {
    let name = name_of(host);
    let in_brackets = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || in_brackets.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_own() {
        for host in ["localhost", "localhost:8080", "LocalHost:1", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "[::1]"]
        {
            assert!(is_own(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            ":80",
            "[evil]:80",
        ] {
            assert!(!is_own(host), "{host}");
        }
    }
}
