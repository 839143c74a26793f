//! Documents as people have them: own names, wrong lines, ids, vectors, several files, what left the corpus.

use serde_json::{Value, json};

use crate::common::{adam, done, run, tiny_model};
use crate::{World, hits};

/// Ids of all documents of an index, by a word that each holds.
fn ids(index: &str) -> Vec<String> {
    let out = done(&["search", "--index", index, "--mode", "bm25", "--top", "100", "--json", "everyone"]);
    let mut ids: Vec<String> = hits(&out).iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn lines(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

fn everyone(ids: &[&str]) -> String {
    lines(&ids.iter().map(|id| json!({"_id": id, "text": format!("everyone knows {id}")})).collect::<Vec<_>>())
}

impl World {
    /// `adam index` of a file into an index, with further words.
    fn index_file(&self, data: &str, index: &str, more: &[&str]) -> (i32, String) {
        let model = self.model();
        let words = ["index", "--model", &model, "--data", data, "--index", index];
        let (code, out, err) = run(&[&words[..], more].concat());
        assert!(out.is_empty(), "{out}");
        (code, err)
    }
}

#[test]
fn an_index_knows_its_model() {
    let Some(world) = World::new() else { return };
    let index = world.index();
    let data = world.write("more.jsonl", &everyone(&["new"]));
    let (code, _, err) = run(&["index", "--data", &data, "--index", &index]);
    assert!(code == 0 && err.contains("7 documents") && err.contains("1 encoded"), "{err}");
    // As it was made, whatever is left out now.
    let int8 = world.path("int8");
    let (code, err) = world.index_file(&data, &int8, &["--max-length", "12"]);
    assert_eq!(code, 0, "{err}");
    for more in [&[][..], &["--model", &world.model()]] {
        let (code, _, err) = run(&[&["index", "--data", &data, "--index", &int8], more].concat());
        assert!(code == 0 && err.contains("1 unchanged"), "{more:?}: {err}");
    }
    let (code, _, err) = run(&["index", "--data", &data, "--index", &int8, "--max-length", "13"]);
    assert!(code == 1 && err.contains("--max-length") && err.contains("\"12\""), "{code} {err}");
    // A new one has none to know.
    let (code, _, err) = run(&["index", "--data", &data, "--index", &world.path("none")]);
    assert!(code == 2 && err.contains("--model") && err.contains("none"), "{code} {err}");
    let folder = world.folder.path().to_str().unwrap();
    let (code, _, err) = run(&["index", "--data", &data, "--index", folder]);
    assert!(code == 1 && err.contains("is not an index of adam"), "{code} {err}");
    // Its model is gone.
    let model = tiny_model();
    let moved = world.path("moved");
    done(&["index", "--model", model.path().to_str().unwrap(), "--data", &data, "--index", &moved]);
    drop(model);
    let (code, _, err) = run(&["index", "--data", &data, "--index", &moved]);
    assert!(code == 1 && err.contains("which is not there") && err.contains("--model"), "{code} {err}");
    let (code, err) = world.index_file(&data, &moved, &[]);
    assert!(code == 0 && err.contains("1 unchanged"), "{err}");
}

#[test]
fn own_names_are_read() {
    let Some(world) = World::new() else { return };
    let products = lines(&[
        json!({"sku": 17, "name": "kettle", "description": "everyone boils water", "brand": "norse", "price": 3.5, "tags": ["a", "b"]}),
        json!({"sku": "b", "name": null, "description": "everyone bakes", "brand": "acme", "metadata": {"price": 9}}),
    ]);
    let data = world.write("products.jsonl", &products);
    let names = ["--id-field", "sku", "--title-field", "name", "--text-field", "description"];
    let (code, err) = world.index_file(&data, &world.path("kept"), &[&names[..], &["--keep", "brand,price"]].concat());
    assert!(code == 0 && err.contains("not kept") && err.contains("tags (1)") && !err.contains("brand"), "{err}");
    assert_eq!(ids(&world.path("kept")), ["17", "b"]);
    for (filter, id) in [("brand:norse", "17"), ("price:9..9", "b"), ("price:3..4", "17")] {
        let index = world.path("kept");
        let out = done(&["search", "--index", &index, "--mode", "bm25", "--json", "--filter", filter, "everyone"]);
        assert_eq!(hits(&out)[0]["id"], id, "{filter}");
        assert_eq!(hits(&out).len(), 1, "{filter}");
    }
    let (code, err) = world.index_file(&data, &world.path("all"), &[&names[..], &["--keep", "all"]].concat());
    assert!(code == 0 && !err.contains("not kept"), "{err}");
    let (code, err) =
        world.index_file(&data, &world.path("typo"), &[&names[..], &["--keep", "brnad,metadata.price"]].concat());
    assert!(code == 0 && err.contains("`brnad`") && err.contains("`metadata.price`"), "{err}");
    // Names that no line has: what there is is said.
    let (code, err) = world.index_file(&data, &world.path("wrong"), &["--id-field", "sku"]);
    assert!(code == 1 && err.contains("`text`") && err.contains("description"), "{code} {err}");
    let (code, err) = world.index_file(&data, &world.path("wrong"), &["--id-field", "docno"]);
    assert!(code == 1 && err.contains("line 1") && err.contains("docno"), "{code} {err}");
    assert!(!std::path::Path::new(&world.path("wrong")).exists());
}

#[test]
fn several_files_patterns_and_standard_input_are_one_corpus() {
    let Some(world) = World::new() else { return };
    let (a, b) = (world.write("part-a.jsonl", &everyone(&["a"])), world.write("part-b.jsonl", &everyone(&["b"])));
    let (code, _, err) =
        run(&["index", "--model", &world.model(), "--data", &a, &b, "--index", &world.path("several")]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) =
        run(&["index", "--model", &world.model(), "--data", &a, "--data", &b, "--index", &world.path("repeated")]);
    assert_eq!(code, 0, "{err}");
    let (code, err) = world.index_file(&world.path("part-*.jsonl"), &world.path("pattern"), &[]);
    assert_eq!(code, 0, "{err}");
    let mut command = adam();
    command.args(["index", "--model", &world.model(), "--data", "-", "--index", &world.path("piped")]);
    command.stdin(std::fs::File::open(&a).unwrap());
    assert!(command.status().unwrap().success());
    for (index, expected) in
        [("several", &["a", "b"][..]), ("repeated", &["a", "b"]), ("pattern", &["a", "b"]), ("piped", &["a"])]
    {
        assert_eq!(ids(&world.path(index)), expected, "{index}");
    }
    // The same id in two files: the second is named, with where the first was.
    let (code, _, err) = run(&["index", "--model", &world.model(), "--data", &a, &a, "--index", &world.path("twice")]);
    assert!(code == 1 && err.contains("part-a.jsonl") && err.contains("`a`"), "{code} {err}");
    let nothing = world.write("nothing.jsonl", "\n");
    let (code, err) = world.index_file(&nothing, &world.path("several"), &["--prune"]);
    assert!(code == 1 && err.contains("no documents"), "{code} {err}");
    assert_eq!(ids(&world.path("several")), ["a", "b"], "an empty corpus removes nothing");
}

#[test]
fn wrong_lines_are_skipped_counted_and_listed() {
    let Some(world) = World::new() else { return };
    let wrong = format!(
        "{}{{\"_id\": true, \"text\": \"x\"}}\n{{\"_id\": \"a\", \"text\": \"again\"}}\nplain words\n{{\"_id\": 1.5, \"text\": \"x\"}}\n{}",
        everyone(&["a"]),
        everyone(&["b"])
    );
    let (data, index, list) = (world.write("wrong.jsonl", &wrong), world.path("skipped"), world.path("list.txt"));
    let (code, err) = world.index_file(&data, &index, &[]);
    assert!(code == 1 && err.contains("wrong.jsonl line 2") && err.contains("nothing was written"), "{code} {err}");
    assert!(!std::path::Path::new(&index).exists());
    let (code, err) = world.index_file(&data, &index, &["--on-wrong-line", "skip"]);
    assert!(code == 0 && err.contains("4 lines were left out") && err.contains("wrong.jsonl line 2"), "{code} {err}");
    assert_eq!(ids(&index), ["a", "b"]);
    let skipping = ["--on-wrong-line", "skip", "--wrong-lines", &list];
    let (code, err) = world.index_file(&data, &index, &skipping);
    assert!(code == 0 && err.contains("list.txt"), "{err}");
    let listed = std::fs::read_to_string(&list).unwrap();
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(listed.len(), 4, "{listed:?}");
    for (line, words) in listed.iter().zip(["line 2", "line 3", "line 4", "line 5"]) {
        assert!(line.contains("wrong.jsonl") && line.contains(words), "{line}");
    }
    // Documents that a skipped line is about may be in the index: nothing is removed, and that is an error.
    let (code, err) = world.index_file(&data, &index, &[&skipping[..], &["--prune"]].concat());
    assert!(code == 1 && err.contains("--prune") && err.contains("3 lines were left out"), "{code} {err}");
    let repeated = world.write("repeated.jsonl", &everyone(&["a", "a"]));
    let (code, err) = world.index_file(&repeated, &index, &["--on-wrong-line", "skip", "--prune"]);
    assert!(code == 0 && err.contains("1 document removed"), "{code} {err}");
    assert_eq!(ids(&index), ["a"], "a repeated id hides no document");
    let (code, err) = world.index_file(&data, &index, &["--wrong-lines", &list]);
    assert!(code == 2 && err.contains("--on-wrong-line skip"), "{code} {err}");
}

#[test]
fn what_left_the_corpus_is_counted_and_removed_when_asked() {
    let Some(world) = World::new() else { return };
    for chunks in [&[][..], &["--chunk-tokens", "8"]] {
        let index = world.path(if chunks.is_empty() { "plain" } else { "cut" });
        let long = format!("everyone {}", "knows water and ice and light ".repeat(20));
        let first = [
            json!({"_id": "a", "text": long}),
            json!({"_id": "b", "text": long}),
            json!({"_id": "c", "text": "everyone"}),
        ];
        let data = world.write("first.jsonl", &lines(&first));
        let (code, err) = world.index_file(&data, &index, chunks);
        assert!(code == 0 && !err.contains("prune"), "{err}");
        let data =
            world.write("second.jsonl", &lines(&[first[1].clone(), json!({"_id": "d", "text": "everyone else"})]));
        let (code, err) = world.index_file(&data, &index, &[]);
        assert!(
            code == 0 && err.contains("2 documents of the index are not in the data") && err.contains("--prune"),
            "{err}"
        );
        assert_eq!(ids(&index), ["a", "b", "c", "d"]);
        let (code, err) = world.index_file(&data, &index, &["--prune"]);
        assert!(code == 0 && err.contains("2 documents removed") && err.contains("2 documents in"), "{err}");
        assert_eq!(ids(&index), ["b", "d"]);
        let out = done(&["search", "--index", &index, "--mode", "dense", "--json", "water"]);
        let mut found: Vec<Value> = hits(&out).iter().map(|hit| hit["id"].clone()).collect();
        found.sort_by_key(ToString::to_string);
        assert_eq!(found, ["b", "d"], "no chunk of a removed document is left");
        let (code, err) = world.index_file(&data, &index, &["--prune"]);
        assert!(code == 0 && !err.contains("removed"), "{err}");
    }
}

#[test]
fn ids_are_found_again_or_refused() {
    let Some(world) = World::new() else { return };
    let data = world.write(
        "ids.jsonl",
        "{\"_id\": 12345678901234567890123, \"text\": \"everyone\"}\n{\"_id\": -7, \"text\": \"everyone\"}\n{\"id\": 18446744073709551616, \"text\": \"everyone\"}\n",
    );
    let index = world.path("ids");
    for _ in 0..2 {
        let (code, err) = world.index_file(&data, &index, &[]);
        assert_eq!(code, 0, "{err}");
        assert_eq!(ids(&index), ["-7", "12345678901234567890123", "18446744073709551616"]);
    }
    let (_, _, err) = run(&["delete", "--index", &index, "12345678901234567890123", "--", "-7"]);
    assert!(err.contains("2 documents deleted"), "{err}");
    for (id, words) in [
        ("1.5", "whole number"),
        ("1e22", "whole number"),
        ("true", "whole number"),
        ("\" \"", "empty"),
        ("[1]", "_id"),
    ] {
        let data = world.write("bad.jsonl", &format!("{{\"_id\": {id}, \"text\": \"everyone\"}}\n"));
        let (code, err) = world.index_file(&data, &world.path("bad"), &[]);
        assert!(code == 1 && err.contains("bad.jsonl line 1") && err.contains(words), "{id}: {code} {err}");
    }
    for length in [513, 70_000] {
        let data = world.write("long.jsonl", &everyone(&[&"x".repeat(length)]));
        let (code, err) = world.index_file(&data, &world.path("bad"), &[]);
        assert!(code == 1 && err.contains("long.jsonl line 1") && err.contains("512"), "{length}: {code}");
    }
}

#[test]
fn documents_without_text_are_counted() {
    let Some(world) = World::new() else { return };
    let documents = [
        json!({"_id": "a", "text": " "}),
        json!({"_id": "b", "metadata": {"x": 1}}),
        json!({"_id": "c", "text": "everyone"}),
    ];
    let data = world.write("bare.jsonl", &lines(&documents));
    let (code, err) = world.index_file(&data, &world.path("bare"), &[]);
    assert!(
        code == 0 && err.contains("2 documents have neither title nor text") && err.contains("3 documents in"),
        "{err}"
    );
}

/// Vectors that come along with a document, and files of vectors.
#[test]
fn vectors_from_elsewhere_are_checked() {
    let Some(world) = World::new() else { return };
    let unit: Vec<f32> = (0..16).map(|at| if at == 3 { 1.0 } else { 0.0 }).collect();
    let with_vector = |vector: Value| {
        lines(&[json!({"_id": "a", "text": "everyone"}), json!({"_id": "b", "text": "everyone", "vector": vector})])
    };
    let data = world.write("vectors.jsonl", &with_vector(json!(unit)));
    let (code, err) = world.index_file(&data, &world.path("own"), &[]);
    assert!(code == 0 && err.contains("(1 encoded"), "{err}");
    for (vector, words) in
        [(json!([1.0, 2.0]), "has 2 values; the index takes 16"), (json!(vec![0.0; 16]), "all zeros")]
    {
        let data = world.write("vectors.jsonl", &with_vector(vector));
        for index in ["own", "fresh"] {
            let (code, err) = world.index_file(&data, &world.path(index), &[]);
            let expected = ["vectors.jsonl line 2", "nothing was written", words];
            assert!(code == 1 && expected.iter().all(|words| err.contains(words)), "{code} {err}");
        }
        assert!(!std::path::Path::new(&world.path("fresh")).exists());
        let (code, err) = world.index_file(&data, &world.path("own"), &["--on-wrong-line", "skip"]);
        assert!(code == 0 && err.contains("1 line was left out") && err.contains(words), "{code} {err}");
    }

    let data = world.write("two.jsonl", &everyone(&["a", "b"]));
    let (file, model) = (world.path("v.npy"), world.model());
    let encode = |kind: &str| {
        done(&["encode", "--model", &model, "--input", &data, "--output", &file, "--kind", kind]);
    };
    let refused = |words: &[&str]| {
        let (code, err) = world.index_file(&data, &world.path("refused"), &["--vectors", &file]);
        assert!(code == 1 && words.iter().all(|words| err.contains(words)), "{words:?}: {code} {err}");
        assert!(!std::path::Path::new(&world.path("refused")).exists());
    };
    encode("query");
    refused(&["v.npy", "vectors of queries", "--kind document"]);
    encode("document");
    let (code, err) = world.index_file(&data, &world.path("given"), &["--vectors", &file]);
    assert!(code == 0 && err.contains("(0 encoded") && !err.contains("warning"), "{err}");
    let whole = std::fs::read(&file).unwrap();
    let names = format!("{file}.json");
    let listed = std::fs::read_to_string(&names).unwrap();
    let start = whole.len() - 2 * 16 * 4;
    let with_row = |row: [f32; 16]| {
        let mut bytes = whole.clone();
        let row: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes[start + 64..].copy_from_slice(&row);
        std::fs::write(&file, bytes).unwrap();
    };
    with_row([0.0; 16]);
    refused(&["v.npy", "row 1", "`b`", "all zeros"]);
    with_row([f32::NAN; 16]);
    refused(&["v.npy", "row 1", "`b`", "NaN"]);
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    refused(&["v.npy", "cut"]);
    std::fs::write(&file, &whole).unwrap();
    for (names_said, words) in [
        (listed.replace("\"a\",", ""), "names 1 rows"),
        (listed.replace("\"a\"", "\"b\""), "named twice"),
        ("{".to_owned(), "no list of rows"),
        (listed.replace("\"fingerprint\":\"", "\"fingerprint\":\"0"), "made by the model"),
    ] {
        std::fs::write(&names, names_said).unwrap();
        refused(&["v.npy", words]);
    }
    // Written by an earlier version, which did not say what the vectors are of.
    let mut earlier: Value = serde_json::from_str(&listed).unwrap();
    earlier.as_object_mut().unwrap().remove("kind").unwrap();
    std::fs::write(&names, earlier.to_string()).unwrap();
    let (code, err) = world.index_file(&data, &world.path("earlier"), &["--vectors", &file]);
    assert!(code == 0 && err.contains("warning") && err.contains("documents or of queries"), "{err}");
    // Vectors of other documents.
    std::fs::write(&names, &listed).unwrap();
    let other = world.write("other.jsonl", &everyone(&["a", "z"]));
    let (code, err) = world.index_file(&other, &world.path("other"), &["--vectors", &file]);
    assert!(code == 0 && err.contains("1 of the 2 vectors were not used"), "{err}");
}

#[test]
fn metadata_of_any_shape_is_kept_or_refused() {
    let Some(world) = World::new() else { return };
    let many: serde_json::Map<String, Value> = (0..10_000).map(|at| (format!("name{at}"), json!(at))).collect();
    let data = world.write("many.jsonl", &lines(&[json!({"_id": "a", "text": "everyone", "metadata": many})]));
    let (code, err) = world.index_file(&data, &world.path("index"), &[]);
    assert!(code == 1 && err.contains("line 1") && err.contains("10000 names"), "{code} {err}");
    let values: Vec<u64> = (0..5000).collect();
    let data =
        world.write("long.jsonl", &lines(&[json!({"_id": "a", "text": "everyone", "metadata": {"cited": values}})]));
    let (code, err) = world.index_file(&data, &world.path("cited"), &[]);
    assert_eq!(code, 0, "{err}");
    for (fields, words) in [
        (json!({"metadata": "x"}), "`metadata` must be an object"),
        (json!({"metadata": [1]}), "`metadata` must be an object"),
        (json!({"title": 3}), "`title` must be a string"),
        (json!({"text": ["a", "b"]}), "`text` must be a string"),
    ] {
        let mut document = json!({"_id": "a", "text": "everyone"});
        document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let data = world.write("shape.jsonl", &lines(&[document]));
        let (code, err) = world.index_file(&data, &world.path("shape"), &[]);
        assert!(code == 1 && err.contains("shape.jsonl line 1") && err.contains(words), "{code} {err}");
    }
}
