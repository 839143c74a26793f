//! Training queries that nobody labelled: made from passages, read from a query log or from clicks.

use super::files::{Flow, for_each_line, for_each_row};
use super::{Limits, Origin, Passages};
use crate::adam::random::KeyedRandom;
use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// What queries are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuerySource {
    /// A passage's title; the passage is then read without it in half the cases.
    Titles,
    /// The first line of a text, where it is short and followed by others.
    Headings,
    /// A sentence of the text; it is taken out of the passage in half the cases.
    Sentences,
}

/// A query with the passages that are held to be relevant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MadeQuery {
    pub(crate) text: String,
    /// None for a query of a log.
    pub(crate) passages: Vec<u32>,
    pub(crate) origin: Origin,
    /// How the passage is read with this query, where a part of it is taken out.
    pub(crate) without: Option<String>,
}

/// Fewest and most words of a query that is made.
const WORDS: std::ops::RangeInclusive<usize> = 4..=40;
/// Most words of a heading.
const HEADING: usize = 12;

/// Case and white space make no difference.
pub(crate) fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Makes at most `most` queries from passages, spread over them; the same ones each time.
pub(crate) fn from_passages(passages: &Passages, sources: &[QuerySource], most: usize, seed: u64) -> Vec<MadeQuery> {
    let mut order: Vec<usize> = (0..passages.len()).collect();
    KeyedRandom::new("made-queries", seed, &[]).shuffle(&mut order);
    let mut made = Vec::new();
    // One of each passage first, in turns of the sources; then another of each, until there are enough.
    for turn in 0..sources.len() {
        for (at, &passage) in order.iter().enumerate() {
            if made.len() >= most {
                return made;
            }
            let source = sources[(at + turn) % sources.len()];
            made.extend(from_passage(passages, passage, source, seed));
        }
    }
    made
}

fn from_passage(passages: &Passages, passage: usize, source: QuerySource, seed: u64) -> Option<MadeQuery> {
    let (title, text) = (passages.titles[passage].trim(), passages.texts[passage].trim());
    let mut random = KeyedRandom::new("made-query", seed, &[passages.ids[passage].as_bytes(), &[source as u8]]);
    let takes_out = random.chance(0.5);
    let (query, rest) = match source {
        QuerySource::Titles => (title.to_owned(), text.to_owned()),
        QuerySource::Headings => {
            let (first, rest) = text.split_once('\n')?;
            if first.split_whitespace().count() > HEADING || rest.trim().is_empty() {
                return None;
            }
            (first.trim().to_owned(), format!("{title} {}", rest.trim()))
        }
        QuerySource::Sentences => {
            let sentences: Vec<&str> = sentences(text);
            if sentences.len() < 2 {
                return None;
            }
            let at = random.below(sentences.len());
            let rest: Vec<&str> = sentences.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, s)| *s).collect();
            (sentences[at].to_owned(), format!("{title} {}", rest.join(" ")))
        }
    };
    let words = query.split_whitespace().count();
    let least = if source == QuerySource::Sentences { *WORDS.start() } else { 2 };
    if words < least || words > *WORDS.end() || rest.trim().is_empty() {
        return None;
    }
    Some(MadeQuery {
        text: query,
        passages: vec![passage as u32],
        origin: Origin::Made,
        without: takes_out.then(|| rest.trim().to_owned()),
    })
}

/// Cuts a text after `.`, `!` and `?` that white space and an upper-case letter, a digit or a quotation mark follow, and at line ends.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let end = at + character.len_utf8();
        let is_end = match character {
            '\n' | '。' | '！' | '？' => true,
            '.' | '!' | '?' => {
                let mut rest = text[end..].chars();
                rest.next().is_some_and(char::is_whitespace)
                    && rest.find(|c| !c.is_whitespace()).is_some_and(|c| !c.is_lowercase())
            }
            _ => false,
        };
        if is_end || characters.peek().is_none() {
            let sentence = text[start..end].trim();
            if !sentence.is_empty() {
                found.push(sentence);
            }
            start = end;
        }
    }
    found
}

