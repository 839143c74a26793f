//! Searching over HTTP: a JSON body, or a query string for a link.

use std::str::FromStr;

use adam_plugin::engine::{
    Boost, Example, Facet, FusionName, Grouping, MAX_HITS, Mode, SearchRequest, SearchResponse, Sorting,
};
use adam_plugin::{FieldWeight, Typos};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api_error::ApiError;
use crate::body::{Body, Params, present, whole, whole_of};
use crate::documents::parse_filters;
use crate::state::Service;
use crate::turns;

/// A search.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchBody {
    /// What the user typed. Any text is a query, but not one of nothing but spaces.
    #[schema(
        min_length = 1,
        pattern = "[^\\s\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0]"
    )]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false)]
    query: Option<String>,
    /// Documents of the index that hits shall be like, by id: `"crow"`, or with a weight beside others `{"id": "crow", "weight": 2}`. They are no
    /// hits themselves. The query may then be left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<Object>, required = false)]
    like: Option<Vec<Example>>,
    /// Ids of documents that hits shall be unlike. They are no hits themselves.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<String>, required = false)]
    unlike: Option<Vec<String>>,
    /// A vector of the index's model to search for. The query may then be left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<f32>, required = false)]
    vector: Option<Vec<f32>>,
    /// What is searched by; both (`hybrid`) if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Mode, required = false)]
    mode: Option<Mode>,
    /// Hits wanted; 10 if absent.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = usize, minimum = 1, required = false)]
    top: Option<usize>,
    /// Number of hits before the first that is shown, for further pages. Pages of one request show every document once, as long as nothing is
    /// committed between them.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = usize, required = false)]
    offset: Option<usize>,
    /// Number of candidates that each arm brings to a hybrid ranking; further documents follow behind; 200 if absent. It must be
    /// the same for all pages.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = usize, minimum = 1, maximum = 10000, required = false)]
    window: Option<usize>,
    /// Say how many documents there are on all pages.
    #[serde(default)]
    total: bool,
    /// Only documents that match all of these filters.
    #[serde(default, alias = "filter", deserialize_with = "present")]
    #[schema(value_type = Vec<String>, required = false)]
    filters: Option<Vec<String>>,
    /// Weight of the vectors in a hybrid search; the words have the rest; 0.8 if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = f32, minimum = 0, maximum = 1, required = false)]
    weight: Option<f32>,
    /// How the two rankings become one; `convex` if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = FusionName, required = false)]
    fusion: Option<FusionName>,
    /// Number of the best hits that the server's re-ranker puts in a new order; none if absent. Of a long document it
    /// reads the nearest chunk where the index has chunks and the mode is not `bm25`, else the start.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = usize, minimum = 1, required = false)]
    rerank: Option<usize>,
    /// What shapes the score after the fusion, one after the other.
    #[serde(default, alias = "boost", deserialize_with = "present")]
    #[schema(value_type = Vec<Boost>, required = false)]
    boosts: Option<Vec<Boost>>,
    /// Leave out hits with a lower score. In a hybrid search scores are shares of the best hit's, so see `min_similarity` as well.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = f32, required = false)]
    min_score: Option<f32>,
    /// Vectors find only documents that are at least so similar to the query, by cosine: -1 to 1.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = f32, required = false)]
    min_similarity: Option<f32>,
    /// Hits in groups, one or several for each value of a field; `top` and `offset` then count groups.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Grouping, required = false)]
    group: Option<Grouping>,
    /// Order the documents of the window by a field; the ranking ends with them.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Sorting, required = false)]
    sort: Option<Sorting>,
    /// Put hits forward that differ from those before them, by maximal marginal relevance over the vectors; the number is its lambda, and with 1
    /// the order stays as it is.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = f32, minimum = 0, maximum = 1, required = false)]
    diversity: Option<f32>,
    /// Count the most frequent values of fields among all documents that the search can reach.
    #[serde(default, alias = "facet", deserialize_with = "present")]
    #[schema(value_type = Vec<Facet>, required = false)]
    facets: Option<Vec<Facet>>,
    /// Aggregations by name, as tantivy and Elasticsearch read them, over the same documents. Where they say `field`, a name in metadata may stand.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Object, required = false)]
    aggregations: Option<Map<String, Value>>,
    /// Give every stored field of text in which the query's words come, with these marked.
    #[serde(default)]
    highlight: bool,
    /// Go over pages by a cursor, in place of `offset`: `*` for the first, then the cursor of the answer before. It reaches 100,000 hits, and is refused
    /// once the index has changed.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false)]
    cursor: Option<String>,
    /// Fields in which words are searched, with their weights in the lexical score, such as `title^3`; those of the index, 1 each, if
    /// absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<String>, required = false)]
    fields: Option<Vec<String>>,
    /// Find words of the index that are like those of the query, too: one typing error in words of 4 letters and more, two from 8 on.
    #[serde(default)]
    typos: bool,
    /// Use the server's synonyms; true if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    synonyms: Option<bool>,
    /// Say what may have been meant, if the index lacks a word of the query.
    #[serde(default)]
    suggest: bool,
    /// Say where every score comes from.
    #[serde(default)]
    explain: bool,
    /// Give a piece of each document's text.
    #[serde(default)]
    snippets: bool,
}

