//! Tests of what labels, scores and names of fields make of a row.

use crate::data::{DataConfig, Format, TrainingData, load};
use crate::error::TrainError;
use std::fs;

fn loaded(name: &str, content: &[u8], change: impl FnOnce(&mut DataConfig)) -> Result<TrainingData, TrainError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let mut config = DataConfig { path, max_wrong_share: 1.0, ..DataConfig::default() };
    change(&mut config);
    load(&config)
}

fn rows(content: &str) -> TrainingData {
    loaded("rows.jsonl", content.as_bytes(), |_| ()).unwrap()
}

fn refused(content: &str) -> String {
    loaded("rows.jsonl", content.as_bytes(), |_| ()).unwrap_err().to_string()
}

/// Query, positives, negatives.
fn said(data: &TrainingData) -> Vec<(String, Vec<String>, Vec<String>)> {
    let texts = |numbers: &[u32]| numbers.iter().map(|&n| data.passages.full_text(n).unwrap()).collect::<Vec<_>>();
    data.queries.iter().map(|q| (q.text.clone(), texts(&q.positives), texts(&q.negatives))).collect()
}

fn triple(query: &str, positives: &[&str], negatives: &[&str]) -> (String, Vec<String>, Vec<String>) {
    let all = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect();
    (query.to_owned(), all(positives), all(negatives))
}

#[test]
fn a_pair_labelled_no_is_a_negative() {
    for (yes, no) in [
        ("1", "0"),
        ("2", "-1"),
        ("true", "false"),
        ("\"1\"", "\"0\""),
        ("\"true\"", "\"False\""),
        ("1.0", "0.0"),
        ("\"yes\"", "\"no\""),
    ] {
        for (query, passage, label) in [
            ("query", "text", "label"),
            ("sentence1", "sentence2", "label"),
            ("question1", "question2", "is_duplicate"),
            ("question", "passage", "relevance"),
            ("query", "document", "relevant"),
            ("anchor", "positive", "label"),
        ] {
            let row = |text: &str, value: &str| {
                format!("{{\"{query}\": \"q\", \"{passage}\": \"{text}\", \"{label}\": {value}}}\n")
            };
            let data = rows(&(row("good", yes) + &row("bad", no)));
            assert_eq!(said(&data), [triple("q", &["good"], &["bad"])], "{query} {passage} {label} {yes} {no}");
            assert_eq!((data.rows_kept, data.rows_dropped), (2, 0));
        }
    }
}

#[test]
fn a_query_of_negatives_alone_is_not_used_and_said() {
    let pairs = concat!(
        "{\"sentence1\":\"How do I bake bread?\",\"sentence2\":\"Who won the match?\",\"label\":0}\n",
        "{\"sentence1\":\"Is glass a liquid?\",\"sentence2\":\"Is glass a fluid?\",\"label\":1}\n",
    );
    // No row is wrong, so that nothing is refused however many such queries there are.
    let data = loaded("rows.jsonl", pairs.as_bytes(), |config| config.max_wrong_share = 0.0).unwrap();
    assert_eq!(said(&data), [triple("Is glass a liquid?", &["Is glass a fluid?"], &[])]);
    assert_eq!((data.rows_kept, data.only_negatives), (2, 1));
    assert_eq!(data.remarks(), ["1 query has negatives only and no positive: not used"]);
    assert!(data.dropped[0].reason.contains("How do I bake bread?"), "{:?}", data.dropped);
    let all_negative = refused("{\"query\": \"q\", \"text\": \"t\", \"label\": 0}\n");
    assert!(
        all_negative.contains("no training query could be used") && all_negative.contains("no positive"),
        "{all_negative}"
    );
}

#[test]
fn grades_follow_the_least_grade() {
    let content: String = (0..4)
        .map(|grade| format!("{{\"query\": \"q\", \"passage\": \"p{grade}\", \"relevance\": {grade}}}\n"))
        .collect();
    assert_eq!(said(&rows(&content)), [triple("q", &["p1", "p2", "p3"], &["p0"])]);
    let strict = loaded("rows.jsonl", content.as_bytes(), |config| config.min_grade = 3).unwrap();
    assert_eq!(said(&strict), [triple("q", &["p3"], &["p0", "p1", "p2"])]);
}

