//! How two schemas differ.

use serde_json::Value;
use tantivy::schema::Schema;

use crate::DenseError;

/// Refuses a schema that is not the index's, by the first field that differs.
pub(crate) fn check_same(index: &Schema, given: &Schema) -> Result<(), DenseError> {
    if index == given {
        return Ok(());
    }
    let (ours, theirs) = (fields(index), fields(given));
    let other = |field: &str, difference: String| Err(DenseError::OtherSchema { field: field.to_owned(), difference });
    for (name, wanted) in &theirs {
        match ours.iter().find(|(there, _)| there == name) {
            None => return other(name, "is not in the index".to_owned()),
            Some((_, there)) if there != wanted => return other(name, difference(there, wanted)),
            Some(_) => {}
        }
    }
    for (name, _) in &ours {
        if !theirs.iter().any(|(wanted, _)| wanted == name) {
            return other(name, "is in the index, and not in the schema that was given".to_owned());
        }
    }
    // The same fields in another order have other numbers, by which the index knows them.
    let moved = ours.iter().zip(&theirs).position(|(there, wanted)| there.0 != wanted.0);
    let (at, name) =
        moved.and_then(|at| Some((at, &theirs.get(at)?.0))).map_or((0, ""), |(at, name)| (at, name.as_str()));
    let there = ours.iter().position(|(there, _)| there == name).unwrap_or_default();
    other(
        name,
        format!(
            "is number {there} in the index and number {at} in the schema that was given; add fields in the same order"
        ),
    )
}

/// Names of fields and what else the schema says of them.
fn fields(schema: &Schema) -> Vec<(String, Value)> {
    let entry = |(_, entry): (_, &tantivy::schema::FieldEntry)| {
        (entry.name().to_owned(), serde_json::to_value(entry).unwrap_or(Value::Null))
    };
    schema.fields().map(entry).collect()
}

/// The innermost values that differ, by their path.
fn difference(there: &Value, wanted: &Value) -> String {
    let mut found = Vec::new();
    collect("", there, wanted, &mut found);
    found.join(", ")
}

fn collect(path: &str, there: &Value, wanted: &Value, found: &mut Vec<String>) {
    if there == wanted {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (there, wanted) {
        let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let below = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
            // tantivy's own layers say nothing to a reader.
            let deeper = match (path, name.as_str()) {
                ("", "options" | "params") | ("type", _) => String::new(),
                ("", name) => name.to_owned(),
                (path, name) => format!("{path}.{name}"),
            };
            collect(&deeper, &below(a), &below(b), found);
        }
        return;
    }
    let said = |value: &Value| match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let name = if path.is_empty() { "the options" } else { path };
    found.push(format!("has {name} {} in the index and {} in the schema that was given", said(there), said(wanted)));
}
