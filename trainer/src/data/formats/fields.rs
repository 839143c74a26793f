//! What the fields of a training row are called, and what each name means.
//!
//! Names are compared in lower case, with `-` and spaces as `_`. A name that is not here is not read, and is counted.

/// What a field of a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The query; of several the lowest number counts.
    Query(usize),
    /// The first text of a pair of equals.
    First,
    /// The second text of a pair of equals: the passage.
    Second,
    /// A passage that the row calls relevant.
    Positive,
    /// A passage that the row calls not relevant.
    Negative,
    /// A passage of which a label says whether it is relevant; without one it is.
    Passage,
    /// The title of the passage.
    Title,
    /// Whether the passage is relevant, or how much.
    Label,
    /// How similar query and passage are, or what a teacher says of them.
    Score,
    /// A teacher's scores of the positives.
    PositiveScores,
    /// A teacher's scores of the negatives.
    NegativeScores,
    /// The query's id.
    QueryId,
    /// Nothing that is read.
    Unread,
}

/// Names of the query, first choice first.
pub(super) const QUERY: [&str; 4] = ["query", "anchor", "question", "query_text"];
const QUERY_ID: [&str; 2] = ["query_id", "qid"];
const FIRST: [&str; 8] = ["sentence1", "sentence_1", "sentence_a", "text1", "text_1", "text_a", "question1", "sent1"];
const SECOND: [&str; 8] = ["sentence2", "sentence_2", "sentence_b", "text2", "text_2", "text_b", "question2", "sent2"];
const PASSAGE: [&str; 14] = [
    "text",
    "texts",
    "passage",
    "passages",
    "document",
    "documents",
    "doc",
    "docs",
    "answer",
    "answers",
    "context",
    "contexts",
    "response",
    "candidates",
];
const LABEL: [&str; 15] = [
    "label",
    "labels",
    "relevance",
    "relevances",
    "relevance_label",
    "relevant",
    "rel",
    "grade",
    "grades",
    "judgement",
    "judgment",
    "is_relevant",
    "is_positive",
    "is_duplicate",
    "is_match",
];
const SCORE: [&str; 8] =
    ["score", "scores", "similarity", "similarities", "similarity_score", "sim", "relevance_score", "margin"];
/// Ends of names that speak of passages by something other than their text.
const NO_TEXT: [&str; 10] = ["id", "ids", "pid", "pids", "docid", "docids", "score", "scores", "title", "titles"];

/// The names as messages and the manual list them.
pub(super) const KNOWN: &str = "a query (`query`, `anchor`, `question` or `query_text`) with a positive (`positive`, `pos`) or a \
     passage (`text`, `passage`, `document`, `answer`, ...), or a pair (`sentence1` and `sentence2`, `text1` and `text2`, `question1` and \
     `question2`), with or without negatives (`negative`, `neg`, `hard_negatives`, `negative_1`, ...) and a `label` or `score`; \
     `adam-train formats` shows every form";

/// The name as it is compared.
fn normal(name: &str) -> String {
    name.trim().chars().map(|c| if matches!(c, '-' | ' ') { '_' } else { c }).collect::<String>().to_lowercase()
}

/// Whether a word is one of these, with a number behind it or without.
fn is_word(word: &str, words: &[&str]) -> bool {
    words.contains(&word.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// What a field of this name says.
pub(super) fn role(name: &str) -> Role {
    let name = normal(name);
    let is = |names: &[&str]| names.contains(&name.as_str());
    if let Some(place) = QUERY.iter().position(|known| *known == name) {
        return Role::Query(place);
    }
    for (names, role) in [
        (&QUERY_ID[..], Role::QueryId),
        (&FIRST[..], Role::First),
        (&SECOND[..], Role::Second),
        (&PASSAGE[..], Role::Passage),
        (&LABEL[..], Role::Label),
        (&SCORE[..], Role::Score),
        (&["title"][..], Role::Title),
    ] {
        if is(names) {
            return role;
        }
    }
    let words: Vec<&str> = name.split('_').collect();
    let negative = words.iter().any(|word| is_word(word, &["neg", "negs", "negative", "negatives", "hardneg"]));
    let positive = !negative && words.iter().any(|word| is_word(word, &["pos", "positive", "positives"]));
    // An ordinal may stand behind it: `negative_id_1`.
    let last = words.iter().rev().find(|word| word.parse::<u64>().is_err()).copied().unwrap_or_default();
    let last = last.trim_end_matches(|c: char| c.is_ascii_digit());
    match (positive, negative) {
        (true, _) if matches!(last, "score" | "scores") => Role::PositiveScores,
        (_, true) if matches!(last, "score" | "scores") => Role::NegativeScores,
        _ if NO_TEXT.contains(&last) => Role::Unread,
        (true, _) => Role::Positive,
        (_, true) => Role::Negative,
        _ => Role::Unread,
    }
}

/// Whether a field that is not read looks as if it said something about the row's passages.
pub(in crate::data) fn is_suspicious(name: &str) -> bool {
    const SIGNS: [&str; 12] =
        ["neg", "pos", "hard", "label", "score", "relev", "simil", "grade", "judg", "distract", "query", "passage"];
    let name = normal(name);
    SIGNS.iter().any(|sign| name.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are() {
        for (name, expected) in [
            ("query", Role::Query(0)),
            ("Anchor", Role::Query(1)),
            ("sentence1", Role::First),
            ("question2", Role::Second),
            ("positive", Role::Positive),
            ("pos", Role::Positive),
            ("positive_passage", Role::Positive),
            ("positive-1", Role::Positive),
            ("negative", Role::Negative),
            ("neg_0", Role::Negative),
            ("negative_7", Role::Negative),
            ("negative7", Role::Negative),
            ("hard_negatives", Role::Negative),
            ("hard_neg", Role::Negative),
            ("bm25-negatives", Role::Negative),
            ("hardneg", Role::Negative),
            ("negative_id", Role::Unread),
            ("negative_ids", Role::Unread),
            ("negative_id_1", Role::Unread),
            ("neg_scores", Role::NegativeScores),
            ("pos_score", Role::PositiveScores),
            ("is_positive", Role::Label),
            ("position", Role::Unread),
            ("post", Role::Unread),
            ("clicked", Role::Unread),
            ("text", Role::Passage),
            ("similarity", Role::Score),
            ("is_duplicate", Role::Label),
            ("qid", Role::QueryId),
            ("_id", Role::Unread),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
        assert!(is_suspicious("negative_ids") && is_suspicious("hard_examples") && !is_suspicious("source"));
    }
}
