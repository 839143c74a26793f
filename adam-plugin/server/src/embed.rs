//! Vectors over HTTP: `/embed` as text-embeddings-inference's clients expect it, `/v1/embeddings` as OpenAI's do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use adam_encoder::{SentenceEncoder, TextEncoder, TextKind};

use crate::api_error::ApiError;
use crate::body::{Body, whole_or_null};
use crate::state::Service;
use crate::turns;

/// One text or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a text or a list of texts (lists of token numbers are not taken: send the text)"
)]
pub(crate) enum Texts {
    /// One text.
    One(String),
    /// Several texts, at least one.
    Many(Vec<String>),
}

impl Texts {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// From which end a text that is too long is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) enum TruncationDirection {
    /// The start is cut away.
    #[serde(alias = "left")]
    Left,
    /// The end is cut away.
    #[default]
    #[serde(alias = "right")]
    Right,
}

/// Which of the model's prompts goes before each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PromptName {
    /// Prompt for queries.
    Query,
    /// What is put before a text to be found.
    #[serde(alias = "passage")]
    Document,
}

/// Texts to embed, as text-embeddings-inference takes them.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EmbedRequest {
    inputs: Texts,
    /// Cut texts that are longer than the model's length; without it they are refused.
    #[serde(default)]
    truncate: Option<bool>,
    /// Which end is cut. Only `Right` can be honoured.
    #[serde(default)]
    truncation_direction: Option<TruncationDirection>,
    /// Which of the model's prompts goes before each text; `document` if absent.
    #[serde(default)]
    prompt_name: Option<PromptName>,
    /// Vectors of length 1; true if absent.
    #[serde(default)]
    normalize: Option<bool>,
    /// Number of values of each vector that are kept, for models trained to allow it; vectors are normalised again.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(minimum = 1)]
    dimensions: Option<usize>,
}

/// Texts to embed, as OpenAI takes them.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct OpenAiRequest {
    input: Texts,
    /// Any model's name: this server has one model, and the answer says which.
    #[serde(default)]
    model: Option<String>,
    /// `float` (if absent) or `base64`, which is little-endian f32.
    #[serde(default)]
    encoding_format: Option<EncodingFormat>,
    /// Number of values of each vector that are kept; vectors are normalised again.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(minimum = 1)]
    dimensions: Option<usize>,
    /// Taken and not used.
    #[serde(default)]
    user: Option<String>,
}

/// How OpenAI's clients want vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodingFormat {
    /// A list of numbers.
    #[default]
    Float,
    /// Little-endian f32, base64.
    Base64,
}

/// A vector as OpenAI writes it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Vector {
    /// A list of numbers.
    Numbers(Vec<f32>),
    /// Little-endian f32, base64.
    Base64(String),
}

/// One embedding of an [`OpenAiAnswer`].
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenAiEmbedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

/// How many tokens were read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Embeddings as OpenAI writes them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenAiAnswer {
    object: &'static str,
    data: Vec<OpenAiEmbedding>,
    model: String,
    usage: Usage,
}

/// Embeds texts, as text-embeddings-inference does.
#[utoipa::path(post, path = "/embed", tag = "embeddings", request_body = EmbedRequest,
    responses((status = 200, description = "One vector for each text, in order", body = Vec<Vec<f32>>)))]
pub(crate) async fn embed(
    State(service): State<Service>,
    Body(request): Body<EmbedRequest>,
) -> Result<Json<Vec<Vec<f32>>>, ApiError> {
    if request.truncation_direction == Some(TruncationDirection::Left) {
        return Err(ApiError::validation("`truncation_direction` Left is not offered; texts are cut at their end"));
    }
    let kind = match request.prompt_name {
        None | Some(PromptName::Document) => TextKind::Document,
        Some(PromptName::Query) => TextKind::Query,
    };
    let options = EmbedOptions {
        kind,
        truncate: request.truncate.unwrap_or(false),
        normalize: request.normalize.unwrap_or(true),
        dimensions: request.dimensions,
    };
    let (vectors, _) = vectors(&service, request.inputs.into_list(), options).await?;
    Ok(Json(vectors))
}

