//! More like this: a search by documents of the index, by a vector, and away from other documents.
//!
//! The vector searched for is `query + examples + vector - counter-examples / 2`: that of the query's text, the weighted mean of the
//! examples' vectors, the vector brought along, and the mean of the counter-examples' vectors, as far as each is given (Rocchio's
//! formula). The words searched for are the query's, and those of the examples that tell most: by how often they come in them
//! and how few documents have them, less those of counter-examples.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tantivy::query::{BooleanQuery, BoostQuery, EmptyQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::tokenizer::TokenStream;
use tantivy::{DocAddress, Searcher, TantivyDocument, Term};
use tantivy_dense::Metric;

use crate::engine::Engine;
use crate::engine::analysis::is_blank;
use crate::engine::request::SearchRequest;
use crate::engine::vector::check_vector;
use crate::error::PluginError;
use crate::lookup::documents_with;

/// Most examples and most counter-examples of a request.
const MAX_EXAMPLES: usize = 100;
/// Words of examples that are searched for.
const WORDS: usize = 25;
/// Characters of an example's text whose words are looked at, from the start.
const READ: usize = 1 << 16;
/// The share of counter-examples in the vector.
const AWAY: f32 = 0.5;

/// A document of the index that hits shall be like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Form")]
pub struct Example {
    /// Its id.
    pub id: String,
    /// How much it counts beside other examples, above 0.
    pub weight: f32,
}

/// An example as JSON: an id, or an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Id(String),
    Weighted {
        id: String,
        #[serde(default = "one")]
        weight: f32,
    },
}

fn one() -> f32 {
    1.0
}

impl From<Form> for Example {
    fn from(form: Form) -> Self {
        match form {
            Form::Id(id) => Self::new(id),
            Form::Weighted { id, weight } => Self { id, weight },
        }
    }
}

impl Example {
    /// A document, with the weight 1.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), weight: 1.0 }
    }

    /// How much it counts beside other examples, above 0.
    #[must_use]
    pub fn weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }
}

/// What a search is led by beside its text.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Examples {
    pub(in crate::engine) like: Vec<Example>,
    pub(in crate::engine) unlike: Vec<String>,
    pub(in crate::engine) vector: Option<Vec<f32>>,
}

impl Examples {
    /// Whether it names documents of the index.
    pub(in crate::engine) fn needs_documents(&self) -> bool {
        !(self.like.is_empty() && self.unlike.is_empty())
    }

    /// Whether it gives something to search for.
    pub(in crate::engine) fn leads(&self) -> bool {
        !self.like.is_empty() || self.vector.is_some()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.like.len().max(self.unlike.len()) > MAX_EXAMPLES {
            return Err(format!("has more than {MAX_EXAMPLES} examples or counter-examples"));
        }
        if let Some(example) = self.like.iter().find(|example| !(example.weight.is_finite() && example.weight > 0.0)) {
            return Err(format!(
                "the weight of the example `{}` must be above 0, and is {}",
                shown(&example.id),
                example.weight
            ));
        }
        let mut ids: Vec<&str> =
            self.like.iter().map(|example| example.id.as_str()).chain(self.unlike.iter().map(String::as_str)).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("has `{}` twice among its examples and counter-examples", shown(pair[0]))),
            None => Ok(()),
        }
    }
}

/// The documents of a request's examples, with weights: above 0 to be like, below to be unlike.
pub(in crate::engine) struct Guides(Vec<(String, DocAddress, f32)>);

impl Engine {
    /// Finds the examples of a request.
    pub(in crate::engine) fn guides(&self, searcher: &Searcher, examples: &Examples) -> Result<Guides, PluginError> {
        let sum: f32 = examples.like.iter().map(|example| example.weight).sum();
        let like = examples.like.iter().map(|example| (&example.id, example.weight / sum));
        let unlike = examples.unlike.iter().map(|id| (id, -AWAY / examples.unlike.len() as f32));
        let mut found = Vec::new();
        for (id, weight) in like.chain(unlike) {
            let Some(&address) = documents_with(searcher, &self.key_term(id))?.first() else {
                let problem = format!("the example `{}` is no document of the index", shown(id));
                return Err(PluginError::Query { problem });
            };
            found.push((id.clone(), address, weight));
        }
        Ok(Guides(found))
    }

