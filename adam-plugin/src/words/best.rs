//! One word and those searched in its place: a document scores as by the best of them.
//!
//! tantivy's `DisjunctionMaxQuery` says the same. Its scorer fills a window at every seek, which costs much where hybrid search asks for
//! the scores of chosen documents, and its explanation cannot say why a variant is there.

use tantivy::query::{EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError, Term};

/// What may be found in place of a word.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) query: Box<dyn Query>,
    /// Factor of its score.
    pub(crate) boost: Score,
    /// Added to its score: what puts documents with the word as typed before those with similar ones, whatever their length.
    pub(crate) bonus: Score,
    /// Why it is searched, for explanations; empty for the word itself.
    pub(crate) note: String,
}

impl Clone for Variant {
    fn clone(&self) -> Self {
        Self { query: self.query.box_clone(), boost: self.boost, bonus: self.bonus, note: self.note.clone() }
    }
}

impl Variant {
    /// The word itself.
    pub(crate) fn itself(query: Box<dyn Query>) -> Self {
        Self { query, boost: 1.0, bonus: 0.0, note: String::new() }
    }
}

/// Documents with any of the variants.
#[derive(Clone, Debug)]
pub(crate) struct BestQuery(Vec<Variant>);

impl BestQuery {
    /// A query for one variant or more.
    pub(crate) fn of(mut variants: Vec<Variant>) -> Box<dyn Query> {
        match variants.pop() {
            Some(only) if variants.is_empty() && only.note.is_empty() && only.boost == 1.0 => only.query,
            Some(last) => {
                variants.push(last);
                Box::new(Self(variants))
            }
            None => Box::new(tantivy::query::EmptyQuery),
        }
    }
}

impl Query for BestQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let weights = self.0.iter().map(|variant| {
            let Variant { query, boost, bonus, note } = variant;
            Ok(WeighedVariant { weight: query.weight(scoring)?, boost: *boost, bonus: *bonus, note: note.clone() })
        });
        Ok(Box::new(BestWeight(weights.collect::<tantivy::Result<_>>()?)))
    }

    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        self.0.iter().for_each(|variant| variant.query.query_terms(visitor));
    }
}

struct BestWeight(Vec<WeighedVariant>);

struct WeighedVariant {
    weight: Box<dyn Weight>,
    boost: Score,
    bonus: Score,
    note: String,
}

impl Weight for BestWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let mut scorers = Vec::with_capacity(self.0.len());
        for variant in &self.0 {
            let scorer = variant.weight.scorer(reader, boost * variant.boost)?;
            if scorer.doc() != TERMINATED {
                scorers.push((scorer, boost * variant.bonus));
            }
        }
        Ok(match scorers.pop() {
            None => Box::new(EmptyScorer),
            // The scorer of a term alone skips blocks of documents that cannot be among the best.
            Some((only, 0.0)) if scorers.is_empty() => only,
            Some(last) => {
                scorers.push(last);
                Box::new(BestScorer::new(scorers))
            }
        })
    }

    fn explain(&self, reader: &SegmentReader, document: DocId) -> tantivy::Result<Explanation> {
        let mut best: Option<Explanation> = None;
        for WeighedVariant { weight, boost, bonus, note } in &self.0 {
            let mut scorer = weight.scorer(reader, 1.0)?;
            let at = scorer.doc();
            if at > document || (at < document && scorer.seek(document) != document) {
                continue;
            }
            let inner = weight.explain(reader, document)?;
            let score = inner.value() * boost + bonus;
            if best.as_ref().is_some_and(|best| best.value() >= score) {
                continue;
            }
            best = Some(if note.is_empty() && *boost == 1.0 && *bonus == 0.0 {
                inner
            } else {
                let mut outer = Explanation::new_with_string(title(note, *boost, *bonus), score);
                outer.add_detail(inner);
                outer
            });
        }
        best.ok_or_else(|| TantivyError::InvalidArgument(format!("document #{document} does not match")))
    }
}

fn title(note: &str, boost: Score, bonus: Score) -> String {
    match bonus {
        0.0 => format!("{note}, times {boost:.3}"),
        bonus => format!("as typed, plus {bonus:.3}, the most of a similar word"),
    }
}

struct BestScorer {
    /// With what is added to the score of each.
    scorers: Vec<(Box<dyn Scorer>, Score)>,
    document: DocId,
}

