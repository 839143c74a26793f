//! Compares the settings with the previous run's manifest.

use serde_json::Value;
use std::collections::BTreeMap;

/// So many are named; of more, how many.
const NAMED: usize = 8;

/// The contents of a manifest that keys depend on, beside the settings, and what they are called.
const CONTENTS: [(&str, &str); 4] = [
    ("data", "the data's content"),
    ("student", "the student model's content"),
    ("teacher", "the teacher model's content"),
    ("test", "the test set's content"),
];

/// Where things lie. It changes nothing; what lies there counts by its content.
const PATHS: [&str; 7] =
    ["run.output", "data.path", "data.queries", "data.documents", "student.model", "teacher.model", "eval.collection"];

/// What differs between two manifests, as `distil.epochs 1 -> 3, loss.scale 20 -> 30`; nothing where nothing does.
pub(crate) fn changes(before: &Value, now: &Value) -> Option<String> {
    let mut found = Vec::new();
    let (old, new) = (settings(&before["configuration"]), settings(&now["configuration"]));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (old, new) = (old.get(key), new.get(key));
        if old != new {
            let said = |value: Option<&String>| value.map_or("none", String::as_str).to_owned();
            found.push(format!("{key} {} -> {}", said(old), said(new)));
        }
    }
    if before["machine"] != now["machine"] {
        let said = |manifest: &Value| manifest["machine"].as_str().unwrap_or("unknown").to_owned();
        found.push(format!("machine {} -> {}", said(before), said(now)));
    }
    // A manifest of an earlier version may lack one.
    let other = CONTENTS.iter().filter(|(name, _)| before.get(name).is_some_and(|hash| *hash != now[name]));
    found.extend(other.map(|(_, called)| (*called).to_owned()));
    let more = found.len().saturating_sub(NAMED);
    found.truncate(NAMED);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    (!found.is_empty()).then(|| found.join(", "))
}

/// Settings by their dotted keys, without paths; absent ones are left out.
fn settings(configuration: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    gather("", configuration, &mut found);
    found.retain(|key: &String, _| !PATHS.contains(&key.as_str()));
    found
}

fn gather(key: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                gather(&key, value, found);
            }
        }
        Value::Null => {}
        value => {
            found.insert(key.to_owned(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::json;

    #[test]
    fn changed_settings_are_named_with_both_values() {
        let manifest =
            |config: &Config, data: &str| json!({"configuration": config, "data": data, "machine": "CPU", "seed": 1});
        let mut config = Config::default();
        let before = manifest(&config, "d1");
        config.run.output = "elsewhere".into();
        config.data.path = "another/place".into();
        assert_eq!(changes(&before, &manifest(&config, "d1")), None);
        config.distil.queries_per_step = 8;
        config.mine.margin = Some(0.5);
        assert_eq!(
            changes(&before, &manifest(&config, "d2")).unwrap(),
            "distil.queries_per_step 16 -> 8, mine.margin none -> 0.5, the data's content"
        );
        // Of another version, or no manifest at all: no reason to stop.
        let all = changes(&json!({}), &before).unwrap();
        assert!(all.ends_with("more") && all.matches("->").count() == NAMED, "{all}");
    }
}
