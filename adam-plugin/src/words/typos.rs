//! Terms of an index that are like a word: what may have been meant where it was typed wrongly.

use std::collections::BTreeMap;

use strsim::osa_distance;
use tantivy::query::FuzzyTermQuery;
use tantivy::schema::{Field, FieldType};
use tantivy::tokenizer::{TextAnalyzer, TokenStream};
use tantivy::{Searcher, Term};

use crate::engine::{runs_together, stems};
use crate::error::PluginError;
use crate::query::analyser;

/// Most letters that are taken for an ending.
const LONGEST_ENDING: usize = 3;
/// Most terms that may be searched in place of a word.
const MAX_EXPANSIONS: usize = 256;

/// Which typing errors a lexical search looks past: an error is a letter too many, one missing, a wrong one, or two in the wrong order.
///
/// Words are compared as they stand in the index, where a language has stems: `crow` for `crows`. Words with digits, and words of
/// scripts without spaces, are searched as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typos {
    pub(crate) one_from: usize,
    pub(crate) two_from: usize,
    pub(crate) prefix: usize,
    pub(crate) expansions: usize,
}

impl Default for Typos {
    /// One error in words of 4 letters and more, two from 8 letters on, none in the first letter, 32 terms for a word.
    fn default() -> Self {
        Self { one_from: 4, two_from: 8, prefix: 1, expansions: 32 }
    }
}

impl Typos {
    /// From how many letters on a word may have one error, and from how many two.
    #[must_use]
    pub fn lengths(mut self, one: usize, two: usize) -> Self {
        (self.one_from, self.two_from) = (one, two);
        self
    }

    /// How many letters at the start of a word are right.
    #[must_use]
    pub fn prefix(mut self, letters: usize) -> Self {
        self.prefix = letters;
        self
    }

    /// How many terms are searched in place of a word, at most 256: those with the fewest errors, and of these the most frequent.
    #[must_use]
    pub fn expansions(mut self, terms: usize) -> Self {
        self.expansions = terms;
        self
    }

    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let refuse = |problem: String| Err(PluginError::Query { problem });
        if self.one_from == 0 || self.two_from < self.one_from {
            return refuse(format!(
                "allows one typing error from {} letters on and two from {}; the first must be 1 or more, and the second no less",
                self.one_from, self.two_from
            ));
        }
        if !(1..=MAX_EXPANSIONS).contains(&self.expansions) {
            return refuse(format!("allows {} terms for a word; it can be 1 to {MAX_EXPANSIONS}", self.expansions));
        }
        Ok(())
    }

    /// How many errors a word may have.
    fn errors(&self, word: &str) -> u8 {
        let letters = word.chars().count();
        if word.chars().any(|letter| letter.is_numeric() || runs_together(letter)) {
            return 0;
        }
        u8::from(letters >= self.one_from) + u8::from(letters >= self.two_from)
    }
}

/// A term that is like a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SimilarTerm {
    pub(crate) text: String,
    pub(crate) errors: usize,
    /// In how many documents it is, those included that are deleted and not yet merged away.
    pub(crate) frequency: u64,
}

/// The terms of a field that are like a word, without the word itself: fewest errors first, then the most frequent. At most
/// [`Typos::expansions`].
///
/// A typing error can keep a stemmer from taking an ending away: `crwos` stays as it is, though `crows` becomes `crow`. So where the
/// field has stems, the word is compared without its last letters, too, and a term counts if it is the stem of itself with these letters.
pub(crate) fn similar_terms(
    searcher: &Searcher,
    field: Field,
    word: &str,
    typos: Typos,
) -> Result<Vec<SimilarTerm>, PluginError> {
    let mut found: BTreeMap<String, SimilarTerm> = BTreeMap::new();
    for (text, frequency) in alike(searcher, field, word, typos)? {
        let errors = osa_distance(word, &text);
        found.insert(text.clone(), SimilarTerm { text, errors, frequency });
    }
    if has_stems(searcher, field) {
        let mut analyser = analyser(searcher.index(), field)?;
        for (at, _) in word.char_indices().rev().take(LONGEST_ENDING) {
            let (base, ending) = word.split_at(at);
            for (text, frequency) in alike(searcher, field, base, typos)? {
                let errors = osa_distance(base, &text);
                let fewer = found.get(&text).is_none_or(|known| errors < known.errors);
                if fewer && text != word && stem(&mut analyser, &format!("{text}{ending}")).as_deref() == Some(&text) {
                    found.insert(text.clone(), SimilarTerm { text, errors, frequency });
                }
            }
        }
    }
    let mut similar: Vec<SimilarTerm> = found.into_values().collect();
    similar.sort_by(|a, b| (a.errors, b.frequency, &a.text).cmp(&(b.errors, a.frequency, &b.text)));
    similar.truncate(typos.expansions);
    Ok(similar)
}

fn has_stems(searcher: &Searcher, field: Field) -> bool {
    match searcher.schema().get_field_entry(field).field_type() {
        FieldType::Str(options) => options.get_indexing_options().is_some_and(|indexing| stems(indexing.tokenizer())),
        _ => false,
    }
}

/// A word as the analyser has it, if that is one word.
fn stem(analyser: &mut TextAnalyzer, word: &str) -> Option<String> {
    let mut stream = analyser.token_stream(word);
    let stem = stream.next()?.text.clone();
    stream.next().is_none().then_some(stem)
}

