//! Vectors over HTTP: `/embed` as text-embeddings-inference's clients expect it, `/v1/embeddings` as OpenAI's do.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use adam_encoder::{SentenceEncoder, TextEncoder, TextKind};

use super::body::{Body, whole_or_null};
use super::error::ApiError;
use super::state::Service;

/// One text or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a text or a list of texts (lists of token numbers are not taken: send the text)"
)]
pub(super) enum Texts {
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
pub(super) enum TruncationDirection {
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
pub(super) enum PromptName {
    /// What is put before a question.
    Query,
    /// What is put before a text to be found.
    #[serde(alias = "passage")]
    Document,
}

/// Texts to embed, as text-embeddings-inference takes them.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct EmbedRequest {
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
    /// Keep only so many values of each vector (for models trained to allow it), and normalise again.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(minimum = 1)]
    dimensions: Option<usize>,
}

/// Texts to embed, as OpenAI takes them.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct OpenAiRequest {
    input: Texts,
    /// Any model's name: this server has one model, and the answer says which.
    #[serde(default)]
    #[schema(max_length = 200, pattern = "^[A-Za-z0-9][A-Za-z0-9_:@+-]*([./][A-Za-z0-9_:@+-]+)*$")]
    model: Option<String>,
    /// `float` (if absent) or `base64`, which is little-endian f32.
    #[serde(default)]
    encoding_format: Option<EncodingFormat>,
    /// Keep only so many values of each vector, and normalise again.
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
pub(super) enum EncodingFormat {
    /// A list of numbers.
    #[default]
    Float,
    /// Little-endian f32, base64.
    Base64,
}

/// A vector as OpenAI writes it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Vector {
    /// A list of numbers.
    Numbers(Vec<f32>),
    /// Little-endian f32, base64.
    Base64(String),
}

/// One embedding of an [`OpenAiAnswer`].
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenAiEmbedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

/// How many tokens were read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Embeddings as OpenAI writes them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenAiAnswer {
    object: &'static str,
    data: Vec<OpenAiEmbedding>,
    model: String,
    usage: Usage,
}

/// Embeds texts, as text-embeddings-inference does.
#[utoipa::path(post, path = "/embed", tag = "embeddings", request_body = EmbedRequest,
    responses((status = 200, description = "One vector for each text, in order", body = Vec<Vec<f32>>)))]
pub(super) async fn embed(
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
    let wanted = Wanted {
        kind,
        truncate: request.truncate.unwrap_or(false),
        normalize: request.normalize.unwrap_or(true),
        dimensions: request.dimensions,
    };
    let (vectors, _) = vectors(&service, request.inputs.into_list(), wanted).await?;
    Ok(Json(vectors))
}

/// Embeds texts, as OpenAI does.
#[utoipa::path(post, path = "/v1/embeddings", tag = "embeddings", request_body = OpenAiRequest,
    responses((status = 200, description = "One embedding for each text, in order", body = OpenAiAnswer)))]
pub(super) async fn openai(
    State(service): State<Service>,
    Body(request): Body<OpenAiRequest>,
) -> Result<Json<OpenAiAnswer>, ApiError> {
    // Clients must name a model and may name a user; this server has one model and no accounts. What is no model's name
    // at all is a mistake on their side, or an attempt at something else.
    if let Some(model) = &request.model
        && !is_model_name(model)
        && model != service.encoder().name()
    {
        return Err(ApiError::validation(
            "`model` must be the name of a model, such as `organisation/model-v2`; this is none, and paths are not opened",
        ));
    }
    drop(request.user);
    let wanted = Wanted { kind: TextKind::Document, truncate: true, normalize: true, dimensions: request.dimensions };
    let (vectors, tokens) = vectors(&service, request.input.into_list(), wanted).await?;
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

/// Letters, digits and `_:@+-`, with single dots and slashes between; so neither a path that leads somewhere nor a
/// control character.
fn is_model_name(name: &str) -> bool {
    name.len() <= 200
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.split(['.', '/']).all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:@+-".contains(&byte))
        })
}

/// What to do with each text.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    kind: TextKind,
    truncate: bool,
    normalize: bool,
    dimensions: Option<usize>,
}

/// The vectors of some texts and the number of tokens read, made off the async threads.
async fn vectors(service: &Service, texts: Vec<String>, wanted: Wanted) -> Result<(Vec<Vec<f32>>, usize), ApiError> {
    let limits = service.limits();
    if texts.is_empty() {
        return Err(ApiError::validation("no text was given"));
    }
    if texts.len() > limits.batch {
        return Err(ApiError::too_large(format!(
            "{} texts in one request; this server takes {} (--max-batch)",
            texts.len(),
            limits.batch
        )));
    }
    for (position, text) in texts.iter().enumerate() {
        limits.check_text(&format!("text {position}"), text)?;
    }
    let encoder = service.encoder();
    let dimension = encoder.dimension();
    if let Some(wanted) = wanted.dimensions
        && !(1..=dimension).contains(&wanted)
    {
        return Err(ApiError::validation(format!("`dimensions` is {wanted}; it can be 1 to {dimension}")));
    }
    let count = texts.len() as u64;
    let answer = service.work(move || encode(&encoder, &texts, wanted)).await??;
    service.metrics().embedded.inc_by(count);
    Ok(answer)
}

fn encode(encoder: &SentenceEncoder, texts: &[String], wanted: Wanted) -> Result<(Vec<Vec<f32>>, usize), ApiError> {
    let tokenizer = encoder.tokenizer();
    // What is left of the model's length for a text and the special tokens around it, next to the prompt before it.
    let longest = encoder.room(wanted.kind) + tokenizer.count("").map_err(|fault| ApiError::encoder(&fault))?;
    let mut tokens = 0;
    for (position, text) in texts.iter().enumerate() {
        let length = tokenizer.count(text).map_err(|fault| ApiError::encoder(&fault))?;
        if length > longest && !wanted.truncate {
            return Err(ApiError::too_large(format!(
                "text {position} has {length} tokens, the model takes {longest} besides its prompt; shorten it or set `truncate`"
            )));
        }
        tokens += length.min(tokenizer.max_length());
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut vectors = encoder.encode_checked(&texts, wanted.kind).map_err(|fault| ApiError::encoder(&fault))?;
    for vector in &mut vectors {
        let cut = wanted.dimensions.is_some_and(|keep| {
            let shorter = keep < vector.len();
            vector.truncate(keep);
            shorter
        });
        if wanted.normalize || cut {
            normalize(vector);
        }
    }
    Ok((vectors, tokens))
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
    fn model_names_are_no_paths() {
        for name in ["text-embedding-3-small", "sentence-transformers/all-MiniLM-L6-v2", "bge-m3:latest", "a.b/c@v1"] {
            assert!(is_model_name(name), "{name}");
        }
        for name in ["", "../../etc/passwd", "/etc/passwd", "a/../b", "a//b", "a\\b", "~/x", "a\0b", ".hidden", "a b"] {
            assert!(!is_model_name(name), "{name:?}");
        }
        assert!(!is_model_name(&"a".repeat(201)));
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
