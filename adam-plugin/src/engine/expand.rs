//! What a search looks for beside a query's words, and what may have been meant.

use std::collections::HashMap;

use tantivy::collector::TopDocs;
use tantivy::query::TermQuery;
use tantivy::schema::{Field, FieldType, IndexRecordOption, Value};
use tantivy::tokenizer::TokenStream;
use tantivy::{Searcher, TantivyDocument, Term};

use super::Engine;
use super::request::SearchRequest;
use crate::error::PluginError;
use crate::query::{Expansion, Lookup, Words, analyser, words};
use crate::words::{FieldWeight, Frequencies, SynonymTable, Synonyms, Typos, resolve, similar_terms};

/// How a request's words are searched.
#[derive(Clone, Debug, Default)]
pub(super) struct WordOptions {
    fields: Vec<FieldWeight>,
    typos: Option<Typos>,
    without_synonyms: bool,
    pub(super) suggest: bool,
}

impl SearchRequest {
    /// Fields in which words are searched, and what each weighs in the lexical score. Default: those of the index, 1 each.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item = FieldWeight>) -> Self {
        self.words.fields = fields.into_iter().collect();
        self
    }

    /// Looks past typing errors: words of the index that are like those of the query are found, too. In each field, documents with a
    /// word as typed score more than those with similar ones only. Default: none.
    #[must_use]
    pub fn typos(mut self, typos: impl Into<Option<Typos>>) -> Self {
        self.words.typos = typos.into();
        self
    }

    /// Whether the engine's synonyms are used. Default: true.
    #[must_use]
    pub fn synonyms(mut self, use_them: bool) -> Self {
        self.words.without_synonyms = !use_them;
        self
    }

    /// Whether the response says what may have been meant, if the index lacks a word of the query. Default: false.
    #[must_use]
    pub fn suggest(mut self, suggest: bool) -> Self {
        self.words.suggest = suggest;
        self
    }
}

impl WordOptions {
    pub(super) fn has_typos(&self) -> bool {
        self.typos.is_some()
    }

    pub(super) fn check(&self) -> Result<(), PluginError> {
        self.typos.map_or(Ok(()), |typos| typos.check())
    }
}

/// Synonyms as the analysers of an index have them, by the name of the analyser.
#[derive(Clone, Debug, Default)]
pub(super) struct SynonymTables(HashMap<String, SynonymTable>);

/// Documents in which the form of a suggested word is looked up.
const LOOKED_AT: usize = 3;

/// Words of a query for which a suggestion is looked for.
const MAX_SUGGESTED: usize = 16;

impl Engine {
    /// Gives an open engine synonyms, which its searches use unless they say otherwise.
    ///
    /// # Errors
    /// [`PluginError::Synonyms`] where a phrase has no word that the index searches.
    pub fn with_synonyms(mut self, synonyms: &Synonyms) -> Result<Self, PluginError> {
        let mut tables = HashMap::new();
        let schema = self.index.schema();
        let fields = schema.fields().filter(|(_, entry)| entry.is_indexed());
        for (field, _) in fields {
            let Some(name) = self.analyser_name(field).filter(|name| name != "raw" && !tables.contains_key(name))
            else {
                continue;
            };
            tables.insert(name, SynonymTable::new(synonyms, &mut analyser(&self.index, field)?)?);
        }
        self.synonyms = SynonymTables(tables);
        Ok(self)
    }

    fn analyser_name(&self, field: Field) -> Option<String> {
        match self.index.schema().get_field_entry(field).field_type() {
            FieldType::Str(options) => Some(options.get_indexing_options()?.tokenizer().to_owned()),
            _ => None,
        }
    }

    /// The query of a request's words, and the fields it searches.
    pub(super) fn words(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
    ) -> Result<(Words, Vec<Field>), PluginError> {
        let options = &request.words;
        let fields = resolve(&self.index.schema(), &self.fields.searched, &options.fields)?;
        let table = |field: Field| self.synonyms.0.get(&self.analyser_name(field)?);
        let synonyms: Option<Lookup<'_>> =
            if options.without_synonyms || self.synonyms.0.is_empty() { None } else { Some(&table) };
        let frequencies = self.frequencies(searcher)?;
        let typos = options.typos.map(|typos| (searcher, frequencies, typos));
        let words = words(&self.index, &fields, &request.query, &Expansion { synonyms, typos })?;
        Ok((words, fields.into_iter().map(|(field, _)| field).collect()))
    }

