//! Boosts, groups, facets, examples and cursors over HTTP, by body and by link.

use serde_json::json;

use crate::http::{Answer, has_runtime};
use crate::{birds, by_hand, start, start_in_chunks};

#[test]
fn a_search_is_shaped_grouped_counted_and_led_by_examples() {
    if !has_runtime() {
        return;
    }
    for chunks in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let server = if chunks { start_in_chunks(folder.path(), by_hand()) } else { start(folder.path(), by_hand()) };
        let mut client = server.client();
        assert_eq!(client.post("/documents?commit=true", &birds()).status, 200);
        let same = |a: &Answer, b: &Answer| {
            assert_eq!((a.status, b.status), (200, 200), "{} {}", a.text(), b.text());
            assert_eq!(a.ids(), b.ids());
            a.json()
        };

        // The newest is put first, whatever the words.
        let boost = json!({"function": "exponential", "field": "year", "origin": 2020, "scale": 1, "combine": "add", "weight": 10});
        let by_body =
            client.post("/search", &json!({"query": "birds", "mode": "dense", "boosts": [boost], "explain": true}));
        let by_link = client.get(
            "/search?query=birds&mode=dense&boost=exponential;field=year;origin=2020;scale=1;combine=add;weight=10",
        );
        let found = same(&by_body, &by_link);
        assert_eq!(found["hits"][0]["id"], "a/b?c");
        let tree = found["hits"][0]["explanation"].to_string();
        assert!(tree.contains("exponential decay of `year`: 1.0000, weight 10, added"), "{tree}");

        let by_body = client
            .post("/search", &json!({"query": "birds", "mode": "dense", "group": {"field": "kind"}, "total": true}));
        let found = same(&by_body, &client.get("/search?query=birds&mode=dense&group=kind&total=true"));
        // Two kinds, and one without.
        assert_eq!((&found["groups"], &found["total"], by_body.ids().len()), (&json!(3), &json!(4), 3));
        let bird =
            found["hits"].as_array().unwrap().iter().find(|hit| hit["group"]["value"] == "bird").unwrap().clone();
        assert_eq!(bird["group"]["documents"], 2);

        let facets = json!({"query": "birds", "mode": "dense", "filters": ["year:2000.."], "facets": [{"field": "kind"}],
            "aggregations": {"year": {"stats": {"field": "year"}}}});
        let by_body = client.post("/search", &facets);
        let aggregations = "%7B%22year%22:%7B%22stats%22:%7B%22field%22:%22year%22%7D%7D%7D";
        let by_link = client
            .get(&format!("/search?query=birds&mode=dense&filter=year:2000..&facet=kind&aggregations={aggregations}"));
        let found = same(&by_body, &by_link);
        assert_eq!(
            found["facets"]["kind"],
            json!({"values": [{"value": "bird", "documents": 1}, {"value": "matter", "documents": 1}], "others": 0})
        );
        assert_eq!(
            (&found["aggregations"]["year"]["count"], &found["aggregations"]["year"]["max"]),
            (&json!(3), &json!(2020.0))
        );
        assert_eq!(by_link.json()["aggregations"], found["aggregations"]);

        let sorted = client
            .post("/search", &json!({"query": "birds", "mode": "dense", "sort": {"field": "year", "order": "desc"}}));
        same(&sorted, &client.get("/search?query=birds&mode=dense&sort=year:desc"));
        assert_eq!(sorted.ids(), ["a/b?c", "glass", "crow", "raven"]);

        let like =
            client.post("/search", &json!({"like": ["crow", {"id": "raven", "weight": 0.5}], "unlike": ["glass"]}));
        assert_eq!(like.ids(), ["a/b?c"], "examples and counter-examples are no hits");
        same(&client.post("/search", &json!({"like": ["crow"]})), &client.get("/search?like=crow"));
        let vector: Vec<f32> = vec![0.25; 16];
        assert_eq!(client.post("/search", &json!({"vector": vector, "mode": "dense"})).ids().len(), 4);

        let none = client.post("/search", &json!({"query": "birds", "mode": "dense", "min_score": 2}));
        let warnings = none.json()["warnings"].to_string();
        assert!(
            none.ids().is_empty() && warnings.contains("no document has a score of 2 or more; the best has"),
            "{warnings}"
        );
        assert!(client.get("/search?query=birds&mode=dense&min_similarity=0.9999").ids().is_empty());

        let marked = client.post("/search", &json!({"query": "wire crows", "highlight": true})).json();
        let highlights = &marked["hits"][0]["highlights"];
        assert_eq!(highlights["text"][0]["text"], "crows bend wire into hooks", "{highlights}");

        let (mut cursor, mut seen) = (json!("*"), Vec::new());
        while cursor.is_string() {
            let page = client.post("/search", &json!({"query": "birds", "mode": "dense", "top": 3, "cursor": cursor}));
            assert_eq!(page.status, 200, "{}", page.text());
            seen.extend(page.ids());
            cursor = page.json()["cursor"].clone();
        }
        assert_eq!(seen, client.get("/search?query=birds&mode=dense").ids());

        for (body, said) in [
            (
                json!({"query": "x", "boosts": [{"function": "log", "field": "yaer"}]}),
                "field `yaer` is in no document; there are `year`",
            ),
            (json!({"query": "x", "boosts": [{"function": "log", "field": "kind", "pivot": 2}]}), "has `pivot`"),
            (
                json!({"query": "x", "boosts": [{"function": "linear", "field": "year", "origin": 1, "scale": -3}]}),
                "scale must be above 0, and is -3",
            ),
            (json!({"query": "x", "boosts": [{"function": "cubic", "field": "year"}]}), "cubic"),
            (json!({"query": "x", "boosts": [{"function": "log", "feild": "year"}]}), "feild"),
            (json!({"query": "x", "group": {"field": "knd"}}), "field `knd` is in no document"),
            (json!({"query": "x", "facets": [{"field": "kind", "size": 0}]}), "has 0 values"),
            (
                json!({"query": "x", "aggregations": {"a": {"terms": {"field": "knd"}}}}),
                "field `knd` is in no document",
            ),
            (json!({"query": "x", "aggregations": {"a": {"trms": {"field": "kind"}}}}), "trms"),
            (json!({"query": "x", "diversity": 2}), "lambda of diversity must lie in 0..=1, and is 2"),
            (json!({"query": "x", "cursor": "next"}), "its cursor is none"),
            (json!({"like": ["nobody"]}), "the example `nobody` is no document"),
            (json!({"like": []}), "`query` is missing"),
            (json!({"unlike": ["crow"]}), "`query` is missing"),
            (json!({"vector": [1]}), "its vector has 1 values"),
            (json!({"query": "x", "min_score": "high"}), "high"),
            (json!({"query": "x", "aggregations": []}), "aggregations"),
        ] {
            let answer = client.post("/search", &body);
            assert_eq!(answer.status, 422, "{body}: {}", answer.text());
            assert!(answer.error().contains(said), "{body}: {}", answer.error());
        }
        for link in [
            "boost=gauss;field=year",
            "group=:2",
            "facet=kind:0",
            "aggregations=%7B",
            "diversity=much",
            "sort=",
            "group=kind&group=year",
        ] {
            assert_eq!(client.get(&format!("/search?query=x&{link}")).status, 422, "{link}");
        }
        server.stop();
    }
}