/// Embeds texts, as text-embeddings-inference does where a client asks its address for nothing more.
#[utoipa::path(post, path = "/", tag = "embeddings", request_body = EmbedRequest,
    responses((status = 200, description = "One vector for each text, in order", body = Vec<Vec<f32>>)))]
pub(crate) async fn embed_at_root(
    service: State<Service>,
    request: Body<EmbedRequest>,
) -> Result<Json<Vec<Vec<f32>>>, ApiError> {
    embed(service, request).await
}

/// Embeds texts, as OpenAI does.
#[utoipa::path(post, path = "/v1/embeddings", tag = "embeddings", request_body = OpenAiRequest,
    responses((status = 200, description = "One embedding for each text, in order", body = OpenAiAnswer)))]
pub(crate) async fn openai(
    State(service): State<Service>,
    Body(request): Body<OpenAiRequest>,
) -> Result<Json<OpenAiAnswer>, ApiError> {
    // Clients must name a model and may name a user; this server has one model and no accounts, and opens nothing by these names.
    drop(request.model);
    drop(request.user);
    let options =
        EmbedOptions { kind: TextKind::Document, truncate: true, normalize: true, dimensions: request.dimensions };
    let (vectors, tokens) = vectors(&service, request.input.into_list(), options).await?;
    let format = request.encoding_format.unwrap_or_default();
    let data = vectors
        .into_iter()
        .enumerate()
        .map(|(index, vector)| OpenAiEmbedding {
            object: "embedding",
            index,
            embedding: match format {
                EncodingFormat::Float => Vector::Numbers(vector),
                EncodingFormat::Base64 => {
                    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                    Vector::Base64(STANDARD.encode(bytes))
                }
            },
        })
        .collect();
    let model = service.encoder().name().to_owned();
    Ok(Json(OpenAiAnswer { object: "list", data, model, usage: Usage { prompt_tokens: tokens, total_tokens: tokens } }))
}

/// What to do with each text.
#[derive(Debug, Clone, Copy)]
struct EmbedOptions {
    kind: TextKind,
    truncate: bool,
    normalize: bool,
    dimensions: Option<usize>,
}

/// The vectors of some texts and the number of tokens read, made off the async threads.
async fn vectors(
    service: &Service,
    texts: Vec<String>,
    options: EmbedOptions,
) -> Result<(Vec<Vec<f32>>, usize), ApiError> {
    let limits = service.limits();
    if texts.is_empty() {
        return Err(ApiError::validation("no text was given"));
    }
    if texts.len() > limits.batch {
        return Err(ApiError::too_large(format!(
            "{} texts in one request; this server takes {}",
            texts.len(),
            limits.batch
        )));
    }
    for (position, text) in texts.iter().enumerate() {
        limits.check_text(&format!("text {position}"), text)?;
    }
    let encoder = service.encoder();
    let dimension = encoder.dimension();
    if let Some(options) = options.dimensions
        && !(1..=dimension).contains(&options)
    {
        return Err(ApiError::validation(format!("`dimensions` is {options}; it can be 1 to {dimension}")));
    }
    let count = texts.len() as u64;
    let bytes: usize = texts.iter().map(String::len).sum();
    let answer = if bytes <= SHORT && texts.len() <= SHORT_TEXTS {
        let work = move || {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let tokens = count_tokens(&encoder, &texts, 0, options)?;
            Ok::<_, ApiError>((encode(&encoder, &texts, options)?, tokens.iter().sum()))
        };
        service.work(work).await??
    } else {
        in_pieces(service, encoder, texts, bytes, options).await?
    };
    service.metrics().embedded.inc_by(count);
    Ok(answer)
}

/// Bytes of text in one piece of work, as much as a long query.
const SHORT: usize = 2 << 10;
/// Texts in one piece of work.
const SHORT_TEXTS: usize = 32;
/// Bytes of text that are tokenised in one piece of work.
const PIECE_BYTES: usize = 64 << 10;
/// Tokens for each core that are embedded in one piece, which is one batch of the model.
const PIECE_TOKENS: usize = 512;