#[test]
fn a_similarity_needs_a_threshold() {
    for name in ["score", "similarity", "similarity_score"] {
        let content = format!(
            "{{\"sentence1\": \"q\", \"sentence2\": \"far\", \"{name}\": 0.1}}\n{{\"sentence1\": \"q\", \"sentence2\": \"near\", \"{name}\": \"4.5\"}}\n"
        );
        let error = refused(&content);
        assert!(error.contains(&format!("`{name}`")) && error.contains("data.min_score"), "{error}");
        let data = loaded("rows.jsonl", content.as_bytes(), |config| config.min_score = Some(3.0)).unwrap();
        assert_eq!(said(&data), [triple("q", &["near"], &["far"])]);
    }
    // A label between whole numbers is no yes and no no.
    let halves = "{\"query\": \"q\", \"text\": \"a\", \"label\": 0.73}\n";
    assert!(refused(halves).contains("data.min_score"));
    let data = loaded("rows.jsonl", halves.as_bytes(), |config| config.min_score = Some(0.5)).unwrap();
    assert_eq!(said(&data), [triple("q", &["a"], &[])]);
}

#[test]
fn what_is_no_label_is_refused_by_name() {
    for (value, named) in [
        ("null", "`label` is null"),
        ("\"maybe\"", "\"maybe\""),
        ("NaN", "\"NaN\""),
        ("{}", "an object"),
        ("[1, 0]", "2 entries for 1 passages"),
        ("\"\"", "`label`"),
    ] {
        let content = format!("{{\"query\": \"q\", \"text\": \"a\", \"label\": {value}}}\n");
        let error = refused(&content);
        assert!(error.contains(named) && error.contains("line 1"), "{value}: {error}");
    }
    let two = refused("{\"query\": \"q\", \"text\": \"a\", \"label\": 1, \"relevance\": 0}\n");
    assert!(two.contains("`label` and `relevance`"), "{two}");
    let contradiction = refused("{\"query\": \"q\", \"positive\": \"a\", \"negative\": \"b\", \"label\": 0}\n");
    assert!(contradiction.contains("one of the two is wrong"), "{contradiction}");
}

#[test]
fn lists_are_judged_one_by_one() {
    let data = rows("{\"query\": \"q\", \"docs\": [\"a\", \"b\", \"c\"], \"labels\": [0, 1, \"2\"]}\n");
    assert_eq!(said(&data), [triple("q", &["b", "c"], &["a"])]);
    let shown = data.examples[0].lines();
    assert_eq!(
        shown,
        ["query    \"q\"", "positive \"b\" (labels 1)", "positive \"c\" (labels 2)", "negative \"a\" (labels 0)",]
    );
    // Beside negatives numbers are a teacher's.
    let data = rows("{\"query\": \"q\", \"positive\": \"a\", \"negative\": \"b\", \"label\": [7.5, -3.25]}\n");
    assert_eq!(data.queries[0].scores, Some(vec![7.5, -3.25]));
    let data = rows("{\"query\": \"q\", \"positive\": \"a\", \"negative\": \"b\", \"label\": 2.5}\n");
    assert_eq!(data.queries[0].scores, Some(vec![2.5, 0.0]));
    assert!(data.examples[0].lines()[1].contains("(score 2.5)"));
}

#[test]
fn every_name_of_a_negative_is_read() {
    for name in [
        "negative",
        "negatives",
        "neg",
        "neg_0",
        "negative_7",
        "hard_negatives",
        "hard_neg",
        "Hard-Negatives",
        "bm25_negs",
    ] {
        for value in ["\"n\"", "[\"n\"]", "[{\"text\": \"n\", \"docid\": 3}]", "\"['n']\""] {
            let data = rows(&format!("{{\"query\": \"q\", \"positive\": \"p\", \"{name}\": {value}}}\n"));
            assert_eq!(said(&data), [triple("q", &["p"], &["n"])], "{name} {value}");
        }
        let data = rows(&format!("{{\"query\": \"q\", \"positive\": [\"p\", \"r\"], \"{name}\": null}}\n"));
        assert_eq!(said(&data), [triple("q", &["p", "r"], &[])], "{name}");
        let nested = refused(&format!("{{\"query\": \"q\", \"pos\": \"p\", \"{name}\": [[\"n\"]]}}\n"));
        assert!(nested.contains(&format!("`{name}` must hold texts, and holds a list")), "{nested}");
    }
}

#[test]
fn fields_that_are_not_read_are_counted_and_named() {
    let data = rows(concat!(
        "{\"query\": \"q\", \"positive\": \"p\", \"negative_ids\": [3], \"source\": \"web\"}\n",
        "{\"query\": \"r\", \"positive\": \"p\", \"source\": \"web\", \"question\": \"other\"}\n",
    ));
    assert_eq!(data.unread.get("source"), Some(&2));
    let remarks = data.remarks();
    assert!(remarks[0].starts_with("warning: ") && remarks[0].contains("`negative_ids` (1 row)"), "{remarks:?}");
    assert!(remarks[1].contains("`source` (2 rows)"), "{remarks:?}");
    assert_eq!(data.unread.get("question"), Some(&1));
}

