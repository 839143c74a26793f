//! The OpenAPI document describes all that the server takes: whatever is answered by 2xx is valid by the document.

use std::collections::BTreeSet;

use adam_server::Limits;
use serde_json::{Value, json};

use crate::http::{Client, has_runtime};
use crate::{birds, by_hand, start_with_reranker};

/// Whether a value is valid by a schema, as far as this document uses JSON Schema; what it does not use yet ends the test.
fn is_valid(document: &Value, schema: &Value, value: &Value) -> bool {
    let within = |schema: &Value| is_valid(document, schema, value);
    let size = |count: usize, least: &str, most: &str| {
        schema[least].as_u64().is_none_or(|least| count as u64 >= least)
            && schema[most].as_u64().is_none_or(|most| count as u64 <= most)
    };
    let number = value.as_f64();
    let list = |schema: &Value| schema.as_array().cloned().unwrap_or_default();
    schema.as_object().unwrap().iter().all(|(word, said)| match word.as_str() {
        "$ref" => within(document.pointer(&said.as_str().unwrap()[1..]).unwrap()),
        "type" => {
            let types = said.as_array().cloned().unwrap_or_else(|| vec![said.clone()]);
            types.iter().any(|one| match one.as_str().unwrap() {
                "null" => value.is_null(),
                "boolean" => value.is_boolean(),
                "string" => value.is_string(),
                "number" => value.is_number(),
                "integer" => number.is_some_and(|number| number.fract() == 0.0),
                "array" => value.is_array(),
                "object" => value.is_object(),
                other => panic!("the type {other}"),
            })
        }
        "enum" => list(said).contains(value),
        "const" => said == value,
        "not" => !within(said),
        // Regular expressions are left to tools that have them.
        "pattern" => true,
        "oneOf" => list(said).iter().filter(|one| within(one)).count() == 1,
        "anyOf" => list(said).iter().any(within),
        "allOf" => list(said).iter().all(within),
        "required" => {
            list(said).iter().all(|name| value.as_object().is_none_or(|map| map.contains_key(name.as_str().unwrap())))
        }
        "properties" => said
            .as_object()
            .unwrap()
            .iter()
            .all(|(name, schema)| value.get(name).is_none_or(|one| is_valid(document, schema, one))),
        "additionalProperties" => {
            let known = schema["properties"].as_object();
            let others = value
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
            others.into_iter().all(|(_, one)| said.as_bool().unwrap_or_else(|| is_valid(document, said, one)))
        }
        "propertyNames" => {
            value.as_object().into_iter().flatten().all(|(name, _)| is_valid(document, said, &json!(name)))
        }
        "minProperties" => value.as_object().is_none_or(|map| size(map.len(), "minProperties", "maxProperties")),
        "items" => value.as_array().into_iter().flatten().all(|one| is_valid(document, said, one)),
        "contains" => value.as_array().is_none_or(|many| many.iter().any(|one| is_valid(document, said, one))),
        "minItems" | "maxItems" => value.as_array().is_none_or(|many| size(many.len(), "minItems", "maxItems")),
        "minLength" | "maxLength" => {
            value.as_str().is_none_or(|text| size(text.chars().count(), "minLength", "maxLength"))
        }
        "exclusiveMaximum" => number.is_none_or(|number| number < said.as_f64().unwrap()),
        "exclusiveMinimum" => number.is_none_or(|number| number > said.as_f64().unwrap()),
        "minimum" => number.is_none_or(|number| number >= said.as_f64().unwrap()),
        "maximum" => number.is_none_or(|number| number <= said.as_f64().unwrap()),
        "description" | "title" | "format" | "default" | "example" | "examples" | "prefixItems" | "writeOnly"
        | "readOnly" => true,
        other => panic!("the schema has {other}: {schema}"),
    })
}

/// The named members of a schema, through references and alternatives.
fn properties(document: &Value, schema: &Value, into: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        properties(document, document.pointer(&reference[1..]).unwrap(), into);
    }
    for name in schema["properties"].as_object().into_iter().flat_map(|members| members.keys()) {
        into.insert(name.clone());
    }
    for alternatives in ["oneOf", "anyOf", "allOf"] {
        schema[alternatives].as_array().into_iter().flatten().for_each(|one| properties(document, one, into));
    }
}