/// Terms within the errors that the length of a word allows, each with the number of documents it is in; without the word itself.
fn alike(searcher: &Searcher, field: Field, word: &str, typos: Typos) -> Result<BTreeMap<String, u64>, PluginError> {
    let mut found = BTreeMap::new();
    let errors = typos.errors(word);
    if errors == 0 {
        return Ok(found);
    }
    let start: String = word.chars().take(typos.prefix).collect();
    let query = FuzzyTermQuery::new(Term::from_field_text(field, word), errors, true);
    for segment in searcher.segment_readers() {
        let inverted = segment.inverted_index(field)?;
        let mut range = inverted.terms().search(query.automaton()?);
        if !start.is_empty() {
            range = range.ge(start.as_bytes());
            // No byte of UTF-8 is 255.
            let mut end = start.clone().into_bytes();
            if let Some(last) = end.last_mut() {
                *last += 1;
            }
            range = range.lt(end);
        }
        let mut terms = range.into_stream().map_err(tantivy::TantivyError::from)?;
        while terms.advance() {
            if let Ok(text) = std::str::from_utf8(terms.key())
                && text != word
            {
                *found.entry(text.to_owned()).or_default() += u64::from(terms.value().doc_freq);
            }
        }
    }
    Ok(found)
}

/// How many documents an index has, for the weights of terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frequencies {
    pub(crate) documents: u64,
}

impl Frequencies {
    /// As BM25 weighs a term by its frequency.
    fn idf(self, frequency: u64) -> f32 {
        let (all, frequency) = (self.documents.max(frequency) as f32, frequency as f32);
        (1.0 + (all - frequency + 0.5) / (frequency + 0.5)).ln()
    }

    /// The factor of a similar term: half for each error, and never more than the word typed would have.
    pub(crate) fn factor(self, typed: u64, similar: &SimilarTerm) -> f32 {
        let share = self.idf(typed) / self.idf(similar.frequency);
        0.5f32.powi(i32::try_from(similar.errors.max(1)).unwrap_or(i32::MAX)) * share.min(1.0)
    }
}

/// tantivy's k1.
const K1: f32 = 1.2;

impl Frequencies {
    /// The most that a similar term can add to a score.
    pub(crate) fn most(self, typed: u64, similar: &SimilarTerm) -> f32 {
        self.factor(typed, similar) * self.idf(similar.frequency) * (1.0 + K1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tantivy::schema::{Schema, TEXT};
    use tantivy::{Index, IndexWriter, doc};

    use super::*;

    fn index(segments: &[Vec<String>]) -> (Index, Field) {
        let mut schema = Schema::builder();
        let text = schema.add_text_field("text", TEXT);
        let index = Index::create_in_ram(schema.build());
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
        for words in segments {
            for word in words {
                writer.add_document(doc!(text => word.as_str())).unwrap();
            }
            writer.commit().unwrap();
        }
        (index, text)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// The terms found are those that comparing with every term finds, in the same order.
        #[test]
        fn expansions_equal_brute_force(
            segments in prop::collection::vec(prop::collection::vec("[abcé]{1,9}", 1..25), 1..4),
            word in "[abcé]{1,9}", one in 1usize..5, more in 0usize..4, prefix in 0usize..3, most in 1usize..40,
        ) {
            let (index, field) = index(&segments);
            let searcher = index.reader().unwrap().searcher();
            let typos = Typos::default().lengths(one, one + more).prefix(prefix).expansions(most);
            let found = similar_terms(&searcher, field, &word, typos).unwrap();
            let errors = usize::from(typos.errors(&word));
            let all: Vec<&String> = segments.iter().flatten().collect();
            let start: String = word.chars().take(prefix).collect();
            let mut wanted: Vec<SimilarTerm> = all
                .iter()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .filter(|term| **term != &word && term.starts_with(&start) && errors > 0)
                .map(|term| SimilarTerm {
                    text: term.to_string(),
                    errors: osa_distance(&word, term),
                    frequency: all.iter().filter(|other| other == &term).count() as u64,
                })
                .filter(|term| term.errors <= errors)
                .collect();
            wanted.sort_by(|a, b| (a.errors, b.frequency, &a.text).cmp(&(b.errors, a.frequency, &b.text)));
            wanted.truncate(most);
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn a_similar_term_weighs_less_than_the_word(documents in 1u64..1_000_000, typed in 0u64..1_000_000, other in 0u64..1_000_000, errors in 1usize..3) {
            let (typed, other) = (typed.min(documents), other.min(documents));
            let frequencies = Frequencies { documents };
            let similar = SimilarTerm { text: String::new(), errors, frequency: other };
            prop_assert!(frequencies.factor(typed, &similar) * frequencies.idf(other) <= 0.5001 * frequencies.idf(typed));
        }
    }

    #[test]
    fn numbers_and_short_words_are_as_typed() {
        let typos = Typos::default();
        for (word, errors) in
            [("2019", 0), ("ab12cdef", 0), ("cat", 0), ("crow", 1), ("elephant", 2), ("图书馆图书馆", 0)]
        {
            assert_eq!(typos.errors(word), errors, "{word}");
        }
        assert!(Typos::default().lengths(5, 4).check().is_err());
        assert!(Typos::default().expansions(0).check().is_err());
        assert!(Typos::default().check().is_ok());
    }
}
