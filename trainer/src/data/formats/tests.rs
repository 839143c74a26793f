//! Tests of the readers: each format on a small example made here, wrong rows, limits, and arbitrary bytes.

use crate::data::{DataConfig, Format, ListPositive, TrainingData, WrongRows, load};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn config(path: impl Into<PathBuf>) -> DataConfig {
    DataConfig { path: path.into(), max_wrong_share: 1.0, ..DataConfig::default() }
}

/// Loads one file of rows and gives the folder along, which must outlive the paths in messages.
fn rows(content: &str) -> TrainingData {
    let folder = folder(&[("rows.jsonl", content)]);
    load(&config(folder.path().join("rows.jsonl"))).unwrap()
}

fn texts(data: &TrainingData, numbers: &[u32]) -> Vec<String> {
    numbers.iter().map(|&n| data.passages.full_text(n).unwrap()).collect()
}

fn reasons(data: &TrainingData) -> Vec<(u64, String)> {
    data.dropped.iter().map(|d| (d.line, d.reason.clone())).collect()
}

#[test]
fn triplets_by_name_and_by_order() {
    let data = rows(concat!(
        "{\"negative_1\": \"n1\", \"query\": \"q1\", \"positive\": \"p1\", \"negative_2\": \"n2\"}\n",
        "\n",
        "{\"query\": \"q1\", \"positive\": \"p2\", \"negative\": \"n1\"}\r\n",
        "[\"q2\", \"p1\", \"n2\"]\n",
        "{\"anchor\": \"q3\", \"pos\": \"p3\", \"score\": 1, \"hard_negatives\": [\"n3\"]}",
    ));
    assert_eq!(data.format, Format::Triplets);
    assert_eq!(data.queries.len(), 3);
    assert_eq!(data.rows_kept, 4);
    let first = &data.queries[0];
    assert_eq!(first.text, "q1");
    assert_eq!(texts(&data, &first.positives), ["p1", "p2"]);
    assert_eq!(texts(&data, &first.negatives), ["n1", "n2"]);
    assert_eq!(first.scores, None);
    // Equal texts are one passage.
    assert_eq!(data.passages.len(), 6);
    assert_eq!(texts(&data, &data.queries[1].positives), ["p1"]);
    let third = &data.queries[2];
    assert_eq!((third.text.as_str(), texts(&data, &third.negatives)), ("q3", vec!["n3".to_owned()]));
    // One number beside one negative is a margin.
    assert_eq!(third.scores, Some(vec![1.0, 0.0]));
}

#[test]
fn a_positive_of_one_row_is_no_negative_of_another() {
    let data = rows(concat!(
        "{\"query\": \"q\", \"positive\": \"a\", \"negative\": \"b\"}\n",
        "{\"query\": \"q\", \"positive\": \"b\", \"negative\": \"c\"}\n",
    ));
    assert_eq!(texts(&data, &data.queries[0].positives), ["a", "b"]);
    assert_eq!(texts(&data, &data.queries[0].negatives), ["c"]);
}

#[test]
fn flag_embedding_with_and_without_scores() {
    let data = rows(concat!(
        "{\"query\": \"q1\", \"pos\": [\"p1\"], \"neg\": [\"n1\", \"n2\"], \"pos_scores\": [3.5], \"neg_scores\": [1, -2], ",
        "\"prompt\": \"Represent\", \"type\": \"normal\"}\n",
        "{\"query\": \"q2\", \"pos\": [\"p2\"], \"neg\": []}\n",
        "{\"query\": \"q3\", \"pos\": [\"p3\"], \"neg\": [\"n1\"], \"pos_scores\": [1, 2], \"neg_scores\": [1]}\n",
        "{\"query\": \"q4\", \"pos\": [], \"neg\": [\"n1\"]}\n",
    ));
    assert_eq!(data.format, Format::FlagEmbedding);
    assert_eq!(data.queries.len(), 2);
    assert_eq!(data.queries[0].scores, Some(vec![3.5, 1.0, -2.0]));
    assert_eq!(data.queries[1].scores, None);
    let reasons = reasons(&data);
    assert_eq!(reasons[0], (3, "`pos_scores` has 2 entries for 1 passages".to_owned()));
    assert_eq!(reasons[1], (4, "it has no positive passage".to_owned()));
}

