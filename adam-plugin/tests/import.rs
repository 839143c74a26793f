//! Indexes that are brought over: one without vectors, one of another model, and one that was killed in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Arc;

use adam_encoder::EncoderOptions;
use adam_plugin::engine::Document;
use adam_plugin::import::{ImportOptions, Plan, ReembedOptions, import, losses, num_docs, reembed};
use adam_plugin::{Chunking, Engine, Mode, PinnedModel, SearchRequest, WriterSettings};
use common::Words;
use common::indexes::{MEMORY, old_index, shop};
use tantivy::schema::{STORED, STRING, Schema, TEXT};
use tantivy::{Index, doc};

fn options(key: Option<&str>) -> ImportOptions {
    options_of(&["name", "body"], key)
}

fn options_of(fields: &[&str], key: Option<&str>) -> ImportOptions {
    let options = ImportOptions::new(fields.iter().copied()).commit_every(5).memory(MEMORY);
    match key {
        Some(key) => options.key(key),
        None => options,
    }
}

fn every(documents: usize) -> ReembedOptions {
    ReembedOptions::default().commit_every(documents).memory(MEMORY)
}

fn best(engine: &Engine, mode: Mode, query: &str) -> Vec<String> {
    let request = SearchRequest::new(query).mode(mode).top(3);
    engine.search(&request).unwrap().hits.into_iter().map(|hit| hit.id).collect()
}

#[test]
fn an_old_index_gets_vectors_and_keeps_its_fields() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    old_index(&old, 30);
    let model = Arc::new(Words::new());
    let settings = WriterSettings::default;
    let done = import(&old, &new, model.clone(), model.pinned(), &options(Some("sku")), settings()).unwrap();
    assert_eq!((done.num_docs, done.lost.as_slice()), (29, &["hidden".to_owned()][..]));
    assert_eq!((num_docs(&old).unwrap(), model.count()), (29, 29));

    let engine = Engine::open(&new).unwrap().with_encoder(model.clone()).unwrap();
    assert_eq!(engine.num_docs(), 29);
    for mode in Mode::ALL {
        assert_eq!(best(&engine, mode, "comet item 8 all about comet and number8")[0], "s8", "{mode}");
    }
    let filters = vec!["price:8..9".parse().unwrap()];
    let request = SearchRequest::new("crow").filters(filters);
    assert_eq!(engine.search(&request).unwrap().hits.len(), 2);

    // Again: nothing is encoded, nothing is doubled. The model has seen the questions since.
    let before = model.count();
    import(&old, &new, model.clone(), model.pinned(), &options(Some("sku")), settings()).unwrap();
    engine.reload().unwrap();
    assert_eq!((engine.num_docs(), model.count()), (29, before));
}

#[test]
fn an_old_index_without_a_key_is_brought_over_once() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    old_index(&old, 12);
    let model = Arc::new(Words::new());
    for _ in 0..2 {
        let settings = WriterSettings::default();
        import(&old, &new, model.clone(), model.pinned(), &options(None), settings).unwrap();
        assert_eq!(Engine::open(&new).unwrap().num_docs(), 11);
    }
    assert_eq!(model.count(), 11);
}

/// An import goes on only as it was begun, and changes nothing where it was asked for something else.
#[test]
fn another_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    old_index(&old, 6);
    let model = Arc::new(Words::new());
    let bring =
        |options: ImportOptions| import(&old, &new, model.clone(), model.pinned(), &options, WriterSettings::default());
    bring(options(Some("sku"))).unwrap();
    let others = [
        (options_of(&["name"], Some("sku")), "`name`, `body`"),
        (options(None), "the key `sku`"),
        (options(Some("sku")).chunks(Chunking { tokens: 8, overlap: 2 }), "no chunks"),
    ];
    for (other, words) in others {
        let message = bring(other).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("another folder"), "{words}: {message}");
    }
    bring(options(Some("sku"))).unwrap();
    assert_eq!((Engine::open(&new).unwrap().num_docs(), model.count()), (5, 5));
}

/// An index with a key that may repeat, in as many segments as there are lists.
fn with_keys(path: &Path, segments: &[&[Option<&str>]]) {
    let mut schema = Schema::builder();
    let sku = schema.add_text_field("sku", STRING | STORED);
    let name = schema.add_text_field("name", TEXT | STORED);
    std::fs::create_dir_all(path).unwrap();
    let index = Index::create_in_dir(path, schema.build()).unwrap();
    let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, MEMORY).unwrap();
    writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
    for keys in segments {
        for key in *keys {
            let mut document = doc!(name => "an item");
            if let Some(key) = key {
                document.add_text(sku, key);
            }
            writer.add_document(document).unwrap();
        }
        writer.commit().unwrap();
    }
    writer.wait_merging_threads().unwrap();
}

