//! The index for assistants: the Model Context Protocol, over standard input and output or at `/mcp`.
//!
//! Three tools that only read: `search`, `fetch` and `info`. Over HTTP each request stands alone, so that it passes the same key, limits and
//! checks of its sender as any other.

use std::future::Future;
use std::sync::Arc;

use adam_plugin::engine::{Document, Mode, SearchRequest, check_id};
use adam_plugin::{Filter, Typos};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, ServiceExt};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::documents::parse_filters;
use crate::error::ServeError;
use crate::state::Service;

/// Hits of a search that names no number.
const TOP: usize = 10;

/// Answers assistants from a service.
#[derive(Clone)]
pub(crate) struct Assistant(Service);

/// Arguments of `search`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchArguments {
    query: String,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    top: Option<usize>,
    #[serde(default)]
    filters: Vec<String>,
    #[serde(default)]
    typos: bool,
}

/// Arguments of `fetch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FetchArguments {
    id: String,
}

/// Arguments of `info`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

/// The tools, with schemas of their arguments.
fn tools(most: usize) -> Vec<Tool> {
    let tool = |name: &'static str, title: &'static str, description: &'static str, schema: Value| {
        let schema: JsonObject = schema.as_object().cloned().unwrap_or_default();
        let hints = ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false);
        Tool::new(name, description, schema).with_title(title).with_annotations(hints)
    };
    vec![
        tool(
            "search",
            "Search the index",
            "Finds documents by words (BM25), by meaning (vectors), or by both. Gives ids, titles, scores and a piece of each text, best first; \
             `fetch` gives a whole document.",
            json!({"type": "object", "required": ["query"], "additionalProperties": false, "properties": {
                "query": {"type": "string", "minLength": 1, "description": "What to search for, in plain words"},
                "mode": {"type": "string", "enum": ["hybrid", "bm25", "dense"], "description": "Default: hybrid, which is both"},
                "top": {"type": "integer", "minimum": 1, "maximum": most, "description": "Hits wanted; 10 by default"},
                "filters": {"type": "array", "items": {"type": "string"}, "description":
                    "Conditions on metadata that must all hold, such as `year:2015..2020`, `lang:en AND NOT kind:draft`, `price<50`. `info` lists the names"},
                "typos": {"type": "boolean", "description": "Also find words that are spelled like those of the query"},
            }}),
        ),
        tool(
            "fetch",
            "Read a document",
            "Gives a document's title, text and metadata by the id that `search` gave.",
            json!({"type": "object", "required": ["id"], "additionalProperties": false, "properties": {
                "id": {"type": "string", "minLength": 1, "description": "The id of a hit"},
            }}),
        ),
        tool(
            "info",
            "Describe the index",
            "Says how many documents there are, by which model and language they are searched, and by which names they can be filtered.",
            json!({"type": "object", "additionalProperties": false, "properties": {}}),
        ),
    ]
}

impl Assistant {
    async fn call(&self, name: &str, arguments: JsonObject) -> Result<CallToolResult, ErrorData> {
        let answer = match name {
            "search" => self.search(read(arguments)?).await,
            "fetch" => self.fetch(read(arguments)?).await,
            "info" => {
                let NoArguments {} = read(arguments)?;
                self.info().await
            }
            other => {
                let name: String = other.chars().take(100).collect();
                return Err(ErrorData::invalid_params(
                    format!("there is no tool `{name}`; there are search, fetch and info"),
                    None,
                ));
            }
        };
        // What an assistant can do better next time it has to read.
        Ok(match answer {
            Ok(answer) => CallToolResult::structured(answer),
            Err(fault) => CallToolResult::error(vec![ContentBlock::text(fault.message().to_owned())]),
        })
    }

