//! Asking a hub over HTTP. A hub may be a mirror that anybody runs, so nothing of what it answers is believed: sizes, times and
//! redirects have limits, and the names that it gives are used only where they are plain.

use std::io::Read;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

/// Most redirects of one request.
const REDIRECTS: usize = 8;
/// How long a hub may take.
#[derive(Clone, Copy)]
struct Patience {
    /// For each step before the first byte of an answer, and between two bytes.
    step: Duration,
    /// For a body in any case.
    body: Duration,
    /// The least that must come in a second beyond that, in bytes.
    rate: u64,
}

const PATIENCE: Patience = Patience { step: Duration::from_secs(30), body: Duration::from_secs(60), rate: 16 << 10 };
/// Where models come from unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";

/// A hub that can be asked.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    patience: Patience,
}

/// A file that was fetched whole.
pub(super) struct Download {
    /// Of its content, in lower-case hexadecimal.
    pub(super) sha256: String,
    /// The commit that it belongs to, as the hub says.
    pub(super) commit: Option<String>,
}

/// An answer at the end of all redirects, with what was said on the way.
struct Answer {
    response: Response<Body>,
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

impl Client {
    /// As the environment says: `HF_ENDPOINT`, `HF_TOKEN` and the file `token`.
    pub(super) fn from_environment() -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let token = variable("HF_TOKEN").or_else(|| {
            let home = std::env::var_os("HF_HOME")
                .filter(|value| !value.is_empty())
                .map(std::path::PathBuf::from)
                .or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cache/huggingface")))?;
            let token = crate::files::read_limited(&home.join("token"), 4096).ok()?;
            Some(String::from_utf8(token).ok()?).filter(|token| !token.trim().is_empty())
        });
        Self::new(&endpoint, token.as_deref(), PATIENCE)
    }

    fn new(endpoint: &str, token: Option<&str>, patience: Patience) -> Result<Self, String> {
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        origin(&endpoint).map_err(|problem| format!("HF_ENDPOINT is {endpoint:?}, which {problem}"))?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(patience.step))
            .timeout_connect(Some(patience.step))
            .timeout_send_request(Some(patience.step))
            .timeout_recv_response(Some(patience.step))
            .timeout_per_read(Some(patience.step))
            .user_agent(concat!("adam/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, endpoint, token: token.map(|token| token.trim().to_owned()), patience })
    }

    /// A short answer, whole.
    pub(super) fn get(&self, path: &str, limit: u64) -> Result<Vec<u8>, String> {
        let answer = self.ask(path)?;
        let mut bytes = Vec::new();
        self.read(answer, limit, |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// A file, handed to `write` as it comes.
    pub(super) fn file(
        &self,
        path: &str,
        limit: u64,
        mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<Download, String> {
        let answer = self.ask(path)?;
        let commit = answer.commit.clone();
        // The hub names files that it keeps apart by their SHA-256, others by a hash of another kind.
        let expected =
            answer.etag.clone().filter(|etag| etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let mut hasher = Sha256::new();
        self.read(answer, limit, |part| {
            hasher.update(part);
            write(part).map_err(|error| format!("it cannot be written: {error}"))
        })?;
        let sha256 = crate::hex::hex(&hasher.finalize());
        match expected {
            Some(expected) if !expected.eq_ignore_ascii_case(&sha256) => {
                Err(format!("it is damaged: its SHA-256 is {sha256}, and the hub says {expected}"))
            }
            _ => Ok(Download { sha256, commit }),
        }
    }

    /// Follows redirects to an answer that is a success.
    fn ask(&self, path: &str) -> Result<Answer, String> {
        let own = origin(&self.endpoint)?;
        let mut url = format!("{}{path}", self.endpoint);
        let (mut commit, mut etag, mut linked, mut size) = (None, None, None, None);
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&url).header("Accept-Encoding", "identity");
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url).is_ok_and(|origin| origin == own)) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| format!("{url} cannot be reached: {error}"))?;
            let headers = response.headers();
            // Only the hub itself knows these, not who keeps large files for it.
            commit = commit.or(plain_header(headers, "x-repo-commit")?);
            linked = linked.or(plain_header(headers, "x-linked-etag")?);
            etag = etag.or(plain_header(headers, "etag")?);
            size = size.or(header(headers, "x-linked-size").and_then(|size| size.parse().ok()));
            let status = response.status();
            if status.is_redirection() {
                let location =
                    header(headers, "location").ok_or(format!("{url} answers {status} without a place to go"))?;
                url = follow(&url, location)?;
                continue;
            }
            let whole = match status.as_u16() {
                200 => true,
                // Some answer so though nothing was asked of a part.
                206 => header(headers, "content-range").is_some_and(is_whole),
                401 | 403 => {
                    return Err(format!("{url} answers {status}; a private or gated model needs HF_TOKEN"));
                }
                _ => return Err(format!("{url} answers {status}")),
            };
            if !whole {
                return Err(format!("{url} answers with a part of the file"));
            }
            if header(headers, "content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
                return Err(format!("{url} answers compressed, though it was asked not to"));
            }
            return Ok(Answer { response, commit, etag: linked.or(etag), size });
        }
        Err(format!("{}{path} is redirected more than {REDIRECTS} times", self.endpoint))
    }

