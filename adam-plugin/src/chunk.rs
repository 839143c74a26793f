//! Long documents in pieces: how a text is cut, and how an index keeps the pieces.
//!
//! A vector field holds one vector a document, and a model reads a limited number of tokens. So a document that is longer than a
//! chunk is kept as several documents of tantivy: itself, with the vector of its first chunk, and one more for each
//! further chunk, which has a vector and what documents are filtered by, but no words. All of them name the key of the
//! document they belong to, in `adam_parent`. A document is as near to a query as its nearest chunk.

use std::ops::Range;

use adam_encoder::{EncoderError, TextEncoder};
use serde::{Deserialize, Serialize};
use tantivy::schema::document::Document as _;
use tantivy::schema::{FAST, Field, FieldEntry, FieldType, INDEXED, STRING, Schema, SchemaBuilder};
use tantivy::{TantivyDocument, Term};

use crate::error::PluginError;
use crate::hash::HashFields;

const PARENT: &str = "adam_parent";
const PART: &str = "adam_part";
const START: &str = "adam_start";
const END: &str = "adam_end";

/// How far back from its end a chunk is cut to end with a word, in tokens.
const LONGEST_WORD: usize = 16;

/// How long documents are split for the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunking {
    /// Most tokens of a chunk, of the text's own: a prompt and the model's special tokens come on top.
    pub tokens: usize,
    /// Tokens at the end of a chunk that the next begins with again, so that no sentence is only seen cut.
    pub overlap: usize,
}

impl Chunking {
    /// Chunks of at most `tokens` tokens; each repeats the last eighth of the one before.
    pub fn new(tokens: usize) -> Self {
        Self { tokens, overlap: tokens / 8 }
    }

    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let refuse = |problem: String| Err(PluginError::Setting { name: "chunks", problem });
        if !(8..=1 << 16).contains(&self.tokens) {
            return refuse(format!("of {} tokens; it can be 8 to 65,536", self.tokens));
        }
        if self.overlap > self.tokens / 2 {
            return refuse(format!(
                "of {} tokens overlap by {}; the overlap can be at most half",
                self.tokens, self.overlap
            ));
        }
        Ok(())
    }

    /// The byte ranges of a text's chunks; one if the text fits into one chunk.
    pub(crate) fn split(&self, encoder: &dyn TextEncoder, text: &str) -> Result<Vec<Range<usize>>, EncoderError> {
        Ok(self.pieces(&encoder.token_ranges(text)?, text))
    }

    fn pieces(&self, tokens: &[Range<usize>], text: &str) -> Vec<Range<usize>> {
        let whole = 0..text.len();
        if tokens.len() <= self.tokens {
            return vec![whole];
        }
        // A border between two tokens that touch would cut a word.
        let at_word = |mut at: usize, least: usize| {
            let asked = at;
            while at > least && asked - at < LONGEST_WORD && tokens[at].start <= tokens[at - 1].end {
                at -= 1;
            }
            if tokens[at].start > tokens[at - 1].end { at } else { asked }
        };
        let mut pieces = Vec::new();
        let (mut start, mut end) = (0, 0);
        loop {
            let full = start + self.tokens;
            // Every chunk ends later than the one before, and is at least half full.
            let least = (start + self.tokens / 2).max(end) + 1;
            end = if full >= tokens.len() { tokens.len() } else { at_word(full, least) };
            let from = if start == 0 { 0 } else { tokens[start].start };
            let to = if end == tokens.len() { text.len() } else { tokens[end - 1].end };
            pieces.push(text.floor_char_boundary(from)..text.ceil_char_boundary(to));
            if end == tokens.len() {
                return pieces;
            }
            let next = end - self.overlap;
            start = if self.overlap == 0 { end } else { at_word(next, start + 1) };
        }
    }
}

/// The hidden fields of an index with chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkFields {
    /// Key of the document that this one belongs to: its own, or that of the document it is a further chunk of.
    pub(crate) parent: Field,
    /// 0 for a document, from 1 for its further chunks.
    pub(crate) part: Field,
    start: Field,
    end: Field,
}

impl ChunkFields {
    /// Declares the fields: `adam_parent`, one term, and the fast numbers `adam_part`, `adam_start` and `adam_end`.
    pub fn add_to(schema: &mut SchemaBuilder) -> Self {
        Self {
            parent: schema.add_text_field(PARENT, STRING | FAST),
            part: schema.add_u64_field(PART, FAST | INDEXED),
            start: schema.add_u64_field(START, FAST),
            end: schema.add_u64_field(END, FAST),
        }
    }

