//! `adam export`: what goes out comes in again.

use std::fs::File;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{ListAccessor, RowAccessor};
use serde_json::json;

use crate::common::{done, run};
use crate::{World, hits};

#[test]
fn an_exported_index_is_the_same_when_it_is_read_again() {
    let Some(world) = World::new() else { return };
    let lines = [
        json!({"_id": "a", "title": "Crows", "text": "Crows bend wire.", "metadata": {"year": 2002, "tags": ["bird", "tool"]}}),
        json!({"_id": "b \u{1f426}", "title": "", "text": "Iron \"and\" blood", "metadata": {}}),
        json!({"_id": "c", "title": "Nothing", "text": ""}),
    ];
    let data = world.write("data.jsonl", &lines.map(|line| line.to_string()).join("\n"));
    let (index, again, file) = (world.path("first"), world.path("again"), world.path("out.parquet"));
    done(&["index", "--model", &world.model(), "--data", &data, "--index", &index]);
    done(&["export", "--index", &index, "--output", &file]);
    let reader = SerializedFileReader::new(File::open(&file).unwrap()).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 3);
    let said = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let value = |key: &str| said.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()).unwrap();
    assert_eq!((value("adam.fusion").as_str(), value("adam.weight_of_vectors").as_str()), ("convex", "0.8"));
    let mut rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    let row = rows.find(|row| row.get_string(0).unwrap() == "a").unwrap();
    assert_eq!(row.get_string(2).unwrap(), "Crows bend wire.");
    let vector = row.get_list(4).unwrap();
    let squares: f32 = (0..vector.len()).map(|at| vector.get_float(at).unwrap().powi(2)).sum();
    assert!((squares - 1.0).abs() < 1e-4, "{squares}");

    done(&["index", "--model", &world.model(), "--data", &file, "--index", &again]);
    for more in [vec!["--mode", "bm25"], vec!["--mode", "dense"], vec!["--filter", "tags:tool AND year:2002"]] {
        let search = |index: &str| {
            let line = [&["search", "--index", index, "--json", "--top", "10"][..], &more, &["crows iron nothing"]];
            hits(&done(&line.concat()))
        };
        assert_eq!(search(&index), search(&again), "{more:?}");
        assert!(!search(&index).is_empty());
    }
    done(&["delete", "--index", &index, "c"]);
    done(&["export", "--index", &index, "--output", &file]);
    let reader = SerializedFileReader::new(File::open(&file).unwrap()).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 2, "what is deleted stays behind");
    let (code, _, said) = run(&["export", "--index", &index, "--output", &world.path("out.csv")]);
    assert!(code == 2 && said.contains(".parquet"), "{code} {said}");
    let (code, _, said) = run(&["export", "--index", &world.path("nowhere"), "--output", &file]);
    assert!(code == 1 && said.contains("nowhere"), "{code} {said}");
}

#[test]
fn chunks_are_rows_with_their_own_text() {
    let Some(world) = World::new() else { return };
    let text = "Crows bend wire into hooks. Iron makes blood red. Plants grow from light and water. The nest of a bird is green.";
    let line = json!({"_id": "long", "title": "", "text": text, "metadata": {"year": 1}}).to_string();
    let data = world.write("long.jsonl", &line);
    let (index, file) = (world.path("chunked"), world.path("chunks.parquet"));
    let words = ["index", "--model", &world.model(), "--data", &data, "--index", &index, "--chunk-tokens", "10"];
    done(&words);
    done(&["export", "--index", &index, "--output", &file]);
    let reader = SerializedFileReader::new(File::open(&file).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert!(rows.len() > 2);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!((row.get_string(0).unwrap().as_str(), row.get_long(1).unwrap()), ("long", number as i64));
        let piece = row.get_string(3).unwrap();
        assert!(text.contains(piece.as_str()) && piece.len() < text.len(), "{piece}");
        assert!(row.get_list(5).unwrap().len() > 1);
    }
}