#[test]
fn a_key_that_is_not_unique_is_refused_before_the_work() {
    let model = Arc::new(Words::new());
    let long = "x".repeat(70_000);
    let cases: [(&[&[Option<&str>]], &str); 5] = [
        (&[&[Some("a"), Some("b"), Some("a"), Some("a")]], "3 documents have the value `a`"),
        (&[&[Some("a"), Some("b")], &[Some("c"), Some("b")]], "2 documents have the value `b`"),
        (&[&[Some("a"), None], &[None]], "2 documents have no value"),
        (&[&[Some("a"), Some(&long)]], "1 document has no value, or one longer"),
        (&[&[Some("same"); 50], &[Some("same"); 3]], "53 documents have the value `same`"),
    ];
    for (segments, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        with_keys(&old, segments);
        let bring = |key| {
            let options = options_of(&["name"], key);
            import(&old, &new, model.clone(), model.pinned(), &options, WriterSettings::default())
        };
        let said = bring(Some("sku")).unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("`sku`") && said.contains("or no key"), "{words}: {said}");
        assert!(!new.exists(), "the folder is free for the right key");
        let documents: usize = segments.iter().map(|keys| keys.len()).sum();
        assert_eq!(bring(None).unwrap().num_docs, documents as u64);
        assert_eq!(Engine::open(&new).unwrap().num_docs(), documents as u64);
    }
    // Deleted documents do not count.
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    with_keys(&old, &[&[Some("a"), Some("b")]]);
    let index = Index::open_in_dir(&old).unwrap();
    let sku = index.schema().get_field("sku").unwrap();
    let name = index.schema().get_field("name").unwrap();
    let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, MEMORY).unwrap();
    writer.delete_term(tantivy::Term::from_field_text(sku, "a"));
    writer.commit().unwrap();
    writer.add_document(doc!(sku => "a", name => "again")).unwrap();
    writer.commit().unwrap();
    let options = options_of(&["name"], Some("sku"));
    import(&old, &new, model.clone(), model.pinned(), &options, WriterSettings::default()).unwrap();
    assert_eq!(Engine::open(&new).unwrap().num_docs(), 2);
}

#[test]
fn fast_fields_are_recovered_and_losses_are_known_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new, other] = ["old", "new", "other"].map(|name| folder.path().join(name));
    shop(&old);
    let options = options_of(&["name"], Some("sku"));
    let plan = Plan::new(&old, &options).unwrap();
    assert_eq!(plan.num_docs(), 7);
    assert_eq!(plan.lost(), ["hidden"]);
    assert_eq!(plan.recovered(), ["brand", "stock", "change", "sold", "day", "address", "kind", "code"]);
    let model = Arc::new(Words::new());
    plan.run(&new, model.clone(), model.pinned(), WriterSettings::default()).unwrap();
    // Changing the model keeps them, too.
    let twin = Arc::new(Words::of(32, "other 1"));
    assert_eq!(losses(&new).unwrap(), ["hidden"]);
    reembed(&new, &other, twin.clone(), twin.pinned(), &every(3), WriterSettings::default()).unwrap();
    for index in [new, other] {
        let engine = Engine::open(&index).unwrap();
        let found = |filter: &str| {
            let filters = vec![filter.parse().unwrap()];
            let request = SearchRequest::new("kettle").filters(filters).mode(Mode::Bm25);
            engine.search(&request).unwrap().hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>()
        };
        for filter in ["brand:b3", "stock:3", "price:3.5", "kind:/shop/k3"] {
            assert_eq!(found(filter), ["s3"], "{filter}");
        }
        assert_eq!(found("brand:acme").len(), 6);
        let hit = engine.get("s3").unwrap().unwrap().metadata.unwrap();
        let expected = serde_json::json!({"brand": ["acme", "b3"], "stock": 3, "change": -3, "price": 3.5, "sold": false,
            "day": "2023-11-14T22:13:23Z", "kind": "/shop/k3", "code": "A/8="});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&hit[name], value, "{name}");
        }
        assert!(engine.get("bare").unwrap().unwrap().metadata.is_none());
    }
}

