//! The OpenAPI document: made from the routes' own types, completed with what only a running server knows (dimension, limits, key).

use adam_plugin::engine::{MAX_HITS, MAX_VALUE};
use adam_plugin::filter::MAX_BYTES as MAX_FILTER;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::api_error::{ApiError, ErrorBody, OpenAiErrorBody};
use crate::boost_schema::boost;
use crate::documents::{MAX_FILTERS, MAX_ID};
use crate::state::Service;
use crate::{about, documents, embed, rerank, search};

#[derive(OpenApi)]
#[openapi(
    info(title = "adam", description = "An index with BM25, dense and hybrid search, and its sentence encoder."),
    paths(
        search::by_body, search::by_link,
        documents::add, documents::get, documents::delete_one, documents::delete_many, documents::commit,
        rerank::rerank, embed::embed, embed::embed_at_root, embed::openai, about::models,
        about::info, about::health, about::ready, about::metrics
    ),
    components(schemas(ErrorBody, OpenAiErrorBody)),
    tags((name = "search", description = "Words, meaning, both"),
         (name = "documents", description = "In, out, away, and safe on disk"),
         (name = "embeddings", description = "Vectors, as text-embeddings-inference and OpenAI give them"),
         (name = "server", description = "What it is and how it does"))
)]
struct Document;

/// Most fields of one search.
const MAX_FIELDS: usize = 64;

/// The paths of this document that need no key.
const OPEN: [&str; 2] = ["/health", "/ready"];

/// The document for this server.
pub(crate) fn document(service: &Service) -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(Document::openapi())?;
    constrain(&mut document, service);
    let key = service.options().api_key.is_some();
    let Some(paths) = document.pointer_mut("/paths").and_then(Value::as_object_mut) else { return Ok(document) };
    for (path, methods) in paths {
        for operation in methods.as_object_mut().into_iter().flat_map(Map::values_mut) {
            complete(operation, path, key);
        }
    }
    if key {
        document["components"]["securitySchemes"] = json!({"key": {"type": "http", "scheme": "bearer"}});
    }
    Ok(document)
}

/// Adds to one operation how it can fail, and whether it wants the key.
fn complete(operation: &mut Value, path: &str, key: bool) {
    let open = OPEN.contains(&path);
    let schema = if path.starts_with("/v1/") { "OpenAiErrorBody" } else { "ErrorBody" };
    let mut failures = vec![
        (403, "Asked for by the name of another server, or by a page of another site"),
        (500, "Something failed on this side"),
    ];
    if !open {
        failures.extend([(408, "Took too long"), (503, "Too many requests at once")]);
        failures.extend([(400, "Not readable"), (422, "Readable, and asks for something that cannot be")]);
    }
    if key && !open {
        failures.push((401, "No API key, or another"));
        operation["security"] = json!([{"key": []}]);
    }
    if operation.get("requestBody").is_some() {
        failures.extend([(413, "Larger than this server takes"), (415, "Another content type than it takes")]);
    } else if path == "/search" {
        failures.push((413, "More than this server takes"));
    }
    if operation["tags"][0] == "documents" {
        failures.extend([(403, "This server only reads, or has another name"), (404, "No such document")]);
    }
    for (status, description) in failures {
        operation["responses"][status.to_string()] = json!({
            "description": description,
            "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}},
        });
    }
}

/// The grammar of a filter, for people. A pattern that takes in all of it would be another parser; what is not a filter gets a 422
/// with the place.
const FILTER: &str = "`FIELD:VALUE` (a value is this), `FIELD:FROM..TO` (a number or date between two ends, which are included and may \
    be left out), `FIELD>VALUE` (also `>=`, `<`, `<=`), `FIELD:(A, B)` (one of these), `FIELD:*` (any value), joined by `AND`, `OR` and \
    `NOT` or a leading `-`, with brackets; NOT binds before AND, AND before OR. Dates are `2024`, `2024-05`, `2024-05-31` (the whole of \
    it) or a time as `2024-05-31T10:00:00Z`. A name leads into objects by dots, and may have dots and colons itself. Names and values \
    that have AND, OR, NOT, `..`, or in front `<`, `>` or a quote, stand in double quotes, in which `\\\"` is a quote.";

