//! Fields that a lexical search looks in, and what each weighs.

use std::fmt;
use std::str::FromStr;

use tantivy::schema::{Field, FieldType, Schema};

use crate::error::PluginError;

/// Most fields of one search.
const MAX_FIELDS: usize = 64;

/// Largest weight of a field.
const MAX_WEIGHT: f32 = 1e6;

/// A field and its weight in the lexical score, written as `title^3`; a field alone weighs 1.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldWeight {
    /// Name of the field.
    pub field: String,
    /// Factor of its BM25 score, above 0 and at most a million.
    pub weight: f32,
}

impl FromStr for FieldWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, weight) = match text.rsplit_once('^') {
            Some((field, weight)) => {
                let weight = weight
                    .parse()
                    .map_err(|_| format!("`{text}`: `{weight}` is not a number; write FIELD^WEIGHT, as title^3"))?;
                (field, weight)
            }
            None => (text, 1.0),
        };
        let weight: f32 = weight;
        if field.is_empty() {
            return Err(format!("`{text}` names no field; write FIELD^WEIGHT, as title^3"));
        }
        if !(weight > 0.0 && weight <= MAX_WEIGHT) {
            return Err(format!("`{text}`: the weight of a field must be above 0 and at most {MAX_WEIGHT}"));
        }
        Ok(Self { field: field.to_owned(), weight })
    }
}

impl fmt::Display for FieldWeight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}^{}", self.field, self.weight)
    }
}

/// The fields of a search by their names. Without any, those of the index, which weigh 1 each.
pub(crate) fn resolve(
    schema: &Schema,
    searched: &[Field],
    weights: &[FieldWeight],
) -> Result<Vec<(Field, f32)>, PluginError> {
    if weights.is_empty() {
        return Ok(searched.iter().map(|field| (*field, 1.0)).collect());
    }
    if weights.len() > MAX_FIELDS {
        return Err(PluginError::Query { problem: format!("names more than {MAX_FIELDS} fields") });
    }
    let mut fields: Vec<(Field, f32)> = Vec::with_capacity(weights.len());
    for FieldWeight { field: name, weight } in weights {
        if !(*weight > 0.0 && *weight <= MAX_WEIGHT) {
            return Err(PluginError::field(
                name,
                format!("has the weight {weight}; it must be above 0 and at most {MAX_WEIGHT}"),
            ));
        }
        let field = schema.get_field(name).ok().filter(|field| has_words(schema, *field));
        let Some(field) = field else {
            let known = schema.fields().filter(|(field, _)| has_words(schema, *field));
            let known: Vec<&str> = known.map(|(_, entry)| entry.name()).collect();
            let shown: String = name.chars().take(100).collect();
            return Err(PluginError::field(shown, format!("is not searched by words; there are {}", known.join(", "))));
        };
        if fields.iter().any(|(known, _)| *known == field) {
            return Err(PluginError::field(name, "is named twice"));
        }
        fields.push((field, *weight));
    }
    Ok(fields)
}

/// Whether words of a field can be searched: text that is not indexed as a whole.
fn has_words(schema: &Schema, field: Field) -> bool {
    match schema.get_field_entry(field).field_type() {
        FieldType::Str(options) => options.get_indexing_options().is_some_and(|indexing| indexing.tokenizer() != "raw"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_and_wrong_ones_named() {
        assert_eq!("title^3".parse(), Ok(FieldWeight { field: "title".to_owned(), weight: 3.0 }));
        assert_eq!("a^b^0.5".parse(), Ok(FieldWeight { field: "a^b".to_owned(), weight: 0.5 }));
        assert_eq!("text".parse::<FieldWeight>().unwrap().to_string(), "text^1");
        for wrong in ["^3", "title^", "title^x", "title^0", "title^-1", "title^NaN", "title^inf", ""] {
            assert!(wrong.parse::<FieldWeight>().is_err(), "{wrong}");
        }
    }
}