    /// The words of the query, or of its examples, or both.
    pub(in crate::engine) fn words_of_guides(
        &self,
        searcher: &Searcher,
        query: Box<dyn Query>,
        text: &str,
        guides: &Guides,
    ) -> Result<Box<dyn Query>, PluginError> {
        if guides.0.is_empty() {
            return Ok(query);
        }
        let mut weights: HashMap<Term, f32> = HashMap::new();
        for (_, address, weight) in &guides.0 {
            let document: TantivyDocument = searcher.doc(*address)?;
            let own = self.fields.template.render(&document).unwrap_or_default();
            let end = own.floor_char_boundary(READ.min(own.len()));
            for (term, count) in self.terms(&own[..end])? {
                // A word that comes ten times says hardly more than one that comes five times.
                *weights.entry(term).or_default() += weight * (1.0 + (count as f32).ln());
            }
        }
        let documents = searcher.num_docs() as f32;
        let mut telling: Vec<(Term, f32)> = Vec::new();
        for (term, weight) in weights.into_iter().filter(|(_, weight)| *weight > 0.0) {
            let having = searcher.doc_freq(&term)? as f32;
            // Words of no document, and of most documents, tell nothing.
            if having > 0.0 {
                telling.push((term, weight * (documents / having).ln().max(0.0)));
            }
        }
        telling.retain(|(_, weight)| *weight > 0.0);
        telling.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        telling.truncate(WORDS);
        let most = telling.first().map_or(1.0, |(_, weight)| *weight);
        let mut clauses: Vec<Box<dyn Query>> = telling
            .into_iter()
            .map(|(term, weight)| {
                let word = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
                let boosted: Box<dyn Query> = Box::new(BoostQuery::new(word, weight / most));
                boosted
            })
            .collect();
        if !is_blank(text) {
            clauses.push(query);
        }
        Ok(match clauses.len() {
            0 => Box::new(EmptyQuery),
            _ => Box::new(BooleanQuery::union(clauses)),
        })
    }

    /// How often each term of a document's text comes in it, in all searched fields.
    fn terms(&self, text: &str) -> Result<HashMap<Term, usize>, PluginError> {
        let mut terms: HashMap<Term, usize> = HashMap::new();
        for &field in &self.fields.searched {
            let mut analyser = self.index.tokenizer_for_field(field)?;
            let mut stream = analyser.token_stream(text);
            while let Some(token) = stream.next() {
                *terms.entry(Term::from_field_text(field, &token.text)).or_default() += 1;
            }
        }
        Ok(terms)
    }

    /// The vector that a request searches for.
    pub(in crate::engine) fn vector_of_request(
        &self,
        searcher: &Searcher,
        request: &SearchRequest,
        guides: &Guides,
    ) -> Result<Vec<f32>, PluginError> {
        let (text, examples) = (request.query.as_str(), &request.refinement.examples);
        if guides.0.is_empty() && examples.vector.is_none() {
            return self.vector_of_text(request);
        }
        let by_direction = self.fields.vector.options().metric() == Metric::Cosine;
        let dimension = self.fields.vector.options().dimension();
        let mut sum = vec![0.0f32; dimension];
        let mut add = |vector: Vec<f32>, weight: f32| {
            let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt() as f32;
            let scale = if by_direction && length > 0.0 { weight / length } else { weight };
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += scale * value);
        };
        let refuse = |problem: String| PluginError::Query { problem };
        if let Some(vector) = &examples.vector {
            check_vector(vector.iter().copied(), dimension)
                .map_err(|problem| refuse(format!("its vector {problem}")))?;
            add(vector.clone(), 1.0);
        }
        if !is_blank(text) {
            add(self.vector_of_text(request)?, 1.0);
        }
        let mut any = examples.vector.is_some() || !is_blank(text);
        for (id, address, weight) in &guides.0 {
            let mut parts = vec![*address];
            if let Some(chunks) = self.fields.chunks {
                parts = documents_with(searcher, &chunks.all_of(id))?;
            }
            let mut vectors = Vec::with_capacity(parts.len());
            for part in parts {
                vectors.extend(self.dense.vector(searcher, &self.fields.vector, part)?);
            }
            any |= *weight > 0.0 && !vectors.is_empty();
            let share = *weight / vectors.len().max(1) as f32;
            vectors.into_iter().for_each(|vector| add(vector, share));
        }
        if !any {
            return Err(refuse("none of its examples has a vector; search by words (bm25)".to_owned()));
        }
        if by_direction && sum.iter().all(|value| value.abs() < 1e-6) {
            return Err(refuse(
                "its examples and counter-examples cancel out, so that there is no direction left".to_owned(),
            ));
        }
        Ok(sum)
    }
}

impl Guides {
    /// A filter that leaves the examples themselves out.
    pub(in crate::engine) fn exclusion(&self, engine: &Engine) -> Option<Box<dyn Query>> {
        if self.0.is_empty() {
            return None;
        }
        let clause = |(id, ..): &(String, DocAddress, f32)| {
            let term = match engine.fields.chunks {
                // All chunks of the document.
                Some(chunks) => chunks.all_of(id),
                None => engine.key_term(id),
            };
            let query: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::Basic));
            (Occur::MustNot, query)
        };
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = self.0.iter().map(clause).collect();
        clauses.push((Occur::Must, Box::new(tantivy::query::AllQuery)));
        Some(Box::new(BooleanQuery::new(clauses)))
    }
}

fn shown(id: &str) -> String {
    id.chars().take(100).collect()
}