/// Questions that were made elsewhere: rows `{"query", "passage"}` with the passage's id.
///
/// # Errors
/// When the file cannot be read, or a row lacks a field or names a passage that is not there: with its line.
pub(crate) fn from_file(path: &Path, passages: &Passages, limits: &Limits) -> Result<Vec<MadeQuery>, TrainError> {
    let numbers = numbers(passages);
    let mut made = Vec::new();
    for_each_row(path, limits, &mut |file, line, row| {
        let wrong = |problem: String| TrainError::row(file, line, problem);
        let row = row.map_err(&wrong)?;
        let text = row.text(&["query", "question", "text"]).map_err(&wrong)?;
        let text = text.ok_or_else(|| wrong(format!("has no `query`; its fields are: {}", row.names())))?;
        let id = row.id(&["passage", "passage_id", "document", "docid", "corpus-id"]).map_err(&wrong)?;
        let id = id.ok_or_else(|| wrong(format!("has no `passage`; its fields are: {}", row.names())))?;
        let passage = *numbers
            .get(id.as_str())
            .ok_or_else(|| wrong(format!("names the passage `{id}`, which is not in the data")))?;
        let text = text.trim().to_owned();
        if !text.is_empty() {
            made.push(MadeQuery { text, passages: vec![passage], origin: Origin::Made, without: None });
        }
        Ok(Flow::Next)
    })?;
    Ok(made)
}

fn numbers(passages: &Passages) -> HashMap<&str, u32> {
    passages.ids.iter().enumerate().map(|(number, id)| (id.as_str(), number as u32)).collect()
}

/// A query log: one query a line, then a tab and a count if there is one. The most frequent first; equal queries count together.
///
/// # Errors
/// When the file cannot be read, or a count is no whole number: with its line.
pub(crate) fn from_log(path: &Path, limits: &Limits) -> Result<Vec<MadeQuery>, TrainError> {
    let mut counts: HashMap<String, (u64, usize, String)> = HashMap::new();
    for_each_line(path, limits, &mut |line, text| {
        let wrong = |problem: String| TrainError::row(path, line, problem);
        let text = text.map_err(&wrong)?;
        let (query, count) = match text.split_once('\t') {
            Some((query, count)) => {
                let parsed = count.trim().parse::<u64>();
                (
                    query,
                    parsed.map_err(|_| {
                        wrong(format!("a query log is QUERY, or QUERY, tab, COUNT; `{count}` is no count"))
                    })?,
                )
            }
            None => (text, 1),
        };
        if !query.trim().is_empty() {
            let place = counts.len();
            let entry = counts.entry(normal(query)).or_insert_with(|| (0, place, query.trim().to_owned()));
            entry.0 += count;
        }
        Ok(Flow::Next)
    })?;
    let mut queries: Vec<(u64, usize, String)> = counts.into_values().collect();
    queries.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let made = |(_, _, text)| MadeQuery { text, passages: Vec::new(), origin: Origin::Log, without: None };
    Ok(queries.into_iter().map(made).collect())
}