/// Bodies that the server takes, by path. Each member of each schema must be among them.
fn bodies() -> Vec<(&'static str, Vec<Value>)> {
    let vector: Vec<Value> = (0..16).map(|at| if at % 2 == 0 { json!(at) } else { json!(-0.5) }).collect();
    let embed = vec![
        json!({"inputs": "a text"}),
        json!({"inputs": ["a", ""], "truncate": true, "truncation_direction": "Right", "prompt_name": "query", "normalize": false, "dimensions": 4}),
        json!({"inputs": "a", "truncate": null, "truncation_direction": null, "prompt_name": null, "normalize": null, "dimensions": null}),
        json!({"inputs": "a", "truncation_direction": "right", "prompt_name": "document", "dimensions": 16.0}),
        json!({"inputs": "a", "prompt_name": "passage", "parameters": {"any": 1}, "options": null}),
    ];
    vec![
        (
            "/search",
            vec![
                json!({"query": "a"}),
                json!({"query": "wire", "window": 50, "total": true, "filter": ["kind:bird"]}),
                json!({"query": "wire \u{202e}\u{0}\n", "mode": "bm25", "top": 1, "offset": 0, "explain": true, "snippets": true}),
                json!({"query": "wire", "mode": "dense", "top": 10.0, "offset": 2.0, "filters": []}),
                json!({"query": "wire", "mode": "hybrid", "weight": 0, "fusion": "convex", "rerank": 2}),
                json!({"query": "wire", "weight": 1.0, "fusion": "rrf", "filters": ["kind:bird AND NOT year:2000..2001", "year >= 2000"]}),
                json!({"query": "wire", "fusion": "min-max", "filters": ["kind:O'Neill", "kind:R&D", "kind:50%"]}),
                json!({"query": "wire", "fusion": "z-score", "filters": ["year:..1999", "year:1234567890..", "kind:a.b c"]}),
                json!({"query": "wire", "fusion": "dbsf", "filters": ["year:2002", "kind:\u{9ce5}"]}),
                json!({"query": "wire", "boosts": [{"function": "log", "field": "year", "factor": 2, "weight": 0.5}], "min_score": 0.01}),
                json!({"query": "wire", "boost": [{"filter": "kind:bird", "factor": 1.5}], "min_similarity": -1, "group": {"field": "kind", "size": 2}}),
                json!({"query": "wire", "sort": {"field": "year", "order": "desc"}, "facets": [{"field": "kind"}, {"field": "year", "size": 3}]}),
                json!({"query": "wire", "sort": {"field": "year"}, "facet": [{"field": "kind", "size": 1000}], "aggregations": {"y": {"avg": {"field": "year"}}}}),
                json!({"query": "wire", "diversity": 0.5, "cursor": "*", "highlight": true}),
                json!({"like": ["crow", {"id": "glass", "weight": 0.5}], "unlike": ["raven"]}),
                json!({"vector": vector.clone(), "mode": "dense"}),
                json!({"query": "wire", "fields": ["content^2.5"], "typos": true, "synonyms": false, "suggest": true}),
                json!({"query": "wire", "group": {"field": "kind"}, "total": true, "boosts": [
                    {"function": "linear", "field": "year", "origin": 2000, "scale": 10, "offset": 1, "decay": 0.4, "missing": 0.1},
                    {"function": "gaussian", "field": "year", "origin": "2000-01-01", "scale": "3y", "combine": "add"},
                    {"function": "saturation", "field": "year", "pivot": 1000.5, "combine": "multiply"},
                ]}),
            ],
        ),
        (
            "/documents",
            vec![
                json!({"id": "1"}),
                json!({"_id": "2", "title": "", "text": ""}),
                json!({"id": 7, "title": null, "text": null, "metadata": null, "vector": null, "author": "ignored"}),
                json!([{"id": "3", "title": "t", "text": "x", "metadata": {"a": [1, {"b": null}], "c.d": "e"}}]),
                json!([{"id": "4", "metadata": {}}, {"_id": "\u{1f426}", "vector": vector}]),
            ],
        ),
        (
            "/delete",
            vec![
                json!({"ids": ["1", "nobody"]}),
                json!({"filters": ["kind:bird", "kind:R&D"]}),
                json!({"ids": ["2"], "filters": ["year:1990..1995"]}),
            ],
        ),
        (
            "/rerank",
            vec![
                json!({"query": "birds", "texts": ["a crow"]}),
                json!({"query": "birds", "texts": ["a crow", ""], "truncate": true, "truncation_direction": "Right", "raw_scores": true, "return_text": true}),
                json!({"query": "birds", "texts": ["a"], "truncate": null, "truncation_direction": null, "raw_scores": null, "return_text": null}),
            ],
        ),
        ("/embed", embed.clone()),
        ("/", embed),
        (
            "/v1/embeddings",
            vec![
                json!({"input": "a text"}),
                json!({"input": ["a", "b"], "model": "", "encoding_format": "base64", "dimensions": 3, "user": "me"}),
                json!({"input": "a", "model": "/data/model", "encoding_format": "float"}),
                json!({"input": "a", "model": "./BAAI/bge-m3", "anything": "else"}),
                json!({"input": "a", "model": null, "encoding_format": null, "dimensions": null, "user": null}),
            ],
        ),
    ]
}

