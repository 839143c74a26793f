//! Mining: for each training query the passages that look relevant and are not known to be.
//!
//! Two arms rank the whole corpus, BM25 by tantivy and the warmed-up student's vectors by tantivy-dense. Known positives and
//! passages of the same text leave the rankings, a window of ranks is cut out of each, the union is compared with the
//! positive to leave out likely positives nobody labelled, and the rest goes to a file query by query.
//!
//! The vectors of the collection are in memory, 1.5 KB a passage for 384 values; texts go to the index in chunks, queries are searched
//! in chunks, and candidates are written as they come. A run that is stopped goes on where it was.

mod index;
mod mined_file;
#[cfg(test)]
mod tests;
mod vectors;

pub use crate::config::{MineConfig, MineOrder};
pub use mined_file::{MinedFile, MinedState, read};
pub use vectors::{VectorSource, VectorTable};

use crate::adam::fusion::Fusion;
use crate::data::{Passages, TrainQuery};
use crate::error::TrainError;
use index::MiningIndex;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The share of the similarity in the fused order.
const DENSE_SHARE: f64 = 0.7;

/// A mined passage of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct MinedCandidate {
    /// The passage's number.
    pub passage: u32,
    /// Its rank and score by BM25, when it lay in that window.
    pub bm25: Option<(u32, f32)>,
    /// Its rank by vectors, when it lay in that window.
    pub dense_rank: Option<u32>,
    /// The similarity of its vector and the query's, when vectors took part.
    pub similarity: Option<f32>,
}

/// What was mined for one query: candidates by their better rank.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MinedQuery {
    /// The query's id.
    pub query: String,
    /// The candidates.
    pub candidates: Vec<MinedCandidate>,
    /// The similarity of the best positive, when vectors took part.
    pub positive_similarity: Option<f32>,
    /// What was left out.
    pub removed: Removed,
}

/// Passages that were left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Known positives.
    pub positive: u32,
    /// Passages with the text of a positive, of the query, or of a candidate before.
    pub identical: u32,
    /// Too near to the positive (`margin`, `relative_ceiling`).
    pub margin: u32,
    /// Too similar to the query (`ceiling`).
    pub ceiling: u32,
}

/// Tells the outside how far mining is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MineProgress {
    /// Passages indexed, of how many.
    Index(usize, usize),
    /// Queries searched, of how many.
    Search(usize, usize),
}

/// What surrounds a run of mining.
pub struct Surroundings<'a> {
    /// The folder of the index and the file `mined.jsonl`.
    pub folder: &'a Path,
    /// When it becomes true, mining stops after the current chunk and can be resumed.
    pub stop: &'a AtomicBool,
    /// Hears how far it is.
    pub progress: &'a mut dyn FnMut(MineProgress),
}

/// Mines candidates for all queries into `mined.jsonl` in the folder; what an earlier run finished is not done again.
/// `vectors` may be absent when `dense` is off.
///
/// # Errors
/// Wrong settings, an index or file that cannot be written, vectors of the wrong shape, or [`TrainError`] for a stop.
pub fn mine(
    config: &MineConfig,
    passages: &Passages,
    queries: &[TrainQuery],
    mut vectors: Option<&mut dyn VectorSource>,
    around: &mut Surroundings<'_>,
) -> Result<MinedFile, TrainError> {
    if let Some(problem) = config.problem() {
        return Err(TrainError::config(format!("[mine] {problem}")));
    }
    if config.dense && vectors.is_none() {
        return Err(TrainError::internal("[mine] `dense = true` needs the student's vectors"));
    }
    if !config.dense {
        vectors = None;
    }
    let model = vectors.as_ref().map_or("", |v| v.fingerprint()).to_owned();
    let texts = TextHashes::of(passages);
    let corpus_key = corpus_key(config, &texts, &model);
    let key = product_key(config, &corpus_key, queries);
    let path = around.folder.join("mined.jsonl");
    let mut file = MinedFile::open(&path, &key, queries, passages)?;
    if file.done() == queries.len() {
        file.finish()?;
        return Ok(file);
    }

    let index = MiningIndex::open_or_build(
        &around.folder.join("index"),
        &corpus_key,
        config,
        passages,
        vectors.as_deref_mut(),
        around.stop,
        &mut |done, all| (around.progress)(MineProgress::Index(done, all)),
    )?;
    (around.progress)(MineProgress::Search(file.done(), queries.len()));
    while file.done() < queries.len() {
        if around.stop.load(Ordering::Relaxed) {
            file.flush()?;
            return Err(TrainError::Interrupted);
        }
        let start = file.done();
        let end = (start + config.chunk).min(queries.len());
        let query_vectors = match vectors.as_deref_mut() {
            Some(source) => vectors::checked(source.queries(start..end)?, end - start, source.dimension(), "query")?,
            None => Vec::new(),
        };
        let mined: Vec<MinedQuery> = queries[start..end]
            .par_iter()
            .enumerate()
            .map(|(place, query)| search(config, &index, &texts, query, query_vectors.get(place)))
            .collect::<Result<_, TrainError>>()?;
        for query in &mined {
            file.append(query, passages)?;
        }
        file.flush()?;
        (around.progress)(MineProgress::Search(end, queries.len()));
    }
    file.finish()?;
    Ok(file)
}

