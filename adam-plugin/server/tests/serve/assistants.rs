//! The Model Context Protocol at `/mcp`.

use serde_json::{Value, json};

use crate::http::{Answer, Client, has_runtime};
use crate::{birds, by_hand, start};

/// A message of a client of 2025, which most are.
fn ask(client: &mut Client, method: &str, params: &Value) -> Answer {
    client.post("/mcp", &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
}

fn call(client: &mut Client, tool: &str, arguments: &Value) -> Value {
    let answer = ask(client, "tools/call", &json!({"name": tool, "arguments": arguments}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn an_assistant_searches_and_reads_and_changes_nothing() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    client.headers.push(("Accept".to_owned(), "application/json, text/event-stream".to_owned()));
    assert_eq!(client.post("/documents?commit=true", &birds()).status, 200);

    let hello =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let answer = ask(&mut client, "initialize", &hello);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["result"]["serverInfo"]["name"], "adam");
    let tools = ask(&mut client, "tools/list", &json!({})).json();
    let tools = tools["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["search", "fetch", "info"]);
    assert!(tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true));

    let found = call(&mut client, "search", &json!({"query": "raevns", "mode": "bm25", "typos": true, "top": 3}));
    let found = &found["result"]["structuredContent"];
    assert_eq!((&found["results"][0]["id"], &found["did_you_mean"]), (&json!("raven"), &json!("ravens")));
    assert!(found["results"][0]["text"].as_str().unwrap().contains("nest"));
    let filtered = call(&mut client, "search", &json!({"query": "wire", "filters": ["year:2011"]}));
    assert_eq!(filtered["result"]["structuredContent"]["results"].as_array().unwrap().len(), 1);
    let read = call(&mut client, "fetch", &json!({"id": "crow"}));
    let text: Value = serde_json::from_str(read["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&text["title"], &text["metadata"]["year"]), (&json!("Crows"), &json!(2002)));
    let info = call(&mut client, "info", &json!({}));
    assert_eq!(info["result"]["structuredContent"]["documents"], 4);

    // What the assistant did wrong it hears.
    for (tool, arguments, said) in [
        ("search", json!({"query": " "}), "empty"),
        ("search", json!({"query": "a", "top": 0}), "`top` is 0"),
        ("search", json!({"query": "a", "filters": ["year:"]}), "filter"),
        ("fetch", json!({"id": "nobody"}), "no document"),
    ] {
        let answer = call(&mut client, tool, &arguments)["result"].clone();
        assert!(answer["isError"] == true && answer["content"][0]["text"].as_str().unwrap().contains(said), "{answer}");
    }
    for (tool, arguments) in [("delete", json!({})), ("search", json!({"text": "a"})), ("fetch", json!({}))] {
        let answer = ask(&mut client, "tools/call", &json!({"name": tool, "arguments": arguments})).json();
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    server.stop();

    // The key is asked for here as well.
    let server = start(folder.path(), by_hand().api_key("secret".to_owned()));
    let mut client = server.client();
    assert_eq!(ask(&mut client, "tools/list", &json!({})).status, 401);
    server.stop();
}
