//! Languages of searched text. Each has an analyser, whose name in an index says which language that is.

use std::fmt;
use std::str::FromStr;

use tantivy::Index;
use tantivy::tokenizer::{
    Language as Stems, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};

/// Terms longer than this, in bytes, are no words.
const LONGEST_WORD: usize = 80;

/// The language of an index's text: a search by words finds its words in their other forms, and passes over the commonest
/// ones. Vectors know nothing of it; what languages they understand is up to the model.
///
/// Reads back from its name, as `german`, and from its ISO 639-1 code, as `de`. `any` is for text in several languages or in
/// one that has no name here: words are found as they are written, but for capitals. English unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(&'static Entry);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    code: &'static str,
    name: &'static str,
    stems: Option<Stems>,
}

const fn entry(code: &'static str, name: &'static str, stems: Stems) -> Entry {
    Entry { code, name, stems: Some(stems) }
}

/// All of them; the first is the default.
static ENTRIES: [Entry; 19] = [
    entry("en", "english", Stems::English),
    Entry { code: "any", name: "any", stems: None },
    entry("ar", "arabic", Stems::Arabic),
    entry("da", "danish", Stems::Danish),
    entry("nl", "dutch", Stems::Dutch),
    entry("fi", "finnish", Stems::Finnish),
    entry("fr", "french", Stems::French),
    entry("de", "german", Stems::German),
    entry("el", "greek", Stems::Greek),
    entry("hu", "hungarian", Stems::Hungarian),
    entry("it", "italian", Stems::Italian),
    entry("no", "norwegian", Stems::Norwegian),
    entry("pt", "portuguese", Stems::Portuguese),
    entry("ro", "romanian", Stems::Romanian),
    entry("ru", "russian", Stems::Russian),
    entry("es", "spanish", Stems::Spanish),
    entry("sv", "swedish", Stems::Swedish),
    entry("ta", "tamil", Stems::Tamil),
    entry("tr", "turkish", Stems::Turkish),
];

impl Language {
    /// Every language there is.
    pub fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter().map(Self)
    }

    /// Name of its analyser in an index.
    pub(crate) fn analyser(self) -> String {
        format!("adam_{}", self.0.code)
    }

    /// The language whose analyser bears this name.
    pub(crate) fn of_analyser(name: &str) -> Option<Self> {
        name.strip_prefix("adam_").and_then(|code| Self::all().find(|language| language.0.code == code))
    }

    /// Makes all analysers known to an index.
    pub(crate) fn register_all(index: &Index) {
        for language in Self::all() {
            index.tokenizers().register(&language.analyser(), language.analysis());
        }
    }

    fn analysis(self) -> TextAnalyzer {
        let words = TextAnalyzer::builder(SimpleTokenizer::default())
            .filter(RemoveLongFilter::limit(LONGEST_WORD))
            .filter(LowerCaser);
        let Some(stems) = self.0.stems else { return words.build() };
        match StopWordFilter::new(stems) {
            Some(stop_words) => words.filter(stop_words).filter(Stemmer::new(stems)).build(),
            None => words.filter(Stemmer::new(stems)).build(),
        }
    }
}

impl Default for Language {
    fn default() -> Self {
        Self(&ENTRIES[0])
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.name)
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_lowercase();
        Self::all().find(|Self(entry)| entry.name == text || entry.code == text).ok_or_else(|| {
            let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
            format!("there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(language: &str, text: &str) -> Vec<String> {
        let mut analysis = language.parse::<Language>().unwrap().analysis();
        let mut stream = analysis.token_stream(text);
        let mut terms = Vec::new();
        stream.process(&mut |token| terms.push(token.text.clone()));
        terms
    }

    #[test]
    fn each_language_has_its_own_words() {
        assert_eq!(terms("english", "The crows are using Tools"), ["crow", "use", "tool"]);
        assert_eq!(terms("de", "Die Krähen und ihre Häuser"), ["krah", "haus"]);
        assert_eq!(terms("French", "les oiseaux chantent"), ["oiseau", "chantent"]);
        // No list of stop words is known for it.
        assert_eq!(terms("turkish", "kuşlar"), ["kuş"]);
        assert_eq!(terms("any", "The crows ARE"), ["the", "crows", "are"]);
        assert!(terms("any", &"x".repeat(LONGEST_WORD)).is_empty());
    }

    #[test]
    fn names_codes_and_analysers_read_back() {
        for language in Language::all() {
            assert_eq!(language.to_string().parse(), Ok(language));
            assert_eq!(language.0.code.parse(), Ok(language));
            assert_eq!(Language::of_analyser(&language.analyser()), Some(language));
        }
        assert_eq!(Language::default().analyser(), "adam_en");
        assert_eq!(Language::of_analyser("en_stem"), None);
        assert!("klingon".parse::<Language>().unwrap_err().contains("german"));
    }
}