#[test]
fn tevatron_with_passages_in_the_row() {
    let data = rows(concat!(
        "{\"query_id\": 7, \"query\": \"q\", \"positive_passages\": [{\"docid\": \"d1\", \"title\": \"T\", \"text\": \"p\", \"score\": 2}], ",
        "\"negative_passages\": [{\"docid\": \"d2\", \"title\": \"\", \"text\": \"n\", \"score\": 1.5}]}\n",
        "{\"query_id\": 8, \"query\": \"r\", \"positive_passages\": [{\"docid\": \"d1\", \"title\": \"T\", \"text\": \"other\"}]}\n",
    ));
    assert_eq!(data.format, Format::Tevatron);
    assert_eq!(data.queries[0].id, "7");
    assert_eq!(texts(&data, &data.queries[0].positives), ["T p"]);
    assert_eq!(data.queries[0].scores, Some(vec![2.0, 1.5]));
    assert_eq!(data.passages.ids, ["d1", "d2"]);
    assert_eq!(reasons(&data), [(2, "the passage id `d1` stands for two different texts".to_owned())]);
}

#[test]
fn tevatron_with_ids_beside_a_corpus() {
    let folder = folder(&[
        (
            "train.jsonl",
            "{\"query_id\": \"1\", \"query_text\": \"q\", \"positive_document_ids\": [\"a\"], \"negative_document_ids\": [\"b\"]}\n\
             {\"query_id\": \"2\", \"query_text\": \"r\", \"positive_document_ids\": [\"z\"], \"negative_document_ids\": []}\n",
        ),
        (
            "corpus.jsonl",
            "{\"docid\": \"a\", \"document_text\": \"A\"}\n{\"docid\": \"b\", \"document_text\": \"B\"}\n",
        ),
    ]);
    let data = load(&config(folder.path())).unwrap();
    assert_eq!(data.format, Format::TevatronIds);
    assert_eq!(
        (texts(&data, &data.queries[0].positives), texts(&data, &data.queries[0].negatives)),
        (vec!["A".into()], vec!["B".into()])
    );
    assert_eq!(reasons(&data), [(2, "it names the passage `z`, which is not in the table of passages".to_owned())]);
    assert!(
        data.dropped[0]
            .to_string()
            .ends_with("train.jsonl, line 2: it names the passage `z`, which is not in the table of passages")
    );
}

const DOCUMENTS: &str = "{\"document_id\": 10, \"text\": \"A\"}\n{\"document_id\": 11, \"text\": \"B\"}\n{\"document_id\": 12, \"text\": \"C\"}\n";
const QUERIES: &str = "{\"query_id\": \"1\", \"text\": \"first\"}\n{\"query_id\": \"2\", \"text\": \"second\"}\n{\"query_id\": \"3\", \"text\": \" \"}\n";

#[test]
fn three_tables_with_lists_and_lists_in_strings() {
    let train = "{\"query_id\": 1, \"document_ids\": [10, 11, 12], \"scores\": [0.5, 2.0, 1.0]}\n\
                 {\"query_id\": \"2\", \"document_ids\": \"['12', '10']\", \"scores\": \"[1.5, -1.0]\"}\n\
                 {\"query_id\": \"9\", \"document_ids\": [10], \"scores\": [1]}\n\
                 {\"query_id\": \"2\", \"document_ids\": [10], \"scores\": [1, 2]}\n\
                 {\"query_id\": \"3\", \"document_ids\": [10], \"scores\": [1]}\n\
                 {\"query_id\": \"2\", \"document_ids\": [10], \"scores\": [1e400]}\n";
    let folder = folder(&[("train.jsonl", train), ("queries.jsonl", QUERIES), ("documents.jsonl", DOCUMENTS)]);
    let mut settings = config(folder.path());
    let data = load(&settings).unwrap();
    assert_eq!(data.format, Format::ThreeTables);
    assert_eq!(texts(&data, &data.queries[0].positives), ["A"]);
    assert_eq!(data.queries[0].scores, Some(vec![0.5, 2.0, 1.0]));
    assert_eq!(data.queries[1].text, "second");
    assert_eq!(texts(&data, &data.queries[1].negatives), ["A"]);
    assert_eq!(data.queries[1].scores, Some(vec![1.5, -1.0]));
    let lines: Vec<u64> = data.dropped.iter().map(|d| d.line).collect();
    assert_eq!(lines, [3, 3, 4, 5, 6], "{:?}", reasons(&data));
    assert!(reasons(&data)[0].1.contains("the query `3` has no text"));

    settings.list_positive = ListPositive::Highest;
    let data = load(&settings).unwrap();
    assert_eq!(texts(&data, &data.queries[0].positives), ["B"]);
    assert_eq!(texts(&data, &data.queries[0].negatives), ["A", "C"]);
    assert_eq!(data.queries[0].scores, Some(vec![2.0, 0.5, 1.0]));

    // Tables may lie elsewhere under other names.
    fs::rename(folder.path().join("documents.jsonl"), folder.path().join("texts.jsonl")).unwrap();
    let error = load(&settings).unwrap_err().to_string();
    assert!(error.contains("`documents.jsonl` or `.parquet`"), "{error}");
    settings.documents = Some(folder.path().join("texts.jsonl"));
    assert_eq!(load(&settings).unwrap().queries.len(), 2);
}