impl BestScorer {
    fn new(scorers: Vec<(Box<dyn Scorer>, Score)>) -> Self {
        let mut best = Self { scorers, document: TERMINATED };
        best.settle();
        best
    }

    /// The first document that a scorer is at; scorers at their end are left behind.
    fn settle(&mut self) -> DocId {
        self.scorers.retain(|(scorer, _)| scorer.doc() != TERMINATED);
        self.document = self.scorers.iter().map(|(scorer, _)| scorer.doc()).min().unwrap_or(TERMINATED);
        self.document
    }
}

impl DocSet for BestScorer {
    fn advance(&mut self) -> DocId {
        for (scorer, _) in &mut self.scorers {
            if scorer.doc() == self.document {
                scorer.advance();
            }
        }
        self.settle()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        for (scorer, _) in &mut self.scorers {
            if scorer.doc() < target {
                scorer.seek(target);
            }
        }
        self.settle()
    }

    fn doc(&self) -> DocId {
        self.document
    }

    fn size_hint(&self) -> u32 {
        self.scorers.iter().map(|(scorer, _)| scorer.size_hint()).fold(0, u32::saturating_add)
    }
}

impl Scorer for BestScorer {
    fn score(&mut self) -> Score {
        let document = self.document;
        let here = self.scorers.iter_mut().filter(|(scorer, _)| scorer.doc() == document);
        here.map(|(scorer, bonus)| scorer.score() + *bonus).fold(0.0, Score::max)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use tantivy::collector::{Count, TopDocs};
    use tantivy::query::{BooleanQuery, TermQuery};
    use tantivy::schema::{IndexRecordOption, Schema, TEXT};
    use tantivy::{DocAddress, Index, IndexWriter, doc};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// A document scores as by the best of the variants that it has, whether read on, sought or explained.
        #[test]
        fn documents_score_as_by_their_best_variant(
            texts in prop::collection::vec("[a-f]( [a-f]){0,6}", 1..120),
            boosts in prop::collection::vec(0.1f32..2.0, 1..6),
        ) {
            let mut schema = Schema::builder();
            let text = schema.add_text_field("text", TEXT);
            let index = Index::create_in_ram(schema.build());
            let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
            for (at, words) in texts.iter().enumerate() {
                writer.add_document(doc!(text => words.as_str())).unwrap();
                if at % 50 == 49 {
                    writer.commit().unwrap();
                }
            }
            writer.commit().unwrap();
            let searcher = index.reader().unwrap().searcher();
            let term = |word: &str| -> Box<dyn Query> {
                Box::new(TermQuery::new(Term::from_field_text(text, word), IndexRecordOption::WithFreqs))
            };
            let all = |query: &dyn Query| -> HashMap<DocAddress, f32> {
                let hits = searcher.search(query, &TopDocs::with_limit(1000).order_by_score()).unwrap();
                hits.into_iter().map(|(score, address)| (address, score)).collect()
            };
            let names = ["a", "b", "c", "d", "e", "f"];
            let mut wanted: HashMap<DocAddress, f32> = HashMap::new();
            let mut variants = Vec::new();
            for (word, boost) in names.iter().zip(&boosts) {
                for (address, score) in all(term(word).as_ref()) {
                    let best = wanted.entry(address).or_default();
                    let bonus = if *word == "a" { 0.7 } else { 0.0 };
                    *best = best.max(score * boost + bonus);
                }
                let bonus = if *word == "a" { 0.7 } else { 0.0 };
                variants.push(Variant { query: term(word), boost: *boost, bonus, note: format!("`{word}`") });
            }
            let query = BestQuery::of(variants);
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-4 * b.abs().max(1.0);
            let found = all(query.as_ref());
            prop_assert_eq!(found.len(), wanted.len());
            prop_assert_eq!(searcher.search(query.as_ref(), &Count).unwrap(), wanted.len());
            for (address, score) in &found {
                prop_assert!(near(*score, wanted[address]));
                let explained = query.explain(&searcher, *address).unwrap();
                prop_assert!(near(explained.value(), *score));
            }
            // As part of an intersection it is sought.
            let both = all(&BooleanQuery::intersection(vec![query, term("f")]));
            for (address, score) in all(term("f").as_ref()) {
                match wanted.get(&address) {
                    Some(best) => prop_assert!(near(both[&address], best + score)),
                    None => prop_assert!(!both.contains_key(&address)),
                }
            }
        }
    }
}
