//! Words of texts in any script, and what is searched in their place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Arc;

use adam_plugin::engine::Document;
use adam_plugin::{
    Engine, EngineBuilder, HashFields, Hit, Language, Layout, Mode, PluginError, SearchRequest, Synonyms, Typos,
    WriterSettings,
};
use common::Words;
use tantivy::schema::{FAST, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy_dense::{VectorField, VectorOptions};

fn engine_of(
    path: &Path,
    options: impl FnOnce(EngineBuilder) -> EngineBuilder,
    documents: &[(String, String)],
) -> Engine {
    let engine = options(Engine::builder(path).encoder(Arc::new(Words::new()))).open_or_create().unwrap();
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
    for (id, text) in documents {
        let document = Document { id: id.clone(), text: text.clone(), ..Document::default() };
        writer.update_document(engine.document(document).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.reload().unwrap();
    engine
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

/// Texts in scripts without spaces, each with the words that a reader sees in it.
const TEXTS: [(&str, &[&str]); 8] = [
    ("chinese", &["乌鸦", "用", "树枝", "做", "工具", "从", "树洞", "里", "取出", "昆虫", "的", "幼虫"]),
    ("taiwan", &["臺北", "圖書館", "收藏", "古代", "地圖", "和", "手稿"]),
    ("japanese", &["カラス", "は", "車", "を", "使って", "胡桃", "の", "殻", "を", "割る"]),
    ("thai", &["นก", "กา", "ใช้", "กิ่งไม้", "เป็น", "เครื่องมือ", "หา", "อาหาร"]),
    ("khmer", &["ក្អែក", "ប្រើ", "មែកឈើ", "ដើម្បី", "រក", "អាហារ"]),
    ("lao", &["ນົກ", "ກາ", "ໃຊ້", "ໄມ້", "ເປັນ", "ເຄື່ອງມື", "ຊອກ", "ອາຫານ"]),
    ("burmese", &["ကျီးကန်း", "သည်", "သစ်ကိုင်း", "ကို", "အသုံးပြု", "ပြီး", "အစာ", "ရှာ", "သည်"]),
    ("korean", &["까마귀", "는 ", "나뭇가지", "를 ", "도구", "로 ", "씁니다"]),
];

fn documents() -> Vec<(String, String)> {
    TEXTS.iter().map(|(id, words)| ((*id).to_owned(), words.concat())).collect()
}

fn lexical(engine: &Engine, query: &str) -> Vec<String> {
    let request = SearchRequest::new(query).mode(Mode::Bm25);
    ids(&engine.search(&request).unwrap().hits).into_iter().map(str::to_owned).collect()
}

#[test]
fn every_word_of_a_text_finds_it() {
    for language in ["any", "zh", "ja", "th", "km", "lo", "my", "ko", "english"] {
        let folder = tempfile::tempdir().unwrap();
        let language: Language = language.parse().unwrap();
        let engine = engine_of(folder.path(), |builder| builder.language(language), &documents());
        for (id, words) in TEXTS {
            for word in words {
                let found = lexical(&engine, word.trim());
                assert!(found.iter().any(|found| found == id), "`{word}` of {id} in {language}: {found:?}");
            }
            // The whole text finds itself before all others.
            assert_eq!(lexical(&engine, &words.concat()).first().map(String::as_str), Some(id), "{language}");
        }
    }
}

/// What is marked is the word, and nothing of the words beside it.
#[test]
fn the_word_that_was_searched_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let any: Language = "any".parse().unwrap();
    let engine = engine_of(folder.path(), |builder| builder.language(any), &documents());
    for (id, word) in [
        ("chinese", "昆虫"),
        ("taiwan", "圖書館"),
        ("japanese", "胡桃"),
        ("thai", "เครื่องมือ"),
        ("khmer", "អាហារ"),
        ("lao", "ເຄື່ອງມື"),
        ("burmese", "အသုံးပြု"),
        ("korean", "나뭇가지"),
    ] {
        let request = SearchRequest::new(word).mode(Mode::Bm25).snippets(true);
        let hits = engine.search(&request).unwrap().hits;
        let hit = hits.iter().find(|hit| hit.id == id).unwrap();
        let snippet = hit.snippet.as_ref().unwrap();
        let marked: Vec<&str> = snippet.highlights.iter().map(|&(start, end)| &snippet.text[start..end]).collect();
        assert_eq!(marked, [word]);
    }
}

/// Indexes of the version before have the same words as ever.
#[test]
fn an_index_of_the_version_before_is_searched_as_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut schema = Schema::builder();
    schema.add_text_field("id", STRING | STORED | FAST);
    let words = TextFieldIndexing::default()
        .set_tokenizer("adam_any_2")
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    schema.add_text_field("text", TextOptions::default().set_indexing_options(words).set_stored());
    VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(48)).unwrap();
    HashFields::add_to(&mut schema);
    let layout = Layout {
        key: "id".to_owned(),
        searched: vec!["text".to_owned()],
        title: None,
        shown: vec!["text".to_owned()],
        metadata: None,
        vector: "vector".to_owned(),
        template: "{text}".to_owned(),
        chunks: None,
    };
    let engine = engine_of(folder.path(), |builder| builder.schema(schema.build(), layout), &documents());
    let found = |query: &str| {
        let response = engine.search(&SearchRequest::new(query).mode(Mode::Bm25)).unwrap();
        (response.hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>(), response.warnings)
    };
    assert_eq!(found("昆虫"), (vec!["chinese".to_owned()], Vec::new()));
    // Pairs only: of the two letters together no pair is found.
    assert_eq!(found("乌虫").0, [""; 0]);
    let long = found(&"x".repeat(300)).1;
    assert!(long[0].contains("of 300 bytes is not searched"), "{long:?}");
}

fn birds(folder: &Path) -> Engine {
    let texts = [
        ("crow", "Crows bend wire into hooks"),
        ("crew", "The crew of the ship"),
        ("raven", "Ravens hide their food"),
        ("tv", "A television programme about birds"),
        ("york", "Pigeons of New York City"),
        ("new", "A new city in York county"),
        (
            "long",
            "A crow among many other words that make this text longer than all the others of this small collection of birds",
        ),
    ];
    engine_of(folder, |builder| builder, &texts.map(|(id, text)| (id.to_owned(), text.to_owned())))
}

fn lexical_with(engine: &Engine, query: &str, options: impl FnOnce(SearchRequest) -> SearchRequest) -> Vec<Hit> {
    engine.search(&options(SearchRequest::new(query).mode(Mode::Bm25).snippets(true).explain(true))).unwrap().hits
}

#[test]
fn words_with_typing_errors_are_found_below_those_as_typed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = birds(folder.path());
    assert_eq!(ids(&lexical_with(&engine, "crwos", |request| request)), [""; 0]);
    let hits = lexical_with(&engine, "crows", |request| request.typos(Typos::default()));
    assert_eq!(ids(&hits), ["crow", "long", "crew"], "of similar words the one typed comes first");
    let why = hits[2].explanation.as_ref().unwrap().to_string();
    assert!(why.contains("`crew` for `crow`, typing errors: 1"), "{why}");
    let hits = lexical_with(&engine, "ravesn telivision", |request| request.typos(Typos::default()));
    assert_eq!(ids(&hits).len(), 2);
    let snippet = hits.iter().find(|hit| hit.id == "tv").unwrap().snippet.clone().unwrap();
    assert_eq!(&snippet.text[snippet.highlights[0].0..snippet.highlights[0].1], "television");
    // Another first letter, unless that may be wrong as well.
    assert_eq!(ids(&lexical_with(&engine, "draven", |request| request.typos(Typos::default()))), [""; 0]);
    assert_eq!(ids(&lexical_with(&engine, "draven", |request| request.typos(Typos::default().prefix(0)))), ["raven"]);
    let wrong = SearchRequest::new("crow").typos(Typos::default().expansions(1000));
    assert!(matches!(engine.search(&wrong), Err(PluginError::Query { .. })));
}

