//! Queries from the text that a person types.

use std::collections::HashSet;

use tantivy::query::{BooleanQuery, EmptyQuery, Query, TermQuery};
use tantivy::schema::{Field, FieldType, IndexRecordOption};
use tantivy::tokenizer::{TextAnalyzer, TokenStream};
use tantivy::{Index, Term};

use crate::engine::of_query;
use crate::error::PluginError;

/// Longest query read, in bytes.
pub const MAX_QUERY: usize = 1 << 20;

/// Most different words of a query that are searched; further ones add time and hardly anything else.
pub(crate) const MAX_WORDS: usize = 1024;

/// A query of plain words over text fields: any text is a query, whatever quotes, colons or brackets are in it. Documents with any
/// of the words match, and each different word counts once.
///
/// # Errors
/// [`PluginError::Query`] for a text beyond 1 MiB.
pub fn text_query(index: &Index, fields: &[Field], text: &str) -> Result<Box<dyn Query>, PluginError> {
    check_length(text)?;
    Ok(words(index, fields, text)?.query)
}

pub(crate) fn check_length(text: &str) -> Result<(), PluginError> {
    if text.len() > MAX_QUERY {
        return Err(PluginError::Query {
            problem: format!("it is {} bytes long; the limit is {MAX_QUERY}", text.len()),
        });
    }
    Ok(())
}

/// A query of plain words.
pub(crate) struct Words {
    pub(crate) query: Box<dyn Query>,
    /// Different words that are searched, in the field with the most of them.
    pub(crate) count: usize,
    /// Whether there were more.
    pub(crate) cut: bool,
}

pub(crate) fn words(index: &Index, fields: &[Field], text: &str) -> Result<Words, PluginError> {
    let mut terms: Vec<Box<dyn Query>> = Vec::new();
    let (mut count, mut cut) = (0, false);
    for &field in fields {
        let mut analyzer = analyser(index, field)?;
        let mut seen = HashSet::new();
        let mut stream = analyzer.token_stream(text);
        while let Some(token) = stream.next() {
            if seen.contains(&token.text) {
                continue;
            }
            if seen.len() == MAX_WORDS {
                cut = true;
                break;
            }
            seen.insert(token.text.clone());
            let term = Term::from_field_text(field, &token.text);
            terms.push(Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)));
        }
        count = count.max(seen.len());
    }
    let query: Box<dyn Query> = match terms.len() {
        0 => Box::new(EmptyQuery),
        _ => Box::new(BooleanQuery::union(terms)),
    };
    Ok(Words { query, count, cut })
}

/// By which queries of a field are read: that of its documents, unless there is one for queries.
fn analyser(index: &Index, field: Field) -> Result<TextAnalyzer, PluginError> {
    let schema = index.schema();
    let of_documents = match schema.get_field_entry(field).field_type() {
        FieldType::Str(options) => options.get_indexing_options().map(|indexing| of_query(indexing.tokenizer())),
        _ => None,
    };
    match of_documents.and_then(|name| index.tokenizers().get(&name)) {
        Some(analyser) => Ok(analyser),
        None => Ok(index.tokenizer_for_field(field)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::tests::{count, index};

    #[test]
    fn words_are_searched_whatever_stands_between_them() {
        let index = index();
        let text = index.schema().get_field("text").unwrap();
        for typed in ["crows: \"bend", "(crows AND", "crows^^ -", "CROWS crows crows", "title:crows [* TO", "+\\crows~"]
        {
            let query = text_query(&index, &[text], typed).unwrap();
            assert!(count(&index, query.as_ref()) >= 1, "{typed}");
        }
        let nothing = text_query(&index, &[text], "?!").unwrap();
        assert_eq!(count(&index, nothing.as_ref()), 0);
        assert!(text_query(&index, &[text], &"x ".repeat(1 << 20)).is_err());
    }
}
