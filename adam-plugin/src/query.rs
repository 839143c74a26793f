//! Queries from the text that a person types.

use std::collections::HashSet;

use tantivy::query::{BooleanQuery, BoostQuery, EmptyQuery, PhraseQuery, Query, TermQuery};
use tantivy::schema::{Field, FieldType, IndexRecordOption};
use tantivy::tokenizer::{TextAnalyzer, TokenStream};
use tantivy::{Index, Searcher, Term};

use crate::engine::of_query;
use crate::error::PluginError;
use crate::words::{BestQuery, Frequencies, Match, SynonymTable, Typos, Variant, similar_terms};

/// Longest query read, in bytes.
pub const MAX_QUERY: usize = 1 << 20;

/// Most different words of a query that are searched; further ones add time and hardly anything else.
pub(crate) const MAX_WORDS: usize = 1024;

/// Most words of a query for which similar ones are looked up: each takes a walk through the term dictionaries.
const MAX_EXPANDED: usize = 32;

/// A query of plain words over text fields: any text is a query, whatever quotes, colons or brackets are in it. Documents with any
/// of the words match, and each different word counts once.
///
/// # Errors
/// [`PluginError::Query`] for a text beyond 1 MiB.
pub fn text_query(index: &Index, fields: &[Field], text: &str) -> Result<Box<dyn Query>, PluginError> {
    check_length(text)?;
    let fields: Vec<(Field, f32)> = fields.iter().map(|field| (*field, 1.0)).collect();
    Ok(words(index, &fields, text, &Expansion::default())?.query)
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

/// The synonyms of a field.
pub(crate) type Lookup<'a> = &'a dyn Fn(Field) -> Option<&'a SynonymTable>;

/// What is searched in place of a query's words, or beside them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Expansion<'a> {
    /// By the analyser of a field.
    pub(crate) synonyms: Option<Lookup<'a>>,
    pub(crate) typos: Option<(&'a Searcher, Frequencies, Typos)>,
}

/// Words in fields of some weights.
pub(crate) fn words(
    index: &Index,
    fields: &[(Field, f32)],
    text: &str,
    expansion: &Expansion<'_>,
) -> Result<Words, PluginError> {
    let mut clauses: Vec<Box<dyn Query>> = Vec::new();
    let (mut count, mut cut) = (0, false);
    for &(field, weight) in fields {
        let found = terms(index, field, text)?;
        count = count.max(found.count);
        cut |= found.cut;
        let positions = has_positions(index, field);
        let mut maker = Maker { field, positions, typos: expansion.typos };
        let table = expansion.synonyms.and_then(|of| of(field));
        let mut seen: HashSet<&[String]> = HashSet::new();
        let mut rest = found.words.as_slice();
        while !rest.is_empty() {
            let matched = table.and_then(|table| table.longest(rest));
            let (piece, after) = rest.split_at(matched.map_or(1, |(length, _)| length));
            rest = after;
            // Each different word counts once.
            if seen.insert(piece) {
                if seen.len() > MAX_EXPANDED {
                    maker.typos = None;
                }
                let clause = maker.clause(piece, matched.map(|(_, found)| found))?;
                clauses.push(if weight == 1.0 { clause } else { Box::new(BoostQuery::new(clause, weight)) });
            }
        }
    }
    let query: Box<dyn Query> = match clauses.len() {
        0 => Box::new(EmptyQuery),
        _ => Box::new(BooleanQuery::union(clauses)),
    };
    Ok(Words { query, count, cut })
}

/// The words of a query as a field has them, in their order.
struct Terms {
    words: Vec<String>,
    /// Different ones.
    count: usize,
    cut: bool,
}

fn terms(index: &Index, field: Field, text: &str) -> Result<Terms, PluginError> {
    let mut analyzer = analyser(index, field)?;
    let mut seen = HashSet::new();
    let mut words = Vec::new();
    let mut cut = false;
    let mut stream = analyzer.token_stream(text);
    while let Some(token) = stream.next() {
        if !seen.contains(&token.text) {
            if seen.len() == MAX_WORDS {
                cut = true;
                break;
            }
            seen.insert(token.text.clone());
        }
        // Repeated words matter to synonyms of several words; beyond any query that is typed they do not.
        if words.len() < 4 * MAX_WORDS {
            words.push(token.text.clone());
        }
    }
    Ok(Terms { words, count: seen.len(), cut })
}

/// Makes the clauses of one field.
struct Maker<'a> {
    field: Field,
    positions: bool,
    typos: Option<(&'a Searcher, Frequencies, Typos)>,
}

impl Maker<'_> {
    /// A clause for a word, or for several that have synonyms together.
    fn clause(&self, words: &[String], synonyms: Option<&Match>) -> Result<Box<dyn Query>, PluginError> {
        let mut variants = Vec::new();
        if synonyms.is_none_or(|found| found.itself) {
            match words {
                [one] => variants.extend(self.spellings(one)?),
                several => {
                    let terms = several.iter().map(|word| self.term(word)).collect();
                    variants.push(Variant::itself(Box::new(BooleanQuery::union(terms))));
                }
            }
        }
        for (text, phrase) in synonyms.into_iter().flat_map(|found| &found.others) {
            let query: Box<dyn Query> = match phrase.as_slice() {
                [(word, _)] => self.term(word),
                several if self.positions => {
                    let terms = several.iter().map(|(word, at)| (*at, Term::from_field_text(self.field, word)));
                    Box::new(PhraseQuery::new_with_offset(terms.collect()))
                }
                // Without positions: all of its words, in any order.
                several => {
                    Box::new(BooleanQuery::intersection(several.iter().map(|(word, _)| self.term(word)).collect()))
                }
            };
            let note = format!("`{text}`, a synonym of `{}`", words.join(" "));
            variants.push(Variant { query, boost: 1.0, bonus: 0.0, note });
        }
        Ok(BestQuery::of(variants))
    }

    /// A word as it is typed, and terms that are like it.
    fn spellings(&self, word: &str) -> Result<Vec<Variant>, PluginError> {
        let mut variants = vec![Variant::itself(self.term(word))];
        let Some((searcher, frequencies, typos)) = self.typos else { return Ok(variants) };
        let typed = searcher.doc_freq(&Term::from_field_text(self.field, word))?;
        let similar = similar_terms(searcher, self.field, word, typos)?;
        // Documents with the word as typed come first, whatever their length.
        if typed > 0
            && let [itself] = variants.as_mut_slice()
        {
            itself.bonus = similar.iter().map(|term| frequencies.most(typed, term)).fold(0.0, f32::max);
        }
        for similar in similar {
            variants.push(Variant {
                query: self.term(&similar.text),
                boost: frequencies.factor(typed, &similar),
                bonus: 0.0,
                note: format!("`{}` for `{word}`, typing errors: {}", similar.text, similar.errors),
            });
        }
        Ok(variants)
    }

    fn term(&self, word: &str) -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_text(self.field, word), IndexRecordOption::WithFreqs))
    }
}

fn has_positions(index: &Index, field: Field) -> bool {
    match index.schema().get_field_entry(field).field_type() {
        FieldType::Str(options) => options
            .get_indexing_options()
            .is_some_and(|indexing| indexing.index_option() == IndexRecordOption::WithFreqsAndPositions),
        _ => false,
    }
}

/// By which queries of a field are read: that of its documents, unless there is one for queries.
pub(crate) fn analyser(index: &Index, field: Field) -> Result<TextAnalyzer, PluginError> {
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
