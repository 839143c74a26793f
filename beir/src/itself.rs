//! Queries that are documents of the corpus: a search by such a query finds itself, which says nothing about the system.

use std::collections::BTreeSet;

use crate::qrels::Qrels;
use crate::record::Document;

/// From this many words on, a query that stands within a document is that document.
const WORDS_WITHIN: usize = 8;

/// The queries that are documents of the corpus, as in BEIR's ArguAna: under the same id stands the same text.
///
/// That ids are equal proves nothing: where queries and documents are numbered in two series, as in Cranfield, query 12 has
/// nothing to do with document 12.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfHits {
    ids: BTreeSet<String>,
}

impl SelfHits {
    /// Finds them among queries, given as id and text. `document` gives the document of an id, where there is one.
    ///
    /// A query is the document if its text equals the document's title, text, or both together, or if it has at least eight
    /// words and stands within the document. Letters and digits are compared, without regard to case.
    pub fn find<'a>(
        queries: impl IntoIterator<Item = (&'a str, &'a str)>,
        mut document: impl FnMut(&str) -> Option<Document>,
    ) -> Self {
        let is_itself = |&(id, text): &(&str, &str)| document(id).is_some_and(|document| is_document(text, &document));
        Self { ids: queries.into_iter().filter(is_itself).map(|(id, _)| id.to_owned()).collect() }
    }

    /// Takes every one of these queries for the document of its id, unseen.
    pub fn all(ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { ids: ids.into_iter().map(Into::into).collect() }
    }

    /// How many queries are documents.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no query is a document.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether a hit is the query itself and does not count. A pair that is judged always counts.
    pub fn contains(&self, qrels: &Qrels, query: &str, document: &str) -> bool {
        query == document
            && self.ids.contains(query)
            && !qrels.get(query).is_some_and(|judged| judged.contains_key(document))
    }

    /// Takes the query itself out of its hits. Whether it was there.
    pub fn drop_from(&self, qrels: &Qrels, query: &str, hits: &mut Vec<(String, f64)>) -> bool {
        let before = hits.len();
        hits.retain(|(document, _)| !self.contains(qrels, query, document));
        hits.len() < before
    }
}

/// The words of a text, with one space on either side of each.
fn words(text: &str) -> String {
    let mut out = String::from(" ");
    for word in text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()) {
        out.extend(word.chars().flat_map(char::to_lowercase));
        out.push(' ');
    }
    out
}

fn is_document(query: &str, document: &Document) -> bool {
    let query = words(query);
    if query.trim().is_empty() {
        return false;
    }
    let (title, text) = (words(&document.title), words(&document.text));
    let whole = words(&document.full_text());
    query == title
        || query == text
        || query == whole
        || (query.split_whitespace().count() >= WORDS_WITHIN && whole.contains(&query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(title: &str, text: &str) -> Document {
        Document { id: "1".to_owned(), title: title.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_same_text_makes_a_query_a_document_and_the_same_id_does_not() {
        let wire = document("Crows", "Crows bend wire into hooks, and use them to get at food.");
        for query in [
            "crows",
            "crows bend wire into hooks and use them to get at food",
            "Crows Crows bend wire into hooks, and use them to get at food.",
            "bend wire into hooks, and use them to get",
        ] {
            assert!(is_document(query, &wire), "{query}");
        }
        for query in [
            "wire",
            "crows bend wire",
            "bend wire into hooks, and use them",
            "",
            "?",
            "end wire into hooks, and use them to get",
        ] {
            assert!(!is_document(query, &wire), "{query}");
        }
        assert!(!is_document("", &document("", "")));
    }

    #[test]
    fn a_judged_pair_is_never_dropped() {
        let qrels = Qrels::from_judgements([("1", "1", 0), ("2", "3", 1)]);
        let all = SelfHits::all(["1", "2"]);
        for (query, dropped) in [("1", false), ("2", true)] {
            let mut hits = vec![(query.to_owned(), 2.0), ("3".to_owned(), 1.0)];
            assert_eq!(all.drop_from(&qrels, query, &mut hits), dropped);
            assert_eq!(hits.len(), if dropped { 1 } else { 2 });
        }
        let found =
            SelfHits::find([("1", "a text"), ("2", "another")], |id| (id == "1").then(|| document("", "A text.")));
        assert_eq!((found.len(), found), (1, SelfHits::all(["1"])));
    }
}
