//! BM25 as a voice: the statistics of the data's passages, and a score for any text.

use crate::data::Passages;
use crate::error::TrainError;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};

/// English stemming, one of tantivy's own analysers: what the usual BM25 baselines use. The mining index has it too, so both rank alike.
pub(crate) const ANALYSER: &str = "en_stem";

/// tantivy's constants.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Terms and statistics of a collection.
pub(crate) struct Bm25 {
    analyser: TextAnalyzer,
    terms: HashMap<String, u32>,
    /// By term.
    idf: Vec<f64>,
    /// `starts[i]..starts[i + 1]` are the entries of passage `i`.
    starts: Vec<u64>,
    /// Term and frequency, by term within a passage.
    entries: Vec<(u32, u32)>,
    /// Tokens by passage.
    lengths: Vec<u32>,
    mean_length: f64,
}

/// A query's terms, each once.
pub(crate) struct Terms(Vec<u32>);

/// The passages of each term, to rank the whole collection.
pub(crate) struct Postings {
    /// `starts[t]..starts[t + 1]` are the entries of term `t`.
    starts: Vec<u64>,
    /// Passage and frequency.
    entries: Vec<(u32, u32)>,
}

impl Bm25 {
    /// Reads all passages once.
    ///
    /// # Errors
    /// When the analyser is not there.
    pub(crate) fn of(passages: &Passages) -> Result<Self, TrainError> {
        Self::of_texts(passages.len(), &|passage| passages.full_text(passage as u32).unwrap_or_default())
    }

    /// As [`Bm25::of`] for any texts.
    ///
    /// # Errors
    /// When the analyser is not there.
    pub(crate) fn of_texts(count: usize, text: &(dyn Fn(usize) -> String + Sync)) -> Result<Self, TrainError> {
        let analyser = TokenizerManager::default()
            .get(ANALYSER)
            .ok_or_else(|| TrainError::internal(format!("tantivy has no analyser `{ANALYSER}`")))?;
        let mut this = Self {
            analyser,
            terms: HashMap::new(),
            idf: Vec::new(),
            starts: vec![0],
            entries: Vec::new(),
            lengths: Vec::new(),
            mean_length: 0.0,
        };
        let mut found_in: Vec<u32> = Vec::new();
        // Bounded memory: the strings of one part at a time.
        const PART: usize = 8192;
        for start in (0..count).step_by(PART) {
            let part: Vec<(BTreeMap<String, u32>, u32)> = (start..(start + PART).min(count))
                .into_par_iter()
                .map_init(|| this.analyser.clone(), |analyser, passage| counted(analyser, &text(passage)))
                .collect();
            for (counts, length) in part {
                let first = this.entries.len();
                for (term, count) in counts {
                    let next = this.terms.len() as u32;
                    let number = *this.terms.entry(term).or_insert(next);
                    if number == next {
                        found_in.push(0);
                    }
                    found_in[number as usize] += 1;
                    this.entries.push((number, count));
                }
                this.entries[first..].sort_unstable();
                this.starts.push(this.entries.len() as u64);
                this.lengths.push(length);
            }
        }
        let count = count as f64;
        this.idf =
            found_in.iter().map(|&df| (1.0 + (count - f64::from(df) + 0.5) / (f64::from(df) + 0.5)).ln()).collect();
        this.mean_length = this.lengths.iter().map(|&l| f64::from(l)).sum::<f64>() / count.max(1.0);
        Ok(this)
    }

    /// The terms of a query that some passage has.
    pub(crate) fn terms(&self, query: &str) -> Terms {
        let mut analyser = self.analyser.clone();
        let mut stream = analyser.token_stream(query);
        let mut found = BTreeSet::new();
        while let Some(token) = stream.next() {
            found.extend(self.terms.get(&token.text));
        }
        Terms(found.into_iter().collect())
    }

    /// The score of a passage of the data.
    pub(crate) fn passage(&self, query: &Terms, passage: u32) -> f32 {
        let (Some(&start), Some(&end)) = (self.starts.get(passage as usize), self.starts.get(passage as usize + 1))
        else {
            return 0.0;
        };
        let entries = &self.entries[start as usize..end as usize];
        let length = self.lengths[passage as usize];
        let frequency = |term: u32| entries.binary_search_by_key(&term, |e| e.0).map_or(0, |at| entries[at].1);
        self.sum(query, length, &frequency)
    }

    /// The score of any text.
    pub(crate) fn text(&self, query: &Terms, text: &str) -> f32 {
        let (counts, length) = counted(&mut self.analyser.clone(), text);
        let by_number: HashMap<u32, u32> =
            counts.into_iter().filter_map(|(term, count)| Some((*self.terms.get(&term)?, count))).collect();
        self.sum(query, length, &|term| by_number.get(&term).copied().unwrap_or(0))
    }

