//! `adam eval`: what it needs, what it counts, what it refuses before it searches.

use serde_json::Value;

use crate::World;
use crate::common::{done, run};

/// A folder with queries and judgements and no corpus.
fn judged(world: &World, queries: &[(&str, &str)], qrels: &str) -> String {
    let folder = world.path("judged");
    std::fs::create_dir_all(format!("{folder}/qrels")).unwrap();
    let lines: String =
        queries.iter().map(|(id, text)| serde_json::json!({"_id": id, "text": text}).to_string() + "\n").collect();
    std::fs::write(format!("{folder}/queries.jsonl"), lines).unwrap();
    std::fs::write(format!("{folder}/qrels/test.tsv"), qrels).unwrap();
    folder
}

fn index_of(world: &World, name: &str, documents: &[(&str, &str)]) -> String {
    let lines: String =
        documents.iter().map(|(id, text)| serde_json::json!({"_id": id, "text": text}).to_string() + "\n").collect();
    let data = world.write(&format!("{name}.jsonl"), &lines);
    let index = world.path(name);
    done(&["index", "--model", &world.model(), "--data", &data, "--index", &index]);
    index
}

/// As in Cranfield: query 1 has nothing to do with document 1 but that they are judged together, or not.
#[test]
fn queries_and_documents_that_share_numbers_are_two_series() {
    let Some(world) = World::new() else { return };
    let index = index_of(&world, "numbers", &[("1", "crows bend wire"), ("2", "glass is a solid"), ("3", "Crows.")]);
    let data =
        judged(&world, &[("1", "crows"), ("2", "glass"), ("3", "crows")], "1\t1\t1\n1\t3\t1\n2\t2\t1\n3\t1\t1\n");
    let report = world.path("report.json");
    let base = ["eval", "--index", &index, "--data", &data, "--mode", "bm25", "--json", &report];
    let figures = |more: &[&str]| {
        let (code, _, err) = run(&[&base[..], more].concat());
        assert_eq!(code, 0, "{err}");
        let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        (report["bm25"]["mrr@10"].as_f64().unwrap(), err)
    };
    // Query 3 is document 3, which is left out; 1 and 2 are judged.
    let (mrr, err) = figures(&[]);
    assert_eq!(mrr, 1.0, "{err}");
    assert!(err.contains("1 hit left out: 1 query is itself a document of the index"), "{err}");
    std::fs::write(format!("{data}/qrels/test.tsv"), "1\t3\t1\n").unwrap();
    let (first, err) = figures(&[]);
    assert!(!err.contains("left out"), "document 1 is not query 1: {err}");
    let (second, err) = figures(&["--drop-self"]);
    assert!(second >= first && err.contains("1 hit left out"), "{err}");
}

#[test]
fn what_judgements_lack_is_counted_and_does_not_end_it() {
    let Some(world) = World::new() else { return };
    let data = judged(
        &world,
        &[("q1", "crows"), ("q2", "iron"), ("q3", "")],
        "query-id\tcorpus-id\tscore\nq1\td0\t1.0\nq1\td99\t1\nq2\td2\t1\nq3\td1\t1\nPLAIN-2\td1\t1\n",
    );
    let report = world.path("report.json");
    let index = world.index();
    let base = ["eval", "--index", &index, "--data", &data, "--mode", "bm25", "--json", &report];
    let queries = |more: &[&str]| {
        let (code, out, err) = run(&[&base[..], more].concat());
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("nDCG@10"), "{out}");
        assert!(err.contains("2 judged queries without a text"), "{err}");
        assert!(err.contains("1 judged document of 4 not in"), "{err}");
        let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        report["bm25"]["queries"].as_u64().unwrap()
    };
    assert_eq!((queries(&[]), queries(&["--missing", "skip"])), (4, 2));

    let data = judged(&world, &[("q1", "crows")], "q1\tx\t1\n");
    let (code, _, err) = run(&["eval", "--index", &index, "--data", &data, "--mode", "bm25"]);
    assert!(code == 0 && err.contains("is it the index of this collection?"), "{err}");
    let data = judged(&world, &[("q1", "")], "q1\td0\t1\n");
    let (code, _, err) = run(&["eval", "--index", &index, "--data", &data, "--mode", "bm25"]);
    assert!(code == 1 && err.contains("queries.jsonl line 1: query `q1` has no text"), "{err}");
}

#[test]
fn hybrid_is_compared_with_what_was_measured() {
    let Some(world) = World::new() else { return };
    let data = judged(&world, &[("q1", "crows"), ("q2", "iron")], "q1\td0\t1\nq2\td2\t1\n");
    let index = world.index();
    let base = ["eval", "--index", &index, "--data", &data];
    let out = done(&[&base[..], &["--mode", "dense,hybrid"]].concat());
    assert!(out.lines().any(|line| line.starts_with("hybrid ") && line.contains(" dense: nDCG@10")), "{out}");
    let out = done(&[&base[..], &["--mode", "hybrid,bm25"]].concat());
    assert!(out.lines().any(|line| line.starts_with("hybrid ") && line.contains(" bm25: nDCG@10")), "{out}");
    let before = world.path("before.run");
    done(&[&base[..], &["--mode", "bm25", "--run", &before]].concat());
    let compare = format!("before={before}");
    let out = done(&[&base[..], &["--mode", "bm25", "--compare", &compare]].concat());
    assert!(out.contains("bm25 is not significantly different from before"), "{out}");
}

#[test]
fn run_files_keep_ids_with_spaces_and_bad_outputs_are_refused_first() {
    let Some(world) = World::new() else { return };
    let index = index_of(&world, "spaces", &[("doc one.pdf", "crows bend wire"), ("d2", "glass is a solid")]);
    let data = judged(&world, &[("q1", "crows"), ("q2", "glass")], "q1\tdoc one.pdf\t1\nq2\td2\t1\n");
    let file = world.path("out.run");
    let base = ["eval", "--index", &index, "--data", &data, "--mode", "bm25"];
    let (code, out, err) = run(&[&base[..], &["--run", &file]].concat());
    assert!(code == 0 && out.contains("1.0000") && err.contains("ids hold spaces"), "{out}{err}");
    let back = beir_eval::Run::read(&file).unwrap();
    assert_eq!(back.get("q1").unwrap()[0].0, "doc one.pdf");
    let compare = format!("same={file}");
    assert!(done(&[&base[..], &["--compare", &compare]].concat()).contains("same"));

    let folder = world.path("");
    let nowhere = world.path("nowhere/x");
    for (more, said) in [
        (vec!["--json", &folder], "it is a folder"),
        (vec!["--run", &nowhere], "there is no folder"),
        (vec!["--run", &file, "--json", &file], "would both write"),
        (vec!["--compare", "x=nowhere.run"], "nowhere.run"),
    ] {
        let (code, out, err) = run(&[&base[..], &more].concat());
        assert!(code != 0 && out.is_empty() && err.contains(said), "{more:?}: {err}");
    }
    let index = index_of(&world, "tabs", &[("a\tb", "crows")]);
    let (code, out, err) =
        run(&["eval", "--index", &index, "--data", &data, "--mode", "bm25", "--run", &world.path("tabs.run")]);
    assert!(code == 1 && out.is_empty() && err.contains("document id `a b` holds a tab"), "{err}");
}