fn search(
    config: &MineConfig,
    index: &MiningIndex,
    texts: &TextHashes,
    query: &TrainQuery,
    vector: Option<&Vec<f32>>,
) -> Result<MinedQuery, TrainError> {
    // Positives and passages of equal text leave the ranking, so that many more are asked for.
    let depth = config.to_rank + query.positives.len() + 32;
    let bm25 = if config.bm25 { index.bm25(&query.text, depth)? } else { Vec::new() };
    let dense = match vector {
        Some(vector) => index.nearest(vector, depth)?,
        None => Vec::new(),
    };
    // Complete the matrix: BM25's finds have a similarity too.
    let mut similarity: HashMap<u32, f32> = dense.iter().copied().collect();
    let mut best_positive: Option<f32> = None;
    if let Some(vector) = vector {
        let others = bm25.iter().map(|(passage, _)| passage).chain(&query.positives);
        for &passage in others {
            if let std::collections::hash_map::Entry::Vacant(slot) = similarity.entry(passage)
                && let Some(value) = index.similarity(vector, passage)?
            {
                slot.insert(value);
            }
        }
        let positives = query.positives.iter().filter_map(|passage| similarity.get(passage));
        best_positive = positives.copied().reduce(f32::max);
    }
    let (candidates, removed) = choose(config, query, texts, &bm25, &dense, &similarity, best_positive);
    Ok(MinedQuery { query: query.id.clone(), candidates, positive_similarity: best_positive, removed })
}

/// Merges the arms' rankings (best first) and leaves out what must not be a negative. Pure.
fn choose(
    config: &MineConfig,
    query: &TrainQuery,
    texts: &TextHashes,
    bm25: &[(u32, f32)],
    dense: &[(u32, f32)],
    similarity: &HashMap<u32, f32>,
    best_positive: Option<f32>,
) -> (Vec<MinedCandidate>, Removed) {
    let positives: HashSet<u32> = query.positives.iter().copied().collect();
    let mut taken: HashSet<TextHash> = positives.iter().filter_map(|&p| texts.get(p)).collect();
    taken.insert(text_hash(&query.text));
    let mut out: HashMap<u32, Reason> = HashMap::new();
    let mut union: HashMap<u32, MinedCandidate> = HashMap::new();
    let window = |ranking: &[(u32, f32)], out: &mut HashMap<u32, Reason>| -> Vec<(u32, u32, f32)> {
        let mut kept = Vec::new();
        let mut seen: HashSet<TextHash> = HashSet::new();
        let mut rank = 0usize;
        for &(passage, score) in ranking {
            let text = texts.get(passage);
            if positives.contains(&passage) {
                out.insert(passage, Reason::Positive);
            } else if text.is_none_or(|t| taken.contains(&t) || !seen.insert(t)) {
                out.insert(passage, Reason::Identical);
            } else {
                rank += 1;
                if rank > config.to_rank {
                    break;
                }
                if rank >= config.from_rank {
                    kept.push((passage, rank as u32, score));
                }
            }
        }
        kept
    };
    let empty = |passage: u32| MinedCandidate {
        passage,
        bm25: None,
        dense_rank: None,
        similarity: similarity.get(&passage).copied(),
    };
    for (passage, rank, score) in window(bm25, &mut out) {
        union.entry(passage).or_insert_with(|| empty(passage)).bm25 = Some((rank, score));
    }
    for (passage, rank, _) in window(dense, &mut out) {
        union.entry(passage).or_insert_with(|| empty(passage)).dense_rank = Some(rank);
    }
    let mut candidates: Vec<MinedCandidate> = union.into_values().collect();
    // The better of the two ranks decides, then the student's rank, then the number.
    candidates.sort_by_key(|c| {
        let dense = c.dense_rank.unwrap_or(u32::MAX);
        let bm25 = c.bm25.map_or(u32::MAX, |(rank, _)| rank);
        (dense.min(bm25), dense, c.passage)
    });
    let mut seen: HashSet<TextHash> = HashSet::new();
    candidates.retain(|candidate| {
        let reason = if texts.get(candidate.passage).is_none_or(|t| !seen.insert(t)) {
            Some(Reason::Identical)
        } else {
            too_similar(config, candidate.similarity, best_positive)
        };
        match reason {
            Some(reason) => {
                out.insert(candidate.passage, reason);
                false
            }
            None => true,
        }
    });
    if config.order == MineOrder::Fused {
        sort_fused(&mut candidates);
    }
    candidates.truncate(config.keep);
    let mut removed = Removed::default();
    for reason in out.values() {
        match reason {
            Reason::Positive => removed.positive += 1,
            Reason::Identical => removed.identical += 1,
            Reason::Margin => removed.margin += 1,
            Reason::Ceiling => removed.ceiling += 1,
        }
    }
    (candidates, removed)
}

