//! Options of `adam search` for what comes after the ranking and beside it.

use adam_plugin::engine::{Boost, Example, Facet, FacetCounts, Grouping, Sorting};
use adam_plugin::{SearchRequest, SearchResponse};
use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::error::WrongCall;
use crate::screen::one_line;
use crate::values;

/// Boosts, least scores and groups.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "After the ranking")]
pub(crate) struct RefineArgs {
    /// Shape the score by a field or a filter: "gaussian; field=released; origin=now; scale=30d", "saturation; field=stars; pivot=3",
    /// "filter=brand:acme; factor=1.5". Repeatable. The functions are linear, exponential, gaussian, log and saturation; the settings origin,
    /// scale, offset, decay, factor, pivot, missing, weight and combine=multiply|add.
    #[arg(long = "boost", alias = "boosts", value_name = "BOOST", allow_hyphen_values = true)]
    boosts: Vec<Boost>,
    /// Leave out hits with a lower score. In a hybrid search scores are shares of the best hit's, so see --min-similarity as well.
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    min_score: Option<f32>,
    /// Vectors find only documents that are at least so similar to the query: -1 to 1, by model.
    #[arg(long, value_name = "COSINE", allow_hyphen_values = true)]
    min_similarity: Option<f32>,
    /// One hit for each value of a field; FIELD:N for N hits of each. --top and --offset then count groups.
    #[arg(long, value_name = "FIELD")]
    group: Option<Grouping>,
    /// Hits like the document with this id, which is no hit itself; the query may then be left out. Repeatable.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    like: Vec<String>,
    /// How much each --like counts, in their order: numbers above 0. By default all the same.
    #[arg(long, value_name = "W", requires = "like")]
    like_weight: Vec<f32>,
    /// Hits unlike the document with this id, which is no hit itself. Repeatable.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    unlike: Vec<String>,
    /// A vector of the index's model to search for, as a JSON array, or a file of one after an @. The query may then be left out.
    #[arg(long, value_name = "[..]|@FILE", value_parser = vector, allow_hyphen_values = true)]
    vector: Option<Values>,
    /// Order the documents of the window by a field: FIELD, FIELD:desc. The ranking ends with them; --window widens it.
    #[arg(long, value_name = "FIELD", conflicts_with = "diversity")]
    sort: Option<Sorting>,
    /// Put hits forward that differ from those before them: 0 to 1, where 1 leaves the order as it is; 0.7 is a good start.
    #[arg(long, value_name = "LAMBDA", value_parser = values::share)]
    diversity: Option<f32>,
    /// Count the most frequent values of a field among all documents that match; FIELD:N for N values. Repeatable.
    #[arg(long = "facet", alias = "facets", value_name = "FIELD")]
    facets: Vec<Facet>,
    /// Show every stored field of text in which the query's words come, with these marked.
    #[arg(long)]
    highlight: bool,
    /// Go over pages by a cursor: * for the first, then the cursor that the answer before ends with. Refused once the index has changed.
    #[arg(long, value_name = "CURSOR", conflicts_with = "offset")]
    cursor: Option<String>,
    /// Aggregations as JSON, as tantivy and Elasticsearch have them: '{"years": {"histogram": {"field": "year", "interval": 10}}}'.
    #[arg(long, value_name = "JSON", value_parser = aggregations)]
    aggregations: Option<Value>,
}

/// A vector from the command line.
#[derive(Clone, Debug)]
struct Values(Vec<f32>);

fn vector(text: &str) -> std::result::Result<Values, String> {
    let read = match text.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|fault| format!("cannot read {path}: {fault}"))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&read).map(Values).map_err(|fault| format!("this is no JSON array of numbers: {fault}"))
}

fn aggregations(text: &str) -> std::result::Result<Value, String> {
    serde_json::from_str(text).map_err(|fault| format!("this is no JSON: {fault}"))
}

impl RefineArgs {
    /// The request with these options.
    ///
    /// # Errors
    /// When there are weights that no example has.
    pub(crate) fn apply(&self, request: SearchRequest) -> Result<SearchRequest> {
        let (ids, weights) = (self.like.len(), self.like_weight.len());
        if weights > ids {
            let problem =
                format!("--like-weight is given {weights} times, and --like {ids} times; give one for each example");
            bail!(WrongCall(problem));
        }
        let weights = self.like_weight.iter().copied().chain(std::iter::repeat(1.0));
        let examples = self.like.iter().zip(weights).map(|(id, weight)| Example::new(id).weight(weight));
        Ok(request
            .like(examples)
            .unlike(self.unlike.clone())
            .vector(self.vector.as_ref().map(|values| values.0.clone()))
            .boosts(self.boosts.clone())
            .min_score(self.min_score)
            .min_similarity(self.min_similarity)
            .group(self.group.clone())
            .sort(self.sort.clone())
            .diversity(self.diversity)
            .facets(self.facets.clone())
            .aggregations(self.aggregations.clone())
            .highlight(self.highlight)
            .cursor(self.cursor.clone()))
    }
}

/// What was counted, below the hits.
pub(crate) fn counts(response: &SearchResponse) -> String {
    let mut out = String::new();
    for (name, FacetCounts { values, others }) in response.facets.iter().flatten() {
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), one_line);
        let mut counts: Vec<String> =
            values.iter().map(|value| format!("{} {}", shown(&value.value), value.documents)).collect();
        if *others > 0 {
            counts.push(format!("others {others}"));
        }
        let counts = if counts.is_empty() { "no values".to_owned() } else { counts.join(", ") };
        out.push_str(&format!("{}: {counts}\n", one_line(name)));
    }
    if let Some(aggregations) = &response.aggregations {
        out.push_str(&format!("{aggregations:#}\n"));
    }
    if let Some(cursor) = &response.cursor {
        out.push_str(&format!("next page: --cursor {cursor}\n"));
    }
    out
}
