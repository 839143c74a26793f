//! `adam shard`: parts made by several processes, killed and begun again, are one index with the answers of one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{adam, done, run};
use crate::{World, hits};

const WORDS: [&str; 8] = ["crows", "wire", "hooks", "iron", "blood", "water", "light", "nest"];

/// Documents of few words, so that many scores are equal.
fn corpus(world: &World, count: usize) -> String {
    let line = |at: usize| {
        let text: Vec<&str> = (0..3 + at % 5).map(|word| WORDS[(at * 7 + word * word * 3) % WORDS.len()]).collect();
        json!({"_id": format!("d{at}"), "title": WORDS[at % 8], "text": text.join(" "), "metadata": {"year": 1990 + at % 30}})
            .to_string()
    };
    world.write("many.jsonl", &(0..count).map(line).collect::<Vec<_>>().join("\n"))
}

fn found(index: &str, more: &[&str]) -> Vec<(Value, Value)> {
    let mut answers = Vec::new();
    for query in ["crows wire", "iron", "light nest blood"] {
        let mut words = vec!["search", "--index", index, "--json", "--top", "50"];
        words.extend_from_slice(more);
        words.push(query);
        answers.extend(hits(&done(&words)).into_iter().map(|hit| (hit["id"].clone(), hit["score"].clone())));
    }
    answers
}

#[test]
fn shards_of_several_processes_answer_as_one_index() {
    let Some(world) = World::new() else { return };
    let (data, model) = (corpus(&world, 400), world.model());
    let (plain, sharded) = (world.path("plain"), world.path("sharded"));
    // One text at a time: the last bits of a vector depend on the texts it is computed with.
    done(&["index", "--model", &model, "--data", &data, "--index", &plain, "--batch", "1"]);
    let part = |part: &str| {
        let words = ["shard", "--model", &model, "--data", &data, "--index", &sharded, "--part", part, "--batch", "1"];
        adam().args(words).spawn().unwrap()
    };
    // Two at once, in any order; nothing is there before the last is.
    let mut two = [part("2/3"), part("0/3")];
    two.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
    let (code, _, said) = run(&["search", "--index", &sharded, "crows"]);
    assert_eq!(code, 1, "{said}");
    assert!(part("1/3").wait().unwrap().success());
    for more in [
        vec!["--mode", "bm25"],
        vec!["--mode", "dense"],
        vec![],
        vec!["--fusion", "z-score", "--filter", "year:2000.."],
        vec!["--fusion", "rrf", "--offset", "30"],
    ] {
        let (wanted, got) = (found(&plain, &more), found(&sharded, &more));
        assert!(!wanted.is_empty());
        assert_eq!(wanted, got, "{more:?}");
    }
    done(&["check", &sharded]);
    let info: Value = serde_json::from_str(&done(&["info", "--index", &sharded, "--json"])).unwrap();
    assert_eq!(info["documents"], 400, "{info}");
    // All again: nothing is made, and nothing changes.
    let (code, _, said) =
        run(&["shard", "--model", &model, "--data", &data, "--index", &sharded, "--shards", "3", "--batch", "1"]);
    assert_eq!((code, said.matches("done before").count()), (0, 3), "{said}");
    // A new document and a changed one go to the shards of their keys.
    let more = world
        .write("more.jsonl", "{\"_id\": \"new\", \"text\": \"an owl\"}\n{\"_id\": \"d7\", \"text\": \"an owl too\"}\n");
    done(&["index", "--data", &more, "--index", &sharded]);
    let owls = hits(&done(&["search", "--index", &sharded, "--mode", "bm25", "--json", "owl"]));
    let mut owls: Vec<&str> = owls.iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    owls.sort_unstable();
    assert_eq!(owls, ["d7", "new"]);
    done(&["delete", "--index", &sharded, "new"]);
    // Deletions reach the shards.
    done(&["delete", "--index", &sharded, "d3", "d4"]);
    let info: Value = serde_json::from_str(&done(&["info", "--index", &sharded, "--json"])).unwrap();
    assert_eq!(info["documents"], 398, "{info}");
}

#[cfg(unix)]
#[test]
fn a_unit_that_is_killed_again_and_again_is_whole_in_the_end() {
    let Some(world) = World::new() else { return };
    let (data, model, sharded) = (corpus(&world, 3000), world.model(), world.path("sharded"));
    let words = [
        "shard",
        "--model",
        &model,
        "--data",
        &data,
        "--index",
        &sharded,
        "--shards",
        "2",
        "--commit-every",
        "200",
        "--batch",
        "16",
    ];
    let mut kills = 0;
    for round in 0..20u64 {
        let mut child = adam().args(words).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40 + 45 * round));
        match child.try_wait().unwrap() {
            Some(ended) => assert!(ended.success()),
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
        }
    }
    assert!(kills > 0, "no kill came before the end");
    done(&words);
    done(&["check", &sharded]);
    let info: Value = serde_json::from_str(&done(&["info", "--index", &sharded, "--json"])).unwrap();
    assert_eq!(info["documents"], 3000, "{info}");
    let leftover = std::fs::read_dir(&sharded)
        .unwrap()
        .flatten()
        .flat_map(|job| std::fs::read_dir(job.path()).into_iter().flatten());
    assert!(leftover.flatten().all(|entry| !entry.file_name().to_string_lossy().ends_with(".unfinished")));
}

#[test]
fn wrong_calls_are_named() {
    let Some(world) = World::new() else { return };
    let (data, model, index) = (corpus(&world, 10), world.model(), world.index());
    let sharded = world.path("sharded");
    let shard = |index: &str, more: &[&str]| {
        let mut words = vec!["shard", "--model", &model, "--data", &data, "--index", index];
        words.extend_from_slice(more);
        run(&words)
    };
    for (more, expected) in [
        (vec![], "--part"),
        (vec!["--part", "4/4"], "`4/4`"),
        (vec!["--part", "x"], "`x`"),
        (vec!["--shards", "0"], "0"),
        (vec!["--part", "0/2", "--shards", "2"], "--shards"),
    ] {
        let (code, _, said) = shard(&sharded, &more);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(expected), "{more:?}: {said}");
    }
    let (code, _, said) = shard(&index, &["--shards", "2"]);
    assert!(code == 1 && said.contains("index in one piece"), "{said}");
}