/// Writes ids as 64-bit integers, scores as 32-bit floats, both as lists, the way data sets are published.
fn write_parquet(path: &Path) {
    let schema = "message schema {
        required int64 query_id;
        optional group document_ids (LIST) { repeated group list { optional int64 element; } }
        optional group scores (LIST) { repeated group list { optional float element; } }
        optional binary note (UTF8);
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1, 2], None, None).unwrap();
    column.close().unwrap();
    // Two lists of 2 and 1 entries: repetition level 0 starts a list.
    let (definition, repetition) = (&[3, 3, 3][..], &[0, 1, 0][..]);
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[10, 11, 12], Some(definition), Some(repetition)).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<FloatType>().write_batch(&[2.5, 0.25, 7.0], Some(definition), Some(repetition)).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[ByteArray::from("x")], Some(&[1, 0]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn three_tables_in_parquet() {
    let folder = folder(&[("queries.jsonl", QUERIES), ("documents.jsonl", DOCUMENTS)]);
    write_parquet(&folder.path().join("train-00000-of-00001.parquet"));
    let data = load(&config(folder.path())).unwrap();
    assert_eq!(data.format, Format::ThreeTables);
    assert_eq!(data.queries[0].scores, Some(vec![2.5, 0.25]));
    assert_eq!(texts(&data, &data.queries[0].negatives), ["B"]);
    assert_eq!(texts(&data, &data.queries[1].positives), ["C"]);
}

#[test]
fn beir_folders() {
    let corpus = "{\"_id\": \"d1\", \"title\": \"T\", \"text\": \"one\"}\n{\"_id\": \"d2\", \"title\": \"\", \"text\": \"two\"}\n\
                  {\"_id\": \"d3\", \"title\": \"\", \"text\": \"\"}\n";
    let queries = "{\"_id\": \"q1\", \"text\": \"first\"}\n{\"_id\": \"q2\", \"text\": \"second\"}\n{\"_id\": \"q3\", \"text\": \"third\"}\n";
    let qrels =
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n\nq9\td1\t1\nq2\td9\t1\nq2\td2\t2\nq3\td1\t0\nq3\td3\t1\n";
    let folder = folder(&[("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/train.tsv", qrels)]);
    let mut settings = config(folder.path());
    let data = load(&settings).unwrap();
    assert_eq!(data.format, Format::Beir);
    assert_eq!(data.passages.full_text(0).unwrap(), "T one");
    assert_eq!(data.queries.len(), 2);
    assert_eq!((data.queries[0].positives.clone(), data.queries[0].negatives.clone()), (vec![0], vec![1]));
    assert_eq!(data.queries[1].positives, [1]);
    let said: Vec<String> = data.dropped.iter().map(|d| d.to_string()).collect();
    assert!(said.iter().any(|s| s.ends_with("the passage `d3` has no text")), "{said:?}");
    assert!(said.iter().any(|s| s.contains("train.tsv, line 5: it names the query `q9`")), "{said:?}");
    assert!(said.iter().any(|s| s.contains("train.tsv, line 6: it names the passage `d9`")), "{said:?}");
    assert!(said.iter().any(|s| s.ends_with("the query `q3` has no positive passage")), "{said:?}");
    settings.min_grade = 2;
    let data = load(&settings).unwrap();
    assert_eq!(data.queries.iter().map(|q| q.id.as_str()).collect::<Vec<_>>(), ["q2"]);
    settings.split = "dev".to_owned();
    assert!(load(&settings).unwrap_err().to_string().contains("dev.tsv"));
    fs::write(folder.path().join("corpus.jsonl"), format!("{corpus}not json\n")).unwrap();
    settings.split = "train".to_owned();
    assert!(load(&settings).unwrap_err().to_string().contains("line 4"));
}

#[test]
fn ms_marco() {
    let folder = folder(&[
        ("collection.tsv", "0\tzero\n1\tone\n2\thttp://x\tTitle\tbody of\ttwo\n3\n4\t\n"),
        ("queries.train.tsv", "7\tseven\n8\teight\n"),
        ("qrels.train.tsv", "7 0 1 1\n7\t0\t0\t0\n8\t0\t2\t1\n9\t0\t1\t1\n8\t0\t4\t1\n8\t0\t1\tx\n"),
    ]);
    let mut settings = config(folder.path());
    let data = load(&settings).unwrap();
    assert_eq!(data.format, Format::MsMarco);
    assert_eq!(texts(&data, &data.queries[0].positives), ["one"]);
    assert_eq!(texts(&data, &data.queries[0].negatives), ["zero"]);
    assert_eq!(texts(&data, &data.queries[1].positives), ["Title body of\ttwo"]);
    let lines: Vec<u64> = data.dropped.iter().map(|d| d.line).collect();
    assert_eq!(lines, [4, 5, 4, 5, 6], "{:?}", reasons(&data));
    settings.split = "dev".to_owned();
    assert!(load(&settings).unwrap_err().to_string().contains("queries.dev.tsv"));
}

#[test]
fn wrong_rows_are_named_and_too_many_end_the_run() {
    let good = "{\"query\": \"q\", \"positive\": \"p\"}\n";
    let folder = folder(&[(
        "rows.jsonl",
        &format!("{good}not json\n{good}{{\"query\": 3, \"positive\": \"p\"}}\n[1]\n\u{feff}\n"),
    )]);
    let path = folder.path().join("rows.jsonl");
    let data = load(&config(&path)).unwrap();
    assert_eq!((data.rows_kept, data.rows_dropped), (2, 4));
    assert!(data.dropped[0].to_string().contains("rows.jsonl, line 2: not a JSON row"));
    assert!(reasons(&data)[1].1.contains("`query` must be text, and is a number"));

    let mut settings = config(&path);
    settings.max_wrong_share = 0.5;
    let error = load(&settings).unwrap_err().to_string();
    assert!(error.contains("4 of 6 rows") && error.contains("rows.jsonl, line 2:"), "{error}");
    settings.wrong_rows = WrongRows::Fail;
    let error = load(&settings).unwrap_err().to_string();
    assert!(error.contains("rows.jsonl, line 2: not a JSON row"), "{error}");
}

#[test]
fn limits_hold() {
    let long = "x".repeat(100);
    let content = format!(
        "{{\"query\": \"q\", \"positive\": \"p\"}}\n{{\"query\": \"{long}\", \"positive\": \"p\"}}\n[\"r\", \"p\", [\"a\", \"b\", \"c\"]]\n[\"s\", \"p\"]\n"
    );
    let folder = folder(&[("rows.jsonl", &content)]);
    let mut settings = config(folder.path().join("rows.jsonl"));
    settings.max_line_bytes = 60;
    settings.max_list = 2;
    let data = load(&settings).unwrap();
    let reasons = reasons(&data);
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].0 == 2 && reasons[0].1.contains("longer than 60 bytes"), "{reasons:?}");
    assert!(reasons[1].0 == 3 && reasons[1].1.contains("max_list"), "{reasons:?}");
    assert_eq!(data.queries.len(), 2);
    settings.max_rows = 2;
    assert!(load(&settings).unwrap_err().to_string().contains("max_rows"));
    // A line of exactly the limit is read, with either line end; one byte more is not.
    for end in ["\n", "\r\n", ""] {
        let line = "[\"qq\", \"p\"]";
        fs::write(&settings.path, format!("{line}{end}")).unwrap();
        settings.max_line_bytes = line.len();
        assert_eq!(load(&settings).unwrap().queries.len(), 1);
        settings.max_line_bytes = line.len() - 1;
        assert!(load(&settings).is_err());
    }
}

