//! What BM25 knows of an index, as sums over its shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tantivy::query::Bm25StatisticsProvider;
use tantivy::schema::{Field, Schema};
use tantivy::{Searcher, Term};
use tantivy_dense::DenseError;
use tantivy_dense::hybrid::TextStatistics;

use crate::error::PluginError;

/// What a search needs to know of a shard before it begins, or of all shards together: counts of the documents, and of the query's words.
///
/// Counts include deleted documents that are not merged away yet, as tantivy's do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Fingerprint of the model. Shards have one model.
    pub model: String,
    /// Weight of the vectors in a hybrid search that names none.
    pub hybrid_weight: f32,
    /// Documents and their further chunks, without deleted ones.
    pub living: u64,
    /// Documents as BM25 counts them.
    pub documents: u64,
    /// Tokens, by the field's name.
    pub tokens: BTreeMap<String, u64>,
    /// In how many documents a word of the query is, by the field's name.
    pub frequencies: BTreeMap<String, BTreeMap<String, u64>>,
    /// Documents that the search can reach, where the request asks for it.
    pub total: Option<u64>,
    /// What there is to say of the query and its filters: in the sum, what every shard says.
    pub warnings: Vec<String>,
}

impl Statistics {
    /// The statistics of one index with the documents of all parts.
    ///
    /// # Errors
    /// [`PluginError::Query`] without parts, and for parts of different models.
    pub fn sum(parts: &[Self]) -> Result<Self, PluginError> {
        let refuse = |problem: &str| PluginError::Query { problem: problem.to_owned() };
        let (first, rest) = parts.split_first().ok_or_else(|| refuse("has no shard to be searched in"))?;
        let mut sum = first.clone();
        for part in rest {
            if part.model != sum.model {
                return Err(refuse(
                    "is for shards of different models; vectors of different models cannot be compared",
                ));
            }
            sum.living += part.living;
            sum.documents += part.documents;
            sum.total = sum.total.zip(part.total).map(|(all, more)| all + more);
            for (field, tokens) in &part.tokens {
                *sum.tokens.entry(field.clone()).or_default() += tokens;
            }
            for (field, words) in &part.frequencies {
                let all = sum.frequencies.entry(field.clone()).or_default();
                words.iter().for_each(|(word, count)| *all.entry(word.clone()).or_default() += count);
            }
            // A word that one shard lacks may be in another.
            sum.warnings.retain(|warning| part.warnings.contains(warning));
        }
        Ok(sum)
    }
}

/// Statistics for the fields of one schema.
#[derive(Debug)]
pub(super) struct SummedStatistics {
    documents: u64,
    tokens: BTreeMap<Field, u64>,
    frequencies: BTreeMap<Term, u64>,
}

impl SummedStatistics {
    pub(super) fn new(statistics: &Statistics, schema: &Schema) -> Arc<Self> {
        let field = |name: &String| schema.get_field(name).ok();
        let terms = |(name, words): (&String, &BTreeMap<String, u64>)| {
            let field = field(name)?;
            Some(
                words.iter().map(move |(word, count)| (Term::from_field_text(field, word), *count)).collect::<Vec<_>>(),
            )
        };
        Arc::new(Self {
            documents: statistics.documents,
            tokens: statistics.tokens.iter().filter_map(|(name, count)| Some((field(name)?, *count))).collect(),
            frequencies: statistics.frequencies.iter().filter_map(terms).flatten().collect(),
        })
    }
}

/// The sums, and the shard's own where the query's words do not tell: filters ask, and their scores do not count.
struct Provider<'a> {
    sums: &'a SummedStatistics,
    searcher: &'a Searcher,
}

impl Bm25StatisticsProvider for Provider<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        match self.sums.tokens.get(&field) {
            Some(tokens) => Ok(*tokens),
            None => self.searcher.total_num_tokens(field),
        }
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.sums.documents)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let count = match self.sums.frequencies.get(term) {
            Some(count) => *count,
            None => Bm25StatisticsProvider::doc_freq(self.searcher, term)?,
        };
        // tantivy asserts it.
        Ok(count.min(self.sums.documents))
    }
}

impl TextStatistics for SummedStatistics {
    fn provider<'a>(&'a self, searcher: &'a Searcher) -> Result<Box<dyn Bm25StatisticsProvider + 'a>, DenseError> {
        Ok(Box::new(Provider { sums: self, searcher }))
    }
}
