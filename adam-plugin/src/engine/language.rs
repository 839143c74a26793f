//! Languages of searched text. Each has an analyser, whose name in an index says which language that is.

use std::fmt;
use std::str::FromStr;

use tantivy::Index;
use tantivy::schema::{FieldEntry, FieldType};
use tantivy::tokenizer::{
    Language as Stems, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer, Tokenizer,
};

use super::analysis::WordTokenizer;
use super::fold::Case;
use crate::error::UnknownName;

/// The longest word of a new index, in bytes: enough for 512 bits in hexadecimal digits, with a prefix.
const LONGEST_WORD: usize = 255;
/// That of indexes made by the first version.
const LONGEST_WORD_1: usize = 79;

/// How an index's text is split into words. A new version has a new name, and old ones stay known, since an index must be searched as it
/// was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// Runs of letters and digits, as they are written.
    One,
    /// [`WordTokenizer`], with pairs of letters in scripts without spaces.
    Two,
    /// In addition the words of dictionaries in these scripts, full case folding where there is no stemmer, and words of any length.
    Three,
}

impl Version {
    const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];
    const NEWEST: Self = Self::Three;

    fn suffix(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Two => "_2",
            Self::Three => "_3",
        }
    }

    /// Longer words, in bytes, are not indexed. None where words may be of any length.
    pub(crate) fn longest_word(self) -> Option<usize> {
        match self {
            Self::One => Some(LONGEST_WORD_1),
            Self::Two => Some(LONGEST_WORD),
            Self::Three => None,
        }
    }
}

/// The language of an index's text, used for stemming and stop words in lexical search. Vectors do not depend on it; the model
/// decides which languages they understand.
///
/// Reads back from its name, as `german`, and from its ISO 639-1 code, as `de`. `any` is for text in several languages or in
/// one that has no name here: without stemming and stop words, and in any case of letters. Default: English.
///
/// In any language, words are the same in all Unicode forms (`é` in one sign or two, `ﬁ` and `fi`, wide letters), and text that
/// does not set words apart (Chinese, Japanese, Thai, Khmer, Lao, Burmese) is found by the words of a dictionary, and by pairs of
/// letters where that splits a text otherwise; Korean is found by words between spaces and by pairs of syllables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(&'static Entry);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    code: &'static str,
    name: &'static str,
    stems: Option<Stems>,
}

/// A language that is not stemmed.
const fn plain(code: &'static str, name: &'static str) -> Entry {
    Entry { code, name, stems: None }
}

const fn entry(code: &'static str, name: &'static str, stems: Stems) -> Entry {
    Entry { code, name, stems: Some(stems) }
}

/// All of them; the first is the default.
static ENTRIES: [Entry; 26] = [
    entry("en", "english", Stems::English),
    plain("any", "any"),
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
    plain("my", "burmese"),
    plain("zh", "chinese"),
    plain("ja", "japanese"),
    plain("km", "khmer"),
    plain("ko", "korean"),
    plain("lo", "lao"),
    plain("th", "thai"),
];

impl Language {
    /// All languages.
    pub fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter().map(Self)
    }

    /// Name of its analyser in a new index.
    pub(crate) fn analyser(self) -> String {
        self.analyser_of(Version::NEWEST)
    }

    fn analyser_of(self, version: Version) -> String {
        format!("adam_{}{}", self.0.code, version.suffix())
    }

    /// The language whose analyser bears this name, and the version of it.
    pub(crate) fn of_analyser(name: &str) -> Option<(Self, Version)> {
        let all = Self::all().flat_map(|language| Version::ALL.map(|version| (language, version)));
        all.into_iter().find(|(language, version)| language.analyser_of(*version) == name)
    }

    /// Makes all analysers known to an index.
    pub(crate) fn register_all(index: &Index) {
        let tokenizers = index.tokenizers();
        for language in Self::all() {
            let first = language.analysis(SimpleTokenizer::default(), LONGEST_WORD_1);
            tokenizers.register(&language.analyser_of(Version::One), first);
            let second = language.analyser_of(Version::Two);
            let of_queries = language.analysis(WordTokenizer::for_queries(), LONGEST_WORD);
            tokenizers.register(&of_query(&second), of_queries);
            tokenizers.register(&second, language.analysis(WordTokenizer::for_documents(), LONGEST_WORD));
            let third = language.analyser_of(Version::Three);
            tokenizers.register(&of_query(&third), language.third(WordTokenizer::for_queries()));
            tokenizers.register(&third, language.third(WordTokenizer::for_documents()));
        }
    }

    fn third(self, words: WordTokenizer) -> TextAnalyzer {
        let case = match self.0.stems {
            None => Case::Folded,
            Some(Stems::Turkish) => Case::Turkic,
            Some(Stems::Romanian) => Case::Cedilla,
            // The stemmers have rules of their own for ß and final sigma.
            Some(_) => Case::Kept,
        };
        self.analysis(words.segmented().case(case).shortening(LONGEST_WORD), LONGEST_WORD)
    }

    fn analysis(self, tokenizer: impl Tokenizer, longest: usize) -> TextAnalyzer {
        // The filter's limit is the first length that is too long.
        let words = TextAnalyzer::builder(tokenizer).filter(RemoveLongFilter::limit(longest + 1)).filter(LowerCaser);
        let Some(stems) = self.0.stems else { return words.build() };
        match StopWordFilter::new(stems) {
            Some(stop_words) => words.filter(stop_words).filter(Stemmer::new(stems)).build(),
            None => words.filter(Stemmer::new(stems)).build(),
        }
    }
}