    /// Reads a body of at most `limit` bytes, and of as many as were announced.
    fn read(
        &self,
        answer: Answer,
        limit: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut body = answer.response.into_body();
        let too_large =
            |size: u64| format!("it has {size} bytes and more; at most {limit} are taken of a file of this kind");
        let announced: Vec<u64> = [body.content_length(), answer.size].into_iter().flatten().collect();
        if let Some(size) = announced.iter().find(|size| **size > limit) {
            return Err(too_large(*size));
        }
        let begun = Instant::now();
        let mut received = 0u64;
        let mut reader = body.as_reader();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count =
                reader.read(&mut buffer).map_err(|error| format!("it broke off after {received} bytes: {error}"))?;
            if count == 0 {
                break;
            }
            received += count as u64;
            if received > limit {
                return Err(too_large(received));
            }
            if begun.elapsed() > self.patience.body + Duration::from_secs(received / self.patience.rate) {
                return Err(format!("it comes too slowly: {received} bytes in {} s", begun.elapsed().as_secs()));
            }
            take(&buffer[..count])?;
        }
        match announced.iter().find(|size| **size != received) {
            Some(size) => Err(format!("it broke off: {received} bytes came of {size}")),
            None => Ok(()),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A header that names something, without its quotes. What could be a path is no name.
fn plain_header(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map(|text| text.trim().trim_start_matches("W/").trim_matches('"'));
    match text {
        Ok(text)
            if text.len() <= 256 && !text.contains(['/', '\\']) && !text.starts_with('.') && !text.contains("..") =>
        {
            Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
        }
        _ => Err(format!(
            "its header {name} is {:?}, which is no plain name; nothing was written",
            String::from_utf8_lossy(value.as_bytes())
        )),
    }
}

/// Whether the range of an answer is all of the file: `bytes 0-99/100`.
fn is_whole(range: &str) -> bool {
    let parts = || {
        let (part, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (from, to) = part.split_once('-')?;
        Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()?, size.parse::<u64>().ok()?))
    };
    parts().is_some_and(|(from, to, size)| from == 0 && to.checked_add(1) == Some(size))
}

/// Scheme, host and port of an address, which must be one of HTTP.
fn origin(url: &str) -> Result<String, String> {
    let uri: Uri = url.parse().map_err(|_| "is not an address".to_owned())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) => {
            Ok(format!("{scheme}://{authority}").to_ascii_lowercase())
        }
        _ => Err("is not an address that begins with http:// or https://".to_owned()),
    }
}

