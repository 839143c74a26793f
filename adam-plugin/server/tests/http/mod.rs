//! What the tests over HTTP share: a small client that shows every byte it sends.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own share")]

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// The encoder's test models.
pub fn fixtures() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("encoder/tests/fixtures"));
    above.into_iter().find(|folder| folder.is_dir()).unwrap()
}

/// The encoder's test model of 16 dimensions.
pub fn tiny() -> PathBuf {
    fixtures().join("tiny")
}

/// False, with a line that says why, where ONNX Runtime is not set up on this machine.
pub fn has_runtime() -> bool {
    match adam_encoder::runtime::init() {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {}", self.text()))
    }

    /// What an error says.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no `error` in {}", self.text())).to_owned()
    }

    pub fn ids(&self) -> Vec<String> {
        let json = self.json();
        let hits = json["hits"].as_array().unwrap_or_else(|| panic!("no hits in {json}"));
        hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// One connection, kept open between requests.
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    pub headers: Vec<(String, String)>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, headers: Vec::new() }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, None, b"").unwrap()
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    pub fn post_text(&mut self, path: &str, body: &str) -> Answer {
        self.send("POST", path, Some("application/json"), body.as_bytes()).unwrap()
    }

    pub fn send(&mut self, method: &str, path: &str, kind: Option<&str>, body: &[u8]) -> io::Result<Answer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(120)))?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        let answer = self.exchange(method, path, kind, body);
        let closes = answer.as_ref().map_or(true, |answer| {
            // A server that refuses a request before it has read the body may hang up behind its answer.
            let refused = answer.status >= 400 && !body.is_empty();
            refused || answer.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        });
        if closes {
            self.stream = None;
        }
        answer
    }

    fn exchange(&mut self, method: &str, path: &str, kind: Option<&str>, body: &[u8]) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(kind) = kind {
            head.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let sent = stream.get_mut().write_all(&[head.as_bytes(), body].concat());
        // What was not sent to its end may have been answered: the server need not read all of what it refuses.
        read_answer(stream).map_err(|unanswered| sent.err().unwrap_or(unanswered))
    }
}

/// Reads one answer with a `Content-Length`, or one that ends with the connection.
pub fn read_answer(stream: &mut impl BufRead) -> io::Result<Answer> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| broken(&line))?;
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut body = Vec::new();
    match headers.get("content-length").map(|length| length.parse::<usize>()) {
        Some(Ok(length)) => {
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
        }
        Some(Err(_)) => return Err(broken("content-length")),
        None => {
            stream.read_to_end(&mut body)?;
        }
    }
    Ok(Answer { status, headers, body })
}
