//! Pages of a search, words in any script, and queries that say little, through the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/models.rs"]
mod models;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use adam_encoder::EncoderOptions;
use adam_plugin::engine::{Document, FusionName, MAX_HITS};
use adam_plugin::import;
use adam_plugin::{
    Chunking, Engine, EngineBuilder, HashFields, Hit, Language, Layout, Mode, PluginError, Reranker, SearchRequest,
    SearchResponse, WriterSettings,
};
use common::Words;
use tantivy::schema::{FAST, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy_dense::{VectorField, VectorOptions};

const FUSIONS: [FusionName; 5] =
    [FusionName::Convex, FusionName::Rrf, FusionName::MinMax, FusionName::ZScore, FusionName::Dbsf];

fn document(id: &str, text: &str) -> Document {
    let metadata = serde_json::json!({"even": id.len().is_multiple_of(2)});
    let metadata = metadata.as_object().cloned();
    Document { id: id.to_owned(), title: String::new(), text: text.to_owned(), metadata, vector: None }
}

fn fill(engine: &Engine, documents: &[(String, String)]) {
    let mut writer = engine.writer(15_000_000, WriterSettings::default().batch(64)).unwrap();
    for (at, (id, text)) in documents.iter().enumerate() {
        writer.update_document(engine.document(document(id, text)).unwrap()).unwrap();
        if at % 100 == 99 {
            writer.commit().unwrap();
        }
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.reload().unwrap();
}

fn engine_of(
    path: &Path,
    options: impl FnOnce(EngineBuilder) -> EngineBuilder,
    documents: &[(String, String)],
) -> Engine {
    let model = Arc::new(Words::new());
    let engine = options(Engine::builder(path).encoder(model.clone())).open_or_create().unwrap();
    fill(&engine, documents);
    engine
}

/// Texts of few words, many alike, some so long that they are cut.
fn many() -> Vec<(String, String)> {
    (0..330)
        .map(|number: usize| {
            let words = ["crow", "bends", "wire", "snow", "red", "glass", "tool", "bird", "two", "iron"];
            let length = if number.is_multiple_of(9) { 45 } else { 1 + number % 4 };
            let text: Vec<&str> = (0..length).map(|at| words[(number / 3 + at * 7) % words.len()]).collect();
            (format!("d{number}"), text.join(" "))
        })
        .collect()
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

/// Pages of several sizes against one list; gives the list.
fn paged(engine: &Engine, request: &SearchRequest) -> SearchResponse {
    let whole = engine.search(&request.clone().top(1000).total(true)).unwrap();
    let mut pages: Vec<Hit> = Vec::new();
    for size in [1, 7, 33, 20, 10].into_iter().cycle() {
        let page = engine.search(&request.clone().top(size).offset(pages.len())).unwrap();
        if page.hits.is_empty() {
            break;
        }
        pages.extend(page.hits);
    }
    assert_eq!(ids(&pages), ids(&whole.hits), "{request:?}");
    assert_eq!(pages, whole.hits);
    let different: BTreeSet<&str> = ids(&pages).into_iter().collect();
    assert_eq!(different.len(), pages.len(), "a document comes twice: {request:?}");
    assert_eq!(whole.total, Some(pages.len() as u64), "{request:?}");
    whole
}

#[test]
fn pages_show_each_document_once() {
    for chunks in [None, Some(Chunking { tokens: 12, overlap: 3 })] {
        let folder = tempfile::tempdir().unwrap();
        let mut documents = many();
        // Without a word that a model reads, and so without a vector.
        documents.push(("empty".to_owned(), String::new()));
        let engine = engine_of(
            folder.path(),
            |builder| if let Some(chunking) = chunks { builder.chunks(chunking) } else { builder },
            &documents,
        );
        let query = "crow bends wire tool";
        for window in [None, Some(1), Some(17), Some(MAX_HITS)] {
            for fusion in FUSIONS {
                for weight in [0.0, 0.2, 0.8, 1.0] {
                    if weight != 0.8 && (window == Some(1) || fusion != FusionName::Rrf) {
                        continue;
                    }
                    let request = SearchRequest::new(query).window(window).fusion(fusion).weight(weight);
                    let found = paged(&engine, &request).hits.len();
                    assert_eq!(found == 330, weight > 0.0, "{found} at weight {weight}");
                }
            }
            for mode in [Mode::Bm25, Mode::Dense] {
                let request = SearchRequest::new(query).mode(mode).window(window);
                let filters = vec!["even:true".parse().unwrap()];
                let filtered = paged(&engine, &request.clone().filters(filters));
                let all = paged(&engine, &request);
                let even =
                    |hits: &[Hit]| hits.iter().filter(|hit| hit.id.len() % 2 == 0).map(|hit| hit.id.clone()).collect();
                let (filtered, even): (Vec<String>, Vec<String>) = (even(&filtered.hits), even(&all.hits));
                assert_eq!(filtered, even);
                assert!(all.hits.len() > 200);
            }
        }
        let past = engine.search(&SearchRequest::new(query).offset(5000)).unwrap();
        assert!(past.hits.is_empty() && past.total.is_none() && past.warnings.is_empty());
        let none = engine.search(&SearchRequest::new(query).top(0).total(true)).unwrap();
        assert_eq!((none.hits.len(), none.total), (0, Some(330)));
        for window in [0, MAX_HITS + 1] {
            let wrong = SearchRequest::new(query).window(Some(window));
            let said = engine.search(&wrong).unwrap_err().to_string();
            assert!(said.contains("1 to 10000"), "{said}");
        }
    }
}

#[test]
fn pages_go_on_behind_the_hits_that_were_re_ranked() {
    if !models::has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(folder.path(), |builder| builder, &many()[..60]);
    let reranker = Reranker::open(models::tiny_pair(), &EncoderOptions::default()).unwrap();
    let engine = engine.with_reranker(Arc::new(reranker));
    for mode in Mode::ALL {
        for depth in [0, 5, 12, 1000] {
            let request = SearchRequest::new("crow iron tool").mode(mode).rerank(Some(depth)).window(Some(8));
            let hits = paged(&engine, &request).hits;
            let scored = hits.iter().filter(|hit| hit.arms.iter().any(|arm| arm.name == "rerank")).count();
            assert_eq!(scored, depth.min(hits.len()));
        }
    }
}

fn strings(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    texts.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect()
}

const SCRIPTS: [(&str, &str); 9] = [
    ("zh", "乌鸦会使用工具。它们很聪明。"),
    ("th", "ภาษาไทยไม่มีช่องว่างระหว่างคำ"),
    ("ja", "カラスは道具を使う"),
    ("ko", "까마귀는 도구를 씁니다"),
    ("decomposed", "the cafe\u{301} is open"),
    ("composed", "a caf\u{e9} with crows"),
    ("ligature", "the \u{fb01}nance of\u{fb01}ce"),
    ("wide", "the letters \u{ff21}\u{ff22}\u{ff23} and \u{ff11}\u{ff12}"),
    ("long", ""),
];

fn scripts() -> Vec<(String, String)> {
    let mut documents = strings(&SCRIPTS);
    documents[8].1 = format!("the digest is {} and no other", "0123456789abcdef".repeat(8));
    documents
}

fn by_words(engine: &Engine, query: &str) -> SearchResponse {
    engine.search(&SearchRequest::new(query).mode(Mode::Bm25).snippets(true)).unwrap()
}

#[test]
fn words_are_found_in_any_script_and_form() {
    for language in ["any", "english", "german"] {
        let folder = tempfile::tempdir().unwrap();
        let language: Language = language.parse().unwrap();
        let engine = engine_of(folder.path(), |builder| builder.language(language), &scripts());
        let digest = "0123456789abcdef".repeat(8);
        let cases: [(&str, &[&str]); 15] = [
            ("乌鸦", &["zh"]),
            ("鸦", &["zh"]),
            (SCRIPTS[0].1, &["zh"]),
            ("ภาษาไทย", &["th"]),
            ("道具", &["ja"]),
            ("ｶﾗｽ", &["ja"]),
            ("까마귀", &["ko"]),
            ("caf\u{e9}", &["composed", "decomposed"]),
            ("cafe\u{301}", &["composed", "decomposed"]),
            ("finance", &["ligature"]),
            ("OFFICE", &["ligature"]),
            ("abc", &["wide"]),
            ("12", &["wide"]),
            ("co\u{ad}zy \u{fb01}nance", &["ligature"]),
            (&digest, &["long"]),
        ];
        for (query, wanted) in cases {
            let found = by_words(&engine, query);
            let mut found_ids = ids(&found.hits);
            found_ids.sort_unstable();
            assert_eq!(found_ids, wanted, "{query} in {language}");
            assert_eq!(found.warnings, [""; 0], "{query}");
        }
        // What is marked is a piece of the text as it was given.
        let marked = |query: &str| -> Vec<String> {
            let found = by_words(&engine, query);
            let snippet = found.hits[0].snippet.as_ref().unwrap();
            snippet.highlights.iter().map(|&(start, end)| snippet.text[start..end].to_owned()).collect()
        };
        assert_eq!(marked("会使用"), ["会使用"]);
        assert_eq!(marked("finance"), ["\u{fb01}nance"]);
        assert_eq!(marked("abc"), ["\u{ff21}\u{ff22}\u{ff23}"]);
        // Words have no longest: one that no document has is looked for as any other.
        assert_eq!(by_words(&engine, &"x".repeat(300)).warnings, [""; 0]);
    }
}

/// An index as the first version made it is searched as it was made, and says what it cannot find.
#[test]
fn an_old_index_is_searched_as_it_was_made_and_says_what_it_cannot_find() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::new());
    let mut schema = Schema::builder();
    schema.add_text_field("id", STRING | STORED | FAST);
    let words = TextFieldIndexing::default()
        .set_tokenizer("adam_en")
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
    let engine =
        Engine::builder(folder.path()).encoder(model.clone()).schema(schema.build(), layout).open_or_create().unwrap();
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
    let (id, text) =
        (engine.index().schema().get_field("id").unwrap(), engine.index().schema().get_field("text").unwrap());
    for (name, words) in scripts() {
        let mut document = tantivy::TantivyDocument::new();
        document.add_text(id, name);
        document.add_text(text, words);
        writer.update_document(document).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.reload().unwrap();

    assert_eq!(ids(&by_words(&engine, "opened cafes crow").hits), ["decomposed", "composed"]);
    let digest = "0123456789abcdef".repeat(8);
    let cases: [(&str, &str); 4] = [
        ("乌鸦", "does not split text without spaces: `乌鸦`"),
        ("ภาษาไทย", "does not split text without spaces"),
        ("\u{fb01}nance", "tells Unicode forms apart: `\u{fb01}nance`"),
        (&digest, "of 128 bytes is not searched: this index holds words of up to 79 bytes"),
    ];
    for (query, said) in cases {
        let words = by_words(&engine, query);
        assert!(words.warnings.iter().any(|warning| warning.contains(said)), "{query}: {:?}", words.warnings);
        let both = engine.search(&SearchRequest::new(query)).unwrap();
        assert!(both.warnings.iter().any(|warning| warning.contains(said) && warning.contains("vectors")));
        assert!(!both.hits.is_empty());
        let dense = engine.search(&SearchRequest::new(query).mode(Mode::Dense)).unwrap();
        assert_eq!(dense.warnings, [""; 0], "vectors know nothing of words");
    }

    // Read into a new index, its text is cut as that of new ones.
    drop(engine);
    let new = tempfile::tempdir().unwrap();
    let settings = WriterSettings::default();
    let options = import::ReembedOptions::default().commit_every(100).memory(15_000_000);
    import::reembed(folder.path(), new.path(), model.clone(), model.pinned(), &options, settings).unwrap();
    let engine = Engine::open(new.path()).unwrap();
    for (query, wanted) in [("乌鸦", "zh"), ("finance", "ligature"), (&digest, "long")] {
        let found = by_words(&engine, query);
        assert_eq!((ids(&found.hits), found.warnings), (vec![wanted], Vec::new()), "{query}");
    }
}

#[test]
fn a_query_that_says_little_is_answered_with_a_word_and_one_that_says_nothing_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(folder.path(), |builder| builder, &many()[..30]);
    for mode in Mode::ALL {
        for query in ["", "  \t\n", "\u{3000}", "\u{feff}", "\u{200e}\u{ad} ", "\0", "\u{200b}", "\u{3164} \u{2800}"] {
            let request = SearchRequest::new(query).mode(mode);
            let said = engine.search(&request).unwrap_err();
            assert!(matches!(&said, PluginError::Query { problem } if problem.contains("empty")), "{query:?}: {said}");
            assert!(engine.rank(&request).unwrap().is_empty());
        }
        for query in ["???", "the", "The of and", "\u{301}", "!"] {
            let found = engine.search(&SearchRequest::new(query).mode(mode)).unwrap();
            let warned = found.warnings.iter().any(|warning| warning.contains("no word that is searched"));
            assert_eq!((warned, found.hits.is_empty()), (mode != Mode::Dense, mode == Mode::Bm25), "{query} {mode}");
        }
    }
    let words: Vec<String> = (0..2000).map(|number| format!("w{number}")).collect();
    let found = by_words(&engine, &words.join(" "));
    assert!(found.warnings[0].contains("first 1024 different words"), "{:?}", found.warnings);
}

/// What is read from the index, changed and written again is embedded again.
#[test]
fn a_document_that_is_read_changed_and_written_keeps_a_vector() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(folder.path(), |builder| builder, &strings(&[("a", "crows bend wires"), ("b", "snow")]));
    let hits = |engine: &Engine| {
        let request = SearchRequest::new("crows bend wires").mode(Mode::Dense);
        engine.search(&request).unwrap().hits
    };
    let before = hits(&engine);
    let reader = engine.dense().reader(engine.index()).unwrap();
    let searcher = reader.searcher();
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
    for doc in 0..2 {
        let document: tantivy::TantivyDocument = searcher.doc(tantivy::DocAddress::new(0, doc)).unwrap();
        writer.update_document(document).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    engine.reload().unwrap();
    assert_eq!(ids(&hits(&engine)), ids(&before));
}

/// A search that names no weight takes the one that came with the index's model.
#[test]
fn the_models_own_weight_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Words::new());
    let mut pinned = model.pinned();
    pinned.hybrid_weight = Some(0.25);
    let engine = Engine::builder(folder.path()).pinned(pinned).encoder(model).open_or_create().unwrap();
    fill(&engine, &[("a".to_owned(), "crow".to_owned())]);
    let weights = |request: SearchRequest| -> Vec<f32> {
        let response = engine.search(&request).unwrap();
        response.hits[0].arms.iter().map(|arm| arm.weight).collect()
    };
    assert_eq!(engine.hybrid_weight(), 0.25);
    assert_eq!(weights(SearchRequest::new("crow")), [0.75, 0.25]);
    assert_eq!(weights(SearchRequest::new("crow").weight(0.5)), [0.5, 0.5]);
}