/// What an index that was brought over knows of a document can be written to it again, by name and type.
#[test]
fn metadata_goes_into_the_fields_of_an_imported_index() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    shop(&old);
    let model = Arc::new(Words::new());
    let options = options_of(&["name"], Some("sku"));
    import(&old, &new, model.clone(), model.pinned(), &options, WriterSettings::default()).unwrap();
    let engine = Engine::open(&new).unwrap().with_encoder(model.clone()).unwrap();
    let new_one = |metadata: serde_json::Value| Document {
        id: "late".to_owned(),
        text: "copper kettle".to_owned(),
        metadata: metadata.as_object().cloned(),
        ..Document::default()
    };
    let metadata = serde_json::json!({"brand": ["acme", "late"], "stock": 7.0, "change": -7, "price": 7, "sold": true, "code": "A/8=",
        "day": ["2024-05-31T10:00:00+02:00", "2023-01-01"], "address": "::9", "kind": "/shop/late", "hidden": "found", "name": null});
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    writer.update_document(engine.document(new_one(metadata)).unwrap()).unwrap();
    // What was read can be written again, and is the same.
    let before = engine.get("s4").unwrap().unwrap();
    writer.update_document(engine.document(before.clone()).unwrap()).unwrap();
    writer.commit().unwrap();
    engine.reload().unwrap();
    assert_eq!(engine.get("s4").unwrap().unwrap(), before);
    for filter in
        ["brand:late", "stock:7", "price:7..7", "kind:/shop/late", "hidden:found", "day:2024-05-31T08:00:00Z.."]
    {
        let request = SearchRequest::new("copper kettle").filters(vec![filter.parse().unwrap()]).mode(Mode::Bm25);
        let hits = engine.search(&request).unwrap().hits;
        assert_eq!(hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["late"], "{filter}");
        assert_eq!(hits[0].metadata.as_ref().unwrap()["price"], 7.0);
        let days = serde_json::json!(["2024-05-31T08:00:00Z", "2023-01-01T00:00:00Z"]);
        assert_eq!(hits[0].metadata.as_ref().unwrap()["day"], days);
    }
    for (metadata, words) in [
        (
            serde_json::json!({"stock": "many"}),
            "`stock` is \"many\", and that field of the index takes whole numbers from 0",
        ),
        (serde_json::json!({"stock": -1}), "`stock`"),
        (serde_json::json!({"stock": 1.5}), "`stock`"),
        (serde_json::json!({"price": "7"}), "takes numbers"),
        (serde_json::json!({"price": [1, [2]]}), "takes numbers"),
        (serde_json::json!({"sold": "yes"}), "true or false"),
        (serde_json::json!({"day": "soon"}), "dates"),
        (serde_json::json!({"day": 5}), "dates"),
        (serde_json::json!({"day": "9999-12-31T23:59:59-05:00"}), "dates"),
        (serde_json::json!({"kind": "shop/late"}), "facets"),
        (serde_json::json!({"kind": ""}), "facets"),
        (serde_json::json!({"code": "%"}), "base64"),
        (serde_json::json!({"address": "nowhere"}), "IP addresses"),
        (serde_json::json!({"brand": {"a": 1}}), "text"),
        (serde_json::json!({"brand": 3}), "text"),
        (serde_json::json!({"colour": "red"}), "`colour` would be lost"),
        (serde_json::json!({"name": "something else"}), "given twice"),
        (serde_json::json!({"sku": "other"}), "given twice"),
        (serde_json::json!({"vector": [1.0]}), "`vector` would be lost"),
        (serde_json::json!({"adam_document_hash": 1}), "would be lost"),
    ] {
        let said = engine.document(new_one(metadata.clone())).unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("`late`"), "{metadata}: {said}");
    }
}

#[test]
fn what_cannot_be_brought_over_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    old_index(&old, 3);
    let model = Arc::new(Words::new());
    let refused = |old: &Path, new: &Path, fields: &[&str]| {
        let options = options_of(fields, None);
        let settings = WriterSettings::default();
        import(old, new, model.clone(), model.pinned(), &options, settings).unwrap_err().to_string()
    };
    let new = folder.path().join("new");
    for (fields, words) in
        [(&["nowhere"][..], "`name`"), (&["hidden"], "stored"), (&["price"], "no text"), (&[], "at least one field")]
    {
        let message = refused(&old, &new, fields);
        assert!(message.contains(words), "{fields:?}: {message}");
        assert!(!new.exists());
    }
    assert!(refused(&old, &old, &["name"]).contains("at once"));
    assert!(refused(&folder.path().join("nowhere"), &new, &["name"]).contains("nowhere"));
}

