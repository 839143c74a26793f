//! What a boost looks like, for the OpenAPI document: utoipa knows its settings, not which of them go together.

use adam_plugin::filter::MAX_BYTES as MAX_FILTER;
use serde_json::{Map, Value, json};

/// The schema of a boost: a decay by number, a decay by date, a logarithm, a saturation or a filter.
pub(crate) fn boost() -> Value {
    let curve = json!({"type": "string", "enum": ["linear", "exponential", "gaussian"]});
    let at = json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "description": "The signal at `scale`; 0.5 if absent."});
    let above = |description: &str| json!({"type": "number", "exclusiveMinimum": 0, "description": description});
    let length = |description: &str| json!({"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[smhdwy]\s*$", "description": description, "examples": ["30d", "12h"]});
    let one = |name: &str| json!({"type": "string", "enum": [name]});
    let variant = |description: &str, required: &[&str], own: Value| {
        let mut properties = Map::new();
        properties.extend(own.as_object().cloned().unwrap_or_default());
        if properties.contains_key("function") {
            properties.insert("field".to_owned(), json!({"type": "string", "minLength": 1, "description": "The field or name in metadata that it reads."}));
        }
        properties.insert("missing".to_owned(), json!({"type": "number", "minimum": 0, "description": "The signal of documents without the value, or that do not match; if absent, they keep their score."}));
        properties.insert("weight".to_owned(), json!({"type": "number", "minimum": 0, "maximum": 1, "description": "How much it counts; where it is added, any number. 1 if absent."}));
        properties.insert("combine".to_owned(), json!({"type": "string", "enum": ["multiply", "add"], "description": "The score is multiplied by `1 + weight * (signal - 1)`, or `weight * signal` is added to it; `multiply` if absent."}));
        json!({"type": "object", "description": description, "required": required, "properties": properties, "additionalProperties": false})
    };
    json!({"description": "What shapes the score: a signal, and how it is put together with the score.", "oneOf": [
        variant("A decay by the distance of a number from the origin.", &["function", "field", "origin", "scale"], json!({
            "function": curve, "decay": at, "scale": above("The distance at which the signal is `decay`."),
            "origin": {"type": "number", "description": "Where the signal is 1."},
            "offset": {"type": "number", "minimum": 0, "description": "The distance up to which the signal is 1; 0 if absent."},
        })),
        variant("A decay by the distance of a date from the origin.", &["function", "field", "scale"], json!({
            "function": curve, "decay": at, "scale": length("The length of time after which the signal is `decay`."),
            "origin": {"type": "string", "description": "Where the signal is 1: a date, or `now`; `now` if absent.", "examples": ["now", "2024-05-31"]},
            "offset": length("The length of time up to which the signal is 1."),
        })),
        variant("`ln(1 + factor * value)`.", &["function", "field"], json!({
            "function": one("log"), "factor": above("What values are multiplied by; 1 if absent."),
        })),
        variant("`value / (value + pivot)`.", &["function", "field", "pivot"], json!({
            "function": one("saturation"), "pivot": above("The value at which the signal is 0.5."),
        })),
        variant("Documents that match a filter.", &["filter", "factor"], json!({
            "filter": {"type": "string", "format": "adam-filter", "minLength": 3, "maxLength": MAX_FILTER, "description": "The filter."},
            "factor": {"type": "number", "minimum": 0, "description": "The signal where it matches."},
        })),
    ]})
}
