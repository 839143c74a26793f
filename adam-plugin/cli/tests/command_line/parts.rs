//! Vectors in parts: written as they are made, kept after an interruption, given to an index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::World;
use crate::common::{done, run};

fn corpus(world: &World, count: usize, changed: Option<usize>) -> String {
    let text = |at: usize| if changed == Some(at) { "another text".to_owned() } else { format!("everyone knows {at}") };
    let lines = (0..count).map(|at| json!({"_id": format!("d{at}"), "text": text(at)}).to_string());
    world.write("parts.jsonl", &lines.collect::<Vec<_>>().join("\n"))
}

/// The files that begin with `vectors`, with what is in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("vectors"));
    named.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn parts_are_kept_and_hold_what_one_file_holds() {
    let Some(world) = World::new() else { return };
    let (data, model) = (corpus(&world, 25, None), world.model());
    let (whole, output) = (world.path("all.npy"), world.path("vectors.npy"));
    let folder = Path::new(&output).parent().unwrap().to_path_buf();
    done(&["encode", "--model", &model, "--input", &data, "--output", &whole]);
    let encode = |data: &str| {
        let (code, _, err) = run(&["encode", "--model", &model, "--input", data, "--output", &output, "--part", "10"]);
        assert_eq!(code, 0, "{err}");
        err
    };
    let first = encode(&data);
    assert!(first.contains("25 vectors") && !first.contains("were there"), "{first}");
    let parts = files(&folder);
    let name = |number: usize| folder.join(format!("vectors-{number:05}.npy"));
    assert_eq!(parts.len(), 6, "three arrays and their names");
    let values = |bytes: &[u8], rows: usize| bytes[bytes.len() - rows * 16 * 4..].to_vec();
    let together: Vec<u8> =
        [(0, 10), (1, 10), (2, 5)].iter().flat_map(|&(n, rows)| values(&parts[&name(n)], rows)).collect();
    assert_eq!(together, values(&std::fs::read(&whole).unwrap(), 25));
    let ids: Value = serde_json::from_slice(&parts[&folder.join("vectors-00002.npy.json")]).unwrap();
    assert_eq!(ids["ids"], json!(["d20", "d21", "d22", "d23", "d24"]));

    // A part that was lost, and one that is broken beside its names, are made again; the others are left as they are.
    std::fs::remove_file(name(1)).unwrap();
    let again = encode(&data);
    assert!(again.contains("15 of them in parts that were there"), "{again}");
    assert!(files(&folder) == parts);
    // So is one whose texts have changed.
    let changed = encode(&corpus(&world, 25, Some(3)));
    assert!(changed.contains("15 of them in parts that were there"), "{changed}");
    let now = files(&folder);
    assert!(now[&name(0)] != parts[&name(0)] && now[&name(1)] == parts[&name(1)]);
    // And all of another kind.
    let (code, _, err) =
        run(&["encode", "--model", &model, "--input", &data, "--output", &output, "--part", "10", "--kind", "query"]);
    assert!(code == 0 && !err.contains("were there"), "{err}");
    let shorter = encode(&corpus(&world, 12, None));
    assert!(shorter.contains("vectors-00002.npy is of an earlier call"), "{shorter}");
}

#[test]
fn parquet_parts_are_kept_too() {
    let Some(world) = World::new() else { return };
    let (data, model, output) = (corpus(&world, 25, None), world.model(), world.path("vectors.parquet"));
    let words = ["encode", "--model", &model, "--input", &data, "--output", &output, "--part", "10"];
    assert!(run(&words).2.contains("25 vectors"));
    assert!(run(&words).2.contains("25 of them in parts that were there"));
    let third = Path::new(&output).with_file_name("vectors-00002.parquet");
    let bytes = std::fs::read(&third).unwrap();
    std::fs::write(&third, &bytes[..bytes.len() / 2]).unwrap();
    let err = run(&words).2;
    assert!(err.contains("20 of them in parts that were there") && std::fs::read(&third).unwrap() == bytes, "{err}");
}

#[test]
fn an_index_takes_the_parts() {
    let Some(world) = World::new() else { return };
    let (data, model, output) = (corpus(&world, 25, None), world.model(), world.path("vectors.npy"));
    done(&["encode", "--model", &model, "--input", &data, "--output", &output, "--part", "10"]);
    let part = |number: usize| Path::new(&output).with_file_name(format!("vectors-{number:05}.npy"));
    let parts: Vec<String> = (0..3).map(|number| part(number).display().to_string()).collect();
    let index = world.path("of-parts");
    let words = ["index", "--model", &model, "--data", &data, "--index", &index, "--vectors"];
    let given: Vec<&str> = words.iter().copied().chain(parts.iter().map(String::as_str)).collect();
    let (code, _, err) = run(&given);
    assert!(code == 0 && err.contains("(0 encoded") && !err.contains("warning"), "{err}");
    // Two files that both have a vector for a document say nothing about which is meant.
    let twice: Vec<&str> = words.iter().copied().chain([parts[0].as_str(), parts[0].as_str()]).collect();
    let (code, _, err) = run(&twice);
    assert!(code == 1 && err.contains("`d0` of row 0 is named in") && err.contains("as well"), "{err}");
}