/// Where a redirect leads.
fn follow(from: &str, location: &str) -> Result<String, String> {
    let own = origin(from)?;
    let scheme = own.split("://").next().unwrap_or("https");
    let to = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{own}{location}")
    } else {
        location.to_owned()
    };
    let other = origin(&to).map_err(|problem| format!("{from} is redirected to {location:?}, which {problem}"))?;
    if scheme == "https" && !other.starts_with("https:") {
        return Err(format!("{from} is redirected to {location:?}, from https to http"));
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_only_to_http() {
        let from = "https://hub.example/a/b";
        assert_eq!(follow(from, "/c?d").unwrap(), "https://hub.example/c?d");
        assert_eq!(follow(from, "//cdn.example/c").unwrap(), "https://cdn.example/c");
        assert_eq!(follow(from, "https://cdn.example:8443/c").unwrap(), "https://cdn.example:8443/c");
        for bad in ["file:///etc/passwd", "ftp://x/y", "c", "", "javascript:x", "http://cdn.example/c", "\0"] {
            assert!(follow(from, bad).is_err(), "{bad:?}");
        }
        assert_eq!(follow("http://hub.example", "http://cdn.example/c").unwrap(), "http://cdn.example/c");
    }

    #[test]
    fn what_could_be_a_path_is_no_name() {
        let read = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("etag", ureq::http::HeaderValue::from_bytes(value).unwrap());
            plain_header(&headers, "etag")
        };
        assert_eq!(read(b"\"abc-1.2\"").unwrap().unwrap(), "abc-1.2");
        assert_eq!(read(b"W/\"abc\"").unwrap().unwrap(), "abc");
        assert_eq!(read(b"\"\"").unwrap(), None);
        for bad in
            [&b"\"/etc/passwd\""[..], b"../x", b"a/b", b"..\\x", b"\\\\host\\share", b".hidden", b"a..b", b"\xff"]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(read(&[b'a'; 300]).is_err());
    }

    #[test]
    fn parts_of_a_file_are_told_from_the_whole() {
        assert!(is_whole("bytes 0-99/100"));
        for part in
            ["bytes 1-99/100", "bytes 0-98/100", "bytes 0-18446744073709551615/0", "0-99/100", "bytes */100", ""]
        {
            assert!(!is_whole(part), "{part}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address() {
        for bad in ["", "hub", "file:///tmp", "ftp://hub", "http://"] {
            let said = Client::new(bad, None, PATIENCE).err().unwrap();
            assert!(said.contains("HF_ENDPOINT"), "{said}");
        }
        Client::new("http://127.0.0.1:1/", Some(" token\n"), PATIENCE).unwrap();
    }

    /// Answers each request with these bytes, one every so often, and tells what was asked.
    fn drip(bytes: &'static [u8], pause: Duration) -> (String, std::sync::mpsc::Receiver<String>) {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mut stream, mut request) = (stream, [0; 4096]);
                let count = stream.read(&mut request).unwrap_or(0);
                let _ = tell.send(String::from_utf8_lossy(&request[..count]).into_owned());
                for byte in bytes {
                    if stream.write_all(&[*byte]).is_err() {
                        break;
                    }
                    std::thread::sleep(pause);
                }
                std::thread::sleep(pause);
            }
        });
        (address, told)
    }

    #[test]
    fn a_hub_that_drips_or_stops_is_given_up() {
        let patience = Patience { step: Duration::from_secs(2), body: Duration::from_millis(300), rate: 1 << 20 };
        let fetch = |address: &str| {
            let begun = Instant::now();
            let said = Client::new(address, None, patience).unwrap().get("/x", 1 << 20).unwrap_err();
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
            said
        };
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        // A byte every 20 ms, and none of them late.
        assert!(fetch(&drip(whole, Duration::from_millis(20)).0).contains("too slowly"));
        // Nothing at all.
        let said = fetch(&drip(b"", Duration::from_secs(30)).0);
        assert!(said.contains("cannot be reached"), "{said}");
        // Nothing after the head.
        let said = fetch(&drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", Duration::from_millis(1)).0);
        assert!(said.contains("broke off"), "{said}");
    }

    #[test]
    fn the_token_is_for_the_hub_alone() {
        let (cdn, asked_there) = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Duration::ZERO);
        let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {cdn}/y\r\nContent-Length: 0\r\n\r\n");
        let (hub, asked_here) = drip(Box::leak(redirect.into_bytes().into_boxed_slice()), Duration::ZERO);
        assert_eq!(Client::new(&hub, Some("secret"), PATIENCE).unwrap().get("/x", 100).unwrap(), b"ok");
        assert!(asked_here.recv().unwrap().contains("Bearer secret"));
        assert!(!asked_there.recv().unwrap().contains("secret"));
    }
}