/// Searches by BM25, by vectors, or by both.
#[utoipa::path(post, path = "/search", tag = "search", request_body = SearchBody,
    responses((status = 200, description = "The best hits, best first", body = SearchResponse)))]
pub(crate) async fn by_body(
    State(service): State<Service>,
    Body(body): Body<SearchBody>,
) -> Result<Json<SearchResponse>, ApiError> {
    search(&service, body).await
}

/// Searches, with everything in the query string; `filters` may come several times.
#[utoipa::path(get, path = "/search", tag = "search",
    params(("query" = String, Query, description = "What the user typed"),
           ("like" = Option<Vec<String>>, Query, description = "Ids of documents that hits shall be like; the query may then be left out"),
           ("unlike" = Option<Vec<String>>, Query, description = "Ids of documents that hits shall be unlike"),
           ("mode" = Option<Mode>, Query, description = "What is searched by", nullable = false),
           ("top" = Option<usize>, Query, description = "Hits wanted", minimum = 1),
           ("offset" = Option<usize>, Query, description = "Number of hits before the first that is shown"),
           ("window" = Option<usize>, Query, description = "Documents that words and vectors each bring to a hybrid ranking first", minimum = 1, maximum = 10000),
           ("total" = Option<bool>, Query, description = "Say how many documents there are on all pages"),
           ("filters" = Option<Vec<String>>, Query, description = "Filters, of which all must match"),
           ("weight" = Option<f32>, Query, description = "Weight of the vectors, 0 to 1", minimum = 0, maximum = 1),
           ("fusion" = Option<FusionName>, Query, description = "How the two rankings become one"),
           ("rerank" = Option<usize>, Query, description = "Hits that the re-ranker puts in a new order", minimum = 1),
           ("boosts" = Option<Vec<String>>, Query, description = "What shapes the score after the fusion, each as settings joined by semicolons: `gaussian; field=released; scale=30d`"),
           ("min_score" = Option<f32>, Query, description = "Leave out hits with a lower score", nullable = false),
           ("min_similarity" = Option<f32>, Query, description = "The least similarity by which vectors find a document", nullable = false),
           ("group" = Option<String>, Query, description = "One hit for each value of a field, or N of each: `FIELD`, `FIELD:N`", nullable = false),
           ("sort" = Option<String>, Query, description = "Order the documents of the window by a field: `FIELD`, `FIELD:desc`", nullable = false),
           ("diversity" = Option<f32>, Query, description = "Put hits forward that differ from those before them", nullable = false, minimum = 0, maximum = 1),
           ("facets" = Option<Vec<String>>, Query, description = "Count the most frequent values of a field: `FIELD`, `FIELD:N`"),
           ("aggregations" = Option<String>, Query, description = "Aggregations as JSON", nullable = false),
           ("highlight" = Option<bool>, Query, description = "Give every field of text in which the query's words come"),
           ("cursor" = Option<String>, Query, description = "Go over pages: `*`, then the cursor of the answer before", nullable = false),
           ("fields" = Option<Vec<String>>, Query, description = "Fields in which words are searched, with their weights: `title^3`"),
           ("typos" = Option<bool>, Query, description = "Find words that are like those of the query, too"),
           ("synonyms" = Option<bool>, Query, description = "Use the server's synonyms; true if absent"),
           ("suggest" = Option<bool>, Query, description = "Say what may have been meant, if the index lacks a word"),
           ("explain" = Option<bool>, Query, description = "Say where every score comes from"),
           ("snippets" = Option<bool>, Query, description = "Give a piece of each document's text")),
    responses((status = 200, description = "The best hits, best first", body = SearchResponse)))]