fn constrain(document: &mut Value, service: &Service) {
    let limits = service.limits();
    let dimension = service.engine().manifest().model.dimension;
    let filters = json!({"type": "array", "maxItems": MAX_FILTERS, "items": {
        "type": "string", "format": "adam-filter", "description": FILTER, "minLength": 3, "maxLength": MAX_FILTER,
        "examples": ["year:2015..2020", "lang:en AND NOT kind:(draft, note)", "released >= 2024-05"],
    }});
    // How many there may be is said in words: what is too many is answered by 413, which checkers do not count as a refusal.
    let texts = json!({"description": format!("One text or up to {}.", limits.batch), "oneOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
    ]});
    let vector = json!({
        "type": ["array", "null"], "minItems": dimension, "maxItems": dimension,
        "items": {"type": "number", "format": "float", "minimum": -MAX_VALUE, "maximum": MAX_VALUE},
        "contains": {"not": {"const": 0}},
        "description": "Its vector, if it was already made with the index's own model; not all zero.",
    });
    let schemas = "/components/schemas";
    put(document, &format!("{schemas}/Texts"), texts);
    put(document, &format!("{schemas}/DocumentBody/properties/vector"), vector.clone());
    let id = json!({
        "oneOf": [{"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": r"\S"}, {"type": "integer"}],
        "description": "Its id; a whole number is taken with its digits.",
    });
    put(document, &format!("{schemas}/DocumentBody/properties/id"), id.clone());
    put(document, &format!("{schemas}/DocumentBody/properties/_id"), id);
    // Either name will do, or another that `id_field` says.
    put(document, &format!("{schemas}/DocumentBody/required"), json!([]));
    put(document, &format!("{schemas}/SearchBody/properties/filters"), filters.clone());
    let example = json!({"oneOf": [{"type": "string", "minLength": 1, "maxLength": MAX_ID}, {
        "type": "object", "required": ["id"], "additionalProperties": true, "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID},
            "weight": {"type": "number", "format": "float", "exclusiveMinimum": 0, "description": "How much it counts; 1 if absent."},
        },
    }]});
    put(document, &format!("{schemas}/SearchBody/properties/like/items"), example);
    let mut values = vector.clone();
    values["type"] = json!("array");
    values["description"] = json!("A vector of the index's model to search for. The query may then be left out.");
    put(document, &format!("{schemas}/SearchBody/properties/vector"), values);
    put(document, &format!("{schemas}/Boost"), boost());
    let led = ["query", "like", "vector"].map(|name| json!({"required": [name]}));
    put(document, &format!("{schemas}/SearchBody/anyOf"), json!(led));
    let fields = json!({"type": "array", "maxItems": MAX_FIELDS, "items": {
        "type": "string", "minLength": 1, "format": "adam-field", "examples": ["title^3", "text"],
    }, "description": "Fields in which words are searched, with their weights in the lexical score, such as `title^3`; by default those of the index."});
    put(document, &format!("{schemas}/SearchBody/properties/fields"), fields.clone());
    put(document, &format!("{schemas}/SearchBody/properties/top/maximum"), json!(limits.hits));
    put(document, &format!("{schemas}/SearchBody/properties/offset/maximum"), json!(MAX_HITS - limits.hits));
    put(document, &format!("{schemas}/DeleteBody/minProperties"), json!(1));
    let ids = format!("{schemas}/DeleteBody/properties/ids");
    put(document, &format!("{ids}/items"), json!({"type": "string", "minLength": 1, "maxLength": MAX_ID}));
    let mut some = filters.clone();
    some["minItems"] = json!(1);
    put(document, &format!("{schemas}/DeleteBody/properties/filters"), some);
    for body in ["EmbedRequest", "OpenAiRequest"] {
        put(document, &format!("{schemas}/{body}/properties/dimensions/maximum"), json!(dimension));
    }
    put(
        document,
        &format!("{schemas}/EmbedRequest/properties/truncation_direction"),
        json!({"type": ["string", "null"], "enum": ["Right", "right", null], "description": "Texts are cut at their end."}),
    );
    let many = json!({"description": format!("One document or up to {}.", limits.documents), "oneOf": [
        {"$ref": "#/components/schemas/DocumentBody"},
        {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/DocumentBody"}},
    ]});
    put(document, "/paths/~1documents/post/requestBody/content/application~1json/schema", many);
    if service.engine().reranker().is_some() {
        put(document, &format!("{schemas}/SearchBody/properties/rerank/maximum"), json!(limits.rerank));
    } else if let Some(body) = document.pointer_mut("/components/schemas/SearchBody/properties") {
        // Requests for what this server lacks are always refused.
        body.as_object_mut().map(|properties| properties.remove("rerank"));
        if let Some(paths) = document.pointer_mut("/paths").and_then(Value::as_object_mut) {
            paths.remove("/rerank");
        }
    }
    let parameters = document.pointer_mut("/paths/~1search/get/parameters").and_then(Value::as_array_mut);
    let parameters = parameters.into_iter().flat_map(|list| {
        list.retain(|parameter| parameter["name"] != "rerank" || service.engine().reranker().is_some());
        list
    });
    for parameter in parameters {
        match parameter["name"].as_str() {
            Some("filters") => parameter["schema"] = filters.clone(),
            Some("fields") => parameter["schema"] = fields.clone(),
            Some("top") => parameter["schema"]["maximum"] = json!(limits.hits),
            Some("rerank") => parameter["schema"]["maximum"] = json!(limits.rerank),
            Some("offset") => parameter["schema"]["maximum"] = json!(MAX_HITS - limits.hits),
            _ => {}
        }
    }
    aliases(document);
}