/// Sorts by the fused score. A candidate that BM25 did not rank gets the least that it gave to any.
fn sort_fused(candidates: &mut Vec<MinedCandidate>) {
    let found = candidates.iter().filter_map(|c| c.bm25.map(|(_, score)| score));
    let least = found.fold(f32::INFINITY, f32::min);
    let bm25: Vec<f32> = candidates
        .iter()
        .map(|c| c.bm25.map_or(if least.is_finite() { least } else { 0.0 }, |(_, score)| score))
        .collect();
    let similarity: Vec<f32> = candidates.iter().map(|c| c.similarity.unwrap_or_default()).collect();
    let fusion = Fusion { weights: vec![DENSE_SHARE, 1.0 - DENSE_SHARE], temperature: 1.0 };
    let scores = fusion.fuse(&[similarity, bm25]);
    let mut scored: Vec<(f32, MinedCandidate)> = scores.into_iter().zip(candidates.drain(..)).collect();
    // Equal scores keep the order of ranks.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    candidates.extend(scored.into_iter().map(|(_, candidate)| candidate));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Positive,
    Identical,
    Margin,
    Ceiling,
}

fn too_similar(config: &MineConfig, similarity: Option<f32>, best_positive: Option<f32>) -> Option<Reason> {
    let similarity = similarity?;
    if config.ceiling.is_some_and(|ceiling| similarity > ceiling) {
        return Some(Reason::Ceiling);
    }
    let positive = best_positive?;
    if config.margin.is_some_and(|margin| similarity > positive - margin) {
        return Some(Reason::Margin);
    }
    // A share of a similarity below zero would let everything above it through the wrong way round.
    let share = config.relative_ceiling.filter(|_| positive > 0.0);
    share.is_some_and(|share| similarity > share * positive).then_some(Reason::Margin)
}

type TextHash = u128;

/// The text as compared: case, and white space between words, make no difference.
fn text_hash(text: &str) -> TextHash {
    let mut hash = Sha256::new();
    for word in text.split_whitespace() {
        hash.update(word.to_lowercase().as_bytes());
        hash.update(b" ");
    }
    let full: [u8; 32] = hash.finalize().into();
    full[..16].iter().fold(0, |sum, &byte| sum << 8 | u128::from(byte))
}

/// A hash of every passage's text: 16 bytes a passage instead of comparing texts.
struct TextHashes(Vec<TextHash>);

impl TextHashes {
    fn of(passages: &Passages) -> Self {
        let hash = |i: usize| text_hash(&passages.full_text(i as u32).unwrap_or_default());
        Self((0..passages.len()).into_par_iter().map(hash).collect())
    }

    fn get(&self, passage: u32) -> Option<TextHash> {
        self.0.get(passage as usize).copied()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What the index depends on.
fn corpus_key(config: &MineConfig, texts: &TextHashes, model: &str) -> String {
    let mut hash = Sha256::new();
    hash.update([1, u8::from(config.dense)]);
    hash.update((model.len() as u64).to_le_bytes());
    hash.update(model.as_bytes());
    for text in &texts.0 {
        hash.update(text.to_le_bytes());
    }
    hex(&hash.finalize())
}

/// What the file depends on: the index, the settings that choose, the queries and their positives.
fn product_key(config: &MineConfig, corpus_key: &str, queries: &[TrainQuery]) -> String {
    let mut hash = Sha256::new();
    hash.update(corpus_key.as_bytes());
    let choice = MineConfig { writer_mb: 0, chunk: 0, ..config.clone() };
    hash.update(format!("{choice:?}").as_bytes());
    for query in queries {
        for part in [&query.id, &query.text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update((query.positives.len() as u64).to_le_bytes());
        for positive in &query.positives {
            hash.update(positive.to_le_bytes());
        }
    }
    hex(&hash.finalize())
}
