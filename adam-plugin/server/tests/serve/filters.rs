//! Filters over HTTP: what the document says of them, what they answer and what they cost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::has_runtime;
use crate::{birds, by_hand, start};

/// Filters that the server takes, with all kinds of signs.
const TAKEN: [&str; 24] = [
    "kind:bird",
    "year:1990..2005",
    "year >= 1990",
    "year<2005",
    "year:>1990.5",
    "kind:(bird, matter)",
    "kind:bird OR kind:matter",
    "NOT kind:bird AND year:*",
    "-kind:bird",
    "(kind:bird AND (year:1999 OR -year:*))",
    "kind:\"this OR that\"",
    "kind:O'Neill",
    "kind:R&D",
    "kind:50%",
    "Brand Name:x",
    "released:2024-01-01..",
    "price:1234567890..",
    "released > 2024-05-31 10:00:00.123+02",
    "dc.title:x",
    "og:title:x",
    "url:https://a.b/c?d=e&f",
    "ip:2001:db8::1",
    "名前:鳥",
    "a:b",
];

#[test]
fn what_the_server_takes_fits_its_own_description() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    assert_eq!(client.post("/documents?commit=true", &birds()).status, 200);
    let document = client.get("/openapi.json").json();
    let of_body = |body: &str| document["components"]["schemas"][body]["properties"]["filters"]["items"].clone();
    let parameters = document["paths"]["/search"]["get"]["parameters"].as_array().unwrap();
    let of_link = parameters.iter().find(|one| one["name"] == "filters").unwrap()["schema"]["items"].clone();
    for schema in [of_body("SearchBody"), of_body("DeleteBody"), of_link] {
        // Keywords that bear on a text, all of which are looked at below.
        let known = ["type", "format", "description", "minLength", "maxLength", "examples"];
        assert!(schema.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{schema}");
        let examples = schema["examples"].as_array().unwrap().iter().map(|example| example.as_str().unwrap());
        for filter in TAKEN.into_iter().chain(examples) {
            let length = filter.chars().count() as u64;
            assert!(schema["minLength"].as_u64().unwrap() <= length && length <= schema["maxLength"].as_u64().unwrap());
            let answer = client.post("/search", &json!({"query": "crows", "filters": [filter]}));
            assert_eq!(answer.status, 200, "{filter}: {}", answer.text());
        }
    }
    // The name that the command line has for it, and a link as the page makes it.
    let one = client.post("/search", &json!({"query": "crows", "filter": ["year:1999"]})).ids();
    assert_eq!(one, client.get("/search?q=crows&filter=year:1999").ids());
    assert_eq!(one, ["raven"]);
    server.stop();
}

#[test]
fn what_matches_nothing_is_said() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    assert_eq!(client.post("/documents?commit=true", &birds()).status, 200);
    let warnings = |answer: &Value| -> String { answer["warnings"].to_string() };
    let found = client.post("/search", &json!({"query": "crows", "filters": ["kind:bird"]})).json();
    assert!(found["warnings"].as_array().is_none_or(Vec::is_empty), "{found}");
    let found = client.post("/search", &json!({"query": "crows", "filters": ["kin:bird"]})).json();
    assert!(warnings(&found).contains("the nearest is `kind`"), "{found}");
    let deleted = client.post("/delete?commit=true", &json!({"filters": ["kind:brid"]})).json();
    assert!(warnings(&deleted).contains("the nearest is `bird`"), "{deleted}");
    let info = client.get("/info").json();
    assert_eq!(info["documents"], 4);
    let names = info["metadata"].as_array().unwrap();
    assert!(names.contains(&json!({"name": "year", "kinds": ["numbers"], "documents": 4})), "{info}");
    assert!(names.iter().any(|name| name["name"] == "kind" && name["kinds"] == json!(["text"])), "{info}");
    // The list is of what can be found now.
    assert_eq!(client.post("/delete?commit=true", &json!({"filters": ["kind:*"]})).status, 200);
    let info = client.get("/info").json();
    assert_eq!(info["metadata"], json!([{"name": "year", "kinds": ["numbers"], "documents": 1}]), "{info}");
    server.stop();
}

/// Words of a filter count once, and the same filter twice is the filter once.
#[test]
fn filters_of_many_words_cost_little_or_are_refused() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), by_hand());
    let mut client = server.client();
    assert_eq!(client.post("/documents?commit=true", &birds()).status, 200);
    let repeated = |words: &str| format!("content:{}", words.repeat(65_000 / words.len())).trim_end().to_owned();
    for filter in [repeated("of crow "), repeated("x "), format!("kind:{}", "bird ".repeat(12_000))] {
        let began = Instant::now();
        let answer = client.post("/search", &json!({"query": "crow", "filters": vec![filter; 64]}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let different = (0..2000).map(|at| format!("w{at}")).collect::<Vec<_>>().join(" ");
    let answer = client.post("/search", &json!({"query": "crow", "filters": [format!("content:{different}")]}));
    assert!(answer.status == 422 && answer.error().contains("1024 different words"), "{}", answer.text());
    let different = |from: usize| (from..from + 1000).map(|at| format!("w{at}")).collect::<Vec<_>>().join(" ");
    let filters: Vec<String> = (0..64).map(|at| format!("content:{}", different(at * 1000))).collect();
    let answer = client.post("/search", &json!({"query": "crow", "filters": filters}));
    assert!(answer.status == 422 && answer.error().contains("8192"), "{}", answer.text());
    let filters: Vec<String> = (0..64)
        .map(|at| format!("year:({})", (0..9).map(|one| format!("{at}..{at}{one}")).collect::<Vec<_>>().join(",")))
        .collect();
    let answer = client.post("/search", &json!({"query": "crow", "filters": filters}));
    assert!(answer.status == 422 && answer.error().contains("256 ranges"), "{}", answer.text());
    let began = Instant::now();
    for (parts, status) in [(128, 200), (30_000, 422)] {
        let deep = format!("{}:2024..2025", vec!["a"; parts].join("."));
        let answer = client.post("/search", &json!({"query": "crow", "filters": [deep]}));
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let listed = format!("kind:({})", (0..1000).map(|at| format!("v{at}")).collect::<Vec<_>>().join(", "));
    assert_eq!(client.post("/search", &json!({"query": "crow", "filters": [listed]})).status, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    server.stop();
}
