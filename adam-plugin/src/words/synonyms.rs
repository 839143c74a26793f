//! Synonyms in the format of Solr and Elasticsearch, applied to queries.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tantivy::tokenizer::{TextAnalyzer, TokenStream};

use crate::error::PluginError;

/// Largest file of synonyms, in bytes.
const MAX_SIZE: u64 = 16 << 20;
/// Most words of one phrase.
const MAX_WORDS: usize = 16;

/// Synonyms, one rule a line:
///
/// ```text
/// # Any of them finds all of them.
/// tv, television, telly
/// # On the left what is typed, on the right what is searched in its place.
/// big apple, nyc => new york city
/// ```
///
/// A backslash takes the meaning from the comma or sign after it: `1\,5`. Words are analysed as those of queries, so case, Unicode form
/// and inflection need not be the same. The longest phrase that a query has from some word on counts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Synonyms {
    file: PathBuf,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    line: usize,
    typed: Vec<String>,
    /// What is searched; none where that is what is typed, all of it.
    searched: Option<Vec<String>>,
}

impl Synonyms {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is larger than 16 MiB, or a line is no rule: with the file and the line.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, PluginError> {
        let path = path.as_ref();
        let bytes = durable::read(path, MAX_SIZE).map_err(|source| PluginError::io("read", path, source))?;
        let text = String::from_utf8(bytes).map_err(|fault| {
            let before = fault.as_bytes().iter().take(fault.utf8_error().valid_up_to());
            let line = before.filter(|byte| **byte == b'\n').count() + 1;
            PluginError::Synonyms {
                file: path.to_path_buf(),
                line,
                problem: "is not UTF-8; save the file as UTF-8".to_owned(),
            }
        })?;
        Self::parse(&text, path)
    }

    /// Reads text; `name` stands for it in messages.
    ///
    /// # Errors
    /// When a line is no rule.
    pub fn parse(text: &str, name: impl AsRef<Path>) -> Result<Self, PluginError> {
        let file = name.as_ref().to_path_buf();
        let mut rules = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let rule = rule(content, number + 1);
            rules.extend(rule.map_err(|problem| PluginError::Synonyms {
                file: file.clone(),
                line: number + 1,
                problem,
            })?);
        }
        Ok(Self { file, rules })
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// A line as a rule. A word alone is none.
fn rule(line: &str, number: usize) -> Result<Option<Rule>, String> {
    if line.starts_with("s(") && line.ends_with(").") {
        return Err("is of WordNet's format; write the words of one meaning as `tv, television`".to_owned());
    }
    let mut sides: Vec<Vec<String>> = vec![vec![String::new()]];
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let side = sides.last_mut().ok_or("is empty")?;
        match letter {
            '\\' => side
                .last_mut()
                .ok_or("is empty")?
                .push(letters.next().ok_or("ends with a backslash that stands before nothing")?),
            ',' => side.push(String::new()),
            '=' if letters.peek() == Some(&'>') => {
                letters.next();
                sides.push(vec![String::new()]);
            }
            other => side.last_mut().ok_or("is empty")?.push(other),
        }
    }
    for side in &mut sides {
        for phrase in side.iter_mut() {
            *phrase = phrase.trim().to_owned();
            if phrase.is_empty() {
                return Err(
                    "has nothing between two commas, or on one side; a rule is `tv, television` or `tv => television`"
                        .to_owned(),
                );
            }
        }
    }
    let mut sides = sides.into_iter();
    match (sides.next(), sides.next(), sides.next()) {
        (Some(typed), None, _) if typed.len() < 2 => Ok(None),
        (Some(typed), searched, None) => Ok(Some(Rule { line: number, typed, searched })),
        _ => Err("has `=>` twice; a rule has one".to_owned()),
    }
}

/// A phrase as words of a field, each with its distance from the first.
type Phrase = Vec<(String, usize)>;

/// What is searched for a phrase of a query.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Match {
    /// Whether the phrase itself is searched, too.
    pub(crate) itself: bool,
    /// What else, as it is written in the file and as words of the field.
    pub(crate) others: Vec<(String, Phrase)>,
}

/// Synonyms for the words of one field.
#[derive(Clone, Debug, Default)]
pub(crate) struct SynonymTable {
    /// By the words of a phrase.
    matches: HashMap<Vec<String>, Match>,
    longest: usize,
}

impl SynonymTable {
    /// With phrases in words as the analyser has them.
    pub(crate) fn new(synonyms: &Synonyms, analyser: &mut TextAnalyzer) -> Result<Self, PluginError> {
        let mut table = Self::default();
        for rule in &synonyms.rules {
            let fault =
                |problem: String| PluginError::Synonyms { file: synonyms.file.clone(), line: rule.line, problem };
            let mut phrases = |texts: &[String]| -> Result<Vec<(String, Phrase)>, PluginError> {
                let phrase = |text: &String| Ok((text.clone(), phrase(text, analyser).map_err(fault)?));
                texts.iter().map(phrase).collect()
            };
            let typed = phrases(&rule.typed)?;
            let searched = rule.searched.as_deref().map(&mut phrases).transpose()?;
            for (_, phrase) in &typed {
                let words: Vec<String> = phrase.iter().map(|(word, _)| word.clone()).collect();
                table.longest = table.longest.max(words.len());
                let entry = table.matches.entry(words).or_default();
                // Several rules for one phrase add up.
                entry.itself |= searched.is_none();
                for other in searched.as_ref().unwrap_or(&typed) {
                    if other.1 == *phrase {
                        entry.itself = true;
                    } else if !entry.others.iter().any(|known| known.1 == other.1) {
                        entry.others.push(other.clone());
                    }
                }
            }
        }
        Ok(table)
    }