    fn frequencies(&self, searcher: &Searcher) -> Result<Frequencies, PluginError> {
        let documents = match self.fields.chunks {
            Some(chunks) => searcher.doc_freq(&chunks.documents())?,
            None => searcher.segment_readers().iter().map(|segment| u64::from(segment.max_doc())).sum(),
        };
        Ok(Frequencies { documents })
    }

    /// The query with words that the index has in place of those it lacks, if there are such: "did you mean".
    ///
    /// The words come from the index's own terms, in the form that its stored text has most often. Words with digits, short ones, and
    /// those of scripts without spaces are left as they are.
    ///
    /// # Errors
    /// tantivy's.
    pub fn did_you_mean(&self, query: &str) -> Result<Option<String>, PluginError> {
        self.suggestion(&self.reader.searcher(), query)
    }

    pub(super) fn suggestion(&self, searcher: &Searcher, query: &str) -> Result<Option<String>, PluginError> {
        let Some(&field) = self.fields.searched.first() else { return Ok(None) };
        let mut changes: Vec<(usize, usize, String)> = Vec::new();
        let mut analyzer = analyser(&self.index, field)?;
        let mut stream = analyzer.token_stream(query);
        let mut looked_up = 0;
        while let Some(token) = stream.next() {
            if looked_up == MAX_SUGGESTED || changes.last().is_some_and(|change| change.1 > token.offset_from) {
                continue;
            }
            if self.is_known(searcher, &token.text)? {
                continue;
            }
            looked_up += 1;
            let typos = Typos::default().prefix(0).expansions(1);
            if let Some(similar) = similar_terms(searcher, field, &token.text, typos)?.first()
                && let Some(form) = self.form(searcher, field, &similar.text)?
            {
                changes.push((token.offset_from, token.offset_to, form));
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let mut meant = String::new();
        let mut at = 0;
        for (from, to, form) in changes {
            meant.push_str(query.get(at..from).unwrap_or_default());
            meant.push_str(&form);
            at = to;
        }
        meant.push_str(query.get(at..).unwrap_or_default());
        Ok(Some(meant))
    }

    /// Whether a term is in any searched field.
    fn is_known(&self, searcher: &Searcher, term: &str) -> Result<bool, PluginError> {
        for field in &self.fields.searched {
            if searcher.doc_freq(&Term::from_field_text(*field, term))? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The form in which stored text has a term most often, in small letters. None where no stored text has it.
    fn form(&self, searcher: &Searcher, field: Field, term: &str) -> Result<Option<String>, PluginError> {
        let query = TermQuery::new(Term::from_field_text(field, term), IndexRecordOption::WithFreqs);
        let mut analyzer = self.index.tokenizer_for_field(field)?;
        let mut forms: Vec<(String, usize)> = Vec::new();
        for (_, address) in searcher.search(&query, &TopDocs::with_limit(LOOKED_AT).order_by_score())? {
            let document: TantivyDocument = searcher.doc(address)?;
            let texts = self.fields.shown.iter().flat_map(|field| document.get_all(*field));
            for text in texts.filter_map(|value| value.as_str()) {
                let mut stream = analyzer.token_stream(text);
                while let Some(token) = stream.next() {
                    if token.text != term {
                        continue;
                    }
                    let form = text.get(token.offset_from..token.offset_to).unwrap_or_default().to_lowercase();
                    match forms.iter_mut().find(|(known, _)| *known == form) {
                        Some((_, count)) => *count += 1,
                        None => forms.push((form, 1)),
                    }
                }
            }
        }
        // Of equally frequent forms the first.
        let best = forms.into_iter().rev().max_by_key(|(_, count)| *count);
        Ok(best.map(|(form, _)| form))
    }
}