pub(crate) async fn by_link(
    State(service): State<Service>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<Json<SearchResponse>, ApiError> {
    search(&service, from_pairs(pairs)?).await
}

/// What may come several times in a query string.
const REPEATABLE: [&str; 6] = ["filters", "boosts", "facets", "like", "unlike", "fields"];

/// A query string as a search; serde cannot read repeated names.
fn from_pairs(pairs: Vec<(String, String)>) -> Result<SearchBody, ApiError> {
    let mut seen: Vec<String> = Vec::new();
    let mut body = SearchBody::default();
    for (name, value) in pairs {
        // The names that the page and the command line have for them.
        let name = match name.as_str() {
            "q" => "query".to_owned(),
            "filter" => "filters".to_owned(),
            "boost" => "boosts".to_owned(),
            "facet" => "facets".to_owned(),
            _ => name,
        };
        if !REPEATABLE.contains(&name.as_str()) && seen.contains(&name) {
            return Err(ApiError::validation(format!("`{name}` comes twice")));
        }
        match name.as_str() {
            "query" => body.query = Some(value),
            "like" => body.like.get_or_insert_default().push(Example::new(value)),
            "unlike" => body.unlike.get_or_insert_default().push(value),
            "mode" => body.mode = Some(read(&name, &value)?),
            "top" => body.top = Some(read_whole(&name, &value)?),
            "offset" => body.offset = Some(read_whole(&name, &value)?),
            "window" => body.window = Some(read_whole(&name, &value)?),
            "total" => body.total = read(&name, &value)?,
            "filters" => body.filters.get_or_insert_default().push(value),
            "weight" => body.weight = Some(read(&name, &value)?),
            "fusion" => body.fusion = Some(read(&name, &value)?),
            "rerank" => body.rerank = Some(read_whole(&name, &value)?),
            "boosts" => body.boosts.get_or_insert_default().push(read(&name, &value)?),
            "min_score" => body.min_score = Some(read(&name, &value)?),
            "min_similarity" => body.min_similarity = Some(read(&name, &value)?),
            "group" => body.group = Some(read(&name, &value)?),
            "sort" => body.sort = Some(read(&name, &value)?),
            "diversity" => body.diversity = Some(read(&name, &value)?),
            "facets" => body.facets.get_or_insert_default().push(read(&name, &value)?),
            "aggregations" => {
                let read = serde_json::from_str(&value);
                body.aggregations =
                    Some(read.map_err(|fault| ApiError::validation(format!("`aggregations`: {fault}")))?);
            }
            "highlight" => body.highlight = read(&name, &value)?,
            "cursor" => body.cursor = Some(value),
            "fields" => body.fields.get_or_insert_default().push(value),
            "typos" => body.typos = read(&name, &value)?,
            "synonyms" => body.synonyms = Some(read(&name, &value)?),
            "suggest" => body.suggest = read(&name, &value)?,
            "explain" => body.explain = read(&name, &value)?,
            "snippets" => body.snippets = read(&name, &value)?,
            _ => {
                let name: String = name.chars().take(100).collect();
                return Err(ApiError::validation(format!(
                    "there is no `{name}`; there are query, like, unlike, mode, top, offset, window, total, filters, weight, fusion, rerank, boosts, min_score, min_similarity, group, sort, diversity, facets, aggregations, highlight, cursor, fields, typos, synonyms, suggest, explain and snippets"
                )));
            }
        }
        seen.push(name);
    }
    Ok(body)
}

fn read<T: FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<T, ApiError> {
    value.parse().map_err(|fault| ApiError::validation(format!("`{name}`: {fault}")))
}

fn read_whole(name: &str, value: &str) -> Result<usize, ApiError> {
    match value.parse::<f64>().ok().and_then(whole_of) {
        Some(number) => Ok(number),
        None => read(name, value),
    }
}

/// How many hits to re-rank, if there is a re-ranker and it takes so many.
fn check_rerank(service: &Service, depth: Option<usize>) -> Result<Option<usize>, ApiError> {
    let Some(depth) = depth else { return Ok(None) };
    if service.engine().reranker().is_none() {
        return Err(ApiError::validation("`rerank`: this server has no re-ranker"));
    }
    let most = service.limits().rerank;
    if (1..=most).contains(&depth) {
        return Ok(Some(depth));
    }
    Err(ApiError::validation(format!("`rerank` is {depth}; it can be 1 to {most}")))
}

/// Number of hits by default.
const TOP: usize = 10;

/// Bytes that a re-ranker reads of a document, about.
const RERANKED: usize = 1 << 10;

async fn search(service: &Service, body: SearchBody) -> Result<Json<SearchResponse>, ApiError> {
    let limits = service.limits();
    let leads = body.like.as_ref().is_some_and(|like| !like.is_empty()) || body.vector.is_some();
    let Some(query) = body.query.or(leads.then(String::new)) else {
        return Err(ApiError::validation("`query` is missing; only with `like` or `vector` it may be left out"));
    };
    limits.check_text("the query", &query)?;
    let filters = parse_filters(&body.filters.unwrap_or_default())?;
    let rerank = check_rerank(service, body.rerank)?;
    let (top, offset) = (body.top.unwrap_or(TOP.min(limits.hits)), body.offset.unwrap_or(0));
    if !(1..=limits.hits).contains(&top) {
        return Err(ApiError::validation(format!("`top` is {top}; it can be 1 to {}", limits.hits)));
    }
    if offset > MAX_HITS - limits.hits {
        let most = MAX_HITS - limits.hits;
        return Err(ApiError::validation(format!("`offset` is {offset}; it can be 0 to {most}")));
    }
    if let Some(window) = body.window
        && !(1..=MAX_HITS).contains(&window)
    {
        return Err(ApiError::validation(format!("`window` is {window}; it can be 1 to {MAX_HITS}")));
    }
    let fields = body.fields.unwrap_or_default();
    let fields = fields.iter().map(|field| read("fields", field)).collect::<Result<Vec<FieldWeight>, _>>()?;
    let request = SearchRequest::new(query)
        .fields(fields)
        .typos(body.typos.then(Typos::default))
        .synonyms(body.synonyms.unwrap_or(true))
        .suggest(body.suggest)
        .mode(body.mode.unwrap_or_default())
        .top(top)
        .offset(offset)
        .weight(body.weight)
        .fusion(body.fusion.unwrap_or_default())
        .filters(filters)
        .rerank(rerank)
        .window(body.window)
        .total(body.total)
        .like(body.like.unwrap_or_default())
        .unlike(body.unlike.unwrap_or_default())
        .vector(body.vector)
        .boosts(body.boosts.unwrap_or_default())
        .min_score(body.min_score)
        .min_similarity(body.min_similarity)
        .group(body.group)
        .sort(body.sort)
        .diversity(body.diversity)
        .facets(body.facets.unwrap_or_default())
        .aggregations(body.aggregations.map(Value::Object))
        .highlight(body.highlight)
        .cursor(body.cursor)
        .explain(body.explain)
        .snippets(body.snippets);
    let engine = service.engine().clone();
    let found = match rerank {
        // It reads many documents, as long as the model takes them.
        Some(depth) => {
            let due = turns::due(depth * RERANKED);
            service.work_long(due, move || engine.search(&request)).await?
        }
        None => service.work(move || engine.search(&request)).await?,
    };
    let found = found.map_err(ApiError::of)?;
    Ok(Json(found))
}
