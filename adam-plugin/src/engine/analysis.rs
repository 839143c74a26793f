//! Splits text of any script and Unicode form into words.

use std::borrow::Cow;
use std::collections::VecDeque;

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use unicode_script::{Script, UnicodeScript};

use super::fold::{Case, fold};
use super::segment::word_ends;

/// Cuts text into words.
///
/// - A word is a run of letters and digits with the marks that belong to them. Marks that are not seen (soft hyphens, joiners,
///   direction marks) are left out of it.
/// - It is brought into the Unicode form NFKC: `é` is one letter however it was typed, `ﬁ` is `fi`, wide letters are plain ones.
/// - In scripts that do not set words apart (Chinese, Japanese, Thai, Lao, Khmer, Burmese), and in Korean, which writes particles
///   together with their words, documents have single letters, pairs of neighbouring letters and, where [`segmented`](Self::segmented),
///   the words of a dictionary.
/// - Queries have the words of the dictionary, those of three letters and more with their pairs, so that a word is found where the
///   dictionary splits its text otherwise. Without a dictionary they have pairs.
///
/// A token says where it is in the text as it was given, so that a snippet marks the right piece of it.
#[derive(Clone)]
pub(super) struct WordTokenizer {
    /// Whether pairs of letters come with the single ones, as documents have them, or alone, as queries do.
    singles: bool,
    segmented: bool,
    case: Case,
    /// In bytes; a longer word is [shortened].
    longest: usize,
}

impl WordTokenizer {
    pub(super) const fn for_documents() -> Self {
        Self { singles: true, segmented: false, case: Case::Kept, longest: usize::MAX }
    }

    pub(super) const fn for_queries() -> Self {
        Self { singles: false, ..Self::for_documents() }
    }

    /// Finds words in scripts without spaces by a dictionary.
    pub(super) const fn segmented(mut self) -> Self {
        self.segmented = true;
        self
    }

    /// What becomes of upper and lower case. Default: kept.
    pub(super) const fn case(mut self, case: Case) -> Self {
        self.case = case;
        self
    }

    /// As [`runs_together`], and half-width vowel marks too where words are found by a dictionary.
    fn runs_together(&self, letter: char) -> bool {
        runs_together(letter) || (self.segmented && letter == '\u{ff70}')
    }

    /// Shortens words of more bytes, so that they are found as a whole.
    pub(super) const fn shortening(mut self, longest: usize) -> Self {
        self.longest = longest;
        self
    }
}

/// A word that is too long for an index: its start and a hash of the whole, which is as good for finding exactly this word.
fn shortened(word: &str, longest: usize) -> String {
    let hash = hash_of(word);
    let mut end = longest - hash.len();
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{hash}", &word[..end])
}

