//! Documents that come in: by the same rules as lines of a file, and with a word on what was not kept.

use serde_json::{Value, json};

use crate::http::has_runtime;
use crate::{by_hand, start};

#[test]
fn documents_are_read_as_files_are() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    let mut send = |path: &str, lines: &str| {
        let answer = client.send("POST", path, Some("application/x-ndjson"), lines.as_bytes()).unwrap();
        (answer.status, answer.json())
    };
    let lines = "\u{feff}{\"_id\":\"a\",\"title\":null,\"text\":\"crows bend wire\"}\r\n\
                 {\"id\":7,\"text\":null,\"metadata\":null,\"author\":\"x\",\"vector\":null}\n\
                 {\"_id\":12345678901234567890123,\"title\":\"bees\",\"author\":\"y\",\"url\":1,\"metadata\":{\"year\":NaN,\"kind\":\"bird\"}}\n";
    let (status, answer) = send("/documents?commit=true", lines);
    assert_eq!(status, 200, "{answer}");
    let expected = json!({"accepted": 3, "committed": true, "ignored": {"author": 2, "url": 1}, "without_text": 1, "non_finite": 1});
    assert_eq!(answer, expected);

    let shop = r#"{"sku": 17, "name": "Kettle", "description": "boils water", "brand": "norse", "stock": 2}"#;
    let (status, answer) =
        send("/documents?commit=true&id_field=sku&title_field=name&text_field=description&keep=brand", shop);
    assert_eq!((status, &answer["ignored"]), (200, &json!({"stock": 1})), "{answer}");
    let (status, answer) = send("/documents?commit=true&id_field=sku&text_field=description&keep=all", shop);
    assert_eq!((status, &answer["ignored"]), (200, &Value::Null), "{answer}");
    let (status, answer) = send("/documents?id_field=docno", shop);
    assert!(status == 422 && answer["error"].as_str().unwrap().contains("docno"), "{answer}");
    // Nothing to say, nothing said.
    let (_, answer) = send("/documents", "{\"id\":\"b\",\"text\":\"ants\"}");
    assert_eq!(answer, json!({"accepted": 1, "committed": false}));

    for (id, title) in [("7", ""), ("12345678901234567890123", "bees"), ("17", "")] {
        let stored = client.get(&format!("/documents/{id}")).json();
        assert_eq!((&stored["id"], &stored["title"]), (&json!(id), &json!(title)));
    }
    let stored = client.get("/documents/17").json();
    assert_eq!(stored["metadata"], json!({"name": "Kettle", "brand": "norse", "stock": 2}));
    let stored = client.get("/documents/12345678901234567890123").json();
    assert_eq!(stored["metadata"], json!({"year": null, "kind": "bird"}));
    // Of one id, the last stays.
    let twice = json!([{"id": "c", "text": "first"}, {"id": "c", "text": "last"}]);
    assert_eq!(client.post("/documents?commit=true", &twice).json()["accepted"], 2);
    assert_eq!(client.get("/documents/c").json()["text"], "last");

    let schema = client.get("/openapi.json").json();
    let body = &schema["components"]["schemas"]["DocumentBody"];
    assert_eq!(body["additionalProperties"], Value::Null, "other fields are taken");
    assert!(
        body["properties"]["_id"]["oneOf"].is_array()
            && body["properties"]["title"]["type"].to_string().contains("null"),
        "{body}"
    );
    server.stop();
}