#[test]
fn two_texts_without_known_names_are_no_row() {
    for (row, named) in [
        ("{\"query\": \"q\", \"clicked\": \"p1\"}", "query, clicked"),
        ("{\"a\": \"q\", \"b\": \"p\"}", "`query`"),
        ("{\"title\": \"t\", \"text\": \"x\"}", "title, text"),
        ("{\"text\": \"x\", \"label\": 1}", "text, label"),
        ("{\"premise\": \"x\", \"hypothesis\": \"y\", \"label\": 0}", "premise, hypothesis"),
        ("{\"sentence1\": \"x\", \"label\": 1}", "sentence1"),
        ("{\"_id\": \"1\", \"text\": \"what is it\"}", "BEIR folder"),
        ("{\"_id\": \"1\", \"title\": \"T\", \"text\": \"x\"}", "the corpus"),
        ("{\"query-id\": \"1\", \"corpus-id\": \"d\", \"score\": 1}", "judgements"),
    ] {
        let error = refused(&format!("{row}\n"));
        assert!(error.contains(named) && error.contains("rows.jsonl, line 1"), "{row}: {error}");
    }
    let queries = loaded("queries.jsonl", b"{\"_id\": \"1\", \"text\": \"what\"}\n", |_| ()).unwrap_err().to_string();
    assert!(queries.contains("the query table of a BEIR folder"), "{queries}");
    let both = refused("{\"question\": \"q\", \"answer\": \"a\", \"context\": \"c\"}\n");
    assert!(both.contains("`answer` and `context`"), "{both}");
    // A row without names has an order.
    assert_eq!(said(&rows("[\"q\", \"p\", \"n\"]\n")), [triple("q", &["p"], &["n"])]);
}

#[test]
fn forms_may_be_mixed_in_a_file() {
    let data = rows(concat!(
        "{\"query\": \"a\", \"pos\": [\"p1\"], \"neg\": [\"n1\"]}\n",
        "{\"query\": \"b\", \"positive\": \"p2\"}\n",
        "{\"sentence1\": \"c\", \"sentence2\": \"p3\", \"label\": 1}\n",
        "{\"query_id\": \"7\", \"query\": \"d\", \"positive_passages\": [{\"docid\": \"x\", \"text\": \"p4\"}]}\n",
        "{\"query\": \"e\", \"title\": \"T\", \"text\": \"p5\"}\n",
    ));
    let positives: Vec<String> = said(&data).into_iter().flat_map(|row| row.1).collect();
    assert_eq!(positives, ["p1", "p2", "p3", "p4", "T p5"]);
}

