//! Re-ranking texts that the client sends: `/rerank` as text-embeddings-inference's clients expect it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api_error::ApiError;
use crate::body::Body;
use crate::embed::TruncationDirection;
use crate::state::Service;
use crate::turns;

/// A query and texts, as text-embeddings-inference takes them.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RerankRequest {
    /// What the texts are to answer.
    query: String,
    /// The texts, at least one.
    #[schema(min_items = 1)]
    texts: Vec<String>,
    /// Taken and not used: a pair that is longer than the model reads is always cut at the end of the text.
    #[serde(default)]
    #[allow(dead_code, reason = "clients send it")]
    truncate: Option<bool>,
    /// Which end is cut. Only `Right` can be honoured.
    #[serde(default)]
    truncation_direction: Option<TruncationDirection>,
    /// Scores as the model gives them, and not between 0 and 1.
    #[serde(default)]
    raw_scores: Option<bool>,
    /// Give the texts as well.
    #[serde(default)]
    return_text: Option<bool>,
}

/// A text's place in a [`RerankRequest`], with its score.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rank {
    /// Its position among the texts of the request, from 0.
    index: usize,
    /// How well it answers the query, 0 to 1; with `raw_scores` the model's logit.
    score: f32,
    /// The text, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Texts read by the model in one piece of work.
const PIECE: usize = 16;

/// Puts texts in the order in which they answer a query, best first, as text-embeddings-inference does.
#[utoipa::path(post, path = "/rerank", tag = "search", request_body = RerankRequest,
    responses((status = 200, description = "All texts, best first", body = Vec<Rank>)))]
pub(crate) async fn rerank(
    State(service): State<Service>,
    Body(request): Body<RerankRequest>,
) -> Result<Json<Vec<Rank>>, ApiError> {
    if service.engine().reranker().is_none() {
        return Err(ApiError::validation("this server has no re-ranker; start it with one"));
    }
    if request.truncation_direction == Some(TruncationDirection::Left) {
        return Err(ApiError::validation("`truncation_direction` Left is not offered; texts are cut at their end"));
    }
    let limits = service.limits();
    limits.check_text("the query", &request.query)?;
    if request.texts.is_empty() {
        return Err(ApiError::validation("no text was given"));
    }
    if request.texts.len() > limits.batch {
        let (given, most) = (request.texts.len(), limits.batch);
        return Err(ApiError::too_large(format!("{given} texts in one request; this server takes {most}")));
    }
    for (position, text) in request.texts.iter().enumerate() {
        limits.check_text(&format!("text {position}"), text)?;
    }
    let raw = request.raw_scores.unwrap_or(false);
    let due = turns::due(request.texts.iter().map(String::len).sum());
    let (query, texts) = (Arc::new(request.query), Arc::new(request.texts));
    let mut ranks = Vec::with_capacity(texts.len());
    while ranks.len() < texts.len() {
        let first = ranks.len();
        let piece = first..(first + PIECE).min(texts.len());
        let (engine, query, texts) = (Arc::clone(service.engine()), Arc::clone(&query), Arc::clone(&texts));
        let work = move || {
            let texts: Vec<&str> = texts[piece].iter().map(String::as_str).collect();
            engine.reranker().map(|reranker| reranker.score(&query, &texts))
        };
        let logits = service.work_long(due, work).await?;
        let logits = logits.ok_or_else(|| ApiError::validation("this server has no re-ranker; start it with one"))?;
        for (index, logit) in (first..).zip(logits.map_err(ApiError::of)?) {
            let score = if raw { logit } else { 1.0 / (1.0 + (-logit).exp()) };
            ranks.push((logit, Rank { index, score, text: None }));
        }
    }
    // By logit, which still differs where scores are 1 already; of equal texts the first stays in front.
    ranks.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut ranks: Vec<Rank> = ranks.into_iter().map(|(_, rank)| rank).collect();
    if request.return_text.unwrap_or(false) {
        ranks.iter_mut().for_each(|rank| rank.text = texts.get(rank.index).cloned());
    }
    Ok(Json(ranks))
}