#[test]
fn what_may_have_been_meant_is_said_in_the_words_of_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let engine = birds(folder.path());
    let meant = |query: &str| engine.did_you_mean(query).unwrap();
    // The index holds stems: the word is as the text has it.
    assert_eq!(meant("pigoens, of New Yrok?").as_deref(), Some("pigeons, of New york?"));
    assert_eq!(meant("telivision programme").as_deref(), Some("television programme"));
    assert_eq!(meant("crows bend wire"), None);
    assert_eq!(meant("zebra 2019 the"), None);
    let response = engine.search(&SearchRequest::new("ravns").mode(Mode::Bm25).suggest(true)).unwrap();
    assert_eq!((response.hits.len(), response.did_you_mean.as_deref()), (0, Some("ravens")));
}

#[test]
fn synonyms_of_one_word_and_of_several_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let engine = birds(folder.path());
    let rules = "tv, television, telly\nbig apple, nyc => new york city\n乌鸦, crow";
    let engine = engine.with_synonyms(&Synonyms::parse(rules, "birds.txt").unwrap()).unwrap();
    let found = |query: &str| lexical_with(&engine, query, |request| request);
    let hits = found("TV");
    assert_eq!(ids(&hits), ["tv"]);
    let why = hits[0].explanation.as_ref().unwrap().to_string();
    assert!(why.contains("`television`, a synonym of `tv`"), "{why}");
    // As one phrase, and not as three words.
    assert_eq!(ids(&found("the big apple")), ["york"]);
    assert_eq!(ids(&found("nyc")), ["york"]);
    assert_eq!(ids(&found("apple")), [""; 0]);
    assert_eq!(ids(&found("乌鸦")), ["crow", "long"]);
    assert_eq!(ids(&lexical_with(&engine, "TV", |request| request.synonyms(false))), [""; 0]);
    let wrong = Synonyms::parse("a, b\ntv, the", "birds.txt").unwrap();
    let said = birds(tempfile::tempdir().unwrap().path()).with_synonyms(&wrong).err().unwrap().to_string();
    assert!(said.contains("birds.txt line") && said.contains("no word that this index searches"), "{said}");
}

