//! Clients that do not read, send or end: others are served throughout, and none of them is waited for without end.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use adam_server::{Limits, StopReport};
use serde_json::json;

use crate::http::{Answer, Client, has_runtime, read_answer};
use crate::{birds, by_hand, start};

/// A connection over which a test says what it likes.
fn raw(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(first).unwrap();
    stream
}

fn answer(stream: TcpStream) -> Answer {
    read_answer(&mut BufReader::new(stream)).unwrap()
}

/// Whether the server has closed a connection, after what it had sent was read.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(fault) => return fault.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Waits until something holds, for a minute at most.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const GET: &[u8] = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BODY: &[u8] =
    b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";

/// Longest that a request beside hostile clients may take on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

fn health(address: SocketAddr) -> Duration {
    let began = Instant::now();
    assert_eq!(Client::new(address).get("/health").status, 200);
    began.elapsed()
}

#[test]
fn clients_that_do_not_read_hold_up_nobody() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::default().connections(64).head_time(Duration::from_secs(8));
    let server = start(folder.path(), by_hand().limits(limits));
    // Answers of some megabytes each, more than the system keeps for a connection.
    let mut deaf: Vec<TcpStream> = (0..64).map(|_| raw(server.address, &GET.repeat(1000))).collect();
    for _ in 0..5 {
        let took = health(server.address);
        assert!(took < PROMPT, "{took:?} beside 64 clients that do not read");
    }
    // In the end they are closed, though nobody else asks for their place.
    std::thread::sleep(Duration::from_secs(10));
    wait_for("deaf clients were not dropped", || {
        let written = |stream: &mut TcpStream| stream.write_all(b"x").and_then(|()| stream.write_all(b"x"));
        deaf.retain_mut(|stream| written(stream).is_ok());
        deaf.is_empty()
    });
    server.stop();
}

#[test]
fn an_end_is_not_held_up_by_clients_that_make_no_progress() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    server.client().post("/documents", &birds());
    let _deaf: Vec<TcpStream> = (0..16).map(|_| raw(server.address, &GET.repeat(1000))).collect();
    let _half: Vec<TcpStream> = (0..4).map(|_| raw(server.address, b"GET /search?query=")).collect();
    let _slow: Vec<TcpStream> = (0..4).map(|_| raw(server.address, BODY)).collect();
    let _idle: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    assert_eq!(server.stop(), StopReport { committed: 4, cut_off: false });
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[test]
fn slow_bodies_take_no_place_from_others() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::default().requests(1).time(Duration::from_secs(20)).head_time(Duration::from_secs(3));
    let server = start(folder.path(), by_hand().limits(limits));
    server.client().post("/documents?commit=true", &birds());
    let slow: Vec<TcpStream> = (0..32).map(|_| raw(server.address, BODY)).collect();
    // One of them sends a byte now and then, which is no progress either.
    let mut drops = raw(server.address, BODY);
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(server.client().get("/search?query=wire&mode=bm25").ids(), ["crow"]);
        assert!(began.elapsed() < PROMPT);
        let _ = drops.write_all(b" ");
        std::thread::sleep(Duration::from_millis(100));
    }
    for stream in slow {
        let answer = answer(stream);
        assert_eq!((answer.status, answer.headers["connection"].as_str()), (408, "close"));
        assert!(answer.error().contains("too slowly"), "{}", answer.error());
    }
    wait_for("who sends a byte now and then was not dropped", || {
        let _ = drops.write_all(b" ");
        is_closed(&mut drops)
    });
    server.stop();
}

#[test]
fn idle_connections_and_slow_heads_give_way_and_end() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::default().connections(8).head_time(Duration::from_secs(4));
    let server = start(folder.path(), by_hand().limits(limits));
    let mut idle: Vec<TcpStream> = (0..8)
        .map(|at| {
            let head: &[u8] = if at % 2 == 0 { b"" } else { b"GET /health HTT" };
            raw(server.address, head)
        })
        .collect();
    assert!(health(server.address) < PROMPT);
    wait_for("idle connections were not closed", || {
        idle.retain_mut(|stream| !is_closed(stream));
        idle.is_empty()
    });
    server.stop();
}

