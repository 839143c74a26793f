//! What the order of hits is made of: words, chunks, cross-encoders, measures.

use serde_json::Value;

use crate::common::{corpus, done, run};
use crate::{TEXTS, World, hits};

#[test]
fn a_cross_encoder_puts_the_best_hits_in_its_order() {
    let Some(world) = World::new() else { return };
    let pair = crate::common::tiny_pair();
    let search = ["search", "--index", &world.index(), "--mode", "dense", "--top", "6", "--json"];
    let plain = hits(&done(&[&search[..], &["what is red"]].concat()));
    let reranked =
        hits(&done(&[&search[..], &["--rerank", pair.to_str().unwrap(), "--rerank-top", "4", "what is red"]].concat()));
    let ids =
        |hits: &[Value]| -> Vec<String> { hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect() };
    let (before, after) = (ids(&plain), ids(&reranked));
    assert_eq!(before[4..], after[4..], "the others keep their places");
    let scorer = adam_encoder::PairScorer::open(&pair, &adam_encoder::EncoderOptions::default()).unwrap();
    let text = |id: &str| TEXTS[id[1..].parse::<usize>().unwrap()];
    let mut expected: Vec<(String, f32)> =
        before[..4].iter().map(|id| (id.clone(), scorer.score(&[("what is red", text(id))]).unwrap()[0])).collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (hit, (id, logit)) in reranked.iter().zip(&expected) {
        assert_eq!(hit["id"].as_str().unwrap(), id);
        assert!((hit["score"].as_f64().unwrap() as f32 - logit).abs() < 1e-4);
        assert_eq!(hit["arms"].as_array().unwrap().last().unwrap()["name"], "rerank");
    }
}

