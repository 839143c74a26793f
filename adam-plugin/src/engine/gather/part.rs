//! What the engine of one shard does for a search over several.

use std::collections::{BTreeMap, BTreeSet};

use tantivy::query::Bm25StatisticsProvider;
use tantivy::{TantivyDocument, Term};
use tantivy_dense::hybrid::Candidates;

use super::statistics::{Statistics, SummedStatistics};
use super::{Engine, check};
use crate::engine::analysis::is_blank;
use crate::engine::request::{Mode, SearchRequest};
use crate::engine::response::Hit;
use crate::engine::warnings;
use crate::error::PluginError;

impl Engine {
    /// The vector of a query, for [`SearchRequest::encoded`].
    ///
    /// # Errors
    /// When no model was opened, or it fails.
    pub fn encode_query(&self, query: &str) -> Result<Vec<f32>, PluginError> {
        self.query_vector(query)
    }

    /// What a search over several shards needs to know of this one.
    ///
    /// # Errors
    /// As [`Engine::search`], and [`PluginError::Query`] for what only the whole index can do, by name.
    pub fn statistics(&self, request: &SearchRequest) -> Result<Statistics, PluginError> {
        check(request)?;
        self.check_folder()?;
        let searcher = self.reader.searcher();
        let (words, fields) = self.words(&searcher, request)?;
        let mut warnings = Vec::new();
        if request.mode != Mode::Dense && !is_blank(&request.query) {
            warnings = warnings::of_words(&self.index, &fields, &request.query, &words, request.mode);
        }
        warnings.extend(self.filter_warnings(&request.filters)?.iter().map(ToString::to_string));
        let mut terms: BTreeSet<Term> = BTreeSet::new();
        if request.mode != Mode::Dense {
            words.query.query_terms(&mut |term, _| {
                terms.insert(term.clone());
            });
        }
        let total = match request.total {
            true => {
                let guides = self.guides(&searcher, &request.refinement.examples)?;
                let arms = self.arms(&searcher, request, words.query.as_ref(), &guides, None)?;
                Some(self.total(&searcher, request, words.query.as_ref(), &arms)?)
            }
            false => None,
        };
        let documents = match self.fields.chunks {
            Some(chunks) => searcher.doc_freq(&chunks.documents())?,
            None => Bm25StatisticsProvider::total_num_docs(&searcher)?,
        };
        let mut statistics = Statistics {
            model: self.manifest.model.fingerprint.clone(),
            hybrid_weight: self.hybrid_weight(),
            living: searcher.num_docs(),
            documents,
            tokens: BTreeMap::new(),
            frequencies: BTreeMap::new(),
            total,
            warnings,
        };
        let schema = self.index.schema();
        for term in terms {
            let name = schema.get_field_name(term.field()).to_owned();
            let value = term.value();
            let Some(word) = value.as_str() else { continue };
            if !statistics.tokens.contains_key(&name) {
                let tokens = Bm25StatisticsProvider::total_num_tokens(&searcher, term.field())?;
                statistics.tokens.insert(name.clone(), tokens);
            }
            let frequency = Bm25StatisticsProvider::doc_freq(&searcher, &term)?;
            statistics.frequencies.entry(name).or_default().insert(word.to_owned(), frequency);
        }
        Ok(statistics)
    }

    /// What the arms find here, scored as in one index of all documents; `window` is [`GatheredSearch::window`](super::GatheredSearch::window).
    ///
    /// # Errors
    /// As [`Engine::statistics`]; and where the statistics are of another model, or the index is of a version whose keys are no column.
    pub fn candidates(
        &self,
        request: &SearchRequest,
        statistics: &Statistics,
        window: usize,
    ) -> Result<Candidates, PluginError> {
        check(request)?;
        self.check_folder()?;
        if statistics.model != self.manifest.model.fingerprint {
            let problem = format!(
                "has statistics of shards with another model than that in {}; all shards need one model",
                self.path.display()
            );
            return Err(PluginError::Query { problem });
        }
        if !self.fields.key_is_column {
            let problem = format!(
                "cannot be put together with others from {}, whose keys are not a column: it was made by an earlier version; make it again",
                self.path.display()
            );
            return Err(PluginError::Query { problem });
        }
        let searcher = self.reader.searcher();
        let (words, _) = self.words(&searcher, request)?;
        let guides = self.guides(&searcher, &request.refinement.examples)?;
        let sums = SummedStatistics::new(statistics, &self.index.schema());
        let arms = self.arms(&searcher, request, words.query.as_ref(), &guides, Some(sums))?;
        Ok(arms.hybrid.candidates(&searcher, window)?)
    }

    /// What is shown of documents, in the order of their keys here. Scores and arms are not those of the ranking. A key that is
    /// not here any more is left out.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub fn fetch(&self, request: &SearchRequest, keys: &[String]) -> Result<Vec<Hit>, PluginError> {
        check(request)?;
        self.check_folder()?;
        let searcher = self.reader.searcher();
        let (words, _) = self.words(&searcher, request)?;
        let snippets = match request.snippets || request.refinement.highlight {
            true => self.snippets(&searcher, words.query.as_ref())?,
            false => Vec::new(),
        };
        let nearest = match (self.fields.chunks, request.snippets && request.mode != Mode::Bm25) {
            (Some(_), true) => {
                let guides = self.guides(&searcher, &request.refinement.examples)?;
                self.arms(&searcher, request, words.query.as_ref(), &guides, None)?.chunks
            }
            _ => None,
        };
        let mut hits = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(address) = self.address_of(&searcher, key)? else { continue };
            let mut document: TantivyDocument = searcher.doc(address)?;
            let chunk = match &nearest {
                Some(nearest) => nearest.of(&searcher, address)?.map(|(_, range)| range),
                None => None,
            };
            self.add_columns(&searcher, address, &mut document)?;
            hits.push(self.shown(request, &snippets, &document, chunk));
        }
        Ok(hits)
    }
}
