//! Which hosts a request may name: a server at loopback without a key answers this machine only, even if a browser is misled.
//!
//! A web site can let its own name point at 127.0.0.1 for a moment (DNS rebinding); to the browser, this server then is that
//! site, whose scripts may read everything. The name still stands in the request's `Host`, and tells the two apart.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api_error::ApiError;

/// Lets a request pass that names this machine, or one of the names that were allowed.
pub(crate) async fn require(State(allowed): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_own(host) || allowed.iter().any(|name| name.eq_ignore_ascii_case(name_of(host))) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "this server listens at loopback and the request names another host; the server can allow that name, or require an API key",
    )
    .into_response()
}

/// Lets a request pass that no page of another site has made a browser send. A browser sends some without asking, such as a POST without
/// a body, and says from where they come.
pub(crate) async fn same_site(State(allowed): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || !is_from_elsewhere(request.headers(), &allowed) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "the request comes from a page of another site; the server can allow the name of that site, or require an API key",
    )
    .into_response()
}

fn is_from_elsewhere(headers: &HeaderMap, allowed: &[String]) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = text("origin");
    let host = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    if host.is_some_and(|host| allowed.iter().any(|name| name.eq_ignore_ascii_case(name_of(host)))) {
        return false;
    }
    match (text("sec-fetch-site"), origin) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        // Older browsers, and pages that came over plain HTTP from another machine.
        (None, Some(_)) => host.is_none_or(|host| !host.eq_ignore_ascii_case(text("host").unwrap_or_default())),
        (None, None) => false,
    }
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
    fn other_sites_are_told_from_this_one() {
        let from_elsewhere = |pairs: &[(&'static str, &str)]| {
            let headers =
                pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
            is_from_elsewhere(&headers, &["wiki.example".to_owned()])
        };
        let own = ("host", "127.0.0.1:8080");
        for ours in [
            &[own][..],
            &[own, ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8080")],
            &[own, ("sec-fetch-site", "none")],
            &[own, ("origin", "http://127.0.0.1:8080")],
            &[own, ("origin", "https://wiki.example")],
            &[own, ("sec-fetch-site", "cross-site"), ("origin", "https://wiki.example")],
        ] {
            assert!(!from_elsewhere(ours), "{ours:?}");
        }
        for theirs in [
            &[own, ("sec-fetch-site", "cross-site")][..],
            &[own, ("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:9999")],
            &[own, ("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8080")],
            &[own, ("origin", "null")],
            &[own, ("origin", "http://evil.example")],
            &[own, ("origin", "http://127.0.0.1:8081")],
            &[("origin", "http://evil.example")],
        ] {
            assert!(from_elsewhere(theirs), "{theirs:?}");
        }
    }

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