/// 128 bits in hexadecimal digits.
fn hash_of(word: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(word.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether words of the letter's script are not set apart by spaces, or not by spaces alone.
pub(crate) fn runs_together(letter: char) -> bool {
    use Script::{
        Bopomofo, Han, Hangul, Hiragana, Katakana, Khmer, Lao, Myanmar, New_Tai_Lue, Tai_Le, Tai_Tham, Tai_Viet, Thai,
    };
    // Thai is the first of them.
    letter >= '\u{e00}'
        && !letter.is_numeric()
        // The long vowel mark of Japanese, which Unicode counts to no script.
        && (letter == 'ー'
            || matches!(
                letter.script(),
                Bopomofo | Han | Hangul | Hiragana | Katakana | Khmer | Lao | Myanmar | New_Tai_Lue | Tai_Le | Tai_Tham | Tai_Viet | Thai
            ))
}

/// A mark that is not seen, and no part of a word.
pub(super) fn is_unseen(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether a query has nothing to search for: white space and characters that are not seen.
pub(super) fn is_blank(query: &str) -> bool {
    query.chars().all(|letter| {
        // Some set words apart or fill the place of a letter, so that they are not dropped from words as the unseen marks are.
        let is_filler = matches!(letter, '\u{200b}' | '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}');
        letter.is_whitespace() || letter.is_control() || is_unseen(letter) || is_filler
    })
}

/// A mark that belongs to the letter before it.
fn joins(letter: char) -> bool {
    // The marks of half-width Japanese are letters to Unicode, as are the second and third parts of a Korean syllable.
    is_combining_mark(letter)
        || matches!(letter, '\u{ff9e}' | '\u{ff9f}' | '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7ff}')
}

impl Tokenizer for WordTokenizer {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        WordStream { text, at: 0, position: 0, rules: self, ready: VecDeque::new(), token: Token::default() }
    }
}

pub(super) struct WordStream<'a> {
    text: &'a str,
    /// Where the next run is looked for.
    at: usize,
    position: usize,
    rules: &'a WordTokenizer,
    /// Tokens of the run before.
    ready: VecDeque<Token>,
    token: Token,
}

/// A letter of a script that runs together, with its marks.
struct Letter {
    text: String,
    from: usize,
    to: usize,
}

impl WordStream<'_> {
    /// The tokens of the next run of one kind of letters. False at the end.
    fn read_run(&mut self) -> bool {
        let Some(rest) = self.text.get(self.at..) else { return false };
        let Some((skipped, first)) = rest.char_indices().find(|(_, letter)| letter.is_alphanumeric()) else {
            self.at = self.text.len();
            return false;
        };
        let from = self.at + skipped;
        let together = self.rules.runs_together(first);
        let mut to = from;
        for (offset, letter) in rest[skipped..].char_indices() {
            let belongs = if joins(letter) || is_unseen(letter) {
                true
            } else {
                letter.is_alphanumeric() && self.rules.runs_together(letter) == together
            };
            if !belongs {
                break;
            }
            to = from + offset + letter.len_utf8();
        }
        self.at = to;
        if together {
            self.add_letters(from, to)
        } else {
            self.add_words(from, to)
        }
        true
    }

    fn push(&mut self, mut text: String, from: usize, to: usize) {
        if let Cow::Owned(folded) = fold(&text, self.rules.case) {
            text = folded;
        }
        if text.len() > self.rules.longest {
            text = shortened(&text, self.rules.longest);
        }
        let token = Token { offset_from: from, offset_to: to, position: self.position, text, position_length: 1 };
        self.ready.push_back(token);
    }

    /// A word as it is normalised. That may be several, as of a ligature that stands for a phrase.
    fn add_words(&mut self, from: usize, to: usize) {
        let text = self.text;
        let word = &text[from..to];
        if word.is_ascii() {
            self.push(word.to_owned(), from, to);
            self.position += 1;
            return;
        }
        let normal = normalised(word);
        for piece in normal.split(|letter: char| !letter.is_alphanumeric() && !is_combining_mark(letter)) {
            if piece.contains(char::is_alphanumeric) {
                self.push(piece.to_owned(), from, to);
                self.position += 1;
            }
        }
    }

    /// Letters alone and in pairs, and words of several.
    fn add_letters(&mut self, from: usize, to: usize) {
        let letters = letters(self.text, from, to);
        if !self.rules.segmented {
            for at in 0..letters.len() {
                if self.rules.singles || letters.len() == 1 {
                    self.push_letters(&letters[at..=at]);
                }
                if at + 1 < letters.len() {
                    self.push_letters(&letters[at..=at + 1]);
                }
                self.position += 1;
            }
            return;
        }
        let ends = word_ends(letters.iter().map(|letter| letter.text.as_str()));
        let mut start = 0;
        let mut single_before = false;
        for end in ends {
            let single = end - start == 1;
            // Letters that are in no word of the dictionary, as those of many names, may be a word together.
            if single_before && single && !self.rules.singles {
                self.position -= 1;
                self.push_letters(&letters[start - 1..end]);
                self.position += 1;
            }
            for at in start..end {
                if self.rules.singles || single {
                    self.push_letters(&letters[at..=at]);
                }
                let last = if self.rules.singles { letters.len() } else { end };
                if at + 1 < last {
                    self.push_letters(&letters[at..=at + 1]);
                }
                if at == start && end - start > 2 {
                    self.push_letters(&letters[start..end]);
                }
                self.position += 1;
            }
            single_before = single;
            start = end;
        }
    }

    /// A token of letters that stand side by side.
    fn push_letters(&mut self, letters: &[Letter]) {
        let [first, .., last] = letters else {
            if let [one] = letters {
                self.push(one.text.clone(), one.from, one.to);
            }
            return;
        };
        let text = letters.iter().map(|letter| letter.text.as_str()).collect();
        self.push(text, first.from, last.to);
    }
}

