//! Words of texts in any script, and what is searched in their place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Arc;

use adam_plugin::engine::Document;
use adam_plugin::{Engine, EngineBuilder, HashFields, Hit, Language, Layout, Mode, SearchRequest, WriterSettings};
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