#[test]
fn eval_measures_what_the_cross_encoder_makes_of_a_ranking() {
    let Some(world) = World::new() else { return };
    let data = tempfile::tempdir().unwrap();
    corpus(data.path(), &TEXTS);
    std::fs::write(data.path().join("queries.jsonl"), "{\"_id\": \"q\", \"text\": \"what is red\"}\n").unwrap();
    std::fs::create_dir(data.path().join("qrels")).unwrap();
    std::fs::write(data.path().join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\nq\td2\t1\n").unwrap();
    let (report, run) = (world.path("report.json"), world.path("run.trec"));
    let pair = crate::common::tiny_pair();
    let base = ["eval", "--index", &world.index(), "--data", data.path().to_str().unwrap(), "--mode", "dense"];
    let more = ["--rerank", pair.to_str().unwrap(), "--rerank-top", "6", "--json", &report, "--run", &run];
    let table = done(&[&base[..], &more].concat());
    assert!(table.contains("nDCG@10"), "{table}");
    let ranking = std::fs::read_to_string(run).unwrap();
    let search = ["search", "--index", &world.index(), "--mode", "dense", "--json", "--rerank"];
    let found = hits(&done(&[&search[..], &[pair.to_str().unwrap(), "what is red"]].concat()));
    let expected: Vec<&str> = found.iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    let ranked: Vec<&str> = ranking.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(ranked, expected);
    let place = expected.iter().position(|id| *id == "d2").unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert!((report["dense"]["mrr@10"].as_f64().unwrap() - 1.0 / (place as f64 + 1.0)).abs() < 1e-9);
}

/// Where queries are documents of the corpus, each finds itself: not among its hundred hits, nor in the run file.
#[test]
fn eval_leaves_out_the_query_itself() {
    let Some(world) = World::new() else { return };
    let data = tempfile::tempdir().unwrap();
    let texts: Vec<String> = (0..105).map(|number| format!("crows use wire number{number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let corpus = corpus(data.path(), &texts);
    let (index, run) = (world.path("many"), world.path("many.trec"));
    done(&["index", "--model", &world.model(), "--data", corpus.to_str().unwrap(), "--index", &index]);
    std::fs::write(data.path().join("queries.jsonl"), "{\"_id\": \"d7\", \"text\": \"crows use wire number7\"}\n")
        .unwrap();
    std::fs::create_dir(data.path().join("qrels")).unwrap();
    std::fs::write(data.path().join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\nd7\td8\t1\n").unwrap();
    let words = ["eval", "--index", &index, "--data", data.path().to_str().unwrap(), "--mode", "dense", "--run", &run];
    done(&words);
    let ranking = std::fs::read_to_string(run).unwrap();
    let ranked: Vec<&str> = ranking.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(ranked.len(), 100);
    assert!(!ranked.contains(&"d7"), "{ranking}");
}

#[test]
fn long_documents_are_found_by_their_chunks() {
    let Some(world) = World::new() else { return };
    let long =
        format!("{} Iron makes blood red. {}", "Plants grow from light. ".repeat(20), "Ice and heat. ".repeat(20));
    let data = world.write(
        "long.jsonl",
        &format!("{{\"_id\": \"long\", \"text\": \"{long}\"}}\n{{\"_id\": \"short\", \"text\": \"Iron\"}}\n"),
    );
    let index = world.path("chunked");
    let words = ["index", "--model", &world.model(), "--data", &data, "--index", &index];
    let (code, _, err) = run(&[&words[..], &["--chunk-tokens", "500"]].concat());
    assert!(code == 1 && err.contains("the model reads"), "{err}");
    let (code, _, err) = run(&[&words[..], &["--chunk-overlap", "3"]].concat());
    assert!(code == 2 && err.contains("--chunk-tokens"), "{code} {err}");
    for batch in ["0", "65537", "18446744073709551615"] {
        let (code, _, err) = run(&[&words[..], &["--batch", batch]].concat());
        assert!(code == 2 && err.contains("--batch"), "{batch}: {code} {err}");
    }
    done(&[&words[..], &["--chunk-tokens", "10", "--chunk-overlap", "3"]].concat());
    let found = hits(&done(&["search", "--index", &index, "--mode", "dense", "--json", "iron makes blood red"]));
    assert_eq!(found.len(), 2, "two documents, however many chunks");
    let hit = found.iter().find(|hit| hit["id"] == "long").unwrap();
    let range = |at: usize| usize::try_from(hit["snippet"]["chunk"][at].as_u64().unwrap()).unwrap();
    assert_eq!(hit["snippet"]["text"].as_str().unwrap(), &long[range(0)..range(1)]);
}

#[test]
fn words_are_found_by_the_rules_of_their_language() {
    let Some(world) = World::new() else { return };
    let data = world.write(
        "artikel.jsonl",
        "{\"_id\": \"a\", \"text\": \"Die Krähen bauen Nester.\"}\n{\"_id\": \"b\", \"text\": \"Alte Häuser brennen.\"}\n",
    );
    let (index, again, model) = (world.path("artikel"), world.path("again"), world.model());
    let make = |language: &[&str]| {
        let words = [&["index", "--model", &model, "--data", &data, "--index", &index], language].concat();
        run(&words)
    };
    let found =
        |index: &str, query: &str| hits(&done(&["search", "--index", index, "--mode", "bm25", "--json", query]));
    assert_eq!(make(&["--language", "german"]).0, 0);
    assert_eq!(found(&index, "die haus")[0]["id"], "b");
    assert_eq!(found(&index, "die haus").len(), 1, "`die` is too common to be found");
    assert!(done(&["info", "--index", &index]).contains("content (german)"));
    // It stays as it was made.
    assert_eq!(make(&[]).0, 0);
    assert_eq!(make(&["--language", "de"]).0, 0);
    let (code, _, err) = make(&["--language", "french"]);
    assert!(code == 1 && err.contains("is french") && err.contains("was made for german"), "{err}");
    let (code, _, err) = make(&["--language", "klingon"]);
    assert!(code == 2 && err.contains("klingon") && err.contains("german"), "{err}");
    done(&["reembed", &index, "--model", &model, "--index", &again]);
    assert_eq!(found(&again, "haus")[0]["id"], "b");
    assert!(found(&world.index(), "crow").len() > 1, "English where nothing is said");
}