#[test]
fn fields_weigh_what_a_request_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut schema = Schema::builder();
    schema.add_text_field("id", STRING | STORED | FAST);
    for name in ["title", "text"] {
        let words = TextFieldIndexing::default()
            .set_tokenizer("adam_en_3")
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        schema.add_text_field(name, TextOptions::default().set_indexing_options(words).set_stored());
    }
    VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(48)).unwrap();
    HashFields::add_to(&mut schema);
    let layout = Layout {
        key: "id".to_owned(),
        searched: vec!["title".to_owned(), "text".to_owned()],
        title: Some("title".to_owned()),
        shown: vec!["title".to_owned(), "text".to_owned()],
        metadata: None,
        vector: "vector".to_owned(),
        template: "{title} {text}".to_owned(),
        chunks: None,
    };
    let engine = engine_of(folder.path(), |builder| builder.schema(schema.build(), layout), &[]);
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
    for (id, title, text) in [("title", "crow", "a bird of wire"), ("text", "wire", "a crow and a crow, crow")] {
        let document = Document { id: id.into(), title: title.into(), text: text.into(), ..Document::default() };
        writer.update_document(engine.document(document).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.reload().unwrap();
    let scores = |fields: &[&str]| -> Vec<(String, f32)> {
        let fields = fields.iter().map(|field| field.parse().unwrap());
        let hits = lexical_with(&engine, "crow", |request| request.fields(fields));
        hits.into_iter().map(|hit| (hit.id, hit.score)).collect()
    };
    assert_eq!(scores(&["title"]).len(), 1);
    assert_eq!(scores(&["title^3", "text"])[0].0, "title");
    assert_eq!(scores(&["title", "text^3"])[0].0, "text");
    assert!((scores(&["text^3"])[0].1 - 3.0 * scores(&["text"])[0].1).abs() < 1e-4);
    let wrong = SearchRequest::new("crow").mode(Mode::Bm25).fields(["body^2".parse().unwrap()]);
    let said = engine.search(&wrong).unwrap_err().to_string();
    assert!(said.contains("`body`") && said.contains("title, text"), "{said}");
}
