//! The same search by the command line, over HTTP and by the library.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use adam_encoder::EncoderOptions;
use adam_plugin::{Engine, Filter, SearchRequest};
use adam_tests::{Said, program};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::case::Ask;

/// What a search gave: its answer as JSON, or what it said in place of one. Warnings are in the answer.
pub(crate) type Answer = std::result::Result<Value, String>;

/// A command run by `bash` in a folder, which finds the programs and the model.
pub(crate) fn shell(folder: &Path, model: &Path, script: &str) -> Result<Said> {
    let programs = program("adam")?.parent().context("the programs' folder")?.to_path_buf();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(folder).env("M", model).stdin(Stdio::null());
    command.env("PATH", format!("{}:{path}", programs.display()));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ADAM_") {
            command.env_remove(name);
        }
    }
    Ok(command.output().context("running bash")?.into())
}

/// By the command line.
pub(crate) fn command_line(folder: &Path, model: &Path, ask: &Ask) -> Result<Answer> {
    let mut words = vec!["adam search --json --index i".to_owned(), format!("--mode {}", ask.mode)];
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    words.extend(ask.filters.iter().map(|filter| format!("--filter {}", quoted(filter))));
    words.extend(ask.fusion.iter().map(|fusion| format!("--fusion {fusion}")));
    words.extend(ask.weight.iter().map(|weight| format!("--weight {weight}")));
    words.extend(ask.top.iter().map(|top| format!("--top {top}")));
    words.extend(ask.offset.iter().map(|offset| format!("--offset {offset}")));
    words.push(format!("-- {}", quoted(&ask.query)));
    let said = shell(folder, model, &words.join(" "))?;
    if said.code != Some(0) {
        return Ok(Err(said.err));
    }
    let answer: Value = serde_json::from_str(&said.out).with_context(|| format!("no JSON: {}", said.out))?;
    // A warning for a reader of the terminal is one for a reader of JSON.
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !said.err.contains(warning) {
            bail!("the warning {warning:?} is not on standard error: {}", said.err);
        }
    }
    Ok(Ok(answer))
}

/// By the library.
pub(crate) fn library(engine: &Engine, ask: &Ask) -> Result<Answer> {
    let filters: std::result::Result<Vec<Filter>, _> = ask.filters.iter().map(|filter| filter.parse()).collect();
    let filters = match filters {
        Ok(filters) => filters,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut request = SearchRequest::new(&ask.query).mode(ask.mode.parse()?).filters(filters);
    if let Some(weight) = ask.weight {
        request = request.weight(weight);
    }
    if let Some(top) = ask.top {
        request = request.top(top);
    }
    if let Some(offset) = ask.offset {
        request = request.offset(offset);
    }
    if let Some(fusion) = &ask.fusion {
        request = request.fusion(fusion.parse()?);
    }
    Ok(match engine.search(&request) {
        Ok(response) => Ok(serde_json::to_value(&response)?),
        Err(error) => Err(error.to_string()),
    })
}

/// The library's engine over the index `i`.
pub(crate) fn engine(folder: &Path, model: &Path) -> Result<Engine> {
    Ok(Engine::builder(folder.join("i")).pinned_encoder(Some(model), EncoderOptions::default()).open()?)
}

/// `adam serve` over an index; ended with this value.
pub(crate) struct Server {
    child: Child,
    address: String,
    agent: ureq::Agent,
}

impl Server {
    /// Starts over an index of its own that gets the documents by HTTP, or over the index `i` where they cannot be sent.
    pub(crate) fn start(folder: &Path, model: &Path, index: &str) -> Result<Self> {
        let mut child = Command::new(program("adam")?)
            .args(["serve", "--listen", "127.0.0.1:0", "--index", index, "--model"])
            .arg(model)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("standard error")?).lines();
        let mut said = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { bail!("adam serve ended with {:?}: {said}", child.wait()) };
            if let Some((_, rest)) = line.split_once("http://") {
                break format!("http://{}", rest.split(' ').next().unwrap_or_default());
            }
            said.push_str(&line);
        };
        // Read on, or a full pipe would stop the server.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Ok(Self { child, address, agent })
    }

    /// Sends documents, one a line, and commits.
    pub(crate) fn add(&self, lines: &str) -> Result<Answer> {
        let request = self.agent.post(format!("{}/documents?commit=true", self.address));
        read(request.content_type("application/x-ndjson").send(lines)?)
    }

    /// Over HTTP.
    pub(crate) fn search(&self, ask: &Ask) -> Result<Answer> {
        let mut body = json!({"query": ask.query, "mode": ask.mode, "filters": ask.filters});
        let options = [
            ("fusion", json!(ask.fusion)),
            ("weight", json!(ask.weight)),
            ("top", json!(ask.top)),
            ("offset", json!(ask.offset)),
        ];
        for (name, value) in options.into_iter().filter(|(_, value)| !value.is_null()) {
            body[name] = value;
        }
        let request = self.agent.post(format!("{}/search", self.address));
        read(request.content_type("application/json").send(body.to_string())?)
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let status = response.status();
    let body = response.body_mut().read_to_string()?;
    if status.is_server_error() {
        bail!("the server answered {status}: {body}");
    }
    Ok(if status.is_success() { Ok(serde_json::from_str(&body)?) } else { Err(body) })
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