/// A key by which no document could be found again, or named in a hit.
#[test]
fn a_key_that_cannot_serve_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    old_index(&old, 3);
    let model = Arc::new(Words::new());
    for (key, words) in [("nowhere", "`sku`"), ("name", "one term"), ("hidden", "one term"), ("price", "one term")] {
        let settings = WriterSettings::default();
        let done = import(&old, &new, model.clone(), model.pinned(), &options(Some(key)), settings);
        let message = done.unwrap_err().to_string();
        assert!(message.contains(words) && message.contains(&format!("`{key}`")), "{key}: {message}");
        assert!(!new.exists(), "{key}");
    }
}

/// Adding a field twice to a schema panics.
#[test]
fn names_that_the_new_index_needs_are_refused() {
    let model = Arc::new(Words::new());
    for (name, key, refused) in [
        ("vector", None, true),
        ("vector", Some("sku"), true),
        ("adam_origin", None, true),
        ("adam_origin", Some("sku"), false),
        ("adam_document_hash", Some("sku"), true),
        ("adam_parent", Some("sku"), true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let mut schema = Schema::builder();
        let sku = schema.add_text_field("sku", STRING | STORED);
        let body = schema.add_text_field("body", TEXT | STORED);
        schema.add_text_field(name, STRING | STORED);
        std::fs::create_dir_all(&old).unwrap();
        let index = Index::create_in_dir(&old, schema.build()).unwrap();
        let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, MEMORY).unwrap();
        writer.add_document(doc!(sku => "s1", body => "all about iron")).unwrap();
        writer.commit().unwrap();
        writer.wait_merging_threads().unwrap();
        let options = options_of(&["body"], key);
        let done = import(&old, &new, model.clone(), model.pinned(), &options, WriterSettings::default());
        match done {
            Ok(done) => assert!(!refused && done.num_docs == 1, "{name}"),
            Err(error) => {
                let message = error.to_string();
                assert!(refused && message.contains(&format!("`{name}`")), "{name}: {message}");
                assert!(!new.exists(), "{name}");
            }
        }
    }
}

/// Documents that are added later go to the fields that the index has, whatever their names, and come back from there.
#[test]
fn documents_go_to_the_fields_of_an_imported_index() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    old_index(&old, 6);
    let model = Arc::new(Words::new());
    import(&old, &new, model.clone(), model.pinned(), &options(Some("sku")), WriterSettings::default()).unwrap();
    let engine = Engine::open(&new).unwrap().with_encoder(model.clone()).unwrap();
    assert_eq!(engine.get("s2").unwrap().unwrap().title, "comet item 2");
    let added = Document {
        id: "late".to_owned(),
        title: "brass item".to_owned(),
        text: "all about brass".to_owned(),
        ..Document::default()
    };
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    writer.update_document(engine.document(added.clone()).unwrap()).unwrap();
    writer.commit().unwrap();
    engine.reload().unwrap();
    assert_eq!(engine.get("late").unwrap().unwrap(), added);
    for mode in Mode::ALL {
        assert_eq!(best(&engine, mode, "brass")[0], "late", "{mode}");
    }
    let metadata = serde_json::json!({"year": 2000}).as_object().cloned();
    let message = engine.document(Document { metadata, ..added.clone() }).unwrap_err().to_string();
    for words in ["`late`", "metadata `year`", "`sku`", "`name`", "`body`", "by name in `price`, `hidden`"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    drop(writer);

    // With one field there is none for a title.
    let single = folder.path().join("single");
    let one = options_of(&["body"], Some("sku"));
    import(&old, &single, model.clone(), model.pinned(), &one, WriterSettings::default()).unwrap();
    let engine = Engine::open(&single).unwrap();
    let message = engine.document(added.clone()).unwrap_err().to_string();
    assert!(message.contains("title") && message.contains("`body`"), "{message}");
    engine.document(Document { title: String::new(), ..added }).unwrap();
}