/// The letters of a piece of text as they are normalised, each with where it stands in the text.
fn letters(text: &str, from: usize, to: usize) -> Vec<Letter> {
    // What is normalised together: a letter with its marks.
    let mut units: Vec<(usize, usize)> = Vec::new();
    for (offset, letter) in text[from..to].char_indices() {
        let (start, end) = (from + offset, from + offset + letter.len_utf8());
        match units.last_mut() {
            Some(unit) if joins(letter) || is_unseen(letter) => unit.1 = end,
            _ => units.push((start, end)),
        }
    }
    // A letter may be normalised to one with a mark that belongs to the letter before, as a vowel of Thai is.
    let mut letters: Vec<Letter> = Vec::with_capacity(units.len());
    for (start, end) in units {
        for letter in normalised(&text[start..end]).chars() {
            match letters.last_mut() {
                Some(before) if joins(letter) => {
                    before.text.push(letter);
                    before.to = end;
                }
                _ => letters.push(Letter { text: letter.to_string(), from: start, to: end }),
            }
        }
    }
    letters
}

/// NFKC, without what is not seen.
pub(super) fn normalised(text: &str) -> String {
    let seen = || text.chars().filter(|letter| !is_unseen(*letter));
    match is_nfkc_quick(seen()) {
        IsNormalized::Yes => seen().collect(),
        _ => seen().nfkc().collect(),
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        loop {
            if let Some(token) = self.ready.pop_front() {
                self.token = token;
                return true;
            }
            if !self.read_run() {
                return false;
            }
        }
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(mut tokenizer: WordTokenizer, text: &str) -> Vec<Token> {
        let mut stream = tokenizer.token_stream(text);
        let mut tokens = Vec::new();
        stream.process(&mut |token| tokens.push(token.clone()));
        tokens
    }

    const SEGMENTED: WordTokenizer = WordTokenizer::for_documents().segmented().case(Case::Folded).shortening(40);
    const OF_QUERIES: WordTokenizer = WordTokenizer::for_queries().segmented().case(Case::Folded).shortening(40);

    fn texts(tokenizer: &WordTokenizer, text: &str) -> Vec<String> {
        tokens(tokenizer.clone(), text).into_iter().map(|token| token.text).collect()
    }

    fn of_document(text: &str) -> Vec<String> {
        tokens(WordTokenizer::for_documents(), text).into_iter().map(|token| token.text).collect()
    }

    fn of_query(text: &str) -> Vec<String> {
        tokens(WordTokenizer::for_queries(), text).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn words_are_as_they_look_whatever_their_form() {
        assert_eq!(of_document("Don't, 3.14 (crows)!"), ["Don", "t", "3", "14", "crows"]);
        assert_eq!(of_document("cafe\u{301} caf\u{e9}"), ["caf\u{e9}", "caf\u{e9}"]);
        assert_eq!(of_document("\u{fb01}nance \u{ff21}\u{ff22}\u{ff23}"), ["finance", "ABC"]);
        assert_eq!(of_document("co\u{ad}operate \u{202e}crows\u{202c}"), ["cooperate", "crows"]);
        // One sign that stands for three words, and one for a fraction.
        assert_eq!(of_document("\u{fdfb} 2\u{bd}").len(), 4);
        // Hindi: vowels and the sign that takes them away are marks.
        assert_eq!(of_document("हिन्दी में"), ["हिन्दी", "में"]);
        assert_eq!(of_document("\u{301} -- ?").len(), 0);
    }

    #[test]
    fn scripts_without_spaces_are_letters_and_pairs() {
        assert_eq!(of_document("乌鸦会"), ["乌", "乌鸦", "鸦", "鸦会", "会"]);
        assert_eq!(of_query("乌鸦会"), ["乌鸦", "鸦会"]);
        assert_eq!(of_query("水"), ["水"]);
        assert_eq!(of_query("ABC公司2024年"), ["ABC", "公司", "2024", "年"]);
        assert_eq!(of_query("한국의 집"), ["한국", "국의", "집"]);
        assert_eq!(of_query("カラー"), ["カラ", "ラー"]);
        // Half-width letters with their marks, and Korean in parts.
        assert_eq!(of_query("ｶﾞｽ"), of_query("ガス"));
        assert_eq!(of_query("\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"), of_query("한국"));
        // Marks stay with their letters; a vowel in one sign and in two.
        assert_eq!(of_query("ที่ดี"), ["ที่ดี"]);
        assert_eq!(of_query("น\u{e33}"), of_query("น\u{e4d}\u{e32}"));
        let pairs = tokens(WordTokenizer::for_documents(), "a乌鸦b");
        let places: Vec<_> = pairs.iter().map(|token| (token.offset_from, token.offset_to, token.position)).collect();
        assert_eq!(places, [(0, 1, 0), (1, 4, 1), (1, 7, 1), (4, 7, 2), (7, 8, 3)]);
    }

    #[test]
    fn words_of_a_dictionary_stand_beside_pairs() {
        let segmented = |text| texts(&WordTokenizer::for_queries().segmented(), text);
        assert_eq!(segmented("图书馆的书"), ["图书", "馆", "馆的", "的", "的书", "书"]);
        assert_eq!(segmented("ภาษาไทย").last().map(String::as_str), Some("ทย"));
        assert!(segmented("ภาษาไทย").contains(&"ภาษา".to_owned()));
        assert!(segmented("コンピューターを使う").contains(&"コンピューター".to_owned()));
        let document = texts(&WordTokenizer::for_documents().segmented(), "图书馆的书");
        assert_eq!(document, ["图", "图书", "书", "书馆", "馆", "馆的", "的", "的书", "书"]);
    }

    #[test]
    fn case_and_length_are_as_asked_for() {
        assert_eq!(texts(&OF_QUERIES, "STRASSE Straße Ὀδυσσεύς Ёлка"), ["strasse", "strasse", "ὀδυσσεύσ", "ёлка"]);
        let folded = WordTokenizer::for_queries().case(Case::Folded);
        assert_eq!(texts(&folded, "CAFÉ Σίσυφος"), ["café", "σίσυφοσ"]);
        assert_eq!(texts(&WordTokenizer::for_queries().case(Case::Turkic), "ISPARTA İzmir"), ["ısparta", "izmir"]);
        assert_eq!(texts(&OF_QUERIES, "हिन्दी ที่"), ["हिन्दी", "ที่"]);
        let long = format!("{}y", "é".repeat(50));
        let found = texts(&SEGMENTED.clone(), &long);
        assert_eq!(found.len(), 1);
        assert!(found[0].len() <= 40 && found == texts(&OF_QUERIES, &long));
        assert_ne!(found, texts(&SEGMENTED, &format!("{}z", "é".repeat(50))));
    }

    proptest! {
        /// Any text: tokens stand in it, in order, and a query's are among the document's.
        #[test]
        fn tokens_stand_in_the_text(text in "[a-zA-Z0-9 .é乌鸦ภาษาไทย가ᄒ\u{301}\u{ad}\u{200d}\u{fb01}\u{ff76}\u{ff9e}\u{fdfa}½]{0,20}", any in "\\PC{0,20}") {
            for text in [text, any] {
                for (documents, queries) in
                    [(WordTokenizer::for_documents(), WordTokenizer::for_queries()), (SEGMENTED, OF_QUERIES)]
                {
                    let document = tokens(documents.clone(), &text);
                    let mut last = (0, 0);
                    for token in &document {
                        prop_assert!(!token.text.is_empty());
                        prop_assert!(text.get(token.offset_from..token.offset_to).is_some_and(|piece| !piece.is_empty()));
                        prop_assert!((token.position, token.offset_to) >= last, "{:?}", document);
                        last = (token.position, token.offset_to);
                    }
                    let words: Vec<&String> = document.iter().map(|token| &token.text).collect();
                    for token in tokens(queries, &text) {
                        prop_assert!(words.contains(&&token.text), "{:?}", token);
                    }
                    // The decomposed form and the composed one are the same words.
                    let parts: String = text.nfd().collect();
                    prop_assert_eq!(texts(&documents, &parts), texts(&documents, &text.nfc().collect::<String>()));
                }
            }
        }

        /// A word of a text is found wherever the dictionary splits: each of its tokens of one or two letters is one of the text's.
        #[test]
        fn any_piece_of_a_text_shares_its_letters(text in "[乌鸦会把金属丝图书馆的书コンピューターを使ภาษาไทยเป็น]{2,24}", from in 0usize..24, length in 1usize..6) {
            let letters: Vec<char> = text.chars().collect();
            let from = from % letters.len();
            let piece: String = letters[from..(from + length).min(letters.len())].iter().collect();
            // A piece that begins with a mark is no word.
            prop_assume!(!piece.chars().next().is_some_and(joins) && !letters.get(from + length).copied().is_some_and(joins));
            let document = texts(&SEGMENTED, &text);
            for token in texts(&OF_QUERIES, &piece) {
                let short = token.chars().filter(|letter| !joins(*letter)).count() <= 2;
                prop_assert!(!short || document.contains(&token), "{} of {:?} in {:?}", token, piece, document);
            }
        }
    }
}