/// Query strings that the server takes, by method and path.
const LINKS: [(&str, &str, &[&[(&str, &str)]]); 5] = [
    (
        "GET",
        "/search",
        &[
            &[("query", "a")],
            &[("q", "wire"), ("filter", "kind:bird"), ("window", "20"), ("total", "true")],
            &[
                ("query", "wire"),
                ("mode", "bm25"),
                ("top", "1"),
                ("offset", "2"),
                ("explain", "true"),
                ("snippets", "false"),
            ],
            &[
                ("query", "wire"),
                ("mode", "dense"),
                ("weight", "0.25"),
                ("filters", "kind:O'Neill"),
                ("filters", "year:1999.."),
            ],
            &[("query", "wire"), ("mode", "hybrid"), ("fusion", "rrf"), ("rerank", "1")],
            &[("query", "wire"), ("fusion", "min-max"), ("weight", "1")],
            &[("query", "wire"), ("fusion", "z-score"), ("top", "10.0")],
            &[("query", "wire"), ("fusion", "dbsf"), ("fusion", "dbsf")],
            &[
                ("query", "wire"),
                ("boosts", "log; field=year; weight=0.5"),
                ("boosts", "filter=kind:bird; factor=2"),
                ("min_score", "0.1"),
                ("min_similarity", "-0.5"),
                ("group", "kind:2"),
            ],
            &[("like", "crow"), ("like", "glass"), ("unlike", "raven"), ("mode", "dense")],
            &[("query", "wire"), ("cursor", "*"), ("highlight", "true")],
            &[("query", "wire"), ("sort", "year:desc"), ("facets", "kind"), ("facets", "year:3")],
            &[
                ("query", "wire"),
                ("diversity", "0.5"),
                ("facet", "kind"),
                ("aggregations", "{\"y\": {\"avg\": {\"field\": \"year\"}}}"),
            ],
            &[("query", "wire"), ("fields", "content^3"), ("typos", "true"), ("synonyms", "true"), ("suggest", "true")],
            &[("query", "wire"), ("boost", "exponential; field=year; origin=2000; scale=5"), ("group", "kind")],
        ],
    ),
    ("POST", "/commit", &[&[]]),
    (
        "POST",
        "/documents",
        &[
            &[("commit", "true")],
            &[("commit", "false"), ("id_field", "id"), ("title_field", "t"), ("text_field", "x"), ("keep", "a,b")],
            &[("keep", "all")],
        ],
    ),
    ("POST", "/delete", &[&[("commit", "true")], &[("commit", "false")]]),
    ("DELETE", "/documents/{id}", &[&[("commit", "true")], &[("commit", "false")]]),
];

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn what_is_taken_is_described() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start_with_reranker(folder.path(), by_hand().limits(Limits::default()));
    let mut client = server.client();
    client.post("/documents?commit=true", &birds());
    let document = client.get("/openapi.json").json();

    for (path, bodies) in bodies() {
        let content = &document["paths"][path]["post"]["requestBody"]["content"];
        let schema = &content["application/json"]["schema"];
        let mut described = BTreeSet::new();
        properties(&document, schema, &mut described);
        let mut tried = BTreeSet::new();
        for body in bodies {
            let answer = client.post(path, &body);
            assert!((200..300).contains(&answer.status), "{path} {body}: {}", answer.text());
            assert!(is_valid(&document, schema, &body), "{path} takes {body}, and its schema does not: {schema}");
            let one = body.as_array().map_or(vec![&body], |many| many.iter().collect());
            one.iter().for_each(|one| tried.extend(one.as_object().unwrap().keys().cloned()));
        }
        assert!(described.is_subset(&tried), "{path}: {:?} is not tried", described.difference(&tried));
        // What no server takes is not described as if it were taken.
        for wrong in [json!(null), json!("text"), json!({"x": 1}), json!([])] {
            let answer = client.post(path, &wrong);
            assert!(!(200..300).contains(&answer.status), "{path} {wrong}");
            // A document is known by a field that the query string may name.
            let valid = is_valid(&document, schema, &wrong) && !(path == "/documents" && wrong.is_object());
            assert!(!valid, "{path} refuses {wrong}, and its schema does not");
        }
    }
    for kind in ["application/json", "application/x-ndjson", "application/ndjson", "application/jsonl"] {
        let taken = client.send("POST", "/documents", Some(kind), br#"{"id": "line"}"#).unwrap();
        assert_eq!(taken.status, 202, "{kind}");
        let content = &document["paths"]["/documents"]["post"]["requestBody"]["content"];
        assert!(!content[kind].is_null(), "{kind} is not described");
    }

    for (method, path, links) in LINKS {
        let operation = &document["paths"][path][method.to_lowercase()];
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let of_query: Vec<&Value> = parameters.iter().filter(|parameter| parameter["in"] == "query").collect();
        let mut tried = BTreeSet::new();
        for link in links {
            let twice = link.iter().enumerate().find(|(at, (name, _))| {
                !["filters", "boosts", "facets", "like", "unlike", "fields"].contains(name)
                    && link[..*at].iter().any(|(earlier, _)| earlier == name)
            });
            let query: Vec<String> = link.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
            let address = format!("{}?{}", path.replace("{id}", "x"), query.join("&"));
            let body: &[u8] = match path {
                "/documents" => br#"{"id": "x"}"#,
                "/delete" => br#"{"ids": ["x"]}"#,
                _ => b"",
            };
            let answer = client.send(method, &address, Some("application/json"), body).unwrap();
            assert_eq!((200..300).contains(&answer.status), twice.is_none(), "{address}: {}", answer.text());
            if twice.is_some() {
                continue;
            }
            for (name, value) in *link {
                let parameter = of_query.iter().find(|parameter| parameter["name"] == *name);
                let schema = &parameter.unwrap_or_else(|| panic!("{path}: {name} is not described"))["schema"];
                let text = json!(value);
                let list = json!([value]);
                let read: Value = serde_json::from_str(value).unwrap_or(Value::Null);
                let valid = [text, list, read].iter().any(|value| is_valid(&document, schema, value));
                assert!(valid, "{path} takes {name}={value}, and its schema does not: {schema}");
                tried.insert((*name).to_owned());
            }
        }
        for parameter in of_query {
            assert!(tried.contains(parameter["name"].as_str().unwrap()), "{path}: {} is not tried", parameter["name"]);
        }
    }
    answers_are_described(&mut client, &document);
    server.stop();
}