    /// Turns the collection round.
    pub(crate) fn postings(&self) -> Postings {
        let mut starts = vec![0u64; self.idf.len() + 1];
        for (term, _) in &self.entries {
            starts[*term as usize + 1] += 1;
        }
        for term in 1..starts.len() {
            starts[term] += starts[term - 1];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0); self.entries.len()];
        for passage in 0..self.lengths.len() {
            for (term, count) in &self.entries[self.starts[passage] as usize..self.starts[passage + 1] as usize] {
                entries[next[*term as usize] as usize] = (passage as u32, *count);
                next[*term as usize] += 1;
            }
        }
        Postings { starts, entries }
    }

    /// The `depth` best passages, best first, ties by lower number. Passages without any of the terms are not ranked.
    pub(crate) fn top(&self, postings: &Postings, query: &Terms, depth: usize) -> Vec<(u32, f32)> {
        let found: BTreeSet<u32> = query
            .0
            .iter()
            .flat_map(|&term| {
                let (start, end) = (postings.starts[term as usize], postings.starts[term as usize + 1]);
                postings.entries[start as usize..end as usize].iter().map(|(passage, _)| *passage)
            })
            .collect();
        let mut ranked: Vec<(u32, f32)> = found.into_iter().map(|p| (p, self.passage(query, p))).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if ranked.len() > depth && depth > 0 {
            ranked.select_nth_unstable_by(depth - 1, order);
            ranked.truncate(depth);
        }
        ranked.sort_unstable_by(order);
        ranked
    }

    fn sum(&self, query: &Terms, length: u32, frequency: &dyn Fn(u32) -> u32) -> f32 {
        let norm = K1 * (1.0 - B + B * f64::from(length) / self.mean_length.max(1e-9));
        let of_term = |&term: &u32| {
            let frequency = f64::from(frequency(term));
            self.idf[term as usize] * (K1 + 1.0) * frequency / (frequency + norm)
        };
        query.0.iter().map(of_term).sum::<f64>() as f32
    }
}

/// The terms of a text with their frequencies, and its length in tokens.
fn counted(analyser: &mut TextAnalyzer, text: &str) -> (BTreeMap<String, u32>, u32) {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut length = 0;
    let mut stream = analyser.token_stream(text);
    while let Some(token) = stream.next() {
        length += 1;
        match counts.get_mut(&token.text) {
            Some(count) => *count += 1,
            None => drop(counts.insert(token.text.clone(), 1)),
        }
    }
    (counts, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tantivy::collector::TopDocs;
    use tantivy::query::QueryParser;
    use tantivy::schema::{FAST, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
    use tantivy::{Index, IndexWriter, TantivyDocument};

    fn passages(texts: &[&str]) -> Passages {
        Passages {
            ids: (0..texts.len()).map(|i| format!("p{i}")).collect(),
            titles: vec![String::new(); texts.len()],
            texts: texts.iter().map(|&t| t.to_owned()).collect(),
        }
    }

    /// Texts of fewer than 40 tokens: tantivy stores their lengths exactly.
    const TEXTS: [&str; 4] = [
        "crows bend wires into hooks",
        "a crow saw a crow that bent a hook for food",
        "aurora over the north pole",
        "iron, blood and the lack of it in pale skin",
    ];

    #[test]
    fn it_scores_as_tantivy_does() {
        let passages = passages(&TEXTS);
        let bm25 = Bm25::of(&passages).unwrap();
        let mut schema = Schema::builder();
        let indexing =
            TextFieldIndexing::default().set_tokenizer(ANALYSER).set_index_option(IndexRecordOption::WithFreqs);
        let text = schema.add_text_field("text", TextOptions::default().set_indexing_options(indexing));
        let number = schema.add_u64_field("number", FAST);
        let index = Index::create_in_ram(schema.build());
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        for (at, passage) in TEXTS.iter().enumerate() {
            let mut document = TantivyDocument::new();
            document.add_text(text, passage);
            document.add_u64(number, at as u64);
            writer.add_document(document).unwrap();
        }
        writer.commit().unwrap();
        let searcher = index.reader().unwrap().searcher();
        let mut order_of_crows = Vec::new();
        for query in ["crow hooks", "the pale aurora", "wires"] {
            let parsed = QueryParser::for_index(&index, vec![text]).parse_query(query).unwrap();
            let hits = searcher.search(&parsed, &TopDocs::with_limit(4).order_by_score()).unwrap();
            assert!(!hits.is_empty());
            let column = searcher.segment_reader(0).fast_fields().u64("number").unwrap();
            for (score, at) in hits {
                let passage = column.first(at.doc_id).unwrap() as u32;
                if query == "crow hooks" {
                    order_of_crows.push(passage);
                }
                let terms = bm25.terms(query);
                let ours = bm25.passage(&terms, passage);
                assert!((ours - score).abs() < 1e-4 * score, "{query}, passage {passage}: {ours}, tantivy {score}");
                // Any text, such as a dark example, is scored as a passage of that text.
                assert_eq!(ours, bm25.text(&terms, TEXTS[passage as usize]));
            }
        }
        let postings = bm25.postings();
        let top = bm25.top(&postings, &bm25.terms("crow hooks"), 5);
        assert_eq!(top.iter().map(|hit| hit.0).collect::<Vec<_>>(), order_of_crows);
        assert_eq!(bm25.top(&postings, &bm25.terms("crow hooks"), 1), top[..1]);
        assert_eq!(top[0].1, bm25.passage(&bm25.terms("crow hooks"), order_of_crows[0]));
        assert_eq!(bm25.passage(&bm25.terms("nothing of it here"), 2), 0.0);
        assert_eq!(bm25.text(&bm25.terms("crow"), ""), 0.0);
    }
}