    /// The longest phrase that words begin with, as a number of words, and what is searched for it.
    pub(crate) fn longest<'a>(&'a self, words: &[String]) -> Option<(usize, &'a Match)> {
        (1..=self.longest.min(words.len())).rev().find_map(|length| Some((length, self.matches.get(&words[..length])?)))
    }
}

fn phrase(text: &str, analyser: &mut TextAnalyzer) -> Result<Phrase, String> {
    let mut words: Phrase = Vec::new();
    let mut first = 0;
    let mut stream = analyser.token_stream(text);
    while let Some(token) = stream.next() {
        if words.is_empty() {
            first = token.position;
        }
        words.push((token.text.clone(), token.position - first));
    }
    let shown: String = text.chars().take(60).collect();
    match words.len() {
        0 => Err(format!("has `{shown}`, which has no word that this index searches; take it out")),
        length if length > MAX_WORDS => Err(format!("has `{shown}` of {length} words; a phrase can have {MAX_WORDS}")),
        _ => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tantivy::tokenizer::{LowerCaser, SimpleTokenizer};

    use super::*;

    fn table(text: &str) -> SynonymTable {
        let mut analyser = TextAnalyzer::builder(SimpleTokenizer::default()).filter(LowerCaser).build();
        SynonymTable::new(&Synonyms::parse(text, "s.txt").unwrap(), &mut analyser).unwrap()
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn found(table: &SynonymTable, text: &str) -> Option<(usize, bool, Vec<String>)> {
        let (length, found) = table.longest(&words(text))?;
        Some((length, found.itself, found.others.iter().map(|(text, _)| text.clone()).collect()))
    }

    #[test]
    fn rules_of_both_kinds_are_read() {
        let rules = "\u{feff}# comment\r\n\ntv, television ,Telly\nbig apple, NYC => new york city\nalone\n1\\,5 => 1.5\nnyc => nyc, gotham\n";
        let table = table(rules);
        let television = (1, true, words("television Telly"));
        assert_eq!(found(&table, "tv tonight"), Some(television));
        assert_eq!(found(&table, "big apple now"), Some((2, false, vec!["new york city".to_owned()])));
        assert_eq!(found(&table, "big"), None);
        assert_eq!(found(&table, "alone"), None);
        // 1,5 and 1.5 are the same words to this analyser.
        assert_eq!(found(&table, "1 5"), Some((2, true, vec![])));
        // Two rules for one phrase add up.
        assert_eq!(found(&table, "nyc"), Some((1, true, vec!["new york city".to_owned(), "gotham".to_owned()])));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, line, said) in [
            ("a, b\na => b => c", 2, "`=>` twice"),
            ("a,,b", 1, "between two commas"),
            ("\n\n=> b", 3, "on one side"),
            ("a =>", 1, "on one side"),
            ("a, b\\", 1, "backslash"),
            ("s(100000001,1,'able',a,1,0).", 1, "WordNet"),
        ] {
            let fault = Synonyms::parse(text, "s.txt").unwrap_err();
            let shown = fault.to_string();
            assert!(shown.starts_with(&format!("s.txt line {line}: ")) && shown.contains(said), "{shown}");
        }
        let synonyms = Synonyms::parse("a, b\nc, ???", "s.txt").unwrap();
        let mut analyser = TextAnalyzer::builder(SimpleTokenizer::default()).build();
        let shown = SynonymTable::new(&synonyms, &mut analyser).unwrap_err().to_string();
        assert!(shown.starts_with("s.txt line 2: ") && shown.contains("`???`"), "{shown}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin1.txt");
        std::fs::write(&path, b"a, b\nc, \xe9\n").unwrap();
        assert!(Synonyms::read(&path).unwrap_err().to_string().contains("line 2: is not UTF-8"));
    }

    proptest! {
        /// Of words that are equal in meaning each finds all others, whatever their order and number.
        #[test]
        fn equal_words_find_each_other(list in prop::collection::hash_set("[a-z]{2,6}( [a-z]{2,6}){0,2}", 2..6)) {
            let phrases: Vec<String> = list.into_iter().collect();
            let table = table(&phrases.join(", "));
            for phrase in &phrases {
                let (length, itself, mut others) = found(&table, phrase).unwrap();
                prop_assert!(itself);
                prop_assert_eq!(length, words(phrase).len());
                others.push(phrase.clone());
                others.sort();
                let mut all = phrases.clone();
                all.sort();
                prop_assert_eq!(others, all);
            }
        }

        /// Any text is rules or an error with a line of it.
        #[test]
        fn any_text_is_read_or_refused(text in "[a-c ,=>\\\\#\n]{0,60}") {
            match Synonyms::parse(&text, "s.txt") {
                Ok(synonyms) => prop_assert!(synonyms.len() <= text.lines().count()),
                Err(PluginError::Synonyms { line, .. }) => prop_assert!((1..=text.lines().count()).contains(&line)),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
