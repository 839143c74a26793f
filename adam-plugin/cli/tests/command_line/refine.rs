//! Options for what comes after the ranking and beside it.

use crate::common::{done, run};
use crate::{World, hits};

#[test]
fn hits_are_shaped_grouped_counted_and_led_by_examples() {
    let Some(world) = World::new() else { return };
    let index = world.index();
    let search = |more: &[&str]| done(&[&["search", "--index", &index], more].concat());
    let ids = |more: &[&str]| -> Vec<String> {
        let found = hits(&search(&[more, &["--json"]].concat()));
        found.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    };
    // The year of d0 is 2000, that of d5 2005: at the origin one is added, and a half for each year away.
    let newest = [
        "--mode",
        "dense",
        "--boost",
        "exponential; field=year; origin=2005; scale=1; combine=add; weight=100",
        "water",
    ];
    assert_eq!(ids(&newest), ["d5", "d4", "d3", "d2", "d1", "d0"]);
    assert!(search(&[&newest[..], &["--explain"]].concat()).contains("after the exponential decay of `year`"));
    assert_eq!(ids(&["--mode", "dense", "--sort", "year:desc", "water"]), ["d5", "d4", "d3", "d2", "d1", "d0"]);
    let text = search(&["--group", "year:2", "--total", "--facet", "year:2", "--highlight", "crows"]);
    for part in
        ["6 hits of 6 in 6 groups", "2000 (1 document)", "year: 2000 1, 2001 1, others 4", "text: Crows bend wire"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let stats = search(&["--aggregations", "{\"y\": {\"max\": {\"field\": \"year\"}}}", "crows"]);
    assert!(stats.contains("2005"), "{stats}");
    let like = ids(&["--like", "d0", "--like", "d1", "--like-weight", "2", "--unlike", "d2"]);
    assert!(like.len() == 3 && !like.iter().any(|id| ["d0", "d1", "d2"].contains(&id.as_str())), "{like:?}");
    let vector = format!("{:?}", vec![0.5; 16]);
    assert_eq!(ids(&["--vector", &vector, "--mode", "dense"]).len(), 6);
    let file = world.write("vector.json", &vector);
    assert_eq!(ids(&["--vector", &format!("@{file}"), "--mode", "dense", "--diversity", "0.5"]).len(), 6);

    let (_, out, err) = run(&["search", "--index", &index, "--min-score", "9", "crows"]);
    assert!(
        out.contains("0 hits") && err.contains("no document has a score of 9 or more; the best has"),
        "{out} {err}"
    );
    let page = search(&["--cursor", "*", "--top", "4", "--mode", "dense", "crows"]);
    let cursor = page.lines().last().unwrap().strip_prefix("next page: --cursor ").unwrap();
    let rest = ids(&["--cursor", cursor, "--top", "4", "--mode", "dense", "crows"]);
    assert_eq!(rest, ids(&["--mode", "dense", "crows"])[4..]);

    for (words, code, said) in [
        (&["--boost", "gauss; field=year", "x"][..], 2, "gauss"),
        (&["--boost", "linear; field=year; origin=1; scale=-1", "x"], 1, "scale must be above 0, and is -1"),
        (&["--boost", "log; field=yaer", "x"], 1, "field `yaer` is in no document; there are `year`"),
        (&["--group", "yaer", "x"], 1, "field `yaer` is in no document"),
        (&["--group", "year:0", "x"], 2, "names no groups"),
        (&["--facet", "year:0", "x"], 2, "is no facet"),
        (&["--aggregations", "{", "x"], 2, "this is no JSON"),
        (&["--aggregations", "[]", "x"], 1, "must be an object of names"),
        (&["--diversity", "1.5", "x"], 2, "0..=1"),
        (&["--diversity", "0.5", "--sort", "year", "x"], 2, "--sort"),
        (&["--like", "nobody"], 1, "the example `nobody` is no document"),
        (&["--like", "d0", "--like-weight", "1", "--like-weight", "2"], 2, "give one for each example"),
        (&["--vector", "[1]"], 1, "its vector has 1 values; the index takes 16"),
        (&["--vector", "@nowhere.json"], 2, "cannot read nowhere.json"),
        (&["--cursor", "2", "x"], 1, "its cursor is none"),
        (&["--unlike", "d0"], 2, "QUERY"),
    ] {
        let (found, _, err) = run(&[&["search", "--index", &index][..], words].concat());
        assert!(found == code && err.contains(said), "{words:?}: {found} {err}");
    }
}