#[test]
fn refusals_reach_clients_that_are_still_sending() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let closed = start(folder.path(), by_hand().api_key(Some("sesame".to_owned())));
    let other = tempfile::tempdir().unwrap();
    let limits = Limits::default().requests(1).time(Duration::from_secs(60));
    let open = start(other.path(), by_hand().limits(limits));
    let chunked = |path: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            body.len()
        );
        [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
    };
    for size in [2, 200, 70_000, 1 << 20, 6 << 20] {
        let body = vec![b'x'; size];
        for (address, path, host, kind, status) in [
            (closed.address, "/search", "localhost", "application/json", 401),
            (open.address, "/search", "evil.example", "application/json", 403),
            (open.address, "/nowhere", "localhost", "application/json", 404),
            (open.address, "/info", "localhost", "application/json", 405),
            (open.address, "/search", "localhost", "text/plain", 415),
        ] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
            );
            let mut stream = raw(address, &[head.as_bytes(), &body].concat());
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let answer = read_answer(&mut reader).unwrap_or_else(|fault| panic!("{status} {size}: {fault}"));
            assert_eq!(answer.status, status, "{size}: {}", answer.text());
            // All was read, so the connection is as good as before.
            assert!(!answer.headers.contains_key("connection"), "{status} {size}");
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            assert_eq!(read_answer(&mut reader).unwrap().status, 200, "{status} {size}");
        }
        assert_eq!(answer(raw(open.address, &chunked("/search", &body))).status, 415, "{size}");
        assert_eq!(answer(raw(open.address, &chunked("/nowhere", &body))).status, 404, "{size}");
    }
    // Who asks before sending is refused before it sends.
    let head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n";
    let refused = answer(raw(closed.address, head));
    assert_eq!((refused.status, refused.headers["connection"].as_str()), (401, "close"));
    // Too much to read: the answer says that the connection closes, and arrives all the same.
    let head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\r\n";
    let refused = answer(raw(closed.address, &[&head[..], &vec![b'x'; 1 << 20]].concat()));
    assert_eq!((refused.status, refused.headers["connection"].as_str()), (401, "close"));

    // Full: a large body is answered by 503 with its `Retry-After`, every time.
    let texts = vec!["a text that is as long as the model reads ".repeat(100); 1000];
    let busy = std::thread::spawn({
        let address = open.address;
        let body = json!({"inputs": texts, "truncate": true});
        move || loop {
            let status = Client::new(address).post("/embed", &body).status;
            // The search that looks whether the place is taken takes it for a moment.
            if status != 503 {
                return status;
            }
        }
    });
    wait_for("the only place was never taken", || Client::new(open.address).get("/search?query=a").status == 503);
    for size in [100, 1 << 20, 5 << 20] {
        let head = format!(
            "POST /documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        );
        let full = answer(raw(open.address, &[head.as_bytes(), &vec![b'x'; size]].concat()));
        if busy.is_finished() {
            break;
        }
        assert_eq!((full.status, full.headers["retry-after"].as_str()), (503, "1"), "{size}");
    }
    assert_eq!(busy.join().unwrap(), 200);
    closed.stop();
    open.stop();
}

#[test]
fn who_stops_sending_gets_its_answer_and_who_is_gone_costs_nothing_more() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    server.client().post("/documents?commit=true", &birds());
    for version in ["1.1", "1.0"] {
        let stream = raw(
            server.address,
            format!("GET /search?query=wire&mode=bm25 HTTP/{version}\r\nHost: localhost\r\n\r\n").as_bytes(),
        );
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(stream).ids(), ["crow"], "{version}");
    }
    // Long work for one that has stopped sending, too; it may be asked in between whether it listens.
    let texts = vec!["a text that is as long as the model reads ".repeat(100); 1000];
    let body = json!({"inputs": texts, "truncate": true}).to_string();
    let head = format!(
        "POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body.as_bytes()].concat();
    let others = |client: &mut Client| {
        let metrics = client.get("/metrics").text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("adam_requests_busy ")).unwrap();
        line.parse::<u64>().unwrap() - 1
    };
    let stream = raw(server.address, &request);
    stream.shutdown(Shutdown::Write).unwrap();
    let mut reader = BufReader::new(stream);
    let last = loop {
        let answer = read_interim(&mut reader);
        if answer.status != 100 {
            break answer;
        }
    };
    assert_eq!(last.status, 200);
    assert_eq!(last.json().as_array().unwrap().len(), 1000);

    // One that has closed its side for good: its request is given up.
    for _ in 0..4 {
        drop(raw(server.address, &request));
    }
    std::thread::sleep(Duration::from_millis(100));
    wait_for("work for clients that are gone goes on", || others(&mut server.client()) == 0);
    server.stop();
}

