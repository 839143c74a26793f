//! The index that mining searches: every passage's text, its number, and its vector where vectors take part.

use super::MineConfig;
use super::vectors::{self, VectorSource};
use crate::data::Passages;
use crate::error::TrainError;
use crate::stages::voices::ANALYSER;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tantivy::collector::TopDocs;
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{DocAddress, Index, IndexWriter, Searcher, TantivyDocument, Term};
use tantivy_dense::{Dense, KnnQuery, VectorField, VectorOptions};

/// Passages whose vectors are in memory at a time.
const CHUNK: usize = 1024;
/// More different words than this a query need not have.
const MOST_TERMS: usize = 1024;
/// Names the corpus and the model that the index was made from; written last, so that a half-made index has none.
const KEY_FILE: &str = "mining-key.txt";

pub(super) struct MiningIndex {
    index: Index,
    searcher: Searcher,
    text: Field,
    dense: Option<(Dense, VectorField)>,
    addresses: Vec<DocAddress>,
    numbers: Vec<Vec<u32>>,
    folder: PathBuf,
}

impl MiningIndex {
    /// Opens the index in a folder if it was made from the same things, and makes it otherwise.
    pub(super) fn open_or_build(
        folder: &Path,
        key: &str,
        config: &MineConfig,
        passages: &Passages,
        vectors: Option<&mut (dyn VectorSource + '_)>,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, TrainError> {
        let finished = std::fs::read_to_string(folder.join(KEY_FILE)).is_ok_and(|known| known.trim() == key);
        if finished {
            match Self::open(folder, passages.len(), vectors.is_some()) {
                Ok(index) => return Ok(index),
                Err(e) => tracing::warn!("the mining index is made anew: {e}"),
            }
        }
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(|e| TrainError::io(folder, e))?;
        }
        std::fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, e))?;
        Self::build(folder, config, passages, vectors, stop, progress)?;
        let key_file = folder.join(KEY_FILE);
        std::fs::write(&key_file, key).map_err(|e| TrainError::io(&key_file, e))?;
        Self::open(folder, passages.len(), config.dense)
    }

    fn build(
        folder: &Path,
        config: &MineConfig,
        passages: &Passages,
        mut vectors: Option<&mut (dyn VectorSource + '_)>,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), TrainError> {
        let failed =
            |e: tantivy::TantivyError| TrainError::data(folder, format!("the mining index cannot be written: {e}"));
        let refused =
            |e: tantivy_dense::DenseError| TrainError::data(folder, format!("the mining index refuses a vector: {e}"));
        let mut schema = Schema::builder();
        let number = schema.add_u64_field("number", FAST);
        // Frequencies are all BM25 needs; positions would double the index.
        let indexing =
            TextFieldIndexing::default().set_tokenizer(ANALYSER).set_index_option(IndexRecordOption::WithFreqs);
        let text = schema.add_text_field("text", TextOptions::default().set_indexing_options(indexing));
        let field = match &vectors {
            // The inner product, whatever the student does about normalisation: it is what training compares.
            Some(source) => {
                let options = VectorOptions::dot(source.dimension()).int8_first_pass(true);
                Some(VectorField::add_to(&mut schema, "vector", options).map_err(refused)?)
            }
            None => None,
        };
        let (_dense, index) = Dense::create_in_dir(folder, schema.build()).map_err(refused)?;
        // One thread and no merging: the same passages always come out in the same order, so ties do too.
        let mut writer: IndexWriter = index.writer_with_num_threads(1, config.writer_mb << 20).map_err(failed)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let count = passages.len();
        for start in (0..count).step_by(CHUNK) {
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted);
            }
            let end = (start + CHUNK).min(count);
            let rows = match vectors.as_deref_mut() {
                Some(source) => {
                    vectors::checked(source.passages(start..end)?, end - start, source.dimension(), "passage")?
                }
                None => Vec::new(),
            };
            for passage in start..end {
                let mut document = TantivyDocument::new();
                document.add_u64(number, passage as u64);
                document.add_text(text, passages.full_text(passage as u32).unwrap_or_default());
                if let (Some(field), Some(row)) = (&field, rows.get(passage - start)) {
                    field.add(&mut document, row).map_err(refused)?;
                }
                writer.add_document(document).map_err(failed)?;
            }
            progress(end, count);
        }
        writer.commit().map_err(failed)?;
        writer.wait_merging_threads().map_err(failed)
    }

    fn open(folder: &Path, count: usize, with_vectors: bool) -> Result<Self, TrainError> {
        let failed =
            |e: tantivy::TantivyError| TrainError::data(folder, format!("the mining index cannot be read: {e}"));
        let refused =
            |e: tantivy_dense::DenseError| TrainError::data(folder, format!("the mining index cannot be read: {e}"));
        let (dense, index) = Dense::open(folder).map_err(refused)?;
        let reader = dense.reader(&index).map_err(refused)?;
        let searcher = reader.searcher();
        let text = index.schema().get_field("text").map_err(failed)?;
        let field = if with_vectors {
            Some(VectorField::from_schema(&index.schema(), "vector").map_err(refused)?)
        } else {
            None
        };
        let nowhere = DocAddress::new(u32::MAX, u32::MAX);
        let mut addresses = vec![nowhere; count];
        let mut numbers = Vec::new();
        for (segment, reader) in searcher.segment_readers().iter().enumerate() {
            let column = reader.fast_fields().u64("number").map_err(failed)?;
            let mut of_segment = Vec::with_capacity(reader.max_doc() as usize);
            for document in 0..reader.max_doc() {
                let number = column.first(document).unwrap_or(u64::MAX);
                if let Some(slot) = usize::try_from(number).ok().and_then(|n| addresses.get_mut(n)) {
                    *slot = DocAddress::new(segment as u32, document);
                }
                of_segment.push(u32::try_from(number).unwrap_or(u32::MAX));
            }
            numbers.push(of_segment);
        }
        if addresses.contains(&nowhere) {
            return Err(TrainError::data(folder, "the mining index does not hold every passage"));
        }
        Ok(Self {
            index,
            searcher,
            text,
            dense: field.map(|field| (dense, field)),
            addresses,
            numbers,
            folder: folder.to_owned(),
        })
    }

    fn failed(&self, e: impl std::fmt::Display) -> TrainError {
        TrainError::data(&self.folder, format!("the mining index cannot be searched: {e}"))
    }

    fn number(&self, address: DocAddress) -> Option<u32> {
        self.numbers.get(address.segment_ord as usize)?.get(address.doc_id as usize).copied()
    }

    /// Scores by passage, best first, ties by number.
    fn ranking(&self, hits: impl Iterator<Item = (f32, DocAddress)>) -> Vec<(u32, f32)> {
        let mut ranking: Vec<(u32, f32)> = hits.filter_map(|(score, at)| Some((self.number(at)?, score))).collect();
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranking
    }

    /// The best `depth` passages by BM25 over any of the query's words.
    pub(super) fn bm25(&self, query: &str, depth: usize) -> Result<Vec<(u32, f32)>, TrainError> {
        let mut analyser = self.index.tokenizer_for_field(self.text).map_err(|e| self.failed(e))?;
        let mut words = BTreeSet::new();
        let mut stream = analyser.token_stream(query);
        while words.len() < MOST_TERMS
            && let Some(token) = stream.next()
        {
            words.insert(token.text.clone());
        }
        let clauses: Vec<(Occur, Box<dyn Query>)> = words
            .iter()
            .map(|word| {
                let term = Term::from_field_text(self.text, word);
                let clause: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
                (Occur::Should, clause)
            })
            .collect();
        if clauses.is_empty() {
            return Ok(Vec::new());
        }
        let top = TopDocs::with_limit(depth.max(1)).order_by_score();
        let hits = self.searcher.search(&BooleanQuery::new(clauses), &top).map_err(|e| self.failed(e))?;
        Ok(self.ranking(hits.into_iter()))
    }

    /// The `depth` passages whose vectors have the largest inner product with the query's.
    pub(super) fn nearest(&self, vector: &[f32], depth: usize) -> Result<Vec<(u32, f32)>, TrainError> {
        let Some((dense, field)) = &self.dense else {
            return Ok(Vec::new());
        };
        let query = KnnQuery::new(dense, field.clone(), vector.to_vec(), depth).exact();
        let hits = query.search(&self.searcher).map_err(|e| self.failed(e))?;
        Ok(self.ranking(hits.into_iter().map(|hit| (hit.similarity, hit.address))))
    }

    /// The inner product of a vector and a passage's; nothing where vectors take no part.
    pub(super) fn similarity(&self, vector: &[f32], passage: u32) -> Result<Option<f32>, TrainError> {
        let (Some((dense, field)), Some(&address)) = (&self.dense, self.addresses.get(passage as usize)) else {
            return Ok(None);
        };
        let row = dense.vector(&self.searcher, field, address).map_err(|e| self.failed(e))?;
        Ok(row.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()))
    }
}
