//! Options of `adam search` for what comes after the ranking and beside it.

use adam_plugin::SearchRequest;
use adam_plugin::engine::{Boost, Grouping};
use clap::Args;

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
}

impl RefineArgs {
    /// The request with these options.
    pub(crate) fn apply(&self, request: SearchRequest) -> SearchRequest {
        request
            .boosts(self.boosts.clone())
            .min_score(self.min_score)
            .min_similarity(self.min_similarity)
            .group(self.group.clone())
    }
}