#[test]
fn short_requests_find_room_beside_long_batches() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    server.client().post("/documents?commit=true", &birds());
    let texts = vec!["a text that is as long as the model reads ".repeat(20); 1000];
    let body = json!({"inputs": texts, "truncate": true});
    let batches: Vec<_> = (0..4)
        .map(|_| {
            let (address, body) = (server.address, body.clone());
            std::thread::spawn(move || Client::new(address).post("/embed", &body).status)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let mut client = server.client();
    let mut beside = 0;
    while !batches.iter().any(|batch| batch.is_finished()) {
        let began = Instant::now();
        assert_eq!(client.get("/search?query=wire&mode=bm25").ids(), ["crow"]);
        assert_eq!(client.post("/embed", &json!({"inputs": "wire"})).status, 200);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        beside += 1;
    }
    assert!(beside > 0);
    assert!(batches.into_iter().all(|batch| batch.join().unwrap() == 200));
    server.stop();
}

/// As [`read_answer`]; an interim answer has no body.
fn read_interim(reader: &mut BufReader<TcpStream>) -> Answer {
    use std::io::BufRead;
    let start = reader.fill_buf().unwrap();
    if start.starts_with(b"HTTP/1.1 100") {
        for _ in 0..2 {
            reader.read_line(&mut String::new()).unwrap();
        }
        return Answer { status: 100, headers: Default::default(), body: Vec::new() };
    }
    read_answer(reader).unwrap()
}

#[test]
fn other_sites_cannot_write_through_a_browser() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand().hosts(vec!["wiki.example".to_owned()]));
    let own = format!("http://{}", server.address);
    let mut client = server.client();
    for (headers, status) in [
        (vec![], 200),
        (vec![("Sec-Fetch-Site", "same-origin"), ("Origin", own.as_str())], 200),
        (vec![("Sec-Fetch-Site", "none")], 200),
        (vec![("Origin", own.as_str())], 200),
        (vec![("Origin", "https://wiki.example")], 200),
        (vec![("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")], 403),
        (vec![("Sec-Fetch-Site", "cross-site")], 403),
        (vec![("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:1")], 403),
        (vec![("Origin", "https://evil.example")], 403),
        (vec![("Origin", "null")], 403),
    ] {
        client.headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(client.send("POST", "/commit", None, b"").unwrap().status, status, "{headers:?}");
        assert_eq!(client.send("DELETE", "/documents/x", None, b"").unwrap().status != 403, status != 403);
        // Reading is not theirs either, since no answer allows it; links stay links.
        assert_eq!(client.get("/health").status, 200);
    }
    server.stop();
    // With a key there is nothing to guard: no page of another site has it.
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand().api_key(Some("sesame".to_owned())));
    let mut client = server.client();
    client.headers = [("Authorization", "Bearer sesame"), ("Sec-Fetch-Site", "cross-site")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(client.send("POST", "/commit", None, b"").unwrap().status, 200);
    server.stop();
}

#[test]
fn what_is_old_or_rare_in_http_is_served() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    server.client().post("/documents?commit=true", &birds());
    // HTTP/1.0 closes; HEAD has no body; pipelined requests are answered in order.
    let mut old = String::new();
    raw(server.address, b"GET /health HTTP/1.0\r\n\r\n").read_to_string(&mut old).unwrap();
    // A server at loopback wants to be asked by a name of this machine.
    assert!(old.starts_with("HTTP/1.0 403"), "{old}");
    let mut old = String::new();
    raw(server.address, b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").read_to_string(&mut old).unwrap();
    assert!(old.starts_with("HTTP/1.0 200") && old.ends_with("{\"status\":\"ok\"}"), "{old}");
    let mut head = String::new();
    raw(server.address, b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .read_to_string(&mut head)
        .unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let pipelined = [
        &b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc"[..],
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
b"2\r\n{\"\r\n1f\r\nquery\":\"wire\",\"mode\":\"bm25\"    \r\n1\r\n}\r\n0\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    .concat();
    let mut reader = BufReader::new(raw(server.address, &pipelined));
    assert_eq!(read_answer(&mut reader).unwrap().status, 415);
    assert_eq!(read_answer(&mut reader).unwrap().ids(), ["crow"]);
    assert_eq!(read_answer(&mut reader).unwrap().status, 404);
    assert_eq!(read_answer(&mut reader).unwrap().status, 200);
    // Expect: 100-continue is answered before the body is sent.
    let mut asking = raw(
        server.address,
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 32\r\nExpect: 100-continue\r\n\r\n",
    );
    let mut first = [0; 25];
    asking.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 100"));
    asking.write_all(br#"{"query": "wire","mode": "bm25"}"#).unwrap();
    assert_eq!(answer(asking).ids(), ["crow"]);
    // Compressed answers are not offered, and asking for them does no harm.
    let mut client = server.client();
    client.headers = vec![("Accept-Encoding".to_owned(), "gzip, br, zstd".to_owned())];
    assert!(!client.get("/search?query=wire").headers.contains_key("content-encoding"));
    server.stop();
}