/// Every status that the server gave here is described, and so are the bodies of answers.
fn answers_are_described(client: &mut Client, document: &Value) {
    for (method, path, kind, body, status) in [
        ("GET", "/health", None, "", 200),
        ("GET", "/ready", None, "", 200),
        ("GET", "/info", None, "", 200),
        ("GET", "/v1/models", None, "", 200),
        ("GET", "/documents/{id}", None, "", 404),
        ("POST", "/search", Some("text/plain"), "{}", 415),
        ("POST", "/search", Some("application/json"), "{", 400),
        ("POST", "/search", Some("application/json"), "{}", 422),
        ("POST", "/search", Some("application/json"), r#"{"query": "wire", "explain": true, "snippets": true}"#, 200),
        ("POST", "/v1/embeddings", Some("application/json"), r#"{"input": []}"#, 422),
        ("POST", "/v1/embeddings", Some("application/json"), r#"{"input": ["a"]}"#, 200),
        ("POST", "/documents", Some("application/x-ndjson"), "{\"id\": \"y\"}\n", 202),
        ("POST", "/commit", None, "", 200),
    ] {
        let answer = client.send(method, &path.replace("{id}", "nobody"), kind, body.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
        let described = &document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
        let schema = &described["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{method} {path}: {status} is not described");
        assert!(is_valid(document, schema, &answer.json()), "{method} {path}: {} by {schema}", answer.text());
    }
}