    async fn search(&self, arguments: SearchArguments) -> Result<Value, ApiError> {
        let limits = self.0.limits();
        limits.check_text("the query", &arguments.query)?;
        let top = arguments.top.unwrap_or(TOP.min(limits.hits));
        if !(1..=limits.hits).contains(&top) {
            return Err(ApiError::validation(format!("`top` is {top}; it can be 1 to {}", limits.hits)));
        }
        let filters: Vec<Filter> = parse_filters(&arguments.filters)?;
        let request = SearchRequest::new(arguments.query)
            .mode(arguments.mode.unwrap_or_default())
            .top(top)
            .filters(filters)
            .typos(arguments.typos.then(Typos::default))
            .suggest(true)
            .snippets(true);
        let engine = Arc::clone(self.0.engine());
        let found = self.0.work(move || engine.search(&request)).await?.map_err(ApiError::of)?;
        let results: Vec<Value> = found
            .hits
            .into_iter()
            .map(|hit| {
                let text = hit.snippet.map(|snippet| snippet.text);
                json!({"id": hit.id, "title": hit.title, "score": hit.score, "text": text, "metadata": hit.metadata})
            })
            .collect();
        Ok(json!({"results": results, "did_you_mean": found.did_you_mean, "warnings": found.warnings}))
    }

    async fn fetch(&self, arguments: FetchArguments) -> Result<Value, ApiError> {
        check_id(&arguments.id).map_err(ApiError::validation)?;
        let engine = Arc::clone(self.0.engine());
        match self.0.work(move || engine.get(&arguments.id)).await?.map_err(ApiError::of)? {
            Some(Document { id, title, text, metadata, .. }) => {
                Ok(json!({"id": id, "title": title, "text": text, "metadata": metadata}))
            }
            None => Err(ApiError::not_found("no document with this id is committed")),
        }
    }

    async fn info(&self) -> Result<Value, ApiError> {
        let engine = Arc::clone(self.0.engine());
        let names = self.0.work(move || engine.metadata_names()).await?.map_err(ApiError::of)?;
        let engine = self.0.engine();
        Ok(json!({
            "documents": engine.num_docs(),
            "model": engine.manifest().model.name,
            "language": engine.language().map(|language| language.to_string()),
            "metadata": names.names,
            "version": env!("CARGO_PKG_VERSION"),
        }))
    }
}

/// Arguments of a tool. Wrong ones are the caller's fault, and named.
fn read<T: for<'de> Deserialize<'de>>(arguments: JsonObject) -> Result<T, ErrorData> {
    serde_json::from_value(Value::Object(arguments)).map_err(|fault| ErrorData::invalid_params(fault.to_string(), None))
}

impl ServerHandler for Assistant {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("adam", env!("CARGO_PKG_VERSION")))
            .with_instructions("Search an index of documents by words and by meaning, then read the documents found. Nothing can be changed.")
    }

    fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ListToolsResult, ErrorData>> + Send + '_ {
        std::future::ready(Ok(ListToolsResult::with_all_items(tools(self.0.limits().hits))))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(self.call(&request.name, request.arguments.unwrap_or_default()).await?.into())
    }
}

/// The protocol over HTTP. Who may ask is checked around it, as for every other route.
pub(crate) fn over_http(service: &Service) -> StreamableHttpService<Assistant, NeverSessionManager> {
    let assistant = Assistant(service.clone());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts();
    StreamableHttpService::new(move || Ok(assistant.clone()), Arc::new(NeverSessionManager::default()), config)
}

/// Speaks the protocol over standard input and output until the client closes them.
///
/// # Errors
/// When the client does not begin as the protocol says.
pub async fn serve_stdio(service: Service) -> Result<(), ServeError> {
    let fault = |fault: String| ServeError::system("speak with the client", std::io::Error::other(fault));
    let transport = rmcp::transport::io::stdio_pipes();
    let running = Assistant(service).serve(transport).await.map_err(|error| fault(error.to_string()))?;
    running.waiting().await.map_err(|error| fault(error.to_string()))?;
    Ok(())
}
