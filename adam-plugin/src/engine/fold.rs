//! Upper and lower case, and marks above and below letters.

use std::borrow::Cow;

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_script::{Script, UnicodeScript};

use super::analysis::normalised;

/// What becomes of upper and lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Nothing.
    Kept,
    /// Unicode's full case folding: `STRASSE`, `Strasse` and `Straße` are one word, as are final and other sigmas.
    Folded,
    /// The same, but for I and İ, which are the capitals of ı and i in Turkish.
    Turkic,
    /// Nothing, but `ș` and `ț` of Romanian become `ş` and `ţ`, as its stemmer and older texts write them.
    Cedilla,
}

/// Its tables are part of the program.
const MAPPER: CaseMapperBorrowed<'static> = CaseMapper::new();

/// A word in NFKC without differences of case, in NFKC again.
pub(super) fn fold(word: &str, case: Case) -> Cow<'_, str> {
    if word.is_ascii() && case != Case::Turkic {
        return match case {
            Case::Folded if word.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(word.to_ascii_lowercase()),
            _ => Cow::Borrowed(word),
        };
    }
    let folded = match case {
        Case::Kept => return Cow::Borrowed(word),
        Case::Cedilla => return cedilla(word),
        Case::Folded => MAPPER.fold_string(word),
        Case::Turkic => MAPPER.fold_turkic_string(word),
    };
    if *folded == *word {
        return Cow::Borrowed(word);
    }
    // Letters of Cherokee are folded to capitals, which highlighting does not know.
    Cow::Owned(normalised(&folded.to_lowercase()))
}

fn cedilla(word: &str) -> Cow<'_, str> {
    let old = |letter| match letter {
        'ș' => 'ş',
        'ț' => 'ţ',
        'Ș' => 'Ş',
        'Ț' => 'Ţ',
        other => other,
    };
    match word.contains(['ș', 'ț', 'Ș', 'Ț']) {
        true => Cow::Owned(word.chars().map(old).collect()),
        false => Cow::Borrowed(word),
    }
}

/// A word without the marks of Latin, Greek and Cyrillic letters. In other scripts marks are vowels, and stay.
pub(super) fn without_marks(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return Cow::Borrowed(word);
    }
    let mut bare = false;
    let mut out = String::with_capacity(word.len());
    for letter in word.nfd() {
        if !is_combining_mark(letter) {
            bare = matches!(letter.script(), Script::Latin | Script::Greek | Script::Cyrillic);
        } else if bare {
            continue;
        }
        out.push(letter);
    }
    let out: String = out.nfc().collect();
    if out == word { Cow::Borrowed(word) } else { Cow::Owned(out) }
}