#[test]
fn what_is_no_data_says_so() {
    let folder = folder(&[
        ("empty.jsonl", ""),
        ("odd.jsonl", "{\"a\": 1, \"b\": 2}\n"),
        ("blob.parquet", "PAR1 and then nothing PAR1"),
    ]);
    let fails = |name: &str| load(&config(folder.path().join(name))).unwrap_err().to_string();
    assert!(fails("absent.jsonl").contains("there is no such file"));
    assert!(fails("empty.jsonl").contains("it holds no rows"));
    let odd = fails("odd.jsonl");
    assert!(odd.contains("odd.jsonl, line 1") && odd.contains("fields are: a, b") && odd.contains("`query`"), "{odd}");
    assert!(fails("blob.parquet").contains("blob.parquet"));
    assert!(load(&DataConfig::default()).unwrap_err().to_string().contains("`path` is missing"));
}

#[test]
fn settings_read_from_toml() {
    let settings: DataConfig =
        toml::from_str("path = \"x.zip\"\nformat = \"three-tables\"\nhold_out = 0.1\nwrong_rows = \"fail\"").unwrap();
    assert_eq!(settings.format, Format::ThreeTables);
    assert_eq!(settings.wrong_rows, WrongRows::Fail);
    assert!(toml::from_str::<DataConfig>("pathh = \"x\"").is_err());
    for format in [Format::Auto, Format::Beir, Format::FlagEmbedding, Format::MsMarco, Format::TevatronIds] {
        let read: DataConfig = toml::from_str(&format!("format = \"{}\"", format.name())).unwrap();
        assert_eq!(read.format, format);
    }
}

