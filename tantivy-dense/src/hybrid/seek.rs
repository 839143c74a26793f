//! Scores of chosen documents by a text query.
//!
//! tantivy's scorer of a union fills a window of some thousand documents at every seek, which is right for reading on and
//! costs as much as scoring the whole segment when a few hundred documents are picked all over it. The clauses' own scorers
//! skip, so a boolean query is taken apart, every clause is asked alone, and what they say is put together as tantivy does.

use tantivy::query::{AllScorer, BooleanQuery, EnableScoring, Occur, Query, Scorer};
use tantivy::{DocAddress, DocId, Searcher, TERMINATED};

use crate::DenseError;

/// Scores of documents, which come in the order of their addresses; none for those that do not match.
pub(super) fn scores(
    query: &dyn Query,
    searcher: &Searcher,
    scoring: EnableScoring<'_>,
    documents: &[DocAddress],
) -> Result<Vec<Option<f32>>, DenseError> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    match by_clause(query, searcher, scoring, documents)? {
        Some(scores) => Ok(scores),
        None => whole(query, searcher, scoring, documents, false).map(Option::unwrap_or_default),
    }
}

/// By the clauses of a boolean query; none where that might not give what tantivy gives.
fn by_clause(
    query: &dyn Query,
    searcher: &Searcher,
    scoring: EnableScoring<'_>,
    documents: &[DocAddress],
) -> Result<Option<Vec<Option<f32>>>, DenseError> {
    let Some(boolean) = query.downcast_ref::<BooleanQuery>() else {
        return whole(query, searcher, scoring, documents, true);
    };
    let mut sums = vec![0.0; documents.len()];
    let mut optional = vec![0usize; documents.len()];
    let mut required = vec![true; documents.len()];
    for (occur, clause) in boolean.clauses() {
        // What excludes is as well left to tantivy: it is rare, and needs no score.
        if *occur == Occur::MustNot {
            return Ok(None);
        }
        let Some(found) = by_clause(clause.as_ref(), searcher, scoring, documents)? else { return Ok(None) };
        for (at, score) in found.into_iter().enumerate() {
            sums[at] += score.unwrap_or(0.0);
            match occur {
                Occur::Should => optional[at] += usize::from(score.is_some()),
                _ => required[at] &= score.is_some(),
            }
        }
    }
    let needs_any = boolean.clauses().iter().all(|(occur, _)| *occur == Occur::Should);
    let least = boolean.get_minimum_number_should_match().max(usize::from(needs_any));
    let matches = |at: usize| required[at] && optional[at] >= least;
    Ok(Some(sums.iter().enumerate().map(|(at, &sum)| matches(at).then_some(sum)).collect()))
}

/// By one scorer for each segment. `part` says that the query is a clause: then none for one that matches every document,
/// which tantivy leaves out of the sum beside others.
fn whole(
    query: &dyn Query,
    searcher: &Searcher,
    scoring: EnableScoring<'_>,
    documents: &[DocAddress],
    part: bool,
) -> Result<Option<Vec<Option<f32>>>, DenseError> {
    let weight = query.weight(scoring)?;
    let mut scores = Vec::with_capacity(documents.len());
    for segment in documents.chunk_by(|a, b| a.segment_ord == b.segment_ord) {
        let reader = searcher.segment_reader(segment[0].segment_ord);
        let mut scorer = weight.scorer(reader, 1.0)?;
        if part && scorer.is::<AllScorer>() {
            return Ok(None);
        }
        for document in segment {
            let found = reaches(scorer.as_mut(), document.doc_id);
            scores.push(found.then(|| scorer.score()));
        }
    }
    Ok(Some(scores))
}