/// Other names that the server takes, which utoipa does not know of.
fn aliases(document: &mut Value) {
    let schemas = "/components/schemas";
    let search = format!("{schemas}/SearchBody");
    if let Some(filters) = document.pointer(&format!("{search}/properties/filters")).cloned() {
        put(document, &format!("{search}/properties/filter"), filters);
    }
    for (name, other) in [("boosts", "boost"), ("facets", "facet")] {
        if let Some(schema) = document.pointer(&format!("{search}/properties/{name}")).cloned() {
            put(document, &format!("{search}/properties/{other}"), schema);
        }
    }
    let twice = [["filter", "filters"], ["boost", "boosts"], ["facet", "facets"]].map(|both| json!({"required": both}));
    put(document, &format!("{search}/not"), json!({"anyOf": twice}));
    let parameters = document.pointer_mut("/paths/~1search/get/parameters").and_then(Value::as_array_mut);
    if let Some(parameters) = parameters {
        for (name, other) in [("query", "q"), ("filters", "filter"), ("boosts", "boost"), ("facets", "facet")] {
            let Some(at) = parameters.iter().position(|parameter| parameter["name"] == name) else { continue };
            parameters[at]["required"] = json!(false);
            let mut alias = parameters[at].clone();
            alias["name"] = json!(other);
            alias["description"] = json!(format!("Another name of `{name}`"));
            parameters.insert(at + 1, alias);
        }
    }
    let names = document.pointer_mut(&format!("{schemas}/PromptName/enum")).and_then(Value::as_array_mut);
    names.into_iter().for_each(|names| names.push(json!("passage")));
    let content = document.pointer_mut("/paths/~1documents/post/requestBody/content").and_then(Value::as_object_mut);
    if let Some(content) = content
        && let Some(lines) = content.get("application/x-ndjson").cloned()
    {
        for other in ["application/ndjson", "application/jsonl"] {
            content.insert(other.to_owned(), lines.clone());
        }
    }
}

/// Sets a value deep in the document; a place that is not there is left alone, and found by the test below.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if let Some(parent) = document.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.insert(name.replace("~1", "/"), value);
    }
}

/// The document as JSON, made once.
pub(crate) async fn serve(State(service): State<Service>) -> Result<Response, ApiError> {
    let text = match service.description().get() {
        Some(text) => text.clone(),
        None => {
            let text =
                document(&service).and_then(|document| serde_json::to_vec(&document)).map_err(ApiError::backend)?;
            service.description().get_or_init(|| Bytes::from(text)).clone()
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
