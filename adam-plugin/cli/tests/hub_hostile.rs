//! A hub that means harm, on loopback: whatever it answers, nothing is written outside the cache, memory and time have limits, no
//! model is made of what is damaged, and the message says which file of which model it was.
#![cfg(all(feature = "hub", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{fixtures, has_runtime};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub answers to one request.
struct Reply {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    /// What `Content-Length` says; the true length unless set.
    length: Option<String>,
    body: Vec<u8>,
    /// Whether the body begins anew when it has ended, without end.
    endless: bool,
}

impl Reply {
    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
    }

    fn send(self, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = self.length.unwrap_or_else(|| self.body.len().to_string());
        if !self.endless {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        loop {
            stream.write_all(&self.body)?;
            if !self.endless {
                return Ok(());
            }
        }
    }
}

/// A hub that gives the tiny model as `org/tiny`, each answer bent by `bend`, which is given the file's name or `list`.
fn hub(bend: impl Fn(&str, &mut Reply) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bend = Arc::new(bend);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, bend) = (stream.unwrap(), Arc::clone(&bend));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else {
                    return;
                };
                // A connection that is closed before all was read takes the answer with it.
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let mut reply =
                    Reply { status: "200 OK", headers: Vec::new(), length: None, body: Vec::new(), endless: false };
                let name = if path.starts_with("/api/") {
                    reply.body = listing(&[]);
                    "list".to_owned()
                } else {
                    let file = path.split("/resolve/main/").nth(1).unwrap_or(&path).to_owned();
                    match std::fs::read(fixtures().join("tiny").join(&file)) {
                        Ok(bytes) => reply.body = bytes,
                        Err(_) => reply.status = "404 Not Found",
                    }
                    reply.set("X-Repo-Commit", COMMIT);
                    reply.set("ETag", "\"0123456789abcdef\"");
                    file
                };
                bend(&name, &mut reply);
                let _ = reply.send(&mut stream);
            });
        }
    });
    address
}

/// The list of the model's files, and others.
fn listing(extra: &[&str]) -> Vec<u8> {
    let own = ["config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"];
    let names = own.iter().chain(extra).map(|name| serde_json::json!({"rfilename": name}));
    serde_json::json!({"sha": COMMIT, "siblings": names.collect::<Vec<_>>()}).to_string().into_bytes()
}

/// A home with a cache in it, and files around that nobody may touch.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b/cache")).unwrap();
        std::fs::create_dir(folder.path().join("outside")).unwrap();
        std::fs::write(folder.path().join("victim"), "mine").unwrap();
        std::fs::write(folder.path().join("input.jsonl"), "{\"_id\": \"x\", \"text\": \"crows\"}\n").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cache(&self) -> PathBuf {
        self.path("a/b/cache")
    }

    /// Everything outside of the cache, with its content.
    fn outside(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        fn walk(folder: &Path, skip: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let kind = path.symlink_metadata().unwrap();
                found.insert(path.clone(), kind.is_file().then(|| std::fs::read(&path).unwrap()));
                if kind.is_dir() && path != skip {
                    walk(&path, skip, found);
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.folder.path(), &self.cache(), &mut found);
        found
    }

    /// Lets `adam encode` fetch the model; whether that went well, and what was said. Nothing outside may change.
    fn fetch(&self, hub: SocketAddr) -> (bool, String) {
        let before = self.outside();
        let mut command = common::adam();
        let (input, output) = (self.path("input.jsonl"), self.path("a/b/cache/vectors.npy"));
        command.args(["encode", "--model", "org/tiny", "--input"]).arg(input).arg("--output").arg(output);
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command
            .env("HF_ENDPOINT", format!("http://{hub}"))
            .env("HF_HUB_CACHE", self.cache())
            .env("HF_HOME", self.path("a"));
        command.env_remove("HF_HUB_OFFLINE").env_remove("HF_TOKEN");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}: {said}", output.status);
        assert_eq!(self.outside(), before, "something outside the cache changed: {said}");
        (output.status.success(), said)
    }

    /// Fetching fails, and the message has these words and the model's name.
    fn refuses(&self, hub: SocketAddr, words: &[&str]) {
        let (done, said) = self.fetch(hub);
        assert!(!done && said.contains("org/tiny"), "{said}");
        for word in words {
            assert!(said.contains(word), "no `{word}` in: {said}");
        }
        // What came is no model: a better hub is asked anew, and only then there is one.
        let blobs = self.cache().join("models--org--tiny/blobs");
        let unfinished = std::fs::read_dir(blobs).into_iter().flatten().flatten();
        let unfinished: Vec<_> = unfinished
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(unfinished.is_empty(), "left behind: {unfinished:?}");
    }
}