    /// The fields of a schema that has them.
    ///
    /// # Errors
    /// When one is missing.
    pub fn from_schema(schema: &Schema) -> Result<Self, PluginError> {
        let find = |name: &str| {
            schema
                .get_field(name)
                .map_err(|_| PluginError::field(name, "is missing; declare it with `ChunkFields::add_to`"))
        };
        Ok(Self { parent: find(PARENT)?, part: find(PART)?, start: find(START)?, end: find(END)? })
    }

    pub(crate) fn is_one(name: &str) -> bool {
        [PARENT, PART, START, END].contains(&name)
    }

    /// Names of the columns: parent, part, start, end.
    pub(crate) fn columns() -> [&'static str; 4] {
        [PARENT, PART, START, END]
    }

    /// All documents, and chunks of documents, with a key.
    pub(crate) fn all_of(&self, key: &str) -> Term {
        Term::from_field_text(self.parent, key)
    }

    /// All that are documents and no further chunks.
    pub(crate) fn documents(&self) -> Term {
        Term::from_field_u64(self.part, 0)
    }

    pub(crate) fn mark(&self, document: &mut TantivyDocument, key: &str, part: usize, range: &Range<usize>) {
        document.add_text(self.parent, key);
        document.add_u64(self.part, part as u64);
        document.add_u64(self.start, range.start as u64);
        document.add_u64(self.end, range.end as u64);
    }

    /// What a further chunk has in common with its document: whatever documents are filtered by.
    pub(crate) fn shared(schema: &Schema, key: Field, document: &TantivyDocument) -> TantivyDocument {
        let mut shared = TantivyDocument::new();
        for (field, value) in document.iter_fields_and_values() {
            if field != key && is_shared(schema.get_field_entry(field)) {
                shared.add_field_value(field, value);
            }
        }
        shared
    }
}

/// Whether the further chunks of a document have a field, too: numbers, dates, single terms, JSON. Words are the document's
/// own, or they would count twice.
pub(crate) fn is_shared(entry: &FieldEntry) -> bool {
    if HashFields::is_hash(entry.name()) || ChunkFields::is_one(entry.name()) {
        return false;
    }
    match entry.field_type() {
        FieldType::Custom(_) => false,
        FieldType::Str(options) => match options.get_indexing_options() {
            Some(indexing) => indexing.tokenizer() == "raw",
            None => options.is_fast(),
        },
        _ => entry.is_indexed() || entry.is_fast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A token for each letter, as a bad tokenizer might make.
    fn letters(text: &str) -> Vec<Range<usize>> {
        text.char_indices()
            .filter(|(_, letter)| !letter.is_whitespace())
            .map(|(at, letter)| at..at + letter.len_utf8())
            .collect()
    }

    #[test]
    fn a_short_text_is_one_chunk() {
        let chunking = Chunking { tokens: 8, overlap: 2 };
        assert_eq!(chunking.pieces(&letters(" abc def "), " abc def "), [0..9]);
        assert_eq!(chunking.pieces(&[], ""), [0..0]);
    }

    #[test]
    fn chunks_end_with_words_and_overlap() {
        let text = "one two six ten red";
        let pieces = Chunking { tokens: 10, overlap: 3 }.pieces(&letters(text), text);
        let texts: Vec<&str> = pieces.into_iter().map(|range| &text[range]).collect();
        assert_eq!(texts, ["one two six", "six ten red"]);
        let pieces = Chunking { tokens: 10, overlap: 0 }.pieces(&letters(text), text);
        let texts: Vec<&str> = pieces.into_iter().map(|range| &text[range]).collect();
        assert_eq!(texts, ["one two six", "ten red"]);
    }

    #[test]
    fn settings_that_make_no_progress_are_refused() {
        for (tokens, overlap) in [(0, 0), (7, 1), (8, 5), (100_000, 1)] {
            assert!(Chunking { tokens, overlap }.check().is_err(), "{tokens} {overlap}");
        }
        Chunking::new(8).check().unwrap();
    }

    proptest! {
        #[test]
        fn chunks_cover_the_text_and_are_short_enough(
            text in "[ab é中]{0,200}",
            tokens in 8usize..40,
            overlap in 0usize..20,
        ) {
            let chunking = Chunking { tokens, overlap: overlap.min(tokens / 2) };
            let all = letters(&text);
            let pieces = chunking.pieces(&all, &text);
            prop_assert_eq!(pieces[0].start, 0);
            prop_assert_eq!(pieces.last().unwrap().end, text.len());
            for piece in &pieces {
                prop_assert!(letters(&text[piece.clone()]).len() <= tokens);
            }
            for pair in pieces.windows(2) {
                prop_assert!(pair[0].start < pair[1].start && pair[0].end < pair[1].end);
                // Nothing but white space lies between two chunks.
                prop_assert!(text.get(pair[0].end..pair[1].start).unwrap_or("").trim().is_empty());
            }
        }
    }
}