const FORMATS: [Format; 8] = [
    Format::Beir,
    Format::Auto,
    Format::Triplets,
    Format::FlagEmbedding,
    Format::Tevatron,
    Format::TevatronIds,
    Format::ThreeTables,
    Format::MsMarco,
];

/// Runs every reader on a folder whose every file holds the bytes; only a panic is a failure.
fn run_all(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "train.jsonl",
        "queries.jsonl",
        "documents.jsonl",
        "collection.tsv",
        "queries.train.tsv",
        "qrels.train.tsv",
        "corpus.jsonl",
        "qrels/train.tsv",
        "rows.csv",
        "rows.tsv",
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    for format in FORMATS {
        for name in ["", "train.jsonl", "rows.csv", "rows.tsv"] {
            let path = folder.path().join(name);
            let settings = DataConfig { format, ..config(path) };
            let _ = load(&settings);
        }
    }
}

/// JSON that is nearly right: the known keys with values of any sort.
fn near_rows() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "query",
        "positive",
        "negative",
        "pos",
        "neg",
        "pos_scores",
        "neg_scores",
        "query_id",
        "positive_passages",
        "negative_passages",
        "positive_document_ids",
        "document_ids",
        "scores",
        "docid",
        "text",
        "_id",
        "score",
        "query_text",
        "sentence1",
        "sentence2",
        "label",
        "similarity",
        "hard_negatives",
        "neg_7",
        "title",
        "clicked",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1.5e3".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"[1, 'a']\"".to_owned()),
        Just("NaN".to_owned()),
        Just("\"false\"".to_owned()),
        Just("\"['a', 'b']\"".to_owned()),
        Just("\"a\"".to_owned()),
        Just("1".to_owned()),
    ];
    let value = leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{\"docid\":{a},\"text\":{b}}}")),
        ]
    });
    let row = prop::collection::vec((keys, value), 0..6).prop_map(|fields| {
        format!("{{{}}}", fields.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect::<Vec<_>>().join(","))
    });
    prop::collection::vec(row, 1..5).prop_map(|rows| rows.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_reader_panics_on_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        run_all(&bytes);
    }

    #[test]
    fn no_reader_panics_on_rows_that_are_nearly_right(rows in near_rows()) {
        run_all(rows.as_bytes());
    }

    #[test]
    fn a_damaged_parquet_file_is_an_error_or_read_but_no_panic(place in any::<prop::sample::Index>(), bits in 1u8..=255, cut in any::<prop::sample::Index>()) {
        let folder = folder(&[("queries.jsonl", QUERIES), ("documents.jsonl", DOCUMENTS)]);
        let path = folder.path().join("train.parquet");
        write_parquet(&path);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[place.index(good.len())] ^= bits;
        fs::write(&path, &bad).unwrap();
        let _ = load(&config(folder.path()));
        fs::write(&path, &good[..cut.index(good.len())]).unwrap();
        prop_assert!(load(&config(folder.path())).is_err());
    }
}