/// Clicks: query, document id and count a line, with tabs between. A document counts as relevant where it has at least half as many
/// clicks as the query's most clicked one.
///
/// # Errors
/// When the file cannot be read, or a line is no click or names a document that is not there: with its line.
pub(crate) fn from_clicks(path: &Path, passages: &Passages, limits: &Limits) -> Result<Vec<MadeQuery>, TrainError> {
    let numbers = numbers(passages);
    let mut order: Vec<String> = Vec::new();
    let mut clicks: HashMap<String, (String, HashMap<u32, u64>)> = HashMap::new();
    for_each_line(path, limits, &mut |line, text| {
        let wrong = |problem: String| TrainError::row(path, line, problem);
        let text = text.map_err(&wrong)?;
        let parts: Vec<&str> = text.split('\t').collect();
        let [query, id, count] = parts[..] else {
            return Err(wrong(format!(
                "a click is QUERY, tab, DOCUMENT, tab, COUNT; this line has {} columns",
                parts.len()
            )));
        };
        let count: u64 = count.trim().parse().map_err(|_| wrong(format!("`{count}` is no count")))?;
        let passage = *numbers
            .get(id.trim())
            .ok_or_else(|| wrong(format!("names the document `{}`, which is not in the data", id.trim())))?;
        if !query.trim().is_empty() {
            let key = normal(query);
            let entry = clicks.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                (query.trim().to_owned(), HashMap::new())
            });
            *entry.1.entry(passage).or_default() += count;
        }
        Ok(Flow::Next)
    })?;
    let made = |key: String| {
        let (text, counts) = clicks.remove(&key)?;
        let most = counts.values().copied().max().unwrap_or(0);
        let mut clicked: Vec<(u64, u32)> = counts.into_iter().map(|(passage, count)| (count, passage)).collect();
        clicked.retain(|(count, _)| *count > 0 && count * 2 >= most);
        clicked.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let passages: Vec<u32> = clicked.into_iter().map(|(_, passage)| passage).collect();
        (!passages.is_empty()).then_some(MadeQuery { text, passages, origin: Origin::Clicks, without: None })
    };
    Ok(order.into_iter().filter_map(made).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passages() -> Passages {
        let text =
            "Crows bend wire to hooks. They fish for food with it. Does any other bird do that? Some, e.g. parrots.";
        Passages {
            ids: vec!["a".into(), "b".into(), "c".into()],
            titles: vec!["Tools of the crow".into(), String::new(), String::new()],
            texts: vec![
                text.into(),
                "Iron and blood\nA lack of iron makes pale skin and short breath.".into(),
                "one".into(),
            ],
        }
    }

    fn limits() -> Limits {
        crate::data::DataConfig::default().limits()
    }

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        let texts = passages().texts;
        assert_eq!(
            sentences(&texts[0]),
            [
                "Crows bend wire to hooks.",
                "They fish for food with it.",
                "Does any other bird do that?",
                "Some, e.g. parrots."
            ]
        );
        assert_eq!(sentences("  "), Vec::<&str>::new());
    }

    #[test]
    fn queries_come_from_titles_headings_and_sentences_and_are_the_same_each_time() {
        let passages = passages();
        let all = [QuerySource::Titles, QuerySource::Headings, QuerySource::Sentences];
        let made = from_passages(&passages, &all, 100, 3);
        assert_eq!(made, from_passages(&passages, &all, 100, 3));
        let texts: Vec<&str> = made.iter().map(|q| q.text.as_str()).collect();
        assert!(texts.contains(&"Tools of the crow") && texts.contains(&"Iron and blood"), "{texts:?}");
        assert!(made.iter().all(|q| q.passages != [2]), "nothing is made of one word: {texts:?}");
        for query in &made {
            if let Some(rest) = &query.without {
                assert!(!rest.contains(&query.text), "{query:?}");
            }
        }
        let sentences = from_passages(&passages, &[QuerySource::Sentences], 100, 3);
        assert!(sentences.iter().all(|q| passages.texts[q.passages[0] as usize].contains(&q.text)));
        // In about half the cases the sentence is taken out of the passage.
        let many = Passages {
            ids: (0..200).map(|i| format!("p{i}")).collect(),
            titles: vec![String::new(); 200],
            texts: vec![passages.texts[0].clone(); 200],
        };
        let taken_out =
            from_passages(&many, &[QuerySource::Sentences], 200, 1).iter().filter(|q| q.without.is_some()).count();
        assert!((70..130).contains(&taken_out), "{taken_out}");
        assert_eq!(from_passages(&many, &[QuerySource::Sentences], 7, 1).len(), 7);
    }

    #[test]
    fn logs_and_clicks_are_read_and_wrong_lines_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.tsv");
        let of = |text: &str| std::fs::write(&path, text).unwrap();
        of("why is iron\t2\nWhat do crows do\n\nwhy  is Iron\t3\n");
        let log = from_log(&path, &limits()).unwrap();
        assert_eq!(log.iter().map(|q| q.text.as_str()).collect::<Vec<_>>(), ["why is iron", "What do crows do"]);
        assert!(log.iter().all(|q| q.origin == Origin::Log && q.passages.is_empty()));
        of("why\tmany\n");
        assert!(from_log(&path, &limits()).unwrap_err().to_string().contains("line 1"));
        of("crow tools\ta\t10\ncrow tools\tb\t4\nCrow Tools\tb\t2\niron\tb\t1\n");
        let clicks = from_clicks(&path, &passages(), &limits()).unwrap();
        assert_eq!(clicks[0].passages, [0, 1]);
        assert_eq!((clicks.len(), clicks[1].origin), (2, Origin::Clicks));
        for (line, said) in [("crow\tz\t1", "`z`"), ("crow\ta\tx", "`x` is no count"), ("crow", "1 columns")] {
            of(&format!("iron\tb\t1\n{line}\n"));
            let error = from_clicks(&path, &passages(), &limits()).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(said), "{error}");
        }
        let path = folder.path().join("made.jsonl");
        std::fs::write(
            &path,
            "{\"query\": \"what lacks iron\", \"passage\": \"b\"}\n{\"query\": \"x\", \"passage\": \"z\"}\n",
        )
        .unwrap();
        let error = from_file(&path, &passages(), &limits()).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("`z`"), "{error}");
    }
}
