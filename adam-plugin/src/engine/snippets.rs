//! Pieces of text that show why a document was found.

use std::collections::BTreeMap;
use std::ops::Range;

use tantivy::query::Query;
use tantivy::schema::Value;
use tantivy::snippet::SnippetGenerator;
use tantivy::{Searcher, TantivyDocument};

use super::Engine;
use super::response::Snippet;
use crate::error::PluginError;

/// Characters of a snippet.
const SNIPPET: usize = 240;

impl Engine {
    /// A chunk of a document's embedded text.
    pub(super) fn chunk_snippet(&self, document: &TantivyDocument, chunk: Option<Range<usize>>) -> Snippet {
        let text = self.fields.template.render(document).unwrap_or_default();
        let piece = chunk.clone().and_then(|range| text.get(range)).unwrap_or_default();
        Snippet { text: piece.to_owned(), highlights: Vec::new(), chunk: chunk.map(|range| (range.start, range.end)) }
    }

    pub(super) fn snippets(
        &self,
        searcher: &Searcher,
        words: &dyn Query,
    ) -> Result<Vec<SnippetGenerator>, PluginError> {
        let mut generators = Vec::new();
        let mut fields = Vec::new();
        words.query_terms(&mut |term, _| {
            if !fields.contains(&term.field()) {
                fields.push(term.field());
            }
        });
        for field in fields {
            let mut generator = SnippetGenerator::create(searcher, words, field)?;
            generator.set_max_num_chars(SNIPPET);
            generators.push(generator);
        }
        Ok(generators)
    }

    /// Every stored field of text in which the query's words come, by name; of each value, the piece with the most.
    pub(super) fn highlights(
        &self,
        generators: &[SnippetGenerator],
        document: &TantivyDocument,
    ) -> BTreeMap<String, Vec<Snippet>> {
        let schema = self.index.schema();
        let mut marked: BTreeMap<String, Vec<Snippet>> = BTreeMap::new();
        for (field, value) in document.field_values().filter(|(field, _)| *field != self.fields.key) {
            let Some(text) = value.as_str() else { continue };
            let snippets = generators.iter().map(|generator| generator.snippet(text));
            if let Some(snippet) = snippets.max_by_key(|snippet| snippet.highlighted().len())
                && !snippet.highlighted().is_empty()
            {
                marked.entry(schema.get_field_name(field).to_owned()).or_default().push(Snippet {
                    highlights: joined(snippet.highlighted()),
                    text: snippet.fragment().to_owned(),
                    chunk: None,
                });
            }
        }
        marked
    }

    pub(super) fn snippet(&self, generators: &[SnippetGenerator], document: &TantivyDocument) -> Snippet {
        let texts: Vec<&str> = self
            .fields
            .shown
            .iter()
            .filter(|&&field| Some(field) != self.fields.title)
            .flat_map(|&field| document.get_all(field))
            .filter_map(|value| value.as_str())
            .collect();
        for text in &texts {
            for generator in generators {
                let snippet = generator.snippet(text);
                if !snippet.highlighted().is_empty() {
                    return Snippet {
                        highlights: joined(snippet.highlighted()),
                        text: snippet.fragment().to_owned(),
                        chunk: None,
                    };
                }
            }
        }
        let text: String = texts.first().map(|text| text.chars().take(SNIPPET).collect()).unwrap_or_default();
        Snippet { text, highlights: Vec::new(), chunk: None }
    }
}

/// Ranges in order, those joined that overlap or touch: pairs of letters share one.
fn joined(ranges: &[Range<usize>]) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = ranges.iter().map(|range| (range.start, range.end)).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(usize, usize)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}
