//! Warnings about parts of a query that BM25 cannot search for.

use tantivy::Index;
use tantivy::schema::{Field, FieldType};
use tantivy::tokenizer::{TokenStream, Tokenizer};

use super::analysis::{WordTokenizer, normalised, runs_together};
use super::language::{Language, Version};
use super::request::Mode;
use crate::query::{MAX_WORDS, Words};

/// Characters shown of a word or a text in a warning.
const SHOWN: usize = 40;

/// Warnings about a query whose words are searched in some fields.
pub(super) fn of_words(index: &Index, fields: &[Field], query: &str, words: &Words, mode: Mode) -> Vec<String> {
    let mut warnings = Vec::new();
    let versions: Vec<Option<Version>> = fields.iter().map(|field| version(index, *field)).collect();
    let newest = versions.iter().flatten().any(|version| *version >= Version::Two);
    let beside = if mode == Mode::Hybrid { "; the vectors are not affected" } else { "" };
    let any_length = versions.contains(&Some(Version::Three));
    let longest = versions.iter().flatten().filter_map(|version| version.longest_word()).max().filter(|_| !any_length);
    for word in longest.map(|longest| too_long(query, longest)).unwrap_or_default() {
        let (shown, bytes) = (start(&word), word.len());
        let longest = longest.unwrap_or_default();
        warnings.push(format!(
            "the word `{shown}` of {bytes} bytes is not searched: this index holds words of up to {longest} bytes{beside}"
        ));
    }
    if !newest && let Some(run) = query.split(|letter: char| !runs_together(letter)).find(|run| !run.is_empty()) {
        warnings.push(format!(
            "this index does not split text without spaces: `{}` is found by words only where it stands alone{beside}; an index that this version makes finds it",
            start(run)
        ));
    }
    if !newest && let Some(word) = query.split_whitespace().find(|word| normalised(word) != **word) {
        warnings.push(format!(
            "this index tells Unicode forms apart: `{}` is found by words only where it is written with the same signs, and not as \
             `{}`{beside}; an index that this version makes finds both",
            start(word),
            start(&normalised(word))
        ));
    }
    if words.count == 0 && warnings.is_empty() {
        let what = "the query has no word that is searched: it has only punctuation, or words as common as \"the\"";
        warnings.push(match mode {
            Mode::Hybrid => format!("{what}; the hits are by vectors alone"),
            Mode::Bm25 | Mode::Dense => what.to_owned(),
        });
    }
    if words.cut {
        warnings.push(format!("only the first {MAX_WORDS} different words of the query are searched{beside}"));
    }
    warnings
}

/// The version of our analysers that a field has; none with another's.
fn version(index: &Index, field: Field) -> Option<Version> {
    let schema = index.schema();
    let FieldType::Str(options) = schema.get_field_entry(field).field_type() else { return None };
    Language::of_analyser(options.get_indexing_options()?.tokenizer()).map(|(_, version)| version)
}

fn too_long(query: &str, longest: usize) -> Vec<String> {
    let mut words = Vec::new();
    if query.len() > longest {
        let mut tokenizer = WordTokenizer::for_queries();
        tokenizer.token_stream(query).process(&mut |token| {
            if token.text.len() > longest {
                words.push(token.text.clone());
            }
        });
    }
    words.truncate(1);
    words
}

fn start(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