/// Many or long texts, piece by piece: requests that are short, and other long ones, have their turns in between, and none of it goes on
/// when the client has left.
async fn in_pieces(
    service: &Service,
    encoder: Arc<SentenceEncoder>,
    texts: Vec<String>,
    bytes: usize,
    options: EmbedOptions,
) -> Result<(Vec<Vec<f32>>, usize), ApiError> {
    let due = turns::due(bytes);
    let texts = Arc::new(texts);
    let lengths: Vec<usize> = texts.iter().map(String::len).collect();
    let mut tokens = Vec::with_capacity(texts.len());
    while tokens.len() < texts.len() {
        let first = tokens.len();
        let piece = first..first + first_of(&lengths[first..], PIECE_BYTES);
        let (encoder, texts) = (Arc::clone(&encoder), Arc::clone(&texts));
        let work = move || {
            let texts: Vec<&str> = texts[piece].iter().map(String::as_str).collect();
            count_tokens(&encoder, &texts, first, options)
        };
        tokens.extend(service.work_long(due, work).await??);
    }
    // Texts of like length share a piece: little of it is padding.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(tokens[at]));
    let sorted: Vec<usize> = order.iter().map(|&at| tokens[at]).collect();
    let mut vectors = vec![Vec::new(); texts.len()];
    let mut done = 0;
    while done < order.len() {
        let piece = order[done..done + first_of(&sorted[done..], PIECE_TOKENS * service.lanes())].to_vec();
        done += piece.len();
        let (encoder, texts) = (Arc::clone(&encoder), Arc::clone(&texts));
        let work = move || {
            let chosen: Vec<&str> = piece.iter().map(|&at| texts[at].as_str()).collect();
            Ok::<_, ApiError>((encode(&encoder, &chosen, options)?, piece))
        };
        let (made, piece) = service.work_long(due, work).await??;
        for (at, vector) in piece.into_iter().zip(made) {
            vectors[at] = vector;
        }
    }
    Ok((vectors, tokens.iter().sum()))
}

/// How many of some weights, from the first on, are no more than `most` together; one at least.
fn first_of(weights: &[usize], most: usize) -> usize {
    let mut sum = 0;
    let fitting = weights.iter().take_while(|&&weight| {
        sum += weight;
        sum <= most
    });
    fitting.count().max(1).min(weights.len())
}

/// How many tokens the model reads of each text. The first of them has the position `first` in its request.
fn count_tokens(
    encoder: &SentenceEncoder,
    texts: &[&str],
    first: usize,
    options: EmbedOptions,
) -> Result<Vec<usize>, ApiError> {
    let tokenizer = encoder.tokenizer();
    // What is left of the model's length for a text and the special tokens around it, next to the prompt before it.
    let longest = encoder.room(options.kind) + tokenizer.count("").map_err(|fault| ApiError::encoder(&fault))?;
    let count = |(position, text): (usize, &&str)| {
        let length = tokenizer.count(text).map_err(|fault| ApiError::encoder(&fault))?;
        if length > longest && !options.truncate {
            return Err(ApiError::too_large(format!(
                "text {position} has {length} tokens, the model takes {longest} besides its prompt; shorten it or set `truncate`"
            )));
        }
        Ok(length.min(tokenizer.max_length()))
    };
    (first..).zip(texts).map(count).collect()
}

fn encode(encoder: &SentenceEncoder, texts: &[&str], options: EmbedOptions) -> Result<Vec<Vec<f32>>, ApiError> {
    let mut vectors = encoder.encode_checked(texts, options.kind).map_err(|fault| ApiError::encoder(&fault))?;
    for vector in &mut vectors {
        let cut = options.dimensions.is_some_and(|keep| {
            let shorter = keep < vector.len();
            vector.truncate(keep);
            shorter
        });
        if options.normalize || cut {
            normalize(vector);
        }
    }
    Ok(vectors)
}

/// Scales a vector to length 1; a vector of zeros stays.
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_no_larger_than_it_may_be_and_never_empty() {
        assert_eq!(first_of(&[20, 9, 5], 10), 1);
        assert_eq!(first_of(&[5, 5, 0, 1], 10), 3);
        assert_eq!(first_of(&[1, 1], 10), 2);
        assert_eq!(first_of(&[0], 0), 1);
        assert_eq!(first_of(&[], 10), 0);
    }

    #[test]
    fn cut_vectors_have_length_one_again() {
        let mut vector = vec![3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zero = vec![0.0, 0.0];
        normalize(&mut zero);
        assert_eq!(zero, [0.0, 0.0]);
    }
}