/// Whether an analyser, by its name, takes endings away. tantivy's own one that does is `en_stem`.
pub(crate) fn stems(analyser: &str) -> bool {
    analyser == "en_stem" || Language::of_analyser(analyser).is_some_and(|(language, _)| language.0.stems.is_some())
}

/// Name of the analyser for queries, given that for documents; the two may differ.
pub(crate) fn of_query(analyser: &str) -> String {
    format!("{analyser}_query")
}

/// A field with the newest analyser of its language, where it has one of ours: for an index whose text is read anew.
pub(crate) fn renewed(entry: &FieldEntry) -> FieldEntry {
    let FieldType::Str(options) = entry.field_type() else { return entry.clone() };
    let Some(indexing) = options.get_indexing_options() else { return entry.clone() };
    match Language::of_analyser(indexing.tokenizer()) {
        Some((language, _)) => {
            let indexing = indexing.clone().set_tokenizer(&language.analyser());
            FieldEntry::new_text(entry.name().to_owned(), options.clone().set_indexing_options(indexing))
        }
        None => entry.clone(),
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
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_lowercase();
        let found = Self::all().find(|Self(entry)| entry.name == text || entry.code == text);
        found.ok_or_else(|| UnknownName::new("language", &text, ENTRIES.iter().map(|entry| entry.name).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(language: &str, text: &str) -> Vec<String> {
        let language = language.parse::<Language>().unwrap();
        let mut analysis = language.third(WordTokenizer::for_documents());
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
        assert_eq!(terms("en", "\u{ff23}rows' cafe\u{301}s"), ["crow", "café"]);
    }

    #[test]
    fn words_of_any_length_are_terms_of_a_bounded_one() {
        let long = |length: usize| terms("any", &"x".repeat(length));
        assert_eq!(long(LONGEST_WORD), ["x".repeat(LONGEST_WORD)]);
        assert_eq!(long(LONGEST_WORD + 1)[0].len(), LONGEST_WORD);
        assert_ne!(long(LONGEST_WORD + 1), long(LONGEST_WORD + 2));
    }

    #[test]
    fn every_language_has_one_word_in_its_forms() {
        // Two forms of a word, of which one finds the other.
        let forms = [
            ("en", "crows", "Crow"),
            ("any", "STRASSE", "straße"),
            ("ar", "كتاب", "الكتاب"),
            ("da", "husene", "Husene"),
            ("nl", "huizen", "HUIZEN"),
            ("fi", "taloissa", "talo"),
            ("fr", "oiseaux", "oiseau"),
            ("de", "Häuser", "Haus"),
            ("el", "ΔΡΟΜΟΣ", "δρόμος"),
            ("hu", "házak", "házakat"),
            ("it", "uccelli", "uccello"),
            ("no", "husene", "huset"),
            ("pt", "livros", "livro"),
            ("ro", "cărțile", "CĂRŢI"),
            ("ru", "книги", "книга"),
            ("es", "libros", "libro"),
            ("sv", "husen", "huset"),
            ("ta", "க\u{bca}டி", "க\u{bc6}\u{bbe}டி"),
            ("tr", "KIZLAR", "kız"),
            ("my", "မြန်မာ", "မြန်မာ"),
            ("zh", "图书馆", "图书馆"),
            ("ja", "ｺﾝﾋﾟｭｰﾀｰ", "コンピューター"),
            ("km", "ខ្មែរ", "ខ្មែរ"),
            ("ko", "한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
            ("lo", "ພາສາ", "ພາສາ"),
            ("th", "ภาษา", "ภาษา"),
        ];
        let mut wrong = Vec::new();
        for language in Language::all() {
            let (code, one, other) = forms.iter().find(|(code, ..)| *code == language.0.code).unwrap();
            let (one, other) = (terms(code, one), terms(code, other));
            if one != other || one.is_empty() {
                wrong.push((code, one, other));
            }
        }
        assert_eq!(wrong, []);
    }

    #[test]
    fn names_codes_and_analysers_read_back() {
        for language in Language::all() {
            assert_eq!(language.to_string().parse(), Ok(language));
            assert_eq!(language.0.code.parse(), Ok(language));
            assert_eq!(Language::of_analyser(&language.analyser()), Some((language, Version::Three)));
        }
        assert_eq!(Language::default().analyser(), "adam_en_3");
        assert_eq!(Language::of_analyser("adam_de"), Some(("de".parse().unwrap(), Version::One)));
        assert_eq!(Language::of_analyser("adam_de_2"), Some(("de".parse().unwrap(), Version::Two)));
        assert_eq!(Language::of_analyser("adam_de_4"), None);
        assert_eq!(Language::of_analyser("en_stem"), None);
        assert!("klingon".parse::<Language>().unwrap_err().to_string().contains("german"));
    }
}