#[test]
fn another_model_is_refused_and_reembed_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let model = Arc::new(Words::new());
    let engine = Engine::builder(&first).encoder(model.clone()).open_or_create().unwrap();
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    for number in 0..20 {
        let metadata = serde_json::json!({"year": 2000 + number}).as_object().cloned();
        let text = format!("text about number{number}");
        let document = Document { id: format!("d{number}"), title: "T".to_owned(), text, metadata, vector: None };
        writer.update_document(engine.document(document).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    drop((writer, engine));

    let other = Arc::new(Words::of(32, "other 1"));
    for message in [
        Engine::open(&first).unwrap().with_encoder(other.clone()).err().unwrap().to_string(),
        Engine::builder(&first).encoder(other.clone()).open_or_create().err().unwrap().to_string(),
    ] {
        for words in ["words 1", "other 1", "48 values", "32 values", "a new index"] {
            assert!(message.contains(words), "{words}: {message}");
        }
    }
    // Of the same dimension, it is another all the same.
    let twin = Arc::new(Words::of(48, "twin 1"));
    assert!(Engine::open(&first).unwrap().with_encoder(twin).is_err());

    for _ in 0..2 {
        let settings = WriterSettings::default();
        let done = reembed(&first, &second, other.clone(), other.pinned(), &every(7), settings).unwrap();
        assert_eq!(done.num_docs, 20);
    }
    assert_eq!(other.count(), 20, "started again, it goes on where it was");
    // An index that was begun from another one is not added to.
    let third = folder.path().join("third");
    reembed(&second, &third, model.clone(), model.pinned(), &every(7), WriterSettings::default()).unwrap();
    let mixed = reembed(&third, &second, other.clone(), other.pinned(), &every(7), WriterSettings::default());
    assert!(mixed.unwrap_err().to_string().contains("was begun from"));
    let begun = reembed(&third, &first, model.clone(), model.pinned(), &every(7), WriterSettings::default());
    assert!(begun.unwrap_err().to_string().contains("name another folder"));
    let engine = Engine::open(&second).unwrap().with_encoder(other).unwrap();
    assert_eq!(engine.num_docs(), 20);
    for mode in Mode::ALL {
        assert_eq!(best(&engine, mode, "T text about number7")[0], "d7", "{mode}");
    }
    let filters = vec!["year:2007".parse().unwrap()];
    let request = SearchRequest::new("text about").filters(filters);
    assert_eq!(engine.search(&request).unwrap().hits[0].id, "d7");
}

#[test]
fn a_model_that_has_moved_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::new());
    let gone = folder.path().join("gone");
    let pinned = PinnedModel { folder: Some(gone.clone()), ..model.pinned() };
    let index = folder.path().join("index");
    drop(Engine::builder(&index).encoder(model).pinned(pinned).open_or_create().unwrap());
    let opened = Engine::builder(&index).pinned_encoder(None, EncoderOptions::default()).open();
    let message = opened.err().unwrap().to_string();
    for words in ["`words 1`", "name its folder", gone.to_str().unwrap(), index.to_str().unwrap()] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn an_imported_index_with_chunks_can_change_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let (old, first, second) = (folder.path().join("old"), folder.path().join("first"), folder.path().join("second"));
    old_index(&old, 10);
    let model = Arc::new(Words::new());
    let options = options(Some("sku")).chunks(Chunking { tokens: 8, overlap: 2 });
    import(&old, &first, model.clone(), model.pinned(), &options, WriterSettings::default()).unwrap();
    let other = Arc::new(Words::of(32, "other 1"));
    reembed(&first, &second, other.clone(), other.pinned(), &every(100), WriterSettings::default()).unwrap();
    let engine = Engine::open(&second).unwrap().with_encoder(other).unwrap();
    assert_eq!(engine.num_docs(), 9);
    assert_eq!(best(&engine, Mode::Dense, "iron item 4")[0], "s4");
}

/// What was read can be written again, also where several fields are shown as text.
#[test]
fn a_document_that_is_read_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    let mut schema = Schema::builder();
    let sku = schema.add_text_field("sku", STRING | STORED);
    let fields = ["name", "summary", "details"].map(|name| schema.add_text_field(name, TEXT | STORED));
    std::fs::create_dir_all(&old).unwrap();
    let index = Index::create_in_dir(&old, schema.build()).unwrap();
    let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, MEMORY).unwrap();
    writer.add_document(doc!(sku => "a", fields[0] => "kettle", fields[1] => "boils", fields[2] => "water")).unwrap();
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    let model = Arc::new(Words::new());
    let options = options_of(&["name", "summary", "details"], Some("sku"));
    import(&old, &new, model.clone(), model.pinned(), &options, WriterSettings::default()).unwrap();
    let engine = Engine::open(&new).unwrap().with_encoder(model).unwrap();
    let before = engine.get("a").unwrap().unwrap();
    assert_eq!((before.title.as_str(), before.text.as_str()), ("kettle", "boils"));
    assert_eq!(before.metadata.as_ref().unwrap()["details"], "water");
    let mut writer = engine.writer(MEMORY, WriterSettings::default()).unwrap();
    writer.update_document(engine.document(before.clone()).unwrap()).unwrap();
    writer.commit().unwrap();
    assert_eq!(writer.progress().unchanged, 1);
    engine.reload().unwrap();
    assert_eq!(engine.get("a").unwrap().unwrap(), before);
}
