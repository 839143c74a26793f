//! Models by their Hugging Face name: downloaded once from a hub (here one on loopback that speaks the Hub's protocol), found in the
//! cache from then on, and never asked for where `HF_HUB_OFFLINE` is set.
#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use common::{corpus, fixtures, has_runtime};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves one model folder under a name, and remembers what it was asked for.
struct FakeHub {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeHub {
    fn start(name: &'static str, folder: PathBuf, extra: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&mut stream.unwrap(), name, &folder, extra, &log);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn files(folder: &Path, below: &str, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() { files(folder, &format!("{name}/"), into) } else { into.push(name) }
    }
}

/// One request of a connection: the list of files, or (a part of) one file.
fn answer(stream: &mut TcpStream, name: &str, folder: &Path, extra: &[&str], log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    let range = lines
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    log.lock().unwrap().push(path.clone());
    let file = path.strip_prefix(&format!("/{name}/resolve/main/")).map(|file| folder.join(file));
    if path == format!("/api/models/{name}/revision/main") {
        let mut names = Vec::new();
        files(folder, "", &mut names);
        names.extend(extra.iter().map(|name| (*name).to_owned()));
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({"rfilename": name})).collect();
        let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
        write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}").unwrap();
    } else if let Some(bytes) = file.and_then(|file| std::fs::read(file).ok()) {
        let (from, to) = range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
        let from: usize = from.parse().unwrap();
        let to = to.parse::<usize>().map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
        let etag = path.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{etag:x}\"\r\n\
             Content-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            to - 1,
            bytes.len(),
            to - from
        )
        .unwrap();
        stream.write_all(&bytes[from..to]).unwrap();
    } else {
        write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    }
}

/// `adam encode --model NAME` with a hub, a cache, and perhaps no network.
fn encode(name: &str, hub: SocketAddr, cache: &Path, offline: bool, out: &Path) -> Output {
    let data = corpus(cache.parent().unwrap(), &["crows bend wire into hooks"]);
    let mut command = common::adam();
    command.args(["encode", "--model", name, "--input", data.to_str().unwrap(), "--output", out.to_str().unwrap()]);
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.env("HF_ENDPOINT", format!("http://{hub}")).env("HF_HUB_CACHE", cache).env_remove("HF_HUB_OFFLINE");
    if offline {
        command.env("HF_HUB_OFFLINE", "1");
    }
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_model_is_downloaded_once_and_found_in_the_cache_afterwards() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("vectors.npy"));
    std::fs::create_dir(&cache).unwrap();
    // Names that a hub may list and nobody should fetch, let alone write to.
    let extra = ["pytorch_model.bin", "../../../outside/config.json", "onnx/model_q4.onnx", "/etc/passwd"];
    let hub = FakeHub::start("org/tiny", fixtures().join("tiny"), Box::leak(Box::new(extra)));

    let offline = encode("org/tiny", hub.address, &cache, true, &out);
    assert!(!offline.status.success() && told(&offline).contains("HF_HUB_OFFLINE"), "{}", told(&offline));
    assert_eq!(hub.asked(), Vec::<String>::new(), "nothing may be asked");

    let first = encode("org/tiny", hub.address, &cache, false, &out);
    assert!(first.status.success(), "{}", told(&first));
    let asked = hub.asked();
    assert!(asked.iter().any(|path| path == "/org/tiny/resolve/main/onnx/model.onnx"), "{asked:?}");
    for name in extra {
        assert!(!asked.iter().any(|path| path.contains(name)), "{name} was asked for: {asked:?}");
    }
    let by_name = std::fs::read(&out).unwrap();

    // In the cache now, in the layout that Hugging Face's own tools use: with and without a network.
    let snapshot = cache.join("models--org--tiny/snapshots").join(COMMIT);
    assert!(snapshot.join("onnx/model.onnx").is_file());
    for offline in [true, false] {
        let again = encode("org/tiny", hub.address, &cache, offline, &out);
        assert!(again.status.success(), "{}", told(&again));
        assert_eq!(std::fs::read(&out).unwrap(), by_name);
        assert_eq!(hub.asked(), Vec::<String>::new(), "it is in the cache");
    }
    // The same vectors as from the folder.
    let by_folder = encode(fixtures().join("tiny").to_str().unwrap(), hub.address, &cache, true, &out);
    assert!(by_folder.status.success(), "{}", told(&by_folder));
    assert_eq!(std::fs::read(&out).unwrap(), by_name);
}

#[test]
fn what_a_hub_does_not_give_is_named() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("vectors.npy"));
    std::fs::create_dir(&cache).unwrap();
    let hub = FakeHub::start("org/other", fixtures().join("tiny"), &[]);
    let missing = encode("org/tiny", hub.address, &cache, false, &out);
    let said = told(&missing);
    assert!(missing.status.code() == Some(1) && said.contains("org/tiny") && said.contains("404"), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("config.json"), "{}").unwrap();
    let hub = FakeHub::start("org/bare", empty.path().to_path_buf(), &[]);
    let bare = encode("org/bare", hub.address, &cache, false, &out);
    let said = told(&bare);
    assert!(bare.status.code() == Some(1) && said.contains("no ONNX model with a tokenizer"), "{said}");

    // Nobody there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let alone = encode("org/tiny", closed, &cache, false, &out);
    let said = told(&alone);
    assert!(alone.status.code() == Some(1) && said.contains("org/tiny") && !said.contains("panicked"), "{said}");
    assert!(!out.exists());
}