#[test]
fn an_honest_hub_is_believed_after_one_that_was_not() {
    if !has_runtime() {
        return;
    }
    let home = Home::new();
    home.refuses(hub(|name, reply| reply.status = if name == "list" { reply.status } else { "500 Oops" }), &["500"]);
    let (done, said) = home.fetch(hub(|_, _| {}));
    assert!(done, "{said}");
    assert!(home.cache().join("models--org--tiny/snapshots").join(COMMIT).join("onnx/model.onnx").is_file());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    if !has_runtime() {
        return;
    }
    let home = Home::new();
    let absolute = home.path("victim").display().to_string();
    for header in ["ETag", "X-Linked-Etag", "X-Repo-Commit"] {
        let bad =
            ["../../../../x", "/x", "..", ".", ".hidden", "a/b", "..\\x", "C:\\x", "W/\"../x\"", "%2e%2e/x", &absolute];
        for value in bad {
            let value = value.to_owned();
            let file = "tokenizer_config.json";
            let evil = hub(move |name, reply| {
                if name == file {
                    reply.set(header, &value);
                }
            });
            home.refuses(evil, &[file, "plain name"]);
        }
    }
    // No commit at all, and a list that names a bad one.
    let evil = hub(|name, reply| {
        if name == "list" {
            reply.body = String::from_utf8(listing(&[])).unwrap().replace(COMMIT, "../../x").into_bytes();
        }
        reply.headers.retain(|(name, _)| *name != "X-Repo-Commit");
    });
    home.refuses(evil, &["plain name"]);
    // Files that nobody should ask for.
    let evil = hub(|name, reply| match name {
        "list" => {
            let extra = [
                "../config.json",
                "..%2fconfig.json",
                "/etc/config.json",
                "onnx/../../config.json",
                "onnx\\model.onnx",
                "config.json\0",
                "1_Pooling/../../config.json",
                "./config.json",
                "~/config.json",
                "onnx/",
                "",
            ];
            reply.body = listing(&extra);
        }
        "config.json" | "tokenizer.json" | "tokenizer_config.json" | "onnx/model.onnx" => {}
        other => panic!("{other} was asked for"),
    });
    let (done, said) = home.fetch(evil);
    assert!(done, "{said}");
}

#[test]
fn a_model_that_changes_meanwhile_is_refused() {
    if !has_runtime() {
        return;
    }
    let evil = hub(|name, reply| {
        if name == "tokenizer.json" {
            reply.set("X-Repo-Commit", "fedcba9876543210");
        }
    });
    Home::new().refuses(evil, &["changed on the hub"]);
}

