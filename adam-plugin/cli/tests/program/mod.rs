//! The program `adam serve` for tests, and a client for it.
#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its own share")]

#[path = "../../../server/tests/http/mod.rs"]
mod http;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

pub use http::{Answer, Client, has_runtime, tiny};

/// The program `adam serve`, killed when dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    /// What it has said so far.
    said: std::sync::Arc<std::sync::Mutex<String>>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Program {
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_adam"))
            .arg("serve")
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_remove("ADAM_API_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("adam serve ended with {:?}: {said}", child.wait());
            };
            said.push_str(&line);
            said.push('\n');
            if let Some((_, rest)) = line.split_once("http://") {
                break rest.split(' ').next().unwrap().parse().unwrap();
            }
        };
        let said = std::sync::Arc::new(std::sync::Mutex::new(said));
        let heard = said.clone();
        let listener = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut said = heard.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self { child, address, said, listener: Some(listener) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for its end; its exit code and all it said.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
        let said = self.said.lock().unwrap().clone();
        (status.code(), said)
    }

    /// Resident memory in MB, where the system tells.
    pub fn megabytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