#[test]
fn a_positive_that_is_the_query_teaches_nothing() {
    let data = rows(concat!(
        "{\"query\": \"q\", \"positive\": \" q \"}\n",
        "{\"query\": \"r\", \"positive\": \"p\"}\n",
        "{\"query\": \"s\", \"positive\": \"\"}\n",
    ));
    assert_eq!((data.queries.len(), data.rows_dropped, data.same_text), (1, 2, 1));
    assert!(data.dropped[0].reason.contains("the query itself") && data.dropped[1].reason.contains("no text"));
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

const LINES: &str = "{\"query\":\"is glass a liquid\",\"positive\":\"glass is a solid\",\"negative\":\"crows bend wire\"}\n\
                     {\"query\":\"do crows use tools\",\"positive\":\"crows bend wire\",\"negative\":\"glass is a solid\"}\n";

#[test]
fn the_same_rows_come_out_of_every_kind_of_file() {
    let expected = said(&rows(LINES));
    assert_eq!(expected.len(), 2);
    let array = format!("[{}]\n", LINES.trim().replace('\n', ",\n "));
    let csv = "query,positive,negative\r\nis glass a liquid,glass is a solid,\"crows bend wire\"\r\ndo crows use tools,crows bend wire,glass is a solid\r\n";
    let tsv = "\u{feff}query\tpositive\tnegative\nis glass a liquid\t\"glass is a solid\"\tcrows bend wire\ndo crows use tools\tcrows bend wire\tglass is a solid\n";
    for (name, content) in [
        ("rows.jsonl", LINES.to_owned()),
        ("rows.json", array),
        ("rows.csv", csv.to_owned()),
        ("rows.tsv", tsv.to_owned()),
    ] {
        let plain = loaded(name, content.as_bytes(), |_| ()).unwrap();
        assert_eq!(said(&plain), expected, "{name}");
        let packed = loaded(&format!("{name}.gz"), &gzipped(content.as_bytes()), |_| ()).unwrap();
        assert_eq!(said(&packed), expected, "{name}.gz");
    }
}

#[test]
fn faults_in_arrays_and_tables_have_their_line() {
    let array = loaded(
        "rows.json",
        b"[{\"query\": \"q\", \"positive\": \"p\"},\n{\"query\": 3, \"positive\": \"p\"},\n7]",
        |_| (),
    );
    let lines: Vec<u64> = array.unwrap().dropped.iter().map(|d| d.line).collect();
    assert_eq!(lines, [2, 3]);
    let open = loaded("rows.json", b"[{\"query\": \"q\", \"positive\": \"p\"},\n", |_| ()).unwrap_err().to_string();
    assert!(open.contains("breaks off in line 2"), "{open}");
    let csv = loaded("r.csv", b"query,text,label\na,b,1\na,c\nd,e,0\nf,g,\n", |_| ()).unwrap();
    let said: Vec<String> = csv.dropped.iter().map(ToString::to_string).collect();
    assert!(said[0].contains("line 3: it has 2 columns"), "{said:?}");
    assert!(said[1].contains("line 5: `label` is null"), "{said:?}");
    let open =
        loaded("r.csv", format!("query,text\na,\"{}", "x\n".repeat(1 << 16)).as_bytes(), |c| c.max_line_bytes = 1000);
    assert!(open.unwrap_err().to_string().contains("is a quote left open"));
    let twice = loaded("r.csv", b"query,query\na,b\n", |_| ()).unwrap_err().to_string();
    assert!(twice.contains("two columns are called `query`"), "{twice}");
    let nameless = loaded("r.tsv", b"what is it\tthis is it\tthat is not\na\tb\tc\n", |_| ()).unwrap_err().to_string();
    assert!(nameless.contains("what is it") && nameless.contains("`query`"), "{nameless}");
}

#[test]
fn files_of_other_kinds_are_named() {
    for (name, content, named) in [
        ("rows.zip.jsonl", &b"PK\x03\x04rest"[..], "zip archive"),
        ("rows.arrow", b"ARROW1\0\0", "Arrow file"),
        ("rows.jsonl.gz", b"\x1f\x8b\x08\0\0", "breaks off"),
    ] {
        let error = loaded(name, content, |_| ()).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains(name), "{error}");
    }
    let stdin = load(&DataConfig { path: "-".into(), ..DataConfig::default() }).unwrap_err().to_string();
    assert!(stdin.contains("standard input"), "{stdin}");
}

#[test]
fn numbers_that_are_none_do_no_harm_where_nobody_reads_them() {
    let data = rows("{\"query\": \"q\", \"positive\": \"p\", \"loss\": NaN, \"other\": [Infinity, -Infinity]}\n");
    assert_eq!((data.rows_kept, data.unread.len()), (1, 2));
}

#[test]
fn a_beir_folder_without_judgements_is_no_training_data() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["corpus.jsonl", "queries.jsonl"] {
        fs::write(folder.path().join(name), "{\"_id\": \"1\", \"title\": \"t\", \"text\": \"x\"}\n").unwrap();
    }
    let config = DataConfig { path: folder.path().to_owned(), ..DataConfig::default() };
    let error = load(&config).unwrap_err().to_string();
    assert!(error.contains("qrels/train.tsv") && error.contains("no judgements"), "{error}");
    // Beside a table of training rows they are that table's.
    fs::write(folder.path().join("train.jsonl"), LINES).unwrap();
    assert_eq!(load(&config).unwrap().queries.len(), 2);
    fs::remove_file(folder.path().join("train.jsonl")).unwrap();
    fs::remove_file(folder.path().join("queries.jsonl")).unwrap();
    // The corpus alone: queries are made of its passages.
    let corpus = load(&config).unwrap();
    assert_eq!((corpus.format, corpus.passages.len(), corpus.queries.len()), (Format::Corpus, 1, 0));
}

#[test]
fn queries_that_nothing_judges_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("qrels")).unwrap();
    let queries: String = (0..5).map(|n| format!("{{\"_id\": \"q{n}\", \"text\": \"query {n}\"}}\n")).collect();
    fs::write(folder.path().join("queries.jsonl"), queries).unwrap();
    fs::write(folder.path().join("corpus.jsonl"), "{\"_id\": \"d\", \"text\": \"x\"}\n").unwrap();
    fs::write(folder.path().join("qrels/train.tsv"), "query-id\tcorpus-id\tscore\nq1\td\t1\nq2\td\t0\n").unwrap();
    let config = DataConfig { path: folder.path().to_owned(), ..DataConfig::default() };
    let data = load(&config).unwrap();
    assert_eq!((data.queries.len(), data.unjudged, data.only_negatives), (1, 3, 1));
    assert_eq!(data.remarks()[0], "3 queries have no judgements and are not used");
    assert_eq!(data.examples[0].lines(), ["query    \"query 1\"", "positive \"x\" (grade 1)"]);
}
