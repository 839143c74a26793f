//! Options for what a query's words find: fields, typing errors, synonyms.

use std::path::PathBuf;

use adam_plugin::{Engine, FieldWeight, SearchRequest, Synonyms, Typos};
use anyhow::Result;
use clap::Args;

/// Synonyms, of commands that search.
#[derive(Clone, Debug, Args)]
pub(crate) struct SynonymArgs {
    /// Synonyms in the format of Solr and Elasticsearch: a line `tv, television` makes them one, a line `nyc => new york city` searches
    /// the right side in place of the left. UTF-8; # begins a comment.
    #[arg(long, value_name = "FILE", env = "ADAM_SYNONYMS")]
    synonyms: Option<PathBuf>,
}

impl SynonymArgs {
    /// The engine with the synonyms, if a file was named.
    pub(crate) fn apply(&self, engine: Engine) -> Result<Engine> {
        match &self.synonyms {
            Some(path) => Ok(engine.with_synonyms(&Synonyms::read(path)?)?),
            None => Ok(engine),
        }
    }
}

/// How the words of a query are searched.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Words")]
pub(crate) struct WordArgs {
    /// Fields in which words are searched, and their weights in the lexical score: title^3,text. By default those of the index, 1
    /// each.
    #[arg(long, value_name = "FIELD^WEIGHT,...", value_delimiter = ',')]
    fields: Vec<FieldWeight>,
    /// Find words of the index that are like those of the query, too: one typing error in words of 4 letters and more, two from 8 on.
    /// They score less than the words as typed.
    #[arg(long)]
    typos: bool,
    /// With --typos: letters at the start of a word that are right.
    #[arg(long, value_name = "N", default_value_t = 1)]
    typo_prefix: usize,
    #[command(flatten)]
    pub(crate) synonyms: SynonymArgs,
}

impl WordArgs {
    /// The request with these options.
    pub(crate) fn apply(&self, request: SearchRequest) -> SearchRequest {
        let typos = self.typos.then(|| Typos::default().prefix(self.typo_prefix));
        request.fields(self.fields.clone()).typos(typos).suggest(true)
    }
}