/// Whether documents, which come in the order of their addresses, match a query.
pub(super) fn matches(
    query: &dyn Query,
    searcher: &Searcher,
    documents: &[DocAddress],
) -> Result<Vec<bool>, DenseError> {
    let mut matches = Vec::with_capacity(documents.len());
    if documents.is_empty() {
        return Ok(matches);
    }
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
    for segment in documents.chunk_by(|a, b| a.segment_ord == b.segment_ord) {
        let mut scorer = weight.scorer(searcher.segment_reader(segment[0].segment_ord), 1.0)?;
        matches.extend(segment.iter().map(|document| reaches(scorer.as_mut(), document.doc_id)));
    }
    Ok(matches)
}

/// Moves a scorer on to a document, if it is not beyond it; whether the document matches.
fn reaches(scorer: &mut dyn Scorer, document: DocId) -> bool {
    let mut at = scorer.doc();
    if at < document {
        at = scorer.seek(document);
    }
    at == document && at != TERMINATED
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use tantivy::query::{AllQuery, BoostQuery, ConstScoreQuery, TermQuery};
    use tantivy::schema::{Field, IndexRecordOption, Schema, TEXT};
    use tantivy::{Index, IndexWriter, TantivyDocument, Term};

    use super::*;

    /// Three segments of documents of a few words out of twelve.
    fn index() -> (Index, Field) {
        let mut schema = Schema::builder();
        let text = schema.add_text_field("text", TEXT);
        let index = Index::create_in_ram(schema.build());
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
        let mut random = ChaCha8Rng::seed_from_u64(3);
        for number in 0..9_000 {
            let mut document = TantivyDocument::new();
            let words: Vec<String> =
                (0..random.random_range(1..9)).map(|_| format!("w{}", random.random_range(0..12))).collect();
            document.add_text(text, words.join(" "));
            writer.add_document(document).unwrap();
            if number % 3_000 == 2_999 {
                writer.commit().unwrap();
            }
        }
        (index, text)
    }

    fn query(random: &mut ChaCha8Rng, text: Field, depth: usize) -> Box<dyn Query> {
        let kind = random.random_range(0..if depth == 0 { 12 } else { 20 });
        let term = Term::from_field_text(text, &format!("w{}", random.random_range(0..14)));
        match kind {
            0 => Box::new(AllQuery),
            1 => Box::new(ConstScoreQuery::new(Box::new(AllQuery), 0.5)),
            2 => Box::new(BoostQuery::new(Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)), 2.5)),
            3..12 => Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)),
            _ => {
                let clauses: Vec<_> = (0..random.random_range(1..5))
                    .map(|_| {
                        let occur = match random.random_range(0..8) {
                            0 => Occur::MustNot,
                            1 | 2 => Occur::Must,
                            _ => Occur::Should,
                        };
                        (occur, query(random, text, depth - 1))
                    })
                    .collect();
                let mut boolean = BooleanQuery::new(clauses);
                if random.random_range(0..4) == 0 {
                    boolean.set_minimum_number_should_match(random.random_range(0..3));
                }
                Box::new(boolean)
            }
        }
    }

    /// Whatever the query: what its clauses say together is what tantivy says of the whole.
    #[test]
    fn clauses_together_score_as_the_whole_query() {
        let (index, text) = index();
        let searcher = index.reader().unwrap().searcher();
        let scoring = EnableScoring::enabled_from_searcher(&searcher);
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let mut apart = 0;
        for _ in 0..600 {
            let query = query(&mut random, text, 2);
            let mut documents: Vec<DocAddress> =
                (0..60).map(|_| DocAddress::new(random.random_range(0..3), random.random_range(0..3_000))).collect();
            documents.sort_unstable();
            documents.dedup();
            let Some(clauses) = by_clause(query.as_ref(), &searcher, scoring, &documents).unwrap() else { continue };
            apart += 1;
            let whole = whole(query.as_ref(), &searcher, scoring, &documents, false).unwrap().unwrap();
            for (clauses, whole) in clauses.into_iter().zip(whole) {
                match (clauses, whole) {
                    (Some(a), Some(b)) => assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} {b} {query:?}"),
                    (a, b) => assert_eq!(a, b, "{query:?}"),
                }
            }
        }
        assert!(apart > 200, "{apart} queries of 600 were taken apart");
    }
}