#[test]
fn damaged_and_endless_files_are_refused() {
    if !has_runtime() {
        return;
    }
    let home = Home::new();
    let begun = Instant::now();
    type Bend = fn(&mut Reply);
    let cases: [(&str, Bend, &[&str]); 12] = [
        ("onnx/model.onnx", |reply| reply.length = Some((reply.body.len() + 10).to_string()), &["broke off"]),
        ("onnx/model.onnx", |reply| reply.length = Some(u64::MAX.to_string()), &["at most"]),
        ("config.json", |reply| reply.length = Some("5000000".to_owned()), &["at most"]),
        ("config.json", |reply| (reply.endless, reply.body) = (true, vec![b' '; 1 << 16]), &["at most"]),
        ("config.json", |reply| reply.set("X-Linked-Size", "17"), &["broke off"]),
        ("tokenizer.json", |reply| reply.set("X-Linked-Etag", &format!("\"{}\"", "0".repeat(64))), &["SHA-256"]),
        ("tokenizer.json", |reply| reply.set("ETag", &"f".repeat(64)), &["SHA-256"]),
        ("tokenizer.json", |reply| reply.set("Content-Encoding", "gzip"), &["compressed"]),
        ("tokenizer.json", |reply| reply.status = "206 Partial Content", &["a part of the file"]),
        ("tokenizer.json", |reply| reply.status = "204 No Content", &["204"]),
        ("tokenizer.json", |reply| reply.status = "403 Forbidden", &["403", "HF_TOKEN"]),
        ("tokenizer.json", |reply| reply.status = "302 Found", &["without a place to go"]),
    ];
    for (file, bend, words) in cases {
        let evil = hub(move |name, reply| {
            if name == file {
                bend(reply);
            }
        });
        home.refuses(evil, &[words, &[file]].concat());
    }
    for place in ["file:///etc/passwd", "ftp://127.0.0.1/x", "//", "nonsense", "http://"] {
        let evil = hub(move |name, reply| {
            if name == "tokenizer.json" {
                reply.status = "302 Found";
                reply.set("Location", place);
            }
        });
        home.refuses(evil, &["tokenizer.json", "redirected"]);
    }
    let circle = hub(|name, reply| {
        if name == "tokenizer.json" {
            reply.status = "307 Temporary Redirect";
            reply.set("Location", "/org/tiny/resolve/main/tokenizer.json");
        }
    });
    home.refuses(circle, &["tokenizer.json", "redirected more than"]);
    let list = |bend: fn(&mut Reply)| {
        hub(move |name, reply| {
            if name == "list" {
                bend(reply);
            }
        })
    };
    home.refuses(list(|reply| reply.body = b"not json".to_vec()), &["list of files"]);
    home.refuses(list(|reply| (reply.endless, reply.body) = (true, vec![b'['; 1 << 16])), &["list of files"]);
    home.refuses(
        list(|reply| {
            let many: Vec<String> = (0..1000).map(|number| format!("{number}_Dense/config.json")).collect();
            reply.body = listing(&many.iter().map(String::as_str).collect::<Vec<_>>());
        }),
        &["at most 128"],
    );
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    let (done, said) = home.fetch(hub(|_, _| {}));
    assert!(done, "{said}");
}

#[test]
fn links_in_the_cache_are_not_followed() {
    if !has_runtime() {
        return;
    }
    let link = |home: &Home, place: &str| {
        let place = home.cache().join(place);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(home.path("outside"), &place).unwrap();
    };
    for place in ["", "/blobs", "/snapshots", "/refs"] {
        let home = Home::new();
        link(&home, &format!("models--org--tiny{place}"));
        home.refuses(hub(|_, _| {}), &["is a link"]);
    }
    for below in ["", "/onnx"] {
        let home = Home::new();
        link(&home, &format!("models--org--tiny/snapshots/{COMMIT}{below}"));
        home.refuses(hub(|_, _| {}), &["is a link"]);
    }
    // A link in the place of a file is replaced, or kept; what it leads to is not touched.
    let home = Home::new();
    let refs = home.cache().join("models--org--tiny/refs");
    std::fs::create_dir_all(&refs).unwrap();
    std::os::unix::fs::symlink(home.path("victim"), refs.join("main")).unwrap();
    let (done, said) = home.fetch(hub(|_, _| {}));
    assert!(done, "{said}");
    assert_eq!(std::fs::read_to_string(refs.join("main")).unwrap(), COMMIT);
}
